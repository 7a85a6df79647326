//! From CSV, Parquet and Arrow files to encoded rows: configuration, schema, readers and synthetic data.
//!
//! [`DataConfig`] is the `[data]` table of the configuration. [`Schema::fit`] reads the training file once
//! and fixes vocabularies, scenario names and numeric statistics; it is saved with the run and used for every
//! later file. [`RowReader`] streams rows through it into a [`Batch`](optmsm_core::batch::Batch), and
//! [`Dataset`] holds a whole file of encoded rows. [`synth`] makes data whose true probabilities are known.
//!
//! Ids of a field: 0 is out-of-vocabulary; then come its values, by default those of the training file ordered by falling count, then
//! by value; last the missing value, if it has an id of its own ([`Missing::Own`]).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod cache;
pub mod config;
mod counts;
pub mod dataset;
mod encode;
mod encoder;
pub mod error;
mod file;
mod fit;
mod gather;
mod hash;
mod lock;
mod numeric;
mod parse;
mod peek;
pub mod predictions;
mod quantile;
pub mod reader;
pub mod reading;
pub mod schema;
mod source;
pub mod split;
mod stream;
mod sweep;
pub mod synth;
mod table;
pub mod unknown;
mod vocab;
mod xxh64;

pub use cache::{Cache, Prepared};
pub use config::{
    ByScenario, DataConfig, Equal, FieldConfig, Kind, ListText, Missing, NegativeRate, ScenarioWeights,
    UnseenScenario,
};
pub use dataset::Dataset;
pub use error::{DataError, FileErrorKind, Place, Result, is_control, printable, quote};
pub use file::{NewFile, is_taken, read_at, write_atomic, write_whole};
pub use lock::Lock;
pub use numeric::{Marks, NumericStats, Transform};
pub use peek::{Form, Holds, Peek, PeekColumn, Value, bracketed};
pub use predictions::{OutputFormat, Predictions};
pub use reader::{Extra, Need, RecordBuffer, RowReader};
pub use reading::{Quoting, Reading, Spelling};
pub use schema::{Encoding, FieldSchema, ScenarioSchema, Schema};
pub use source::{InputFile, Paths, Progress, Source, SourceFile, is_url};
pub use split::{Part, SplitConfig};
pub use stream::{StreamConfig, StreamMode};
pub use synth::SynthConfig;
pub use table::{ColumnType, TableWriter};
pub use vocab::Vocabulary;
