//! Probabilities of rows and of candidates that a caller holds in columns.

use std::slice;

use crate::column::{Column, Table, sized};
use crate::failure::{Error, Failure, Status, guard};
use crate::model::Model;

/// Scores rows.
///
/// columns: all columns of the model, in any order; one that is not at hand has the type OPTMSM_TYPE_MISSING.
/// rows: number of rows that each column has.
/// probabilities: room for one a row, in the order of the rows; not written after an error.
/// error: is set to the error, or to NULL without one; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_score(
    model: *const Model,
    columns: *const Column,
    column_count: usize,
    rows: usize,
    probabilities: *mut f32,
    error: *mut *mut Error,
) -> Status {
    let body = || {
        // SAFETY: the caller gives null or a model that is not freed.
        let model = unsafe { Model::given(model) }?;
        // SAFETY: the caller's pointers are null, or as the header says.
        let mut room = unsafe { Room::new(probabilities, rows, "probabilities") }?;
        // SAFETY: the same.
        let table = unsafe { Table::read(model, "columns", columns, column_count, rows) }?;
        complete(model, |column| table.has(column), "columns")?;
        let lists = table.lists();
        let get = |column: usize, row: usize| table.get(&lists, column, row);
        let scores = model.scorer.score(rows, get).map_err(Failure::scoring)?;
        room.fill(&scores.probabilities)
    };
    // SAFETY: the caller lets `error` be written, or gives null.
    unsafe { guard(error, body) }
}

/// Scores the candidates of one request. What the user, or the request, has in common for all candidates is read once.
///
/// user: columns with one row, that of the scenario among them.
/// items: the other columns of the model, with a row for each candidate; one that is not at hand has the type OPTMSM_TYPE_MISSING.
/// count: number of candidates.
/// probabilities: room for one a candidate, in their order; not written after an error.
/// error: is set to the error, or to NULL without one; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn optmsm_candidates(
    model: *const Model,
    user: *const Column,
    user_count: usize,
    items: *const Column,
    item_count: usize,
    count: usize,
    probabilities: *mut f32,
    error: *mut *mut Error,
) -> Status {
    let body = || {
        // SAFETY: the caller gives null or a model that is not freed.
        let model = unsafe { Model::given(model) }?;
        // SAFETY: the caller's pointers are null, or as the header says.
        let mut room = unsafe { Room::new(probabilities, count, "probabilities") }?;
        // SAFETY: the same.
        let user = unsafe { Table::read(model, "user", user, user_count, 1) }?;
        // SAFETY: the same.
        let items = unsafe { Table::read(model, "items", items, item_count, count) }?;
        request(model, |column| user.has(column), |column| items.has(column))?;
        let (of_user, of_items) = (user.lists(), items.lists());
        let common = |column: usize| user.has(column).then(|| user.get(&of_user, column, 0));
        let item = |column: usize, row: usize| items.get(&of_items, column, row);
        let scores = model.scorer.candidates(count, common, item).map_err(Failure::scoring)?;
        room.fill(&scores.probabilities)
    };
    // SAFETY: the caller lets `error` be written, or gives null.
    unsafe { guard(error, body) }
}

/// Room of a caller for probabilities.
pub(crate) struct Room<'a>(&'a mut [f32]);

impl Room<'_> {
    /// # Safety
    /// `out` is null, or may be written for `count` values, by this call alone, for as long as the room lives.
    pub(crate) unsafe fn new(out: *mut f32, count: usize, argument: &str) -> Result<Self, Failure> {
        if count == 0 {
            return Ok(Self(&mut []));
        }
        if out.is_null() {
            return Err(Failure::null(argument));
        }
        sized::<f32>(count, argument)?;
        if !out.is_aligned() {
            return Err(Failure::argument(format!("{argument}: is not aligned to 4 bytes; align it")));
        }
        // SAFETY: it is not null, aligned, and no larger than memory can be.
        Ok(Self(unsafe { slice::from_raw_parts_mut(out, count) }))
    }

    /// Writes to the front.
    pub(crate) fn fill(&mut self, probabilities: &[f32]) -> Result<(), Failure> {
        let count = self.0.len();
        let Some(front) = self.0.get_mut(..probabilities.len()) else {
            let problem = format!("{} answers for {count} rows; report this", probabilities.len());
            return Err(Failure { status: Status::Internal, text: problem });
        };
        front.copy_from_slice(probabilities);
        Ok(())
    }
}

/// Checks that no column of the model is left out.
pub(crate) fn complete(model: &Model, has: impl Fn(usize) -> bool, place: &str) -> Result<(), Failure> {
    match model.scorer.columns().iter().enumerate().find(|(i, _)| !has(*i)) {
        None => Ok(()),
        Some((_, column)) => {
            let name = &column.name;
            Err(Failure::argument(format!(
                "{place}: column '{name}' is left out; give it, or say that it is missing"
            )))
        }
    }
}

/// Checks that every column is the user's or the items', and the scenario the user's.
pub(crate) fn request(
    model: &Model,
    user: impl Fn(usize) -> bool,
    items: impl Fn(usize) -> bool,
) -> Result<(), Failure> {
    let columns = model.scorer.columns();
    if let Some(both) = (0..columns.len()).find(|&column| user(column) && items(column)) {
        let name = &columns[both].name;
        return Err(Failure::argument(format!("items: column '{name}' is the user's too; keep one of them")));
    }
    if !user(0) {
        let name = &columns[0].name;
        let problem = format!("user: names no '{name}', the scenario of all candidates; name it");
        return Err(Failure::argument(problem));
    }
    complete(model, |column| user(column) || items(column), "user and items")
}
