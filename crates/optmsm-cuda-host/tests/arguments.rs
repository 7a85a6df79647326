//! Launches, kernels and PTX agree: a launch's arguments are not checked by the driver.
//!
//! The host device refuses a launch whose arguments differ from its kernel's parameters in number or width, so every launch of every
//! test is one. Here the parameters are compared with the PTX that ships, and each kernel is seen to be launched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use optmsm_core::backend::{Dense, Epilogue, Groups, Layout, Mat, MatMut, Memory, Products, Write};
use optmsm_cuda::{Cuda, Kernel, Precision};
use optmsm_cuda_host::Host;
use optmsm_ptx::{Entry, Module};
use optmsm_testkit::conformance;

fn ptx() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/ptx")
}

/// Every entry, with the stem of its file.
fn entries() -> BTreeMap<String, (String, Entry)> {
    let mut entries = BTreeMap::new();
    for file in std::fs::read_dir(ptx()).unwrap().map(|f| f.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "ptx") {
            let module = Module::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let stem = file.file_stem().unwrap().to_str().unwrap();
            for entry in module.entries {
                entries.insert(entry.name.clone(), (stem.to_string(), entry));
            }
        }
    }
    entries
}

#[test]
fn the_list_of_kernels_is_that_of_the_ptx() {
    let entries = entries();
    let listed: BTreeMap<_, _> =
        Kernel::ALL.iter().map(|k| (k.name().to_string(), k.module().to_string())).collect();
    let found: BTreeMap<_, _> =
        entries.iter().map(|(name, (stem, _))| (name.clone(), stem.clone())).collect();
    assert_eq!(listed, found, "kernels in src/kernels.rs, and in kernels/ptx");
}

#[test]
fn parameters_of_the_ptx_are_those_of_the_sources() {
    let kernels = match optmsm_cuda_host::kernels() {
        Ok(kernels) => kernels,
        Err(problem) => {
            assert!(problem.starts_with("no C++ compiler"), "{problem}");
            optmsm_testkit::require("c++", false);
            return;
        }
    };
    for (name, (_, entry)) in entries() {
        let widths: Vec<usize> = entry.params.iter().map(|p| p.bytes).collect();
        assert_eq!(kernels.parameter_sizes(&name), Some(&*widths), "{name}");
    }
}

/// Launches that the suite's shapes are too small for: large tiles, and sums of many rows by group.
fn large(be: &Cuda<Host>) {
    let zeros = |len| be.alloc(len).unwrap();
    // Enough groups of one large tile to fill a device, with a k as short as it may be.
    let (groups, tile) = (132, 128);
    let (x, w) = (zeros(tile * groups), zeros(groups * tile));
    for layout in [Layout::OutIn, Layout::InOut] {
        let mut packed = be.alloc_packed(groups, tile, 1, Products::Both).unwrap();
        let (rows, cols) = if layout == Layout::OutIn { (groups * tile, 1) } else { (groups, tile) };
        be.pack(&mut packed, Mat::new(&w, rows, cols), layout);
        let mut y = zeros(tile * groups * tile);
        let (y, x) = (MatMut::new(&mut y, tile, groups * tile), Mat::new(&x, tile, groups));
        be.linear(y, x, &packed, Groups::Columns, Epilogue::NONE);
    }
    let (d_y, mut d_w) = (zeros(groups * tile), zeros(groups * tile * tile));
    let d_y = Mat::new(&d_y, 1, groups * tile);
    let all = MatMut::new(&mut d_w, groups * tile, tile);
    be.linear_dw(all, Write::Set, d_y, d_y, Groups::Columns);
    let (rows, x, mut sums) = (1000, zeros(1000), zeros(2));
    let mut offsets = be.alloc_ids(3).unwrap();
    be.upload_ids(&mut offsets, &[0, 300, rows as u32]);
    be.col_sum(MatMut::new(&mut sums, 2, 1), Write::Set, Mat::new(&x, rows, 1), Groups::Rows(&offsets));
    be.download(&mut [0.0], &d_w, 0).unwrap();
}

/// The conformance suite in the three precisions launches every kernel that there is: none is tested by its neighbours only.
#[test]
fn every_kernel_is_launched_by_the_suite() {
    let mut launched = std::collections::BTreeSet::new();
    for precision in Precision::ALL {
        let Some(be) = optmsm_cuda_host::cuda(precision, 3) else { return };
        let mut report = conformance::Report::default();
        // All of it once; for the others what launches products.
        if precision == Precision::F32 {
            conformance::run(&be, &mut report);
            assert_eq!(report.failed, [], "{precision:?}");
        } else {
            ["linear", "linear_dx", "linear_dw"].iter().for_each(|op| conformance::check(&be, op));
        }
        large(&be);
        launched.extend(be.device().launched());
    }
    let known = optmsm_cuda_host::known();
    let never: Vec<_> = known.difference(&launched).collect();
    assert!(never.is_empty(), "never launched: {never:?}");
}
