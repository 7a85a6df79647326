//! Rows that a program holds as values, encoded through a schema by the code that encodes files.

use std::sync::Arc;

use optmsm_core::batch::Batch;

use super::rows::scenario;
use super::value::encode_value;
use crate::error::{DataError, Place, Result};
use crate::fault::{Fault, Parsed};
use crate::schema::{Encoding, Schema};
use crate::source::{Cell, Elements, List, Speller};

/// One value of a row, as a program holds it. It is encoded as the same value in a file would be.
#[derive(Clone, Copy)]
pub enum Datum<'a> {
    /// No value: a null.
    Missing,
    /// A text.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// An integer of at least 0.
    UInt(u64),
    /// A number. An integral one is written without decimals: 3.0 is the value `3`.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Values of a multi field.
    List(&'a dyn Items),
}

/// The values of a list.
pub trait Items {
    /// Number of values.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `i`, which is no list.
    fn item(&self, i: usize) -> Datum<'_>;

    /// Its weight, where values come with one.
    fn weight(&self, _i: usize) -> Option<Datum<'_>> {
        None
    }

    /// Whether values come with a weight. Otherwise those of a weighted field have it in their text, as in `a:0.5`.
    fn weighted(&self) -> bool {
        false
    }
}

impl Items for Vec<Datum<'_>> {
    fn len(&self) -> usize {
        self.len()
    }

    fn item(&self, i: usize) -> Datum<'_> {
        self[i]
    }
}

/// An array of JSON: of values, or of pairs of a value and its weight, as the first one is. A value among pairs has weight 1.
impl Items for Vec<serde_json::Value> {
    fn len(&self) -> usize {
        self.len()
    }

    fn item(&self, i: usize) -> Datum<'_> {
        // A pair among values is a list in a list, which is refused.
        match pair(&self[i]).filter(|_| self.weighted()) {
            Some([value, _]) => Datum::of(value),
            None => Datum::of(&self[i]),
        }
    }

    fn weight(&self, i: usize) -> Option<Datum<'_>> {
        pair(&self[i]).filter(|_| self.weighted()).map(|[_, weight]| Datum::of(weight))
    }

    fn weighted(&self) -> bool {
        self.first().is_some_and(|first| pair(first).is_some())
    }
}

fn pair(value: &serde_json::Value) -> Option<&[serde_json::Value; 2]> {
    value.as_array()?.as_slice().try_into().ok()
}

impl<'a> Datum<'a> {
    /// A value of JSON. An integer beyond 64 bits is a float there, and its text that of the float: send it as a text. An object, which no
    /// field can be, becomes a list in a list, which every field refuses.
    pub fn of(value: &'a serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Datum::Missing,
            Value::Bool(v) => Datum::Bool(*v),
            Value::Number(v) => match (v.as_i64(), v.as_u64()) {
                (Some(v), _) => Datum::Int(v),
                (None, Some(v)) => Datum::UInt(v),
                (None, None) => Datum::Float(v.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(v) => Datum::Text(v),
            Value::Array(v) => Datum::List(v),
            Value::Object(_) => Datum::List(&Object),
        }
    }
}

/// Stands for an object of JSON: a list of one list, which every field refuses.
struct Object;

impl Items for Object {
    fn len(&self) -> usize {
        1
    }

    fn item(&self, _: usize) -> Datum<'_> {
        Datum::List(&Object)
    }
}

/// A list as the encoder of files reads it.
struct Listed<'a>(&'a dyn Items);

impl Elements for Listed<'_> {
    fn cell(&self, i: usize) -> Cell<'_> {
        cell(self.0.item(i)).unwrap_or(NESTED)
    }

    fn weight(&self, i: usize) -> Option<Cell<'_>> {
        self.0.weight(i).map(|weight| cell(weight).unwrap_or(NESTED))
    }

    fn weighted(&self) -> bool {
        self.0.weighted()
    }
}

/// A list inside a list: a cell that is no single value.
const NESTED: Cell = Cell::List(List { elements: &Listed(&Object), start: 0, end: 0 });

/// A value that is no list, as the encoder of files reads it.
fn cell(datum: Datum<'_>) -> Option<Cell<'_>> {
    Some(match datum {
        Datum::Missing => Cell::Missing,
        Datum::Text(v) => Cell::Text(v.as_bytes()),
        Datum::Int(v) => Cell::Int(v),
        Datum::UInt(v) => Cell::UInt(v),
        Datum::Float(v) => Cell::Double(v),
        Datum::Bool(v) => Cell::Bool(v),
        Datum::List(_) => return None,
    })
}

/// Hands a value to `read`, as a cell.
fn with_cell<T>(datum: Datum, read: impl FnOnce(Cell) -> T) -> T {
    match datum {
        Datum::List(items) => {
            let elements = &Listed(items);
            read(Cell::List(List { elements, start: 0, end: items.len() }))
        }
        value => read(cell(value).unwrap_or(NESTED)),
    }
}

/// Kind of the values that a column of a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// One value: a text, or a number whose text is meant.
    Text,
    /// One number.
    Number,
    /// Any number of values.
    List,
    /// Any number of values, each with a weight.
    WeightedList,
}

/// A column that rows of a request have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestColumn {
    /// Name, as in the training file.
    pub name: String,
    /// Kind of its values.
    pub kind: RequestKind,
}

/// Encodes rows that a program holds as values.
#[derive(Debug)]
pub struct RequestEncoder {
    schema: Arc<Schema>,
    speller: Speller,
    columns: Vec<RequestColumn>, // that of the scenario first
    places: Vec<usize>,          // column of each field
}

impl RequestEncoder {
    /// Of the rows that a schema describes.
    pub fn new(schema: Arc<Schema>) -> Self {
        let mut columns = vec![RequestColumn { name: schema.scenario.clone(), kind: RequestKind::Text }];
        let place = |field: &crate::schema::FieldSchema| {
            let kind = kind(&field.encoding);
            let known = columns.iter().position(|column| column.name == field.column);
            let place = known.unwrap_or(columns.len());
            match columns.get_mut(place) {
                // The text of a number is a number, but not the other way round.
                Some(column) if column.kind != kind && place > 0 => column.kind = RequestKind::Text,
                Some(_) => {}
                None => columns.push(RequestColumn { name: field.column.clone(), kind }),
            }
            place
        };
        let places = schema.fields.iter().map(place).collect();
        let speller = Speller::new(&schema.reading);
        Self { schema, speller, columns, places }
    }

    /// The columns of a row: that of the scenario, then those of fields. Several fields may read one.
    pub fn columns(&self) -> &[RequestColumn] {
        &self.columns
    }

    /// The schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Number of the column that each field reads, in the order of the schema.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// Appends `rows` rows to the columns of `batch` that `wanted` is true of, by the numbers of [`RequestEncoder::columns`]; the
    /// others stay as they are. `get` gives a value by column and row. After an error, the batch is of no use until it is cleared.
    ///
    /// # Errors
    /// A value cannot be encoded: [`DataError::Value`] with its row, from 1, its column and the remedy.
    pub fn encode<'a>(
        &self,
        batch: &mut Batch,
        rows: usize,
        wanted: impl Fn(usize) -> bool,
        get: impl Fn(usize, usize) -> Datum<'a>,
    ) -> Result<()> {
        let (speller, mut scratch) = (&self.speller, String::new());
        if wanted(0) {
            for row in 0..rows {
                let read = |cell: Cell| scenario(&self.schema, speller.cell(cell), &mut scratch);
                let id = with_cell(get(0, row), read).map_err(|fault| self.misplaced(0, row, fault))?;
                batch.scenarios.push(id);
            }
        }
        let fields = self.schema.fields.iter().zip(&self.places).zip(&mut batch.columns);
        for ((field, &place), column) in fields.filter(|((_, place), _)| wanted(**place)) {
            for row in 0..rows {
                let read = |cell: Cell| -> Parsed<()> {
                    encode_value(&field.encoding, speller, cell, &mut scratch, column)
                };
                with_cell(get(place, row), read).map_err(|fault| self.misplaced(place, row, fault))?;
            }
        }
        Ok(())
    }

    #[cold]
    fn misplaced(&self, column: usize, row: usize, Fault { problem, fix }: Fault) -> DataError {
        DataError::Value {
            path: "the request,".into(),
            place: Place::Row(row as u64 + 1),
            column: self.columns[column].name.clone(),
            problem,
            fix,
        }
    }
}

fn kind(encoding: &Encoding) -> RequestKind {
    match encoding {
        Encoding::Categorical { .. } => RequestKind::Text,
        Encoding::Multi { weight_separator: None, .. } => RequestKind::List,
        Encoding::Multi { .. } => RequestKind::WeightedList,
        Encoding::Buckets { .. } | Encoding::Numeric { .. } => RequestKind::Number,
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::batch::Column;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{DataConfig, FieldConfig, Kind, Transform};
    use crate::{Extra, Need, RowReader, UnseenScenario};

    const TRAIN: &str = "label,scenario,user,tags,weighted,age\n\
        1,home,7,a|b,x:2|y,30\n0,ads,ann,b,y:0.5,41.5\n1,home,true,,x,\n0,ads,3.5,c|a,,12\n";

    fn encoder() -> RequestEncoder {
        let multi = |name| FieldConfig { kind: Kind::Multi, ..FieldConfig::new(name) };
        let weighted = FieldConfig { weight_separator: Some(":".into()), ..multi("weighted") };
        let age = FieldConfig { kind: Kind::Numeric, ..FieldConfig::new("age") };
        let log = FieldConfig {
            column: Some("age".into()),
            transform: Some(Transform::Log1p),
            ..FieldConfig { name: "log".into(), ..age.clone() }
        };
        let fields = vec![FieldConfig::new("user"), multi("tags"), weighted, age, log];
        let config = DataConfig { fields, unseen_scenario: UnseenScenario::Oov, ..DataConfig::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.csv");
        std::fs::write(&path, TRAIN).unwrap();
        RequestEncoder::new(Arc::new(Schema::fit(&config, &path).unwrap()))
    }

    /// Rows of JSON as the encoder gives them.
    fn encoded(encoder: &RequestEncoder, rows: &[Value]) -> Result<Batch> {
        let mut batch = Batch::new(&encoder.schema().input_spec());
        let get = |c: usize, row: usize| {
            rows[row].get(&encoder.columns()[c].name).map_or(Datum::Missing, Datum::of)
        };
        encoder.encode(&mut batch, rows.len(), |_| true, get)?;
        Ok(batch)
    }

    #[test]
    fn values_are_encoded_as_the_same_values_of_a_file() {
        let encoder = encoder();
        let csv = "scenario,user,tags,weighted,age\nhome,7,a|b,x:2|y,30\nnew,ann,b,y:0.5,41.5\nads,true,,x,\n\
                   home,3.5,c|q|a,,-0.5\nads,unseen,a,z:1,0\n";
        let rows = [
            json!({"scenario": "home", "user": 7, "tags": ["a", "b"], "weighted": [["x", 2], ["y", 1]], "age": 30}),
            json!({"scenario": "new", "user": "ann", "tags": "b", "weighted": ["y:0.5"], "age": 41.5}),
            json!({"scenario": "ads", "user": true, "tags": [], "weighted": [["x", null]], "age": null}),
            json!({"scenario": "home", "user": 3.5, "tags": ["c", "q", null, "a"], "age": "-0.5"}),
            json!({"scenario": "ads", "user": "unseen", "tags": ["a"], "weighted": "z:1", "age": 0.0}),
        ];
        let schema = encoder.schema().clone();
        let mut wanted = Batch::new(&schema.input_spec());
        let mut reader = RowReader::from_reader("csv", csv.as_bytes(), &schema, Need::Unlabelled).unwrap();
        assert_eq!(reader.read(&mut wanted, &mut Extra::default(), 100).unwrap(), rows.len());
        assert_eq!(encoded(&encoder, &rows).unwrap(), wanted);
    }

    #[test]
    fn columns_are_named_once_and_have_the_kind_of_their_values() {
        let encoder = encoder();
        let columns: Vec<_> = encoder.columns().iter().map(|c| (c.name.as_str(), c.kind)).collect();
        use RequestKind::{List, Number, Text, WeightedList};
        let wanted =
            [("scenario", Text), ("user", Text), ("tags", List), ("weighted", WeightedList), ("age", Number)];
        assert_eq!(columns, wanted);
        assert_eq!(encoder.places(), [1, 2, 3, 4, 4]);
    }

    #[test]
    fn only_wanted_columns_grow() {
        let (encoder, rows) = (encoder(), [json!({"age": 1}), json!({"age": 2})]);
        let mut batch = Batch::new(&encoder.schema().input_spec());
        encoder.encode(&mut batch, 2, |c| c == 4, |_, row| Datum::of(&rows[row]["age"])).unwrap();
        assert_eq!(batch.columns.iter().map(Column::rows).collect::<Vec<_>>(), [0, 0, 0, 2, 2]);
        assert!(batch.scenarios.is_empty());
    }

    #[test]
    fn faults_name_row_column_and_remedy() {
        let encoder = encoder();
        let good = json!({"scenario": "home", "user": 1, "age": 1});
        let fault = |key: &str, value: Value| {
            let mut bad = good.clone();
            bad[key] = value;
            encoded(&encoder, &[good.clone(), bad]).unwrap_err().to_string()
        };
        let text = fault("age", json!("old"));
        assert!(text.starts_with("the request, row 2, column 'age': \"old\" is not a number; "), "{text}");
        let one = "is a list, where one value is wanted";
        for (key, value) in [
            ("user", json!(["a"])),
            ("user", json!({"a": 1})),
            ("tags", json!([["a"]])),
            ("tags", json!([["a", "b", "c"]])),
            ("tags", json!({"a": 1})),
            ("age", json!([1])),
            ("scenario", json!([])),
        ] {
            let text = fault(key, value);
            assert!(text.contains(one) && text.contains(key), "{text}");
        }
        assert!(fault("scenario", json!(null)).contains("the scenario is missing"));
        assert!(fault("weighted", json!([["a", "b"]])).contains("is not a finite number"));
    }
}
