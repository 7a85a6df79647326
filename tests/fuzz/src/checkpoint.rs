//! A checkpoint: its length and checksum are set right where that can be done, then it is opened and its tensors are read.

use optmsm_core::params::{TensorSink, TensorSource};
use optmsm_core::rounding::TableDtype;
use optmsm_train::checkpoint::{Checkpoint, Outline, Position, save, sha256};
use safetensors::tensor::SafeTensors;
use serde_json::Value;

use crate::{Folder, memory};

const FINGERPRINT: &str = "f";

/// Texts that mean something.
pub const WORDS: &[&str] = &[
    "\"F16\"",
    "\"BF16\"",
    "\"U8\"",
    "\"I64\"",
    "[0,0]",
    "[18446744073709551615]",
    "\"data_offsets\":[0,8]",
];

/// The tensors of the seed.
const TENSORS: [(&str, &[usize], TableDtype); 3] = [
    ("a.bias", &[3], TableDtype::F32),
    ("a.weight", &[2, 3], TableDtype::F32),
    ("embeddings.user.weight", &[4, 2], TableDtype::F16),
];

/// Good checkpoints.
pub fn seeds() -> Vec<Vec<u8>> {
    let export = |sink: &mut dyn TensorSink<f32>| {
        for (name, shape, dtype) in TENSORS {
            sink.begin(name, shape, dtype);
            sink.piece(&vec![0.5; shape.iter().product()]);
        }
        Ok(())
    };
    let mut outline = Outline::default();
    export(&mut outline).unwrap_or_else(|e: optmsm_core::error::Error| panic!("{e}"));
    let folder = Folder::new();
    let path = folder.write("c.safetensors", b"");
    save(&path, &outline, &Position::default(), FINGERPRINT, export).expect("a checkpoint that can be saved");
    vec![std::fs::read(path).expect("the checkpoint")]
}

/// The file with the length of its header and its checksum; as it is where it is no such file.
fn sign(bytes: &[u8]) -> Vec<u8> {
    let signed = || {
        let rest = bytes.get(8..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        let mut header = values.next()?.ok()?;
        let data = &rest[values.byte_offset()..];
        let data = data.trim_ascii_start();
        let with = |header: &Value| {
            let text = serde_json::to_vec(header).unwrap_or_default();
            [&(text.len() as u64).to_le_bytes()[..], &text, data].concat()
        };
        let whole = with(&header);
        let tensors = SafeTensors::deserialize(&whole).ok();
        let mut entry: Value = serde_json::from_str(header["__metadata__"]["optmsm"].as_str()?).ok()?;
        if let Some(tensors) = tensors {
            let position: Position = serde_json::from_value(entry["progress"].clone()).ok()?;
            let mut parts = vec![serde_json::to_vec(&position).ok()?, entry["fingerprint"].as_str()?.into()];
            let mut names = tensors.names();
            names.sort_unstable();
            for name in names {
                let tensor = tensors.tensor(name).ok()?;
                let dtype = match tensor.dtype() {
                    safetensors::Dtype::F16 => "f16",
                    safetensors::Dtype::BF16 => "bf16",
                    _ => "",
                };
                parts.extend([name.into(), dtype.into(), tensor.data().to_vec()]);
            }
            entry["sha256"] = sha256(parts).into();
        }
        header["__metadata__"]["optmsm"] = entry.to_string().into();
        Some(with(&header))
    };
    signed().unwrap_or_else(|| bytes.to_vec())
}

/// Opens a checkpoint and reads its tensors.
pub fn run(bytes: &[u8]) {
    let folder = Folder::new();
    let path = folder.write("c.safetensors", &sign(bytes));
    memory::within(64, || {
        let Ok(checkpoint) = Checkpoint::open(&path, FINGERPRINT) else { return };
        for (name, shape, _) in TENSORS {
            if let Ok(values) = checkpoint.tensor(name, shape) {
                assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
            }
            assert!(checkpoint.tensor(name, &[usize::MAX, 2]).is_err());
        }
    });
}
