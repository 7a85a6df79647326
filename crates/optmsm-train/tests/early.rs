//! Faults that a look at the data shows: found before the first pass, or said.

mod common;

use common::{CONFIG, Place, besides_the_model, code};

const TRAIN: [&str; 5] = ["train", "--config", "config.toml", "--run", "r"];

/// Rows of `label,scenario,user,tags,price`, and what may follow.
fn rows(count: usize, row: impl Fn(usize) -> String) -> String {
    (0..count).fold("label,scenario,user,tags,price,w\n".into(), |text, i| text + &row(i) + "\n")
}

fn ordinary(i: usize) -> String {
    format!("{},{},u{},{},{}.5,1", i % 2, ["home", "ads"][i / 2 % 2], i % 9, ["a|b", "c"][i % 2], i % 13)
}

/// The configuration with these lines in `[data]`.
fn with(lines: &str) -> String {
    CONFIG.replace("[data]", &format!("[data]\n{lines}"))
}

#[test]
fn one_label_is_found_before_the_first_pass() {
    let one = rows(40, |i| ordinary(2 * i));
    let split = CONFIG.replace("valid = \"valid.csv\"", "split = { valid = 0.4, test = 0 }");
    // The one row of label 1 falls into one part, and the other has none.
    let single = rows(40, |i| format!("{},home,u{},a,1.5,1", u8::from(i == 20), i % 9));
    let valid = "all 40 rows have the label 0, so that their AUC";
    let cases = [
        ("valid.csv", one.clone(), with(""), valid),
        ("valid.csv", one.clone(), with("stream = { mode = \"always\" }"), valid),
        (
            "valid.csv",
            rows(40, |i| ordinary(2 * i + 1)),
            with(""),
            "all 40 rows have the label 1, so that their AUC",
        ),
        ("train.csv", one.clone(), with(""), "`data.label`: is 0 in all 40 training rows"),
        (
            "train.csv",
            rows(40, |i| ordinary(2 * i + 1)),
            with("stream = { mode = \"always\" }"),
            "`data.label`: is 1 in all 40 training rows",
        ),
        ("train.csv", single, split, "label"),
        (
            "train.csv",
            rows(40, |i| ordinary(i).replace(",1\n", "") + "0").replace(".5,10", ".5,0"),
            with("weight = \"w\""),
            "`data.weight`: is 0 in all training rows;",
        ),
        (
            "train.csv",
            rows(40, |i| format!("{},{},u1,a,1.5,{}", i % 2, ["home", "ads"][i / 2 % 2], i % 2)),
            with("weight = \"w\""),
            "`data.weight`: is 0 in all training rows of label 0",
        ),
    ];
    for (file, text, config, wanted) in cases {
        let place = Place::empty();
        place.write("config.toml", &config);
        for name in ["train.csv", "valid.csv"] {
            place.write(name, rows(40, ordinary));
        }
        place.write(file, text);
        let stderr = code(&place.run(&TRAIN), 2);
        assert!(stderr.contains(wanted), "{wanted}: {stderr}");
        assert!(!place.path("r").exists() && !stderr.contains("epoch"), "{stderr}");
        let stderr = code(&place.run(&["check", "config.toml"]), 0);
        assert!(stderr.contains(wanted), "check: {stderr}");
    }
}

#[test]
fn comparisons_and_searches_find_it_as_well_and_log_loss_goes_on() {
    let place = Place::empty();
    place.write(
        "config.toml",
        with("test = \"valid.csv\"")
            + "\n[tune]\ntrials = 2\n\"train.optimizer.lr\" = { log = [1e-3, 1e-2] }\n",
    );
    place.write("train.csv", rows(40, ordinary));
    place.write("valid.csv", rows(40, |i| ordinary(2 * i)));
    for command in ["compare", "tune"] {
        let stderr = code(&place.run(&[command, "config.toml", "--out", "o"]), 2);
        assert!(stderr.contains("all 40 rows have the label 0") && !stderr.contains("epoch"), "{stderr}");
        std::fs::remove_dir_all(place.path("o")).unwrap();
    }
    let stderr = code(&place.run(&[&TRAIN[..], &["--set", "train.monitor=log_loss"]].concat()), 0);
    assert!(stderr.contains("warning: valid.csv: all 40 rows have the label 0"), "{stderr}");
    let stderr = code(&place.run(&["train", "--resume", "--run", "r", "--set", "train.monitor=auc"]), 2);
    assert!(stderr.contains("all 40 rows have the label 0"), "{stderr}");
}

/// Runs every command that reads other rows than those of training, and returns what each said of the vocabulary.
fn said(place: &Place, data: &str) -> [Vec<String>; 4] {
    let evaluate = ["evaluate", "r", "--data", data];
    let predict = ["predict", "r", "--data", data, "--out", "-"];
    let set = format!("data.valid={data}");
    let check = ["check", "config.toml", "--set", &set];
    let train =
        [&["train", "--config", "config.toml", "--run", "again", "-q", "--set"][..], &[&set]].concat();
    let said = |args: &[&str]| {
        let out = place.run(args);
        assert!(!String::from_utf8_lossy(&out.stdout).contains("warning"));
        let lines = besides_the_model(&code(&out, 0));
        lines.lines().filter(|line| line.contains(" of ")).map(String::from).collect()
    };
    let found = [&evaluate[..], &predict, &check, &train].map(said);
    std::fs::remove_dir_all(place.path("again")).unwrap();
    found
}

#[test]
fn values_that_training_never_had_are_said_once_a_field() {
    let place = Place::new(&with("unseen_scenario = \"oov\"").replace("epochs = 3", "epochs = 1"), 64, 9);
    code(&place.run(&[&TRAIN[..], &["-q"]].concat()), 0);
    let capital = |i: usize| format!("{},home,U{},a,1.5", i % 2, i % 9);
    let other = |i: usize| format!("{},home,x{i},a,1.5", i % 2);
    let lists = |i: usize| format!("{},home,u1,a|Q|R|S,1.5", i % 2);
    let scenario = |i: usize| format!("{},Home,u1,a,1.5", i % 2);
    let half = |i: usize| format!("{},home,{},a,1.5", i % 2, ["u1", "new"][i / 2 % 2]);
    let less = |i: usize| format!("{},home,{},a,1.5", i % 2, ["u1", "u2", "new"][i / 2 % 3]);
    let plain = |count, row: &dyn Fn(usize) -> String| rows(count, row).replace(",w\n", "\n");
    let cases: [(&str, String, Option<&str>); 7] = [
        (
            "capital",
            plain(40, &capital),
            Some(
                "100.0 % of 40 values of field 'user' are out of vocabulary, such as \"U0\", which training has as \"u0\"",
            ),
        ),
        (
            "other",
            plain(40, &other),
            Some(
                "100.0 % of 40 values of field 'user' are out of vocabulary, such as \"x0\", where training has values such as \"u",
            ),
        ),
        (
            "lists",
            plain(40, &lists),
            Some("75.0 % of 160 values of field 'tags' are out of vocabulary, such as \"Q\", where"),
        ),
        (
            "scenario",
            plain(40, &scenario),
            Some(
                "100.0 % of 40 rows are of scenarios that training never saw, such as \"Home\", which training has as \"home\"",
            ),
        ),
        ("half", plain(40, &half), Some("50.0 % of 40 values of field 'user'")),
        ("less", plain(42, &less), None),
        ("few", plain(18, &other), None),
    ];
    for (name, text, wanted) in cases {
        let file = format!("{name}.csv");
        place.write(&file, text);
        for said in said(&place, &file) {
            assert_eq!(said.len(), usize::from(wanted.is_some()), "{name}: {said:?}");
            if let Some(wanted) = wanted {
                assert!(said[0].starts_with(&format!("warning: {file}: {wanted}")), "{name}: {}", said[0]);
            }
        }
    }
}

#[test]
fn what_training_leaves_out_itself_is_measured_by_that() {
    // Every second value of training is too rare to be kept.
    let row = |i: usize| {
        format!("{},home,{},a,1.5,1", i / 2 % 2, if i % 2 == 1 { format!("rare{i}") } else { "often".into() })
    };
    let place = Place::empty();
    let config = CONFIG
        .replace("name = \"user\"", "name = \"user\"\nmin_frequency = 5")
        .replace("epochs = 3", "epochs = 1");
    place.write("config.toml", config);
    place.write("train.csv", rows(80, row));
    place.write("valid.csv", rows(40, row));
    // Three of four, where half of a half is the bound; and a little less.
    let lost = |of: usize| rows(80, |i| row(if i % of == 0 { 0 } else { 2 * i + 1 }));
    for (name, text, warnings) in [("same", rows(40, row), 0), ("lost", lost(4), 1), ("less", lost(3), 0)] {
        let file = format!("{name}.csv");
        place.write(&file, text);
        if !place.path("r").exists() {
            let stderr = code(&place.run(&[&TRAIN[..], &["-q"]].concat()), 0);
            assert_eq!(besides_the_model(&stderr), "");
        }
        for said in said(&place, &file) {
            assert_eq!(said.len(), warnings, "{name}: {said:?}");
        }
    }
}

#[test]
fn a_field_that_knows_the_outcome_is_named() {
    type Known<'a> = (&'a str, &'a str, &'a dyn Fn(usize) -> String);
    let known: [Known; 3] = [
        ("user", "", &|i| format!("{},home,{},a,{}.5,1", i % 2, ["no", "yes"][i % 2], i % 13)),
        ("tags", "", &|i| format!("{},home,u{},{},{}.5,1", i % 2, i / 2 % 9, ["", "bought"][i % 2], i % 13)),
        ("price", "stream = { mode = \"always\" }", &|i| {
            format!("{},home,u{},a,{},1", i % 2, i / 2 % 9, [0, 100][i % 2])
        }),
    ];
    for (field, lines, row) in known {
        let place = Place::empty();
        place.write(
            "config.toml",
            with(lines).replace("epochs = 3", "epochs = 40").replace("patience = 9", "patience = 99"),
        );
        place.write("train.csv", rows(200, row));
        place.write("valid.csv", rows(60, row));
        let stderr = code(&place.run(&["check", "config.toml"]), 0);
        assert!(
            stderr.contains(&format!("field '{field}' alone gives an AUC of 1.0000")),
            "{field}: {stderr}"
        );
        let stderr = code(&place.run(&[&TRAIN[..], &["-q"]].concat()), 0);
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("the validation AUC is")).collect();
        assert!(
            lines.len() == 1 && lines[0].contains(&format!("field '{field}' alone gives 1.0000")),
            "{field}: {stderr}"
        );
    }
    let place = Place::new(CONFIG, 64, 10);
    let stderr = code(&place.run(&["check", "config.toml"]), 0);
    assert!(!stderr.contains("alone"), "{stderr}");
}

#[test]
fn more_scenarios_than_experts_are_named_as_that() {
    let place = Place::empty();
    let many = rows(1100, |i| format!("{},s{i},u1,a,1.5,1", i % 2));
    place.write("train.csv", &many);
    place.write("valid.csv", many);
    let config = CONFIG.replace("valid = ", "scenario = \"scenario\"\nvalid = ");
    let cases = [
        (config.clone(), "set model.experts.count = 8"),
        (config.replace("[model]", "[model]\ncombine = \"select\""), "model.combine = \"gate\""),
    ];
    for (text, fix) in cases {
        place.write("config.toml", text);
        for args in [&TRAIN[..], &["check", "config.toml"]] {
            let stderr = code(&place.run(args), 2);
            assert!(
                stderr.contains("config.toml line 4 column 12, `data.scenario`: has 1100 scenarios"),
                "{stderr}"
            );
            assert!(stderr.contains(fix), "{stderr}");
        }
    }
    code(
        &place.run(&[
            "check",
            "config.toml",
            "--set",
            "model.combine=\"gate\"",
            "--set",
            "model.experts.count=8",
        ]),
        0,
    );
}

#[test]
fn fields_are_set_by_name_or_number() {
    let dotted = "[[data.fields]]\nname = \"price.log\"\ncolumn = \"price\"\nkind = \"numeric\"\n\n[model]";
    let place = Place::new(&CONFIG.replace("[model]", dotted), 64, 9);
    let check = |set: &str, wanted: i32| code(&place.run(&["check", "config.toml", "--set", set]), wanted);
    for set in [
        "data.fields.price.transform=log1p",
        "data.fields.price.log.transform=\"minmax\"",
        "data.fields[0].min_frequency=2",
        "data.fields.tags.pooling = \"sum\"",
        "data.fields.user={ name = \"user\", hash_buckets = 3 }",
        "model.experts.hidden[1]=6",
    ] {
        check(set, 0);
    }
    let cases = [
        ("data.fields.prise.transform=log1p", "nothing in the list is named 'prise'; did you mean 'price'?"),
        ("data.fields.zz=1", "nothing in the list is named 'zz'; known names: user, tags, price, price.log"),
        ("data.fields[4].kind=multi", "nothing in the list is named '[4]'"),
        ("data.fields[x].kind=multi", "nothing in the list is named '[x]'"),
        ("data.fields.price.transfrom=log1p", "unknown key 'transfrom'; did you mean 'transform'?"),
        ("data.fields.price.kind.x=1", "'x' is inside a value"),
        ("model.experts.hidden[2]=6", "give an index below 2"),
        // An error of the whole names what was set, however that named the field.
        (
            "data.fields[2].separator=;",
            "--set data.fields[2].separator=;, `data.fields.price.separator`: means something",
        ),
        (
            "data.fields.price.separator=;",
            "--set data.fields.price.separator=;, `data.fields.price.separator`: means",
        ),
        ("data.fields.user.ids=0", "--set data.fields.user.ids=0, `data.fields.user.ids`: must be from 1"),
        ("[0]=1", "is no key"),
        ("train.=1", "is no key"),
    ];
    for (set, wanted) in cases {
        let stderr = check(set, 2);
        assert!(stderr.contains(wanted) && stderr.contains(&format!("--set {set}")), "{set}: {stderr}");
    }
}
