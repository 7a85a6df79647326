use super::*;
use crate::config::{Pooling, Role};

fn input() -> InputSpec {
    let field = |name: &str, kind| FieldSpec::new(name, Role::Shared, kind);
    InputSpec {
        scenarios: 2,
        fields: vec![
            field("user", FieldKind::Categorical { vocab: 5 }),
            field("tags", FieldKind::Multi { vocab: 4, pooling: Pooling::Mean }),
            field("price", FieldKind::Numeric),
        ],
    }
}

/// A row of scenario 1 that fits.
const FITS: [Value; 3] = [Value::Id(4), Value::Ids(&[0, 3]), Value::Number(-0.5)];

#[test]
fn rows_become_columns() {
    let input = input();
    let mut batch = Batch::new(&input);
    batch.push(&input, Row::new(1, &FITS).label(1.0)).unwrap();
    let second = [Value::Id(0), Value::WeightedIds(&[(2, 0.25)]), Value::Number(2.0)];
    batch.push(&input, Row::new(0, &second).label(0.0).weight(3.0)).unwrap();
    let third = [Value::Id(1), Value::Ids(&[1]), Value::Number(0.0)];
    batch.push(&input, Row::new(0, &third).label(0.0)).unwrap();
    let fourth = [Value::Id(1), Value::WeightedIds(&[]), Value::Number(0.0)];
    batch.push(&input, Row::new(0, &fourth).label(1.0)).unwrap();
    let by_hand = Batch {
        labels: vec![1.0, 0.0, 0.0, 1.0],
        weights: vec![1.0, 3.0, 1.0, 1.0],
        scenarios: vec![1, 0, 0, 0],
        columns: vec![
            Column::Categorical(vec![4, 0, 1, 1]),
            Column::Multi {
                offsets: vec![0, 2, 3, 4, 4],
                ids: vec![0, 3, 2, 1],
                weights: vec![1.0, 1.0, 0.25, 1.0],
            },
            Column::Numeric(vec![-0.5, 2.0, 0.0, 0.0]),
        ],
    };
    assert_eq!(batch, by_hand);
    batch.validate(&input).unwrap();
}

#[test]
fn rows_without_weights_have_none() {
    let input = input();
    let mut batch = Batch::new(&input);
    batch.push(&input, Row::new(0, &FITS)).unwrap();
    assert!(batch.labels.is_empty() && batch.weights.is_empty());
    let Column::Multi { weights, .. } = &batch.columns[1] else { panic!("not a list") };
    assert!(weights.is_empty());
}

#[test]
fn errors_say_field_and_row_and_leave_the_batch() {
    let input = input();
    let mut batch = Batch::new(&input);
    batch.push(&input, Row::new(0, &FITS).label(1.0)).unwrap();
    let before = batch.clone();
    let with = |field: usize, value| {
        let mut values = FITS;
        values[field] = value;
        values
    };
    let values = [
        (with(0, Value::Id(5)), "field 'user', row 1: id 5 is not below the vocabulary's size, 5"),
        (
            with(0, Value::Number(1.0)),
            "field 'user', row 1: a number for a categorical field; give Value::Id",
        ),
        (
            with(1, Value::Id(1)),
            "field 'tags', row 1: an id for a multi-hot field; give Value::Ids or Value::WeightedIds",
        ),
        (with(1, Value::Ids(&[0, 4])), "field 'tags', row 1: id 4 is not below the vocabulary's size, 4"),
        (
            with(1, Value::WeightedIds(&[(1, f32::NAN)])),
            "field 'tags', row 1: the weight of id 1 is NaN; give a finite number",
        ),
        (
            with(2, Value::Ids(&[1])),
            "field 'price', row 1: a list of ids for a numeric field; give Value::Number",
        ),
        (with(2, Value::Number(f32::INFINITY)), "field 'price', row 1: inf is not a finite number"),
    ];
    for (values, message) in &values {
        let error = batch.push(&input, Row::new(0, values).label(0.0)).unwrap_err();
        assert_eq!(error.to_string(), *message);
    }
    let four = [FITS[0], FITS[1], FITS[2], FITS[2]];
    let rows = [
        (Row::new(2, &FITS).label(0.0), "scenario, row 1: 2 is not below the number of scenarios, 2"),
        (Row::new(0, &FITS).label(0.5), "label, row 1: 0.5 is not 0 or 1"),
        (Row::new(0, &FITS), "label, row 1: missing, but rows before it have one; give it one too"),
        (
            Row::new(0, &FITS).label(0.0).weight(-1.0),
            "weight, row 1: -1 is not a finite number of at least 0",
        ),
        (
            Row::new(0, &FITS[..2]).label(0.0),
            "field 'price', row 1: 2 values for 3 fields; this one has none",
        ),
        (
            Row::new(0, &four).label(0.0),
            "batch, row 1: 4 values for 3 fields; give one per field, in schema order",
        ),
    ];
    for (row, message) in rows {
        assert_eq!(batch.push(&input, row).unwrap_err().to_string(), message);
    }
    assert_eq!(batch, before);
    let mut unlabelled = Batch::new(&input);
    unlabelled.push(&input, Row::new(0, &FITS)).unwrap();
    let error = unlabelled.push(&input, Row::new(0, &FITS).label(1.0)).unwrap_err();
    assert_eq!(error.to_string(), "label, row 1: rows before it have none; give one to every row or to none");
    let error = Batch::default().push(&input, Row::new(0, &FITS)).unwrap_err().to_string();
    assert!(error.contains("0 columns for 3 fields"), "{error}");
}
