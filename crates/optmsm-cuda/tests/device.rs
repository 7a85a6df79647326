//! Every operation on a GPU, by precision and name; skipped without one, `OPTMSM_REQUIRE=cuda` fails them then.

use optmsm_cuda::{Cuda, CudaOptions, Precision};

fn cuda(precision: Precision) -> Option<Cuda> {
    let found = Cuda::probe();
    if let Err(why) = &found {
        eprintln!("{why}");
    }
    optmsm_testkit::require("cuda", found.is_ok())
        .then(|| Cuda::new(CudaOptions { device: 0, precision }).unwrap())
}

mod f32 {
    optmsm_testkit::conformance_tests!(super::cuda(super::Precision::F32));
}

mod tf32 {
    optmsm_testkit::conformance_tests!(super::cuda(super::Precision::Tf32));
}

mod bf16 {
    optmsm_testkit::conformance_tests!(super::cuda(super::Precision::Bf16));
}
