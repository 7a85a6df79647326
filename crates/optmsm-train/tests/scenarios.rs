//! Settings with a number for each scenario.

mod common;

use common::{CONFIG, Place, bad, code, good};

/// The configuration with these lines in `[data]`.
fn with(lines: &str) -> String {
    CONFIG.replace("[data]", &format!("[data]\n{lines}"))
}

/// Rows of which three in four are of `home`, with what `weight` gives a row of a scenario.
fn rows(count: usize, weight: impl Fn(&str) -> f32) -> String {
    let row = |i: usize| {
        let scenario = if i % 4 == 3 { "ads" } else { "home" };
        let (user, tags) = (i * 7 % 9, ["a|b", "", "c"][i % 3]);
        let label = u8::from((user + i % 5).is_multiple_of(3));
        format!("{label},{scenario},u{user},{tags},{}.5,{}\n", i % 13, weight(scenario))
    };
    (0..count).fold("label,scenario,user,tags,price,w\n".into(), |text, i| text + &row(i))
}

/// Tensors of a checkpoint, without what the file says of itself.
fn tensors(place: &Place, run: &str) -> Vec<(String, Vec<u8>)> {
    let file = place.bytes(&format!("{run}/checkpoints/last.safetensors"));
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut found: Vec<_> = tensors.iter().map(|(name, t)| (name.to_string(), t.data().to_vec())).collect();
    found.sort();
    found
}

/// 64 rows, 48 of home and 16 of ads: equal weights are 32/48 and 32/16.
#[test]
fn equal_scenarios_train_as_the_same_weights_in_a_column_would() {
    let place = Place::empty();
    place.write("valid.csv", rows(40, |_| 1.0));
    let train = |run: &str, file: String, lines: &str| {
        place.write("train.csv", file);
        place.write("config.toml", with(lines));
        code(&place.run(&["train", "--config", "config.toml", "--run", run]), 0)
    };
    let weight = |scenario: &str| if scenario == "ads" { 2.0 } else { 32.0 / 48.0 };
    train("column", rows(64, weight), "weight = \"w\"");
    let said = train("equal", rows(64, |_| 1.0), "scenario_weights = \"equal\"");
    // Σ w = 64 and Σ w² = 48·4/9 + 16·4 = 85⅓, so (Σ w)² / Σ w² = 48.
    assert!(said.contains("64 training rows count as 48 of one weight"), "{said}");
    train("plain", rows(64, |_| 1.0), "");
    assert_eq!(tensors(&place, "column"), tensors(&place, "equal"));
    assert_ne!(tensors(&place, "plain"), tensors(&place, "equal"));

    let disk = "stream = { mode = \"always\" }";
    train("disk column", rows(64, weight), &format!("{disk}\nweight = \"w\""));
    train("disk", rows(64, |_| 1.0), &format!("{disk}\nscenario_weights = \"equal\""));
    assert_eq!(tensors(&place, "disk column"), tensors(&place, "disk"));

    // On top of the rows' own weights.
    let named = "weight = \"w\"\nscenario_weights = { ads = 4 }";
    train("named", rows(64, |s| if s == "ads" { 0.5 } else { 1.5 }), named);
    train("product", rows(64, |s| if s == "ads" { 2.0 } else { 1.5 }), "weight = \"w\"");
    assert_eq!(tensors(&place, "named"), tensors(&place, "product"));

    // A run goes on with other weights.
    let args = ["train", "--resume", "--run", "product", "--set", "train.epochs=4", "--set"];
    let set = "data.scenario_weights={ home = 0.5, ads = 4 }";
    let said = code(&place.run(&[&args[..], &[set]].concat()), 0);
    assert!(said.contains("data.scenario_weights.ads: not set → 4.0"), "{said}");
}

#[test]
fn check_says_effective_rows_by_scenario() {
    let place = Place::empty();
    place.write("train.csv", rows(64, |scenario| if scenario == "ads" { 1.0 } else { 2.0 }));
    place.write("valid.csv", rows(40, |_| 1.0));
    place.write("config.toml", with("weight = \"w\"\nscenario_weights = { ads = 3 }"));
    let found: serde_json::Value =
        serde_json::from_str(&good(&place, &["check", "config.toml", "--json"])).unwrap();
    let of = |i: usize, key: &str| found["scenarios"][i][key].as_f64().unwrap();
    assert_eq!([of(0, "rows"), of(0, "weight"), of(0, "effective_rows")], [16.0, 48.0, 16.0]);
    assert_eq!([of(1, "rows"), of(1, "weight"), of(1, "effective_rows")], [48.0, 96.0, 48.0]);
    let text = good(&place, &["check", "config.toml"]);
    assert!(text.contains("effective rows"), "{text}");
}

#[test]
fn weights_that_cannot_be_are_said_before_anything_is_written() {
    let place = Place::new(&with(""), 64, 9);
    let cases = [
        (
            "{ hom = 1.0 }",
            "`data.scenario_weights.hom`: is no scenario of the training rows; name one of \"ads\", \"home\"",
        ),
        ("{ home = 0 }", "`data.scenario_weights.home`: must be above 0 and at most 1000000, got 0"),
        ("{ home = nan }", "`data.scenario_weights.home`: must be above 0"),
        ("{ home = inf }", "`data.scenario_weights.home`: must be above 0"),
        ("\"equally\"", "\"equal\" or a table with a weight by scenario is wanted"),
        ("{ home = \"much\" }", "\"equal\" or a table with a weight by scenario is wanted"),
    ];
    for (value, wanted) in cases {
        place.write("config.toml", with(&format!("scenario_weights = {value}")));
        for args in [&["train", "--config", "config.toml", "--run", "r"][..], &["check", "config.toml"]] {
            let said = bad(&place, args);
            assert!(said.contains(wanted) && said.contains("config.toml line"), "{said}");
        }
        assert!(!place.path("r").exists());
    }
}

#[test]
fn a_search_may_change_them() {
    let place = Place::new(
        &(with("") + "\n[tune]\ntrials = 3\n\"data.scenario_weights\" = { choices = [\"equal\"] }\n"),
        64,
        9,
    );
    good(&place, &["tune", "config.toml", "--out", "o"]);
    let trials = place.text("o/trials.jsonl");
    assert!(trials.contains("data.scenario_weights") && trials.contains("equal"), "{trials}");
}
