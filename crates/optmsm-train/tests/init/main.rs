//! `optmsm init`: what it writes trains as it is, says what it guessed, and refuses where it cannot tell.

use std::fmt::Write;
use std::process::Output;
use std::sync::Arc;

use common::{Place, code};
use optmsm_testkit::rng::Rng;

mod columns;
#[path = "../common/mod.rs"]
mod common;
mod outcomes;

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
