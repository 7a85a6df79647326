//! One Parquet or Arrow file: its columns, and its rows as batches.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;

use super::arrow;
use super::bounds::CheckedPages;
use super::column::{Column, Memory};
use super::data_file::{DataFile, Format};
use super::decode::{Batches, From, ROWS, convert, plain, remedy, roots};
use super::foreign::{HEAD, misnamed};
use super::guard::guard;
use super::int96;
use super::stored::Stored;
use crate::error::{DataError, FileErrorKind, Place, Result, printable};

/// A file whose columns are known.
pub(super) struct Opened {
    pub(super) schema: SchemaRef,
    parquet: Option<ArrowReaderMetadata>,
}

/// A row group of a Parquet file, which is decoded by one thread.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    group: usize,
    /// Rows of the file before it.
    pub(super) first_row: u64,
    pub(super) rows: u64,
    pub(super) rows_of_file: u64,
}

impl Opened {
    pub(super) fn new(part: &DataFile) -> Result<Self> {
        let file = Stored::open(part)?;
        let opened = guard(|| {
            if part.format == Format::Arrow && part.memory.is_none() {
                let schema = arrow::batches(&file, None)?.schema();
                return Ok(Self { schema, parquet: None });
            }
            let metadata = match &file {
                Stored::Memory(memory) => return Ok(Self { schema: memory.schema(), parquet: None }),
                Stored::Disk(file) => ArrowReaderMetadata::load(file, ArrowReaderOptions::new()),
                #[cfg(feature = "object-store")]
                Stored::Object(object) => {
                    let footer = object.footer().map_err(|e| e.to_string())?;
                    ArrowReaderMetadata::load(&footer, ArrowReaderOptions::new())
                }
            };
            let metadata = metadata.map_err(|e| plain(&e.to_string()))?;
            Ok(Self { schema: metadata.schema().clone(), parquet: Some(metadata) })
        });
        let opened: Self = opened.map_err(|problem| {
            if let Some(failure) = file.failure() {
                return failure;
            }
            let is_arrow = part.format == Format::Arrow;
            let kind = if is_arrow { "an Arrow" } else { "a Parquet" };
            let mut head = Vec::new();
            file.reader().and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)).ok();
            if let Some((problem, fix)) = misnamed(&head, is_arrow) {
                return DataError::unfit(&part.name, format!("{problem}, not {kind} file"), fix);
            }
            let problem = format!("cannot be read as {kind} file: {problem}");
            let fix = "check that it is one, and that it was written or copied to its end";
            DataError::file(FileErrorKind::Damaged, &part.name, problem, fix)
        })?;
        match twice(opened.schema.fields()) {
            Some(problem) => Err(DataError::Row {
                path: part.name.clone(),
                place: Place::Columns,
                problem,
                fix: "rename or drop one".into(),
            }),
            None => Ok(opened),
        }
    }

    /// The pieces of a Parquet file, in order.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let Some(parquet) = &self.parquet else { return Vec::new() };
        let groups = parquet.metadata().row_groups();
        let rows = |g: &RowGroupMetaData| u64::try_from(g.num_rows()).unwrap_or(0);
        let total = groups.iter().map(rows).fold(0u64, u64::saturating_add);
        let mut first_row = 0u64;
        let piece = |(group, g)| {
            let piece = Piece { group, first_row, rows: rows(g), rows_of_file: total };
            first_row = first_row.saturating_add(piece.rows);
            piece
        };
        groups.iter().enumerate().map(piece).collect()
    }

    /// Decodes a piece and hands on its batches until `sink` says stop.
    pub(super) fn decode(
        &self,
        part: &DataFile,
        piece: Piece,
        from: &[From],
        sink: &mut dyn FnMut(usize, Vec<Column>) -> bool,
    ) -> Result<()> {
        let file = Stored::open(part)?;
        let mut memories: Vec<Memory> = from.iter().map(|_| Memory::default()).collect();
        let roots = roots(from);
        let result = guard(|| {
            self.each(&file, piece, &roots, &mut |batch| {
                Ok(sink(batch.num_rows(), convert(part, from, &roots, &batch, &mut memories)?))
            })
        });
        result.map_err(|problem| self.failure(part, &file, piece, &roots, problem))
    }

    /// Hands on the batches of the whole file with all its columns, until `sink` says stop.
    pub(super) fn whole(
        &self,
        part: &DataFile,
        sink: &mut dyn FnMut(RecordBatch) -> std::result::Result<bool, String>,
    ) -> Result<()> {
        let roots: Vec<usize> = (0..self.schema.fields().len()).collect();
        if self.parquet.is_none() {
            return arrow::whole(part, &roots, sink);
        }
        let mut wanted = true;
        for piece in self.pieces() {
            let file = Stored::open(part)?;
            let result = guard(|| {
                self.each(&file, piece, &roots, &mut |batch| {
                    wanted = sink(batch)?;
                    Ok(wanted)
                })
            });
            result.map_err(|problem| self.failure(part, &file, piece, &roots, problem))?;
            if !wanted {
                break;
            }
        }
        Ok(())
    }

    /// Hands on the batches of a row group.
    fn each(
        &self,
        file: &Stored,
        piece: Piece,
        roots: &[usize],
        sink: &mut dyn FnMut(RecordBatch) -> std::result::Result<bool, String>,
    ) -> std::result::Result<(), String> {
        let Some(parquet) = &self.parquet else { return Ok(()) };
        self.check_times(file, parquet, piece, roots)?;
        let (mut rows, wanted) = (0, parquet.metadata().row_group(piece.group).num_rows());
        for batch in row_group(file, parquet, piece.group, roots, &as_stored)? {
            let batch = batch.map_err(|e| plain(&e.to_string()))?;
            rows += batch.num_rows();
            if !sink(batch)? {
                return Ok(());
            }
        }
        match usize::try_from(wanted) {
            Ok(wanted) if wanted == rows => Ok(()),
            _ => Err(format!("{rows} rows where {wanted} are announced")),
        }
    }

    /// Checks the times of 96 bits in a row group, which costs reading their columns twice.
    fn check_times(
        &self,
        file: &Stored,
        parquet: &ArrowReaderMetadata,
        piece: Piece,
        roots: &[usize],
    ) -> std::result::Result<(), String> {
        let times = int96::roots(parquet, roots);
        if times.is_empty() {
            return Ok(());
        }
        let mut first_row = piece.first_row;
        for batch in row_group(file, parquet, piece.group, &times, &|of, _| int96::in_seconds(of))? {
            let batch = batch.map_err(|e| plain(&e.to_string()))?;
            int96::check(&batch, times.iter().map(|&root| self.schema.field(root)), first_row)?;
            first_row += batch.num_rows() as u64;
        }
        Ok(())
    }

    /// Returns the store's error, or one that names the column that cannot be decoded. Decodes each column
    /// alone to find it.
    #[cold]
    fn failure(
        &self,
        part: &DataFile,
        file: &Stored,
        piece: Piece,
        roots: &[usize],
        problem: String,
    ) -> DataError {
        if let Some(failure) = file.failure() {
            return failure;
        }
        let alone = |&root: &usize| {
            let tried = guard(|| {
                self.each(file, piece, &[root], &mut |batch| {
                    Column::new(batch.column(0), &mut Memory::default()).map(|_| true)
                })
            });
            tried.err().map(|problem| (root, problem))
        };
        let place = Place::Group(piece.group as u64 + 1);
        let path = part.name.clone();
        let (_, fix) = remedy(&problem);
        match roots.iter().find_map(alone) {
            Some((root, problem)) => DataError::Value {
                path,
                place,
                column: self.schema.field(root).name().clone(),
                problem: format!("cannot be decoded: {problem}"),
                fix: fix.into(),
            },
            None => DataError::Row {
                path,
                place,
                problem: format!("cannot be decoded: {problem}"),
                fix: fix.into(),
            },
        }
    }
}

/// Error of columns of which two have one name, also those within a column.
fn twice(fields: &Fields) -> Option<String> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(fields.len());
    fields.iter().enumerate().find_map(|(i, field)| {
        let name = field.name();
        if let Some(first) = places.insert(name, i) {
            let name = printable(name);
            return Some(format!("column '{name}' appears twice, as columns {} and {}", first + 1, i + 1));
        }
        let within = inner(field.data_type()).and_then(twice);
        within.map(|problem| format!("within column '{}', {problem}", printable(name)))
    })
}

/// The fields of a column of structs, or of lists or maps of them.
fn inner(of: &DataType) -> Option<&Fields> {
    match of {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => inner(item.data_type()),
        _ => None,
    }
}

/// Batches of a row group. `as_read` is the type to read a column of a type as; it also hears whether all of the
/// column's pages are a dictionary.
fn row_group(
    file: &Stored,
    parquet: &ArrowReaderMetadata,
    group: usize,
    roots: &[usize],
    as_read: &dyn Fn(&DataType, bool) -> DataType,
) -> std::result::Result<Batches, String> {
    let metadata = parquet.metadata();
    let chunks = metadata.row_group(group);
    let (leaves, mut first) = (metadata.file_metadata().schema_descr(), HashMap::new()); // leaf of each root
    for leaf in 0..leaves.num_columns() {
        first.entry(leaves.get_column_root_idx(leaf)).or_insert(leaf);
    }
    let fields = parquet.schema().fields().iter().enumerate().map(|(root, field)| {
        let kept = first.get(&root).is_some_and(|&leaf| {
            let chunk = chunks.column(leaf);
            let only = |e| chunk.page_encoding_stats_mask().is_some_and(|mask| mask.is_only(e));
            chunk.dictionary_page_offset().is_some()
                && (only(Encoding::RLE_DICTIONARY) || only(Encoding::PLAIN_DICTIONARY))
        });
        Arc::new(Field::clone(field).with_data_type(as_read(field.data_type(), kept)))
    });
    let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), parquet.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    // The plain types are those of the file itself, should it not agree with a dictionary.
    let described =
        ArrowReaderMetadata::try_new(metadata.clone(), options).unwrap_or_else(|_| parquet.clone());
    let mask = ProjectionMask::roots(metadata.file_metadata().schema_descr(), roots.iter().copied());
    let reader = match file {
        Stored::Memory(_) => return Err("rows in memory have no row groups".into()),
        Stored::Disk(file) => {
            let file = file.try_clone().map_err(|e| e.to_string())?;
            reader(file, described, mask, group)
        }
        #[cfg(feature = "object-store")]
        Stored::Object(object) => {
            let wanted = (0..chunks.num_columns()).filter(|&leaf| mask.leaf_included(leaf));
            let ranges = wanted.map(|leaf| chunks.column(leaf).byte_range()).collect();
            reader(object.chunks(ranges).map_err(|e| e.to_string())?, described, mask, group)
        }
    };
    reader.map_err(|e| plain(&e.to_string()))
}

fn reader(
    file: impl ChunkReader + 'static,
    described: ArrowReaderMetadata,
    mask: ProjectionMask,
    group: usize,
) -> std::result::Result<Batches, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(CheckedPages(file), described);
    let builder = builder.with_projection(mask).with_row_groups(vec![group]).with_batch_size(ROWS);
    Ok(Box::new(builder.build()?))
}

/// The type to read a column as: a dictionary only where all of its pages are one, so that no new one is made.
fn as_stored(of: &DataType, kept: bool) -> DataType {
    let text = |t: &DataType| {
        matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary)
    };
    match of {
        DataType::Dictionary(_, value) if kept && text(value) => {
            DataType::Dictionary(Box::new(DataType::Int32), value.clone())
        }
        DataType::Dictionary(_, value) => (**value).clone(),
        plain if kept && text(plain) => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(plain.clone()))
        }
        DataType::List(item) => {
            let of = as_stored(item.data_type(), kept);
            DataType::List(Arc::new(Field::clone(item).with_data_type(of)))
        }
        plain => plain.clone(),
    }
}
