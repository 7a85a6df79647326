//! Errors as a program matches them: by variant and data, never by text.

use optmsm_core::backend::Memory;
use optmsm_core::error::{BackendErrorKind, Error, Result};
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::{Cpu, CpuOptions, Isa};

/// The kind of a failure of this backend.
fn kind<T>(result: Result<T>) -> BackendErrorKind {
    match result.map(|_| ()).unwrap_err() {
        Error::Backend { backend, kind, .. } if backend == "cpu" => kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn short_memory_has_its_size() {
    let cpu = Cpu::with(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap();
    // Elements of four bytes, and more of them than 47 bits of addresses hold.
    let asked = |bytes| BackendErrorKind::OutOfMemory { asked: bytes, free: None };
    assert_eq!(kind(cpu.alloc(1 << 48)), asked(1 << 50));
    assert_eq!(kind(cpu.alloc_table(1 << 46, 8, TableDtype::F16)), asked(1 << 50));
    assert_eq!(kind(cpu.alloc_table(usize::MAX, 8, TableDtype::F32)), asked(usize::MAX));
}

#[test]
fn a_missing_instruction_set_is_unavailable() {
    let other = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
    let options = CpuOptions { isa: Some(other), ..CpuOptions::default() };
    assert_eq!(kind(Cpu::with(options)), BackendErrorKind::Unavailable);
}

#[test]
fn an_option_has_its_key() {
    let key = |options| match Cpu::with(options).unwrap_err() {
        Error::Config { key, .. } => key,
        other => panic!("{other:?}"),
    };
    let usual = CpuOptions::default;
    assert_eq!(key(CpuOptions { threads: Some(0), ..usual() }), "threads");
    assert_eq!(key(CpuOptions { lanes: 0, ..usual() }), "lanes");
    assert_eq!(key(CpuOptions { block_rows: 0, ..usual() }), "block_rows");
}
