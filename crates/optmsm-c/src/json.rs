//! Rows and candidates that a caller holds as JSON.

use std::ffi::c_char;

use optmsm_data::Datum;
use serde_json::{Map, Value};

use crate::column::array;
use crate::failure::{Error, Failure, Status, guard};
use crate::model::Model;
use crate::score::{Room, request};

type Object = Map<String, Value>;

/// The shapes that a text may have.
const SHAPES: &str =
    r#"give [{"column": value, …}, …], {"rows": […]} or {"user": {…}, "scenario": …, "items": [{…}, …]}"#;

/// Scores rows, or the candidates of one request, that are a text of JSON: for bindings that would rather not fill columns.
///
/// Rows are an array of objects, `[{"column": value, ...}, ...]`, or `{"rows": [...]}`. A request is
/// `{"user": {...}, "scenario": ..., "items": [{...}, ...]}`: what is in user holds for all items; scenario may also stand in user, under
/// the name of its column. Every column has to be there, null where it is missing; keys that are no columns are left alone. A list
/// is an array of values, a weighted one an array of pairs `[value, weight]`.
///
/// json: UTF-8.
/// length: its bytes.
/// probabilities: room for capacity of them; one for each row or item is written, in their order.
/// count: is set to the number of rows or items, also where that is above capacity; to 0 after other errors in the text.
/// error: is set to the error, or to NULL without one; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_score_json(
    model: *const Model,
    json: *const c_char,
    length: usize,
    probabilities: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut Error,
) -> Status {
    let body = || {
        if count.is_null() {
            return Err(Failure::null("count"));
        }
        // SAFETY: it is not null, so that it may be written.
        unsafe { count.write(0) };
        // SAFETY: the caller gives null or a model that is not freed.
        let model = unsafe { Model::given(model) }?;
        // SAFETY: the caller gives null, or as many bytes.
        let json = unsafe { array(json.cast::<u8>(), length, "json") }?;
        // SAFETY: the caller gives null, or room for as many.
        let mut room = unsafe { Room::new(probabilities, capacity, "probabilities") }?;
        let value: Value =
            serde_json::from_slice(json).map_err(|e| Failure::argument(format!("json: {e}; {SHAPES}")))?;
        let asked = Asked::of(model, &value)?;
        let found = asked.count();
        // SAFETY: as above.
        unsafe { count.write(found) };
        if found > capacity {
            let text = format!(
                "probabilities: {found} are more than the capacity of {capacity}; make room for count"
            );
            return Err(Failure { status: Status::Capacity, text });
        }
        room.fill(&asked.answer(model)?)
    };
    // SAFETY: the caller lets `error` be written, or gives null.
    unsafe { guard(error, body) }
}

/// Values of some rows, row by row; none where the row has no such key.
struct Rows<'j> {
    count: usize,
    values: Vec<Option<&'j Value>>,
}

/// The question of a text.
enum Asked<'j> {
    Rows(Rows<'j>),
    Candidates(Vec<Option<&'j Value>>, Rows<'j>),
}

impl<'j> Asked<'j> {
    fn of(model: &Model, json: &'j Value) -> Result<Self, Failure> {
        match json {
            Value::Array(rows) => Self::rows(model, rows),
            Value::Object(object) if object.contains_key("items") => Self::candidates(model, object),
            Value::Object(object) => match object.get("rows") {
                Some(Value::Array(rows)) if object.len() == 1 => Self::rows(model, rows),
                _ => Err(Failure::argument(format!("json: has neither rows alone nor items; {SHAPES}"))),
            },
            _ => Err(Failure::argument(format!("json: is no array and no object; {SHAPES}"))),
        }
    }

    fn rows(model: &Model, rows: &'j [Value]) -> Result<Self, Failure> {
        let rows = Rows::of(model, rows, "row")?;
        rows.complete(model, |_| false, "row")?;
        Ok(Self::Rows(rows))
    }

    fn candidates(model: &Model, object: &'j Object) -> Result<Self, Failure> {
        if let Some(key) = object.keys().find(|key| !["user", "scenario", "items"].contains(&key.as_str())) {
            return Err(Failure::argument(format!("json: has an unknown key {key:?}; {SHAPES}")));
        }
        let mut user = match object.get("user") {
            None => vec![None; model.scorer.columns().len()],
            Some(Value::Object(user)) => found(model, user).collect(),
            Some(_) => return Err(Failure::argument(format!("json: \"user\" is no object; {SHAPES}"))),
        };
        if let Some(scenario) = object.get("scenario")
            && user[0].replace(scenario).is_some()
        {
            let name = &model.scorer.columns()[0].name;
            let problem = format!("json: \"scenario\" and '{name}' of \"user\" are the same; keep one");
            return Err(Failure::argument(problem));
        }
        let Some(Value::Array(items)) = object.get("items") else {
            return Err(Failure::argument(format!("json: \"items\" is no array; {SHAPES}")));
        };
        let items = Rows::of(model, items, "item")?;
        let of_user = |column: usize| user[column].is_some();
        // Without items, there is nothing that they lack.
        request(
            model,
            of_user,
            |column| if items.count == 0 { !of_user(column) } else { items.has(column) },
        )?;
        items.complete(model, of_user, "item")?;
        Ok(Self::Candidates(user, items))
    }

    fn count(&self) -> usize {
        let (Self::Rows(rows) | Self::Candidates(_, rows)) = self;
        rows.count
    }

    fn answer(&self, model: &Model) -> Result<Vec<f32>, Failure> {
        let scores = match self {
            Self::Rows(rows) => model.scorer.score(rows.count, |column, row| rows.get(column, row)),
            Self::Candidates(user, items) => {
                let common = |column: usize| user[column].map(Datum::of);
                model.scorer.candidates(items.count, common, |column, row| items.get(column, row))
            }
        };
        Ok(scores.map_err(Failure::scoring)?.probabilities)
    }
}

impl<'j> Rows<'j> {
    /// `word` is what a row is to the caller.
    fn of(model: &Model, rows: &'j [Value], word: &str) -> Result<Self, Failure> {
        let mut values = Vec::with_capacity(rows.len() * model.scorer.columns().len());
        for (i, row) in rows.iter().enumerate() {
            let Value::Object(row) = row else {
                return Err(Failure::argument(format!("json, {word} {}: is no object; {SHAPES}", i + 1)));
            };
            values.extend(found(model, row));
        }
        Ok(Self { count: rows.len(), values })
    }

    fn width(&self) -> usize {
        self.values.len() / self.count.max(1)
    }

    /// Whether any row has a column.
    fn has(&self, column: usize) -> bool {
        (0..self.count).any(|row| self.values[row * self.width() + column].is_some())
    }

    fn get(&self, column: usize, row: usize) -> Datum<'j> {
        self.values[row * self.width() + column].map_or(Datum::Missing, Datum::of)
    }

    /// Checks that no row lacks a column, but for those that are `elsewhere`.
    fn complete(&self, model: &Model, elsewhere: impl Fn(usize) -> bool, word: &str) -> Result<(), Failure> {
        let width = self.width();
        let lacks = |&place: &usize| self.values[place].is_none() && !elsewhere(place % width);
        let Some(place) = (0..self.values.len()).find(lacks) else { return Ok(()) };
        let (name, row) = (&model.scorer.columns()[place % width].name, place / width + 1);
        let problem = format!("json, {word} {row}: has no '{name}'; give it, or null where it is missing");
        Err(Failure::argument(problem))
    }
}

/// Values of an object, by the model's columns.
fn found<'j>(model: &Model, object: &'j Object) -> impl Iterator<Item = Option<&'j Value>> {
    model.scorer.columns().iter().map(|column| object.get(&column.name))
}
