//! Fields to embeddings (model.md §1; docs/derivations.md#embedding).

use std::collections::HashMap;

use crate::backend::{Backend, FieldLookup, MatMut};
use crate::config::{FieldKind, InputSpec, Role};
use crate::model::{Cx, Fields, Reader};
use crate::params::{Init, ParamId, ParamLayout, TableSpec};
use crate::rounding::TableDtype;

/// Looks up the fields of a reader, side by side in schema order.
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

/// Widths, start and storage of embeddings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingConfig {
    /// d.
    pub dim: usize,
    /// Standard deviation of the initial rows.
    pub init_std: f64,
    /// How tables are stored.
    pub dtype: TableDtype,
}

impl Embedding {
    /// Tables as `config` has them; the vectors of numeric fields join the dense parameters.
    pub fn new(params: &mut ParamLayout, input: &InputSpec, config: EmbeddingConfig) -> Self {
        let EmbeddingConfig { dim, dtype, .. } = config;
        let (mut fields, mut tables) = (Vec::new(), Vec::<TableSpec>::new());
        let (mut shared, mut places) = (0.., HashMap::new()); // places of the tables, by name
        for (index, field) in input.fields.iter().enumerate() {
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
            fields.push(Field { role: field.role, source });
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

    /// Columns of these fields, Σ d.
    pub fn width(&self, fields: Fields) -> usize {
        self.fields.iter().filter(|f| fields.contain(f.role)).count() * self.dim
    }

    /// out `[rows, ≥ Σ d]`: the fields of a reader, from column 0 on.
    pub fn forward<B: Backend>(&self, Cx { be, params, x }: Cx<B>, reader: &Reader, mut out: MatMut<B::Buf>) {
        let width = self.dim;
        let fields = || {
            let places = reader.places().iter();
            places.map(|at| (self.fields[at.field].source, &x.inputs.columns[at.field], at.column))
        };
        let categorical = fields().filter_map(|(source, input, column)| match source {
            Source::Rows(t) => Some(FieldLookup { table: x.table(t), ids: &input.ids, column, width }),
            Source::Bags(_) | Source::Numeric(_) => None,
        });
        be.lookup_fields(out.again(), categorical, x.first);
        for (source, input, column) in fields() {
            let out = out.again().cols(column, width);
            match source {
                Source::Rows(_) => {}
                Source::Bags(t) => be.lookup_bags(out, x.table(t), input.bags(), x.first),
                Source::Numeric(w) => be.numeric_embed(out, params.mat(w), &input.values, x.first),
            }
        }
    }
}
