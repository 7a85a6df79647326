//! Outcomes of calls, and the boundary that no panic crosses.

use std::any::Any;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use optmsm_core::error::Error as CoreError;
use optmsm_train::error::Error as TrainError;

/// Outcome of a call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is done.
    Ok = 0,
    /// The call cannot be: a null pointer, text that is not UTF-8, a column that the model has not. Correct the program.
    Argument = 1,
    /// A value cannot be scored: an unknown scenario, text that is no number. The message names row and column.
    Value = 2,
    /// The run cannot be read: it is missing, damaged or of another version.
    Run = 3,
    /// The device failed, or there is none, or its memory is short.
    Device = 4,
    /// There are more answers than room for them. Nothing was scored.
    Capacity = 5,
    /// A fault of this library, which is worth a report. The model can still be used.
    Internal = 6,
}

/// An error, which optmsm_error_free frees.
#[derive(Debug)]
pub struct Error {
    status: Status,
    message: CString,
}

/// Outcome of an error, as the call returned it; OPTMSM_STATUS_OK of NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_error_status(error: *const Error) -> Status {
    // SAFETY: null, or an error of this library that is not freed.
    unsafe { error.as_ref() }.map_or(Status::Ok, |error| error.status)
}

/// The fault, its place, and the remedy, in UTF-8; an empty text of NULL. It lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_error_message(error: *const Error) -> *const c_char {
    // SAFETY: null, or an error of this library that is not freed.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error. NULL is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_error_free(error: *mut Error) {
    if !error.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `guard`, and the caller frees it once.
        drop(unsafe { Box::from_raw(error) });
    }
}

/// Why a call did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self { status: Status::Argument, text: text.into() }
    }

    pub(crate) fn null(argument: impl std::fmt::Display) -> Self {
        Self::argument(format!("{argument}: is NULL; give a pointer"))
    }

    /// Of opening a run.
    pub(crate) fn opening(e: TrainError) -> Self {
        Self::of(e, Status::Run)
    }

    /// Of rows that were to be scored.
    pub(crate) fn scoring(e: TrainError) -> Self {
        Self::of(e, Status::Value)
    }

    /// An error of the device or of the program is one wherever it comes from; any other has the status `otherwise`.
    fn of(e: TrainError, otherwise: Status) -> Self {
        let status = match &e {
            TrainError::Core(CoreError::Backend { .. }) => Status::Device,
            TrainError::Bug { .. } => Status::Internal,
            _ => otherwise,
        };
        Self { status, text: e.to_string() }
    }

    fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let known = payload.downcast_ref::<&str>().copied();
        let known = known.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = format!("the library: {}; report this", known.unwrap_or("a panic without a message"));
        // A payload that others put into a panic may panic again where it is dropped.
        std::mem::forget(payload);
        Self { status: Status::Internal, text }
    }
}

/// Calls `body`; writes its failure, or null, to `error` unless that is null itself.
///
/// # Safety
/// `error` is null or may be written.
pub(crate) unsafe fn guard(error: *mut *mut Error, body: impl FnOnce() -> Result<(), Failure>) -> Status {
    let outcome =
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Failure::panicked(payload)));
    let (status, made) = match outcome {
        Ok(()) => (Status::Ok, ptr::null_mut()),
        Err(Failure { status, .. }) if error.is_null() => (status, ptr::null_mut()),
        Err(Failure { status, text }) => {
            let message = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
            (status, Box::into_raw(Box::new(Error { status, message })))
        }
    };
    if !error.is_null() {
        // SAFETY: it is not null, so that it may be written.
        unsafe { error.write(made) };
    }
    status
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    /// Status and text of a call.
    fn said(body: impl FnOnce() -> Result<(), Failure>) -> (Status, String) {
        let mut error = ptr::null_mut();
        // SAFETY: the error may be written, is read while it lives and is freed once.
        unsafe {
            let status = guard(&mut error, body);
            assert_eq!(optmsm_error_status(error), status);
            let text = CStr::from_ptr(optmsm_error_message(error)).to_str().unwrap().to_owned();
            optmsm_error_free(error);
            (status, text)
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(said(|| Ok(())), (Status::Ok, String::new()));
        let wanted = |text: &str| (Status::Internal, format!("the library: {text}; report this"));
        assert_eq!(said(|| panic!("index 3")), wanted("index 3"));
        assert_eq!(said(|| panic!("index {}", 4)), wanted("index 4"));
        assert_eq!(said(|| std::panic::panic_any(5)), wanted("a panic without a message"));
    }

    #[test]
    fn a_text_with_a_nul_and_an_unwanted_error_are_fine() {
        let (_, text) = said(|| Err(Failure::argument("a\0b")));
        assert_eq!(text, "a\u{fffd}b");
        // SAFETY: null is allowed.
        let status = unsafe { guard(ptr::null_mut(), || Err(Failure::argument("a"))) };
        assert_eq!(status, Status::Argument);
        // SAFETY: null is allowed.
        unsafe { optmsm_error_free(ptr::null_mut()) };
    }

    #[test]
    fn faults_of_the_device_and_of_the_program_are_told_apart() {
        use optmsm_core::error::BackendErrorKind;
        let device =
            CoreError::backend("gpu", BackendErrorKind::OutOfMemory { asked: 2, free: Some(1) }, "no memory");
        assert_eq!(Failure::opening(device.into()).status, Status::Device);
        assert_eq!(Failure::scoring(TrainError::bug("a", "b")).status, Status::Internal);
        let other = || TrainError::argument("a", "b", "c");
        assert_eq!(Failure::opening(other()).status, Status::Run);
        assert_eq!(Failure::scoring(other()).status, Status::Value);
    }
}
