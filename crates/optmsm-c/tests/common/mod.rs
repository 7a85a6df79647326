//! A trained run, and rows as a C program holds them.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::ffi::{CStr, CString, c_char};
use std::fmt::Write;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use optmsm_c::{
    Column, Error, Model, Status, Type, optmsm_error_free, optmsm_error_message, optmsm_error_status,
};
use optmsm_c::{optmsm_candidates, optmsm_free, optmsm_load, optmsm_score, optmsm_score_json};
use serde_json::{Value, json};
use tempfile::TempDir;

const CONFIG: &str = r#"
data_dir = "FOLDER"
[data]
train = "train.csv"
valid = "train.csv"
unseen_scenario = "oov"
[[data.fields]]
name = "user"
[[data.fields]]
name = "tags"
kind = "multi"
[[data.fields]]
name = "liked"
kind = "multi"
weight_separator = ":"
[[data.fields]]
name = "price"
kind = "numeric"
[[data.fields]]
name = "fresh"
[model]
embedding_dim = 5
experts = { hidden = [8, 4] }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }
[train]
batch_size = 16
epochs = 2
threads = 1
optimizer = { lr = 0.01 }
"#;

/// Columns of `rows`, the scenario first.
pub(crate) const NAMES: [&str; 6] = ["scenario", "user", "tags", "liked", "price", "fresh"];

/// The program `optmsm`, which must do its work.
pub(crate) fn program(args: &[&str]) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let (code, _) = optmsm_train::cli::call(&args, Arc::new(AtomicBool::new(false))).unwrap();
    assert_eq!(code, 0, "{args:?}");
}

/// A folder with a trained run in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn trained() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let folder = place.0.path().to_str().unwrap();
        std::fs::write(place.path("config.toml"), CONFIG.replace("FOLDER", folder)).unwrap();
        let mut text = "label,scenario,user,tags,liked,price,fresh\n".to_string();
        for i in 0..96 {
            let (tags, liked) = (["a|b", "", "c", "b|c|a"][i % 4], ["x:2|y", "y:0.5", "", "x"][i % 3]);
            let (scenario, label) = (["home", "ads"][i % 2], u8::from((i * 7 + i % 3) % 3 == 0));
            writeln!(text, "{label},{scenario},{},{tags},{liked},{}.5,{}", i % 9, i % 13, i % 2 == 0)
                .unwrap();
        }
        std::fs::write(place.path("train.csv"), text).unwrap();
        let (config, run) = (place.text("config.toml"), place.text("run"));
        program(&["train", "--config", &config, "--run", &run, "--quiet"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The run, through the interface.
    pub(crate) fn load(&self) -> Loaded {
        let run = CString::new(self.text("run")).unwrap();
        let (mut model, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a text and two places to write to.
        let status = unsafe { optmsm_load(run.as_ptr(), ptr::null(), &mut model, &mut error) };
        assert_eq!((status, said(error)), (Status::Ok, String::new()));
        Loaded(model)
    }

    /// Probabilities of the same rows in a file, as the program predicts them.
    pub(crate) fn predicted(&self, rows: &[Value]) -> Vec<f32> {
        let mut text = NAMES.join(",") + "\n";
        for row in rows {
            let cells: Vec<String> = NAMES.iter().map(|name| cell(&row[name])).collect();
            writeln!(text, "{}", cells.join(",")).unwrap();
        }
        let data = self.text("rows.csv");
        std::fs::write(&data, text).unwrap();
        let (run, out) = (self.text("run"), self.text("out.csv"));
        let _ = std::fs::remove_file(&out);
        program(&["predict", &run, "--data", &data, "--out", &out]);
        let out = std::fs::read_to_string(out).unwrap();
        out.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
    }
}

/// A value as CSV has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join("|"),
        other => other.to_string(),
    }
}

fn item(value: &Value) -> String {
    match value {
        Value::Array(pair) => format!("{}:{}", cell(&pair[0]), pair[1]),
        other => cell(other),
    }
}

/// Rows with values and a scenario that training did not see, lists and missing values among them.
pub(crate) fn rows(count: usize) -> Vec<Value> {
    let row = |i: usize| {
        let tags =
            [json!(["a", "b"]), json!([]), json!(["c"]), json!(["b", "q"]), json!(null)][i % 5].clone();
        let liked = [json!([["x", 2.0], ["y", 1.0]]), json!([]), json!([["y", 0.25]])][i % 3].clone();
        let price = if i.is_multiple_of(4) { Value::Null } else { json!(i as f64 / 2.0 + 0.25) };
        let fresh = [json!(true), json!(false), json!(null)][i % 3].clone();
        let (scenario, user) = (["home", "ads", "new"][i % 3], i as i64 % 12);
        json!({"scenario": scenario, "user": user, "tags": tags, "liked": liked, "price": price, "fresh": fresh})
    };
    (0..count).map(row).collect()
}

/// A model that is freed at last.
pub(crate) struct Loaded(pub(crate) *mut Model);

// SAFETY: the header says that threads may share a model.
unsafe impl Sync for Loaded {}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: it was loaded, and is freed here alone.
        unsafe { optmsm_free(self.0) };
    }
}

impl Loaded {
    pub(crate) fn score(&self, columns: &[Column], rows: usize) -> Result<Vec<f32>, (Status, String)> {
        let (mut out, mut error) = (vec![-1.0; rows], ptr::null_mut());
        // SAFETY: the columns are whole, or wrong in a way that is an error.
        let status = unsafe {
            optmsm_score(self.0, columns.as_ptr(), columns.len(), rows, out.as_mut_ptr(), &mut error)
        };
        outcome(status, error, out)
    }

    pub(crate) fn candidates(
        &self,
        user: &[Column],
        items: &[Column],
        count: usize,
    ) -> Result<Vec<f32>, (Status, String)> {
        let (mut out, mut error) = (vec![-1.0; count], ptr::null_mut());
        let (u, i) = (user.len(), items.len());
        // SAFETY: as above.
        let status = unsafe {
            optmsm_candidates(
                self.0,
                user.as_ptr(),
                u,
                items.as_ptr(),
                i,
                count,
                out.as_mut_ptr(),
                &mut error,
            )
        };
        outcome(status, error, out)
    }

    pub(crate) fn json(&self, text: &[u8], capacity: usize) -> Result<Vec<f32>, (Status, String)> {
        let (mut out, mut count, mut error) = (vec![-1.0; capacity], 99, ptr::null_mut());
        // SAFETY: the text has its length, and there is room for the capacity.
        let status = unsafe {
            let text_at = text.as_ptr().cast();
            optmsm_score_json(self.0, text_at, text.len(), out.as_mut_ptr(), capacity, &mut count, &mut error)
        };
        outcome(status, error, out).map(|mut out| {
            out.truncate(count);
            out
        })
    }
}

/// Outcome of a call; probabilities are not touched by one that fails.
fn outcome(status: Status, error: *mut Error, out: Vec<f32>) -> Result<Vec<f32>, (Status, String)> {
    // SAFETY: null or a new error.
    assert_eq!(unsafe { optmsm_error_status(error) }, status);
    let text = said(error);
    if status == Status::Ok {
        assert_eq!(text, "");
        return Ok(out);
    }
    assert!(out.iter().all(|&p| p == -1.0), "written after an error: {out:?}");
    Err((status, text))
}

/// The text of an error, which is freed.
pub(crate) fn said(error: *mut Error) -> String {
    // SAFETY: null or a new error.
    unsafe {
        let text = CStr::from_ptr(optmsm_error_message(error)).to_str().unwrap().to_owned();
        optmsm_error_free(error);
        text
    }
}

/// Columns of rows, in memory that C would have.
pub(crate) struct Held {
    count: usize,
    names: Vec<CString>,
    scenarios: Vec<CString>,
    scenario_at: Vec<*const c_char>,
    users: Vec<i64>,
    tags: Strings,
    tag_offsets: Vec<usize>,
    tagged: Vec<u8>,
    liked: Strings,
    liked_offsets: Vec<usize>,
    weights: Vec<f64>,
    prices: Vec<f64>,
    priced: Vec<u8>,
    fresh: Vec<u8>,
    fresh_known: Vec<u8>,
}

/// Texts without NUL, side by side.
#[derive(Default)]
struct Strings {
    bytes: Vec<&'static str>,
    at: Vec<*const c_char>,
    lengths: Vec<usize>,
}

impl Strings {
    fn push(&mut self, text: &str) {
        let text = ["a", "b", "c", "q", "x", "y", "7", "8"].into_iter().find(|known| *known == text).unwrap();
        self.bytes.push(text);
        self.at.push(text.as_ptr().cast());
        self.lengths.push(text.len());
    }
}

impl Held {
    pub(crate) fn of(rows: &[Value]) -> Self {
        let names = NAMES.iter().map(|&name| CString::new(name).unwrap()).collect();
        let text = |row: &Value| CString::new(row["scenario"].as_str().unwrap_or("home")).unwrap();
        let scenarios: Vec<CString> = rows.iter().map(text).collect();
        let scenario_at = scenarios.iter().map(|text| text.as_ptr()).collect();
        let users = rows.iter().map(|row| row["user"].as_i64().unwrap_or(0)).collect();
        let present = |key: &str| rows.iter().map(|row| u8::from(!row[key].is_null())).collect();
        let (mut tags, mut tag_offsets) = (Strings::default(), vec![0]);
        let (mut liked, mut liked_offsets, mut weights) = (Strings::default(), vec![0], Vec::new());
        for row in rows {
            row["tags"].as_array().into_iter().flatten().for_each(|tag| tags.push(tag.as_str().unwrap()));
            tag_offsets.push(tags.at.len());
            for pair in row["liked"].as_array().into_iter().flatten() {
                liked.push(pair[0].as_str().unwrap());
                weights.push(pair[1].as_f64().unwrap());
            }
            liked_offsets.push(liked.at.len());
        }
        let prices = rows.iter().map(|row| row["price"].as_f64().unwrap_or(0.0)).collect();
        let fresh = rows.iter().map(|row| u8::from(row["fresh"] == json!(true))).collect();
        let (tagged, priced, fresh_known) = (present("tags"), present("price"), present("fresh"));
        Self {
            count: rows.len(),
            names,
            scenarios,
            scenario_at,
            users,
            tags,
            tag_offsets,
            tagged,
            liked,
            liked_offsets,
            weights,
            prices,
            priced,
            fresh,
            fresh_known,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// A column without values.
    pub(crate) fn empty(&self, number: usize) -> Column {
        let name = self.names[number].as_ptr();
        let (lengths, offsets) = (ptr::null(), ptr::null());
        let r#type = Type::Missing as i32;
        Column {
            name,
            r#type,
            values: ptr::null(),
            lengths,
            offsets,
            weights: ptr::null(),
            present: ptr::null(),
        }
    }

    /// A column by its number in `NAMES`.
    pub(crate) fn column(&self, number: usize) -> Column {
        let empty = self.empty(number);
        match number {
            0 => Column { r#type: Type::Text as i32, values: self.scenario_at.as_ptr().cast(), ..empty },
            1 => Column { r#type: Type::Int64 as i32, values: self.users.as_ptr().cast(), ..empty },
            2 => Column {
                r#type: Type::Text as i32,
                values: self.tags.at.as_ptr().cast(),
                lengths: self.tags.lengths.as_ptr(),
                offsets: self.tag_offsets.as_ptr(),
                present: self.tagged.as_ptr(),
                ..empty
            },
            3 => Column {
                r#type: Type::Text as i32,
                values: self.liked.at.as_ptr().cast(),
                lengths: self.liked.lengths.as_ptr(),
                offsets: self.liked_offsets.as_ptr(),
                weights: self.weights.as_ptr(),
                ..empty
            },
            4 => Column {
                r#type: Type::Double as i32,
                values: self.prices.as_ptr().cast(),
                present: self.priced.as_ptr(),
                ..empty
            },
            _ => Column {
                r#type: Type::Bool as i32,
                values: self.fresh.as_ptr().cast(),
                present: self.fresh_known.as_ptr(),
                ..empty
            },
        }
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        (0..NAMES.len()).map(|number| self.column(number)).collect()
    }
}
