//! Every operation on every instruction set, by name; `OPTMSM_REQUIRE=avx512,avx2` fails where one is missing.

use optmsm_cpu::{Cpu, CpuOptions, Isa};

fn cpu(isa: Isa) -> Option<Cpu> {
    let options = CpuOptions { threads: Some(2), isa: Some(isa), ..Default::default() };
    optmsm_testkit::require(isa.name(), isa.is_available()).then(|| Cpu::new(options).unwrap())
}

mod cpu_avx512 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx512));
}

mod cpu_avx2 {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Avx2));
}

mod cpu_portable {
    optmsm_testkit::conformance_tests!(super::cpu(super::Isa::Portable));
}
