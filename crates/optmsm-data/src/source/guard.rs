//! Panics that a damaged file is to blame for: they become errors and print nothing.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread::Result as Caught;

thread_local! {
    /// Whether a panic of this thread is a file's fault.
    static OF_FILE: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic of `work`, which is a file's fault or not.
fn catch<T>(of_file: bool, work: impl FnOnce() -> T) -> Caught<T> {
    let before = OF_FILE.replace(of_file);
    let done = catch_unwind(AssertUnwindSafe(work));
    OF_FILE.set(before);
    done
}

/// Runs what may panic on a damaged file, and says what went wrong.
pub(super) fn guard<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !OF_FILE.get() {
                usual(panic);
            }
        }));
    });
    catch(true, work).unwrap_or_else(|_| Err("its content contradicts itself".into()))
}

/// Catches a panic that no file is to blame for, also within [`guard`].
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Caught<T> {
    catch(false, work)
}
