//! Kinds of columns: what they are taken for, and what is left out.

use super::*;

/// The values of a field that the run `r` learned, sorted.
fn vocabulary(place: &Place, name: &str) -> Vec<String> {
    let schema: serde_json::Value = serde_json::from_slice(&place.bytes("r/schema.json")).unwrap();
    let fields = schema["schema"]["fields"].as_array().unwrap();
    let field = fields.iter().find(|f| f["name"] == name).unwrap();
    let values = field["encoding"]["multi"]["vocabulary"].as_array().unwrap();
    let mut values: Vec<String> = values.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    values.sort();
    values
}

#[test]
fn typed_columns_say_what_they_are() {
    let place = Place::empty();
    for (name, seed) in [("train", "1"), ("valid", "2")] {
        let out = format!("{name}.parquet");
        ok(&place.run(&["synth", "--rows", "3000", "--seed", seed, "--out", &out]));
    }
    let written = starts(&place, "train.parquet", &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    let data = config["data"].as_table().unwrap();
    for (key, wanted) in [
        ("label", "label"),
        ("scenario", "scenario"),
        ("group", "user_id"),
        ("probability", "true_probability"),
        ("train", "train.parquet"),
        ("valid", "valid.parquet"),
    ] {
        assert_eq!(data[key].as_str(), Some(wanted));
    }
    assert!(!data.contains_key("delimiter") && !data.contains_key("test"));
    let block = |name: &str| {
        let at =
            written.find(&format!("name = \"{name}\"")).unwrap_or_else(|| panic!("no {name} in {written}"));
        let comments = written[..at].rsplit_once("\n\n").unwrap().1;
        format!("{comments}{}", written[at..].split("\n\n").next().unwrap())
    };
    for (name, seen) in [
        ("user_segment", &["# Dictionary(Int32, Utf8): ", "# text in a dictionary."][..]),
        ("tags", &["# List(Utf8): ", "# a column of lists.", "kind = \"multi\""]),
        ("price", &["# Float64: ", " % missing", "# a column of floats.", "kind = \"numeric\""]),
        ("position", &["# Int32: ", "# a column of integers with few values."]),
    ] {
        let block = block(name);
        seen.iter().for_each(|seen| assert!(block.contains(seen), "{seen} in {block}"));
        assert_eq!(block.contains("kind ="), seen.last().unwrap().contains("kind"), "{block}");
    }

    // The split that it proposes works, too.
    std::fs::remove_file(place.path("valid.parquet")).unwrap();
    let written = starts(&place, "train.parquet", &[]);
    let split = "split = { valid = 0.1, test = 0.1, by = \"user_id\" }";
    assert!(
        written.contains(&format!("\n# {split}")) && written.contains("# test = \"test.parquet\""),
        "{written}"
    );
    place.write("split.toml", written.replace(&format!("# {split}"), split));
    ok(&place.run(&["check", "split.toml"]));

    // The first rows only, of how many the file says itself.
    ok(&place.run(&["synth", "--rows", "150000", "--out", "large.parquet"]));
    ok(&place.run(&["init", "large.parquet"]));
    let written = place.text("large.toml");
    let about = written.split("the first 100000 rows, of about ").nth(1).unwrap().split(' ').next().unwrap();
    assert!((145_000..155_000).contains(&about.parse::<u32>().unwrap()), "{about}");
}

#[test]
fn lists_and_numbers_of_every_spelling() {
    let place = Place::empty();
    let header = "label,scenario,user,json,python,numpy,set,blanks,bars,comma,thousands,german,name,title,url,object,when,vector,say";
    let mut data = format!("{header}\n");
    for i in 0..400 {
        let (a, b, c) = (7 + i % 5, 17 + i % 7, 30 + i % 3);
        let tags = ["red", "red, blue", "black, red", "blue , black,red"][i % 4];
        let list = match i % 4 {
            0 => "[]".into(),
            1 => format!("[{a}]"),
            2 => format!("[{a}, {b}]"),
            _ => format!("[{b}, {a}, {c}]"),
        };
        let python = [r#"['it\'s', "b, c"]"#, "['a']", "[]", "None"][i % 4];
        let (thousands, german) = (["17", "4,253,122", "1,024"][i % 3], ["21,81", "4,02", "7"][i % 3]);
        let (family, first) = (["Doe", "Roe", "Poe"][i % 3], ["Jane", "Richard"][i / 3 % 2]);
        let values = [
            chance(i, 3).to_string(),
            ["home", "ads"][i / 12 % 2].into(),
            format!("u{}", i * 7 % 40),
            list.clone(),
            python.into(),
            list.replace(',', ""),
            list.replace('[', "(").replace(']', ")"),
            tags.into(),
            tags.split(',').map(str::trim).collect::<Vec<_>>().join("|"),
            german.into(),
            thousands.into(),
            format!("1.{}34,5", i % 10),
            format!("{family}, {first}"),
            ["Toy Story, The (1995)", "Rock, The (1996)", "Seven (1995)"][i % 3].into(),
            format!("https://a.example/{},{}|{}", i % 9, i % 4, i % 3),
            format!("{{'a': {}}}", i % 9),
            format!("2024-01-{:02} 10:00:00", 1 + i % 28),
            format!("[0.{}, 1.{}, 2.5]", i % 97, i % 89),
            format!("Well, this is number {}, or so.", i.max(20)),
        ];
        let quoted: Vec<String> = values.iter().map(|v| format!("\"{}\"", v.replace('"', "\"\""))).collect();
        writeln!(data, "{}", quoted.join(",")).unwrap();
    }
    place.write("d.csv", data);
    let written = starts(&place, "d.csv", &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    for (name, wanted) in [
        ("json", "kind = \"multi\"\nlist = \"json\""),
        ("python", "kind = \"multi\"\nlist = \"json\""),
        ("numpy", "kind = \"multi\"\nlist = \"json\""),
        ("set", "kind = \"multi\"\nlist = \"json\""),
        ("blanks", "kind = \"multi\"\nlist = \"trimmed\"\nseparator = \",\""),
        ("bars", "kind = \"multi\""),
        ("comma", "decimal = \",\"\nkind = \"numeric\""),
        ("thousands", "kind = \"numeric\"\nthousands = \",\""),
        ("german", "decimal = \",\"\nkind = \"numeric\"\nthousands = \".\""),
        ("name", ""),
        ("title", ""),
        ("url", ""),
    ] {
        let mut found = field(&config, name).unwrap_or_else(|| panic!("{name} in {written}")).clone();
        found.remove("name");
        let mut lines: Vec<String> = found.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        lines.sort();
        assert_eq!(lines.join("\n"), wanted, "{name}");
    }
    for (name, why) in [
        ("object", "objects or lists in lists"),
        ("when", "it looks like a point in time"),
        ("vector", "lists of floats"),
        ("say", "free text"),
    ] {
        assert!(left(&written, name).starts_with(why), "{}", left(&written, name));
    }
    let numbers = ["10", "11", "17", "18", "19", "20", "21", "22", "23", "30", "31", "32", "7", "8", "9"];
    for name in ["json", "numpy", "set"] {
        assert_eq!(vocabulary(&place, name), numbers, "{name}");
    }
    assert_eq!(vocabulary(&place, "python"), ["a", "b, c", "it's"]);
    assert_eq!(vocabulary(&place, "blanks"), ["black", "blue", "red"]);

    // Lists are read alike when it predicts, and what is no such list is an error.
    ok(&place.run(&["predict", "r", "--data", "d.csv", "--out", "p.csv"]));
    place.write("bad.csv", place.text("d.csv").replace("[7]", "[7"));
    let out = place.run(&["predict", "r", "--data", "bad.csv", "--out", "p.csv"]);
    let message = text(&out.stderr);
    assert!(message.contains("column 'json': \"[7\" is no list as JSON or Python write one"), "{message}");
}

#[test]
fn what_a_comma_means_is_said_where_it_cannot_be_told() {
    let place = Place::empty();
    for (values, wanted) in [
        (["7,5", "5,7", "7,8", "8,5"], "cannot be told"),
        (["4,253", "9,531", "2,204", "7,001"], "cannot be told"),
        (["Paris, France", "Lyon, France", "Rome, Italy", "Bonn"], "does not look like a separator"),
    ] {
        let mut data = "label,scenario,x,user\n".to_string();
        (0..200).for_each(|i| {
            writeln!(data, "{},s{},\"{}\",u{}", chance(i, 2), i % 2, values[i % 4], i % 9).unwrap();
        });
        place.write("d.csv", data);
        let written = starts(&place, "d.csv", &[]);
        let block = &written[..written.find("name = \"x\"\n").unwrap()];
        assert!(block.rsplit("\n\n").next().unwrap().contains(wanted), "{block}");
    }
}

/// A Parquet file with a column of bytes and one of Latin-1 that says to be UTF-8.
fn bytes_and_latin(path: &std::path::Path) {
    use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
    let schema = "message m { required int32 label; required binary scenario (utf8); required binary hash; \
                  required binary latin (utf8); required binary user (utf8); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::file::writer::SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let values: [&dyn Fn(usize) -> Vec<u8>; 4] = [
        &|i| format!("s{}", i % 2).into(),
        &|i| vec![255 - i as u8, 0, i as u8 % 7],
        &|i| [&b"caf\xe9"[..], b"bar"][i % 2].into(),
        &|i| format!("u{}", i % 9).into(),
    ];
    let mut column = group.next_column().unwrap().unwrap();
    let labels: Vec<i32> = (0..200).map(|i| chance(i, 2) as i32).collect();
    column.typed::<Int32Type>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    for value in values {
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = (0..200).map(|i| ByteArray::from(value(i))).collect();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn columns_that_no_field_reads_are_left_out() {
    let place = Place::empty();
    bytes_and_latin(&place.path("t.parquet"));
    let written = starts(&place, "t.parquet", &[]);
    assert_eq!(left(&written, "hash"), "it holds bytes that are no UTF-8 text. Binary.");
    assert!(left(&written, "latin").starts_with("cannot be decoded: "), "{written}");
    assert!(written.contains("name = \"user\""));

    // A CSV of the same, and a column that the user does not want.
    let mut data = b"label,scenario,latin,bytes,user,other\n".to_vec();
    for i in 0..200 {
        let row = [
            chance(i, 2).to_string().into_bytes(),
            format!("s{}", i % 2).into(),
            [&b"caf\xe9"[..], b"bar"][i % 2].into(),
            vec![0x80 + i as u8 % 64, b'x'],
            format!("u{}", i % 9).into(),
            format!("o{}", i % 5).into(),
        ];
        data.extend(row.join(&b","[..]));
        data.push(b'\n');
    }
    place.write("d.csv", data);
    let written = starts(&place, "d.csv", &["--leave-out", "other"]);
    for name in ["latin", "bytes"] {
        assert_eq!(left(&written, name), "it holds bytes that are no UTF-8 text.");
    }
    assert!(left(&written, "other").starts_with("--leave-out names it"), "{written}");
    let names = written.lines().filter(|line| line.starts_with("name = ")).collect::<Vec<_>>();
    assert_eq!(names, ["name = \"user\""]);
    for (option, name, message) in [
        ("--leave-out", "nothing", " has no column \"nothing\", which --leave-out names"),
        (
            "--scenario",
            "latin",
            " column \"latin\" cannot be the scenario: it holds bytes that are no UTF-8 text",
        ),
        ("--label", "bytes", " column \"bytes\" cannot be the label: it holds bytes that are no UTF-8 text"),
    ] {
        let out = place.run(&["init", "d.csv", "--out", "o.toml", option, name]);
        assert!(text(&out.stderr).starts_with(&format!("error: d.csv:{message}")), "{}", text(&out.stderr));
        assert_eq!(out.status.code(), Some(2));
    }
}

/// Values of a column of some kind, of a row; `other` is what tells columns of one kind apart.
type Kind = fn(&mut Rng, usize, usize) -> String;

#[test]
fn every_proposal_trains() {
    const KINDS: [Kind; 22] = [
        |rng, _, n| format!("v{}", rng.below(2 + n)),
        |rng, _, n| rng.below(3 * n + 2).to_string(),
        |rng, _, _| format!("{:.3}", 1000.0 * rng.value()),
        |rng, _, _| format!("{:e}", rng.value() * 10f64.powi(rng.below(60) as i32 - 30)),
        |rng, _, _| format!("{},{:02}", rng.below(50), rng.below(100)),
        |rng, _, _| format!("{},{:03},{:03}", 1 + rng.below(9), rng.below(1000), rng.below(1000)),
        |rng, _, n| (0..rng.below(4)).map(|_| format!("t{}", rng.below(n + 3))).collect::<Vec<_>>().join("|"),
        |rng, _, n| {
            (0..rng.below(4)).map(|_| format!("t{}", rng.below(n + 3))).collect::<Vec<_>>().join(", ")
        },
        |rng, _, _| {
            format!(
                "[{}]",
                (0..rng.below(4)).map(|_| rng.below(30).to_string()).collect::<Vec<_>>().join(", ")
            )
        },
        |rng, _, _| format!("['{}', \"it's\"]", rng.below(9)),
        |rng, _, _| {
            (0..1 + rng.below(3))
                .map(|_| format!("k{}:{}", rng.below(9), rng.below(5)))
                .collect::<Vec<_>>()
                .join(";")
        },
        |rng, _, _| ["", "NULL", "NA", "nan", "1"][rng.below(5)].into(),
        |rng, _, _| ["true", "False", "TRUE", "0", "1"][rng.below(5)].into(),
        |rng, _, _| ["yes", "no"][rng.below(2)].into(),
        |_, row, _| format!("id-{row}"),
        |_, _, _| String::new(),
        |_, _, _| "same".into(),
        |rng, row, _| if rng.below(9) == 0 { "inf".into() } else { row.to_string() },
        |rng, _, _| format!("2024-0{}-1{} 10:00", 1 + rng.below(9), rng.below(9)),
        |rng, _, _| ["{\"a\": 1}", "[[1], 2]", "{", "[", "]["][rng.below(5)].into(),
        |rng, _, _| {
            (0..rng.below(9)).map(|_| ["a\"b", "c,d", "\n", "é", "\u{1}", " "][rng.below(6)]).collect()
        },
        |rng, _, _| (0..3).map(|_| format!("0.{}", rng.below(999))).collect::<Vec<_>>().join(","),
    ];
    let place = Place::empty();
    for seed in 1..=10 {
        let mut rng = Rng::new(seed);
        let rows = [30, 150, 400][rng.below(3)];
        let kinds: Vec<(Kind, usize)> = (0..12).map(|_| (rng.pick(&KINDS), rng.below(40))).collect();
        let mut data = "label,tab,user_id".to_string();
        (0..kinds.len()).for_each(|i| write!(data, ",\"c.{i} #\"").unwrap());
        for row in 0..rows {
            write!(data, "\n{},t{},{}", chance(row, 3), row % 3, rng.below(20)).unwrap();
            for (kind, n) in &kinds {
                write!(data, ",\"{}\"", kind(&mut rng, row, *n).replace('"', "\"\"")).unwrap();
            }
        }
        place.write("d.csv", data + "\n");
        println!("seed {seed}");
        starts(&place, "d.csv", &["--quoting", "standard"]);
    }
}

#[test]
fn wide_tables() {
    let place = Place::empty();
    let mut data = "label,scenario".to_string();
    (0..5_000).for_each(|c| write!(data, ",c{c}").unwrap());
    for row in 0..12 {
        write!(data, "\n{},s{}", chance(row, 2), row % 2).unwrap();
        (0..5_000).for_each(|c| write!(data, ",{}", (row * c) % 7).unwrap());
    }
    place.write("d.csv", data + "\n");
    let printed = ok(&place.run(&["init", "d.csv"]));
    assert!(printed.starts_with("d.toml: read it through"), "{printed}");
    let config: toml::Table = toml::from_str(&place.text("d.toml")).unwrap();
    // All but those that are 0 in every row.
    let constant = (0..5_000).filter(|c| c % 7 == 0).count();
    assert_eq!(config["data"]["fields"].as_array().unwrap().len(), 5_000 - constant);
}
