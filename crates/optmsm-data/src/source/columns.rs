//! Rows of Parquet and Arrow files.

use std::sync::Arc;

use ::csv::ByteRecord;
use arrow_schema::Schema;

use super::cell::Cell;
use super::column::{Column, Entry, class};
use super::csv_parts::no_row;
use super::file::{From, Opened};
use super::parts::Part;
use super::pool::{Decoded, Pool};
use super::{Progress, Row};
use crate::error::{DataError, Place, Result};
use crate::parse::Fault;

/// A column that is read.
#[derive(Clone)]
struct Wanted {
    name: String,
    class: String, // in the first file
}

/// What is read of which files.
pub(super) struct Plan {
    pub(super) parts: Arc<Vec<Part>>,
    wanted: Vec<Wanted>,
}

/// A stream of the rows of several files.
pub(crate) struct ColumnParts {
    parts: Arc<Vec<Part>>,
    schema: Arc<Schema>, // of the first file
    wanted: Vec<Wanted>,
    threads: usize,
    pool: Option<Pool>,
    batch: Option<Decoded>,
    row: usize, // in the batch
    rows: u64,
    header: ByteRecord,
}

/// A row of a batch.
#[derive(Clone, Copy)]
pub(crate) struct ColumnRow<'a> {
    columns: &'a [Column],
    row: usize,
}

impl Row for ColumnRow<'_> {
    #[inline]
    fn cell(&self, column: usize) -> Cell<'_> {
        self.columns[column].cell(self.row)
    }

    #[inline]
    fn entry(&self, column: usize) -> Option<Entry<'_>> {
        self.columns[column].entry(self.row)
    }
}

impl Plan {
    /// Where a file has each wanted column.
    pub(super) fn locate(&self, part: &Part, schema: &Schema) -> Result<Vec<From>> {
        let first = &self.parts[0].name;
        let one = |wanted: &Wanted| {
            let fault = |problem, fix: &str| column_error(part, &wanted.name, problem, fix);
            let fix = "write all files with the same columns";
            let Some((from, of)) = find(part, schema, &wanted.name) else {
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

fn column_error(part: &Part, column: &str, problem: String, fix: &str) -> DataError {
    let (path, place, column) = (part.name.clone(), Place::Columns, column.to_owned());
    DataError::Value { path, place, column, problem, fix: fix.into() }
}

/// A column by name, and what it holds in words; a file's own column comes before a folder's.
fn find(part: &Part, schema: &Schema, name: &str) -> Option<(From, Option<String>)> {
    if let Some((i, field)) = schema.column_with_name(name) {
        return Some((From::Column(i), class(field.data_type())));
    }
    // The innermost folder, should two name the same column.
    let folder = part.partitions.iter().rposition(|p| p.column == name)?;
    Some((From::Folder(folder), Some("text".into())))
}

impl ColumnParts {
    pub(super) fn open(parts: Vec<Part>, threads: usize) -> Result<Self> {
        let opened = Opened::new(&parts[0])?;
        Ok(Self {
            parts: Arc::new(parts),
            schema: opened.schema,
            wanted: Vec::new(),
            threads,
            pool: None,
            batch: None,
            row: 0,
            rows: 0,
            header: ByteRecord::from(vec!["row"]),
        })
    }

    pub(super) fn find(&mut self, column: &str, key: &str) -> Result<usize> {
        if let Some(i) = self.wanted.iter().position(|w| w.name == column) {
            return Ok(i);
        }
        let part = &self.parts[0];
        let Some((from, class)) = find(part, &self.schema, column) else {
            let names = self.schema.fields().iter().map(|f| f.name().as_str());
            let names: Vec<_> = names.chain(part.partitions.iter().map(|p| p.column.as_str())).collect();
            return Err(DataError::Row {
                path: part.name.clone(),
                place: Place::Columns,
                problem: format!("no column '{column}', which {key} names"),
                fix: super::nearest(column, &names),
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
        self.wanted.push(Wanted { name: column.to_owned(), class });
        Ok(self.wanted.len() - 1)
    }

    /// Goes to the next row; false at the end. No row at all is an error.
    #[inline]
    pub(super) fn next(&mut self) -> Result<bool> {
        self.row += 1;
        if self.batch.as_ref().is_none_or(|batch| self.row >= batch.rows) && !self.next_batch()? {
            return Ok(false);
        }
        self.rows += 1;
        Ok(true)
    }

    #[inline(never)]
    fn next_batch(&mut self) -> Result<bool> {
        self.row = 0;
        let pool = match &mut self.pool {
            Some(pool) => pool,
            None => {
                let plan = Plan { parts: self.parts.clone(), wanted: self.wanted.clone() };
                self.pool.insert(Pool::start(plan, self.threads))
            }
        };
        loop {
            self.batch = pool.next()?;
            match &self.batch {
                Some(batch) if batch.rows == 0 => {}
                Some(_) => return Ok(true),
                None if self.rows > 0 => return Ok(false),
                None => return Err(no_row(&self.parts)),
            }
        }
    }

    #[inline]
    pub(super) fn row(&self) -> ColumnRow<'_> {
        let columns = self.batch.as_ref().map_or(&[][..], |batch| &batch.columns);
        ColumnRow { columns, row: self.row }
    }

    #[cold]
    pub(super) fn value_error(&self, column: usize, fault: Fault) -> DataError {
        let (part, row) = self.batch.as_ref().map_or((0, 0), |b| (b.part, b.first_row + self.row as u64));
        DataError::Value {
            path: self.parts[part].name.clone(),
            place: Place::Row(row + 1),
            column: self.wanted[column].name.clone(),
            problem: fault.problem,
            fix: fault.fix,
        }
    }

    pub(super) fn header(&self) -> &ByteRecord {
        &self.header
    }

    /// The number of the row in all files, from 1.
    pub(super) fn take(&self, record: &mut ByteRecord) {
        record.clear();
        record.push_field(self.rows.to_string().as_bytes());
    }

    pub(super) fn name(&self) -> &str {
        &self.parts[0].name
    }

    pub(super) fn progress(&self) -> Progress {
        let sizes = |parts: &[Part]| parts.iter().map(|p| p.bytes).sum::<Option<u64>>();
        let bytes = match &self.batch {
            None if self.rows == 0 => 0,
            None => sizes(&self.parts).unwrap_or(0),
            Some(batch) => {
                let read = (batch.first_row + self.row as u64 + 1) as f64;
                let share = batch.rows_of_file.map_or(0.0, |all| read / all.max(1) as f64);
                let of_file = self.parts[batch.part].bytes.unwrap_or(0) as f64 * share;
                sizes(&self.parts[..batch.part]).unwrap_or(0) + of_file as u64
            }
        };
        Progress { rows: self.rows, bytes, total_bytes: sizes(&self.parts) }
    }
}
