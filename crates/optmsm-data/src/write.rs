//! Rows out to files: predictions, and tables of prepared or synthetic data.

mod predictions;
mod table;

pub use predictions::{OutputFormat, Predictions};
pub use table::{ColumnType, TableWriter};
