//! First predictions of a model, before anybody waits for them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::{Kind, Model, RefusalKind, Seen};
use crate::rows::{Candidates, Datum, Rows};

/// Rows of one request of each scenario.
const ROWS: usize = 64;
/// Scenarios that are tried.
const SCENARIOS: usize = 64;

/// Runs code of a model, which must not take the server down.
pub(crate) fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(format!("{what} panicked: {}", said(&*panic))))
}

/// The text of a panic.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Has a model predict rows that are made up, alone and many at a time, in each of the first [`SCENARIOS`] scenarios and as candidates. A row that it refuses
/// is no fault, for a made-up value need not be one of its column.
///
/// # Errors
/// The model fails, or what it answers is no probability for each row.
pub(crate) fn warm_up(model: &dyn Model) -> Result<(), String> {
    let scenarios = model.scenarios().iter().take(SCENARIOS).map(|name| Some(name.as_str()));
    let scenarios: Vec<_> = if model.scenarios().is_empty() { vec![None] } else { scenarios.collect() };
    for scenario in scenarios {
        for rows in [1, ROWS] {
            let rows = made_up(model, scenario, rows);
            check(rows.len(), model.predict(&rows, &mut Seen::default()))?;
        }
        let mut candidates =
            Candidates { user: vec![None; model.inputs().len()], items: made_up(model, scenario, ROWS) };
        if let Some(input) = model.scenario() {
            candidates.user[input] = Some(candidates.items.get(0, input));
        }
        check(ROWS, model.candidates(&candidates, &mut Seen::default()))?;
    }
    Ok(())
}

fn made_up<'a>(model: &'a dyn Model, scenario: Option<&'a str>, rows: usize) -> Rows<'a> {
    let inputs = model.inputs();
    let mut made = Rows::missing(inputs.len(), rows);
    for (i, input) in inputs.iter().enumerate() {
        let value = match input.kind {
            _ if model.scenario() == Some(i) => scenario.map_or(Datum::Missing, Datum::Text),
            _ if input.optional => Datum::Missing,
            Kind::Text => Datum::Text("0"),
            Kind::Number => Datum::Float(0.0),
            Kind::List { .. } => Datum::Text(""),
        };
        (0..rows).for_each(|row| made.set(row, i, value));
    }
    made
}

fn check(rows: usize, answer: Result<Vec<f32>, crate::Refusal>) -> Result<(), String> {
    match answer {
        Ok(answer) => probabilities(rows, &answer),
        Err(refusal) if refusal.kind == RefusalKind::Request => Ok(()),
        Err(refusal) => Err(format!("its first prediction failed: {refusal}")),
    }
}

/// # Errors
/// There is not a probability for each row.
pub(crate) fn probabilities(rows: usize, answer: &[f32]) -> Result<(), String> {
    if answer.len() != rows {
        return Err(format!(
            "it answers {} numbers for {rows} rows; this is a fault of the model's code",
            answer.len()
        ));
    }
    match answer.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        Some(p) => {
            Err(format!("it answers {p}, which is no probability; train it again, or load another one"))
        }
        None => Ok(()),
    }
}
