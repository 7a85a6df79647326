//! Schemas fitted to files, and rows encoded with them. Expected values are by hand.

mod common;

use common::*;
use optmsm_core::config::{FieldKind, Pooling, Role};
use optmsm_data::{
    DataConfig, Dataset, Encoding, FieldConfig, Need, Quoting, RecordBuffer, RowReader, Schema, Transform,
    UnseenScenario,
};

const SMALL: &str = "\
label,scenario,city,age
1,web,Rome,20
0,app,Paris,40
0,web,Rome,
1,web,,30
0,web,Oslo,30
";

fn values(schema: &Schema, field: usize) -> Vec<&str> {
    schema.fields[field].encoding.vocabulary().expect("a field with values").values().collect()
}

#[test]
fn a_small_file_by_hand() {
    let schema = fit(&config(vec![categorical("city"), numeric("age")]), SMALL);
    // Rome twice; then the single ones by value, the missing one first.
    assert_eq!(values(&schema, 0), ["Rome", "", "Oslo", "Paris"]);
    let names: Vec<_> = schema.scenarios.iter().map(|s| (s.name.as_str(), s.rows, s.positives)).collect();
    assert_eq!((schema.rows, names), (5, vec![("app", 1, 0), ("web", 4, 2)]));
    let Encoding::Numeric { stats, fill, transform, .. } = &schema.fields[1].encoding else {
        panic!("numeric")
    };
    // 20 40 30 30: mean 30, variance 200 / 4.
    assert_eq!((stats.count, stats.missing, stats.mean, stats.min, stats.max), (4, 1, 30.0, 20.0, 40.0));
    assert!((stats.std - 50f64.sqrt()).abs() < 1e-14);
    assert_eq!((*fill, *transform), (0.0, Transform::Standardize));

    let spec = schema.input_spec();
    assert_eq!(
        (spec.scenarios, spec.fields[0].name.as_str(), spec.fields[0].role),
        (2, "city", Role::Shared)
    );
    assert_eq!(spec.fields[0].kind, FieldKind::Categorical { vocab: 5 });
    assert_eq!(spec.fields[1].kind, FieldKind::Numeric);
    spec.validate().unwrap();

    let (batch, extra) = read(&schema, SMALL, Need::Labelled).unwrap();
    assert_eq!(batch.labels, [1.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(batch.scenarios, [1, 0, 1, 1, 1]);
    assert_eq!(ids(&batch, 0), [1, 4, 1, 2, 3]);
    let up = (10.0 / 50f64.sqrt()) as f32; // √2
    assert_eq!(numbers(&batch, 1), [-up, up, 0.0, 0.0, 0.0]);
    assert!(batch.weights.is_empty() && extra.groups.is_empty() && extra.probabilities.is_empty());
}

#[test]
fn the_order_of_the_rows_does_not_change_the_ids() {
    let mut rows: Vec<&str> = SMALL.lines().skip(1).collect();
    rows.reverse();
    let reversed = format!("label,scenario,city,age\n{}\n", rows.join("\n"));
    let config = config(vec![categorical("city")]);
    let (a, b) = (fit(&config, SMALL), fit(&config, &reversed));
    assert_eq!(a, b);
    assert_eq!(a.fingerprint(), b.fingerprint());
}

#[test]
fn line_ends_quotes_and_a_byte_order_mark_change_nothing() {
    let plain = "label,scenario,city,tags\n1,web,Rome,a|b\n0,app,São Paulo,\n";
    let config = config(vec![categorical("city"), multi("tags")]);
    let schema = fit(&config, plain);
    assert_eq!(values(&schema, 0), ["Rome", "São Paulo"]);
    let variants = [
        plain.replace('\n', "\r\n"),
        format!("\u{feff}{plain}"),
        plain.trim_end().to_owned(),
        "\"label\",scenario,\"city\",tags\n\"1\",web,\"Rome\",\"a|b\"\n0,app,\"São Paulo\",\"\"\n".to_owned(),
        plain.replace('\n', "\n\n"),
    ];
    for text in variants {
        assert_eq!(fit(&config, &text), schema, "{text:?}");
        let read_back = read(&schema, &text, Need::Labelled).unwrap();
        assert_eq!(read_back, read(&schema, plain, Need::Labelled).unwrap(), "{text:?}");
    }
}

#[test]
fn quoted_delimiters_quotes_and_line_breaks_are_part_of_a_value() {
    let text = "label,scenario,city\n1,web,\"a,b\"\n1,web,\"say \"\"hi\"\"\"\n1,web,\"two\nlines\"\n";
    let lines = DataConfig { quoting: Quoting::Standard, ..config(vec![categorical("city")]) };
    let schema = fit(&lines, text);
    assert_eq!(values(&schema, 0), ["a,b", "say \"hi\"", "two\nlines"]);
    let other = text
        .replace(",web,", "\tweb\t")
        .replace("label,scenario,", "label\tscenario\t")
        .replace("1\t", "0\t");
    let tab = DataConfig { delimiter: '\t', ..lines };
    assert_eq!(values(&fit(&tab, &other), 0), values(&schema, 0));
}

#[test]
fn names_of_columns_and_values_may_be_any_utf8() {
    let text = "label,scenario,città,Ж\n1,主页,Zürich,😀\n0,主页,Zürich,é\n";
    let schema = fit(&config(vec![categorical("città"), categorical("Ж")]), text);
    assert_eq!(schema.scenarios[0].name, "主页");
    assert_eq!(values(&schema, 1), ["é", "😀"]); // by bytes: c3… before f0…
    let (batch, _) = read(&schema, text, Need::Labelled).unwrap();
    assert_eq!((ids(&batch, 0), ids(&batch, 1)), (&[1, 1][..], &[2, 1][..]));
}

#[test]
fn rare_and_unknown_values_are_out_of_vocabulary() {
    let field = FieldConfig { min_frequency: 2, ..categorical("city") };
    let schema = fit(&config(vec![field]), SMALL);
    assert_eq!(values(&schema, 0), ["Rome", ""]); // the missing one stays, however rare
    let text = "label,scenario,city\n1,web,Paris\n1,web,Rome\n1,web,\n1,web,Kyiv\n1,web,rome\n";
    let (batch, _) = read(&schema, text, Need::Labelled).unwrap();
    assert_eq!(ids(&batch, 0), [0, 1, 2, 0, 0]);
}

#[test]
fn a_missing_value_that_training_never_saw_is_out_of_vocabulary() {
    let schema = fit(&config(vec![categorical("city")]), "label,scenario,city\n1,web,Rome\n");
    let (batch, _) = read(&schema, "label,scenario,city\n1,web,\n", Need::Labelled).unwrap();
    assert_eq!(ids(&batch, 0), [0]);
}

#[test]
fn lists_with_and_without_weights() {
    let text = "label,scenario,tags\n1,web,b|a|b\n0,web,\n0,web,a|zz\n1,web,a|\n";
    let schema = fit(&config(vec![FieldConfig { pooling: Some(Pooling::Sum), ..multi("tags") }]), text);
    assert_eq!(values(&schema, 0), ["a", "b", "zz"]); // 3, 2, 1
    assert_eq!(schema.input_spec().fields[0].kind, FieldKind::Multi { vocab: 4, pooling: Pooling::Sum });
    let (batch, _) = read(&schema, text, Need::Labelled).unwrap();
    assert_eq!(lists(&batch, 0), (&[0, 3, 3, 5, 6][..], &[2, 1, 2, 1, 3, 1][..], &[][..]));

    let field =
        FieldConfig { separator: Some(", ".into()), weight_separator: Some("=".into()), ..multi("tags") };
    let text = "label,scenario,tags\n1,web,\"a=0.5, b=2\"\n0,web,\n0,web,\"b, q=-1\"\n";
    let schema = fit(&config(vec![field]), text);
    assert_eq!(values(&schema, 0), ["b", "a", "q"]);
    let text = text.replace("q=-1", "new=4");
    let (batch, _) = read(&schema, &text, Need::Labelled).unwrap();
    assert_eq!(lists(&batch, 0), (&[0, 2, 2, 4][..], &[2, 1, 1, 0][..], &[0.5, 2.0, 1.0, 4.0][..]));
}

#[test]
fn transforms_and_fill_values() {
    let text = "label,scenario,x\n1,w,0\n1,w,1\n1,w,5\n1,w,\n";
    let field = |transform, fill| FieldConfig { transform: Some(transform), fill, ..numeric("x") };
    let encode = |field| {
        let (batch, _) = read(&fit(&config(vec![field]), text), text, Need::Labelled).unwrap();
        numbers(&batch, 0).to_vec()
    };
    assert_eq!(encode(field(Transform::None, None)), [0.0, 1.0, 5.0, 2.0]); // mean 2
    assert_eq!(encode(field(Transform::None, Some(-7.0))), [0.0, 1.0, 5.0, -7.0]);
    assert_eq!(encode(field(Transform::MinMax, None)), [0.0, 0.2, 1.0, 0.4]);
    assert_eq!(encode(field(Transform::MinMax, Some(10.0))), [0.0, 0.2, 1.0, 2.0]); // in the column's units
    let (ln2, ln6) = (std::f64::consts::LN_2, 6f64.ln());
    let logs = encode(field(Transform::Log1p, None));
    for (got, wanted) in logs.iter().zip([0.0, ln2, ln6, (ln2 + ln6) / 3.0]) {
        assert!((f64::from(*got) - wanted).abs() < 1e-6, "{logs:?}");
    }
    let standard = encode(field(Transform::Standardize, Some(5.0)));
    let std = (14f64 / 3.0).sqrt(); // (4 + 1 + 9) / 3
    for (got, wanted) in standard.iter().zip([-2.0 / std, -1.0 / std, 3.0 / std, 3.0 / std]) {
        assert!((f64::from(*got) - wanted).abs() < 1e-6, "{standard:?}");
    }
}

#[test]
fn a_column_without_any_number_fills_with_zero() {
    let text = "label,scenario,x,y\n1,w,,a\n0,w,,b\n";
    for transform in [Transform::None, Transform::Standardize, Transform::Log1p, Transform::MinMax] {
        let schema = fit(&config(vec![FieldConfig { transform: Some(transform), ..numeric("x") }]), text);
        let (batch, _) = read(&schema, text, Need::Labelled).unwrap();
        assert_eq!(numbers(&batch, 0), [0.0, 0.0], "{transform:?}");
    }
}

#[test]
fn an_unseen_scenario_maps_to_the_fallback_if_asked() {
    let config = DataConfig { unseen_scenario: UnseenScenario::Oov, ..config(vec![categorical("city")]) };
    let schema = fit(&config, SMALL);
    let names: Vec<_> = schema.scenarios.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["app", "web", "<unseen>"]);
    assert_eq!((schema.fallback_scenario(), schema.input_spec().scenarios), (Some(2), 3));
    let text = "label,scenario,city\n1,mail,Rome\n1,app,Rome\n0,<unseen>,Rome\n";
    assert_eq!(read(&schema, text, Need::Labelled).unwrap().0.scenarios, [2, 0, 2]);
    let without = fit(&common::config(vec![categorical("city")]), SMALL);
    assert_eq!((without.fallback_scenario(), without.scenario_id("web")), (None, Some(1)));
}

#[test]
fn weights_groups_and_probabilities() {
    let text = "p,label,w,scenario,user\n0.25,1,2,web,ann\n1,0,0.5,web,bob\n0,1,-0,web,ann\n";
    let config = DataConfig {
        weight: Some("w".into()),
        group: Some("user".into()),
        probability: Some("p".into()),
        ..config(vec![categorical("user")])
    };
    let schema = fit(&config, text);
    let (batch, extra) = read(&schema, text, Need::Labelled).unwrap();
    assert_eq!((&batch.weights[..], &extra.probabilities[..]), (&[2.0, 0.5, 0.0][..], &[0.25, 1.0, 0.0][..]));
    assert_eq!(extra.groups.len(), 3);
    assert!(extra.groups[0] == extra.groups[2] && extra.groups[0] != extra.groups[1]);

    let missing =
        read(&schema, "p,label,w,scenario,user\n0,1,1,web,\n0,1,1,web,NULL\n0,1,1,web,0\n", Need::Labelled);
    let groups = missing.unwrap().1.groups;
    assert_eq!(groups[..2], [optmsm_core::metrics::NO_GROUP; 2]);
    assert_ne!(groups[2], optmsm_core::metrics::NO_GROUP);

    // To predict, none of them has to be there, nor make sense.
    let plain = read(&schema, "user,scenario\nbob,web\n", Need::Unlabelled).unwrap();
    assert_eq!((plain.0.rows(), ids(&plain.0, 0)), (1, &[2][..]));
    assert!(plain.0.labels.is_empty() && plain.0.weights.is_empty() && plain.1.groups.is_empty());
    let odd = read(&schema, "user,label,w,scenario\nbob,?,-3,web\n", Need::Unlabelled).unwrap();
    assert_eq!(odd, plain);
}

#[test]
fn two_fields_may_read_one_column_under_other_names() {
    let one = FieldConfig { column: Some("age".into()), ..categorical("age_id") };
    let text = "label,scenario,age\n1,w,3\n0,w,5\n0,w,5\n";
    let schema =
        fit(&config(vec![one, FieldConfig { transform: Some(Transform::None), ..numeric("age") }]), text);
    let (batch, _) = read(&schema, text, Need::Labelled).unwrap();
    assert_eq!((ids(&batch, 0), numbers(&batch, 1)), (&[2, 1, 1][..], &[3.0, 5.0, 5.0][..]));
}

#[test]
fn records_come_back_as_they_were_with_their_encoded_rows() {
    let text = "\u{feff}note,scenario,city\r\n\"a,b\",web,Rome\r\nü,app,\"Pa\"\"ris\"\r\n\"\",web,Rome\r\n";
    let schema = fit(&config(vec![categorical("city")]), SMALL);
    let mut reader =
        RowReader::from_reader("t.csv", std::io::Cursor::new(text), &schema, Need::Unlabelled).unwrap();
    assert_eq!(reader.header().iter().collect::<Vec<_>>(), [&b"note"[..], b"scenario", b"city"]);
    let mut batch = optmsm_core::batch::Batch::new(&schema.input_spec());
    let (mut extra, mut records) = (optmsm_data::Extra::default(), RecordBuffer::default());
    let mut seen = Vec::new();
    let mut rows = Vec::new();
    loop {
        batch.clear();
        let n = reader.read_records(&mut batch, &mut extra, &mut records, 2).unwrap();
        assert_eq!((n, n), (batch.rows(), records.len()));
        seen.extend(
            records
                .iter()
                .map(|r| r.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect::<Vec<_>>()),
        );
        rows.extend_from_slice(ids(&batch, 0));
        if n < 2 {
            break;
        }
    }
    assert_eq!(seen, [["a,b", "web", "Rome"], ["ü", "app", "Pa\"ris"], ["", "web", "Rome"]]);
    assert_eq!(rows, [1, 0, 1]);
    assert_eq!(reader.progress().rows, 3);
}

#[test]
fn a_row_that_fails_leaves_no_trace() {
    let config = DataConfig {
        weight: Some("w".into()),
        group: Some("city".into()),
        ..config(vec![categorical("city"), multi("tags"), numeric("age")])
    };
    let good = "w,label,scenario,city,tags,age\n1,1,web,Rome,a|b,1\n1,0,web,Rome,b,2\n";
    let schema = fit(&config, good);
    let wanted = read(&schema, good, Need::Labelled).unwrap();
    let bad = ["x,1,web,Rome,a,1", "1,1,nowhere,Rome,a,1", "1,7,web,Rome,a,1", "1,1,web,Rome,a,old"];
    for row in bad {
        let text = format!("{good}{row}\n");
        let mut reader =
            RowReader::from_reader("t.csv", std::io::Cursor::new(text), &schema, Need::Labelled).unwrap();
        let mut batch = optmsm_core::batch::Batch::new(&schema.input_spec());
        let mut extra = optmsm_data::Extra::default();
        assert!(reader.read(&mut batch, &mut extra, 10).is_err());
        assert_eq!((batch, extra), wanted, "{row}");
    }
}

#[test]
fn a_data_set_reports_how_far_it_is() {
    let files = Files::new();
    let path = files.write("t.csv", SMALL);
    let schema = Schema::fit(&config(vec![categorical("city")]), &path).unwrap();
    let mut last = None;
    let set = Dataset::load_with(&path, &schema, |p| last = Some(p)).unwrap();
    let last = last.unwrap();
    assert_eq!((set.rows(), last.rows), (5, 5));
    assert_eq!((last.bytes, last.total_bytes), (SMALL.len() as u64, Some(SMALL.len() as u64)));
    assert_eq!(set.batch, read(&schema, SMALL, Need::Labelled).unwrap().0);
}

#[test]
fn rows_that_take_more_than_they_may_are_given_up_early() {
    let files = Files::new();
    let config = config(vec![categorical("city"), multi("tags")]);
    let row = |i: usize| format!("{},web,Rome,a|b\n", i % 2);
    let text = format!("label,scenario,city,tags\n{}", (0..100_000).map(row).collect::<String>());
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert!(packed.len() < 20_000, "{}", packed.len());
    let path = files.write("t.csv.zst", packed);
    let schema = Schema::fit(&config, &path).unwrap();
    // Label, scenario, city, end of the list and its two ids, 4 bytes each, and the list's beginning.
    let bytes = 100_000 * 6 * 4 + 4;
    let within = |most| Dataset::load_within(&path, &schema, None, most).unwrap();
    assert_eq!(within(bytes), Some(Dataset::load(&path, &schema).unwrap()));
    for less in [bytes / 2, 1000, 0] {
        assert_eq!(within(less), None, "{less}");
    }
}
