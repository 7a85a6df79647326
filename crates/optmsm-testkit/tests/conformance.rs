//! Every operation on every backend and instruction set, by name; `OPTMSM_REQUIRE=avx512,avx2` fails where one
//! is missing.

use optmsm_core::precision::Precision;
use optmsm_core::profile::Profiled;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions, Isa};

fn cpu(isa: Isa, precision: Precision) -> Option<Cpu> {
    let options = CpuOptions { threads: Some(2), isa: Some(isa), precision, ..Default::default() };
    optmsm_testkit::require(isa.name(), isa.is_available()).then(|| Cpu::with(options).unwrap())
}

/// The reference in single precision passes the suite that its double-precision form defines.
mod reference_f32 {
    optmsm_testkit::conformance_tests!(Some(super::Reference::<f32>::new()));
}

/// A profiled backend computes what the profiled one does.
mod profiled {
    optmsm_testkit::conformance_tests!(Some(super::Profiled::new(super::Reference::<f32>::new())));
}

mod cpu_avx512 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx512, super::Precision::F32));
}

mod cpu_avx512_bf16 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx512, super::Precision::Bf16));
}

mod cpu_avx2 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx2, super::Precision::F32));
}

mod cpu_avx2_bf16 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx2, super::Precision::Bf16));
}

mod cpu_neon {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Neon, super::Precision::F32));
}

mod cpu_neon_bf16 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Neon, super::Precision::Bf16));
}

mod cpu_portable {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Portable, super::Precision::F32));
}

mod cpu_portable_bf16 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Portable, super::Precision::Bf16));
}
