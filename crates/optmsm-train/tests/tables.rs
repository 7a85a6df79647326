//! The program with tables in f16 and bf16: what is on the disk, what resumes, what is converted, what is refused.

use optmsm_core::params::{TensorSink, TensorSource};
use optmsm_core::rounding::TableDtype;
use optmsm_train::checkpoint::{self, Checkpoint, Outline, Position};
use safetensors::{Dtype, SafeTensors};

use common::CONFIG;

mod common;

/// The folder with what these tests do in it.
struct Place(common::Place);

impl std::ops::Deref for Place {
    type Target = common::Place;

    fn deref(&self) -> &common::Place {
        &self.0
    }
}

impl Place {
    fn new() -> Self {
        Self(common::Place::new(CONFIG, 100, 11))
    }

    /// Runs; must succeed; returns the standard output.
    fn good(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs; must end with this exit code; returns the message.
    fn bad(&self, args: &[&str], code: i32) -> String {
        let out = self.run(args);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{stderr}");
        stderr.trim_end().to_string()
    }

    fn train(&self, run: &str, dtype: &str, more: &[&str]) {
        let set = format!("model.embeddings.dtype={dtype}");
        self.good(
            &[&["train", "--quiet", "--config", "config.toml", "--run", run, "--set", &set], more].concat(),
        );
    }

    fn predictions(&self, run: &str) -> String {
        self.good(&["predict", run, "--data", "valid.csv", "--out", "-"])
    }

    /// Changes how a run's tables are stored from now on.
    fn change(&self, run: &str, from: &str, to: &str) {
        let path = format!("{run}/config.toml");
        let config = String::from_utf8(self.bytes(&path)).unwrap();
        let [from, to] = [from, to].map(|d| format!("[model.embeddings]\ndtype = \"{d}\"\n"));
        assert!(config.contains(&from), "{config}");
        self.write(&path, config.replace(&from, &to));
    }
}

#[test]
fn checkpoints_hold_tables_in_their_own_type() {
    let place = Place::new();
    for (name, dtype) in [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::BF16)] {
        place.train(name, name, &[]);
        for file in ["best", "last"] {
            let bytes = place.bytes(&format!("{name}/checkpoints/{file}.safetensors"));
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            for (tensor, view) in tensors.iter() {
                let table = tensor.ends_with("user.weight") || tensor.ends_with("tags.weight");
                let want = if table && !tensor.starts_with("optimizer.") { dtype } else { Dtype::F32 };
                assert_eq!(view.dtype(), want, "{tensor} of {name}/{file}");
            }
            let user = tensors.tensor("embeddings.user.weight").unwrap();
            assert_eq!(user.shape(), [12, 5]);
            assert_eq!(user.data().len(), 60 * if dtype == Dtype::F32 { 4 } else { 2 });
            assert_eq!(tensors.tensor("optimizer.m.embeddings.user.weight").is_ok(), file == "last");
        }
        let shown = place.good(&["inspect", name]);
        let line = |tensor: &str| {
            let line = shown.lines().find(|l| l.contains(tensor)).unwrap();
            line.split_whitespace().map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(line("embeddings.user.weight"), ["embeddings.user.weight", "[12,", "5]", name, "60"]);
        assert_eq!(line("scenario.weight"), ["scenario.weight", "[2,", "3]", "f32", "6"]);
    }
}

#[test]
fn resume_equals_an_uninterrupted_run() {
    let place = Place::new();
    let rule = ["--set", "train.embedding_optimizer={ rule = \"rowwise_adagrad\", lr = 0.02 }"];
    for (dtype, rule) in [("f16", &[][..]), ("bf16", &rule)] {
        let (whole, halves) = (format!("{dtype}-whole"), format!("{dtype}-halves"));
        place.train(&whole, dtype, rule);
        let set = format!("model.embeddings.dtype={dtype}");
        let args = ["train", "--config", "config.toml", "--run", &halves, "--set", &set, "--max-steps", "10"];
        place.bad(&[&args, rule].concat(), 130);
        place.good(&["train", "--resume", "--run", &halves, "--set", "train.threads=3"]);
        for file in ["best", "last"] {
            let path = |run: &str| format!("{run}/checkpoints/{file}.safetensors");
            assert!(place.bytes(&path(&whole)) == place.bytes(&path(&halves)), "{file} in {dtype}");
        }
    }
}

/// A checkpoint of one type is read into tables of another: exactly where they are wider, rounded where narrower.
#[test]
fn checkpoints_of_any_type_are_converted() {
    let place = Place::new();
    for dtype in ["f16", "bf16"] {
        place.train(dtype, dtype, &[]);
        let own = place.predictions(dtype);
        place.change(dtype, dtype, "f32");
        assert_eq!(place.predictions(dtype), own, "widening {dtype} changes nothing");
        place.change(dtype, "f32", if dtype == "f16" { "bf16" } else { "f16" });
        // Three bits fewer of every element show; the other way the numbers are too small to promise anything.
        let other = place.predictions(dtype);
        assert!(dtype == "bf16" || other != own, "f16 as bf16 rounds nothing");
    }
    place.train("full", "f32", &["--set", "train.epochs=1"]);
    place.good(&["train", "--resume", "--run", "full", "--set", "model.embeddings.dtype=bf16", "--quiet"]);
}

#[test]
fn a_wrong_type_is_refused() {
    let place = Place::new();
    let train = ["train", "--config", "config.toml", "--run", "r"];
    assert_eq!(
        place.bad(&[&train[..], &["--set", "model.embeddings.dtype=f8"]].concat(), 2),
        "error: --set model.embeddings.dtype=f8: unknown variant `f8`, expected one of `f32`, `f16`, `bf16`; \
         give one of these"
    );
    assert_eq!(
        place.bad(&[&train[..], &["--set", "model.embeddings.type=f16"]].concat(), 2),
        "error: --set model.embeddings.type=f16: unknown key 'type'; did you mean 'dtype'?"
    );
    place.write("config.toml", CONFIG.replace("[model]\n", "[model]\nembeddings = { dtype = \"half\" }\n"));
    let message = place.bad(&train, 2);
    assert_eq!(
        message,
        "error: config.toml line 18 column 24: unknown variant `half`, expected one of `f32`, `f16`, `bf16`; give one of \
         these"
    );
    let huge = ["--set", "model.init_std=1e6", "--set", "model.embeddings.dtype=f16"];
    place.write("config.toml", CONFIG);
    assert_eq!(
        place.bad(&[&train[..], &huge].concat(), 2),
        "error: --set model.init_std=1e6, `model.init_std`: 1000000 makes rows that f16 cannot hold (up to 65504); lower it, or set \
         model.embeddings.dtype = \"bf16\""
    );
    assert!(!place.path("r").exists(), "something was written");
}

/// More elements than are converted at a time, brought in pieces of another size.
#[test]
fn a_large_checkpoint_is_exact() {
    let place = Place::new();
    let (rows, width) = (30_001, 7);
    let shape = [rows, width];
    for dtype in TableDtype::ALL {
        // Eight bits each: every type holds them.
        let data: Vec<f32> = (0..rows * width).map(|i| (128 + i % 128) as f32 / 65_536.0).collect();
        let export = |sink: &mut dyn TensorSink<f32>| {
            sink.begin("table", &shape, dtype);
            data.chunks(9_999 * width).for_each(|piece| sink.piece(piece));
            sink.begin("before", &[1], TableDtype::F32);
            sink.piece(&[0.1]);
            Ok(())
        };
        let mut outline = Outline::default();
        export(&mut outline).unwrap();
        let (path, position) = (place.path("c.safetensors"), Position { step: 5, ..Position::default() });
        checkpoint::save(&path, &outline, &position, "model", export).unwrap();
        let file = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(tensors.tensor("before").unwrap().data(), 0.1f32.to_le_bytes());
        let loaded = Checkpoint::open(&path, "model").unwrap();
        assert_eq!((loaded.dtype("table"), loaded.position.step), (Some(dtype), 5));
        assert!(loaded.tensor("table", &shape).unwrap() == data, "{dtype:?}");
        assert_eq!(loaded.tensor("before", &[1]).unwrap(), [0.1]);
        let mut rest = &data[..];
        let compare = &mut |piece: &[f32]| {
            assert!(piece.len().is_multiple_of(width) && !piece.is_empty(), "no whole rows: {}", piece.len());
            let (first, others) = rest.split_at(piece.len());
            assert!(first == piece, "{dtype:?}");
            rest = others;
            Ok(())
        };
        loaded.pieces("table", &shape, compare).unwrap();
        assert!(rest.is_empty() && outline.is_finite());
        assert!(loaded.tensor("table", &[rows * width]).is_err() && loaded.tensor("none", &[1]).is_err());
        outline.begin("after", &[2], dtype);
        outline.piece(&[1.0, f32::INFINITY]);
        assert!(!outline.is_finite());
    }
}

/// f16 and bf16 have the same size: only the checksum tells a changed type from the true one.
#[test]
fn a_changed_type_is_damage() {
    let place = Place::new();
    place.train("r", "bf16", &[]);
    let path = "r/checkpoints/best.safetensors";
    let text = place.bytes(path);
    let needle = b"\"dtype\":\"BF16\"";
    let at = text.windows(needle.len()).position(|w| w == needle).unwrap();
    let mut changed = text.clone();
    // A space more keeps the header's length.
    changed[at..at + needle.len()].copy_from_slice(b"\"dtype\": \"F16\"");
    place.write(path, changed);
    let message = place.bad(&["evaluate", "r", "--data", "valid.csv"], 2);
    assert!(message.contains("is damaged: its content does not match its checksum"), "{message}");
}

#[test]
fn a_row_that_leaves_f16_stops_the_run() {
    let place = Place::new();
    let set = ["model.embeddings.dtype=f16", "train.embedding_optimizer={ rule = \"sgd\", lr = 1e9 }"];
    let sets = set.iter().flat_map(|s| ["--set", s]);
    let args: Vec<_> = ["train", "--config", "config.toml", "--run", "r"].into_iter().chain(sets).collect();
    let message = place.bad(&args, 1);
    assert!(message.contains("if embeddings have to exceed 65504, set model.embeddings.dtype"), "{message}");
}
