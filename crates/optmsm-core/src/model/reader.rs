//! How a model reads fields, and how the gradient comes back.

use crate::backend::{Backend, MatMut};
use crate::config::Role;
use crate::layers::Embedding;
use crate::params::{ParamId, Tensor};

/// Some fields side by side, `[rows, Σ d]`, as a model reads them: in schema order, all of width
/// [`Embedding::dim`]. Several readers may read one field: their gradients are summed.
#[derive(Clone, Debug)]
pub struct Reader {
    places: Vec<Place>,
    width: usize,
    through: Through,
}

/// One field of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the field, in schema order.
    pub(crate) field: usize,
    /// First column.
    pub(crate) column: usize,
}

/// Which fields, in schema order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// All.
    All,
    /// Those of a role.
    Role(Role),
}

impl Fields {
    /// Whether a field of this role is one of them.
    pub(crate) fn contain(self, role: Role) -> bool {
        match self {
            Fields::All => true,
            Fields::Role(own) => own == role,
        }
    }
}

/// The gradient that [`Model::backward`](super::Model::backward) leaves for a reader.
#[derive(Clone, Copy, Debug)]
pub enum Through {
    /// ∂L/∂e `[rows, Σ d]`, whatever reads the embeddings.
    Embedded,
    /// δ = ∂L/∂y `[rows, outputs]` of the linear map y = e Wᵀ + …: the engine makes ∂L/∂W and ∂L/∂e from it by distinct ids,
    /// which is faster.
    Linear(FirstLayer),
}

/// A linear map that reads embeddings.
#[derive(Clone, Copy, Debug)]
pub struct FirstLayer {
    /// `[outputs, inputs]`, or `[K, outputs / K, inputs]`; the fields' columns first.
    pub weight: ParamId,
    /// `[outputs]`, or `[K, outputs / K]`.
    pub bias: ParamId,
    /// Columns of its output.
    pub outputs: usize,
    /// How predictions may have its output made by the engine.
    pub folds: Option<Folding>,
}

/// A linear layer that takes its output from [`Block::folded`](crate::uploaded::Block::folded) where that has it: all of it, its
/// ReLU included.
#[derive(Clone, Copy, Debug)]
pub struct Folding {
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Embeddings of the scenarios `[S, q]`, where the columns of the weight after the fields' read the row's.
    pub scenario: Option<ParamId>,
}

impl Reader {
    /// Reads `fields` into whatever the model makes of them.
    pub fn embedded(embedding: &Embedding, fields: Fields) -> Self {
        Self::new(embedding, fields, Through::Embedded)
    }

    /// Reads `fields` into a linear map, whose weight has their columns first.
    pub fn linear(embedding: &Embedding, fields: Fields, first: FirstLayer) -> Self {
        Self::new(embedding, fields, Through::Linear(first))
    }

    /// Reads the fields with these numbers, which rise, into whatever the model makes of them.
    pub fn numbered(embedding: &Embedding, fields: &[usize]) -> Self {
        Self::of(embedding, fields.iter().copied(), Through::Embedded)
    }

    fn new(embedding: &Embedding, fields: Fields, through: Through) -> Self {
        let own = embedding.fields().iter().enumerate().filter(|(_, f)| fields.contain(f.role));
        Self::of(embedding, own.map(|(field, _)| field), through)
    }

    fn of(embedding: &Embedding, fields: impl Iterator<Item = usize>, through: Through) -> Self {
        let columns = (0..).step_by(embedding.dim());
        let places: Vec<Place> = fields.zip(columns).map(|(field, column)| Place { field, column }).collect();
        Self { width: places.len() * embedding.dim(), places, through }
    }

    /// Columns of its fields, Σ d.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The way back.
    pub fn through(&self) -> Through {
        self.through
    }

    /// Its fields.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Columns of the gradient that a backward pass leaves for it.
    pub(crate) fn grad_width(&self) -> usize {
        match self.through {
            Through::Embedded => self.width,
            Through::Linear(first) => first.outputs,
        }
    }
}

/// Room for the gradients that a block leaves for the readers, one after the other.
#[derive(Debug)]
pub struct ReaderGrads<'a, B: Backend> {
    pub(crate) of: &'a mut [Tensor<B>], // [rows of the lane, columns] by reader
    pub(crate) first: usize,
    pub(crate) rows: usize,
}

impl<B: Backend> ReaderGrads<'_, B> {
    /// That of a reader: ∂L/∂e or δ, as its [`Through`] says. Before the first write it holds values of an
    /// earlier block or step.
    pub fn reader(&mut self, number: usize) -> MatMut<'_, B::Buf> {
        self.of[number].mat_mut(self.first + self.rows).rows(self.first, self.rows)
    }
}
