//! Tables of other libraries as rows of the engine.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Int8Array, PrimitiveArray, RecordBatch,
    RecordBatchReader, StringArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArray1};
use optmsm_train::error::Error;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

use crate::errors::{of_class, raised};
use crate::wait::{check, quietly};

/// Batches from an object with `__arrow_c_stream__`.
pub(crate) fn stream(object: &Bound<'_, PyAny>) -> PyResult<RecordBatchStreamReader> {
    let capsule = object.call_method0("__arrow_c_stream__")?;
    let capsule = capsule.cast_into::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: the name says what the capsule holds, by the Arrow PyCapsule interface. `from_raw` takes the stream out and leaves an empty
    // one, which the capsule's destructor passes over.
    let reader =
        unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr().cast::<FFI_ArrowArrayStream>()) };
    reader.map_err(arrow)
}

fn arrow(error: ArrowError) -> PyErr {
    raised(broken(error))
}

fn broken(error: ArrowError) -> Error {
    Error::rows("the Arrow stream", format!("cannot be read: {error}"), "check what makes it")
}

/// A column that is added to a table.
enum Added {
    Values(ArrayRef),
    Constant(String),
}

impl Added {
    /// Its values for some rows.
    fn slice(&self, first: usize, rows: usize) -> ArrayRef {
        match self {
            Self::Values(values) => values.slice(first, rows),
            Self::Constant(text) => {
                let keys = Int8Array::from(vec![0; rows]);
                let values: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
                Arc::new(DictionaryArray::new(keys, values))
            }
        }
    }
}

/// Rows in memory under a path that works wherever that of a file does, as long as this is there.
#[pyclass(frozen, module = "optmsm._internal")]
pub(crate) struct Frame {
    frame: optmsm_data::Frame,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

#[pymethods]
impl Frame {
    /// The batches of an object with `__arrow_c_stream__`, without copies, with columns added to them: pairs of a name and a NumPy array, a
    /// list of texts or one text for all rows. `leave_out` names columns that are not taken.
    #[staticmethod]
    fn from_stream(
        py: Python<'_>,
        name: &str,
        object: &Bound<'_, PyAny>,
        added: Vec<(String, Bound<'_, PyAny>)>,
        leave_out: Vec<String>,
    ) -> PyResult<Self> {
        let reader = stream(object)?;
        let schema = reader.schema();
        // Batches may be made as they are read.
        let batches = quietly(py, move |stop| {
            let mut batches = Vec::new();
            for batch in reader {
                check(&stop)?;
                batches.push(batch.map_err(broken)?);
            }
            Ok(batches)
        })?;
        let kept: Vec<usize> =
            (0..schema.fields().len()).filter(|&i| !leave_out.contains(schema.field(i).name())).collect();
        let schema = Arc::new(schema.project(&kept).map_err(arrow)?);
        let batches = batches.iter().map(|batch| batch.project(&kept)).collect::<Result<Vec<_>, _>>();
        Self::with(name, schema, batches.map_err(arrow)?, added)
    }

    /// Columns alone, of one length.
    #[staticmethod]
    fn from_columns(name: &str, rows: usize, added: Vec<(String, Bound<'_, PyAny>)>) -> PyResult<Self> {
        let schema: SchemaRef = Arc::new(Schema::empty());
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).map_err(arrow)?;
        Self::with(name, schema, vec![batch], added)
    }

    /// The same rows with other names of columns: pairs of the new and the old one. Other columns of a new name are left out.
    fn renamed(&self, names: HashMap<String, String>) -> PyResult<Self> {
        let new = |name: &String| names.iter().find(|(_, old)| *old == name).map(|(new, _)| new.clone());
        let kept: Vec<usize> = (0..self.schema.fields().len())
            .filter(|&i| {
                let name = self.schema.field(i).name();
                new(name).is_some() || !names.contains_key(name)
            })
            .collect();
        let field = |&i: &usize| {
            let field = self.schema.field(i);
            let name = new(field.name()).unwrap_or_else(|| field.name().clone());
            Arc::new(field.clone().with_name(name))
        };
        let schema = Arc::new(Schema::new(kept.iter().map(field).collect::<Vec<_>>()));
        let batch = |batch: &RecordBatch| {
            let columns = kept.iter().map(|&i| batch.column(i).clone()).collect();
            RecordBatch::try_new(schema.clone(), columns)
        };
        let batches = self.batches.iter().map(batch).collect::<Result<Vec<_>, _>>().map_err(arrow)?;
        let frame = optmsm_data::Frame::new("rows", schema.clone(), batches.clone()).map_err(raised)?;
        Ok(Self { frame, schema, batches })
    }

    /// Path for configurations and commands.
    #[getter]
    fn path(&self) -> String {
        // Not as a path, of which Python would take one of the two slashes.
        self.frame.path().display().to_string()
    }

    #[getter]
    fn rows(&self) -> usize {
        self.frame.rows()
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The values of a column: a NumPy array of what is numbers without nulls, else a list with None for nulls.
    fn values<'py>(&self, py: Python<'py>, column: &str) -> PyResult<Bound<'py, PyAny>> {
        let (at, _) = self.schema.column_with_name(column).ok_or_else(|| {
            let known = self.columns().join("', '");
            of_class("DataError", &format!("no column '{column}'; the table has '{known}'"))
        })?;
        let arrays: Vec<&ArrayRef> = self.batches.iter().map(|batch| batch.column(at)).collect();
        to_python(py, column, self.schema.field(at).data_type(), &arrays)
    }
}

impl Frame {
    fn with(
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        added: Vec<(String, Bound<'_, PyAny>)>,
    ) -> PyResult<Self> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut columns = Vec::with_capacity(added.len());
        for (column, values) in added {
            columns.push((column.clone(), added_column(&column, &values, rows)?));
        }
        let mut fields = schema.fields().to_vec();
        for (column, values) in &columns {
            fields.push(Arc::new(Field::new(column, values.slice(0, 0).data_type().clone(), true)));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut first = 0;
        let mut all = Vec::with_capacity(batches.len());
        for batch in batches {
            let rows = batch.num_rows();
            let mut arrays = batch.columns().to_vec();
            arrays.extend(columns.iter().map(|(_, values)| values.slice(first, rows)));
            let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
            all.push(RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(arrow)?);
            first += rows;
        }
        let frame = optmsm_data::Frame::new(name, schema.clone(), all.clone()).map_err(raised)?;
        Ok(Self { frame, schema, batches: all })
    }
}

/// Writes the batches of an object with `__arrow_c_stream__` to a file, one at a time; returns the number of rows. It is a stream, whose
/// dictionaries may change from batch to batch.
#[pyfunction]
pub(crate) fn spool(py: Python<'_>, object: &Bound<'_, PyAny>, path: PathBuf) -> PyResult<u64> {
    let reader = stream(object)?;
    quietly(py, move |stop| {
        let io = |e: std::io::Error| {
            Error::io(path.display(), "written", e, "name a folder with more space in TMPDIR")
        };
        let written = |e: ArrowError| match e {
            ArrowError::IoError(_, e) => io(e),
            e => broken(e),
        };
        let file = BufWriter::with_capacity(1 << 20, File::create(&path).map_err(io)?);
        let mut writer = StreamWriter::try_new(file, &reader.schema()).map_err(written)?;
        let mut rows = 0;
        for batch in reader {
            check(&stop)?;
            let batch = batch.map_err(broken)?;
            rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(written)?;
        }
        writer.finish().map_err(written)?;
        Ok(rows)
    })
}

/// A column of a NumPy array, a list of texts, or one text.
fn added_column(name: &str, values: &Bound<'_, PyAny>, rows: usize) -> PyResult<Added> {
    if let Ok(text) = values.extract::<String>() {
        return Ok(Added::Constant(text));
    }
    let array = numbers(values)?.map_or_else(
        || {
            let texts = values.extract::<Vec<Option<String>>>();
            let array = texts.map(|texts| Arc::new(StringArray::from(texts)) as ArrayRef);
            array.map_err(|_| {
                let problem =
                    "is neither numbers, booleans nor texts; convert it, or give a table of a library";
                of_class("DataError", &format!("column '{name}': {problem}"))
            })
        },
        Ok,
    )?;
    if array.len() != rows {
        let problem =
            format!("column '{name}': has {} values for {rows} rows; give one for each", array.len());
        return Err(of_class("DataError", &problem));
    }
    Ok(Added::Values(array))
}

/// A NumPy array of one dimension.
fn numbers(values: &Bound<'_, PyAny>) -> PyResult<Option<ArrayRef>> {
    fn of<'py, T>(values: &Bound<'py, PyAny>) -> PyResult<Option<ArrayRef>>
    where
        T: ArrowPrimitiveType<Native: Element>,
    {
        let Ok(array) = values.cast::<PyArray1<T::Native>>() else { return Ok(None) };
        let read: PyReadonlyArray1<'py, T::Native> = array.try_readonly()?;
        let Ok(slice) = read.as_slice() else {
            let view = read.as_array();
            return Ok(Some(Arc::new(PrimitiveArray::<T>::from_iter_values(view.iter().copied()))));
        };
        let owner = Arc::new(AssertUnwindSafe(array.clone().unbind()));
        let (first, bytes) = (NonNull::from(slice).cast::<u8>(), size_of_val(slice));
        // SAFETY: the array lies there, without gaps, as long as `owner` holds it. That nobody writes to it until the rows are read is
        // what the page of the package asks of users, as for tables of other libraries; a write would change values, which may be any.
        let buffer = unsafe { Buffer::from_custom_allocation(first, bytes, owner) };
        Ok(Some(Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::new(buffer, 0, slice.len()), None))))
    }
    macro_rules! first {
        ($($of:ty),*) => {
            $(if let Some(found) = of::<$of>(values)? { return Ok(Some(found)); })*
        };
    }
    first!(Float64Type, Float32Type, Int64Type, Int32Type, Int16Type, Int8Type);
    first!(UInt64Type, UInt32Type, UInt16Type, UInt8Type);
    if let Ok(array) = values.cast::<PyArray1<bool>>() {
        let array = array.try_readonly()?;
        return Ok(Some(Arc::new(BooleanArray::from_iter(array.as_array().iter().map(|&v| Some(v))))));
    }
    Ok(None)
}

fn to_python<'py>(
    py: Python<'py>,
    name: &str,
    of: &DataType,
    arrays: &[&ArrayRef],
) -> PyResult<Bound<'py, PyAny>> {
    fn plain<'py, T>(py: Python<'py>, arrays: &[&ArrayRef]) -> PyResult<Bound<'py, PyAny>>
    where
        T: ArrowPrimitiveType<Native: Element + for<'a> IntoPyObject<'a>>,
    {
        let arrays = arrays.iter().map(|array| array.as_primitive::<T>());
        if arrays.clone().all(|array| array.null_count() == 0) {
            let values: Vec<T::Native> = arrays.flat_map(|array| array.values().iter().copied()).collect();
            return Ok(PyArray1::from_vec(py, values).into_any());
        }
        let values: Vec<Option<T::Native>> = arrays.flat_map(|array| array.iter()).collect();
        Ok(PyList::new(py, values)?.into_any())
    }
    use DataType as D;
    match of {
        D::Float64 => plain::<Float64Type>(py, arrays),
        D::Float32 => plain::<Float32Type>(py, arrays),
        D::Int64 => plain::<Int64Type>(py, arrays),
        D::Int32 => plain::<Int32Type>(py, arrays),
        D::Int16 => plain::<Int16Type>(py, arrays),
        D::Int8 => plain::<Int8Type>(py, arrays),
        D::UInt64 => plain::<UInt64Type>(py, arrays),
        D::UInt32 => plain::<UInt32Type>(py, arrays),
        D::UInt16 => plain::<UInt16Type>(py, arrays),
        D::UInt8 => plain::<UInt8Type>(py, arrays),
        D::Boolean => {
            let values = arrays.iter().flat_map(|array| array.as_boolean().iter()).collect::<Vec<_>>();
            Ok(PyList::new(py, values)?.into_any())
        }
        _ => {
            let mut texts: Vec<Option<String>> = Vec::new();
            for array in arrays {
                texts_of(array, &mut texts).ok_or_else(|| {
                    let problem = format!("column '{name}': {of} is neither numbers, booleans nor texts");
                    of_class("DataError", &format!("{problem}; convert it"))
                })?;
            }
            Ok(PyList::new(py, texts)?.into_any())
        }
    }
}

/// Texts of an array of strings, or of a dictionary of them.
fn texts_of(array: &ArrayRef, to: &mut Vec<Option<String>>) -> Option<()> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    match array.data_type() {
        DataType::Null => to.extend((0..array.len()).map(|_| None)),
        DataType::Utf8 => to.extend(array.as_string::<i32>().iter().map(owned)),
        DataType::LargeUtf8 => to.extend(array.as_string::<i64>().iter().map(owned)),
        DataType::Utf8View => to.extend(array.as_string_view().iter().map(owned)),
        DataType::Dictionary(..) => {
            let array = array.as_any_dictionary();
            let mut values = Vec::with_capacity(array.values().len());
            texts_of(array.values(), &mut values)?;
            let keys = array.normalized_keys();
            let valid = |row: usize| array.keys().is_valid(row);
            to.extend(
                keys.into_iter()
                    .enumerate()
                    .map(|(row, key)| if valid(row) { values.get(key).cloned().flatten() } else { None }),
            );
        }
        _ => return None,
    }
    Some(())
}
