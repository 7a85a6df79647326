//! How a file is read, said to the program: files that are written otherwise than those of training.

mod common;

use common::{Place, SYNTH, bad, good};

#[test]
fn a_run_scores_files_that_are_written_otherwise() {
    let place = Place::empty();
    place.write("config.toml", SYNTH.replace("train.csv", "train.parquet"));
    for (name, rows) in [("train.parquet", "400"), ("valid.csv", "100")] {
        good(&place, &["synth", "--rows", rows, "--out", name]);
    }
    good(&place, &["train", "--quiet", "--config", "config.toml", "--run", "r", "--set", "train.epochs=1"]);
    let csv = place.text("valid.csv");
    let (header, rows) = csv.split_once('\n').unwrap();
    let names: Vec<String> = header.split(',').map(|name| format!("{name:?}")).collect();
    let names = format!("data.columns=[{}]", names.join(", "));
    place.write("valid.tsv", csv.replace(',', "\t"));
    place.write("quotes.csv", csv.replace(',', ";"));
    place.write("bare.csv", rows);
    place.write("bare.tsv", rows.replace(',', "\t"));
    let tab = "data.delimiter=\"\\t\"";
    let wanted = good(&place, &["evaluate", "r", "--data", "valid.csv"]);
    let predict = |data: &str, set: &[&str]| {
        let args = [&["predict", "r", "--data", data, "--out", "p.csv"], set].concat();
        good(&place, &args);
        let text = place.text("p.csv");
        (
            text.lines().count(),
            text.lines().last().unwrap().rsplit([',', '\t', ';']).next().unwrap().to_owned(),
        )
    };
    let (lines, last) = predict("valid.csv", &[]);
    assert_eq!(lines, 101);
    for (data, set, lines) in [
        ("valid.tsv", &["--set", tab][..], 101),
        ("quotes.csv", &["--set", "data.delimiter=;", "--set", "data.quoting=none"], 101),
        ("bare.csv", &["--set", &names], 100),
        ("bare.tsv", &["--set", &names, "--set", tab], 100),
        ("valid.csv", &["--set", &names], 101), // a header that says the same
    ] {
        assert_eq!(good(&place, &[&["evaluate", "r", "--data", data], set].concat()), wanted, "{data}");
        assert_eq!(predict(data, set), (lines, last.clone()), "{data}");
    }
    for key in ["train.seed=2", "data.label=click", "data.fields=[]"] {
        let fix = "here only how the file is read can be set: data.delimiter, data.quoting, data.columns, \
                   data.null_values, data.label_values";
        let name = key.split('=').next().unwrap();
        let wanted = format!("error: --set {key}: '{name}' is that of training; {fix}");
        assert_eq!(bad(&place, &["evaluate", "r", "--data", "valid.csv", "--set", key]), wanted);
        let args = ["predict", "r", "--data", "valid.csv", "--out", "q.csv", "--set", key];
        assert_eq!((bad(&place, &args), place.path("q.csv").exists()), (wanted, false));
    }
    let error = bad(&place, &["evaluate", "r", "--data", "valid.csv", "--set", "data.quoting=\"loose\""]);
    assert!(error.contains("loose") && error.contains("`strict`, `standard`, `none`"), "{error}");
}

#[test]
fn a_file_without_a_header_is_started_trained_and_scored() {
    let place = Place::empty();
    let row =
        |i: usize| format!("{},{},u{},{}\n", i * i % 5 % 2, ["home", "ads", "mail"][i % 3], i % 17, i % 11);
    place.write("rows.csv", (0..300).map(row).collect::<String>());
    let error = bad(&place, &["init", "rows.csv", "--out", "my.toml"]);
    let start = "error: rows.csv line 1: looks like a row, not like a header: ";
    assert!(error.starts_with(start) && error.contains("optmsm init --no-header"), "{error}");
    let named = ["--label", "c1", "--scenario", "c2"];
    good(&place, &[&["init", "rows.csv", "--no-header", "--out", "my.toml"], &named[..]].concat());
    assert!(
        place.text("my.toml").contains("columns = [\"c1\", \"c2\", \"c3\", \"c4\"]\n"),
        "{}",
        place.text("my.toml")
    );
    good(&place, &["train", "--quiet", "--config", "my.toml", "--run", "r", "--set", "train.epochs=1"]);
    good(&place, &["predict", "r", "--data", "rows.csv", "--out", "p.csv"]);
    let (rows, predicted) = (place.text("rows.csv"), place.text("p.csv"));
    assert_eq!(predicted.lines().count(), 300);
    assert!(rows.lines().zip(predicted.lines()).all(|(row, line)| line.starts_with(&format!("{row},0."))));
    // A file of the same columns with a header, in another order.
    let turned = |line: &str| line.split(',').rev().collect::<Vec<_>>().join(",") + "\n";
    place.write("headed.csv", format!("c4,c3,c2,c1\n{}", rows.lines().map(turned).collect::<String>()));
    let wanted = good(&place, &["evaluate", "r", "--data", "rows.csv"]);
    assert_eq!(good(&place, &["evaluate", "r", "--data", "headed.csv", "--set", "data.columns=[]"]), wanted);
}

#[test]
fn a_prediction_that_is_no_number_is_an_error_that_names_the_row() {
    let place = Place::empty();
    let config = "[data]\ntrain = \"train.csv\"\n[[data.fields]]\nname = \"x\"\nkind = \"numeric\"\ntransform = \"none\"\n\
                  [[data.fields]]\nname = \"tags\"\nkind = \"multi\"\nweight_separator = \":\"\npooling = \"sum\"\n\
                  [train]\nbatch_size = 32\nepochs = 6\noptimizer = { lr = 0.3 }\n";
    let text = |other: &dyn Fn(usize) -> Option<&'static str>| {
        let row = |i: usize| {
            let usual = format!("{}.5,a:0.5|b:{}", i % 7, i % 3);
            let values = other(i + 1).map_or(usual, str::to_owned);
            format!("{},{},{values}\n", i * i % 5 % 2, ["home", "ads"][i % 2])
        };
        "label,scenario,x,tags\n".to_owned() + &(0..200).map(row).collect::<String>()
    };
    place.write("config.toml", config);
    place.write("train.csv", text(&|_| None));
    good(&place, &["train", "--quiet", "--config", "config.toml", "--run", "r"]);
    good(&place, &["predict", "r", "--data", "train.csv", "--out", "p.csv"]);
    for (row, values, what) in [
        (3, "3e38,a:1|b:2", "column 'x' is 3e38"),
        (77, "-3e38,a", "column 'x' is -3e38"),
        (200, "1,a:3e38|b:-3e38", "a weight in the lists of column 'tags' is 3e38"),
    ] {
        place.write("rows.csv", text(&|i| (i == row).then_some(values)));
        let wanted = format!(
            "error: rows.csv: the prediction of row {row} is NaN: {what}, too large for 32-bit sums; \
             fix the row, or train with a transform that bounds its numbers"
        );
        assert_eq!(bad(&place, &["evaluate", "r", "--data", "rows.csv"]), wanted);
        for out in ["q.csv", "q.parquet"] {
            assert_eq!(bad(&place, &["predict", "r", "--data", "rows.csv", "--out", out]), wanted);
            assert!(!place.path(out).exists());
        }
    }
}
