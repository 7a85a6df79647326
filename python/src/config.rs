//! Configurations.

use std::path::{Path, PathBuf};

use optmsm_train::config::Config as Settings;
use optmsm_train::starter::{self as start, Given};
use pyo3::prelude::*;

use crate::errors::{of_class, raised};
use crate::wait::quietly;

/// A configuration that was checked.
#[pyclass(frozen, module = "optmsm._internal", from_py_object)]
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
}

#[pymethods]
impl Config {
    /// Reads a TOML file.
    #[staticmethod]
    fn load(path: PathBuf, overrides: Vec<String>) -> PyResult<Self> {
        Ok(Self { settings: Settings::load(&path, &overrides).map_err(raised)? })
    }

    /// Reads a text; `name` stands for its path in messages.
    #[staticmethod]
    fn parse(name: &str, text: &str, overrides: Vec<String>) -> PyResult<Self> {
        Ok(Self { settings: Settings::parse(name, text, &overrides).map_err(raised)? })
    }

    /// Reads a JSON document of the same tables.
    #[staticmethod]
    fn from_json(text: &str, overrides: Vec<String>) -> PyResult<Self> {
        let table: toml::Table = serde_json::from_str(text)
            .map_err(|e| of_class("ConfigError", &format!("configuration: {e}; give what TOML can hold")))?;
        Ok(Self { settings: Settings::of_table(table, &overrides).map_err(raised)? })
    }

    /// The same with `key=value` overrides.
    fn with_overrides(&self, overrides: Vec<String>) -> PyResult<Self> {
        Ok(Self { settings: self.settings.override_with(&overrides).map_err(raised)? })
    }

    /// The same with paths that do not depend on the current folder.
    fn anchored(&self) -> PyResult<Self> {
        Ok(Self { settings: self.settings.anchored().map_err(raised)? })
    }

    fn to_toml(&self) -> PyResult<String> {
        self.settings.to_toml().map_err(raised)
    }

    fn to_json(&self) -> PyResult<String> {
        serde_json::to_string(&self.settings).map_err(|e| of_class("Error", &e.to_string()))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

/// The tables of model and training that a starter has for so many rows and scenarios, as JSON.
#[pyfunction]
pub(crate) fn settings(rows: u64, valid: bool, scenarios: usize) -> PyResult<String> {
    let text = start::settings(rows, valid, scenarios);
    let table = toml::from_str::<toml::Table>(&text).map_err(|e| of_class("Error", &e.to_string()))?;
    serde_json::to_string(&table).map_err(|e| of_class("Error", &e.to_string()))
}

/// The text of a configuration for the rows at a path, as `optmsm init` writes it.
#[pyfunction]
pub(crate) fn starter(
    py: Python<'_>,
    path: PathBuf,
    label: Option<String>,
    scenario: Option<String>,
    leave_out: Vec<String>,
) -> PyResult<String> {
    let given = Given { label, scenario, leave_out, ..Given::default() };
    quietly(py, |stop| optmsm_data::interruptible(&stop, || start::starter(Path::new(&path), &given)))
}
