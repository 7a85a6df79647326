//! Rows encoded through a schema: one value, rows of a file, a stream of them, a whole file in memory or on disk.

mod cache;
mod dataset;
mod extra;
mod reader;
mod request;
mod rows;
mod unknown;
mod value;

pub use cache::{Cache, Prepared, Selection};
pub use dataset::Dataset;
pub use extra::{Extra, Need};
pub use reader::{RecordBuffer, RowReader};
pub use request::{Datum, Items, RequestColumn, RequestEncoder, RequestKind};
pub use unknown::{Unknown, Unknowns};
