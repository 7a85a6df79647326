//! Units and manifests of folders made for the test.

use std::fs;
use std::path::Path;

use optmsm_ptx::units::{Unit, granted_spills, sources, units};
use optmsm_ptx::{Manifest, verify};

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Two sources, three units, each with something for PTX, and a MANIFEST.
fn kernels() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "gemm.cu", "// variants: PRECISION=F32,TF32\n#include \"a.cuh\"\n");
    write(dir.path(), "gate.cu", "// Gate.\n");
    write(dir.path(), "include/a.cuh", "");
    write(dir.path(), "host/cuda_host.h", "");
    for name in ["gate", "gemm_f32", "gemm_tf32"] {
        write(dir.path(), &format!("ptx/{name}.ptx"), name);
    }
    let manifest =
        Manifest::new(dir.path(), &dir.path().join("ptx"), "nvcc 13.0.88", &["a==1", "b==2"]).unwrap();
    write(dir.path(), "ptx/MANIFEST", &manifest.to_string());
    dir
}

fn stale(dir: &tempfile::TempDir) -> String {
    verify(dir.path()).expect_err("nothing is stale").join("\n")
}

#[test]
fn units_and_sources_are_found() {
    let dir = kernels();
    let found: Vec<_> = units(dir.path()).unwrap().into_iter().map(|u| (u.ptx, u.define)).collect();
    let expected = [
        ("gate.ptx", None),
        ("gemm_f32.ptx", Some("PRECISION=F32")),
        ("gemm_tf32.ptx", Some("PRECISION=TF32")),
    ];
    assert_eq!(found, expected.map(|(ptx, define)| (ptx.to_owned(), define.map(str::to_owned))));
    let names: Vec<_> = sources(dir.path()).unwrap().into_keys().collect();
    assert_eq!(names, ["gate.cu", "gemm.cu", "include/a.cuh"]);
}

#[test]
fn kernels_laid_out_wrongly_are_refused() {
    let dir = kernels();
    for list in ["", "PRECISION", "PRECISION=", "=F32", "PRECISION=F32,", "P Q=F32"] {
        write(dir.path(), "gemm.cu", &format!("// variants: {list}\n"));
        let error = units(dir.path()).unwrap_err().to_string();
        assert!(error.contains("gemm.cu, line 1"), "{list}: {error}");
        assert!(stale(&dir).contains("gemm.cu, line 1"));
    }
    write(dir.path(), "gemm.cu", "// variants: PRECISION=F32\n");
    write(dir.path(), "gemm_f32.cu", "");
    assert!(units(dir.path()).unwrap_err().to_string().contains("both compiled to gemm_f32.ptx"));
    fs::remove_file(dir.path().join("gemm_f32.cu")).unwrap();
    write(dir.path(), "more/x.cu", "");
    assert!(units(dir.path()).unwrap_err().to_string().contains("belong into kernels/"));
}

#[test]
fn a_manifest_is_read_as_written() {
    let dir = kernels();
    let text = fs::read_to_string(dir.path().join("ptx/MANIFEST")).unwrap();
    let manifest: Manifest = text.parse().unwrap();
    assert_eq!(manifest.to_string(), text);
    assert_eq!(manifest.packages, ["a==1", "b==2"]);
    // SHA-256 of nothing, from FIPS 180's examples.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(manifest.sources["include/a.cuh"], nothing);
    for (broken, expected) in [
        (text.replace("isa 8.0\n", ""), "no line 'isa …'"),
        (format!("{text}ptx abc\n"), "'ptx abc' is no line"),
        (format!("{text}licence MIT\n"), "'licence MIT' is no line"),
        (format!("{text}\n"), "'' is no line"),
    ] {
        let error = broken.parse::<Manifest>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_current_folder_passes() {
    verify(kernels().path()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    verify(empty.path()).unwrap();
    verify(&empty.path().join("missing")).unwrap();
}

#[test]
fn whatever_is_stale_is_named() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 10] = [
        (|d| write(d, "gate.cu", "// changed"), "kernels/gate.cu is not the file"),
        (|d| write(d, "include/a.cuh", "// changed"), "kernels/include/a.cuh is not the file"),
        (|d| write(d, "ptx/gate.ptx", "changed"), "kernels/ptx/gate.ptx is not the file"),
        (|d| write(d, "loss.cu", ""), "kernels/loss.cu has no loss.ptx in MANIFEST"),
        (|d| write(d, "ptx/loss.ptx", ""), "kernels/ptx/loss.ptx is not in MANIFEST"),
        (|d| write(d, "include/b.cuh", ""), "kernels/include/b.cuh is not in MANIFEST"),
        (
            |d| fs::remove_file(d.join("gate.cu")).unwrap(),
            "kernels/gate.cu is in MANIFEST but does not exist",
        ),
        (
            |d| fs::remove_file(d.join("ptx/gate.ptx")).unwrap(),
            "kernels/ptx/gate.ptx is in MANIFEST but does not exist",
        ),
        (|d| fs::remove_file(d.join("ptx/MANIFEST")).unwrap(), "MANIFEST: No such file"),
        (
            |d| {
                let text = fs::read_to_string(d.join("ptx/MANIFEST")).unwrap();
                write(d, "ptx/MANIFEST", &text.replace("isa 8.0", "isa 9.0"));
            },
            "MANIFEST says isa '9.0'",
        ),
    ];
    for (change, expected) in changes {
        let dir = kernels();
        change(dir.path());
        let stale = stale(&dir);
        assert!(stale.contains(expected), "{expected}: {stale}");
        assert!(stale.contains("run `cargo xtask ptx`"), "{stale}");
    }
}

#[test]
fn tests_do_not_make_ptx_stale() {
    let dir = kernels();
    write(dir.path(), "host/cuda_host.h", "// changed");
    verify(dir.path()).unwrap();
}

#[test]
fn spills_are_granted_directly_above_a_kernel() {
    let source = r#"
// spills: 64 bytes, of another comment
float x;

// Equation.
// spills: 32 bytes, the accumulators
extern "C" __global__ void __launch_bounds__(256)
nn(float* y) {
}
// spills: 16 bytes, macro
KERNEL(nt)(float* y) { nn_inside(y); }
// spills: none
extern "C" __global__ void plain(float* y) {}
// spills: 8 bytes
extern "C" __global__ void without_reason(float* y) {}
// spills: 8 bytes, too far

extern "C" __global__ void far(float* y) {}
// spills: 99999999999999999999 bytes, too many
extern "C" __global__ void huge(float* y) {}
extern "C" __global__ void nn_inside(float* y) {}
"#;
    let unit = |define: Option<&str>| Unit {
        source: "a.cu".into(),
        define: define.map(Into::into),
        ptx: "a".into(),
    };
    let (plain, tf32) = (unit(None), unit(Some("PRECISION=TF32")));
    for (unit, entry, bytes) in [
        (&plain, "nn", 32),
        (&tf32, "nn_tf32", 32),
        (&tf32, "nt_tf32", 16),
        (&plain, "nn_tf32", 0),
        (&tf32, "nn_f32", 0),
        (&plain, "plain", 0),
        (&plain, "without_reason", 0),
        (&plain, "far", 0),
        (&plain, "huge", 0),
        (&plain, "nn_inside", 0),
        (&plain, "missing", 0),
    ] {
        assert_eq!(granted_spills(source, unit, entry), bytes, "{entry}");
    }
}
