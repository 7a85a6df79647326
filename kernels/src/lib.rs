//! The CUDA kernels of OptMSM as PTX: text that an NVIDIA driver compiles for the device at hand.
//!
//! The sources lie beside the PTX in this package. `ptx/MANIFEST` holds the hashes of both, the compiler and its flags, so
//! that PTX older than its sources is noticed.
//!
//! ```
//! let names: Vec<&str> = optmsm_kernels::MODULES.iter().map(|module| module.name).collect();
//! assert!(names.contains(&"gemm_tf32"));
//! ```
#![forbid(unsafe_code)]

/// The PTX of one unit of compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// Name of its file in `ptx/`, without the extension.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! modules {
    ($($name:literal),+ $(,)?) => {
        /// Every file of `ptx/`, by name.
        pub const MODULES: &[Module] = &[$(Module {
            name: $name,
            text: include_str!(concat!("../ptx/", $name, ".ptx")),
        }),+];
    };
}

modules! {
    "dense", "elementwise", "embedding", "gate", "gemm_bf16", "gemm_f32", "gemm_tf32", "loss", "memory", "norm", "penalty",
    "update",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::path::Path;

    use super::MODULES;

    #[test]
    fn every_file_of_ptx_is_a_module() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let ptx = files.filter(|path| path.extension() == Some(OsStr::new("ptx")));
        let stems: BTreeSet<String> =
            ptx.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string()).collect();
        assert_eq!(stems, MODULES.iter().map(|module| module.name.to_string()).collect());
    }
}
