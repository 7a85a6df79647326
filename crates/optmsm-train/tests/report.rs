//! `optmsm report`: its numbers against others' ways to get them, hostile names, and the page in a real browser.

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use common::{CONFIG, Place};
use optmsm_train::checkpoint::sha256;
use serde_json::Value;

/// Would leave a cell, an attribute and a script, and change the title, if it were not escaped.
const EVIL: &str = "</td></title><script>document.title=\"x\"</script>'&首页";
const RUN: &str = "a <b>&'run";
const HEADINGS: [&str; 12] = [
    "Comparison",
    "Training",
    "Calibration",
    "ROC",
    "Warnings about the model",
    "Experts apart",
    "Outputs of the experts by scenario",
    "Gate by scenario",
    "Generated weights by scenario",
    "Vocabularies",
    "Settings",
    "Files",
];

/// Two runs of one configuration, whose scenario `home` has the hostile name.
fn runs() -> Place {
    let place = Place::new(CONFIG, 100, 11);
    let evil = format!("\"{}\"", EVIL.replace('"', "\"\""));
    for file in ["train.csv", "valid.csv"] {
        let text = String::from_utf8(place.bytes(file)).unwrap();
        place.write(file, text.replace(",home,", &format!(",{evil},")));
    }
    let mut text = "price,label,scenario,user,tags\n".to_string();
    for (price, label, scenario, user, tags) in rows() {
        let scenario = if scenario == EVIL { &evil } else { scenario };
        text += &format!("{price},{label},{scenario},{user},{tags}\n");
    }
    place.write("data.csv", text);
    train(&place, RUN, &["--set", "train.seed=1"]);
    train(&place, "other", &["--set", "train.seed=2", "--set", "model.combine=select"]);
    place
}

fn train(place: &Place, run: &str, more: &[&str]) {
    let out = place.run(&[&["train", "--quiet", "--config", "config.toml", "--run", run], more].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// 60 rows: price, label, scenario, user, tags.
fn rows() -> Vec<(String, u8, &'static str, String, &'static str)> {
    let row = |i: usize| {
        let price = if i.is_multiple_of(6) { String::new() } else { format!("{}.5", i % 13) };
        let user = if i.is_multiple_of(5) { "new".into() } else { format!("u{}", i % 8) };
        let (scenario, tags) = ([EVIL, "ads", "ads"][i % 3], ["a|b", "", "c|?", "b"][i % 4]);
        (price, u8::from(i * 7 % 5 < 2), scenario, user, tags)
    };
    (0..60).map(row).collect()
}

/// The page, and the numbers.
fn report(place: &Place, args: &[&str]) -> (String, Value) {
    let out = place.run(&[&["report"], args, &["--out", "r.html", "--json", "r.json"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "report: r.html\n");
    let page = String::from_utf8(place.bytes("r.html")).unwrap();
    let numbers: Value = serde_json::from_slice(&place.bytes("r.json")).unwrap();
    let block = page.split("id=\"numbers\">").nth(1).unwrap().split("</script>").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(block).unwrap(), numbers);
    (page, numbers)
}

fn f(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v}"))
}

/// Share of (negative, positive) pairs in the right order, a tie counting half.
fn pairs(rows: &[(f64, f64)]) -> f64 {
    let of = |y: f64| rows.iter().filter(move |r| r.1 == y).map(|r| r.0);
    let right = of(1.0).flat_map(|p| of(0.0).map(move |n| if p > n { 1.0 } else { f64::from(p == n) / 2.0 }));
    right.sum::<f64>() / (of(1.0).count() * of(0.0).count()) as f64
}

/// A run's exhibit of this title.
fn exhibit<'a>(of: &'a Value, title: &str) -> Option<&'a Value> {
    of["exhibits"].as_array().unwrap().iter().find(|e| e["title"] == title)
}

#[test]
fn numbers_are_those_of_the_predictions_and_of_the_file() {
    let place = runs();
    let (page, numbers) = report(&place, &[RUN, "other", "--data", "data.csv"]);
    let data = rows();
    for (run, of) in [RUN, "other"].into_iter().zip(numbers.as_array().unwrap()) {
        let out = place.run(&["predict", run, "--data", "data.csv", "--out", "p.csv"]);
        assert!(out.status.success());
        let mut file = csv::Reader::from_path(place.path("p.csv")).unwrap();
        let p: Vec<f64> = file.records().map(|r| f64::from(r.unwrap()[5].parse::<f32>().unwrap())).collect();
        assert_eq!((of["run"].as_str(), of["data"].as_str()), (Some(run), Some("data.csv")));
        let names = ["all", EVIL, "ads"];
        for name in names {
            let set = match name {
                "all" => &of["overall"],
                name => of["scenarios"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap(),
            };
            let own = data.iter().zip(&p).filter(|(row, _)| name == "all" || row.2 == name);
            let own: Vec<(f64, f64)> = own.map(|(row, &p)| (p, f64::from(row.1))).collect();
            let (n, [sum_p, sum_y]) =
                (own.len() as f64, [0, 1].map(|i| own.iter().map(|r| [r.0, r.1][i]).sum::<f64>()));
            assert_eq!((f(&set["rows"]), f(&set["positives"])), (n, sum_y));
            let auc = pairs(&own);
            assert!((f(&set["auc"]) - auc).abs() < 1e-12);
            assert!(page.contains(&format!("<bdi>{auc:.4}</bdi>")), "AUC of {name}");
            assert!((f(&set["calibration"]) - sum_p / sum_y).abs() < 1e-12);
            let bins = set["bins"].as_array().unwrap();
            let total = |key: &str| bins.iter().map(|b| f(&b["rows"]) * f(&b[key])).sum::<f64>();
            assert_eq!((bins.len(), bins.iter().map(|b| f(&b["rows"])).sum::<f64>()), (15, n));
            assert!((total("predicted") - sum_p).abs() < 1e-9 && (total("observed") - sum_y).abs() < 1e-9);
            let gaps = bins.iter().map(|b| f(&b["rows"]) * (f(&b["predicted"]) - f(&b["observed"])).abs());
            assert!((gaps.sum::<f64>() / n - f(&set["ece"])).abs() < 1e-12);
            let roc: Vec<[f64; 2]> = serde_json::from_value(set["roc"].clone()).unwrap();
            let area = roc.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum::<f64>();
            assert!((area - auc).abs() < 1e-12, "{area} {auc}");
        }

        let users: HashSet<_> = data.iter().filter(|r| r.3 != "new").map(|r| &r.3).collect();
        let count = |of: &dyn Fn(&str) -> usize| data.iter().map(|r| of(r.4)).sum::<usize>() as u64;
        let coverage = |i: usize, key: &str| of["coverage"][i][key].as_u64();
        let of_field =
            |i: usize| ["vocabulary", "seen", "values", "unknown", "missing"].map(|key| coverage(i, key));
        assert_eq!(of_field(0), [Some(11), Some(users.len() as u64), Some(60), Some(12), Some(0)]);
        let values = count(&|tags| tags.split('|').filter(|t| !t.is_empty()).count());
        let (unknown, missing) =
            (count(&|tags| tags.matches('?').count()), count(&|tags| usize::from(tags.is_empty())));
        assert_eq!(of_field(1), [3, 3, values, unknown, missing].map(Some));
        assert_eq!(of_field(2), [None, None, Some(60), None, Some(10)]);

        let file = |role: &str| of["files"].as_array().unwrap().iter().find(|f| f["role"] == role).unwrap();
        for (role, path) in
            [("data.train", "train.csv"), ("data.valid", "valid.csv"), ("scored here", "data.csv")]
        {
            let bytes = place.bytes(path);
            assert_eq!(file(role)["bytes"], bytes.len());
            assert_eq!(file(role)["sha256"], sha256([bytes]));
        }
        let generated = exhibit(of, "Generated weights by scenario").unwrap();
        assert_eq!(
            generated["columns"].as_array().unwrap().len(),
            4,
            "weights and bias of a hidden layer and the last"
        );
        assert_eq!(
            (generated["rows"].as_array().unwrap().len(), &generated["by_scenario"]),
            (2, &Value::Bool(true))
        );
        let lines = String::from_utf8(place.bytes(&format!("{run}/metrics.jsonl"))).unwrap();
        let line = |line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("crc32");
            line
        };
        assert_eq!(of["history"], lines.lines().map(line).collect::<Value>());
    }
    let gates = exhibit(&numbers[0], "Gate by scenario").unwrap()["values"].clone();
    let gates: Vec<Vec<f64>> = serde_json::from_value(gates).unwrap();
    assert!(
        gates.len() == 2 && gates.iter().all(|g| g.len() == 2 && (g.iter().sum::<f64>() - 1.0).abs() < 1e-5)
    );
    assert_eq!(exhibit(&numbers[1], "Gate by scenario"), None);
    assert!(page.contains("This model has none."));
    let differs = page.split("Settings that differ").nth(1).unwrap().split("</table>").next().unwrap();
    for (key, shown) in [("train.seed", true), ("model.combine", true), ("train.epochs", false)] {
        assert_eq!(differs.contains(&format!("<bdi>{key}</bdi>")), shown, "{key}");
    }
}

#[test]
fn the_page_keeps_user_text_in_its_place_and_asks_for_nothing() {
    let place = runs();
    // On its own valid file.
    let (page, numbers) = report(&place, &[RUN, "other"]);
    assert_eq!(numbers[0]["data"], place.path("valid.csv").to_str().unwrap());
    assert!(page.contains(
        "&lt;/td&gt;&lt;/title&gt;&lt;script&gt;document.title=&quot;x&quot;&lt;/script&gt;&#39;&amp;首页"
    ));
    assert!(page.contains("a &lt;b&gt;&amp;&#39;run"));
    assert_eq!((page.matches("<script").count(), page.matches("</script").count()), (1, 1));
    assert!(!page.contains("<b>") && page.matches("<title>").count() > 1);
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link rel=\"stylesheet"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for heading in HEADINGS {
        assert!(page.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    let pictures = page.matches("<svg viewBox").count();
    assert!(pictures > 10 && page.matches("role=\"img\" aria-label=\"").count() == pictures);
}

#[test]
fn only_runs_of_the_same_rows_have_a_best() {
    let place = runs();
    let bold = "class=\"n best\"";
    assert!(report(&place, &[RUN, "other"]).0.contains(bold));
    // Another file of the same rows but one, whose label is another.
    let text = String::from_utf8(place.bytes("valid.csv")).unwrap();
    place.write("other.csv", text.replacen("\n0,", "\n1,", 1));
    train(&place, "third", &["--set", "data.valid=other.csv"]);
    let (page, _) = report(&place, &[RUN, "third"]);
    assert!(!page.contains(bold) && page.contains("The runs were scored on different rows"));
    // The same file for both.
    assert!(report(&place, &[RUN, "third", "--data", "data.csv"]).0.contains(bold));
}

/// Of one file that is split, the rows that early stopping watched; never those that were trained on.
#[test]
fn a_run_of_a_split_file_is_scored_on_its_validation_rows() {
    let split = "split = { valid = 0.3, test = 0.2, seed = 4, by = \"user\" }";
    let place = Place::new(&CONFIG.replace("valid = \"valid.csv\"", split), 200, 23);
    train(&place, "r", &[]);
    let (_, numbers) = report(&place, &["r"]);
    let of = &numbers[0];
    let train = place.path("train.csv");
    assert_eq!(of["data"], format!("{} (valid part of data.split)", train.display()));
    let history = of["history"].as_array().unwrap();
    let best = history.iter().find(|l| l["split"] == "valid" && l["step"] == of["best_step"]).unwrap();
    for key in ["rows", "positives", "auc"] {
        assert_eq!(of["overall"][key], best["overall"][key], "{key}");
    }
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let place = runs();
    let refused = |args: &[&str], message: &str| {
        let out = place.run(&[&["report"], args, &["--out", "no.html"]].concat());
        assert_eq!(String::from_utf8_lossy(&out.stderr).trim_end(), format!("error: {message}"));
        assert_eq!((out.status.code(), place.path("no.html").exists()), (Some(2), false));
    };
    refused(&["none"], "none: holds no run (no config.toml); give the folder that optmsm train wrote");
    refused(&["other", "--data", "-"], "--data -: cannot be read twice; give a file");
    refused(
        &["other", "--data", "gone.csv"],
        "gone.csv: no such file; check the path; it starts from the current directory",
    );
    let lines = String::from_utf8(place.bytes("other/metrics.jsonl")).unwrap();
    place.write("other/metrics.jsonl", format!("{lines}{{\"step\":"));
    assert_eq!(report(&place, &["other"]).1[0]["history"].as_array().unwrap().len(), lines.lines().count());
    place.write("other/metrics.jsonl", lines.replacen("\"step\"", "\"stop\"", 1));
    let out = place.run(&["report", "other", "--out", "no.html"]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.starts_with("error: other/metrics.jsonl line 1: does not match its checksum: "), "{error}");
    let config = String::from_utf8(place.bytes("other/config.toml")).unwrap();
    place.write("other/config.toml", config.replace("valid = \"valid.csv\"\n", ""));
    let out = place.run(&["report", "other", "--out", "no.html"]);
    let said = String::from_utf8_lossy(&out.stderr);
    let changed = "data.valid is not set, but was \"valid.csv\" when the program wrote it";
    let problem = "names no data.valid to score; give a file with --data";
    let lines = format!("warning: other/config.toml: {changed}\nerror: other/config.toml: {problem}\n");
    assert_eq!((said.as_ref(), out.status.code()), (lines.as_str(), Some(2)));
}

/// Script that measures the page and puts the result into the title; for a copy that may run scripts.
const MEASURE: &str = "<script>
const outside = [...document.querySelectorAll('figure svg text')].filter(t => {
  const a = t.getBoundingClientRect(), b = t.closest('figure').getBoundingClientRect();
  return a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom;
}).map(t => t.textContent);
const wide = document.documentElement.scrollWidth > innerWidth;
const flat = [...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().height < 40).length;
document.title = JSON.stringify({ outside, wide, flat });
</script>";

#[test]
fn a_browser_shows_it() {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success()));
    if !optmsm_testkit::require("chromium", found.is_some()) {
        return;
    }
    let place = runs();
    let (page, _) = report(&place, &[RUN, "other"]);
    let dump = |path: &Path, width: u32| {
        let profile = tempfile::tempdir().unwrap();
        let out = Command::new(found.unwrap())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--dump-dom"])
            .arg(format!("--window-size={width},2000"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("file://{}", path.display()))
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{log}");
        let console: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
        (String::from_utf8(out.stdout).unwrap(), console.join("\n"))
    };
    let (dom, console) = dump(&place.path("r.html"), 1300);
    assert_eq!(console, "");
    assert!(dom.contains("<title>2 runs</title>") && dom.matches("<script").count() == 1, "{dom}");
    for heading in HEADINGS {
        assert!(dom.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    assert_eq!(dom.matches("<svg").count(), page.matches("<svg").count());

    let (before, after) = page.split_once("<meta http-equiv").unwrap();
    let after = after.split_once('>').unwrap().1.replace("</body>", &format!("{MEASURE}</body>"));
    place.write("measured.html", format!("{before}{after}"));
    for width in [500, 1300] {
        let (dom, console) = dump(&place.path("measured.html"), width);
        assert!(dom.contains("<title>{\"outside\":[],\"wide\":false,\"flat\":0}</title>"), "{width}: {dom}");
        assert_eq!(console, "");
    }
    // A control: scripts are refused in the page itself, and the browser's complaint is seen.
    place.write("refused.html", page.replace("</body>", &format!("{MEASURE}</body>")));
    let (dom, console) = dump(&place.path("refused.html"), 1300);
    assert!(
        dom.contains("<title>2 runs</title>") && console.contains("Content Security Policy"),
        "{console}"
    );
}
