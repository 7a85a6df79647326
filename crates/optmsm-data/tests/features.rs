//! Ways for a value to become an id or a number. Expected values are by hand.

mod common;

use common::*;
use optmsm_core::config::FieldKind;
use optmsm_core::philox::Stream;
use optmsm_data::{DataConfig, Encoding, FieldConfig, ListText, Missing, Need, Quoting, Schema, Transform};

const SMALL: &str = "\
label,scenario,city,tags,n,x
1,web,Rome,a:2|b|c,7,1
0,web,Paris,,0,2
0,web,Rome,b,9,3
1,web,,c|c:0.5|b|a,3,4
0,web,Oslo,b|a,,
";

fn encoded(schema: &Schema) -> optmsm_core::batch::Batch {
    read(schema, SMALL, Need::Labelled).unwrap().0
}

/// Saves, loads and checks that nothing was lost.
fn saved_whole(schema: &Schema) {
    let files = Files::new();
    let path = files.path("schema.json");
    schema.save(&path).unwrap();
    let loaded = Schema::load(&path).unwrap();
    assert_eq!((&loaded, loaded.fingerprint()), (schema, schema.fingerprint()));
    assert_eq!(loaded.input_spec(), schema.input_spec());
    assert_eq!(encoded(&loaded), encoded(schema));
}

fn error(field: FieldConfig, text: &str) -> String {
    let files = Files::new();
    files.plain(Schema::fit(&config(vec![field]), files.write("t.csv", text)).unwrap_err())
}

/// The list of field `field`.
fn values(schema: &Schema, field: usize) -> Vec<&str> {
    schema.fields[field].encoding.vocabulary().unwrap().values().collect()
}

fn weighted(field: FieldConfig) -> FieldConfig {
    FieldConfig { weight_separator: Some(":".into()), ..field }
}

#[test]
fn max_size_keeps_the_most_frequent() {
    let field = FieldConfig { max_size: Some(2), ..categorical("city") };
    let schema = fit(&config(vec![field]), SMALL);
    assert_eq!(values(&schema, 0), ["Rome", "", "Oslo"]);
    assert_eq!(ids(&encoded(&schema), 0), [1, 0, 1, 2, 3]);
    saved_whole(&schema);
}

#[test]
fn hashes_and_integers() {
    let fields = vec![
        FieldConfig { hash_buckets: Some(1000), ..categorical("city") },
        FieldConfig { ids: Some(10), ..categorical("n") },
        weighted(FieldConfig { hash_buckets: Some(5), ..multi("tags") }),
    ];
    let schema = fit(&config(fields), SMALL);
    let kinds: Vec<_> = schema.input_spec().fields.into_iter().map(|f| f.kind).collect();
    assert_eq!(kinds[..2], [FieldKind::Categorical { vocab: 1001 }, FieldKind::Categorical { vocab: 11 }]);
    let batch = encoded(&schema);
    // By an implementation of XXH64 in Python.
    assert_eq!(ids(&batch, 0), [806, 308, 806, 107, 816]);
    assert_eq!(ids(&batch, 1), [8, 1, 10, 4, 0]);
    let (offsets, tags, weights) = lists(&batch, 2);
    assert_eq!(
        (offsets, weights),
        (&[0, 3, 3, 4, 8, 10][..], &[2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0][..])
    );
    let [a, b, c] = [1, 5, 4];
    assert_eq!(tags, [a, b, c, b, c, c, b, a, b, a]);
    saved_whole(&schema);
    // Values that training never saw have ids, too.
    let more = read(&schema, "label,scenario,city,n,tags\n1,web,Kyiv,5,\n", Need::Labelled).unwrap().0;
    assert!(ids(&more, 0)[0] > 0);
}

#[test]
fn an_integer_out_of_range_is_an_error_that_names_row_and_value() {
    let field = || FieldConfig { ids: Some(9), ..categorical("n") };
    let fix = "fix the value, raise ids (now 9), or leave ids out to learn the values";
    let place = "column 'n': \"9\" is not an integer from 0 to 8";
    assert_eq!(error(field(), SMALL), format!("t.csv line 4, {place}; {fix}"));
    let schema = fit(&config(vec![field()]), &SMALL.replace(",9,", ",8,"));
    let late = read(&schema, SMALL, Need::Labelled).unwrap_err();
    assert_eq!(late.to_string(), format!("t.csv line 4, {place}; {fix}"));
    let list = FieldConfig { ids: Some(3), ..multi("tags") };
    let text = "label,scenario,tags\n1,web,0|2\n0,web,1|3|x\n";
    let wanted = "t.csv line 3, column 'tags': \"3\" is not an integer from 0 to 2; \
                  fix the value, raise ids (now 3), or leave ids out to learn the values";
    assert_eq!(error(list, text), wanted);
}

#[test]
fn lists_are_cut_after_max_length_values() {
    let field = weighted(FieldConfig { max_length: Some(2), ..multi("tags") });
    let schema = fit(&config(vec![field]), SMALL);
    // b 3, c 2 and a 2: what is cut off does not count.
    assert_eq!(values(&schema, 0), ["b", "a", "c"]);
    let batch = encoded(&schema);
    let (offsets, tags, weights) = lists(&batch, 0);
    assert_eq!((offsets, tags), (&[0, 2, 2, 3, 5, 7][..], &[2, 1, 1, 3, 3, 1, 2][..]));
    assert_eq!(weights, [2.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]);
    saved_whole(&schema);
}

#[test]
fn a_missing_value_may_have_an_id_of_its_own() {
    let own = |field| FieldConfig { missing: Missing::Own, ..field };
    let fields = vec![
        own(categorical("city")),
        own(FieldConfig { ids: Some(10), ..categorical("n") }),
        own(weighted(multi("tags"))),
        own(FieldConfig { hash_buckets: Some(7), column: Some("n".into()), ..categorical("hashed") }),
    ];
    let schema = fit(&config(fields), SMALL);
    assert_eq!(values(&schema, 0), ["Rome", "Oslo", "Paris"]);
    let batch = encoded(&schema);
    assert_eq!(ids(&batch, 0), [1, 3, 1, 4, 2]);
    assert_eq!(ids(&batch, 1), [8, 1, 10, 4, 11]);
    let (offsets, tags, weights) = lists(&batch, 2);
    // b 4, a and c 3; the empty list is the one missing value.
    assert_eq!((&offsets[..3], &tags[..4], weights[3]), (&[0, 3, 4][..], &[2, 1, 3, 4][..], 1.0));
    assert_eq!(ids(&batch, 3)[4], 8);
    saved_whole(&schema);

    // Even where training saw none, it is not out-of-vocabulary.
    let unseen = fit(&config(vec![own(categorical("city"))]), "label,scenario,city\n1,web,Rome\n");
    let text = "label,scenario,city\n1,web,\n1,web,Kyiv\n";
    assert_eq!(ids(&read(&unseen, text, Need::Labelled).unwrap().0, 0), [2, 0]);
}

#[test]
fn fields_of_one_table_have_one_list() {
    let text = "label,scenario,from,to,via\n1,web,Rome,Oslo,Bonn|Rome\n0,web,Oslo,Bonn,\n0,web,Oslo,,Rome\n";
    let table = |field| FieldConfig { table: Some("cities".into()), ..field };
    let all = config(vec![table(categorical("from")), table(categorical("to")), table(multi("via"))]);
    let schema = fit(&all, text);
    // Oslo 3, Rome 3, Bonn 2, missing 1.
    for field in 0..3 {
        assert_eq!(values(&schema, field), ["Oslo", "Rome", "Bonn", ""]);
    }
    let batch = read(&schema, text, Need::Labelled).unwrap().0;
    assert_eq!((ids(&batch, 0), ids(&batch, 1)), (&[2, 1, 1][..], &[1, 3, 4][..]));
    assert_eq!(lists(&batch, 2), (&[0, 2, 2, 3][..], &[3, 2, 2][..], &[][..]));
    let spec = schema.input_spec();
    spec.validate().unwrap();
    assert!(spec.fields.iter().all(|f| f.table() == "cities" && f.kind.ids() == 5));
    let files = Files::new();
    let path = files.path("schema.json");
    schema.save(&path).unwrap();
    let loaded = Schema::load(&path).unwrap();
    assert_eq!((&loaded, loaded.fingerprint()), (&schema, schema.fingerprint()));
    assert_eq!(read(&loaded, text, Need::Labelled).unwrap().0, batch);
    // The list is in the file once.
    assert_eq!(std::fs::read_to_string(&path).unwrap().matches("Bonn").count(), 1);

    // Hashes of one table agree; those of two fields do not.
    let hashed = |field| FieldConfig { hash_buckets: Some(1 << 20), ..field };
    let shared =
        fit(&config(vec![hashed(table(categorical("from"))), hashed(table(categorical("to")))]), text);
    let apart = fit(&config(vec![hashed(categorical("from")), hashed(categorical("to"))]), text);
    let of = |schema: &Schema| {
        let batch = read(schema, text, Need::Labelled).unwrap().0;
        (ids(&batch, 0)[1], ids(&batch, 1)[0]) // both Oslo
    };
    assert!(of(&shared).0 == of(&shared).1 && of(&apart).0 != of(&apart).1);
}

#[test]
fn numbers_become_ranks() {
    let field = |fill| FieldConfig { transform: Some(Transform::Quantile), fill, ..numeric("x") };
    let schema = fit(&config(vec![field(None)]), SMALL);
    assert_eq!(numbers(&encoded(&schema), 0), [0.0, (1.0f64 / 3.0) as f32, (2.0f64 / 3.0) as f32, 1.0, 0.5]);
    saved_whole(&schema);
    let filled = fit(&config(vec![field(Some(2.5))]), SMALL);
    assert_eq!(numbers(&encoded(&filled), 0)[4], 0.5);
    let far = "label,scenario,x\n1,web,-1e30\n1,web,1e30\n1,web,1.5\n";
    assert_eq!(numbers(&read(&schema, far, Need::Labelled).unwrap().0, 0), [0.0, 1.0, (0.5f64 / 3.0) as f32]);
}

#[test]
fn numbers_become_buckets() {
    let field = FieldConfig { buckets: Some(2), ..numeric("x") };
    let schema = fit(&config(vec![field]), SMALL);
    let Encoding::Buckets { cuts, stats, .. } = &schema.fields[0].encoding else { panic!("buckets") };
    assert_eq!((&cuts[..], stats.count, stats.missing), (&[3.0][..], 4, 1));
    assert_eq!(schema.input_spec().fields[0].kind, FieldKind::Categorical { vocab: 4 });
    assert_eq!(ids(&encoded(&schema), 0), [1, 1, 2, 2, 3]);
    saved_whole(&schema);
    // Only missing values: one bucket that nothing fell into.
    let none = fit(
        &config(vec![FieldConfig { buckets: Some(9), ..numeric("x") }]),
        "label,scenario,x\n1,web,\n0,web,\n",
    );
    let text = "label,scenario,x\n1,web,\n0,web,5\n";
    assert_eq!(ids(&read(&none, text, Need::Labelled).unwrap().0, 0), [2, 1]);
}

#[test]
fn lists_are_read_alike_however_they_are_written() {
    let text = "\
label,scenario,bars,json,python,trimmed
1,web,a|b,\"[\"\"a\"\", \"\"b\"\"]\",\"['a', 'b']\",\"a, b\"
0,web,,[],None,
0,web,b|c|a,\"[\"\"b\"\",\"\"c\"\",null,\"\"a\"\"]\",\"('b', 'c', 'a')\",\" b ,c , a\"
";
    let list = |name, list, separator: Option<&str>| FieldConfig {
        list,
        separator: separator.map(String::from),
        ..multi(name)
    };
    let fields = vec![
        list("bars", ListText::Separated, None),
        list("json", ListText::Json, None),
        list("python", ListText::Json, None),
        list("trimmed", ListText::Trimmed, Some(",")),
    ];
    let schema = fit(&config(fields), text);
    let batch = read(&schema, text, Need::Labelled).unwrap().0;
    for field in 0..4 {
        // a and b came twice, c once.
        let values: Vec<_> = schema.fields[field].encoding.vocabulary().unwrap().values().collect();
        assert_eq!(values, ["a", "b", "c"], "field {field}");
        let (offsets, ids, _) = lists(&batch, field);
        assert_eq!((offsets, ids), (&[0, 2, 2, 5][..], &[1, 2, 2, 3, 1][..]), "field {field}");
    }
    let files = Files::new();
    schema.save(files.path("schema.json")).unwrap();
    assert_eq!(Schema::load(files.path("schema.json")).unwrap(), schema);
    let bad = text.replace("[]", "[[]]");
    assert_eq!(
        read(&schema, &bad, Need::Labelled).unwrap_err().to_string(),
        "t.csv line 3, column 'json': \"[[]]\" is no list as JSON or Python write one: a value in it is a list itself; fix the \
         value, or set list = \"separated\""
    );
}

#[test]
fn numbers_have_the_marks_of_their_country() {
    let text = "label,scenario,plain,comma,both,english\n\
                1,web,1234.5,\"1234,5\",\"1.234,5\",\"1,234.5\"\n0,web,,,,\n0,web,-2,-2,\"-2,0\",-2\n";
    let field = |name, decimal, thousands| FieldConfig {
        decimal,
        thousands,
        transform: Some(Transform::None),
        fill: Some(9.0),
        ..numeric(name)
    };
    let fields = vec![
        field("plain", None, None),
        field("comma", Some(','), None),
        field("both", Some(','), Some('.')),
        field("english", None, Some(',')),
    ];
    let schema = fit(&config(fields), text);
    let batch = read(&schema, text, Need::Labelled).unwrap().0;
    (0..4).for_each(|field| assert_eq!(numbers(&batch, field), [1234.5, 9.0, -2.0], "field {field}"));
    let buckets = FieldConfig { decimal: Some(','), buckets: Some(2), ..numeric("comma") };
    let schema = fit(&config(vec![buckets]), text);
    assert_eq!(ids(&read(&schema, text, Need::Labelled).unwrap().0, 0), [2, 3, 1]);
    let bad = text.replace("1234,5", "1.234,5");
    assert!(
        read(&schema, &bad, Need::Labelled).unwrap_err().to_string().contains("\"1.234,5\" is not a number")
    );
}

#[test]
fn the_order_of_the_rows_does_not_change_what_is_fitted() {
    let mut rows: Vec<&str> = SMALL.lines().skip(1).collect();
    rows.reverse();
    let reversed = format!("{}\n{}\n", SMALL.lines().next().unwrap(), rows.join("\n"));
    let fields = vec![
        FieldConfig { max_size: Some(2), ..categorical("city") },
        FieldConfig { max_length: Some(2), ..multi("tags") },
        FieldConfig { buckets: Some(3), ..numeric("x") },
    ];
    assert_eq!(fit(&config(fields.clone()), SMALL), fit(&config(fields), &reversed));
}

/// The first version's file, by hand; the fingerprint is Python's hashlib of the compact `schema`.
#[test]
fn a_file_of_the_first_version_is_read_and_written_as_it_was() {
    let schema = r#"{"delimiter":",","label":"label","scenario":"scenario","weight":null,"group":null,"probability":null,"unseen_scenario":"error","rows":2,"scenarios":[{"name":"web","rows":2,"positives":1}],"fields":[{"name":"city","column":"city","role":"shared","encoding":{"categorical":{"vocabulary":["Rome",""]}}},{"name":"tags","column":"tags","role":"specific","encoding":{"multi":{"separator":"|","weight_separator":null,"pooling":"mean","vocabulary":["a","b"]}}},{"name":"x","column":"x","role":"shared","encoding":{"numeric":{"transform":"log1p","stats":{"count":1,"missing":1,"mean":0.5,"std":0.0,"min":0.5,"max":0.5},"fill":0.5}}}]}"#;
    let fingerprint = "a0116b3371600d2da86bf3a69a131ee2490c28e82f3d8b60b1595b951410a433";
    let file = format!(
        r#"{{"format":"optmsm-schema","version":1,"fingerprint":"{fingerprint}","schema":{schema}}}"#
    );
    let files = Files::new();
    let loaded = Schema::load(files.write("old.json", file)).unwrap();
    assert_eq!(loaded.fingerprint(), fingerprint);
    let text = "label,scenario,city,tags,x\n1,web,,b|c,0\n";
    let batch = read(&loaded, text, Need::Labelled).unwrap().0;
    assert_eq!((ids(&batch, 0), lists(&batch, 1).1, numbers(&batch, 2)), (&[2][..], &[2, 0][..], &[0.0][..]));
    let again = files.path("again.json");
    loaded.save(&again).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(again).unwrap()).unwrap();
    assert_eq!(json["version"], 1);
}

/// Random texts of everything that could go wrong in a file: controls, quotes, separators, combining marks, emoji, private use.
fn random_text(stream: &Stream, at: &mut u64) -> String {
    let mut next = |n: usize| {
        *at += 1;
        (stream.uniform(*at) * n as f64) as usize
    };
    let odd = [
        '\0',
        '\u{1}',
        '\u{7f}',
        '\r',
        '\n',
        '\t',
        '"',
        '\'',
        ',',
        ';',
        '|',
        ':',
        '\\',
        '/',
        ' ',
        '\u{a0}',
        '\u{301}',
        '\u{200d}',
        '\u{202e}',
        '\u{feff}',
        '\u{fffd}',
        '\u{e000}',
        '\u{10ffff}',
        'é',
        'ß',
        '主',
        '😀',
        '👩',
    ];
    (0..next(8))
        .map(|_| match next(3) {
            0 => odd[next(odd.len())],
            1 => char::from(b'a' + next(26) as u8),
            _ => char::from_u32(next(0x11_0000) as u32).unwrap_or('\u{2028}'),
        })
        .collect()
}

#[test]
fn vocabularies_survive_the_file_with_any_text() {
    let stream = Stream::new(5, "texts");
    let mut at = 0;
    for round in 0..20 {
        let texts: Vec<String> = (0..200).map(|_| random_text(&stream, &mut at)).collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["label", "scenario", "city"]).unwrap();
        for text in &texts {
            writer.write_record(["1", "web", text]).unwrap();
        }
        let csv = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let missing = if round % 2 == 0 { Missing::Value } else { Missing::Own };
        let fields = vec![FieldConfig { missing, ..categorical("city") }];
        let schema = fit(&DataConfig { quoting: Quoting::Standard, ..config(fields) }, &csv);
        let files = Files::new();
        let path = files.path("schema.json");
        schema.save(&path).unwrap();
        let loaded = Schema::load(&path).unwrap();
        assert_eq!((&loaded, loaded.fingerprint()), (&schema, schema.fingerprint()));
        let batch = read(&loaded, &csv, Need::Labelled).unwrap().0;
        assert_eq!(batch, read(&schema, &csv, Need::Labelled).unwrap().0);
        let vocabulary = loaded.fields[0].encoding.vocabulary().unwrap();
        for (text, &id) in texts.iter().zip(ids(&batch, 0)) {
            // Every value of training is known, and its id leads back to it.
            assert!(id > 0, "{text:?}");
            match vocabulary.missing_id() {
                Some(missing) if text.is_empty() => assert_eq!(id, missing),
                _ => assert_eq!(vocabulary.value(id).as_deref(), Some(text.as_str())),
            }
        }
    }
}

#[test]
fn settings_that_cannot_work_say_why() {
    let of = |field: FieldConfig| DataConfig { fields: vec![field], ..DataConfig::default() }.validate();
    let table = |field| FieldConfig { table: Some("t".into()), ..field };
    let two = |a, b| config(vec![a, b]).validate();
    let cases = [
        (
            of(FieldConfig { max_length: Some(3), ..categorical("a") }),
            "a.max_length`: means something for kind = \"multi\" only; leave it out, or set kind = \"multi\"",
        ),
        (
            of(FieldConfig { max_length: Some(0), ..multi("a") }),
            "a.max_length`: must be from 1 to 2147483648, got 0; change it",
        ),
        (
            of(FieldConfig { hash_buckets: Some(0), ..categorical("a") }),
            "a.hash_buckets`: must be from 1 to 2147483648, got 0; change it",
        ),
        (
            of(FieldConfig { ids: Some(3_000_000_000), ..categorical("a") }),
            "a.ids`: must be from 1 to 2147483648, got 3000000000; change it",
        ),
        (
            of(FieldConfig { buckets: Some(1), ..numeric("a") }),
            "a.buckets`: must be from 2 to 2147483648, got 1; change it",
        ),
        (
            of(FieldConfig { buckets: Some(4), ..categorical("a") }),
            "a.buckets`: means something for kind = \"numeric\" only; leave it out, or set kind = \"numeric\"",
        ),
        (
            of(FieldConfig { ids: Some(4), hash_buckets: Some(4), ..categorical("a") }),
            "a.ids`: is given together with hash_buckets; give one of them",
        ),
        (
            of(FieldConfig { ids: Some(4), max_size: Some(4), ..categorical("a") }),
            "a.max_size`: means nothing with ids; leave one of them out",
        ),
        (
            of(FieldConfig { hash_buckets: Some(4), min_frequency: 2, ..categorical("a") }),
            "a.min_frequency`: means nothing with hash_buckets; leave one of them out",
        ),
        (
            of(FieldConfig { max_size: Some(0), ..categorical("a") }),
            "a.max_size`: must be at least 1, got 0; leave it out to keep every value",
        ),
        (
            of(FieldConfig { ids: Some(4), ..numeric("a") }),
            "a.ids`: means nothing for kind = \"numeric\"; leave it out",
        ),
        (
            of(FieldConfig { missing: Missing::Own, ..numeric("a") }),
            "a.missing`: means nothing for kind = \"numeric\"; leave it out",
        ),
        (
            of(FieldConfig { freeze: true, ..numeric("a") }),
            "a.freeze`: means nothing for kind = \"numeric\" without buckets; leave it out, or set buckets",
        ),
        (
            of(FieldConfig { oov_dropout: 1.0, ..categorical("a") }),
            "a.oov_dropout`: must be in [0, 1), got 1; 0.01 is usual",
        ),
        (
            of(FieldConfig { init_from: Some("x.safetensors".into()), ..categorical("a") }),
            "a.init_from`: names no tensor of a file; write it as FILE.safetensors:TENSOR",
        ),
        (
            of(FieldConfig { init_values: Some("x.txt".into()), ..categorical("a") }),
            "a.init_values`: names the rows of init_from, which is not given; leave it out",
        ),
        (
            of(FieldConfig { table: Some(String::new()), ..categorical("a") }),
            "a.table`: is empty; name the table, or leave it out",
        ),
        (
            two(table(categorical("a")), table(FieldConfig { min_frequency: 2, ..multi("b") })),
            "b.min_frequency`: differs from that of field 'a', which shares the table; write the same in both, or give them tables of their own",
        ),
        (
            two(categorical("t"), table(categorical("b"))),
            "b.table`: table 't' has the name of a field that is not part of it; set table = \"t\" there too, or rename it",
        ),
    ];
    for (got, wanted) in cases {
        assert_eq!(got.unwrap_err().to_string(), format!("config `data.fields.{wanted}"));
    }
    two(table(categorical("t")), table(multi("b"))).unwrap();
}
