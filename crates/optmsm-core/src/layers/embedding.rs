//! Fields to embeddings (model.md §1; docs/derivations.md#embedding).

use std::collections::HashMap;

use crate::backend::{Backend, FieldLookup, MatMut};
use crate::config::{FieldKind, InputSpec, ModelConfig, Role};
use crate::inputs::Block;
use crate::params::{Flat, Init, ParamId, ParamLayout};
use crate::rounding::TableDtype;

/// Looks up the fields of each role, one after the other in schema order.
#[derive(Clone, Debug)]
pub struct Embedding {
    fields: Vec<Field>,
    tables: Vec<TableSpec>,
    dim: usize,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) role: Role,
    /// First column in the embeddings of that role.
    pub(crate) column: usize,
    pub(crate) source: Source,
}

/// Where a field's embedding comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// One row of this table.
    Rows(usize),
    /// Pooled rows of this table.
    Bags(usize),
    /// A value times this vector.
    Numeric(ParamId),
}

/// An embedding table: only the rows that a batch touches have a gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Checkpoint name.
    pub name: String,
    /// Vocabulary with the out-of-vocabulary row.
    pub rows: usize,
    /// d.
    pub width: usize,
    /// How it is stored.
    pub dtype: TableDtype,
    /// How it starts.
    pub init: Init,
    /// Whether training leaves it as it is.
    pub frozen: bool,
    /// The fields that read it, in schema order.
    pub fields: Vec<usize>,
    /// Its number among the tables that several fields read.
    pub shared: Option<usize>,
}

impl Embedding {
    /// Tables as `config` has them; the vectors of numeric fields join the dense parameters.
    pub fn new(params: &mut ParamLayout, input: &InputSpec, config: &ModelConfig) -> Self {
        let (dim, dtype) = (config.embedding_dim, config.embeddings.dtype);
        let (mut fields, mut tables) = (Vec::new(), Vec::<TableSpec>::new());
        let (mut shared, mut places) = (0.., HashMap::new()); // places of the tables, by name
        let mut columns = [0; 2]; // by role
        for (index, field) in input.fields.iter().enumerate() {
            let next = &mut columns[usize::from(field.role == Role::Specific)];
            let column = std::mem::replace(next, *next + dim);
            let name = format!("embeddings.{}.weight", field.table());
            let init = Init::Normal(config.init_std);
            let source = match field.kind {
                FieldKind::Numeric => Source::Numeric(params.add(name, &[1, dim], init)),
                FieldKind::Categorical { vocab: rows } | FieldKind::Multi { vocab: rows, .. } => {
                    let table = *places.entry(field.table()).or_insert(tables.len());
                    if table == tables.len() {
                        let shared = input.sharing(index).and_then(|_| shared.next());
                        let (fields, width, frozen) = (Vec::new(), dim, field.frozen);
                        tables.push(TableSpec { name, rows, width, dtype, init, frozen, fields, shared });
                    }
                    tables[table].fields.push(index);
                    match field.kind {
                        FieldKind::Multi { .. } => Source::Bags(table),
                        _ => Source::Rows(table),
                    }
                }
            };
            fields.push(Field { role: field.role, column, source });
        }
        Self { fields, tables, dim }
    }

    /// The tables, in the order of their first fields.
    pub fn tables(&self) -> &[TableSpec] {
        &self.tables
    }

    /// The fields, in schema order.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Columns of the fields of a role.
    pub fn width(&self, role: Role) -> usize {
        self.fields.iter().filter(|f| f.role == role).count() * self.dim
    }

    /// out `[rows, ≥ width]`: the fields of `role`, from column 0 on.
    pub fn forward<B: Backend>(
        &self,
        be: &B,
        params: &Flat<B>,
        role: Role,
        mut out: MatMut<B::Buf>,
        x: &Block<B>,
    ) {
        let fields = || self.fields.iter().zip(&x.inputs.columns).filter(|(f, _)| f.role == role);
        let categorical = fields().filter_map(|(field, input)| match field.source {
            Source::Rows(t) => {
                let (column, width) = (field.column, self.dim);
                Some(FieldLookup { table: x.table(t), ids: &input.ids, column, width })
            }
            Source::Bags(_) | Source::Numeric(_) => None,
        });
        be.lookup_fields(out.again(), categorical, x.first);
        for (field, input) in fields() {
            let out = out.again().cols(field.column, self.dim);
            match field.source {
                Source::Rows(_) => {}
                Source::Bags(t) => be.lookup_bags(out, x.table(t), input.bags(), x.first),
                Source::Numeric(w) => be.numeric_embed(out, params.mat(w), &input.values, x.first),
            }
        }
    }
}
