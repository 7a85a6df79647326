//! `optmsm init`: what it writes trains as it is, says what it guessed, and refuses where it cannot tell.

use std::fmt::Write;
use std::process::Output;
use std::sync::Arc;

use common::{Place, code};
use optmsm_testkit::rng::Rng;

mod common;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ok(out: &Output) -> String {
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// `init`, then `check` and `train` with what it wrote; returns that.
fn starts(place: &Place, data: &str, options: &[&str]) -> String {
    std::fs::remove_file(place.path("my.toml")).ok();
    std::fs::remove_dir_all(place.path("r")).ok();
    ok(&place.run(&[&["init", data, "--out", "my.toml"], options].concat()));
    let written = place.text("my.toml");
    ok(&place.run(&["check", "my.toml"]));
    ok(&place.run(&["train", "--config", "my.toml", "--run", "r", "--set", "train.epochs=1", "--quiet"]));
    written
}

fn refused(place: &Place, args: &[&str], message: &str) {
    refused_at(place, args, &format!(": {message}"));
}

fn refused_at(place: &Place, args: &[&str], message: &str) {
    let out = place.run(&[&["init", "d.csv", "--out", "my.toml"], args].concat());
    assert_eq!(text(&out.stderr).trim_end(), format!("error: d.csv{message}"));
    assert_eq!((out.status.code(), place.path("my.toml").exists()), (Some(2), false));
}

/// 1 for about one row in `n`, which nothing else of the row says; else 0.
fn chance(row: usize, n: usize) -> usize {
    usize::from((row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 0xFFFF < 0xFFFF / n)
}

/// The table of a field, by its name.
fn field<'a>(config: &'a toml::Table, name: &str) -> Option<&'a toml::Table> {
    let fields = config["data"]["fields"].as_array().unwrap();
    fields.iter().find(|f| f["name"].as_str() == Some(name))?.as_table()
}

/// Comment of a column that is left out.
fn left(written: &str, name: &str) -> String {
    let start = format!("# \"{name}\": left out: ");
    let at = written.find(&start).unwrap_or_else(|| panic!("{name} is not left out in {written}"));
    written[at + start.len()..].lines().next().unwrap().to_owned()
}

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
fn tables_with_tabs_lists_and_times() {
    let place = Place::empty();
    let mut data =
        "clk\tdomain_id\tuid\tcats\ttaste\tprice\tzip\ttimestamp\tlike\tconstant\tslot\n".to_string();
    for i in 0..600 {
        let (user, domain) = (i * 7 % 40, i % 2);
        let price = if i % 10 == 0 { String::new() } else { format!("{}.25", i % 37) };
        let (cats, taste) =
            (["1,2", "3", "2,3,4", "1"][i / 2 % 4], ["a:0.5|b:2", "b:1", "a:1.5|c:-2"][i % 3]);
        let (clk, slot) = (chance(i, 3), 10 * domain + i / 2 % 5);
        let (zip, time) = (format!("0{}", user % 9), 1_700_000_000 + 61 * i);
        let line = [&clk, &domain, &user, &cats, &taste, &price, &zip, &time, &(i % 2), &7, &slot]
            as [&dyn std::fmt::Display; 11];
        let line: Vec<String> = line.iter().map(|v| v.to_string()).collect();
        writeln!(data, "{}", line.join("\t")).unwrap();
    }
    place.write("clicks_train.tsv", &data);
    place.write("clicks_valid.tsv", &data);
    let written = starts(&place, "clicks_train.tsv", &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    let data = config["data"].as_table().unwrap();
    let word = |key: &str| data.get(key).map(|v| v.as_str().unwrap());
    assert_eq!(
        (word("label"), word("scenario"), word("group")),
        (Some("clk"), Some("domain_id"), Some("uid"))
    );
    assert_eq!(
        (word("delimiter"), word("valid"), word("test")),
        (Some("\t"), Some("clicks_valid.tsv"), None)
    );
    let fields = data["fields"].as_array().unwrap();
    let field = |name: &str| {
        let field = fields.iter().find(|f| f["name"].as_str() == Some(name))?.as_table()?;
        let word = |key: &str| field.get(key).map_or("", |v| v.as_str().unwrap());
        Some([word("kind"), word("role"), word("separator"), word("weight_separator")].map(String::from))
    };
    let is =
        |name: &str, wanted: [&str; 4]| assert_eq!(field(name), Some(wanted.map(String::from)), "{name}");
    is("uid", ["", "", "", ""]);
    is("cats", ["multi", "", ",", ""]);
    is("taste", ["multi", "", "", ":"]);
    is("price", ["numeric", "", "", ""]);
    is("zip", ["", "", "", ""]);
    // Even rows have slots 0 to 4, odd ones 10 to 14.
    is("slot", ["", "specific", "", ""]);
    for left in ["timestamp", "like", "constant"] {
        assert_eq!(field(left), None);
        assert!(written.contains(&format!("# \"{left}\": left out: ")), "{written}");
    }
    assert!(
        written.contains("# 37 values, 10.0 % missing, such as \"1.25\", \"2.25\", \"3.25\"."),
        "{written}"
    );
}

#[test]
fn names_and_values_of_any_text() {
    let place = Place::empty();
    let mut data = "y,tab,\"a \"\"b\"\"\nc\",é.x,,\u{1b}[31m\n".to_string();
    for i in 0..200 {
        let long = "x".repeat(100 + i % 3);
        let label = chance(i, 2);
        writeln!(data, "{label},t{},\"v\n{}\",\u{2028}{},{long},'\"{}", i % 3, i % 5, i % 7, i % 4).unwrap();
    }
    place.write("d.csv", data);
    // A quote in the middle of a value would open one.
    place.write("d.csv", place.text("d.csv").replace("'\"", "'"));
    let written = starts(&place, "d.csv", &["--quoting", "standard"]);
    let fields: toml::Table = toml::from_str(&written).unwrap();
    let names: Vec<_> =
        fields["data"]["fields"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a \"b\"\nc", "é.x", "\u{1b}[31m"]);
    assert!(written.contains("# \"\": left out: it has no name"), "{written}");
    // Nothing that a terminal would obey.
    assert!(written.chars().all(|c| c == '\n' || !c.is_control()), "{written}");
}

#[test]
fn a_huge_vocabulary_gets_a_least_frequency() {
    let place = Place::empty();
    let mut data = "label,scenario,session,item\n".to_string();
    for i in 0..24_000usize {
        let session = if i < 20_000 { i } else { i - 20_000 };
        writeln!(data, "{},s{},w{session},i{}", i % 3 / 2, i % 2, i % 50).unwrap();
    }
    place.write("d.csv", data);
    let written = starts(&place, "d.csv", &[]);
    assert!(written.contains("name = \"session\"\nmin_frequency = 2\n"), "{written}");
    assert_eq!(written.matches("min_frequency").count(), 1);
}

#[test]
fn what_cannot_be_guessed_is_said() {
    let place = Place::empty();
    let data = |header: &str| {
        let rows = (0..60).map(|i| format!("{},{},{},{}\n", i % 2, i / 2 % 2, i % 3, i % 20));
        place.write("d.csv", format!("{header}\n{}", rows.collect::<String>()));
    };
    data("a,b,where,item");
    refused(
        &place,
        &[],
        "has several columns that could be the label; give --label with one of: \"a\", \"b\"",
    );
    refused(
        &place,
        &["--label", "a"],
        "has no column that is named as a scenario; give --scenario, perhaps with one of: \"where\", \"item\"",
    );
    refused(
        &place,
        &["--label", "where"],
        "column \"where\" holds \"2\", not only 0 and 1; write the label as 0 or 1",
    );
    refused(
        &place,
        &["--label", "none"],
        "has no column \"none\", which --label names; name one of the columns: \"a\", \"b\", \"where\", \"item\"",
    );
    refused(
        &place,
        &["--label", "a", "--scenario", "a"],
        "column \"a\" is the label; name another column, or give --label",
    );
    let written = starts(&place, "d.csv", &["--label", "b", "--scenario", "where"]);
    assert!(written.contains("label = \"b\"") && written.contains("scenario = \"where\""));

    // Never over what is there.
    let out = place.run(&["init", "d.csv", "--out", "my.toml"]);
    assert_eq!(
        text(&out.stderr).trim_end(),
        "error: my.toml: is there already; choose another file with --out"
    );
    assert_eq!((out.status.code(), place.text("my.toml")), (Some(2), written));
}

#[test]
fn bad_files_are_refused() {
    let place = Place::empty();
    let cases: [(&[u8], &str); 7] = [
        (b"", ": the file is empty; give a header line and at least one row"),
        (b"label,scenario,x\n", ": the file has a header but no row; give at least one row"),
        (b"label,x,x\n1,2,3\n", " line 1: column 'x' appears twice, as columns 2 and 3; rename or drop one"),
        (
            b"label,scenario,x\n1,a,2\n1,a\n",
            " line 3: 2 values where the header has 3 columns; fix the row; a value with ',' in it must be in quotes",
        ),
        (
            b"label,scenario,x\n1,a,\xff\n",
            ": no column is left to be a field; give a file with more columns than label and scenario",
        ),
        (
            b"PAR1\x00\x01",
            ": is a Parquet file, no CSV; let its name end in .parquet, which says how it is read",
        ),
        (
            b"label,scenario\n1,a\n0,b\n",
            ": no column is left to be a field; give a file with more columns than label and scenario",
        ),
    ];
    for (data, message) in cases {
        place.write("d.csv", data);
        refused_at(&place, &[], message);
    }
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

    // What it proposes instead of files works, too.
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
fn every_kind_of_source_is_looked_at() {
    let place = Place::empty();
    for (folder, seed) in [("train/day=1", "1"), ("train/day=2", "2"), ("valid/day=3", "3")] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        let out = format!("{folder}/part-0.parquet");
        ok(&place.run(&["synth", "--rows", "500", "--seed", seed, "--out", &out]));
    }
    place.write("train/_SUCCESS", "");
    let value = |written: &str, key: &str| {
        let config: toml::Table = toml::from_str(written).unwrap();
        config["data"].get(key).map(|v| v.as_str().unwrap().to_owned())
    };
    let written = starts(&place, "train", &[]);
    assert!(
        written.contains("guessed from all 1000 rows") && written.contains("# Folders: 2 values"),
        "{written}"
    );
    assert_eq!(value(&written, "valid"), Some("valid".into()));
    let written = starts(&place, "train/*/part-*.parquet", &[]);
    assert_eq!(value(&written, "train"), Some("train/*/part-*.parquet".into()));
    assert_eq!(value(&written, "valid"), Some("valid/*/part-*.parquet".into()));
    assert_eq!(written.matches("[[data.fields]]").count(), 9, "{written}");

    // Packed text, which the program itself writes.
    ok(&place.run(&["train", "--quiet", "--config", "my.toml", "--run", "m", "--set", "train.epochs=1"]));
    ok(&place.run(&["synth", "--rows", "500", "--out", "s.csv"]));
    let csv = place.text("s.csv");
    let csv: String =
        csv.lines().enumerate().map(|(i, l)| format!("{},{l}\n", ["day", "1"][i.min(1)])).collect();
    place.write("s.csv", csv);
    for name in ["p.csv.gz", "p.csv.zst"] {
        ok(&place.run(&["predict", "m", "--data", "s.csv", "--out", name]));
        let written = starts(&place, name, &[]);
        assert!(written.contains("guessed from all 500 rows") && written.contains("name = \"prediction\""));
        assert!(!written.contains("# Utf8"), "a CSV has no types: {written}");
    }
    // The scenario in the names of folders.
    for (folder, first) in [("home", 0), ("ads%2Fx", 1)] {
        std::fs::create_dir_all(place.path(&format!("log/scenario={folder}"))).unwrap();
        let rows = (0..60).map(|i| format!("{}\tu{}\t{}.5\n", i % 2, i % (7 + first), i));
        place.write(
            &format!("log/scenario={folder}/a.csv"),
            format!("label\tuser\tprice\n{}", rows.collect::<String>()),
        );
    }
    let written = starts(&place, "log", &[]);
    assert_eq!(
        (value(&written, "scenario"), value(&written, "delimiter")),
        (Some("scenario".into()), Some("\t".into()))
    );
    assert!(written.contains("such as \"ads/x\", \"home\""), "{written}");

    let says = |data: &str| text(&place.run(&["init", data]).stderr);
    assert_eq!(
        says("none-*.parquet"),
        "error: none-*.parquet: no file matches; check the pattern; it starts from the current directory\n"
    );
    assert_eq!(says("-"), "error: standard input: cannot be trained on; give a file\n");
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

#[test]
fn outcomes_are_left_out_by_their_values() {
    let place = Place::empty();
    let header = "click,domain,user,dwell,revenue,clk_ts,flag,words,things,noisy,copy,note,price,good,hour";
    for (rows, one_in) in [(400, 5), (4_000, 40), (3_000, 2)] {
        let mut data = format!("{header}\n");
        for i in 0..rows {
            let clicked = chance(i, one_in) == 1;
            let of = |n: usize| (i * 31 + i / n) % n;
            let when = |yes: bool, then: String, other: &str| if yes { then } else { other.into() };
            let values = [
                u8::from(clicked).to_string(),
                of(3).to_string(),
                format!("u{}", of(50)),
                when(clicked, (1 + of(90)).to_string(), "0"),
                when(clicked && of(3) > 0, format!("{}.5", of(20)), "0.0"),
                when(clicked, (1_700_000_000 + i).to_string(), ""),
                when(clicked, "no".into(), "yes"),
                when(clicked && of(4) > 0, "purchase".into(), ""),
                when(clicked, format!("[{}, {}]", of(9), of(5)), "[]"),
                // Overlaps a little.
                format!("{}.25", if clicked { 40 + of(60) } else { of(41) }),
                u8::from(clicked != (i % 100 == 7)).to_string(),
                when(clicked, "bought".into(), ["none", "seen"][i % 2]),
                format!("{}.5", of(37)),
                (2 * of(7) + usize::from(clicked == (i % 3 > 0))).to_string(),
                of(24).to_string(),
            ];
            writeln!(data, "{}", values.map(|v| format!("\"{v}\"")).join(",")).unwrap();
        }
        place.write("log.csv", data);
        let written = starts(&place, "log.csv", &[]);
        for name in ["dwell", "revenue", "clk_ts", "flag", "words", "things"] {
            let why = left(&written, name);
            assert!(
                why.contains("unless the label is 1, as what is known only after the click"),
                "{name}: {why}"
            );
        }
        for name in ["noisy", "copy", "note"] {
            let why = left(&written, name);
            assert!(why.contains("known only after the click"), "{name}: {why}");
        }
        let config: toml::Table = toml::from_str(&written).unwrap();
        for name in ["user", "price", "good", "hour"] {
            assert!(field(&config, name).is_some(), "{name} of {rows} in {written}");
        }
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

#[test]
fn a_scenario_may_have_many_values() {
    let place = Place::empty();
    let write = |name: &str, scenarios: usize, missing: bool| {
        let mut data = format!("label,{name},user\n");
        for i in 0..3 * scenarios {
            let scenario = if missing && i == 5 { String::new() } else { format!("s{}", i % scenarios) };
            writeln!(data, "{},{scenario},u{}", chance(i, 3), i % 97).unwrap();
        }
        place.write("d.csv", data);
    };
    for (name, scenarios) in [("scenario", 51), ("Scenario-ID", 300), ("domain_id", 1_100), ("slot", 50)] {
        write(name, scenarios, false);
        let written = starts(&place, "d.csv", &[]);
        assert!(written.contains(&format!("scenario = \"{name}\"")), "{written}");
        assert_eq!(written.contains("\ncount = 16 "), scenarios > 50, "{written}");
    }
    let says = |name: &str, scenarios, missing| {
        write(name, scenarios, missing);
        text(&place.run(&["init", "d.csv"]).stderr)
    };
    let fix = "give --scenario, or add a column that names it\n";
    assert_eq!(
        says("scenario", 60, true),
        format!(
            "error: d.csv: column \"scenario\" has the name of a scenario, but is empty in 1 of 180 rows; {fix}"
        )
    );
    assert_eq!(
        says("slot", 51, false),
        format!("error: d.csv: column \"slot\" has the name of a scenario, but has 51 values; {fix}")
    );
    assert_eq!(
        says("where", 60, false),
        format!(
            "error: d.csv: has no column that could be the scenario: none has 2 to 50 values and no gap; {fix}"
        )
    );
}

#[test]
fn a_label_of_other_values_is_named() {
    let place = Place::empty();
    for (values, shown) in
        [(["1", "2"], "\"1\", \"2\""), (["no", "click"], "\"no\", \"click\""), (["a", "b"], "\"a\", \"b\"")]
    {
        let rows = (0..60).map(|i| format!("{},s{},u{}\n", values[i % 2], i % 3, i % 7));
        place.write("d.csv", format!("label,scenario,user\n{}", rows.collect::<String>()));
        let problem = format!("column \"label\" has the name of a label, but holds {shown}");
        let wanted = format!(
            "{problem}: a label is 0 or 1 in every row; write it as 0 and 1, or give another column with --label"
        );
        refused(&place, &[], &wanted);
    }
}

#[test]
fn a_label_may_be_written_in_other_words() {
    let place = Place::empty();
    for [zero, one] in [["-1", "1"], ["no", "yes"], ["N", "Y"], ["f", "t"]] {
        let rows = (0..300).map(|i| {
            let (label, dwell) = if chance(i, 4) == 1 { (one, 5 + i % 60) } else { (zero, 0) };
            format!("{label},s{},u{},{dwell}\n", i % 3, i % 7)
        });
        place.write("d.csv", format!("label,scenario,user,dwell\n{}", rows.collect::<String>()));
        let written = starts(&place, "d.csv", &[]);
        assert!(written.contains(&format!("label_values = [\"{zero}\", \"{one}\"]")), "{written}");
        assert!(left(&written, "dwell").contains("is \"0\" unless the label is 1"), "{written}");
        let named = starts(&place, "d.csv", &["--label", "label"]);
        assert_eq!(named, written);
    }
}

#[test]
fn what_happened_before_is_no_outcome() {
    let place = Place::empty();
    let before = ["user_click_rate_7d", "clicks_last_30d", "hist_watch_time", "avg_dwell", "clicked_before"];
    let after = ["watch_time", "skip", "dismiss_reason", "is_hate"];
    let mut data = format!("label,scenario,user,{},{}\n", before.join(","), after.join(","));
    for i in 0..4_000 {
        // Users with an even number click far more often: an AUC of about 0.8.
        let clicked = chance(i, 4) == 1;
        let user = 2 * (i * 31 % 25) + usize::from(clicked != (i % 10 < 8));
        let taste = if user % 2 == 0 { 60 + i % 40 } else { i % 62 };
        let word = |yes: bool, text: &'static str| if yes { text } else { "" };
        writeln!(
            data,
            "{},s{},u{user},0.{taste:02},{},{taste}.{:03},{taste}.25,{},{}.5,{},{},{}",
            u8::from(clicked),
            i % 3,
            taste / 4,
            i % 1_000,
            u8::from(taste > 50),
            taste + if clicked { 20 } else { 0 },
            u8::from(!clicked && i % 3 == 0),
            word(!clicked && i % 5 == 0, ["not for me", "seen"][i % 2]),
            u8::from(!clicked && i % 50 == 0),
        )
        .unwrap();
    }
    place.write("d.csv", data);
    let written = starts(&place, "d.csv", &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    for name in before {
        assert!(field(&config, name).is_some(), "{name} in {written}");
    }
    for name in after {
        let why = left(&written, name);
        assert!(why.contains("known only after the click"), "{name}: {why}");
    }
    assert!(left(&written, "dismiss_reason").contains("it is empty unless the label is 0"), "{written}");
}

#[test]
fn paths_of_any_characters() {
    let place = Place::empty();
    let rows = (0..60).map(|i| format!("{},s{},u{}\n", chance(i, 2), i % 2, i % 7));
    let data = format!("label,scenario,user\n{}", rows.collect::<String>());
    for name in ["my data", "it's #1", "a\"b", "back\\slash", "ünï 日本", "new\nline", "$(x) & y", "-x"] {
        std::fs::create_dir_all(place.path("a b")).unwrap();
        let path = format!("a b/{name}.csv");
        place.write(&path, &data);
        let printed = ok(&place.run(&["init", &path]));
        let written = place.text(&format!("{name}.toml"));
        let config: toml::Table = toml::from_str(&written).unwrap();
        assert_eq!(config["data"]["train"].as_str(), Some(path.as_str()));
        assert_eq!(printed.lines().count(), 1, "{printed}");
        // Commands that it prints can be pasted into a shell.
        let check = printed.split("then: ").nth(1).unwrap().split(", optmsm train").next().unwrap();
        let shell = format!("optmsm() {{ {:?} \"$@\"; }}; {check}", env!("CARGO_BIN_EXE_optmsm"));
        let out =
            std::process::Command::new("bash").arg("-c").arg(&shell).current_dir(place.path("")).output();
        ok(&out.unwrap());
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

#[test]
fn movielens() {
    let Ok(data) = std::env::var("OPTMSM_ML_100K") else {
        println!("SKIPPED: OPTMSM_ML_100K names no folder; see examples/README.md for the data");
        return;
    };
    let place = Place::empty();
    let written = starts(&place, &format!("{data}/train.csv"), &[]);
    let config: toml::Table = toml::from_str(&written).unwrap();
    let data = &config["data"];
    for (key, wanted) in [("label", "label"), ("scenario", "scenario"), ("group", "user_id")] {
        assert_eq!(data[key].as_str(), Some(wanted));
    }
    assert!(data["valid"].as_str().unwrap().ends_with("/valid.csv"));
    assert!(data["test"].as_str().unwrap().ends_with("/test.csv"));
    let fields = data["fields"].as_array().unwrap();
    let names: Vec<_> = fields.iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["user_id", "item_id", "age", "gender", "occupation", "zip_code", "genres", "release_year"]
    );
    assert_eq!(fields[6]["kind"].as_str(), Some("multi"));
}

/// Files beside the data that cannot be looked at might be the rows to validate or to test on.
#[cfg(unix)]
#[test]
fn a_file_beside_that_cannot_be_read_is_an_error() {
    for beside in ["valid.csv", "val.csv", "test.csv"] {
        let place = Place::new("", 50, 9);
        std::fs::remove_file(place.path("valid.csv")).unwrap();
        std::os::unix::fs::symlink(beside, place.path(beside)).unwrap();
        let out = place.run(&["init", "train.csv", "--out", "new.toml"]);
        let stderr = code(&out, 2);
        assert!(stderr.starts_with(&format!("error: {beside}: cannot open: ")), "{stderr}");
        assert!(!place.path("new.toml").exists());
    }
}
