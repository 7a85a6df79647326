//! The synthetic data as Parquet.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

use super::world::{self, World};
use super::{SynthConfig, price, probability};
use crate::error::{DataError, Result};
use crate::write::{ColumnType, TableWriter};

const COLUMNS: [(&str, ColumnType); 11] = [
    ("label", ColumnType::Int8),
    ("scenario", ColumnType::Text),
    ("user_id", ColumnType::Text),
    ("item_id", ColumnType::Text),
    ("user_segment", ColumnType::Text),
    ("category", ColumnType::Text),
    ("device", ColumnType::Text),
    ("tags", ColumnType::Texts),
    ("price", ColumnType::Float64),
    ("position", ColumnType::Int32),
    ("true_probability", ColumnType::Float64),
];

/// Writes row `i`; `scratch` holds its texts.
fn write_row<W: Write + Send>(
    out: &mut TableWriter<W>,
    config: &SynthConfig,
    world: &World,
    i: u64,
    scratch: &mut String,
) -> io::Result<()> {
    let row = world.row(i);
    let (user, item) = (&world.users[row.user], &world.items[row.item]);
    out.int(0, Some(i64::from(row.label)));
    let mut text = |column: usize, value: std::fmt::Arguments| {
        scratch.clear();
        scratch.write_fmt(value).ok(); // writing to a String cannot fail
        out.text(column, Some(scratch));
    };
    text(1, format_args!("{}", config.scenarios[row.scenario].name));
    text(2, format_args!("u{}", row.user));
    text(3, format_args!("i{}", row.item));
    text(4, format_args!("s{}", user.segment));
    text(5, format_args!("c{:02}", item.category));
    text(6, format_args!("{}", world::DEVICES[row.device]));
    out.texts(7, item.tags.iter().map(|tag| format!("t{tag:02}")));
    // Rounded as in the CSV, so that both say the same.
    out.number(8, row.price.and_then(|v| price(v).parse().ok()));
    out.int(9, Some(row.position as i64 + 1));
    out.number(10, probability(row.probability).parse().ok());
    out.end_row()
}

/// Writes the rows of `range` as Parquet, in row groups of 131,072 rows packed with Snappy; the same values as
/// [`write_csv`](super::write_csv), with `tags` as lists. Memory is that of one row group.
///
/// # Errors
/// A setting cannot work, or the output cannot be written.
pub fn write_parquet(config: &SynthConfig, mut range: Range<u64>, out: impl Write + Send) -> Result<()> {
    config.validate()?;
    let (world, mut scratch) = (World::new(config), String::new());
    let written = || {
        let mut out = TableWriter::new(out, &COLUMNS)?;
        range.try_for_each(|i| write_row(&mut out, config, &world, i, &mut scratch))?;
        out.finish().map(drop)
    };
    written().map_err(|e| DataError::io("synthetic data", "write", e))
}
