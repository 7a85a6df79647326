//! How often values came, counted by several threads.
//!
//! Counts are sums, so neither the threads nor the order of the rows matter to them. Each value is kept once, whatever the number of
//! threads: what a thread counts by itself is a small table for values that come often.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault::Parsed;
use crate::source::{Dictionary, Speller, utf8};
use crate::util::{hash_bytes, mix};

/// How often each value of a field came, by its UTF-8.
type Counts = HashMap<Box<[u8]>, u64, BuildHasherDefault<Text>>;

/// Hash of a key that is a text.
#[derive(Default)]
struct Text(u64);

impl Hasher for Text {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ hash_bytes(bytes));
    }

    fn write_usize(&mut self, _: usize) {} // the length, which `hash_bytes` knows

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tables that threads share, each for some of the hashes: they seldom wait for each other.
const TABLES: usize = 32;

/// Most values that a thread keeps to itself: the table stays in the second cache.
const MOST: usize = 4096;

/// Counts of all threads.
pub(crate) struct Shared {
    tables: Vec<Mutex<Counts>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { tables: (0..TABLES).map(|_| Mutex::default()).collect() }
    }
}

impl Shared {
    fn add(&self, value: &[u8], n: u64) {
        let table = hash_bytes(value) as usize % TABLES;
        add(&mut self.tables[table].lock().unwrap_or_else(PoisonError::into_inner), value, n);
    }

    /// Adds what another field of the same table counted.
    pub(crate) fn merge(&self, other: &Shared) {
        for (value, n) in other.take() {
            self.add(value.as_bytes(), n);
        }
    }

    /// All of it, leaving nothing.
    pub(crate) fn take(&self) -> Vec<(Box<str>, u64)> {
        let mut all = Vec::new();
        for table in &self.tables {
            let counts = std::mem::take(&mut *table.lock().unwrap_or_else(PoisonError::into_inner));
            // All of them were checked when they came.
            let text = |(value, n): (Box<[u8]>, u64)| Some((String::from_utf8(value.into()).ok()?.into(), n));
            all.extend(counts.into_iter().filter_map(text));
        }
        all
    }
}

fn add(counts: &mut Counts, value: &[u8], n: u64) {
    match counts.get_mut(value) {
        Some(count) => *count += n,
        None => _ = counts.insert(value.into(), n),
    }
}

/// One thread's counting of one column.
#[derive(Default)]
pub(crate) struct Counter {
    here: Counts,
    rows: u64,  // counted in `here`
    rare: bool, // most values are new to `here`, which then only costs time
    dictionary: Option<Arc<Dictionary>>,
    entries: Vec<u64>, // counts of its entries
}

impl Counter {
    /// Counts a value once more.
    #[inline]
    pub(crate) fn add(&mut self, value: &[u8], shared: &Shared) -> Parsed<()> {
        if self.rare {
            utf8(value)?;
            shared.add(value, 1);
            return Ok(());
        }
        self.rows += 1;
        match self.here.get_mut(value) {
            Some(count) => *count += 1,
            None => {
                utf8(value)?;
                self.here.insert(value.into(), 1);
                if self.here.len() > MOST {
                    self.rare = self.rows < 4 * MOST as u64;
                    self.empty(shared);
                }
            }
        }
        Ok(())
    }

    /// Turns to a dictionary, which may be the one at hand.
    pub(crate) fn turn_to(&mut self, dictionary: &Arc<Dictionary>, speller: &Speller, shared: &Shared) {
        if self.dictionary.as_ref().is_none_or(|d| d.stamp != dictionary.stamp) {
            self.end_dictionary(speller, shared);
            self.entries.resize(dictionary.len(), 0);
            self.dictionary = Some(dictionary.clone());
        }
    }

    /// Counts an entry of the dictionary at hand once more; false if it is a missing value, which is not counted.
    #[inline]
    pub(crate) fn add_entry(
        &mut self,
        entry: usize,
        dictionary: &Dictionary,
        speller: &Speller,
    ) -> Parsed<bool> {
        let value = || speller.cell(dictionary.cell(entry));
        if self.entries[entry] == 0 && value().text(&mut String::new())?.is_empty() {
            return Ok(false);
        }
        self.entries[entry] += 1;
        Ok(true)
    }

    fn end_dictionary(&mut self, speller: &Speller, shared: &Shared) {
        let (dictionary, mut scratch) = (self.dictionary.take(), String::new());
        let mut entries = std::mem::take(&mut self.entries);
        if let Some(dictionary) = dictionary {
            for (entry, n) in entries.iter().enumerate().filter(|(_, n)| **n > 0) {
                if let Ok(value) = speller.cell(dictionary.cell(entry)).bytes(&mut scratch) {
                    shared.add(value, *n);
                }
            }
        }
        entries.clear();
        self.entries = entries;
    }

    fn empty(&mut self, shared: &Shared) {
        self.here.drain().for_each(|(value, n)| shared.add(&value, n));
        self.rows = 0;
    }

    /// Hands everything over.
    pub(crate) fn finish(&mut self, speller: &Speller, shared: &Shared) {
        self.end_dictionary(speller, shared);
        self.empty(shared);
    }
}
