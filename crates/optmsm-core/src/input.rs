//! Scenarios and fields: what the data says of a model's inputs.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Scenarios and fields; comes from a fitted schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// S: number of scenarios.
    pub scenarios: usize,
    /// The fields, in schema order.
    pub fields: Vec<FieldSpec>,
}

/// One input field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldSpec {
    /// Name, as in checkpoints (`embeddings.{name}.weight`).
    pub name: String,
    /// Its part in a row.
    pub role: Role,
    /// Form of a value.
    pub kind: FieldKind,
    /// Name of its table, which all fields that name it share; a table of its own, with the field's name, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whether training leaves its table as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
}

impl FieldSpec {
    /// A field with a table of its own (or a vector, if it is numeric) that training moves.
    pub fn new(name: impl Into<String>, role: Role, kind: FieldKind) -> Self {
        Self { name: name.into(), role, kind, table: None, frozen: false }
    }

    /// Name of its table.
    pub fn table(&self) -> &str {
        self.table.as_deref().unwrap_or(&self.name)
    }

    /// Checks its table against that of the first field that reads the same one, which may be itself.
    fn validate_table(&self, first: &Self) -> Result<()> {
        let fail = |key: &str, problem: String, fix: &str| {
            Err(Error::config(format!("data.fields.{}.{key}", self.name), problem, fix))
        };
        if self.kind == FieldKind::Numeric && (self.table.is_some() || self.frozen) {
            let key = if self.frozen { "freeze" } else { "table" };
            return fail(key, "means something for a field with ids only".into(), "leave it out");
        }
        if self.name == first.name {
            return Ok(());
        }
        let (name, other) = (self.table(), &first.name);
        if self.table.is_none() || first.table.is_none() {
            let problem =
                format!("table '{name}' of fields '{}' and '{other}' is named in one of them", self.name);
            return fail("table", problem, "name it in both to share it, or rename it");
        }
        let (a, b) = (self.kind.ids(), first.kind.ids());
        if a != b {
            let problem = format!("has {a} ids, but field '{other}', which shares table '{name}', has {b}");
            return fail("table", problem, "give both the same ids, or tables of their own");
        }
        if self.frozen != first.frozen {
            let problem = format!("differs from that of field '{other}', which shares table '{name}'");
            return fail("freeze", problem, "set it in both or in neither");
        }
        Ok(())
    }
}

/// A field's part in a row, where a model makes the distinction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Shared by scenarios: users, items.
    Shared,
    /// Sets scenarios apart: slots, pages, times.
    Specific,
}

/// Form of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// One id below `vocab`.
    Categorical {
        /// Rows of the table; id 0 is out-of-vocabulary.
        vocab: usize,
    },
    /// Any number of ids below `vocab`, each with an optional weight.
    Multi {
        /// Rows of the table; id 0 is out-of-vocabulary.
        vocab: usize,
        /// How the rows become one vector.
        pooling: Pooling,
    },
    /// One number.
    Numeric,
}

impl FieldKind {
    /// Rows of its table; 0 if it has none.
    pub fn ids(self) -> usize {
        match self {
            FieldKind::Categorical { vocab } | FieldKind::Multi { vocab, .. } => vocab,
            FieldKind::Numeric => 0,
        }
    }
}

/// How the rows of a multi-hot field become one vector; an empty list gives zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Σ wᵢ rowᵢ / n, with n the length of the list.
    #[default]
    Mean,
    /// Σ wᵢ rowᵢ.
    Sum,
}

impl InputSpec {
    /// Checks that there are scenarios and fields, that names are unique, and that no table is empty.
    pub fn validate(&self) -> Result<()> {
        if self.scenarios == 0 {
            return Err(Error::config("scenario", "the data has no scenario", "give at least one row"));
        }
        if self.fields.is_empty() {
            return Err(Error::config("fields", "there is no field", "give at least one"));
        }
        let (mut names, mut tables) = (HashSet::new(), HashMap::new());
        for f in &self.fields {
            if !names.insert(&f.name) {
                let problem = format!("field '{}' is named twice", f.name);
                return Err(Error::config("fields", problem, "rename or drop one"));
            }
            if let FieldKind::Categorical { vocab: 0 } | FieldKind::Multi { vocab: 0, .. } = f.kind {
                let problem = format!("field '{}' has an empty vocabulary", f.name);
                return Err(Error::config("fields", problem, "vocab counts the out-of-vocabulary row too"));
            }
            f.validate_table(tables.entry(f.table()).or_insert(f))?;
        }
        Ok(())
    }

    /// The fields that read the same table as field `first`, in schema order; `None` unless it is the first of several.
    pub fn sharing(&self, first: usize) -> Option<impl Iterator<Item = usize> + '_> {
        let name = self.fields[first].table.as_deref()?;
        let readers =
            move || (0..self.fields.len()).filter(move |&f| self.fields[f].table.as_deref() == Some(name));
        let mut begin = readers();
        (begin.next() == Some(first) && begin.next().is_some()).then(readers)
    }

    /// The fields of each embedding table, in schema order; tables in the order of their first fields.
    pub fn tables(&self) -> Vec<Vec<usize>> {
        let mut tables: Vec<Vec<usize>> = Vec::new();
        let mut places = HashMap::new();
        for (index, field) in self.fields.iter().enumerate() {
            if let FieldKind::Numeric = field.kind {
                continue;
            }
            let table = *places.entry(field.table()).or_insert(tables.len());
            if table == tables.len() {
                tables.push(Vec::new());
            }
            tables[table].push(index);
        }
        tables
    }

    /// Number of fields of a role.
    pub fn count(&self, role: Role) -> usize {
        self.fields.iter().filter(|f| f.role == role).count()
    }
}
