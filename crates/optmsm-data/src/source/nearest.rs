//! Advice about columns.

use crate::error::list;

/// Advice about a column that is not there.
pub(super) fn nearest(column: &str, columns: &[&str]) -> String {
    let have = list(columns.iter().copied());
    let wanted = column.to_lowercase();
    let likeness = |c: &str| strsim::normalized_damerau_levenshtein(&wanted, &c.to_lowercase());
    let nearest = columns.iter().map(|c| (likeness(c), c)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, near)) if likeness >= 0.6 => {
            format!("did you mean '{near}'? The columns are: {have}")
        }
        _ => format!("name one of the columns: {have}"),
    }
}
