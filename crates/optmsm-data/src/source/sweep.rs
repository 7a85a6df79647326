//! Rows looked at column by column, with the first fault that a look at them row by row would find.
//!
//! A column is looked at up to the first row that is known to be at fault; a fault that it finds there is in an earlier
//! row and takes the place of the other. So the last one standing is that of the first faulty row, and of its columns
//! the one looked at first.

use super::column::Dictionary;
use super::rows::Rows;
use crate::error::DataError;
use crate::fault::{Fault, Parsed};

/// The rows that are looked at, up to the first fault.
#[derive(Default)]
pub(crate) struct Sweep {
    picked: Option<Vec<u32>>,             // all of them without it
    good: usize,                          // of the picked ones
    fault: Option<(usize, usize, Fault)>, // row, column
}

impl Sweep {
    /// The first `rows` rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self { picked: None, good: rows, fault: None }
    }

    /// Hands each row to `look` until it faults, which is about this column.
    #[inline]
    pub(crate) fn each(&mut self, column: usize, mut look: impl FnMut(usize) -> Parsed<()>) {
        let found = match &self.picked {
            None => (0..self.good).find_map(|row| Some((row, row, look(row).err()?))),
            Some(picked) => {
                let rows = picked[..self.good].iter().enumerate();
                rows.into_iter().find_map(|(i, &row)| Some((i, row as usize, look(row as usize).err()?)))
            }
        };
        if let Some((good, row, fault)) = found {
            self.good = good;
            self.fault = Some((row, column, fault));
        }
    }

    /// Goes on with these of its rows only, which rise.
    pub(crate) fn pick(&mut self, picked: Vec<u32>) {
        self.good = picked.len();
        self.picked = Some(picked);
    }

    /// Rows without a fault.
    pub(crate) fn good(&self) -> usize {
        self.good
    }

    /// The rows without a fault, where they are not simply the first ones, and the fault.
    pub(crate) fn finish(self, rows: &Rows) -> (Option<Vec<u32>>, Option<DataError>) {
        let Self { picked, good, fault } = self;
        let picked = picked.map(|mut picked| {
            picked.truncate(good);
            picked
        });
        (picked, fault.map(|(row, column, fault)| rows.value_error(row, column, fault)))
    }
}

/// Findings about the entries of the current dictionary. Each entry is looked at once, not for every row.
pub(crate) struct Known<T> {
    stamp: Option<u64>,
    entries: Vec<Option<T>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { stamp: None, entries: Vec::new() }
    }
}

impl<T: Copy> Known<T> {
    /// Finding about an entry of the current dictionary. `find` makes it if there is none yet.
    #[inline]
    pub(crate) fn get(&mut self, key: usize, find: impl FnOnce() -> Parsed<T>) -> Parsed<T> {
        if let Some(known) = self.entries[key] {
            return Ok(known);
        }
        let found = find()?;
        self.entries[key] = Some(found);
        Ok(found)
    }

    /// Turns to a dictionary, which may be the one at hand.
    pub(crate) fn turn_to(&mut self, dictionary: &Dictionary) {
        if self.stamp != Some(dictionary.stamp) {
            self.stamp = Some(dictionary.stamp);
            self.entries.clear();
            self.entries.resize(dictionary.len(), None);
        }
    }
}

/// Hands each row's cell to `find`, or what is known of its entry, and what it found to `each`.
macro_rules! look_up {
    ($sweep:expr, $column:expr, $values:expr, $known:expr, |$cell:ident| $find:expr, |$found:pat_param| $each:expr) => {
        match $values.keys() {
            Some(keys) => {
                $known.turn_to(keys.dictionary);
                $sweep.each($column, |row| {
                    let $found = match keys.key(row) {
                        Some(key) => $known.get(key, || {
                            let $cell = keys.dictionary.cell(key);
                            $find
                        })?,
                        None => {
                            let $cell = $crate::source::Cell::Missing;
                            $find?
                        }
                    };
                    $each;
                    Ok(())
                })
            }
            None => $sweep.each($column, |row| {
                let $cell = $values.cell(row);
                let $found = $find?;
                $each;
                Ok(())
            }),
        }
    };
}
pub(crate) use look_up;
