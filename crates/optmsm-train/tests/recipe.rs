//! `optmsm recipe` as a user meets it, from raw files to a trained model.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn run(folder: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_optmsm")).current_dir(folder.path()).args(args).output().unwrap()
}

/// The raw files of MovieLens-1M, of 300 ratings.
fn movielens(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let users: String = (1..=20)
        .map(|i| {
            format!("{i}::{}::{}::{}::{}\n", ["F", "M"][i % 2], [1, 18, 25, 35, 56][i % 5], i % 7, 10_000 + i)
        })
        .collect();
    let movies: String = (1..=15)
        .map(|i| format!("{i}::Movie {i} ({})::Drama|{}\n", 1990 + i, ["War", "Comedy"][i % 2]))
        .collect();
    let ratings: String = (0..300)
        .map(|i| format!("{}::{}::{}::{}\n", 1 + i * 7 % 20, 1 + i * 4 % 15, 1 + i * 3 % 5, 1000 + i))
        .collect();
    fs::write(folder.join("users.dat"), users).unwrap();
    fs::write(folder.join("movies.dat"), movies).unwrap();
    fs::write(folder.join("ratings.dat"), ratings).unwrap();
}

/// The raw files of MIND small, of 60 impressions of three news.
fn mind(folder: &Path) {
    for part in ["MINDsmall_train", "MINDsmall_dev"] {
        let folder = folder.join(part);
        fs::create_dir_all(&folder).unwrap();
        let news: String =
            (1..=3).map(|i| format!("N{i}\tcat{}\tsub{i}\tTitle number {i}\t\t\t[]\t[]\n", i % 2)).collect();
        let impressions: String = (0..30)
            .map(|i| {
                let history = vec!["N1"; i % 13].join(" ");
                format!("{i}\tU{}\t11/{}/2019 1:00:00 PM\t{history}\tN1-{} N2-0 N3-1\n", i % 4, i + 1, i % 2)
            })
            .collect();
        fs::write(folder.join("news.tsv"), news).unwrap();
        fs::write(folder.join("behaviors.tsv"), impressions).unwrap();
    }
}

#[test]
fn from_raw_files_to_a_model() {
    let folder = tempfile::tempdir().unwrap();
    movielens(&folder.path().join("ml"));
    mind(&folder.path().join("mind"));
    for (name, raw) in [("ml-1m", "ml"), ("mind", "mind")] {
        let out = format!("out \"{name}\""); // a folder whose name a configuration must escape
        let made = run(&folder, &["recipe", name, "--raw", raw, "--out", &out, "--allow-partial"]);
        let (stdout, stderr) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
        assert!(made.status.success(), "{stderr}");
        assert!(stderr.contains("warning: ") && stderr.contains("reading "), "{stderr}");
        let config = format!("{out}/{name}.toml");
        assert!(stdout.ends_with(&format!("optmsm train --config {config}\n")), "{stdout}");
        // From another folder, too: its paths are absolute.
        let elsewhere = tempfile::tempdir().unwrap();
        let config = folder.path().join(config);
        let config = config.to_str().unwrap();
        let trained =
            run(&elsewhere, &["train", "--config", config, "--set", "train.epochs=1", "--run", "r"]);
        assert!(trained.status.success(), "{name}: {}", String::from_utf8_lossy(&trained.stderr));
        let metrics = fs::read_to_string(elsewhere.path().join("r/metrics.jsonl")).unwrap();
        assert!(metrics.contains("\"split\":\"test\""), "{metrics}");
    }
}

#[test]
fn refusals() {
    let folder = tempfile::tempdir().unwrap();
    movielens(&folder.path().join("ml"));
    let cases = [
        (
            vec!["recipe", "ml-1m", "--raw", "ml", "--out", "o"],
            "error: ml: 20 users, where 6,040 are published (its README); download it again, or go on with --allow-partial",
        ),
        (
            vec!["recipe", "ml1m", "--raw", "ml", "--out", "o"],
            "error: recipe \"ml1m\": is not known; did you mean ml-1m? they are: ml-100k, ml-1m, kuairand-1k, kuairand-pure, ali-ccp, amazon, douban, mind, coupon, frappe",
        ),
        (
            vec!["recipe", "mind", "--raw", "ml", "--out", "o"],
            "error: ml: has no MINDsmall_train/behaviors.tsv among movies.dat, ratings.dat, users.dat; get it from https://msnews.github.io/ and unpack it there",
        ),
    ];
    for (args, message) in cases {
        let out = run(&folder, &args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(stderr.lines().last(), Some(message));
        assert_eq!(out.status.code(), Some(2));
        assert!(!folder.path().join("o").exists(), "something was written");
    }
}

#[test]
fn listing() {
    let folder = tempfile::tempdir().unwrap();
    let all = run(&folder, &["recipe"]);
    let text = String::from_utf8(all.stdout).unwrap();
    assert_eq!(run(&folder, &["recipe", "--list"]).stdout, text.as_bytes());
    assert!(
        text.contains("\n  counts    100,000 ratings (its README), 943 users (its README), 1,682 movies"),
        "{text}"
    );
    let one = String::from_utf8(run(&folder, &["recipe", "ali-ccp"]).stdout).unwrap();
    assert!(
        one.starts_with("ali-ccp: Ali-CCP\n  from      https://tianchi.aliyun.com/dataset/408\n"),
        "{one}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&run(&folder, &["recipe", "--json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 10);
    assert_eq!(json[3]["published"][0]["rows"], 1_436_609);
}
