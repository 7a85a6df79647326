//! Files that the program reads back, with bits flipped and ends cut off: every time the right result, or an error that names the file.

mod common;

use std::path::Path;

use common::{CONFIG, Place, code};
use optmsm_core::model::Model;
use optmsm_core::params::TensorSink;
use optmsm_cpu::Cpu;
use optmsm_testkit::rng::Rng;
use optmsm_train::checkpoint::{Outline, save};
use optmsm_train::run::Run;

const COMPARE: &[&str] = &["compare", "config.toml", "--seeds", "2", "--out", "c", "-q"];
const TUNE: &[&str] = &["tune", "tune.toml", "--trials", "3", "--out", "t", "-q"];
const EVALUATE: &[&str] = &["evaluate", "r", "--data", "valid.csv"];
const REPORT: &[&str] = &["report", "r", "--out", "r.html", "--json", "r.json"];
const RESUME: &[&str] = &["train", "--resume", "--run", "r", "-q"];

/// A configuration with test rows, and one with a search.
fn place() -> Place {
    let config = CONFIG.replace("valid = \"valid.csv\"", "valid = \"valid.csv\"\ntest = \"valid.csv\"");
    let place = Place::new(&config, 100, 9);
    place.write("tune.toml", config + "\n[tune]\n\"train.optimizer.lr\" = { log = [1e-3, 1e-1] }\n");
    place
}

/// [`place`] with a run `r`.
fn with_run() -> Place {
    let place = place();
    code(&place.run(&["train", "--config", "config.toml", "--run", "r", "-q"]), 0);
    place
}

/// Damage of every kind: flipped bits, cuts, and a piece of zeros.
fn damages(file: &[u8], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..12 {
        let mut flipped = file.to_vec();
        flipped[rng.below(file.len())] ^= 1 << rng.below(8);
        all.push(flipped);
    }
    let ends = [0, 1, file.len() / 2, file.len() - 1, rng.below(file.len())];
    all.extend(ends.map(|end| file[..end].to_vec()));
    let (mut zeros, at) = (file.to_vec(), rng.below(file.len()));
    zeros[at..(at + 64).min(file.len())].fill(0);
    all.push(zeros);
    all
}

/// Runs `args` with each damage of a file: it is named on standard error, or `result` is what it was without.
fn seen_or_harmless(place: &Place, file: &str, args: &[&str], result: impl Fn(&Place, &str) -> String) {
    let run = || {
        let out = place.run(args);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!([Some(0), Some(2)].contains(&out.status.code()), "{file}: {stderr}");
        (out.status.code() == Some(0))
            .then(|| result(place, &String::from_utf8(out.stdout).unwrap()))
            .ok_or(stderr)
    };
    let good = run().unwrap();
    let whole = place.bytes(file);
    let mut rng = Rng::new(whole.len() as u64);
    let mut seen = 0;
    for damaged in damages(&whole, &mut rng) {
        place.write(file, &damaged);
        match run() {
            Ok(found) => assert_eq!(found, good, "{file}: {}", String::from_utf8_lossy(&damaged)),
            Err(stderr) => {
                assert!(stderr.starts_with("error: ") && stderr.contains(file), "{file}: {stderr}");
                seen += 1;
            }
        }
        place.write(file, &whole);
    }
    assert!(seen > 0, "{file}: nothing was seen");
}

#[test]
fn a_comparison() {
    let place = place();
    code(&place.run(&[COMPARE, &["--max-steps", "5"]].concat()), 130);
    let seconds = "c/config/seed-1/seconds";
    let noted = place.bytes(seconds);
    for damaged in damages(&noted, &mut Rng::new(1)) {
        place.write(seconds, &damaged);
        let stderr = code(&place.run(COMPARE), 2);
        assert!(stderr.starts_with(&format!("error: {seconds}: does not match its checksum")), "{stderr}");
    }
    place.write(seconds, noted);
    for file in ["result.json", "test.f32", "fingerprint"] {
        seen_or_harmless(&place, &format!("c/config/seed-1/{file}"), COMPARE, |_, stdout| stdout.into());
    }
}

/// A result whose checksum is right, but which is not that of this run.
#[test]
fn a_result_of_another_run() {
    let place = place();
    code(&place.run(COMPARE), 0);
    let [first, second] = [1, 2].map(|seed| format!("c/config/seed-{seed}/result.json"));
    place.write(&first, place.bytes(&second));
    let stderr = code(&place.run(COMPARE), 2);
    assert!(stderr.starts_with(&format!("error: {first}: is of another run")), "{stderr}");
}

#[test]
fn a_search() {
    let place = place();
    let best = |place: &Place, _: &str| place.text("t/best.toml");
    code(&place.run(TUNE), 0);
    for file in ["t/trials.jsonl", "t/fingerprint"] {
        seen_or_harmless(&place, file, TUNE, best);
    }
    // Of a trial that ended, but was not noted.
    let (trials, wanted) = (place.text("t/trials.jsonl"), place.text("t/best.toml"));
    let noted = trials.split_inclusive('\n').next().unwrap();
    for file in ["metrics.jsonl", "fingerprint", "seconds"].map(|file| format!("t/trial-001/{file}")) {
        let whole = place.bytes(&file);
        for damaged in damages(&whole, &mut Rng::new(2)) {
            place.write("t/trials.jsonl", noted);
            place.write(&file, &damaged);
            let out = place.run(TUNE);
            match out.status.code() {
                Some(0) => assert_eq!(place.text("t/best.toml"), wanted),
                _ => assert!(code(&out, 2).contains(&file)),
            }
            place.write(&file, &whole);
        }
    }
}

#[test]
fn a_run() {
    let place = with_run();
    for file in ["schema.json", "config.json"] {
        seen_or_harmless(&place, &format!("r/{file}"), EVALUATE, |_, stdout| stdout.into());
    }
    for file in ["checkpoints/best.safetensors", "schema.json"] {
        seen_or_harmless(&place, &format!("r/{file}"), &["inspect", "r"], |_, stdout| stdout.into());
    }
    // A line that was cut off is left out of the page, and said.
    let whole = place.bytes("r/metrics.jsonl");
    code(&place.run(REPORT), 0);
    let page = place.text("r.json");
    for damaged in damages(&whole, &mut Rng::new(3)) {
        place.write("r/metrics.jsonl", &damaged);
        for args in [REPORT, RESUME] {
            let out = place.run(args);
            let said = String::from_utf8_lossy(&out.stderr).contains("r/metrics.jsonl");
            assert!([Some(0), Some(2)].contains(&out.status.code()));
            match args == REPORT {
                true => {
                    assert!(said || place.text("r.json") == page, "{}", String::from_utf8_lossy(&damaged))
                }
                false => assert!(said || place.text("r/metrics.jsonl").lines().count() == page_lines(&whole)),
            }
        }
    }
}

fn page_lines(metrics: &[u8]) -> usize {
    metrics.iter().filter(|b| **b == b'\n').count()
}

/// A setting that was changed by hand is used, and said; what is no configuration any more is an error.
#[test]
fn a_configuration() {
    let place = with_run();
    let whole = place.text("r/config.toml");
    let good = place.run(EVALUATE);
    assert!(code(&good, 0).is_empty());
    let edits = [
        ("\nseed = 1\n", "\nseed = 3\n", "train.seed is 3, but was 1"),
        ("epochs = 3", "epochs = 7", "train.epochs is 7, but was 3"),
        ("patience = 9\n", "", "train.patience is 3, but was 9"),
        (
            "[model.experts]",
            "[model.embeddings]\ndtype = \"f16\"\n\n[model.experts]",
            "model.embeddings.dtype is \"f16\", but was not set",
        ),
        ("test = \"valid.csv\"\n", "", "data.test is not set, but was \"valid.csv\""),
    ];
    for (from, to, said) in edits {
        assert!(whole.contains(from), "{from} in {whole}");
        place.write("r/config.toml", whole.replace(from, to));
        let out = place.run(EVALUATE);
        let line = format!("warning: r/config.toml: {said} when the program wrote it\n");
        assert_eq!(code(&out, 0), line);
    }
    let mut rng = Rng::new(4);
    for damaged in damages(whole.as_bytes(), &mut rng) {
        place.write("r/config.toml", &damaged);
        let out = place.run(EVALUATE);
        let stderr = String::from_utf8_lossy(&out.stderr);
        let same = out.status.code() == Some(0) && out.stdout == good.stdout;
        assert!(stderr.contains("r/config.toml") || same && stderr.is_empty(), "{stderr}");
        assert!(same || out.status.code() == Some(2), "{stderr}");
    }
}

/// Writes a checkpoint of a run again, its checksum right, with a number that is none in a tensor of this name.
fn resign(place: &Place, name: &str, number: f32) {
    let run = Run::open(&place.path("r")).unwrap();
    let from = run.checkpoint("best").unwrap();
    let model = optmsm_core::models::build::<Cpu>(&run.config.model, &run.input_spec()).unwrap();
    let shapes = optmsm_train::check::shapes(Model::<Cpu>::spec(&model));
    let export = |sink: &mut dyn TensorSink<f32>| {
        for (tensor, shape) in &shapes {
            let mut data = optmsm_core::params::TensorSource::tensor(&from, tensor, shape)?;
            if tensor == name {
                *data.last_mut().unwrap() = number;
            }
            sink.begin(tensor, shape, optmsm_core::rounding::TableDtype::F32);
            sink.piece(&data);
        }
        Ok(())
    };
    let mut outline = Outline::default();
    export(&mut outline).unwrap();
    let path = |name: &str| run.checkpoint_path(name);
    save(&path("last"), &outline, &from.position, &run.fingerprint().unwrap(), export).unwrap();
    std::fs::copy(path("last"), path("best")).unwrap();
}

#[test]
fn a_checkpoint_with_numbers_that_are_none() {
    for (name, number) in [
        ("experts.1.weight", f32::NAN),
        ("embeddings.user.weight", f32::INFINITY),
        ("tower.0.core.weight", f32::NEG_INFINITY),
    ] {
        let place = with_run();
        resign(&place, name, number);
        let commands: [(&[&str], &str); 5] = [
            (EVALUATE, "best"),
            (REPORT, "best"),
            (RESUME, "last"),
            (&["inspect", "r"], "best"),
            (&["predict", "r", "--data", "valid.csv", "--out", "p.csv"], "best"),
        ];
        for (args, which) in commands {
            let stderr = code(&place.run(args), 2);
            let path = Path::new("r/checkpoints").join(format!("{which}.safetensors"));
            let problem = format!("error: {}: tensor '{name}' has NaN or an infinity; ", path.display());
            assert!(stderr.starts_with(&problem), "{stderr}");
        }
    }
}
