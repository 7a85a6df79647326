//! Which way the gradient checks take the lists of their cases.

use super::row_by_row;
use crate::config::{FieldKind, InputSpec};
use crate::gradcheck::{BATCHES, Case, ROWS};
use crate::models::optmsm::field_cases;
use crate::plan::Plan;

/// Whether each multi-hot field of a batch goes row by row.
fn ways(case: &Case, rows: usize, seed: u64) -> Vec<bool> {
    let mut plan = Plan::<f64>::default();
    plan.build(&case.batch(rows, seed), &case.input, true).unwrap();
    let InputSpec { fields, .. } = &case.input;
    let lists = fields.iter().zip(&plan.columns).filter(|(f, _)| matches!(f.kind, FieldKind::Multi { .. }));
    let d = case.config.embedding_dim;
    lists.map(|(_, c)| row_by_row(d, rows, c.rows.len(), c.unique.len())).collect()
}

#[test]
fn checked_lists_go_both_ways() {
    let cases = field_cases();
    // Batches of the gradient checks, and one of several lanes.
    let batches = || (0..BATCHES).map(|seed| (ROWS, seed)).chain([(300, 1)]);
    let named = |part| cases.iter().filter(move |c: &&Case| c.name.contains(part));
    for (part, long) in [("short lists", false), ("long lists", true)] {
        assert!(named(part).count() > 0);
        for case in named(part) {
            for (rows, seed) in batches() {
                assert_eq!(ways(case, rows, seed), [long; 2], "{}: {rows} rows of seed {seed}", case.name);
            }
        }
    }
}

#[test]
fn checked_ids_are_distinct_single_or_absent() {
    for seed in 0..BATCHES {
        for case in field_cases() {
            let mut plan = Plan::<f64>::default();
            plan.build(&case.batch(ROWS, seed), &case.input, true).unwrap();
            let counts =
                plan.columns.iter().zip(&case.input.fields).filter(|(_, f)| f.kind != FieldKind::Numeric);
            let counts: Vec<_> = counts.map(|(c, _)| (c.unique.len(), c.rows.len())).collect();
            match case.name.as_str() {
                "distinct ids" => assert!(counts.iter().all(|(unique, all)| unique == all && *all > 1)),
                "one id" => assert!(counts.iter().all(|(unique, all)| *unique == 1 && *all > 1)),
                "numeric fields only" => assert!(counts.is_empty()),
                _ => assert!(counts.len() == 4 || case.name.contains("numeric")),
            }
        }
    }
}

#[test]
fn lists_of_more_ids_than_rows_go_row_by_row() {
    // Only these could need more memory by id than a batch has rows.
    for d in [1, 3, 16, 200] {
        for rows in [1, 7, 300] {
            assert!(row_by_row(d, rows, rows + 1, rows + 1));
        }
    }
}
