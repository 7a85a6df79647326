//! Wrong calls are errors that say what is wrong, and nothing else.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use optmsm_c::*;
use serde_json::json;

use crate::common::{Held, Place, rows, said};
use crate::same::options;

/// Status and text of a call that fails.
fn load(run: *const c_char, options: *const Options) -> (Status, String) {
    let (mut model, mut error) = (ptr::dangling_mut(), ptr::null_mut());
    // SAFETY: the text and the options are null or whole.
    let status = unsafe { optmsm_load(run, options, &mut model, &mut error) };
    assert!(model.is_null());
    (status, said(error))
}

fn refused(found: (Status, String), status: Status, text: &str) {
    assert_eq!(found.0, status, "{}", found.1);
    assert!(found.1.contains(text), "{}", found.1);
}

#[test]
fn runs_that_cannot_be_loaded() {
    let place = Place::trained();
    let text = |name: &str| CString::new(place.text(name)).unwrap();
    let (none, run) = (ptr::null(), text("run"));
    refused(load(none, ptr::null()), Status::Argument, "run: is NULL");
    let nowhere = load(text("nowhere").as_ptr(), ptr::null());
    refused(nowhere, Status::Run, "nowhere");
    if cfg!(unix) {
        let (status, _) = load(c"\xff\xfe".as_ptr(), ptr::null());
        assert_eq!(status, Status::Run);
    }
    let wrong = |wrong: Options, text: &str| refused(load(run.as_ptr(), &wrong), Status::Argument, text);
    wrong(Options { backend: 7, ..options() }, "backend 7 is none");
    wrong(Options { size: 0, ..options() }, "size is 0");
    wrong(Options { size: usize::MAX, ..options() }, "begin with OPTMSM_OPTIONS_INIT");
    wrong(Options { reserved: 1, ..options() }, "reserved is not 0");
    // A program of a newer header that uses what this library does not know.
    let newer =
        [Options { size: 2 * size_of::<Options>(), ..options() }, Options { reserved: 5, ..options() }];
    refused(load(run.as_ptr(), newer.as_ptr()), Status::Argument, "does not know");
    let mut error = ptr::null_mut();
    // SAFETY: null is an error.
    let status = unsafe { optmsm_load(run.as_ptr(), ptr::null(), ptr::null_mut(), &mut error) };
    refused((status, said(error)), Status::Argument, "model: is NULL");
    // SAFETY: null is allowed.
    let status = unsafe { optmsm_load(ptr::null(), ptr::null(), ptr::null_mut(), ptr::null_mut()) };
    assert_eq!(status, Status::Argument);
    let best = place.path("run/checkpoints/best.safetensors");
    let bytes = std::fs::read(&best).unwrap();
    std::fs::write(&best, &bytes[..bytes.len() / 2]).unwrap();
    refused(load(run.as_ptr(), ptr::null()), Status::Run, "truncated or damaged");
}

#[test]
fn a_gpu_that_is_not_there() {
    let (place, held) = (Place::trained(), Held::of(&rows(3)));
    let run = CString::new(place.text("run")).unwrap();
    let cuda = Options { backend: Backend::Cuda as i32, ..options() };
    let (mut model, mut error) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: all is whole.
    let status = unsafe { optmsm_load(run.as_ptr(), &cuda, &mut model, &mut error) };
    if status == Status::Ok {
        println!("there is a GPU");
        let found = crate::common::Loaded(model).score(&held.columns(), 3).unwrap();
        assert!(found.iter().all(|p| (0.0..=1.0).contains(p)));
        return;
    }
    assert!(model.is_null());
    refused((status, said(error)), Status::Device, "cuda");
}

#[test]
fn nothing_is_asked_of_null() {
    // SAFETY: null is allowed, or an error.
    unsafe {
        optmsm_free(ptr::null_mut());
        optmsm_error_free(ptr::null_mut());
        assert_eq!(optmsm_error_status(ptr::null()), Status::Ok);
        assert_eq!(CStr::from_ptr(optmsm_error_message(ptr::null())), c"");
        assert_eq!((optmsm_column_count(ptr::null()), optmsm_scenario_count(ptr::null())), (0, 0));
        assert!(
            optmsm_column_name(ptr::null(), 0).is_null() && optmsm_scenario_name(ptr::null(), 0).is_null()
        );
        assert!(optmsm_fingerprint(ptr::null()).is_null() && optmsm_device(ptr::null()).is_null());
        assert_eq!(optmsm_column_kind(ptr::null(), 0), Kind::None);
        let (none, mut out, mut count) = (ptr::null(), [0.0], 0);
        let (at, error) = (out.as_mut_ptr(), ptr::null_mut());
        let statuses = [
            optmsm_score(none, ptr::null(), 0, 0, at, error),
            optmsm_candidates(none, ptr::null(), 0, ptr::null(), 0, 0, at, error),
            optmsm_score_json(none, c"[]".as_ptr(), 2, at, 1, &mut count, error),
        ];
        assert_eq!(statuses, [Status::Argument; 3]);
    }
}

#[test]
fn columns_that_cannot_be() {
    let (place, held) = (Place::trained(), Held::of(&rows(6)));
    let model = place.load();
    let good = held.columns();
    let wrong = |number: usize, column: Column, status: Status, text: &str| {
        let mut columns = good.clone();
        columns[number] = column;
        refused(model.score(&columns, 6).unwrap_err(), status, text);
    };
    let argument = |number: usize, column: Column, text: &str| wrong(number, column, Status::Argument, text);
    argument(1, Column { name: ptr::null(), ..good[1] }, "columns[1].name: is NULL");
    argument(
        1,
        Column { name: c"usr".as_ptr(), ..good[1] },
        "no column 'usr'; it has scenario, user, tags, liked",
    );
    argument(1, Column { name: c"\xff".as_ptr(), ..good[1] }, "not UTF-8");
    argument(1, good[0], "column 'scenario' is there twice");
    argument(1, Column { r#type: 42, ..good[1] }, "column 'user': its type 42 is none");
    argument(1, Column { r#type: -1, ..good[1] }, "its type -1 is none");
    argument(1, Column { values: ptr::null(), ..good[1] }, "column 'user', values: is NULL");
    argument(1, Column { values: ptr::without_provenance(13), ..good[1] }, "is no multiple of 8");
    argument(4, Column { weights: good[3].weights, ..good[4] }, "has weights but no offsets");
    let falling = [0_usize, 2, 1, 2, 2, 2, 2];
    argument(2, Column { offsets: falling.as_ptr(), ..good[2] }, "column 'tags': its offsets fall");
    let endless = [0, 0, 0, 0, 0, 0, usize::MAX];
    argument(2, Column { offsets: endless.as_ptr(), ..good[2] }, "more than memory has");
    let broken = [c"\xc3(".as_ptr(); 6];
    let texts = Column { r#type: Type::Text as i32, values: broken.as_ptr().cast(), ..held.empty(1) };
    argument(1, texts, r#"column 'user': text 0, "\xc3(", is not UTF-8"#);
    let lengths = [usize::MAX; 6];
    argument(1, Column { lengths: lengths.as_ptr(), ..texts }, "more than memory has");
    // Half a letter.
    let (half, lengths) = ([c"\u{e9}".as_ptr(); 6], [1_usize; 6]);
    argument(1, Column { values: half.as_ptr().cast(), lengths: lengths.as_ptr(), ..texts }, "is not UTF-8");

    let value = |number: usize, column: Column, text: &str| wrong(number, column, Status::Value, text);
    let dear = [c"1".as_ptr(), c"dear".as_ptr(), c"1".as_ptr(), c"1".as_ptr(), c"1".as_ptr(), c"1".as_ptr()];
    let dear = Column { name: good[4].name, values: dear.as_ptr().cast(), ..texts };
    value(4, dear, "the request, row 2, column 'price': \"dear\" is not a number");
    value(0, held.empty(0), "row 1, column 'scenario': the scenario is missing");
    let (ends, numbers) = ([0_usize, 1, 2, 3, 4, 5, 6], [1.0; 6]);
    let listed =
        Column { offsets: ends.as_ptr(), values: numbers.as_ptr().cast(), present: ptr::null(), ..good[4] };
    value(4, listed, "is a list, where one value is wanted");

    refused(model.score(&good[1..], 6).unwrap_err(), Status::Argument, "column 'scenario' is left out");
    refused(model.score(&[], 6).unwrap_err(), Status::Argument, "is left out");
    let mut error = ptr::null_mut();
    let (at, count) = (good.as_ptr(), good.len());
    // SAFETY: no room, or no columns, is an error; and no row is read where they are too many.
    unsafe {
        let status = optmsm_score(model.0, at, count, 6, ptr::null_mut(), &mut error);
        refused((status, said(error)), Status::Argument, "probabilities: is NULL");
        let mut out = [0.0; 6];
        let status = optmsm_score(model.0, ptr::null(), count, 6, out.as_mut_ptr(), &mut error);
        refused((status, said(error)), Status::Argument, "columns: is NULL");
        let status = optmsm_score(model.0, at, count, usize::MAX, out.as_mut_ptr(), &mut error);
        refused((status, said(error)), Status::Argument, "more than memory has");
    }
    // The model goes on.
    assert_eq!(model.score(&good, 6).unwrap().len(), 6);
}

#[test]
fn requests_that_cannot_be() {
    let (place, held) = (Place::trained(), Held::of(&rows(3)));
    let model = place.load();
    let (all, refuse) = (held.columns(), |user: &[Column], items: &[Column], status, text: &str| {
        refused(model.candidates(user, items, 3).unwrap_err(), status, text);
    });
    assert_eq!(model.candidates(&all[..2], &all[2..], 3).unwrap().len(), 3);
    refuse(&all[..2], &all[1..], Status::Argument, "items: column 'user' is the user's too");
    refuse(&all[1..2], &all[2..], Status::Argument, "user: names no 'scenario'");
    refuse(&all[1..2], &all, Status::Argument, "column 'user' is the user's too");
    refuse(&all[..2], &all[3..], Status::Argument, "user and items: column 'tags' is left out");
    refuse(&[held.empty(0)], &all[1..], Status::Value, "the scenario is missing");
    let nowhere = Column { name: c"nowhere".as_ptr(), ..all[1] };
    refuse(&[all[0], nowhere], &all[1..], Status::Argument, "user: the model has no column 'nowhere'");
}

#[test]
fn json_that_cannot_be() {
    let place = Place::trained();
    let model = place.load();
    let refuse = |text: &str, status: Status, wanted: &str| {
        refused(model.json(text.as_bytes(), 4).unwrap_err(), status, wanted);
    };
    let argument = |text: &str, wanted: &str| refuse(text, Status::Argument, wanted);
    argument("", "json: EOF");
    argument("[{]", "line 1 column 3");
    argument("[] []", "trailing");
    argument("7", "no array and no object");
    argument("[7]", "json, row 1: is no object");
    argument("{}", "neither rows alone nor items");
    argument(r#"{"rows": [], "user": {}}"#, "neither rows alone nor items");
    argument(r#"{"items": 5, "scenario": "home"}"#, "\"items\" is no array");
    argument(r#"{"items": [], "top": 5}"#, "unknown key \"top\"");
    argument(r#"{"items": [], "user": 5}"#, "\"user\" is no object");
    argument(r#"{"items": [], "user": {}}"#, "names no 'scenario'");
    argument(r#"{"items": [], "scenario": "a", "user": {"scenario": "b"}}"#, "are the same");
    argument(r#"{"items": [{"user": 1}], "scenario": "home", "user": {"user": 1}}"#, "is the user's too");
    argument(&"[".repeat(100_000), "recursion limit");
    let row = json!({"scenario": "home", "user": 1, "tags": [], "liked": [], "price": 1, "fresh": true});
    let mut lacking = row.clone();
    lacking.as_object_mut().unwrap().remove("price");
    argument(&json!([row, lacking]).to_string(), "json, row 2: has no 'price'");
    let mut item = row.clone();
    item.as_object_mut().unwrap().remove("scenario");
    let mut bare = item.clone();
    bare.as_object_mut().unwrap().remove("tags");
    argument(&json!({"scenario": "home", "items": [item, bare]}).to_string(), "json, item 2: has no 'tags'");
    let value = |key: &str, value: serde_json::Value, wanted: &str| {
        let mut bad = row.clone();
        bad[key] = value;
        refuse(&json!([bad]).to_string(), Status::Value, wanted);
    };
    value("price", json!("dear"), "row 1, column 'price': \"dear\" is not a number");
    value("user", json!({"id": 1}), "is a list, where one value is wanted");
    value("scenario", json!(null), "the scenario is missing");
    refused(model.json(b"[\xff]", 4).unwrap_err(), Status::Argument, "json:");
    // More answers than room: nothing is scored, and the number is known.
    let text = json!(vec![&row; 5]).to_string();
    let (mut out, mut count, mut error) = ([-1.0; 4], 0, ptr::null_mut());
    // SAFETY: the text has its length; the room is 4.
    unsafe {
        let (at, length, room) = (text.as_ptr().cast::<c_char>(), text.len(), out.as_mut_ptr());
        let status = optmsm_score_json(model.0, at, length, room, 4, &mut count, &mut error);
        refused((status, said(error)), Status::Capacity, "5 are more than the capacity of 4");
        assert_eq!((count, out), (5, [-1.0; 4]));
        let status = optmsm_score_json(model.0, at, length, ptr::null_mut(), 0, &mut count, &mut error);
        refused((status, said(error)), Status::Capacity, "make room for count");
        assert_eq!(count, 5);
        let status = optmsm_score_json(model.0, at, length, room, 4, ptr::null_mut(), &mut error);
        refused((status, said(error)), Status::Argument, "count: is NULL");
        let status = optmsm_score_json(model.0, ptr::null(), length, room, 4, &mut count, &mut error);
        refused((status, said(error)), Status::Argument, "json: is NULL");
        let status = optmsm_score_json(model.0, at, usize::MAX, room, 4, &mut count, &mut error);
        refused((status, said(error)), Status::Argument, "more than memory has");
    }
    // A key that no column has is left alone.
    let mut more = row.clone();
    more["note"] = json!("kept");
    assert_eq!(
        model.json(json!([more]).to_string().as_bytes(), 1),
        model.json(json!([row]).to_string().as_bytes(), 1)
    );
}
