//! The program with every way for a value to become an id: a pipe, a resumed run, preloaded and frozen tables.

use std::io::Write;
use std::process::{Command, Stdio};

use optmsm_core::batch::Batch;
use optmsm_core::params::{Init, initial};
use optmsm_core::predictor::Predictor;
use optmsm_cpu::Cpu;
use optmsm_data::{Dataset, Extra, Need, RowReader};
use optmsm_train::run::Run;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use common::{CONFIG, Place, bad};

mod common;

/// Fields of every kind, several on one column, two in one table.
const FIELDS: &str = r#"
[[data.fields]]
name = "user"
max_size = 7
table = "names"
oov_dropout = 0.1

[[data.fields]]
name = "buyer"
column = "user"
role = "specific"
max_size = 7
table = "names"

[[data.fields]]
name = "hashed"
column = "user"
hash_buckets = 6
missing = "own"

[[data.fields]]
name = "tags"
kind = "multi"
max_length = 2
missing = "own"
oov_dropout = 0.2

[[data.fields]]
name = "day"
column = "day"
ids = 13

[[data.fields]]
name = "price"
kind = "numeric"
transform = "quantile"

[[data.fields]]
name = "price_bucket"
column = "price"
kind = "numeric"
buckets = 4
freeze = true
"#;

/// The configuration of the other tests with these fields.
fn config() -> String {
    let (data, rest) = CONFIG.split_once("[[data.fields]]").unwrap();
    let model = rest.split_once("[model]").unwrap().1;
    format!("{data}{FIELDS}\n[model]{model}")
}

fn place() -> Place {
    let place = Place::new(&config(), 120, 11);
    for name in ["train.csv", "valid.csv"] {
        let text = String::from_utf8(place.bytes(name)).unwrap();
        let more = |(i, line): (usize, &str)| match i {
            0 => format!("{line},day\n"),
            7 => "1,home,,\"a|d,\"\"é|b\",,\n".to_string(),
            _ => format!("{line},{}\n", i % 13),
        };
        place.write(name, text.lines().enumerate().map(more).collect::<String>());
    }
    place
}

fn good(place: &Place, args: &[&str]) -> (String, String) {
    let out = place.run(args);
    let [stdout, stderr] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(out.status.success(), "{stderr}");
    (stdout, stderr)
}

fn train(place: &Place, run: &str, more: &[&str]) -> String {
    good(place, &[&["train", "--config", "config.toml", "--run", run], more].concat()).1
}

/// Rows of a table in a run's checkpoint.
fn rows(place: &Place, run: &str, table: &str) -> Vec<f32> {
    let file = place.bytes(&format!("{run}/checkpoints/last.safetensors"));
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let bytes = tensors.tensor(&format!("embeddings.{table}.weight")).unwrap().data().to_vec();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// A program that only has the run folder encodes rows from a pipe as training encoded them.
#[test]
fn rows_over_a_pipe_are_encoded_as_in_training() {
    let place = place();
    train(&place, "r", &["--quiet"]);
    let run = Run::open(&place.path("r")).unwrap();
    let trained = Dataset::load(place.path("train.csv"), &run.schema).unwrap().batch;
    let text = String::from_utf8(place.bytes("train.csv")).unwrap();

    let mut batch = Batch::new(&run.schema.input_spec());
    let piped = std::io::Cursor::new(text.clone());
    let mut reader = RowReader::from_reader("-", piped, &run.schema, Need::Unlabelled).unwrap();
    assert_eq!(reader.read(&mut batch, &mut Extra::default(), 1000).unwrap(), 120);
    assert_eq!((&batch.columns, &batch.scenarios), (&trained.columns, &trained.scenarios));

    let model = optmsm_core::models::OptMsm::new(&run.config.model, &run.schema.input_spec()).unwrap();
    let best = run.checkpoint("best").unwrap();
    let predictor = Predictor::new(Cpu::new().unwrap(), model, &best, 500).unwrap();
    let expected: Vec<String> = predictor.predict(&trained).unwrap().iter().map(f32::to_string).collect();

    let mut child = Command::new(env!("CARGO_BIN_EXE_optmsm"))
        .current_dir(place.path("."))
        .args(["predict", "r", "--data", "-", "--out", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let predicted: Vec<&str> = out.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1).collect();
    assert_eq!(predicted, expected);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let place = place();
    train(&place, "whole", &["--quiet", "--set", "train.threads=1"]);
    // 8 batches per pass: 11 steps stop in the middle of the second.
    let half = ["train", "--config", "config.toml", "--run", "half", "--quiet", "--max-steps", "11"];
    assert_eq!(place.run(&half).status.code(), Some(130));
    good(&place, &["train", "--resume", "--run", "half", "--quiet", "--set", "train.threads=3"]);
    for file in ["best", "last"] {
        let path = |run: &str| format!("{run}/checkpoints/{file}.safetensors");
        assert!(place.bytes(&path("whole")) == place.bytes(&path("half")), "{file}");
    }
}

/// Batches of another size or order would take some rows twice in the pass and others never.
#[test]
fn a_run_goes_on_with_its_own_rows_and_order_only() {
    let place = place();
    let half = ["train", "--config", "config.toml", "--run", "half", "--quiet", "--max-steps", "11"];
    assert_eq!(place.run(&half).status.code(), Some(130));
    const RESUME: [&str; 5] = ["train", "--resume", "--run", "half", "--quiet"];
    let refused = |more: &[&str]| bad(&place, &[&RESUME, more].concat());
    for (set, now) in [
        ("train.batch_size=8", "batch_size 8, seed 1, rows in memory"),
        ("train.seed=2", "batch_size 16, seed 2, rows in memory"),
        ("data.stream.mode=always", "batch_size 16, seed 1, rows from disk, 32 blocks at a time"),
    ] {
        let began = "half: stopped within a pass of equal batches, batch_size 16, seed 1, rows in memory";
        let fix = "continue it with the settings that the pass began with";
        let error = refused(&["--set", set]);
        assert_eq!(error, format!("error: {began}, and cannot go on with equal batches, {now}; {fix}"));
    }
    let text = place.bytes("train.csv");
    place.write("train.csv", [&text[..], b"1,home,u1,a,2.5,1\n"].concat());
    assert!(refused(&[]).contains("train.csv (data.train): has other content than when the run began"));
    let error = refused(&["--allow-changed-data"]);
    let fix = "restore the file, or begin a new run";
    assert_eq!(error, format!("error: data.train: has 121 rows, but had 120 when the run began; {fix}"));
    // A pass that is over binds nothing.
    place.write("train.csv", text);
    let to_its_end = [&RESUME[..], &["--max-steps", "16"]].concat();
    assert_eq!(place.run(&to_its_end).status.code(), Some(130));
    good(&place, &[&RESUME[..], &["--set", "train.batch_size=8"]].concat());
}

#[test]
fn out_of_vocabulary_rows_move_only_where_values_are_dropped() {
    let place = place();
    // Everything is known to training, so that nothing else could move row 0.
    let known = config().replace("max_size = 7\n", "");
    place.write("config.toml", &known);
    train(&place, "with", &["--quiet"]);
    place.write("config.toml", known.replace("oov_dropout = 0.1", "").replace("oov_dropout = 0.2", ""));
    train(&place, "without", &["--quiet"]);
    for table in ["names", "tags"] {
        let start: Vec<f32> = initial(&format!("embeddings.{table}.weight"), 0..5, Init::Normal(0.01), 1);
        assert_eq!(rows(&place, "without", table)[..5], start);
        assert_ne!(rows(&place, "with", table)[..5], start);
    }
    let schema = |run: &str| place.bytes(&format!("{run}/schema.json"));
    assert!(schema("with") == schema("without"));
}

/// A safetensors file of one tensor.
fn save(place: &Place, name: &str, shape: Vec<usize>, data: &[f32]) {
    let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape, &bytes).unwrap();
    place.write(name, safetensors::serialize([("rows", view)], None).unwrap());
}

#[test]
fn a_table_may_start_from_a_file_and_stay_as_it_is() {
    let place = place();
    let from = "init_from = \"rows.safetensors:rows\"\ninit_values = \"values.txt\"\nfreeze = true\n";
    let frozen = config().replace("table = \"names\"\n", &format!("table = \"names\"\n{from}"));
    place.write("config.toml", &frozen);
    let data: Vec<f32> = (0..20).map(|i| 0.25 + i as f32).collect();
    save(&place, "rows.safetensors", vec![4, 5], &data);
    place.write("values.txt", "\u{feff}u3\r\nnobody\r\nu0\r\nu5\r\n");
    let stderr = train(&place, "r", &[]);
    let run = Run::open(&place.path("r")).unwrap();
    let vocabulary = run.schema.fields[0].encoding.vocabulary().unwrap().clone();
    let matched = ["u3", "u0", "u5"].iter().filter(|v| vocabulary.id(v) > 0).count();
    assert!(matched >= 1);
    let size = vocabulary.size();
    let line = format!(
        "table names: {matched} of {size} ids start from its file, {} of the file's rows are unused",
        4 - matched
    );
    assert!(stderr.contains(&line), "{line}\n{stderr}");
    let table = rows(&place, "r", "names");
    let start: Vec<f32> = initial("embeddings.names.weight", 0..5 * size, Init::Normal(0.01), 1);
    for id in 0..size {
        let value = vocabulary.value(id as u32);
        let row = ["u3", "nobody", "u0", "u5"].iter().position(|v| value.as_deref() == Some(v));
        let wanted = row.map_or(&start[id * 5..][..5], |row| &data[row * 5..][..5]);
        assert_eq!(table[id * 5..][..5], *wanted, "{value:?}");
    }
    let last = place.bytes("r/checkpoints/last.safetensors");
    let names = safetensors::SafeTensors::deserialize(&last).unwrap();
    let names: Vec<String> = names.names().into_iter().map(str::to_owned).collect();
    assert!(names.iter().any(|n| n.contains("optimizer") && n.contains("tags")));
    assert!(!names.iter().any(|n| n.contains("optimizer") && (n.contains("names") || n.contains("bucket"))));

    // Without freeze the rows move; and integers need no list of values.
    let ids = config().replace("ids = 13\n", "ids = 13\ninit_from = \"days.safetensors:rows\"\n");
    place.write("config.toml", &ids);
    let days: Vec<f32> = (1..=65).map(|i| i as f32).collect();
    save(&place, "days.safetensors", vec![13, 5], &days);
    let stderr = train(&place, "moves", &["--set", "train.optimizer.lr=1e-30"]);
    assert!(stderr.contains("table day: 13 of 14 ids start from its file, 0 of the file's rows are unused"));
    assert_eq!(rows(&place, "moves", "day")[5..], days);
    train(&place, "moves2", &[]);
    assert_ne!(rows(&place, "moves2", "day")[5..], days);
}

const COMPARE: [&str; 7] = ["compare", "config.toml", "--seeds", "1", "--out", "c", "--quiet"];
const TUNE: [&str; 7] = ["tune", "config.toml", "--trials", "2", "--out", "t", "--quiet"];

/// A configuration to compare and to tune, with a table that starts from a file, and that file.
fn preloaded() -> (Place, Vec<f32>) {
    let place = place();
    let from = "ids = 13\nfreeze = true\ninit_from = \"days.safetensors:rows\"\n";
    let text = config().replace("ids = 13\n", from).replace("train = ", "test = \"valid.csv\"\ntrain = ");
    place.write("config.toml", text + "[tune]\n\"train.optimizer.lr\" = { log = [1e-3, 1e-2] }\n");
    let days: Vec<f32> = (1..=65).map(|i| i as f32).collect();
    save(&place, "days.safetensors", vec![13, 5], &days);
    (place, days)
}

#[test]
fn compared_and_tuned_runs_start_from_the_file_too() {
    let (place, days) = preloaded();
    good(&place, &COMPARE);
    good(&place, &TUNE);
    for run in ["c/config/seed-1", "t/trial-000", "t/trial-001"] {
        assert_eq!(rows(&place, run, "day")[5..], days, "{run}");
    }
    train(&place, "r", &["--quiet"]);
    let best = |run: &str| place.bytes(&format!("{run}/checkpoints/best.safetensors"));
    assert!(best("r") == best("c/config/seed-1") && best("r") == best("t/trial-000"));
}

#[test]
fn results_of_another_file_to_start_from_are_not_taken_for_the_present_one() {
    let (place, _) = preloaded();
    for args in [&COMPARE[..], &TUNE] {
        good(&place, args);
        good(&place, args);
    }
    save(&place, "days.safetensors", vec![13, 5], &[0.5; 65]);
    for args in [&COMPARE[..], &TUNE] {
        let error = bad(&place, args);
        assert!(error.contains("holds work of another configuration, data, or version"), "{error}");
    }
}

#[test]
fn files_that_a_table_cannot_start_from_are_errors() {
    let place = place();
    let run = |lines: &str| {
        let with = config().replacen("name = \"tags\"\n", &format!("name = \"tags\"\n{lines}\n"), 1);
        place.write("config.toml", with);
        let error = bad(&place, &["train", "--config", "config.toml", "--run", "r", "--quiet"]);
        assert!(!place.path("r").exists());
        error
    };
    let from = |tensor: &str| format!("init_from = \"rows.safetensors:{tensor}\"");
    let key = "(data.fields.tags.init_from)";
    assert!(run(&from("rows")).starts_with(&format!("error: rows.safetensors {key}: cannot be read: ")));
    place.write("rows.safetensors", "nothing");
    assert!(run(&from("rows")).contains(&format!("rows.safetensors {key}: is no safetensors file (")));
    save(&place, "rows.safetensors", vec![2, 4], &[1.0; 8]);
    assert_eq!(
        run(&from("row")),
        format!("error: rows.safetensors {key}: has no tensor 'row'; name one of: rows")
    );
    assert_eq!(
        run(&from("rows")),
        format!(
            "error: rows.safetensors {key}: tensor 'rows' has shape [2, 4], not [rows, 5]; set \
             model.embedding_dim to its width, or give another tensor"
        )
    );
    save(&place, "rows.safetensors", vec![2, 5], &[1.0; 10]);
    assert!(run(&from("rows")).ends_with("ids; name the values of its rows in init_values"));
    // Id 0, those of a, b, c and d,"é, and that of the missing value: as many rows, of whatever values.
    save(&place, "rows.safetensors", vec![6, 5], &[1.0; 30]);
    assert_eq!(
        run(&from("rows")),
        format!(
            "error: rows.safetensors {key}: tensor 'rows' has as many rows as the list has ids, but not their values, and \
             another training file has another list; name the values of its rows in init_values"
        )
    );
    save(&place, "rows.safetensors", vec![2, 5], &[1.0; 10]);
    let values = format!("{}\ninit_values = \"values.txt\"", from("rows"));
    place.write("values.txt", "a\n");
    assert_eq!(
        run(&values),
        format!(
            "error: values.txt {key}: has 1 lines for 2 rows of rows.safetensors; give the value of each row, one a line"
        )
    );
    place.write("values.txt", "a\na\n");
    assert_eq!(
        run(&values),
        format!("error: values.txt {key}: has \"a\" on lines 1 and 2; give each value one row")
    );
    place.write("values.txt", "a\nb\n");
    save(&place, "rows.safetensors", vec![2, 5], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0]);
    assert!(run(&values).ends_with("tensor 'rows' has NaN in row 1; give finite numbers"));
}
