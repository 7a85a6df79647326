//! Share of each field's vocabulary that a file holds, and words to tell a user of one that holds little of it.

use std::collections::BTreeMap;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::Role;
use optmsm_data::{Schema, Source, Unknown, Unknowns, printable, quote};
use serde::Serialize;

/// Counts of one field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldCoverage {
    /// Name.
    pub field: String,
    /// Which encoding reads it.
    pub role: Role,
    /// `categorical`, `multi`, `buckets` or `numeric`.
    pub kind: &'static str,
    /// Ids except that of unknown values: values that training kept, and the missing value where it has an id of its
    /// own. None for numbers.
    pub vocabulary: Option<u64>,
    /// Those of them that occur.
    pub seen: Option<u64>,
    /// Rows.
    pub rows: u64,
    /// Values of all rows: one per row, except for `multi`.
    pub values: u64,
    /// Values that training did not keep; none for numbers.
    pub unknown: Option<u64>,
    /// Rows without a value.
    pub missing: u64,
}

impl FieldCoverage {
    /// Share of the vocabulary that occurs.
    pub fn seen_share(&self) -> Option<f64> {
        share(self.seen?, self.vocabulary?)
    }

    /// Share of values that are out of the vocabulary.
    pub fn unknown_share(&self) -> Option<f64> {
        share(self.unknown?, self.values)
    }

    /// Share of rows without a value.
    pub fn missing_share(&self) -> Option<f64> {
        share(self.missing, self.rows)
    }
}

/// An example of a value that is out of vocabulary, and of one that is not.
fn beside(example: Option<&Unknown>) -> String {
    match example {
        None => String::new(),
        Some(Unknown { value, kept: Some(kept), alike: true }) => {
            format!(
                ", such as {}, which training has as {}; write both in the same way",
                quote(value),
                quote(kept)
            )
        }
        Some(Unknown { value, kept: Some(kept), .. }) => {
            format!(", such as {}, where training has values such as {}", quote(value), quote(kept))
        }
        Some(Unknown { value, kept: None, .. }) => format!(", such as {}", quote(value)),
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Counts while a file is read.
#[derive(Debug)]
pub struct Counter {
    seen: Vec<Vec<bool>>, // by field and id
    fields: Vec<FieldCoverage>,
    rows: u64,
    fallback: Option<u32>,
    unseen: u64, // rows of the fallback scenario
}

/// Values, and rows, below which their shares say nothing.
const FEWEST: u64 = 20;

impl Counter {
    /// Nothing yet.
    pub fn new(schema: &Schema) -> Self {
        let fields = schema.fields.iter().map(|f| {
            let ids = f.encoding.ids();
            let coverage = FieldCoverage {
                field: f.name.clone(),
                role: f.role,
                kind: f.encoding.kind(),
                vocabulary: ids.map(|n| n as u64 - 1),
                seen: ids.map(|_| 0),
                rows: 0,
                values: 0,
                unknown: ids.map(|_| 0),
                missing: 0,
            };
            (coverage, vec![false; ids.unwrap_or(0)])
        });
        let (fields, seen) = fields.unzip();
        Self { seen, fields, rows: 0, fallback: schema.fallback_scenario(), unseen: 0 }
    }

    /// Adds rows.
    pub fn add(&mut self, batch: &Batch) {
        self.rows += batch.rows() as u64;
        let unseen = |scenario: &&u32| Some(**scenario) == self.fallback;
        self.unseen += batch.scenarios.iter().filter(unseen).count() as u64;
        for ((field, seen), column) in self.fields.iter_mut().zip(&mut self.seen).zip(&batch.columns) {
            field.rows += batch.rows() as u64;
            let ids: &[u32] = match column {
                Column::Categorical(ids) | Column::Multi { ids, .. } => ids,
                Column::Numeric(_) => &[],
            };
            field.values += if field.vocabulary.is_some() { ids.len() } else { batch.rows() } as u64;
            if let Some(unknown) = &mut field.unknown {
                *unknown += ids.iter().filter(|&&id| id == 0).count() as u64;
            }
            ids.iter().for_each(|&id| seen[id as usize] = true);
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Shares of values that are out of the vocabulary, by field, where there are any.
    pub fn unknown_shares(&self) -> BTreeMap<String, f64> {
        let share =
            |f: &FieldCoverage| Some((f.field.clone(), f.unknown_share().filter(|&share| share > 0.0)?));
        self.fields.iter().filter_map(share).collect()
    }

    /// Warnings for the user: one text for each field of which at most half as large a share of values is in the vocabulary as of the
    /// training rows, whose shares out of it are `trained` (0 where it names none; 1 where none can be in it); and one where half of the rows are of
    /// scenarios that training never saw. `source` is what was counted, of which an example is shown.
    pub fn warnings(&self, schema: &Schema, trained: &BTreeMap<String, f64>, source: &Source) -> Vec<String> {
        let lost = |field: &FieldCoverage| {
            let kept = 1.0 - trained.get(&field.field).copied().unwrap_or(0.0);
            let unknown = field.unknown_share().filter(|_| kept > 0.0 && field.values >= FEWEST)?;
            (1.0 - unknown <= 0.5 * kept).then_some(unknown)
        };
        let fields: Vec<_> = self.fields.iter().map(lost).collect();
        let scenarios = self.rows >= FEWEST && 2 * self.unseen >= self.rows;
        if !scenarios && fields.iter().all(Option::is_none) {
            return Vec::new();
        }
        let examples = Unknowns::find(source, schema);
        let mut texts = Vec::new();
        for ((field, lost), example) in self.fields.iter().zip(fields).zip(&examples.fields) {
            if let Some(share) = lost {
                let (name, values, share) = (printable(&field.field), field.values, 100.0 * share);
                texts.push(format!(
                    "{source}: {share:.1} % of {values} values of field '{name}' are out of vocabulary{}",
                    beside(example.as_ref())
                ));
            }
        }
        if scenarios {
            let share = 100.0 * self.unseen as f64 / self.rows as f64;
            texts.push(format!(
                "{source}: {share:.1} % of {} rows are of scenarios that training never saw{}",
                self.rows,
                beside(examples.scenario.as_ref())
            ));
        }
        texts
    }

    /// The counts; `missing` are the rows without a value, by field.
    pub fn finish(mut self, missing: &[u64]) -> Vec<FieldCoverage> {
        for ((field, seen), &missing) in self.fields.iter_mut().zip(&self.seen).zip(missing) {
            field.missing = missing;
            if let Some(count) = &mut field.seen {
                *count = seen.iter().skip(1).filter(|&&s| s).count() as u64;
            }
        }
        self.fields
    }
}

#[cfg(test)]
mod tests {
    use optmsm_data::{DataConfig, Extra, FieldConfig, Kind, Need, RowReader};

    use super::*;

    #[test]
    fn counts_by_hand() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let train = "label,scenario,user,tags,age\n0,a,u1,x|y,1\n1,a,u2,,2\n0,a,u3,z,3\n1,a,,x,4\n";
        let train = write("train.csv", train);
        let field = |name: &str, kind| FieldConfig { kind, ..FieldConfig::new(name) };
        let kinds = [("user", Kind::Categorical), ("tags", Kind::Multi), ("age", Kind::Numeric)];
        let fields = kinds.map(|(name, kind)| field(name, kind)).into();
        let schema = Schema::fit(&DataConfig { fields, ..DataConfig::default() }, &train).unwrap();

        // Columns in another order; users u1 (twice), unknown, missing, u3; tags x, unknown, none, x and unknown and y, none.
        let data =
            "age,tags,label,scenario,user\n,x,0,a,u1\n5,?,0,a,new\n 6 ,,1,a,\n \t,x|!|y,0,a,u3\n7,|,0,a,u1\n";
        let data = write("data.csv", data);
        let mut reader = RowReader::open(&data, &schema, Need::Labelled).unwrap().count_missing();
        let mut counter = Counter::new(&schema);
        let mut extra = Extra::default();
        // In two pieces.
        for rows in [2, 9] {
            let mut batch = Batch::new(&schema.input_spec());
            reader.read(&mut batch, &mut extra, rows).unwrap();
            counter.add(&batch);
        }
        let [user, tags, age] = &counter.finish(reader.missing())[..] else { panic!("three fields") };
        // u1, u2, u3 and the empty value are known; u1, u3 and the empty one occur.
        assert_eq!((user.vocabulary, user.seen, user.rows, user.values), (Some(4), Some(3), 5, 5));
        assert_eq!((user.unknown, user.missing), (Some(1), 1));
        assert_eq!(
            (user.seen_share(), user.unknown_share(), user.missing_share()),
            (Some(0.75), Some(0.2), Some(0.2))
        );
        // x, y, z are known; x and y occur; values are x, ?, x, !, y.
        assert_eq!((tags.vocabulary, tags.seen, tags.rows, tags.values), (Some(3), Some(2), 5, 5));
        assert_eq!((tags.unknown, tags.missing), (Some(2), 2));
        assert_eq!((age.vocabulary, age.seen, age.unknown, age.missing), (None, None, None, 2));
        assert_eq!((age.rows, age.values, age.unknown_share(), age.missing_share()), (5, 5, None, Some(0.4)));
    }
}
