//! A model: how it is opened, what it reads, how it is freed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{ptr, slice};

use optmsm_core::fold::FoldOptions;
use optmsm_data::RequestKind;
use optmsm_train::config::BackendKind;
use optmsm_train::scorer::{Scorer, ScorerOptions};

use crate::failure::{Error, Failure, Status, guard};

/// A loaded model. Any number of threads may use it at the same time; nothing changes it. optmsm_free frees it.
#[derive(Debug)]
pub struct Model {
    pub(crate) scorer: Scorer,
    pub(crate) numbers: HashMap<String, usize>, // of columns
    columns: Vec<CString>,
    scenarios: Vec<CString>,
    fingerprint: CString,
    device: CString,
}

const fn shared_by_threads<T: Send + Sync>() {}
const _: () = shared_by_threads::<Model>();

/// Where a model computes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Cores.
    Cpu = 0,
    /// An NVIDIA GPU.
    Cuda = 1,
}

/// How a model is loaded. Begin with OPTMSM_OPTIONS_INIT, which is what NULL means, and change members by name.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// sizeof(optmsm_options). The library takes the members that a program was built with for all there are.
    pub size: usize,
    /// Bytes that tables of folded layers may take; 0 leaves layers as they are. Folding makes scoring faster, and moves
    /// probabilities by rounding.
    pub fold_memory: u64,
    /// Threads that one large call computes with; 0 takes as many as the run's configuration says.
    pub threads: u32,
    /// An optmsm_backend.
    pub backend: i32,
    /// Anything but 0 leaves the run's calibration out.
    pub uncalibrated: u32,
    /// 0.
    pub reserved: u32,
}

/// Kind of the values of a column.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such column.
    None = 0,
    /// One value: a text, or a number whose text is meant.
    Text = 1,
    /// One number.
    Number = 2,
    /// Any number of values.
    List = 3,
    /// Any number of values, each with a weight.
    WeightedList = 4,
}

/// Loads the run in a folder, which `optmsm train` wrote.
///
/// run: path of the folder; UTF-8 on Windows, any bytes elsewhere.
/// options: NULL for none.
/// model: is set to the model, or to NULL after an error.
/// error: is set to the error, or to NULL without one; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_load(
    run: *const c_char,
    options: *const Options,
    model: *mut *mut Model,
    error: *mut *mut Error,
) -> Status {
    let body = || {
        if model.is_null() {
            return Err(Failure::null("model"));
        }
        // SAFETY: it is not null, so that it may be written.
        unsafe { model.write(ptr::null_mut()) };
        if run.is_null() {
            return Err(Failure::null("run"));
        }
        // SAFETY: it is not null, so that it ends with NUL.
        let folder = path(unsafe { CStr::from_ptr(run) })?;
        // SAFETY: null, or as many bytes as their first member says.
        let options = unsafe { Options::read(options) }?;
        let made = Box::into_raw(Box::new(Model::open(&folder, options)?));
        // SAFETY: as above.
        unsafe { model.write(made) };
        Ok(())
    };
    // SAFETY: the caller lets `error` be written, or gives null.
    unsafe { guard(error, body) }
}

/// Frees a model, which no thread may be using. NULL is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_free(model: *mut Model) {
    if !model.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `optmsm_load`, and the caller frees it once.
        let model = unsafe { Box::from_raw(model) };
        // A caller can do nothing about a model that cannot be freed.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(model)));
    }
}

/// Number of columns of a row: that of the scenario, which is the first, and those that fields read. 0 of NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_column_count(model: *const Model) -> usize {
    // SAFETY: null, or a model that is not freed.
    unsafe { model.as_ref() }.map_or(0, |model| model.columns.len())
}

/// Name of a column, by its number from 0; NULL if there is none. It lives as long as the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_column_name(model: *const Model, column: usize) -> *const c_char {
    // SAFETY: null, or a model that is not freed.
    text(unsafe { model.as_ref() }.and_then(|model| model.columns.get(column)))
}

/// Kind of a column, by its number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_column_kind(model: *const Model, column: usize) -> Kind {
    // SAFETY: null, or a model that is not freed.
    match unsafe { model.as_ref() }.and_then(|model| model.scorer.columns().get(column)) {
        None => Kind::None,
        Some(column) => match column.kind {
            RequestKind::Text => Kind::Text,
            RequestKind::Number => Kind::Number,
            RequestKind::List => Kind::List,
            RequestKind::WeightedList => Kind::WeightedList,
        },
    }
}

/// Number of scenarios; 0 of NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_scenario_count(model: *const Model) -> usize {
    // SAFETY: null, or a model that is not freed.
    unsafe { model.as_ref() }.map_or(0, |model| model.scenarios.len())
}

/// Name of a scenario, by its number from 0; NULL if there is none. It lives as long as the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_scenario_name(model: *const Model, scenario: usize) -> *const c_char {
    // SAFETY: null, or a model that is not freed.
    text(unsafe { model.as_ref() }.and_then(|model| model.scenarios.get(scenario)))
}

/// SHA-256 of the parameters in hexadecimal, for logs; NULL of NULL. It lives as long as the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_fingerprint(model: *const Model) -> *const c_char {
    // SAFETY: null, or a model that is not freed.
    text(unsafe { model.as_ref() }.map(|model| &model.fingerprint))
}

/// Name of the device, for logs; NULL of NULL. It lives as long as the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_device(model: *const Model) -> *const c_char {
    // SAFETY: null, or a model that is not freed.
    text(unsafe { model.as_ref() }.map(|model| &model.device))
}

fn text(known: Option<&CString>) -> *const c_char {
    known.map_or(ptr::null(), |text| text.as_ptr())
}

impl Model {
    fn open(folder: &Path, options: Options) -> Result<Self, Failure> {
        let backend = match options.backend {
            b if b == Backend::Cpu as i32 => BackendKind::Cpu,
            b if b == Backend::Cuda as i32 => BackendKind::Cuda,
            b => {
                return Err(Failure::argument(format!(
                    "options: backend {b} is none; give an optmsm_backend"
                )));
            }
        };
        let memory = usize::try_from(options.fold_memory).unwrap_or(usize::MAX);
        let options = ScorerOptions {
            backend: Some(backend),
            threads: (options.threads > 0).then_some(options.threads as usize),
            uncalibrated: options.uncalibrated != 0,
            fold: (memory > 0).then(|| FoldOptions { memory, ..FoldOptions::default() }),
        };
        let scorer = Scorer::open(folder, &options).map_err(Failure::opening)?;
        let columns = scorer.columns().iter().map(|column| named(&column.name)).collect::<Result<_, _>>()?;
        let numbers =
            scorer.columns().iter().enumerate().map(|(i, column)| (column.name.clone(), i)).collect();
        let scenarios = scorer.scenarios().map(named).collect::<Result<_, _>>()?;
        let (fingerprint, device) = (named(scorer.fingerprint())?, named(&scorer.device())?);
        Ok(Self { scorer, numbers, columns, scenarios, fingerprint, device })
    }

    /// The model that a caller gives.
    ///
    /// # Safety
    /// It is null or a model that is not freed while the result lives.
    pub(crate) unsafe fn given<'a>(model: *const Self) -> Result<&'a Self, Failure> {
        // SAFETY: as the caller's.
        unsafe { model.as_ref() }.ok_or_else(|| Failure::null("model"))
    }

    /// Names of the columns, for messages.
    pub(crate) fn listed(&self) -> String {
        let names: Vec<&str> = self.scorer.columns().iter().map(|column| &*column.name).collect();
        names.join(", ")
    }
}

/// A name as C has it.
fn named(name: &str) -> Result<CString, Failure> {
    CString::new(name).map_err(|_| Failure {
        status: Status::Run,
        text: format!(
            "the run: the name {name:?} has a NUL inside, which C cannot say; rename it and train again"
        ),
    })
}

impl Options {
    const DEFAULT: Self = Self {
        size: size_of::<Self>(),
        fold_memory: 0,
        threads: 0,
        backend: Backend::Cpu as i32,
        uncalibrated: 0,
        reserved: 0,
    };

    /// The options of a caller whose header may be older or newer: members that it has not are 0, and those that this library has
    /// not must be 0.
    ///
    /// # Safety
    /// `from` is null, or points to as many bytes as its first member says.
    unsafe fn read(from: *const Self) -> Result<Self, Failure> {
        let mut options = Self::DEFAULT;
        if from.is_null() {
            return Ok(options);
        }
        // SAFETY: it is not null; its first member is its size.
        let size = unsafe { from.cast::<usize>().read_unaligned() };
        if !(size_of::<usize>()..=4096).contains(&size) {
            let problem = format!("options: size is {size}; begin with OPTMSM_OPTIONS_INIT");
            return Err(Failure::argument(problem));
        }
        // SAFETY: the caller says that these bytes are there.
        let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), size) };
        let known = size.min(size_of::<Self>());
        if bytes[known..].iter().any(|&byte| byte != 0) {
            let problem =
                "options: have members that this library does not know; link a newer one, or leave them 0";
            return Err(Failure::argument(problem));
        }
        // SAFETY: all members are integers, which any bytes are.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut options).cast::<u8>(), known) };
        if options.reserved != 0 {
            return Err(Failure::argument("options: reserved is not 0; begin with OPTMSM_OPTIONS_INIT"));
        }
        Ok(options)
    }
}

/// The path of a folder.
#[cfg(unix)]
fn path(text: &CStr) -> Result<PathBuf, Failure> {
    use std::os::unix::ffi::OsStrExt;
    Ok(OsStr::from_bytes(text.to_bytes()).into())
}

/// The path of a folder.
#[cfg(not(unix))]
fn path(text: &CStr) -> Result<PathBuf, Failure> {
    let text = text.to_str().map_err(|_| Failure::argument("run: is not UTF-8; give the path as UTF-8"))?;
    Ok(OsStr::new(text).into())
}
