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

mod config;
mod encode;
mod error;
mod fault;
mod parse;
mod schema;
mod source;
pub mod synth;
mod util;
mod write;

pub use config::{
    BLOCK_ROWS, ByScenario, DataConfig, Equal, FieldConfig, Kind, ListText, Marks, Missing, NegativeRate,
    ScenarioWeights, StreamConfig, StreamMode, Transform, UnseenScenario,
};
pub use encode::{
    Cache, Dataset, Datum, Extra, Items, Need, Prepared, RecordBuffer, RequestColumn, RequestEncoder,
    RequestKind, RowReader, Selection, Unknown, Unknowns,
};
pub use error::{DataError, FileErrorKind, Place, Result, is_control, printable, quote};
pub use schema::{
    Encoding, FALLBACK, FieldSchema, Form, Holds, NumericStats, Peek, PeekColumn, ScenarioSchema, Schema,
    Value, Vocabulary, bracketed,
};
pub use source::{
    BY_ROW, Frame, InputFile, NULLS, NUMBER_NULLS, Paths, Progress, Quoting, Reading, Source, SourceFile,
    Spelling, Split, SplitConfig, interruptible, is_url,
};
pub use synth::{SynthConfig, SynthWorld};
pub use util::{Lock, NewFile, is_taken, read_at, write_atomic, write_whole};
pub use write::{ColumnType, OutputFormat, Predictions, TableWriter};
