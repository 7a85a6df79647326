//! Whether the first line of a CSV names columns, or is a row.

use std::collections::HashSet;

/// Rows behind the first line that are compared with it.
pub(super) const ROWS: usize = 100;

/// Why a first line looks like a row, in words; none if it may name columns.
///
/// Names are seldom numbers, dates or the like, unless they count: 0, 1, 2 …; and a column seldom has its own name as a value.
pub(super) fn looks_like_row(names: &[String], rows: &[Vec<Vec<u8>>]) -> Option<String> {
    let said = names.iter().filter(|name| !name.trim().is_empty()).count();
    let values: Vec<&String> = names.iter().filter(|name| is_value(name.trim())).collect();
    let again =
        |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|value| **value == *names[at].as_bytes()));
    let repeated: Vec<usize> =
        (0..names.len()).filter(|&at| !names[at].trim().is_empty() && again(at)).collect();
    let texts = repeated.iter().filter(|&&at| !is_value(names[at].trim())).count();
    let distinct: HashSet<&String> = names.iter().collect();
    let no_names = distinct.len() < names.len() || said < names.len();
    let count = counts(&values);
    let row = !values.is_empty() && no_names
        || said > 0 && values.len() == said && !count
        || texts > 0 && (!values.is_empty() || repeated.len() > 1)
        || names.iter().any(|name| is_no_name(name.trim())) && (values.len() > 1 || !repeated.is_empty());
    if !row {
        return None;
    }
    Some(match (values.first(), repeated.first()) {
        (_, Some(&at)) => {
            format!("column {} has the value {} again further down", at + 1, crate::error::quote(&names[at]))
        }
        (Some(value), None) => format!("{} is a value, not a name", crate::error::quote(value)),
        (None, None) => return None,
    })
}

/// Whether the first line of a file whose columns are named has just these names, in any order.
pub(super) fn holds(named: &[String], first: &[Vec<u8>]) -> bool {
    let (mut names, mut values): (Vec<&[u8]>, Vec<&[u8]>) =
        (named.iter().map(String::as_bytes).collect(), first.iter().map(Vec::as_slice).collect());
    names.sort_unstable();
    values.sort_unstable();
    names == values
}

/// Why the first line of a file whose columns are named looks like a header all the same, in words; none if it may be a row.
///
/// It has some of the names, or no number and no value twice although columns below it hold nothing but numbers.
pub(super) fn looks_like_header(
    first: &[Vec<u8>],
    named: &[String],
    rows: &[Vec<Vec<u8>>],
) -> Option<String> {
    let known = named.iter().filter(|name| first.iter().any(|value| **value == *name.as_bytes()));
    let known: Vec<&String> = known.filter(|name| !is_value(name.trim())).collect();
    if known.len() * 2 > first.len() {
        return Some(format!("it holds {}, which data.columns names", crate::error::quote(known[0])));
    }
    let texts: Option<Vec<&str>> = first.iter().map(|value| std::str::from_utf8(value).ok()).collect();
    let texts = texts?;
    let distinct: HashSet<&&str> = texts.iter().collect();
    if distinct.len() < texts.len()
        || texts.iter().any(|text| text.trim().is_empty() || is_value(text.trim()))
    {
        return None;
    }
    let number =
        |value: &[u8]| std::str::from_utf8(value).is_ok_and(|text| text.trim().parse::<f64>().is_ok());
    let numbers = |at: usize| {
        let mut values =
            rows.iter().filter_map(|row| row.get(at)).filter(|value| !value.is_empty()).peekable();
        values.peek().is_some() && values.all(|value| number(value))
    };
    let at = (0..texts.len()).find(|&at| numbers(at))?;
    Some(format!("column {} has {} there, and numbers further down", at + 1, crate::error::quote(texts[at])))
}

/// Whether a text is what a value is, and a name seldom: a number, a date, a boolean or an address.
fn is_value(text: &str) -> bool {
    is_no_name(text) || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it is a value other than such an integer as columns are numbered by.
fn is_no_name(text: &str) -> bool {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = !digits && text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok();
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let date = text.chars().take(10).map(shape).collect::<String>() == "0000-00-00";
    let word = ["true", "false", "null", "\\n", "nan"].contains(&text.to_ascii_lowercase().as_str());
    number || date || word || text.starts_with("http://") || text.starts_with("https://")
}

/// Whether names are integers that follow one another, as those of nameless columns or of years are.
fn counts(names: &[&String]) -> bool {
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.trim().parse().ok()).collect();
    numbers.is_some_and(|numbers| numbers.len() > 1 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1))
}

/// Advice about a CSV without a header.
pub(super) const FIX: &str = "if the file has no header, name its columns: data.columns = [\"label\", …], or run optmsm init \
     --no-header; if these are their names, give just them there";

/// Advice about a CSV that has a header where data.columns says that it has none.
pub(super) const NO_ROW: &str = "if it is one, leave data.columns out (data.columns = []) where its names are those of the columns, \
     or take the line out of the file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_from_rows() {
        let header = |first: &str, rows: &[&str]| {
            let row = |row: &str| row.split(',').map(|v| v.as_bytes().to_vec()).collect::<Vec<_>>();
            let named = ["label", "scenario", "x"].map(str::to_owned);
            let rows: Vec<_> = rows.iter().map(|r| row(r)).collect();
            assert!(!holds(&named, &row(first)));
            looks_like_header(&row(first), &named, &rows).is_some()
        };
        for (first, rows) in [
            ("click,tab,price", &["1,home,0.5", "0,ads,"][..]),
            ("label,scenario,price", &[]),
            ("Label,Scenario,X", &["1,home,a"]),
            ("y,s,x", &[",home,7"]),
        ] {
            assert!(header(first, rows), "{first}");
        }
        for (first, rows) in [
            ("1,home,a", &["0,ads,b"][..]),
            ("no,home,a", &["yes,ads,b", "no,home,c"]),
            ("no,home,", &["yes,ads,7"]),
            ("no,home,NULL", &["yes,ads,7"]),
            ("a,a,b", &["yes,ads,7"]),
            ("no,label,a", &["yes,ads,b"]),
            ("click,tab,price", &[]),
        ] {
            assert!(!header(first, rows), "{first}");
        }
    }

    fn row(first: &str, rows: &[&str]) -> bool {
        let names: Vec<String> = first.split(',').map(str::to_owned).collect();
        let rows: Vec<_> =
            rows.iter().map(|r| r.split(',').map(|v| v.as_bytes().to_vec()).collect()).collect();
        looks_like_row(&names, &rows).is_some()
    }

    #[test]
    fn rows_are_told_from_names() {
        for (first, rows) in [
            ("1,search,1023,27,6.66,android", &["0,home,1035,42,3.31,android", "1,home,1025,47,3.1,ios"][..]),
            ("0,,1,,,3,00000000,0000001a", &["1,,1,,,3,00000002,00000003"]),
            ("1,0.5,2.75", &["0,0.25,1.5"]),
            ("click,home,ios", &["no,home,web", "click,ads,ios"]),
            (
                "1,https://x.org/a,2024-01-31",
                &["0,https://x.org/b,2024-02-01", "1,https://x.org/c,2024-02-02"],
            ),
            ("1,a,a", &["0,b,c"]),
            ("True,u7,3.5", &["False,u8,1.5", "True,u9,2.5"]),
        ] {
            assert!(row(first, rows), "{first}");
        }
    }

    #[test]
    fn names_are_not_taken_for_rows() {
        for (first, rows) in [
            ("label,scenario,x", &["1,web,0.5", "0,app,1"][..]),
            ("0,1,2,3", &["0,1,5,7", "1,1,2,3"]),
            ("label,scenario,2019,2020,2021", &["1,web,5,2020,7", "0,web,1,2,3"]),
            ("label,scenario,0,1,2", &["1,web,0,1,0", "0,web,1,0,1"]),
            ("label,scenario,other", &["1,web,other", "0,web,x"]),
            ("y,y", &["1,2"]),
            ("label,,x", &["1,2,3"]),
            ("label,scenario,3,7,12", &["1,web,3,7,12", "0,web,3,1,1"]),
            ("a,b", &[]),
        ] {
            assert!(!row(first, rows), "{first}");
        }
    }
}
