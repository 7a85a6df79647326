//! The reference backend in single precision passes the suite that its double-precision form defines.

use optmsm_core::reference::Reference;

mod reference_f32 {
    optmsm_testkit::conformance_tests!(Some(super::Reference::<f32>::new()));
}
