//! Guesses the use of the columns from their names and from what they hold.

use std::borrow::Cow;
use std::collections::HashMap;

use optmsm_core::config::Role;
use optmsm_data::{Holds, ListText, Marks};

use super::Given;
use super::columns::{Column, Columns};
use super::names::{
    AMOUNTS, EARLIER, LABELS, SCENARIOS, SURE, TIMES, USERS, by_name, is_outcome, key, word_in,
};
use super::texts::{List, Marked};
use super::toml_text::{percent, shown};
use crate::error::{Error, FileErrorKind, Result};
use crate::leak::{Leak, leak};

/// Scenarios that are worth parameters of their own; a column of more needs a name that says that it is one.
pub(super) const MOST_SCENARIOS: usize = 50;
/// Values of integers that are categories beyond doubt.
const FEW: usize = 20;
/// Distinct values from which rare ones are left out.
const HUGE: usize = 10_000;

/// Use of a column. Fields and left-out columns come with the reasons.
#[derive(Debug, PartialEq)]
pub(super) enum Use {
    Label,
    Scenario,
    Probability,
    Field(Box<Field>),
    /// Left out, with the reason.
    Left(Cow<'static, str>),
}

/// One field.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) role: Role,
    pub(super) min_frequency: u64,
    /// Why it is of this kind and role.
    pub(super) why: Vec<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Categorical,
    /// A number; whether most of it is small.
    Numeric {
        skewed: bool,
        marks: Marks,
    },
    Multi {
        list: ListText,
        separator: char,
        weights: bool,
    },
}

/// All of it.
#[derive(Debug)]
pub(super) struct Guessed {
    pub(super) uses: Vec<Use>,
    pub(super) label: usize,
    pub(super) scenario: usize,
    /// Column that groups the rows for GAUC.
    pub(super) group: Option<usize>,
}

pub(super) fn guess(path: &str, columns: &Columns, given: &Given) -> Result<Guessed> {
    let mut keys: HashMap<String, Vec<usize>> = HashMap::new();
    for (i, column) in columns.list.iter().enumerate() {
        keys.entry(key(&column.name)).or_default().push(i);
    }
    for name in &given.leave_out {
        named(path, columns, name, "--leave-out")?;
    }
    let is_left = |i: usize| given.leave_out.contains(&columns.list[i].name);
    let label = label(path, columns, &keys, given)?;
    let scenario = scenario(path, columns, &keys, given.scenario.as_deref(), label)?;
    let names = |i: usize| i != label && i != scenario && columns.list[i].is_name() && !is_left(i);
    let group = by_name(&keys, &USERS, names);
    let labels = columns.list[label].labels();
    let use_of = |i: usize| match i {
        i if i == label => Use::Label,
        i if i == scenario => Use::Scenario,
        i if is_left(i) => Use::Left("--leave-out names it".into()),
        // The taste of a user is to be learned across scenarios, even where each user keeps to one.
        i => use_of(columns, i, scenario, &labels, group == Some(i)),
    };
    let mut uses: Vec<Use> = (0..columns.list.len()).map(use_of).collect();
    let mut fields: Vec<&mut Field> = uses.iter_mut().filter_map(as_field).collect();
    if fields.is_empty() {
        let problem = "no column is left to be a field";
        return Err(Error::file(
            FileErrorKind::Unfit,
            path,
            problem,
            "give a file with more columns than label and scenario",
        ));
    }
    if fields.iter().all(|f| f.role == Role::Specific) {
        for field in &mut fields {
            field.role = Role::Shared;
            field.why.push("shared all the same: the default model needs a field of this role".into());
        }
    }
    Ok(Guessed { uses, label, scenario, group })
}

fn as_field(one: &mut Use) -> Option<&mut Field> {
    match one {
        Use::Field(field) => Some(field),
        _ => None,
    }
}

/// A column that the user named.
fn named(path: &str, columns: &Columns, name: &str, option: &str) -> Result<usize> {
    columns.list.iter().position(|c| c.name == name).ok_or_else(|| {
        let fix = format!("name one of the columns: {}", list(columns.list.iter()));
        Error::file(FileErrorKind::Unfit, path, format!("has no column {name:?}, which {option} names"), fix)
    })
}

fn list<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    const MOST: usize = 20;
    let columns: Vec<&Column> = columns.collect();
    let names: Vec<String> = columns.iter().take(MOST).map(|c| shown(&c.name)).collect();
    let more =
        if columns.len() > MOST { format!(", … ({} more)", columns.len() - MOST) } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn label(path: &str, columns: &Columns, keys: &HashMap<String, Vec<usize>>, given: &Given) -> Result<usize> {
    if let Some(name) = given.label.as_deref() {
        let at = named(path, columns, name, "--label")?;
        let column = &columns.list[at];
        if !column.is_label() && column.label_values().is_none() {
            let other = column.examples.iter().find(|e| !matches!(e.trim().parse(), Ok(0.0 | 1.0)));
            let problem = match (&column.unreadable, other) {
                (Some(why), _) => format!("column {name:?} cannot be the label: {why}"),
                (None, Some(value)) => format!("column {name:?} holds {}, not only 0 and 1", shown(value)),
                (None, None) => format!("column {name:?} holds something else than 0 and 1, or nothing"),
            };
            return Err(Error::file(FileErrorKind::Unfit, path, problem, "write the label as 0 or 1"));
        }
        return Ok(at);
    }
    let other = |i: usize| {
        let name = &columns.list[i].name;
        given.scenario.as_ref() != Some(name) && !given.leave_out.contains(name)
    };
    let fits = |i: usize| columns.list[i].is_label() && other(i);
    // A column of one class is a label only if nothing else can be it.
    let written = |i: usize| columns.list[i].label_values().is_some() && other(i);
    let both = |i: usize| written(i) || fits(i) && columns.list[i].distinct() > 1;
    if let Some(at) = by_name(keys, &LABELS, both).or_else(|| by_name(keys, &LABELS, fits)) {
        return Ok(at);
    }
    let candidates: Vec<usize> = (0..columns.list.len()).filter(|&i| fits(i)).collect();
    match &candidates[..] {
        [only] => Ok(*only),
        [] => {
            let named = by_name(keys, &LABELS, |i| other(i) && columns.list[i].distinct() > 0);
            if let Some(column) = named.map(|at| &columns.list[at]) {
                let values: Vec<String> = column.examples.iter().map(|e| shown(e)).collect();
                let missing = if column.missing > 0 { ", and nothing in some rows" } else { "" };
                let problem = format!(
                    "column {} has the name of a label, but holds {}{missing}: a label is 0 or 1 in every row",
                    shown(&column.name),
                    values.join(", ")
                );
                return Err(Error::file(
                    FileErrorKind::Unfit,
                    path,
                    problem,
                    "write it as 0 and 1, or give another column with --label",
                ));
            }
            let fix = "add a column of 0 and 1: the label of the row";
            Err(Error::file(
                FileErrorKind::Unfit,
                path,
                "has no column that could be the label: none holds 0 and 1 alone",
                fix,
            ))
        }
        several => {
            let names = list(several.iter().map(|&i| &columns.list[i]));
            Err(Error::file(
                FileErrorKind::Unfit,
                path,
                "has several columns that could be the label",
                format!("give --label with one of: {names}"),
            ))
        }
    }
}

fn scenario(
    path: &str,
    columns: &Columns,
    keys: &HashMap<String, Vec<usize>>,
    given: Option<&str>,
    label: usize,
) -> Result<usize> {
    if let Some(name) = given {
        let at = named(path, columns, name, "--scenario")?;
        let column = &columns.list[at];
        let refuse = |problem: String, fix: &str| Err(Error::file(FileErrorKind::Unfit, path, problem, fix));
        if at == label {
            return refuse(format!("column {name:?} is the label"), "name another column, or give --label");
        }
        if let Some(why) = &column.unreadable {
            return refuse(format!("column {name:?} cannot be the scenario: {why}"), "name another column");
        }
        if !column.is_name() {
            let of = shown(column.of.as_deref().unwrap_or_default());
            let fix = "name a column of text, integers or booleans";
            return refuse(format!("column {name:?} is of type {of}, which names nothing"), fix);
        }
        if column.missing > 0 {
            let problem = format!("column {name:?} is empty in {} of {} rows", column.missing, columns.rows);
            return refuse(problem, "give every row its scenario, or drop the row");
        }
        return Ok(at);
    }
    let whole = |i: usize| {
        let column = &columns.list[i];
        let again = column.distinct() as u64 != columns.rows || columns.rows < 100;
        i != label && column.is_name() && column.missing == 0 && again
    };
    let few = |i: usize| whole(i) && columns.list[i].distinct() <= MOST_SCENARIOS;
    if let Some(at) = by_name(keys, &SCENARIOS[..SURE], whole).or_else(|| by_name(keys, &SCENARIOS, few)) {
        return Ok(at);
    }
    let longer = |i: &usize| word_in(&columns.list[*i].name.to_lowercase(), &SCENARIOS[..SURE]) && few(*i);
    let longer: Vec<usize> = (0..columns.list.len()).filter(longer).collect();
    if let [only] = longer[..] {
        return Ok(only);
    }
    let could = |i: &usize| few(*i) && columns.list[*i].distinct() > 1 && !columns.list[*i].is_label();
    let candidates: Vec<usize> = (0..columns.list.len()).filter(could).collect();
    let named = by_name(keys, &SCENARIOS, |i| i != label).map(|i| &columns.list[i]);
    let problem = match (named, &candidates[..]) {
        (Some(column), _) => unfit(column, columns),
        (None, []) => {
            format!(
                "has no column that could be the scenario: none has 2 to {MOST_SCENARIOS} values and no gap"
            )
        }
        (None, _) => "has no column that is named as a scenario".into(),
    };
    let fix = match &candidates[..] {
        [] => "give --scenario, or add a column that names it".into(),
        several => {
            let names = list(several.iter().map(|&i| &columns.list[i]));
            format!("give --scenario, perhaps with one of: {names}")
        }
    };
    Err(Error::file(FileErrorKind::Unfit, path, problem, fix))
}

/// Why a column that is named as a scenario is not taken for it.
fn unfit(column: &Column, columns: &Columns) -> String {
    let why = match () {
        () if column.unreadable.is_some() => column.unreadable.clone().unwrap_or_default(),
        () if !column.is_name() => format!("is of type {}", shown(column.of.as_deref().unwrap_or_default())),
        () if column.missing > 0 => format!("is empty in {} of {} rows", column.missing, columns.rows),
        () => format!("has {} values", column.distinct()),
    };
    format!("column {} has the name of a scenario, but {why}", shown(&column.name))
}

fn use_of(columns: &Columns, i: usize, scenario: usize, labels: &[bool], group: bool) -> Use {
    let column = &columns.list[i];
    let (name, present, distinct) = (column.name.to_lowercase(), column.present(), column.distinct());
    if name.is_empty() {
        return Use::Left("it has no name, and a field needs one".into());
    }
    if let Some(why) = &column.unreadable {
        return Use::Left(why.clone().into());
    }
    if column.holds == Holds::Unreadable {
        return Use::Left("no field reads this type".into());
    }
    if present == 0 {
        return Use::Left("no value in any row".into());
    }
    let numbers = column.numbers == present;
    match column.holds {
        Holds::Times => return Use::Left("a point in time never comes back".into()),
        Holds::Lists { floats: true, .. } => return Use::Left(VECTOR.into()),
        Holds::Floats if !numbers => {
            return Use::Left("it holds NaN or infinite numbers: write them as nulls to use it".into());
        }
        _ => {}
    }
    if ["probability", "true_probability"].contains(&name.as_str())
        && numbers
        && column.missing == 0
        && column.least >= 0.0
        && column.greatest <= 1.0
    {
        return Use::Probability;
    }
    if distinct == 1 && column.missing == 0 {
        return Use::Left("one value only: nothing to learn from it".into());
    }
    let outcome = is_outcome(&name);
    // The rows of a user may all be alike without telling what the user will do.
    if let Some(leak) = leak(&column.values, &column.codes, labels, outcome).filter(|_| !group) {
        return Use::Left(given_away(column, leak, labels, outcome).into());
    }
    if outcome && (column.is_label() || column.label_values().is_some()) {
        return Use::Left("by its name it may be an outcome that is known only after the click".into());
    }
    // Small numbers with decimals are durations.
    let duration =
        numbers && column.greatest < 1e7 && (column.whole_numbers < present || word_in(&name, &EARLIER));
    let time = word_in(&name, &TIMES) && (is_clock(column) || distinct > 1_000 && !duration);
    if time || column.texts.are_times() {
        return Use::Left("it looks like a point in time, which never comes back".into());
    }
    if column.texts.are_objects() {
        return Use::Left(
            "objects or lists in lists: write what matters of them as columns of their own".into(),
        );
    }
    let (kind, why) = match kind(column, &name) {
        Ok(kind) => kind,
        Err(why) => return Use::Left(why.into()),
    };
    if kind == Kind::Categorical && present >= 100 {
        // A number that differs everywhere is a measurement, a text or an id is the row's own.
        if distinct as u64 == columns.rows {
            return Use::Left("another value in every row: it says nothing of the next one".into());
        }
        if column.texts.are_long() && 10 * distinct as u64 >= 9 * present {
            return Use::Left("free text: sentences that hardly come back".into());
        }
    }
    let mut why: Vec<Cow<str>> = vec![why];
    let rare = distinct > HUGE && column.singles() * 10 > distinct * 3;
    if rare && kind == Kind::Categorical {
        why.push("values seen once share the out-of-vocabulary row".into());
    }
    let min_frequency = if rare && kind == Kind::Categorical { 2 } else { 1 };
    let role = if group { Role::Shared } else { role(columns, i, scenario, &mut why) };
    Use::Field(Box::new(Field { kind, role, min_frequency, why }))
}

const VECTOR: &str = "lists of floats: a vector has no values that come again";

/// Words for how a column, which may have the name of an outcome, shows the label.
fn given_away(column: &Column, leak: Leak, labels: &[bool], outcome: bool) -> String {
    match leak {
        Leak::Only { value, label, rows, with } => {
            // The examples are the first of the values.
            let example = value.checked_sub(1).map(|at| column.examples.get(at));
            let value =
                example.map_or("empty".into(), |text| text.map_or("the same".into(), |text| shown(text)));
            let all = labels.iter().filter(|other| **other == label).count() as u64;
            let label = u8::from(label);
            format!(
                "it is {value} unless the label is {label}, as what is known only after the click: of {rows} rows with another \
                 value {with} have the label {label}, of all rows {}",
                percent(all, labels.len() as u64)
            )
        }
        Leak::Alone { auc } if outcome => format!(
            "its name is that of what is known only after the click, and alone it predicts the label of rows that it was not fitted on with an AUC of {auc:.4}"
        ),
        Leak::Alone { auc } => format!(
            "alone it predicts the label of rows that it was not fitted on with an AUC of {auc:.4}, as what is known only after the click"
        ),
    }
}

/// Whether every number is a time since 1970 in seconds, or thousandths or smaller parts of them, in this century.
fn is_clock(column: &Column) -> bool {
    const CENTURY: (f64, f64) = (946_684_800.0, 4_102_444_800.0);
    let within = |unit: f64| column.least >= CENTURY.0 * unit && column.greatest < CENTURY.1 * unit;
    column.numbers == column.present() && [1.0, 1e3, 1e6, 1e9].into_iter().any(within)
}

/// Kind of a column and how it was told; or why no field should read it.
fn kind(column: &Column, name: &str) -> std::result::Result<(Kind, Cow<'static, str>), &'static str> {
    let present = column.present();
    let whole = column.whole_numbers == present;
    let skewed = column.least >= 0.0 && column.greatest > 20.0 * column.sum / present as f64;
    let numeric = |marks| Kind::Numeric { skewed, marks };
    let number = numeric(Marks::default());
    let id = word_in(name, &["id", "code", "zip", "no", "idx", "index", "type", "category"]);
    let guess = |kind, why: &'static str| Ok((kind, why.into()));
    match column.holds {
        Holds::Lists { weighted, .. } => {
            let weights = weighted || column.items.weighted == column.items.all;
            let kind = Kind::Multi { list: ListText::Separated, separator: '|', weights };
            return guess(kind, "a column of lists");
        }
        Holds::Booleans => return guess(Kind::Categorical, "true or false"),
        // Integers with gaps become floats in some hands.
        Holds::Floats if whole && id => {
            return guess(
                Kind::Categorical,
                "a column of floats, all of them whole numbers that look like ids",
            );
        }
        Holds::Floats => return guess(number, "a column of floats"),
        _ => {}
    }
    match column.marks {
        Some(Marked::Numbers(marks)) => {
            let thousands =
                marks.thousands.map_or(String::new(), |mark| format!(", {mark:?} between thousands"));
            let why = format!("numbers with {:?} before decimals{thousands}", marks.decimal);
            return Ok((numeric(marks), why.into()));
        }
        Some(Marked::Unclear) => {
            let why = "digits with a comma, of which cannot be told whether it stands before decimals (then kind = \"numeric\", decimal = \
                       \",\"), between thousands (kind = \"numeric\", thousands = \",\") or between values (kind = \"multi\", separator = \",\")";
            return guess(Kind::Categorical, why);
        }
        None => {}
    }
    if column.numbers == present && column.holds != Holds::Dictionary {
        return match (whole, column.padded > 0 || id) {
            (false, _) => guess(number, "numbers with decimals"),
            (true, true) => guess(Kind::Categorical, "whole numbers that look like ids"),
            (true, false) if column.least < 0.0 && column.distinct() > 20 => {
                guess(number, "whole numbers, some negative")
            }
            (true, false) if word_in(name, &AMOUNTS) && column.distinct() > 20 => {
                guess(number, "whole numbers, and the name is that of an amount")
            }
            _ if column.holds == Holds::Integers && column.distinct() <= FEW => {
                guess(Kind::Categorical, "a column of integers with few values")
            }
            _ => guess(Kind::Categorical, "whole numbers, taken as ids; for amounts set kind = \"numeric\""),
        };
    }
    match column.texts.list() {
        Some(List::Brackets { weights }) => {
            let kind = Kind::Multi { list: ListText::Json, separator: '|', weights };
            return guess(kind, "lists in brackets, as JSON or Python write them");
        }
        Some(List::Separated { separator, trimmed, weights }) => {
            let list = if trimmed { ListText::Trimmed } else { ListText::Separated };
            return guess(
                Kind::Multi { list, separator, weights },
                "several values with a separator between them, each in several combinations or places",
            );
        }
        Some(List::Vector) => return Err(VECTOR),
        Some(List::Perhaps(separator)) => {
            let why = format!(
                "text; {separator:?} in it does not look like a separator of values: if it is, set kind = \"multi\", separator = {separator:?}"
            );
            return Ok((Kind::Categorical, why.into()));
        }
        None => {}
    }
    match column.holds {
        Holds::Dictionary => guess(Kind::Categorical, "text in a dictionary"),
        _ => guess(Kind::Categorical, "text"),
    }
}

/// Specific where every value, seen often enough to tell, belongs to one scenario.
fn role(columns: &Columns, i: usize, scenario: usize, why: &mut Vec<Cow<'static, str>>) -> Role {
    let column = &columns.list[i];
    let (distinct, scenarios) = (column.distinct(), columns.list[scenario].distinct());
    if scenarios < 2 || distinct < scenarios || column.present() < 5 * distinct as u64 {
        return Role::Shared;
    }
    if columns.pairs(i, scenario) > distinct {
        return Role::Shared;
    }
    why.push("specific: each value was seen in one scenario only".into());
    Role::Specific
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;

    use optmsm_data::{PeekColumn, Value};

    use super::*;

    fn column(holds: Holds, values: &[&str]) -> Column {
        let mut column = Column::new(PeekColumn { name: "x".into(), holds, of: Some("T".into()) });
        let hasher = RandomState::new();
        for value in values {
            let items: Vec<String> = value.split('|').map(str::to_owned).collect();
            let list = matches!(holds, Holds::Lists { .. });
            column.add(if list { Value::Many(&items) } else { Value::One(value) }, &hasher);
        }
        column.finish(',');
        column
    }

    fn of(name: &str, holds: Holds, values: &[&str]) -> Kind {
        kind(&column(holds, values), name).unwrap().0
    }

    #[test]
    fn types_say_more_than_values() {
        let multi = |weights| Kind::Multi { list: ListText::Separated, separator: '|', weights };
        let number = Kind::Numeric { skewed: false, marks: Marks::default() };
        let lists = |weighted| Holds::Lists { floats: false, weighted };
        assert_eq!(of("tags", lists(false), &["a|b", "c"]), multi(false));
        assert_eq!(of("tags", lists(true), &["a|b", "c"]), multi(true));
        assert_eq!(of("tags", lists(false), &["a:1|b:0.5", "c:2"]), multi(true));
        assert_eq!(of("x", Holds::Floats, &["1", "2"]), number);
        assert_eq!(of("user_id", Holds::Floats, &["1", "2", ""]), Kind::Categorical);
        assert_eq!(of("user_id", Holds::Floats, &["1.5", "2"]), number);
        // In a text they would be a number.
        assert_eq!(of("x", Holds::Dictionary, &["1.5", "2.5"]), Kind::Categorical);
        assert_eq!(of("x", Holds::Text, &["1.5", "2.5"]), number);
        assert_eq!(of("x", Holds::Booleans, &["true", "false"]), Kind::Categorical);
        assert_eq!(of("x", Holds::Integers, &["1", "2"]), Kind::Categorical);
        let label = column(Holds::Booleans, &["true", "false", "true"]);
        assert!(label.is_label() && label.sum == 2.0);
        assert!(!column(Holds::Booleans, &["true", ""]).is_label());
    }
}
