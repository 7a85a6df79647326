//! `optmsm init`: what it writes trains as it is, says what it guessed, and refuses where it cannot tell.

use std::fmt::Write;
use std::process::Output;

use common::Place;

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
    ok(&place.run(&[&["init", data, "--out", "my.toml"], options].concat()));
    let written = text(&place.bytes("my.toml"));
    ok(&place.run(&["check", "my.toml"]));
    ok(&place.run(&["train", "--config", "my.toml", "--run", "r", "--set", "train.epochs=1", "--quiet"]));
    written
}

fn refused(place: &Place, args: &[&str], message: &str) {
    let out = place.run(&[&["init", "d.csv", "--out", "my.toml"], args].concat());
    assert_eq!(text(&out.stderr).trim_end(), format!("error: d.csv: {message}"));
    assert_eq!((out.status.code(), place.path("my.toml").exists()), (Some(2), false));
}

fn empty() -> Place {
    Place::new(common::CONFIG, 10, 5)
}

#[test]
fn tables_with_tabs_lists_and_times() {
    let place = empty();
    let mut data =
        "clk\tdomain_id\tuid\tcats\ttaste\tprice\tzip\ttimestamp\tlike\tconstant\tslot\n".to_string();
    for i in 0..600 {
        let (user, domain) = (i * 7 % 40, i % 2);
        let price = if i % 10 == 0 { String::new() } else { format!("{}.25", i % 37) };
        let (cats, taste) =
            (["1,2", "3", "2,3,4", "1"][i / 2 % 4], ["a:0.5|b:2", "b:1", "a:1.5|c:-2"][i % 3]);
        let (clk, slot) = (usize::from(user % 3 == 0), 10 * domain + i / 2 % 5);
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
    let place = empty();
    let mut data = "y,tab,\"a \"\"b\"\"\nc\",é.x,,\u{1b}[31m\n".to_string();
    for i in 0..200 {
        let long = "x".repeat(100 + i % 3);
        writeln!(data, "{},t{},\"v\n{}\",\u{2028}{},{long},'\"{}", i % 2, i % 3, i % 5, i % 7, i % 4)
            .unwrap();
    }
    place.write("d.csv", data);
    // A quote in the middle of a value would open one.
    place.write("d.csv", text(&place.bytes("d.csv")).replace("'\"", "'"));
    let written = starts(&place, "d.csv", &[]);
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
    let place = empty();
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
    let place = empty();
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
    assert_eq!((out.status.code(), text(&place.bytes("my.toml"))), (Some(2), written));
}

#[test]
fn bad_files_are_refused() {
    let place = empty();
    let cases: [(&[u8], &str); 7] = [
        (b"", "is empty; give a file with a header and rows"),
        (b"label,scenario,x\n", "has a header but no row; give at least one row"),
        (b"label,x,x\n1,2,3\n", "column \"x\" appears twice; rename or drop one"),
        (
            b"label,scenario,x\n1,a,2\n1,a\n",
            "near line 3: 2 values where the header has 3 columns; fix the row; a value with the delimiter in it must be in quotes",
        ),
        (
            b"label,scenario,x\n1,a,\xff\n",
            "row 1, column \"x\": a value is not valid UTF-8; save the file as UTF-8",
        ),
        (
            b"PAR1\x00\x01",
            "is not CSV text; give some of its rows as CSV text, then name this file in data.train",
        ),
        (
            b"label,scenario\n1,a\n0,b\n",
            "no column is left to be a field; give a file with more columns than label and scenario",
        ),
    ];
    for (data, message) in cases {
        place.write("d.csv", data);
        refused(&place, &[], message);
    }
}

#[test]
fn movielens() {
    let Ok(data) = std::env::var("OPTMSM_ML_100K") else {
        println!("SKIPPED: OPTMSM_ML_100K names no folder; see examples/README.md for the data");
        return;
    };
    let place = empty();
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
