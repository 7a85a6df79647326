//! Synthetic worlds as a user meets them: files and a configuration that trains.

mod common;

use common::{Place, bad, good};

const FILES: [&str; 4] = ["train.csv", "valid.csv", "test.csv", "many.toml"];

#[test]
fn a_folder_trains_as_it_is() {
    let place = Place::empty();
    let said = good(&place, &["synth", "--world", "small", "--rows", "3000", "--dir", "a \"b\"/c"]);
    let config = "a \"b\"/c/small.toml";
    assert_eq!(said, format!("{config}: next, optmsm check {config}, optmsm train --config {config}\n"));
    // From another folder, too.
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let train =
        ["train", "--quiet", "--config", &format!("../{config}"), "--set", "train.epochs=2", "--run", "r"];
    let out = place.run_in("elsewhere", &train);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let table = String::from_utf8(out.stdout).unwrap();
    // The scenarios, and the ceiling that the true probabilities give.
    for word in ["home", "search", "new", "ceiling"] {
        assert!(table.contains(word), "no {word}: {table}");
    }
}

#[test]
fn a_folder_has_the_rows_of_a_file() {
    let place = Place::empty();
    let args = ["synth", "--world", "many", "--rows", "404", "--seed", "7", "--users", "50", "--items", "20"];
    good(&place, &[&args[..], &["--out", "all.csv"]].concat());
    good(&place, &[&args[..], &["--dir", "."]].concat());
    let whole = place.text("all.csv");
    let header = whole.lines().next().unwrap();
    let mut rows = Vec::new();
    for (file, count) in [("train.csv", 324), ("valid.csv", 40), ("test.csv", 40)] {
        let part = place.text(file);
        assert_eq!((part.lines().next(), part.lines().count() - 1), (Some(header), count));
        rows.extend(part.lines().skip(1).map(str::to_owned));
    }
    assert_eq!(rows, whole.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn nothing_is_written_over_or_left_behind() {
    let place = Place::empty();
    let args = ["synth", "--world", "many", "--rows", "50", "--dir", "w"];
    for file in FILES {
        std::fs::create_dir(place.path("w")).unwrap();
        place.write(&format!("w/{file}"), "mine");
        let wanted = format!("error: w/{file}: is there already; write to another folder, or remove it");
        assert_eq!(bad(&place, &args), wanted);
        let there: Vec<_> = std::fs::read_dir(place.path("w")).unwrap().collect();
        assert_eq!((there.len(), place.text(&format!("w/{file}")).as_str()), (1, "mine"));
        std::fs::remove_dir_all(place.path("w")).unwrap();
    }
    place.write("w", "a file");
    assert!(bad(&place, &args).starts_with("error: w: cannot be written: "));
    assert_eq!(place.text("w"), "a file");
    let few = bad(&place, &["synth", "--rows", "9", "--dir", "few"]);
    assert_eq!(few, "error: --rows 9: is below 10; a tenth of them validates, another one tests");
    assert!(!place.path("few").exists());
}

#[test]
fn arguments_that_cannot_be() {
    let place = Place::empty();
    for (args, wanted) in [
        (&["synth", "--rows", "9"][..], "<--out <OUT>|--dir <FOLDER>>"),
        (&["synth", "--out", "a.csv", "--dir", "b"], "cannot be used with"),
        (&["synth", "--dir", "b", "--format", "csv"], "cannot be used with"),
        (&["synth", "--world", "tem", "--dir", "b"], "'ten'"),
    ] {
        let message = bad(&place, args);
        assert!(message.contains(wanted), "{args:?}: {message}");
    }
    assert!(!place.path("b").exists());
}

#[test]
fn help_says_what_the_worlds_are() {
    let help = good(&Place::empty(), &["synth", "--help"]);
    for world in optmsm_data::SynthWorld::ALL {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("- {}:", world.name())));
        assert!(line.is_some_and(|line| line.ends_with(world.about())), "{help}");
    }
}

/// Warnings about the gate among the findings.
fn of_the_gate(findings: &serde_json::Value) -> usize {
    let found = findings.as_array().unwrap().iter();
    found.filter(|f| f["place"] == "Gate by scenario" && f["what"].as_str().unwrap().contains("even")).count()
}

#[test]
fn a_gate_that_nothing_needs_is_warned_of() {
    let place = Place::empty();
    good(
        &place,
        &["synth", "--world", "alike", "--rows", "2000", "--users", "50", "--items", "20", "--dir", "w"],
    );
    let args = ["train", "--quiet", "--json", "--config", "w/alike.toml", "--set", "train.epochs=1"];
    let out = place.run(&[&args[..], &["--run", "r"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let done: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(of_the_gate(&done["findings"]), 1, "{}", done["findings"]);
    let said = String::from_utf8(out.stderr).unwrap();
    let warnings = said.lines().filter(|line| line.starts_with("warning: ")).count();
    assert_eq!(warnings, done["findings"].as_array().unwrap().len(), "{said}");
    assert!(said.contains("warning: Gate by scenario: the weights are nearly even in all rows"), "{said}");

    // The report says the same of the same rows, and nothing of a gate that there is not.
    let select = ["--set", "model.combine=select", "--set", "model.experts.count=4", "--run", "s"];
    let out = place.run(&[&args[..], &select].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    good(&place, &["report", "r", "s", "--out", "r.html", "--json", "r.json"]);
    let runs: serde_json::Value = serde_json::from_str(&place.text("r.json")).unwrap();
    assert_eq!((&runs[0]["findings"], of_the_gate(&runs[1]["findings"])), (&done["findings"], 0));
    assert!(place.text("r.html").contains("<h2>Warnings about the model</h2>"));
}
