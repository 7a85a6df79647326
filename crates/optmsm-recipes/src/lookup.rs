//! Side tables held in memory in little room.

use std::collections::HashMap;
use std::rc::Rc;

/// Numbers for texts, each kept once; number 0 is the empty text.
pub(crate) struct Texts {
    numbers: HashMap<Rc<str>, u32>,
    texts: Vec<Rc<str>>,
}

impl Texts {
    pub(crate) fn new() -> Self {
        let empty: Rc<str> = "".into();
        Self { numbers: HashMap::from([(Rc::clone(&empty), 0)]), texts: vec![empty] }
    }

    /// Number of a text.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let (number, text) = (self.texts.len() as u32, Rc::<str>::from(text));
        self.texts.push(Rc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// Text of a number that [`Texts::number`] gave.
    pub(crate) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// Rows of N numbers by an integer key: about 25 + 4 N bytes a row.
pub(crate) struct Lookup<const N: usize> {
    places: HashMap<i64, u32>,
    rows: Vec<[u32; N]>,
}

impl<const N: usize> Lookup<N> {
    pub(crate) fn new() -> Self {
        Self { places: HashMap::new(), rows: Vec::new() }
    }

    /// Adds a row; false if the key has one already, which stays.
    pub(crate) fn add(&mut self, key: i64, row: [u32; N]) -> bool {
        if self.places.contains_key(&key) {
            return false;
        }
        self.places.insert(key, self.rows.len() as u32);
        self.rows.push(row);
        true
    }

    /// Row of a key.
    pub(crate) fn get(&self, key: i64) -> Option<&[u32; N]> {
        self.places.get(&key).map(|&place| &self.rows[place as usize])
    }

    /// Rows.
    pub(crate) fn len(&self) -> u64 {
        self.rows.len() as u64
    }
}
