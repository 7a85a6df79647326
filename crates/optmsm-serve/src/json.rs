//! Rows and candidates from JSON, without a tree in between.

use std::cell::{Cell, RefCell};
use std::fmt;

use bumpalo::Bump;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::answer::Failure;
use crate::predict::Columns;
use crate::rows::{Candidates, Datum, Rows, list};

/// Content of a body.
pub(crate) enum Asked<'b> {
    Rows(Rows<'b>),
    /// Items, and the number of those that are wanted, the best first.
    Candidates(Candidates<'b>, Option<usize>),
}

/// Reads `[row, …]`, `{"rows": [row, …]}` or `{"user": {…}, "scenario": …, "items": [{…}, …], "top": n}`; a row is an object.
///
/// # Errors
/// 400, with the place.
pub(crate) fn read<'b>(body: &'b [u8], columns: &Columns<'_>, bump: &'b Bump) -> Result<Asked<'b>, Failure> {
    let reader = Reader { columns, bump, failure: RefCell::default(), values: Cell::new(0) };
    let mut json = serde_json::Deserializer::from_slice(body);
    let asked = Body(&reader).deserialize(&mut json).and_then(|asked| json.end().map(|()| asked));
    asked.map_err(|e| {
        let known = reader.failure.take();
        known.unwrap_or_else(|| Failure::request(format!("the body is no JSON that can be read: {e}")))
    })
}

struct Reader<'c, 'b> {
    columns: &'c Columns<'c>,
    bump: &'b Bump,
    /// The reason to stop, which the parser's own error does not carry.
    failure: RefCell<Option<Failure>>,
    /// Values in lists.
    values: Cell<usize>,
}

impl Reader<'_, '_> {
    /// Stops the parser.
    fn stop<E: Error>(&self, failure: Failure) -> E {
        *self.failure.borrow_mut() = Some(failure);
        E::custom("stopped")
    }

    fn refuse<E: Error>(&self, text: impl Into<String>) -> E {
        self.stop(Failure::request(text))
    }
}

/// The shapes that a body may have.
const SHAPES: &str = r#"send [{"column": value, …}, …], {"rows": […]} or {"user": {…}, "items": [{…}, …]}"#;

struct Body<'r, 'c, 'b>(&'r Reader<'c, 'b>);

impl<'b> DeserializeSeed<'b> for Body<'_, '_, 'b> {
    type Value = Asked<'b>;

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<Asked<'b>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Body<'_, '_, 'b> {
    type Value = Asked<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows; ")?;
        f.write_str(SHAPES)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<Asked<'b>, A::Error> {
        let mut table = Table::new(self.0, "row");
        while seq.next_element_seed(Row(&mut table))?.is_some() {}
        table.complete()?;
        Ok(Asked::Rows(table.rows))
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Asked<'b>, A::Error> {
        let reader = self.0;
        let (mut rows, mut user, mut scenario, mut items, mut top) = (None, None, None, None, None);
        while let Some(key) = map.next_key_seed(Key)? {
            let twice = match &*key {
                "rows" => rows.replace(map.next_value_seed(Array(Table::new(reader, "row")))?).is_some(),
                "items" => items.replace(map.next_value_seed(Array(Table::new(reader, "item")))?).is_some(),
                "user" => {
                    let mut table = Table::new(reader, "user");
                    map.next_value_seed(Row(&mut table))?;
                    user.replace(table).is_some()
                }
                "scenario" => scenario.replace(map.next_value_seed(Value { reader, depth: 0 })?).is_some(),
                "top" => match map.next_value_seed(Value { reader, depth: 0 })? {
                    Datum::Int(n) if n > 0 => top.replace(n as usize).is_some(),
                    Datum::Missing => false,
                    _ => {
                        return Err(
                            reader.refuse("\"top\" is no number of items; give an integer of at least 1")
                        );
                    }
                },
                other => {
                    return Err(reader.refuse(format!("the body has an unknown key {other:?}; {SHAPES}")));
                }
            };
            if twice {
                return Err(reader.refuse(format!("the body has the key {key:?} twice; keep one")));
            }
        }
        match (rows, items) {
            (Some(rows), None) if user.is_none() && scenario.is_none() && top.is_none() => {
                rows.complete()?;
                Ok(Asked::Rows(rows.rows))
            }
            (None, Some(items)) => Ok(Asked::Candidates(together(reader, user, scenario, items)?, top)),
            _ => Err(reader.refuse(format!("the body has neither rows alone nor items; {SHAPES}"))),
        }
    }
}

/// One user's columns and those of items.
fn together<'b, E: Error>(
    reader: &Reader<'_, 'b>,
    user: Option<Table<'_, '_, 'b>>,
    scenario: Option<Datum<'b>>,
    items: Table<'_, '_, 'b>,
) -> Result<Candidates<'b>, E> {
    let inputs = reader.columns.inputs;
    let mut of_user = vec![None; inputs.len()];
    if let Some(user) = user {
        for (i, value) in of_user.iter_mut().enumerate() {
            *value = user.lacking[i].is_none().then(|| user.rows.get(0, i));
        }
    }
    if let Some(value) = scenario {
        let Some(input) = reader.columns.scenario else {
            return Err(
                reader.refuse("the model has one scenario, and no column for it; leave \"scenario\" out")
            );
        };
        if of_user[input].replace(value).is_some() {
            let name = &inputs[input].name;
            return Err(
                reader.refuse(format!("\"scenario\" and column '{name}' of \"user\" are the same; keep one"))
            );
        }
    }
    for (i, input) in inputs.iter().enumerate() {
        if items.has[i] && of_user[i].is_some() {
            let problem = format!("column '{}' is given for the user and in items", input.name);
            return Err(reader.refuse(format!("{problem}; keep one of them")));
        }
        if !items.has[i] && of_user[i].is_none() {
            if !input.optional && !items.rows.is_empty() {
                return Err(reader.refuse(items.no_column(i, "neither the user nor items have it")));
            }
            of_user[i] = Some(Datum::Missing);
        }
    }
    let given: Vec<_> = of_user.iter().map(Option::is_some).collect();
    items.complete_but(&given)?;
    let fits = reader.columns.check_user(&of_user, items.rows.len(), reader.values.get());
    fits.map_err(|failure| reader.stop(failure))?;
    Ok(Candidates { user: of_user, items: items.rows })
}

/// Rows while they are read.
struct Table<'r, 'c, 'b> {
    reader: &'r Reader<'c, 'b>,
    /// The word for a row.
    word: &'static str,
    rows: Rows<'b>,
    /// Whether any row has a column.
    has: Vec<bool>,
    /// The last row, from 1, that has a column.
    given: Vec<usize>,
    /// The first row that lacks a column.
    lacking: Vec<Option<usize>>,
    /// A key that no column has, in the first row that has one.
    stray: Option<String>,
}

impl<'r, 'c, 'b> Table<'r, 'c, 'b> {
    fn new(reader: &'r Reader<'c, 'b>, word: &'static str) -> Self {
        let inputs = reader.columns.inputs.len();
        let (has, given, lacking) = (vec![false; inputs], vec![0; inputs], vec![None; inputs]);
        Self { reader, word, rows: Rows::missing(inputs, 0), has, given, lacking, stray: None }
    }

    /// The place of the last row.
    fn place(&self) -> String {
        if self.word == "user" { "user".into() } else { format!("{} {}", self.word, self.rows.len()) }
    }

    /// # Errors
    /// A row lacks a column that it needs.
    fn complete<E: Error>(&self) -> Result<(), E> {
        self.complete_but(&vec![false; self.has.len()])
    }

    /// The same, but for some columns.
    fn complete_but<E: Error>(&self, given: &[bool]) -> Result<(), E> {
        for (i, input) in self.reader.columns.inputs.iter().enumerate() {
            if let Some(row) = self.lacking[i].filter(|_| !input.optional && !given[i]) {
                return Err(self
                    .reader
                    .refuse(self.no_column(i, &format!("{} {} lacks it", self.word, row + 1))));
            }
        }
        Ok(())
    }

    fn no_column(&self, input: usize, place: &str) -> String {
        let name = &self.reader.columns.inputs[input].name;
        let near = self.stray.as_ref().filter(|stray| strsim::damerau_levenshtein(name, stray) <= 2);
        let meant = near.map_or("give it, or null where there is no value".into(), |near| {
            format!("'{near}' is no column of the model: was it meant?")
        });
        format!("column '{name}' is missing: {place}; {meant}")
    }
}

/// An array of rows.
struct Array<'r, 'c, 'b>(Table<'r, 'c, 'b>);

impl<'r, 'c, 'b> DeserializeSeed<'b> for Array<'r, 'c, 'b> {
    type Value = Table<'r, 'c, 'b>;

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'r, 'c, 'b> Visitor<'b> for Array<'r, 'c, 'b> {
    type Value = Table<'r, 'c, 'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}s", self.0.word)
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(Row(&mut self.0))?.is_some() {}
        Ok(self.0)
    }
}

/// A row, which is appended.
struct Row<'t, 'r, 'c, 'b>(&'t mut Table<'r, 'c, 'b>);

impl<'b> DeserializeSeed<'b> for Row<'_, '_, '_, 'b> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Row<'_, '_, '_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a value for each column")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        let table = self.0;
        let reader = table.reader;
        let columns = reader.columns;
        if table.rows.len() == columns.max_rows {
            return Err(reader.stop(columns.too_many(table.word)));
        }
        let row = table.rows.len();
        table.rows.push();
        while let Some(key) = map.next_key_seed(Column(columns))? {
            match key {
                Ok(input) => {
                    if std::mem::replace(&mut table.given[input], row + 1) == row + 1 {
                        let name = &columns.inputs[input].name;
                        return Err(reader.refuse(format!(
                            "{}, column '{name}': it is there twice; keep one",
                            table.place()
                        )));
                    }
                    let value = map.next_value_seed(Value { reader, depth: 0 });
                    let value = value.inspect_err(|_| {
                        // The value does not know where it stands.
                        if let Some(failure) = &mut *reader.failure.borrow_mut() {
                            let name = &columns.inputs[input].name;
                            failure.text = format!("{}, column '{name}': {}", table.place(), failure.text);
                        }
                    })?;
                    table.rows.set(row, input, value);
                    table.has[input] = true;
                }
                Err(stray) => {
                    if columns.strict {
                        let problem =
                            format!("{}, column '{stray}': the model has no such column", table.place());
                        return Err(reader.refuse(format!("{problem}; {}", columns.meant(&stray))));
                    }
                    table.stray.get_or_insert(stray);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        for (lacking, given) in table.lacking.iter_mut().zip(&table.given) {
            if *given != row + 1 {
                lacking.get_or_insert(row);
            }
        }
        Ok(())
    }
}

/// A key of a row: the number of the input, or the key itself.
struct Column<'c>(&'c Columns<'c>);

impl<'b> DeserializeSeed<'b> for Column<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Column<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        // Names are short; longer keys are of no use in a message.
        let short = || key.chars().take(64).collect();
        Ok(self.0.number(key).ok_or_else(short))
    }
}

/// A key of the body.
struct Key;

impl<'b> DeserializeSeed<'b> for Key {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<String, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        Ok(key.chars().take(64).collect())
    }
}

/// A value of a column.
struct Value<'r, 'c, 'b> {
    reader: &'r Reader<'c, 'b>,
    /// Lists around it.
    depth: usize,
}

impl<'b> DeserializeSeed<'b> for Value<'_, '_, 'b> {
    type Value = Datum<'b>;

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<Datum<'b>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Value<'_, '_, 'b> {
    type Value = Datum<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false, null or a list of them")
    }

    fn visit_unit<E>(self) -> Result<Datum<'b>, E> {
        Ok(Datum::Missing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Datum<'b>, E> {
        Ok(Datum::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Datum<'b>, E> {
        Ok(Datum::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Datum<'b>, E> {
        Ok(i64::try_from(value).map_or(Datum::UInt(value), Datum::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Datum<'b>, E> {
        Ok(Datum::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'b str) -> Result<Datum<'b>, E> {
        Ok(Datum::Text(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Datum<'b>, E> {
        Ok(Datum::Text(self.reader.bump.alloc_str(value)))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<Datum<'b>, A::Error> {
        let Self { reader, depth } = self;
        if depth == 2 {
            return Err(reader.refuse(NESTED));
        }
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Value { reader, depth: depth + 1 })? {
            reader.values.set(reader.values.get() + 1);
            if reader.values.get() > reader.columns.max_values() {
                return Err(reader.stop(reader.columns.too_many_values()));
            }
            items.push(item);
        }
        let pair = |item: &Datum<'b>| match item {
            &Datum::List(pair) if pair.len() == 2 => Some((pair.item(0), pair.item(1))),
            _ => None,
        };
        if !items.iter().any(|item| matches!(item, Datum::List(_))) {
            return Ok(list(reader.bump, &items, None));
        }
        match items.iter().map(pair).collect::<Option<Vec<_>>>() {
            Some(pairs) => {
                let (items, weights): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                Ok(list(reader.bump, &items, Some(&weights)))
            }
            None => Err(reader.refuse(NESTED)),
        }
    }

    fn visit_map<A: MapAccess<'b>>(self, _: A) -> Result<Datum<'b>, A::Error> {
        Err(self
            .reader
            .refuse("an object is no value; send a text, a number, true, false, null or a list of them"))
    }
}

const NESTED: &str = "lists are nested; send [value, …], or [[value, weight], …]";
