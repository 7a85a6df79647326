//! Whole rows of Parquet and Arrow files, as they are stored: to be written out again.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::Source;
use super::data_file::DataFile;
use super::decode::From;
use super::file::Opened;
use super::listing::data_files;
use crate::error::{DataError, Place, Result};

/// The files of a source that is not CSV.
pub(crate) struct Whole {
    parts: Vec<DataFile>,
    schema: SchemaRef,
    own: usize, // columns of the first file itself
}

/// Rows in the order of the files, one array a column of [`Whole::schema`]. Texts may come as dictionaries.
pub(crate) struct WholeRows {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<ArrayRef>,
}

impl Whole {
    /// Opens the first file; none of a source of CSV.
    ///
    /// # Errors
    /// There are no such files, or the first cannot be read.
    pub(crate) fn open(source: &Source) -> Result<Option<Self>> {
        if source.is_stdin() {
            return Ok(None);
        }
        let parts = data_files(&source.paths)?;
        let Some(first) = parts.first().filter(|part| !part.format.is_csv()) else { return Ok(None) };
        let own = Opened::new(first)?.schema;
        let mut fields = own.fields().to_vec();
        for (i, folder) in first.partitions.iter().enumerate() {
            let later = first.partitions[i + 1..].iter().any(|p| p.column == folder.column);
            // A file's own column comes before a folder's, and an inner folder's before an outer one's.
            if !later && own.column_with_name(&folder.column).is_none() {
                fields.push(Arc::new(Field::new(&folder.column, DataType::Utf8, true)));
            }
        }
        Ok(Some(Self { schema: Arc::new(Schema::new(fields)), own: own.fields().len(), parts }))
    }

    /// The columns of the first file, then those of its folders.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many of them are the file's own.
    pub(crate) fn own(&self) -> usize {
        self.own
    }

    /// Hands on all rows in order until `sink` says stop. Memory is that of a batch: 8192 rows of a Parquet file,
    /// a record batch of an Arrow file.
    ///
    /// # Errors
    /// A file is damaged, or does not have the columns of the first one.
    pub(crate) fn each(&self, sink: &mut dyn FnMut(WholeRows) -> bool) -> Result<()> {
        for part in &self.parts {
            let opened = Opened::new(part)?;
            let from = self.locate(part, &opened.schema)?;
            let mut wanted = true;
            opened.whole(part, &mut |batch| {
                let column = |from: &From| column(from, &batch, part);
                let columns = from.iter().map(column).collect::<std::result::Result<_, _>>()?;
                wanted = sink(WholeRows { rows: batch.num_rows(), columns });
                Ok(wanted)
            })?;
            if !wanted {
                break;
            }
        }
        Ok(())
    }

    /// Where a file has each column.
    fn locate(&self, part: &DataFile, schema: &Schema) -> Result<Vec<From>> {
        let first = &self.parts[0].name;
        let fault = |column: &str, problem: String| DataError::Value {
            path: part.name.clone(),
            place: Place::Columns,
            column: column.to_owned(),
            problem,
            fix: "write all files with the same columns, or the predictions as CSV".into(),
        };
        if let Some(more) = schema.fields().iter().find(|f| self.schema.column_with_name(f.name()).is_none())
        {
            return Err(fault(more.name(), format!("is not in {first}")));
        }
        let one = |wanted: &Arc<Field>| {
            let name = wanted.name();
            let Some((i, field)) = schema.column_with_name(name) else {
                // The innermost folder, should two name the same column.
                let folder = part.partitions.iter().rposition(|p| p.column == *name);
                return match folder.filter(|_| *wanted.data_type() == DataType::Utf8) {
                    Some(folder) => Ok(From::Folder(folder)),
                    None => Err(fault(name, format!("is missing, but {first} has it"))),
                };
            };
            let (of, as_in_first) = (plain(field.data_type()), plain(wanted.data_type()));
            match of.equals_datatype(as_in_first) {
                true => Ok(From::Column(i)),
                false => Err(fault(name, format!("is of type {of}, but in {first} of type {as_in_first}"))),
            }
        };
        self.schema.fields().iter().map(one).collect()
    }
}

/// The type of what a dictionary refers to.
fn plain(of: &DataType) -> &DataType {
    match of {
        DataType::Dictionary(_, value) => value,
        plain => plain,
    }
}

fn column(from: &From, batch: &RecordBatch, part: &DataFile) -> std::result::Result<ArrayRef, String> {
    match from {
        From::Column(i) => Ok(batch.column(*i).clone()),
        From::Folder(i) => {
            let value = part.partitions[*i].value.as_deref().map(std::str::from_utf8).transpose();
            let value = value.map_err(|_| "the name of a folder is no UTF-8".to_owned())?;
            Ok(Arc::new(StringArray::from(vec![value; batch.num_rows()])))
        }
    }
}
