//! Every operation of the CUDA backend, its kernels run on the CPU, in every precision.

use optmsm_cuda::{Cuda, Precision};
use optmsm_cuda_host::Host;

fn cuda(precision: Precision) -> Option<Cuda<Host>> {
    optmsm_cuda_host::cuda(precision, 1)
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
