//! A trained run, ready to answer.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use numpy::{PyArray1, PyArrayMethods};
use optmsm_core::batch::Batch;
use optmsm_core::model::{AnyModel, Model as _, ModelSpec};
use optmsm_core::params::TensorSource;
use optmsm_cpu::Cpu;
use optmsm_data::{Extra, Need, RowReader, Schema, interruptible};
use optmsm_train::calibration::Calibration;
use optmsm_train::check::shapes;
use optmsm_train::config::BackendKind;
use optmsm_train::coverage::Counter;
use optmsm_train::device::{self, Answering};
use optmsm_train::error::Result;
use optmsm_train::evaluate::CHUNK;
use optmsm_train::reading::reading;
use optmsm_train::run::Run;
use optmsm_train::{extreme, say};
use pyo3::prelude::*;

use crate::errors::{of_class, raised};
use crate::frame::stream;
use crate::wait::{check, quietly};

/// A predictor and the process that made it, whose threads a fork does not have.
struct Made {
    process: u32,
    on: Arc<Answering>,
}

/// A run's best parameters.
#[pyclass(frozen, module = "optmsm._internal")]
pub(crate) struct Model {
    run: Run,
    schema: Schema,
    backend: BackendKind,
    uncalibrated: bool,
    made: Mutex<Option<Made>>,
}

#[pymethods]
impl Model {
    /// Opens a run; `overrides` say how files are read, where that differs from training.
    #[new]
    fn new(
        py: Python<'_>,
        folder: PathBuf,
        backend: &str,
        threads: Option<usize>,
        uncalibrated: bool,
        overrides: Vec<String>,
    ) -> PyResult<Self> {
        let backend = match backend {
            "cpu" => BackendKind::Cpu,
            "cuda" => BackendKind::Cuda,
            other => {
                let text = format!("backend: '{other}' is neither 'cpu' nor 'cuda'; give one of them");
                return Err(of_class("ArgumentError", &text));
            }
        };
        quietly(py, |_| {
            let mut run = Run::open(&folder)?;
            run.config.train.threads = threads.or(run.config.train.threads);
            let reading = reading(&run.config, &run.schema.reading, &overrides)?;
            let schema = Schema { reading, ..run.schema.clone() };
            let model = Self { run, schema, backend, uncalibrated, made: Mutex::default() };
            model.on()?;
            Ok(model)
        })
    }

    /// Probabilities of the rows at a path: a file, a folder, a glob or a frame.
    fn predict<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let found = quietly(py, |stop| {
            let reader = interruptible(&stop, || RowReader::open(&path, &self.schema, Need::Unlabelled))?;
            self.all(reader, &path.display().to_string(), Some(&stop))
        })?;
        Ok(PyArray1::from_vec(py, found))
    }

    /// The same of rows in a frame, on this thread: for few rows, where starting a thread would take longer.
    fn predict_here<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let found = py.detach(|| {
            let reader = RowReader::open(&path, &self.schema, Need::Unlabelled)?;
            self.all(reader, &path.display().to_string(), None)
        });
        Ok(PyArray1::from_vec(py, found.map_err(raised)?))
    }

    /// The same of an object with `__arrow_c_stream__`, whose batches are read once, one at a time.
    fn predict_stream<'py>(
        &self,
        py: Python<'py>,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let batches = stream(object)?;
        let found = quietly(py, |stop| {
            let name = "the stream";
            let reader = interruptible(&stop, || {
                RowReader::from_batches(name, Box::new(batches), &self.schema, Need::Unlabelled)
            })?;
            self.all(reader, name, Some(&stop))
        })?;
        Ok(PyArray1::from_vec(py, found))
    }

    /// Names and shapes of the tensors.
    fn tensors(&self) -> PyResult<Vec<(String, Vec<usize>)>> {
        Ok(shapes(&self.spec().map_err(raised)?))
    }

    /// Elements of a tensor, in rows.
    fn tensor<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let tensors = self.tensors()?;
        let Some((_, shape)) = tensors.iter().find(|(own, _)| own == name) else {
            let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!("no tensor '{name}'; the model has {}", names.join(", "));
            return Err(of_class("ArgumentError", &text));
        };
        let data = quietly(py, |_| {
            let best = self.run.checkpoint("best")?;
            Ok(TensorSource::<f32>::tensor(&best, name, shape)?)
        })?;
        Ok(PyArray1::from_vec(py, data).reshape(shape.clone())?.into_any())
    }

    /// Values of a field's ids in the order of their rows, and the name of its table; None where no value is listed: the first is that of
    /// unknown values, and the last may be that of missing ones.
    fn vocabulary(&self, field: &str) -> PyResult<(String, Vec<Option<String>>)> {
        let spec = self.run.input_spec();
        let found = self.run.schema.fields.iter().position(|own| own.name == field);
        let Some(at) = found else {
            let names: Vec<&str> = self.run.schema.fields.iter().map(|f| f.name.as_str()).collect();
            let text = format!("no field '{field}'; the run has {}", names.join(", "));
            return Err(of_class("ArgumentError", &text));
        };
        let own = &self.run.schema.fields[at];
        let Some(vocabulary) = own.encoding.vocabulary() else {
            let text =
                format!("field '{field}': is of numbers, which have no vocabulary; name another field");
            return Err(of_class("ArgumentError", &text));
        };
        let mut values = vec![None; vocabulary.size()];
        for value in vocabulary.values() {
            let id = vocabulary.id(value) as usize;
            values[id] = Some(value.to_string());
        }
        let table = own.table.clone().unwrap_or_else(|| spec.fields[at].name.clone());
        Ok((format!("embeddings.{table}.weight"), values))
    }

    /// Configuration of the run.
    fn config(&self) -> crate::config::Config {
        crate::config::Config { settings: self.run.config.clone() }
    }

    /// Columns that rows must have to be scored.
    fn needed(&self) -> Vec<String> {
        let mut needed = vec![self.schema.scenario.clone()];
        needed.extend(self.schema.fields.iter().map(|field| field.column.clone()));
        needed.dedup();
        needed
    }
}

impl Model {
    fn spec(&self) -> Result<ModelSpec> {
        let model: AnyModel<Cpu> = device::model(&self.run)?;
        Ok(model.spec().clone())
    }

    /// The predictor of this process.
    fn on(&self) -> Result<Arc<Answering>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some(made) = made.as_ref().filter(|made| made.process == process) {
            return Ok(made.on.clone());
        }
        if let Some(of_parent) = made.take() {
            // A fork has its memory but not its threads, for the end of which a drop would wait.
            std::mem::forget(of_parent.on);
        }
        let run = &self.run;
        let best = run.checkpoint("best")?;
        let calibration = if self.uncalibrated { None } else { Calibration::of(run, &best)? };
        let fit = calibration.map(|found| found.fit);
        let on = Arc::new(Answering::open(self.backend, run, &best, fit, CHUNK)?);
        *made = Some(Made { process, on: on.clone() });
        Ok(on)
    }

    /// Predictions of all rows. Work that can be stopped warns of values that training does not know, too: of few rows that would be
    /// said again and again.
    fn all(&self, mut reader: RowReader, name: &str, stop: Option<&AtomicBool>) -> Result<Vec<f32>> {
        let (on, schema) = (self.on()?, &self.schema);
        let mut counter = stop.map(|_| Counter::new(schema));
        let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
        let mut all = Vec::new();
        while reader.read(&mut batch, &mut extra, CHUNK)? > 0 {
            if let Some(counter) = &mut counter {
                counter.add(&batch);
            }
            let found = on.predict(&batch)?;
            extreme::check(&found, &batch, all.len(), schema, name)?;
            all.extend(found);
            stop.map_or(Ok(()), check)?;
            batch.clear();
            extra.clear();
        }
        if let Some(counter) = counter {
            let trained = self.run.record.as_ref().map(|record| record.unknown.clone()).unwrap_or_default();
            counter.warnings(schema, &trained, &name.into()).iter().for_each(|text| say::warning(text));
        }
        Ok(all)
    }
}
