//! The program on Parquet, packed CSV, folders and lists: the same model as from one CSV, byte by byte.

mod common;

use common::{Place, SYNTH, bad, good};

#[test]
fn every_kind_of_file_trains_the_same_model() {
    let place = Place::empty();
    place.write("config.toml", SYNTH);
    for (name, rows, seed) in [("train", "700", "1"), ("valid", "200", "2")] {
        for kind in ["csv", "parquet"] {
            good(&place, &["synth", "--rows", rows, "--seed", seed, "--out", &format!("{name}.{kind}")]);
        }
    }
    let to_stdout = place.run(&["synth", "--rows", "700", "--out", "-", "--format", "parquet"]);
    assert_eq!(to_stdout.stdout, place.bytes("train.parquet"));
    let csv = place.text("train.csv");
    let (header, rows) = csv.split_once('\n').unwrap();
    let lines: Vec<&str> = rows.lines().collect();
    std::fs::create_dir(place.path("parts")).unwrap();
    for (i, lines) in lines.chunks(300).enumerate() {
        place.write(&format!("parts/part-{i}.csv"), format!("{header}\n{}\n", lines.join("\n")));
    }
    place.write("parts/_SUCCESS", "");
    let train = |run: &str, set: &[&str]| {
        let set: Vec<&str> = set.iter().flat_map(|s| ["--set", s]).collect();
        good(&place, &[&["train", "--quiet", "--config", "config.toml", "--run", run], &set[..]].concat());
        (
            place.bytes(&format!("{run}/schema.json")),
            good(&place, &["predict", run, "--data", "valid.csv", "--out", "-"]),
        )
    };
    let one = train("csv", &[]);
    assert!(
        one.1.lines().count() == 201
            && one.1.lines().next().unwrap().ends_with(",true_probability,prediction")
    );
    let sources: [(&str, &[&str]); 4] = [
        ("parquet", &["data.train=train.parquet", "data.valid=\"valid.parquet\""]),
        ("folder", &["data.train=parts"]),
        ("glob", &["data.train=parts/part-?.csv"]),
        ("list", &[r#"data.train=["parts/part-0.csv", "parts/part-1.csv", "parts/part-2.csv"]"#]),
    ];
    for (run, set) in sources {
        assert!(train(run, set) == one, "{run}");
    }

    // Predictions for Parquet name rows by their number.
    good(&place, &["predict", "csv", "--data", "valid.parquet", "--out", "p.csv"]);
    let by_number = place.text("p.csv");
    let last =
        |text: &str| text.lines().map(|l| l.rsplit(',').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(last(&by_number), last(&one.1));
    assert!(by_number.starts_with("row,prediction\n1,"), "{by_number}");
    // And so are the rows without a value.
    let covered = |data: &str| {
        good(&place, &["report", "csv", "--data", data, "--out", "r.html", "--json", "r.json"]);
        let numbers: serde_json::Value = serde_json::from_slice(&place.bytes("r.json")).unwrap();
        numbers[0]["coverage"].clone()
    };
    assert_eq!(covered("valid.parquet"), covered("valid.csv"));
    let missing = |set: &str| {
        let found = good(&place, &["check", "config.toml", "--json", "--set", set]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        found["fields"].as_array().unwrap().iter().map(|f| f["missing"].clone()).collect::<Vec<_>>()
    };
    let price = header.split(',').position(|name| name == "price").unwrap();
    let prices = lines.iter().filter(|l| l.split(',').nth(price) == Some("")).count() as f64;
    let found = missing("data.train=train.parquet");
    assert!(prices > 0.0 && found[2]["train"] == prices / 700.0, "{prices} {found:?}");
    assert_eq!(found, missing("data.train=train.csv"));
    let scores = |data: &str| good(&place, &["evaluate", "csv", "--data", data]);
    assert_eq!(scores("valid.parquet"), scores("valid.csv"));
    // Parquet predicts the same, whatever it is made from; its prediction is a column that can be read again.
    for (source, run) in [("valid.csv", "again-csv"), ("valid.parquet", "again-parquet")] {
        good(&place, &["predict", "csv", "--data", source, "--out", "p.parquet"]);
        let again = SYNTH.replace("name = \"position\"", "name = \"prediction\"\nkind = \"numeric\"");
        place.write(
            "again.toml",
            again.replace("valid = [\"valid.csv\"]", "").replace("train.csv", "p.parquet"),
        );
        good(&place, &["train", "--quiet", "--config", "again.toml", "--run", run]);
        let schema: serde_json::Value =
            serde_json::from_slice(&place.bytes(&format!("{run}/schema.json"))).unwrap();
        let mean =
            last(&one.1)[1..].iter().map(|p| f64::from(p.parse::<f32>().unwrap())).sum::<f64>() / 200.0;
        let found = &schema["schema"]["fields"][3]["encoding"]["numeric"]["stats"]["mean"];
        assert!((found.as_f64().unwrap() - mean).abs() < 1e-6, "{found} {mean}");
    }
    assert_eq!(
        bad(&place, &["predict", "csv", "--data", "valid.parquet", "--out", "p.arrow"]),
        "error: p.arrow: predictions are not written as Arrow files; let the name end in .parquet, .csv, .csv.gz or .csv.zst"
    );
    place.write("broken.parquet", &place.bytes("valid.parquet")[..999]);
    bad(&place, &["predict", "csv", "--data", "broken.parquet", "--out", "q.parquet"]);
    let names =
        std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|n| n.starts_with("q.parquet") || n.ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
    let error = bad(&place, &["train", "--config", "config.toml", "--run", "x", "--set", "data.train=3"]);
    assert!(error.contains("a path or a list of paths is wanted"), "{error}");
}

/// A glob that takes the test file in with the others.
#[test]
fn scoring_what_was_trained_on_is_said() {
    // 11 users: of 9, each would have one label, which is said, too.
    let place = Place::new(common::CONFIG, 60, 11);
    place.write("train-test.csv", place.bytes("valid.csv"));
    let said = |set: &[&str]| {
        let set: Vec<&str> = set.iter().flat_map(|s| ["--set", s]).collect();
        let run = format!("r{}", set.len());
        let out =
            place.run(&[&["train", "--quiet", "--config", "config.toml", "--run", &run], &set[..]].concat());
        assert!(out.status.success());
        common::besides_the_model(&String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(said(&["data.test=./train-test.csv"]), "");
    assert_eq!(
        said(&["data.test=./train-test.csv", "data.train=train*.csv"]),
        "warning: ./train-test.csv: is of data.train too, so data.test scores rows that were trained on\n"
    );
}

/// Every command that reads data, by URL and by path.
#[cfg(feature = "object-store")]
#[test]
fn urls_train_the_same_model_as_paths() {
    let place = Place::new(common::CONFIG, 1, 1);
    place.write("config.toml", SYNTH);
    good(&place, &["synth", "--rows", "300", "--out", "train.parquet"]);
    good(&place, &["synth", "--rows", "200", "--seed", "2", "--out", "valid.csv"]);
    let url = format!("file://{}", place.path("").display());
    let url = url.trim_end_matches('/');
    // A relative path starts from the URL, a URL from nowhere, and a cache is on the disk in any case.
    let from_url = format!("data_dir={url}");
    let valid = format!("data.valid={url}/valid*.csv");
    let settings = ["--set", "data.train=train.parquet", "--set", "data.stream.mode=always"];
    let urls = [&settings[..], &["--set", &from_url, "--set", &valid]].concat();
    for (run, set) in [("paths", &settings[..]), ("urls", &urls[..])] {
        good(&place, &[&["train", "--quiet", "--config", "config.toml", "--run", run], set].concat());
    }
    assert_eq!(place.bytes("urls/schema.json"), place.bytes("paths/schema.json"));
    let predicted = |run: &str, data: &str| good(&place, &["predict", run, "--data", data, "--out", "-"]);
    let wanted = predicted("paths", "valid.csv");
    assert_eq!(predicted("urls", "valid.csv"), wanted);
    assert_eq!(predicted("urls", &format!("{url}/valid.csv")), wanted);
    let scores = |data: &str| good(&place, &["evaluate", "urls", "--data", data]);
    assert_eq!(scores(&format!("{url}/train.parquet")), scores("train.parquet"));
    let found = good(&place, &[&["prepare", "--config", "config.toml"], &urls[..]].concat());
    assert!(found.contains("train rows: 300, ") && found.contains(" MB, found in "), "{found}");
    let report = ["report", "urls", "--data", &format!("{url}/valid.csv"), "--out", "report.html"];
    good(&place, &report);
    let page = String::from_utf8(place.bytes("report.html")).unwrap();
    assert!(page.contains(&format!("{url}/valid.csv")));
    good(&place, &["init", &format!("{url}/valid.csv"), "--out", "by-url.toml"]);
    let checked = good(&place, &["check", "by-url.toml"]);
    assert!(checked.contains(&format!("{url}/valid.csv")), "{checked}");
    let error = bad(&place, &["init", &format!("{url}/none.csv"), "--out", "none.toml"]);
    assert!(error.starts_with(&format!("error: {url}/none.csv: no such object in file://")), "{error}");
}

#[cfg(not(feature = "object-store"))]
#[test]
fn urls_need_the_feature() {
    let place = Place::new(common::CONFIG, 1, 1);
    let train =
        ["train", "--config", "config.toml", "--run", "x", "--set", "data.train=s3://logs/part-*.parquet"];
    assert_eq!(
        bad(&place, &train),
        "error: s3://logs/part-*.parquet: this program was built without support for URLs; build it with \
         --features object-store, or copy the files to a disk"
    );
}
