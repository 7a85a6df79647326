//! Answers are those of the program and of the scorer, bit for bit.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use optmsm_c::*;
use optmsm_core::fold::FoldOptions;
use optmsm_data::Datum;
use optmsm_train::scorer::{Scorer, ScorerOptions};
use serde_json::{Value, json};

use crate::common::{Held, Loaded, NAMES, Place, rows};

/// Answers of the library that this interface is of.
fn scored(place: &Place, options: &ScorerOptions, rows: &[Value]) -> Vec<f32> {
    let scorer = Scorer::open(&place.path("run"), options).unwrap();
    let get = |column: usize, row: usize| Datum::of(&rows[row][&scorer.columns()[column].name]);
    scorer.score(rows.len(), get).unwrap().probabilities
}

#[test]
fn rows_are_scored_as_the_program_predicts_them() {
    let (place, rows) = (Place::trained(), rows(60));
    let (model, held) = (place.load(), Held::of(&rows));
    let expected = place.predicted(&rows);
    assert!(expected.iter().any(|p| *p != expected[0]), "{expected:?}");
    assert_eq!(scored(&place, &ScorerOptions::default(), &rows), expected);
    assert_eq!(model.score(&held.columns(), 60).unwrap(), expected);
    // Columns may come in any order.
    let mut turned = held.columns();
    turned.reverse();
    assert_eq!(model.score(&turned, 60).unwrap(), expected);
    let text = Value::from(rows.clone()).to_string();
    assert_eq!(model.json(text.as_bytes(), 60).unwrap(), expected);
    let text = json!({ "rows": rows }).to_string();
    assert_eq!(model.json(text.as_bytes(), 99).unwrap(), expected);
}

#[test]
fn nothing_is_scored_to_nothing() {
    let place = Place::trained();
    let (model, held) = (place.load(), Held::of(&[]));
    let missing: Vec<Column> = (0..NAMES.len()).map(|number| held.empty(number)).collect();
    assert_eq!(model.score(&missing, 0).unwrap(), [0.0; 0]);
    assert_eq!(model.json(b"[]", 0).unwrap(), [0.0; 0]);
    assert_eq!(model.json(br#"{"scenario": "home", "items": []}"#, 0).unwrap(), [0.0; 0]);
    // Nor is there a need of pointers then.
    let values: Vec<Column> =
        (0..NAMES.len()).map(|number| Column { r#type: Type::Int64 as i32, ..held.empty(number) }).collect();
    assert_eq!(model.score(&values, 0).unwrap(), [0.0; 0]);
}

#[test]
fn candidates_are_scored_as_their_rows_are() {
    let (place, all) = (Place::trained(), rows(40));
    let model = place.load();
    // Columns of the user, and of the items.
    let (common, own) = (["scenario", "user", "fresh"], ["tags", "liked", "price"]);
    let user = &all[4];
    let part =
        |row: &Value, keys: &[&str]| Value::from_iter(keys.iter().map(|key| (*key, row[*key].clone())));
    let whole: Vec<Value> = all
        .iter()
        .map(|row| {
            let keys = common.iter().map(|key| (*key, user[*key].clone()));
            Value::from_iter(keys.chain(own.iter().map(|key| (*key, row[*key].clone()))))
        })
        .collect();
    let expected = place.predicted(&whole);
    let (of_user, of_items) = (Held::of(std::slice::from_ref(user)), Held::of(&all));
    let users: Vec<Column> = [0, 1, 5].map(|number| of_user.column(number)).into();
    let items: Vec<Column> = [2, 3, 4].map(|number| of_items.column(number)).into();
    assert_eq!(model.candidates(&users, &items, of_items.len()).unwrap(), expected);
    let bare: Vec<Value> = all.iter().map(|row| part(row, &own)).collect();
    let within = json!({"user": part(user, &common), "items": bare}).to_string();
    assert_eq!(model.json(within.as_bytes(), 40).unwrap(), expected);
    let rest = part(user, &["user", "fresh"]);
    let beside = json!({"scenario": user["scenario"], "user": rest, "items": bare}).to_string();
    assert_eq!(model.json(beside.as_bytes(), 40).unwrap(), expected);
}

#[test]
fn values_of_any_type_are_what_their_texts_are() {
    let (place, rows) = (Place::trained(), rows(6));
    let (model, held) = (place.load(), Held::of(&rows));
    let expected = place.predicted(&rows);
    let texts: Vec<CString> = rows.iter().map(|row| CString::new(row["user"].to_string()).unwrap()).collect();
    let at: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let unsigned: Vec<u64> = rows.iter().map(|row| row["user"].as_u64().unwrap()).collect();
    let doubles: Vec<f64> = rows.iter().map(|row| row["user"].as_f64().unwrap()).collect();
    let types = [
        (Type::Text, at.as_ptr().cast()),
        (Type::Uint64, unsigned.as_ptr().cast()),
        (Type::Double, doubles.as_ptr().cast()),
    ];
    for (r#type, values) in types {
        let mut columns = held.columns();
        columns[1] = Column { r#type: r#type as i32, values, ..columns[1] };
        assert_eq!(model.score(&columns, 6).unwrap(), expected, "{type:?}");
    }
    // Weights in texts, lists of numbers, and a text that is missing; lists may begin anywhere.
    let rows = [
        json!({"scenario": "home", "user": 3, "tags": ["7"], "liked": "x:2|y", "price": "2.5", "fresh": null}),
        json!({"scenario": "ads", "user": null, "tags": ["7", "8"], "liked": "y:0.5", "price": null, "fresh": true}),
    ];
    let expected = place.predicted(&rows);
    let held = Held::of(&rows);
    let (user, prices) = ([c"3".as_ptr(), ptr::null()], [c"2.5".as_ptr(), ptr::null()]);
    let (liked, ends) = ([ptr::null(), c"x:2".as_ptr(), c"y".as_ptr(), c"y:0.5".as_ptr()], [1_usize, 3, 4]);
    let (numbers, parts) = ([7_i64, 7, 8], [0_usize, 1, 3]);
    let mut columns = held.columns();
    let text = Type::Text as i32;
    columns[1] = Column { r#type: text, values: user.as_ptr().cast(), ..held.empty(1) };
    let (values, offsets) = (numbers.as_ptr().cast(), parts.as_ptr());
    columns[2] = Column { r#type: Type::Int64 as i32, values, offsets, ..held.empty(2) };
    columns[3] =
        Column { r#type: text, values: liked.as_ptr().cast(), offsets: ends.as_ptr(), ..held.empty(3) };
    columns[4] = Column { r#type: text, values: prices.as_ptr().cast(), ..held.empty(4) };
    assert_eq!(model.score(&columns, 2).unwrap(), expected);
    // A column of missing values is one.
    let mut without = held.columns();
    without[3] = held.empty(3);
    without[4] = held.empty(4);
    let mut nulls = rows.clone();
    for row in &mut nulls {
        (row["liked"], row["price"], row["tags"]) = (Value::Null, Value::Null, Value::Null);
        row["user"] = row["user"].as_i64().unwrap_or(0).into();
    }
    without[2] = held.empty(2);
    assert_eq!(model.score(&without, 2).unwrap(), place.predicted(&nulls));
}

#[test]
fn a_model_says_what_it_reads() {
    let place = Place::trained();
    let Loaded(model) = &place.load();
    let text = |text: *const c_char| {
        // SAFETY: a text of the library, or null.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
    };
    // SAFETY: the model lives; numbers may be any.
    unsafe {
        let names: Vec<_> = (0..7).map(|i| text(optmsm_column_name(*model, i))).collect();
        let wanted: Vec<_> = NAMES.iter().map(|name| Some(name.to_string())).chain([None]).collect();
        assert_eq!((names, optmsm_column_count(*model)), (wanted, 6));
        let kinds: Vec<_> = (0..7).map(|i| optmsm_column_kind(*model, i)).collect();
        use Kind::{List, Number, Text, WeightedList};
        assert_eq!(kinds, [Text, Text, List, WeightedList, Number, Text, Kind::None]);
        let scenarios: Vec<_> =
            (0..optmsm_scenario_count(*model)).map(|i| text(optmsm_scenario_name(*model, i))).collect();
        assert_eq!(scenarios, ["ads", "home", "<unseen>"].map(|name| Some(name.to_string())));
        let scorer = Scorer::open(&place.path("run"), &ScorerOptions::default()).unwrap();
        assert_eq!(text(optmsm_fingerprint(*model)).unwrap(), scorer.fingerprint());
        assert_eq!(text(optmsm_device(*model)).unwrap(), scorer.device());
        assert_eq!(text(optmsm_version()).unwrap(), env!("CARGO_PKG_VERSION"));
        assert_eq!(optmsm_abi_version(), OPTMSM_ABI_VERSION);
    }
}

/// Options of today's header, as `OPTMSM_OPTIONS_INIT` has them.
pub(crate) fn options() -> Options {
    Options {
        size: size_of::<Options>(),
        fold_memory: 0,
        threads: 0,
        backend: 0,
        uncalibrated: 0,
        reserved: 0,
    }
}

#[test]
fn options_are_those_of_the_scorer() {
    let (place, rows) = (Place::trained(), rows(30));
    let (config, data) = (place.text("run"), place.text("train.csv"));
    crate::common::program(&["calibrate", &config, "--data", &data, "--method", "platt"]);
    let held = Held::of(&rows);
    let answers = |options: &Options| {
        let run = CString::new(place.text("run")).unwrap();
        let (mut model, mut error) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a text, options and two places to write to.
        let status = unsafe { optmsm_load(run.as_ptr(), options, &mut model, &mut error) };
        assert_eq!((status, crate::common::said(error)), (Status::Ok, String::new()));
        Loaded(model).score(&held.columns(), 30).unwrap()
    };
    let plain = ScorerOptions::default();
    let calibrated = scored(&place, &plain, &rows);
    assert_eq!(answers(&options()), calibrated);
    let bare = scored(&place, &ScorerOptions { uncalibrated: true, ..plain }, &rows);
    assert_ne!(bare, calibrated);
    assert_eq!(answers(&Options { uncalibrated: 1, ..options() }), bare);
    let fold = Some(FoldOptions { memory: 1 << 20, ..FoldOptions::default() });
    let folded = scored(&place, &ScorerOptions { fold, threads: Some(2), ..plain }, &rows);
    assert_eq!(answers(&Options { fold_memory: 1 << 20, threads: 2, ..options() }), folded);
    // Programs with an older header have fewer members, those with a newer one more.
    assert_eq!(answers(&Options { size: size_of::<usize>(), uncalibrated: 1, ..options() }), calibrated);
}
