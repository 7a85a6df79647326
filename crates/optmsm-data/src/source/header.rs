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

/// What to do about a CSV without a header.
pub(super) const FIX: &str = "if the file has no header, name its columns: data.columns = [\"label\", …], or run optmsm init \
     --no-header; if these are their names, give just them there";

#[cfg(test)]
mod tests {
    use super::*;

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
