//! Tools that know nothing of rows: files that are whole or not there, locks, hashes.

mod file;
mod hash;
mod lock;
mod xxh64;

pub(crate) use file::remove_unlocked;
pub use file::{NewFile, is_taken, read_at, write_atomic, write_whole};
pub(crate) use hash::{hash_bytes, mix, same};
pub use lock::Lock;
pub(crate) use xxh64::xxh64;
