//! The synthetic data as Parquet.

use std::fmt::Write as _;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{
    Float64Builder, Int8Builder, Int32Builder, ListBuilder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::world::{self, World};
use super::{SynthConfig, price, probability};
use crate::error::{DataError, Result};

/// Rows of a row group: a few MB of these columns, and enough groups to read a large file with many threads.
const GROUP: u64 = 128 << 10;

#[derive(Default)]
struct Columns {
    label: Int8Builder,
    texts: [StringDictionaryBuilder<Int32Type>; 6],
    tags: ListBuilder<StringBuilder>,
    price: Float64Builder,
    position: Int32Builder,
    probability: Float64Builder,
}

/// Texts of a row, in the order of [`Columns::texts`].
const TEXTS: [&str; 6] = ["scenario", "user_id", "item_id", "user_segment", "category", "device"];

impl Columns {
    fn push(&mut self, config: &SynthConfig, world: &World, i: u64, scratch: &mut String) {
        let row = world.row(i);
        let (user, item) = (&world.users[row.user], &world.items[row.item]);
        self.label.append_value(i8::from(row.label));
        let mut text = |column: usize, value: std::fmt::Arguments| {
            scratch.clear();
            scratch.write_fmt(value).ok(); // writing to a String cannot fail
            self.texts[column].append_value(&*scratch);
        };
        text(0, format_args!("{}", config.scenarios[row.scenario].name));
        text(1, format_args!("u{}", row.user));
        text(2, format_args!("i{}", row.item));
        text(3, format_args!("s{}", user.segment));
        text(4, format_args!("c{:02}", item.category));
        text(5, format_args!("{}", world::DEVICES[row.device]));
        for tag in &item.tags {
            self.tags.values().append_value(format!("t{tag:02}"));
        }
        self.tags.append(true);
        // Rounded as in the CSV, so that both say the same.
        self.price.append_option(row.price.and_then(|v| price(v).parse().ok()));
        self.position.append_value(row.position as i32 + 1);
        self.probability.append_option(probability(row.probability).parse().ok());
    }

    fn finish(&mut self) -> Vec<(&'static str, ArrayRef)> {
        let mut out: Vec<(&str, ArrayRef)> = vec![("label", Arc::new(self.label.finish()))];
        for (name, column) in TEXTS.iter().zip(&mut self.texts) {
            out.push((name, Arc::new(column.finish())));
        }
        out.push(("tags", Arc::new(self.tags.finish())));
        out.push(("price", Arc::new(self.price.finish())));
        out.push(("position", Arc::new(self.position.finish())));
        out.push(("true_probability", Arc::new(self.probability.finish())));
        out
    }
}

/// Writes the rows of `range` as Parquet, in row groups of 131,072 rows packed with Snappy; the same values as
/// [`write_csv`](super::write_csv), with `tags` as lists. Memory is that of one row group.
///
/// # Errors
/// A setting cannot work, or the output cannot be written.
pub fn write_parquet(config: &SynthConfig, range: Range<u64>, out: impl Write + Send) -> Result<()> {
    config.validate()?;
    let failed = |e: ParquetError| DataError::io("synthetic data", "write", std::io::Error::other(e));
    let world = World::new(config);
    let (mut columns, mut scratch) = (Columns::default(), String::new());
    let mut batch = |rows: Range<u64>| {
        rows.for_each(|i| columns.push(config, &world, i, &mut scratch));
        RecordBatch::try_from_iter_with_nullable(
            columns.finish().into_iter().map(|(name, column)| (name, column, true)),
        )
        .map_err(|e| failed(e.into()))
    };
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = batch(0..0)?.schema();
    let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(failed)?;
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + GROUP);
        writer.write(&batch(start..end)?).and_then(|()| writer.flush()).map_err(failed)?;
        start = end;
    }
    writer.close().map_err(failed)?;
    Ok(())
}
