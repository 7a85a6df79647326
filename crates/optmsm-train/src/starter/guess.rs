//! What the columns are, by their names and by what they hold.

use optmsm_core::config::Role;
use optmsm_data::Holds;

use super::Given;
use super::columns::{Column, Columns, SEPARATORS};
use crate::error::{Error, Result};

/// Names of a label, the most telling first.
const LABELS: [&str; 12] = [
    "label",
    "click",
    "clicked",
    "is_click",
    "isclick",
    "is_clicked",
    "clk",
    "y",
    "target",
    "ctr_label",
    "response",
    "conversion",
];
/// Names of a scenario, the most telling first.
const SCENARIOS: [&str; 13] = [
    "scenario",
    "scenario_id",
    "domain",
    "domain_id",
    "scene",
    "scene_id",
    "tab",
    "tab_id",
    "channel",
    "channel_id",
    "page",
    "placement",
    "site",
];
/// Names of what the rows of a user have in common.
const USERS: [&str; 8] =
    ["user_id", "user", "userid", "uid", "member_id", "visitor_id", "customer_id", "reviewer_id"];
/// Words in the names of what is known only after the click.
const OUTCOMES: [&str; 14] = [
    "click",
    "clicked",
    "clk",
    "like",
    "follow",
    "forward",
    "comment",
    "purchase",
    "buy",
    "conversion",
    "converted",
    "cvr",
    "long_view",
    "is_rand",
];
/// Words in the names of points in time.
const TIMES: [&str; 8] = ["timestamp", "time", "date", "datetime", "ts", "time_ms", "created", "updated"];
/// Words in the names of numbers that mean more the larger they are.
const AMOUNTS: [&str; 22] = [
    "age", "price", "cost", "count", "cnt", "num", "amount", "score", "rate", "ratio", "ctr", "days", "len",
    "length", "size", "duration", "rating", "distance", "height", "width", "views", "total",
];
/// Scenarios that are worth a tower each.
const MOST_SCENARIOS: usize = 50;
/// Values of integers that are categories beyond doubt.
const FEW: usize = 20;
/// Distinct values from which rare ones are left out.
const HUGE: usize = 10_000;

/// What a column becomes, and why.
#[derive(Debug, PartialEq)]
pub(super) enum Use {
    Label,
    Scenario,
    Probability,
    Field(Box<Field>),
    /// Left out, with the reason.
    Left(&'static str),
}

/// One field.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) role: Role,
    pub(super) min_frequency: u64,
    /// Why it is of this kind and role.
    pub(super) why: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Categorical,
    /// A number; whether most of it is small.
    Numeric {
        skewed: bool,
    },
    Multi {
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
    /// What groups the rows for GAUC.
    pub(super) group: Option<usize>,
}

fn word_in(name: &str, words: &[&str]) -> bool {
    let name = name.to_lowercase();
    let mut parts = name.split(|c: char| !c.is_alphanumeric());
    words.contains(&name.as_str()) || parts.any(|part| words.contains(&part))
}

/// The first of `names` that a fitting column has.
fn by_name(columns: &Columns, names: &[&str], fits: impl Fn(usize) -> bool) -> Option<usize> {
    let of = |name: &&str| columns.list.iter().position(|c| c.name.to_lowercase() == **name);
    names.iter().filter_map(of).find(|&i| fits(i))
}

pub(super) fn guess(path: &str, columns: &Columns, given: &Given) -> Result<Guessed> {
    let label = label(path, columns, given.label.as_deref(), given.scenario.as_deref())?;
    let scenario = scenario(path, columns, given.scenario.as_deref(), label)?;
    let group = by_name(columns, &USERS, |i| i != label && i != scenario && columns.list[i].is_name());
    let use_of = |i: usize| match i {
        i if i == label => Use::Label,
        i if i == scenario => Use::Scenario,
        // What a user likes is to be learned across scenarios, even where each keeps to one.
        i => use_of(columns, i, scenario, group == Some(i)),
    };
    let mut uses: Vec<Use> = (0..columns.list.len()).map(use_of).collect();
    let mut fields: Vec<&mut Field> = uses.iter_mut().filter_map(as_field).collect();
    if fields.is_empty() {
        let problem = "no column is left to be a field";
        return Err(Error::file(path, problem, "give a file with more columns than label and scenario"));
    }
    if fields.iter().all(|f| f.role == Role::Specific) {
        for field in &mut fields {
            field.role = Role::Shared;
            field.why.push("shared all the same: the experts need a field to read");
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
        Error::file(path, format!("has no column {name:?}, which {option} names"), fix)
    })
}

fn list<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    const MOST: usize = 20;
    let names: Vec<String> = columns.map(|c| super::toml_text::shown(&c.name)).collect();
    let more =
        if names.len() > MOST { format!(", … ({} more)", names.len() - MOST) } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST)].join(", "))
}

fn label(path: &str, columns: &Columns, given: Option<&str>, scenario: Option<&str>) -> Result<usize> {
    if let Some(name) = given {
        let at = named(path, columns, name, "--label")?;
        let column = &columns.list[at];
        if !column.is_label() {
            let other = column.examples.iter().find(|e| !matches!(e.trim().parse(), Ok(0.0 | 1.0)));
            let problem = match other {
                Some(value) => {
                    format!("column {name:?} holds {}, not only 0 and 1", super::toml_text::shown(value))
                }
                None => format!("column {name:?} holds something else than 0 and 1, or nothing"),
            };
            return Err(Error::file(path, problem, "write the label as 0 or 1"));
        }
        return Ok(at);
    }
    let fits = |i: usize| columns.list[i].is_label() && scenario != Some(columns.list[i].name.as_str());
    let candidates: Vec<usize> = (0..columns.list.len()).filter(|&i| fits(i)).collect();
    match (by_name(columns, &LABELS, fits), &candidates[..]) {
        (Some(at), _) => Ok(at),
        (None, [only]) => Ok(*only),
        (None, []) => {
            let fix = "add a column of 0 and 1: the label of the row";
            Err(Error::file(path, "has no column that could be the label: none holds 0 and 1 alone", fix))
        }
        (None, several) => {
            let names = list(several.iter().map(|&i| &columns.list[i]));
            Err(Error::file(
                path,
                "has several columns that could be the label",
                format!("give --label with one of: {names}"),
            ))
        }
    }
}

fn scenario(path: &str, columns: &Columns, given: Option<&str>, label: usize) -> Result<usize> {
    if let Some(name) = given {
        let at = named(path, columns, name, "--scenario")?;
        let column = &columns.list[at];
        let refuse = |problem: String, fix: &str| Err(Error::file(path, problem, fix));
        if at == label {
            return refuse(format!("column {name:?} is the label"), "name another column, or give --label");
        }
        if !column.is_name() {
            let of = super::toml_text::shown(column.of.as_deref().unwrap_or_default());
            let fix = "name a column of text, integers or booleans";
            return refuse(format!("column {name:?} is of type {of}, which names nothing"), fix);
        }
        if column.missing > 0 {
            let problem = format!("column {name:?} is empty in {} of {} rows", column.missing, columns.rows);
            return refuse(problem, "give every row its scenario, or drop the row");
        }
        return Ok(at);
    }
    let few = |i: usize| {
        let column = &columns.list[i];
        i != label && column.is_name() && column.missing == 0 && column.distinct() <= MOST_SCENARIOS
    };
    if let Some(at) = by_name(columns, &SCENARIOS, few) {
        return Ok(at);
    }
    let could = |i: &usize| few(*i) && columns.list[*i].distinct() > 1 && !columns.list[*i].is_label();
    let candidates: Vec<usize> = (0..columns.list.len()).filter(could).collect();
    match &candidates[..] {
        [] => {
            let problem = format!(
                "has no column that could be the scenario: none has 2 to {MOST_SCENARIOS} values and no gap"
            );
            Err(Error::file(path, problem, "give --scenario, or add a column that names it"))
        }
        several => {
            let names = list(several.iter().map(|&i| &columns.list[i]));
            let problem = "has no column that is named as a scenario";
            Err(Error::file(path, problem, format!("give --scenario, perhaps with one of: {names}")))
        }
    }
}

fn use_of(columns: &Columns, i: usize, scenario: usize, shared: bool) -> Use {
    let column = &columns.list[i];
    let (name, present, distinct) = (column.name.to_lowercase(), column.present(), column.distinct());
    if name.is_empty() {
        return Use::Left("it has no name, and a field needs one");
    }
    if column.holds == Holds::Unreadable {
        return Use::Left("no field reads this type");
    }
    if present == 0 {
        return Use::Left("no value in any row");
    }
    let numbers = column.numbers == present;
    match column.holds {
        Holds::Times => return Use::Left("a point in time never comes back"),
        Holds::Lists { floats: true, .. } => {
            return Use::Left("lists of floats: a vector has no values that come again");
        }
        Holds::Floats if !numbers => {
            return Use::Left("it holds NaN or infinite numbers: write them as nulls to use it");
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
        return Use::Left("one value only: nothing to learn from it");
    }
    if column.is_label() && word_in(&name, &OUTCOMES) {
        return Use::Left("it may be an outcome that is known only after the click");
    }
    if word_in(&name, &TIMES) && distinct > 1_000 {
        return Use::Left("it looks like a point in time, which never comes back");
    }
    let kind = kind(column, &name, numbers);
    // A number that differs everywhere is a measurement, a text or an id is the row's own.
    if kind.0 == Kind::Categorical && distinct as u64 == columns.rows && columns.rows >= 100 {
        return Use::Left("another value in every row: it says nothing of the next one");
    }
    let (kind, mut why) = (kind.0, vec![kind.1]);
    let rare = distinct > HUGE && column.singles() * 10 > distinct * 3;
    if rare && kind == Kind::Categorical {
        why.push("values seen once share the out-of-vocabulary row");
    }
    let min_frequency = if rare && kind == Kind::Categorical { 2 } else { 1 };
    let role = if shared { Role::Shared } else { role(columns, i, scenario, &mut why) };
    Use::Field(Box::new(Field { kind, role, min_frequency, why }))
}

fn kind(column: &Column, name: &str, numbers: bool) -> (Kind, &'static str) {
    let present = column.present();
    let whole = column.whole_numbers == present;
    let skewed = column.least >= 0.0 && column.greatest > 20.0 * column.sum / present as f64;
    let id = word_in(name, &["id", "code", "zip", "no", "idx", "index", "type", "category"]);
    match column.holds {
        Holds::Lists { weighted, .. } => {
            let weights = weighted || column.items.weighted == column.items.parts;
            return (Kind::Multi { separator: '|', weights }, "a column of lists");
        }
        Holds::Booleans => return (Kind::Categorical, "true or false"),
        // Integers with gaps become floats in some hands.
        Holds::Floats if whole && id => {
            return (Kind::Categorical, "a column of floats, all of them whole numbers that look like ids");
        }
        Holds::Floats => return (Kind::Numeric { skewed }, "a column of floats"),
        _ => {}
    }
    if numbers && column.holds != Holds::Dictionary {
        return match (whole, column.padded > 0 || id) {
            (false, _) => (Kind::Numeric { skewed }, "numbers with decimals"),
            (true, true) => (Kind::Categorical, "whole numbers that look like ids"),
            (true, false) if column.least < 0.0 && column.distinct() > 20 => {
                (Kind::Numeric { skewed }, "whole numbers, some negative")
            }
            (true, false) if word_in(name, &AMOUNTS) && column.distinct() > 20 => {
                (Kind::Numeric { skewed }, "whole numbers, and the name is that of an amount")
            }
            _ if column.holds == Holds::Integers && column.distinct() <= FEW => {
                (Kind::Categorical, "a column of integers with few values")
            }
            _ => (Kind::Categorical, "whole numbers, taken as ids; for amounts set kind = \"numeric\""),
        };
    }
    for (separator, lists) in SEPARATORS.into_iter().zip(&column.lists) {
        // Lists share their parts; sentences and names hardly do, so a space has to be nearly everywhere.
        let least = if separator == ' ' { 9 * present } else { present };
        let shared = lists.distinct.len() as u64 * 2 <= lists.parts;
        let fewer = lists.distinct.len() < column.distinct().max(2) || separator != ' ';
        if 10 * lists.values >= least && lists.values > 0 && shared && fewer {
            let weights = lists.weighted == lists.parts;
            return (Kind::Multi { separator, weights }, "several values with a separator between them");
        }
    }
    match column.holds {
        Holds::Dictionary => (Kind::Categorical, "text in a dictionary"),
        _ => (Kind::Categorical, "text"),
    }
}

/// Specific where every value, seen often enough to tell, belongs to one scenario.
fn role(columns: &Columns, i: usize, scenario: usize, why: &mut Vec<&'static str>) -> Role {
    let column = &columns.list[i];
    let (distinct, scenarios) = (column.distinct(), columns.list[scenario].distinct());
    if scenarios < 2 || distinct < scenarios || column.present() < 5 * distinct as u64 {
        return Role::Shared;
    }
    if columns.pairs(i, scenario) > distinct {
        return Role::Shared;
    }
    why.push("specific: each value was seen in one scenario only");
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
        column
    }

    fn of(name: &str, holds: Holds, values: &[&str]) -> Kind {
        let column = column(holds, values);
        kind(&column, name, column.numbers == column.present()).0
    }

    #[test]
    fn types_say_more_than_values() {
        let multi = |weights| Kind::Multi { separator: '|', weights };
        let lists = |weighted| Holds::Lists { floats: false, weighted };
        assert_eq!(of("tags", lists(false), &["a|b", "c"]), multi(false));
        assert_eq!(of("tags", lists(true), &["a|b", "c"]), multi(true));
        assert_eq!(of("tags", lists(false), &["a:1|b:0.5", "c:2"]), multi(true));
        assert_eq!(of("x", Holds::Floats, &["1", "2"]), Kind::Numeric { skewed: false });
        assert_eq!(of("user_id", Holds::Floats, &["1", "2", ""]), Kind::Categorical);
        assert_eq!(of("user_id", Holds::Floats, &["1.5", "2"]), Kind::Numeric { skewed: false });
        // In a text they would be a number.
        assert_eq!(of("x", Holds::Dictionary, &["1.5", "2.5"]), Kind::Categorical);
        assert_eq!(of("x", Holds::Text, &["1.5", "2.5"]), Kind::Numeric { skewed: false });
        assert_eq!(of("x", Holds::Booleans, &["true", "false"]), Kind::Categorical);
        assert_eq!(of("x", Holds::Integers, &["1", "2"]), Kind::Categorical);
        let label = column(Holds::Booleans, &["true", "false", "true"]);
        assert!(label.is_label() && label.sum == 2.0);
        assert!(!column(Holds::Booleans, &["true", ""]).is_label());
    }
}
