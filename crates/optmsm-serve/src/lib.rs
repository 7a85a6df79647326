//! An HTTP server of models: raw features in, probabilities out.
//!
//! It speaks the Open Inference Protocol v2 with binary tensors, and beside it plain rows of JSON, Arrow streams, and one user with
//! many candidates. It knows a model by the trait [`Model`] alone, and gets models from a [`Loader`]. `docs/serving.md` is the page
//! for those who run it.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use optmsm_serve::{Config, Loader, ServeError, Server, Source};
//!
//! fn serve(loader: Arc<dyn Loader>) -> Result<(), ServeError> {
//!     let mut config = Config::new(vec!["ctr=runs/first".parse::<Source>()?]);
//!     config.port = 8080;
//!     let server = Server::start(config, loader, Arc::new(|line: &str| eprintln!("{line}")))?;
//!     println!("http://{}", server.address());
//!     server.wait()?;
//!     Ok(())
//! }
//! ```

mod admit;
mod answer;
mod app;
mod arrow;
mod config;
mod connection;
mod error;
mod health;
mod json;
mod log;
mod metrics;
mod model;
mod predict;
mod registry;
mod repository;
mod rows;
mod server;
mod share;
mod tensor;
mod warm;
mod watch;

pub use config::{Config, Log, Source};
pub use error::ServeError;
pub use model::{Input, Kind, Loader, Model, Refusal, RefusalKind, Seen, Stamp};
pub use rows::{Candidates, Datum, Items, Rows};
pub use server::{Drained, Server};
