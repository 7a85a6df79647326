//! Every backend and every instruction set by name, one test an operation family.

use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_testkit::{dense, rows};

/// The CPU on one instruction set; `None` (and said so) where the machine has none.
fn cpu(isa: Isa) -> Option<Cpu> {
    if isa.is_available() {
        return Some(
            Cpu::new(CpuOptions { isa: Some(isa), threads: Some(2), ..CpuOptions::default() }).unwrap(),
        );
    }
    let required = std::env::var("OPTMSM_REQUIRE").unwrap_or_default();
    assert!(!required.contains(isa.name()), "{} is required, and this machine has none", isa.name());
    println!("SKIPPED {}: this machine has none", isa.name());
    None
}

macro_rules! conformance {
    ($($name:ident => $check:path),* $(,)?) => {$(
        #[test]
        fn $name() {
            $check(&Reference::<f32>::new());
            for isa in Isa::ALL {
                if let Some(be) = cpu(isa) {
                    $check(&be);
                }
            }
        }
    )*};
}

conformance! {
    products => dense::products,
    elementwise => rows::elementwise,
    dropout => rows::dropout,
    embedding => rows::embedding,
    gate_penalty_loss => rows::gate_penalty_loss,
    reductions => rows::reductions,
}
