//! Rows of a request, as a model reads them.

use bumpalo::Bump;
pub use optmsm_data::{Datum, Items};

/// The ending of a tensor or column that has the weights of another one.
pub(crate) const WEIGHTS: &str = ".weights";

/// A list in the memory of a request.
pub(crate) struct List<'b> {
    pub(crate) items: &'b [Datum<'b>],
    /// One for each item.
    pub(crate) weights: Option<&'b [Datum<'b>]>,
}

impl Items for List<'_> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn item(&self, i: usize) -> Datum<'_> {
        self.items[i]
    }

    fn weight(&self, i: usize) -> Option<Datum<'_>> {
        self.weights.map(|weights| weights[i])
    }

    fn weighted(&self) -> bool {
        self.weights.is_some()
    }
}

/// A list of values, which lives as long as the memory it lies in.
pub(crate) fn list<'b>(bump: &'b Bump, items: &[Datum<'b>], weights: Option<&[Datum<'b>]>) -> Datum<'b> {
    let items = bump.alloc_slice_copy(items);
    let weights = weights.map(|weights| &*bump.alloc_slice_copy(weights));
    Datum::List(bump.alloc(List { items, weights }))
}

/// Rows: a value for each input of the model.
pub struct Rows<'a> {
    inputs: usize,
    rows: usize,
    /// Row by row.
    cells: Vec<Datum<'a>>,
}

impl<'a> Rows<'a> {
    /// Rows of missing values.
    pub fn missing(inputs: usize, rows: usize) -> Self {
        Self { inputs, rows, cells: vec![Datum::Missing; inputs * rows] }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The value of an input, by its number in [`Model::inputs`](crate::Model::inputs).
    ///
    /// # Panics
    /// If there is no such row or input.
    pub fn get(&self, row: usize, input: usize) -> Datum<'a> {
        self.row(row)[input]
    }

    /// Changes a value.
    ///
    /// # Panics
    /// If there is no such row or input.
    pub fn set(&mut self, row: usize, input: usize, value: Datum<'a>) {
        let inputs = self.inputs;
        self.cells[row * inputs..][..inputs][input] = value;
    }

    /// Appends a row of missing values.
    pub(crate) fn push(&mut self) {
        self.rows += 1;
        self.cells.resize(self.rows * self.inputs, Datum::Missing);
    }

    fn row(&self, row: usize) -> &[Datum<'a>] {
        &self.cells[row * self.inputs..][..self.inputs]
    }
}

/// One user and many items.
pub struct Candidates<'a> {
    /// For each input, the value that holds for all items; none where each item has its own.
    pub(crate) user: Vec<Option<Datum<'a>>>,
    pub(crate) items: Rows<'a>,
}

impl<'a> Candidates<'a> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The value of an input that holds for all items; none where each item has its own.
    ///
    /// # Panics
    /// If there is no such input.
    pub fn user(&self, input: usize) -> Option<Datum<'a>> {
        self.user[input]
    }

    /// The value of an input for an item.
    ///
    /// # Panics
    /// If there is no such item or input.
    pub fn get(&self, item: usize, input: usize) -> Datum<'a> {
        self.user[input].unwrap_or_else(|| self.items.get(item, input))
    }
}
