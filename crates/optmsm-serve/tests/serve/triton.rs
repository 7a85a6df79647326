//! Triton's own client, which comes from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toy::{Served, expected};

const PACKAGE: &str = "tritonclient[http]==2.73.0";

/// A Python that has the client, if it can be had.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tritonclient-2.73.0");
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    let make = || {
        let ok = |c: &mut Command| c.output().is_ok_and(|out| out.status.success());
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
        ok(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && ok(Command::new(&python).args(pip))
            && std::fs::write(&ready, "").is_ok()
    };
    let available = ready.exists() || make();
    optmsm_testkit::require("triton", available).then_some(python)
}

const CLIENT: &str = r#"
import sys, numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("ctr") and client.is_model_ready("ctr", "1")
assert not client.is_model_ready("ctx")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
metadata = client.get_model_metadata("ctr")
assert [i["name"] for i in metadata["inputs"]][:2] == ["page", "age"], metadata

def tensor(name, datatype, values, binary=True):
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor

def inputs(binary):
    text = lambda values: np.array(values, dtype=object)
    return [
        tensor("page", "BYTES", text(["home", "search"]), binary),
        tensor("age", "INT64", np.array([30, 2]), binary),
        tensor("city", "BYTES", text(["ål", ""]), binary),
        tensor("tags", "BYTES", text([["ab", "cde"], ["", ""]]), binary),
        tensor("tags.weights", "FP32", np.array([[0.5, 2], [0, 0]], dtype=np.float32), binary),
    ]

for binary in [True, False]:
    for outputs in [None, [triton.InferRequestedOutput("probability", binary_data=True)],
                    [triton.InferRequestedOutput("probability", binary_data=False)]]:
        for version in ["", "1"]:
            result = client.infer("ctr", inputs(binary), outputs=outputs, model_version=version, request_id="7")
            assert result.get_response()["id"] == "7"
            probability = result.as_numpy("probability")
            assert probability.dtype == np.float32 and probability.shape == (2,), probability
            assert [str(p) for p in probability] == sys.argv[2:], (binary, probability)

handle = client.async_infer("ctr", inputs(True))
assert [str(p) for p in handle.get_result().as_numpy("probability")] == sys.argv[2:]

try:
    client.infer("ctr", inputs(True)[:1])
    sys.exit("not refused")
except InferenceServerException as e:
    assert "input 'age': it is missing" in e.message(), e

assert client.get_model_repository_index() == [{"name": "ctr", "version": "1", "state": "READY", "reason": ""}]
client.unload_model("ctr")
assert not client.is_model_ready("ctr")
client.load_model("ctr")
assert client.is_model_ready("ctr")
"#;

#[test]
fn its_client_is_served() {
    let Some(python) = python() else { return };
    let served = Served::one();
    let wanted = [expected(0.1, 30.0, 2.0 + 1.0 + 6.0), expected(0.1, 2.0, 0.0)];
    let out = Command::new(python)
        .args(["-c", CLIENT, &served.server.address().to_string()])
        .args(wanted.map(|p| p.to_string()))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    served.end();
}
