//! The rows of Parquet and Arrow files.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ::csv::ByteRecord;
use arrow_schema::Schema;

use super::arrow::Batches;
use super::column::{Column, class};
use super::data_file::{DataFile, Format, no_row};
use super::decode::From;
use super::file::{Opened, Piece};
use super::nearest::nearest;
use super::progress::Progress;
use super::values::Span;
use crate::error::{DataError, Place, Result};
use crate::fault::Fault;

/// A column that is read.
#[derive(Clone)]
struct Wanted {
    name: String,
    class: String, // in the first file
}

/// Files and the columns to read from them.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) parts: Arc<Vec<DataFile>>,
    wanted: Vec<Wanted>,
}

/// The files, and how far they have been handed out.
pub(crate) struct ColumnFiles {
    plan: Plan,
    shared: Option<Arc<Plan>>,      // once the first rows are asked for
    schema: Arc<Schema>,            // of the first file
    places: HashMap<String, usize>, // of its columns
    asked: HashMap<String, usize>,  // place of each wanted column
    next: usize,                    // part
    open: Option<Open>,
    rows: u64, // handed out
    header: ByteRecord,
}

/// The part at hand.
struct Open {
    part: usize,
    opened: Arc<Opened>,
    from: Arc<Vec<From>>,
    rows_before: u64,
    left: Left,
}

/// Rest of the part at hand.
enum Left {
    Pieces(VecDeque<Piece>),
    Batches(Batches),
}

/// Rows for one thread to decode.
pub(crate) struct Job {
    plan: Arc<Plan>,
    part: usize,
    rows_before: u64, // of all parts before
    what: What,
}

enum What {
    Piece { opened: Arc<Opened>, from: Arc<Vec<From>>, piece: Piece },
    Decoded { first_row: u64, rows: usize, columns: Vec<Column> },
}

/// Rows of a file.
pub(crate) struct ColumnRows {
    plan: Arc<Plan>,
    part: usize,
    first_row: u64, // of the file
    pub(super) rows: usize,
    pub(super) span: Span,
    pub(super) columns: Vec<Column>, // one per wanted column
}

impl Plan {
    /// Where a file has each wanted column.
    pub(super) fn locate(&self, part: &DataFile, schema: &Schema) -> Result<Vec<From>> {
        let first = &self.parts[0].name;
        let places = places(schema);
        let one = |wanted: &Wanted| {
            let fault = |problem, fix: &str| column_error(part, &wanted.name, problem, fix);
            let fix = "write all files with the same columns";
            let Some((from, of)) = find(part, schema, &places, &wanted.name) else {
                return Err(fault(format!("is missing, but {first} has it"), fix));
            };
            match of {
                None => Err(fault("is of a type that cannot be read".into(), fix)),
                Some(of) if of == wanted.class || of == "nothing" || wanted.class == "nothing" => Ok(from),
                Some(of) => {
                    let problem = format!("holds {of}, but in {first} it holds {}", wanted.class);
                    Err(fault(problem, "write it as the same type in all files"))
                }
            }
        };
        self.wanted.iter().map(one).collect()
    }
}

fn column_error(part: &DataFile, column: &str, problem: String, fix: &str) -> DataError {
    let (path, place, column) = (part.name.clone(), Place::Columns, column.to_owned());
    DataError::Value { path, place, column, problem, fix: fix.into() }
}

/// Where a file has each of its own columns.
fn places(schema: &Schema) -> HashMap<String, usize> {
    schema.fields().iter().enumerate().map(|(i, field)| (field.name().clone(), i)).collect()
}

/// A column by name, and what it holds in words; a file's own column comes before a folder's.
fn find(
    part: &DataFile,
    schema: &Schema,
    places: &HashMap<String, usize>,
    name: &str,
) -> Option<(From, Option<String>)> {
    if let Some(&i) = places.get(name) {
        return Some((From::Column(i), class(schema.field(i).data_type())));
    }
    // The innermost folder, should two name the same column.
    let folder = part.partitions.iter().rposition(|p| p.column == name)?;
    Some((From::Folder(folder), Some("text".into())))
}

impl ColumnFiles {
    pub(super) fn open(parts: Vec<DataFile>) -> Result<Self> {
        let opened = Opened::new(&parts[0])?;
        Ok(Self {
            plan: Plan { parts: Arc::new(parts), wanted: Vec::new() },
            shared: None,
            places: places(&opened.schema),
            asked: HashMap::new(),
            schema: opened.schema,
            next: 0,
            open: None,
            rows: 0,
            header: ByteRecord::from(vec!["row"]),
        })
    }

    pub(super) fn find(&mut self, column: &str, key: &str) -> Result<usize> {
        if let Some(&place) = self.asked.get(column) {
            return Ok(place);
        }
        let part = &self.plan.parts[0];
        let Some((from, class)) = find(part, &self.schema, &self.places, column) else {
            let names = self.schema.fields().iter().map(|f| f.name().as_str());
            let names: Vec<_> = names.chain(part.partitions.iter().map(|p| p.column.as_str())).collect();
            return Err(DataError::Row {
                path: part.name.clone(),
                place: Place::Columns,
                problem: format!("no column '{column}', which {key} names"),
                fix: nearest(column, &names),
            });
        };
        let Some(class) = class else {
            let of = match from {
                From::Column(i) => self.schema.field(i).data_type().to_string(),
                From::Folder(_) => String::new(), // always text
            };
            let problem = format!("is of type {of}, which cannot be read");
            let fix = "name a column of numbers, strings, booleans, times, lists of them or maps of them";
            return Err(column_error(part, column, problem, fix));
        };
        self.plan.wanted.push(Wanted { name: column.to_owned(), class });
        let place = self.plan.wanted.len() - 1;
        self.asked.insert(column.to_owned(), place);
        Ok(place)
    }

    /// The next rows to decode; none at the end. No row at all is an error.
    pub(super) fn next(&mut self) -> Result<Option<Job>> {
        let plan = match &self.shared {
            Some(plan) => plan.clone(),
            None => self.shared.insert(Arc::new(self.plan.clone())).clone(),
        };
        loop {
            if let Some(Open { part, opened, from, rows_before, left }) = &mut self.open {
                let (part, rows_before, from) = (*part, *rows_before, from.clone());
                let what = match left {
                    Left::Pieces(pieces) => pieces.pop_front().map(|piece| {
                        self.rows = rows_before + piece.first_row + piece.rows;
                        What::Piece { opened: opened.clone(), from, piece }
                    }),
                    Left::Batches(batches) => {
                        batches.next(&plan.parts[part], &from)?.map(|(rows, columns)| {
                            let first_row = self.rows - rows_before;
                            self.rows += rows as u64;
                            What::Decoded { first_row, rows, columns }
                        })
                    }
                };
                if let Some(what) = what {
                    return Ok(Some(Job { plan, part, rows_before, what }));
                }
            }
            let Some(part) = plan.parts.get(self.next) else {
                return if self.rows == 0 { Err(no_row(&plan.parts)) } else { Ok(None) };
            };
            let opened = Opened::new(part)?;
            let from = plan.locate(part, &opened.schema)?;
            let left = match part.format {
                Format::Arrow => Left::Batches(Batches::open(part, &from)?),
                _ => Left::Pieces(opened.pieces().into()),
            };
            let (opened, from) = (Arc::new(opened), Arc::new(from));
            self.open = Some(Open { part: self.next, opened, from, rows_before: self.rows, left });
            self.next += 1;
        }
    }

    pub(super) fn total_bytes(&self) -> Option<u64> {
        self.plan.parts.iter().map(|p| p.bytes).sum()
    }

    pub(super) fn header(&self) -> &ByteRecord {
        &self.header
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.parts[0].name
    }
}

impl Job {
    /// Decodes the rows and hands them on until `sink` says stop.
    pub(super) fn decode(self, sink: &mut dyn FnMut(ColumnRows) -> bool) -> Result<()> {
        let Self { plan, part: at, rows_before, what } = self;
        let part = &plan.parts[at];
        let sizes = |parts: &[DataFile]| parts.iter().map(|p| p.bytes).sum::<Option<u64>>();
        let (before, total_bytes) = (sizes(&plan.parts[..at]).unwrap_or(0), sizes(&plan.parts));
        let here = part.bytes.unwrap_or(0) as f64;
        // `share` is how much of the file has been read before a row.
        let progress = |row: u64, share: f64| Progress {
            rows: rows_before + row,
            bytes: before + (here * share) as u64,
            total_bytes,
        };
        match what {
            What::Piece { opened, from, piece } => {
                let mut first_row = piece.first_row;
                let share = |row: u64| row as f64 / piece.rows_of_file.max(1) as f64;
                opened.decode(part, piece, &from, &mut |rows, columns| {
                    let end = first_row + rows as u64;
                    let span =
                        Span { start: progress(first_row, share(first_row)), end: progress(end, share(end)) };
                    let rows = ColumnRows { plan: plan.clone(), part: at, first_row, rows, span, columns };
                    first_row = end;
                    sink(rows)
                })
            }
            What::Decoded { first_row, rows, columns } => {
                let (start, end) = (progress(first_row, 0.0), progress(first_row + rows as u64, 0.0));
                let span = Span { start, end };
                sink(ColumnRows { plan: plan.clone(), part: at, first_row, rows, span, columns });
                Ok(())
            }
        }
    }
}

impl ColumnRows {
    #[cold]
    pub(super) fn value_error(&self, row: usize, column: usize, fault: Fault) -> DataError {
        DataError::Value {
            path: self.plan.parts[self.part].name.clone(),
            place: Place::Row(self.first_row + row as u64 + 1),
            column: self.plan.wanted[column].name.clone(),
            problem: fault.problem,
            fix: fault.fix,
        }
    }
}
