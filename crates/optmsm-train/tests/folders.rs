//! Folders of runs: one process at a time writes one, and none is stuck.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use common::{CONFIG, Place, besides_the_model, code};

fn place() -> Place {
    let place = Place::new(&CONFIG.replace("[data]\n", "[data]\ntest = \"valid.csv\"\n"), 200, 11);
    place.write(
        "tuned.toml",
        place.text("config.toml") + "[tune]\ntrials = 1\n\"train.epochs\" = { choices = [1] }\n",
    );
    place
}

impl Place {
    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_optmsm"));
        command.current_dir(self.path("")).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A lock as another process would hold it, which says that it is `text`.
    fn hold(&self, lock: &str, text: &str) -> File {
        fs::create_dir_all(self.path(lock).parent().unwrap()).unwrap();
        let mut file = File::create(self.path(lock)).unwrap();
        file.lock().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn copy(&self, from: &str, to: &str) {
        fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn checkpoints(&self, run: &str) -> [Vec<u8>; 2] {
        ["last", "best"].map(|name| self.bytes(&format!("{run}/checkpoints/{name}.safetensors")))
    }
}

const TRAIN: [&str; 4] = ["train", "--config", "config.toml", "--quiet"];

#[test]
fn runs_that_start_at_once_have_a_folder_each() {
    let place = place();
    let seeds = ["1", "2", "3", "4", "5"];
    let start = |seed: &&str| place.start(&[&TRAIN[..], &["--set", &format!("train.seed={seed}")]].concat());
    for child in seeds.iter().map(start).collect::<Vec<_>>() {
        code(&child.wait_with_output().unwrap(), 0);
    }
    assert_eq!(place.names("runs"), ["config", "config-2", "config-3", "config-4", "config-5"]);
    let mut found = Vec::new();
    for run in place.names("runs").iter().map(|name| format!("runs/{name}")) {
        let config = place.text(&format!("{run}/config.toml"));
        let seed = config.lines().find_map(|line| line.strip_prefix("seed = ")).unwrap();
        // Its own, from the first step to the last.
        code(&place.run(&[&TRAIN[..], &["--run", seed, "--set", &format!("train.seed={seed}")]].concat()), 0);
        assert!(place.checkpoints(&run) == place.checkpoints(seed), "{run} is not of seed {seed}");
        let valid = place.text(&format!("{run}/metrics.jsonl")).matches("\"split\":\"valid\"").count();
        assert_eq!(valid, 3);
        found.push(seed.to_string());
    }
    found.sort();
    assert_eq!(found, seeds);
}

#[test]
fn a_folder_that_is_held_is_refused_by_who_writes_it_and_read_by_others() {
    let place = place();
    code(&place.run(&[&TRAIN[..], &["--run", "r"]].concat()), 0);
    let before = place.checkpoints("r");
    let writers: [&[&str]; 5] = [
        &["train", "--resume", "--run", "r", "--set", "train.epochs=5"],
        &["train", "--config", "config.toml", "--run", "r"],
        &["train", "--rows", "1000", "--run", "r"],
        &["compare", "config.toml", "--seeds", "1", "--out", "r"],
        &["tune", "tuned.toml", "--out", "r"],
    ];
    for holder in ["process 7 on elsewhere (optmsm train --resume)", "a\nb\u{1b}[2J", ""] {
        let _held = place.hold("r/.lock", holder);
        for args in writers {
            let stderr = code(&place.run(args), 2);
            let shown =
                if holder.is_empty() { "another process".into() } else { holder.escape_debug().to_string() };
            let option = if args[0] == "train" { "--run" } else { "--out" };
            let fix = format!("wait until it ends, or choose another folder with {option}");
            assert_eq!(stderr, format!("error: r: is being written by {shown}; {fix}\n"));
        }
        assert!(before == place.checkpoints("r"));
        let readers: [&[&str]; 4] = [
            &["evaluate", "r", "--data", "valid.csv"],
            &["predict", "r", "--data", "valid.csv", "--out", "p.csv"],
            &["report", "r", "--out", "r.html"],
            &["inspect", "r"],
        ];
        readers.iter().for_each(|args| drop(code(&place.run(args), 0)));
    }
    // Of a process that is no more: the text stays, the lock does not.
    place.write("r/.lock", "process 7 on elsewhere");
    code(&place.run(writers[0]), 0);
    assert!(!place.path("r/.lock").exists());
    // A run of a comparison is held like any other.
    let held = place.hold("c/config/seed-1/.lock", "process 8");
    let compare = ["compare", "config.toml", "--seeds", "1", "--quiet", "--out", "c"];
    let stderr = code(&place.run(&compare), 2);
    assert!(stderr.starts_with("error: c/config/seed-1: is being written by process 8; "), "{stderr}");
    drop(held);
    code(&place.run(&compare), 0);
    assert!(place.names("c/config/seed-1").iter().chain(&place.names("c")).all(|name| name != ".lock"));
}

#[cfg(unix)]
#[test]
fn a_stopped_holder_holds_and_a_killed_one_does_not() {
    let place = place();
    let long = ["--set", "train.epochs=100000", "--set", "train.patience=100000", "--run", "r"];
    let mut child = place.start(&[&TRAIN[..], &long].concat());
    while !place.path("r/checkpoints/best.safetensors").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let kill = |signal: &str| Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    let resume = ["train", "--resume", "--quiet", "--run", "r"];
    for signal in ["-CONT", "-STOP"] {
        kill(signal);
        let stderr = code(&place.run(&resume), 2);
        let who = format!("error: r: is being written by process {} on ", child.id());
        assert!(stderr.starts_with(&who) && stderr.lines().count() == 1, "{stderr}");
        code(&place.run(&["evaluate", "r", "--data", "valid.csv"]), 0);
    }
    kill("-KILL");
    child.wait().unwrap();
    code(&place.run(&[&resume[..], &["--set", "train.epochs=3"]].concat()), 0);
}

#[test]
fn what_stopped_before_it_was_a_run_is_begun_again() {
    let place = place();
    code(&place.run(&[&TRAIN[..], &["--run", "whole"]].concat()), 0);
    let whole = place.checkpoints("whole");
    let left: [&[&str]; 5] = [
        &[],
        &[".lock"],
        &[".lock", "schema.json"],
        &[".lock", ".optmsm-0123456789ab.tmp", "checkpoints/.optmsm-0123456789ab.tmp"],
        &["schema.json", "checkpoints/.optmsm-0123456789ab.tmp"],
    ];
    for (i, files) in left.iter().enumerate() {
        let run = format!("r{i}");
        fs::create_dir(place.path(&run)).unwrap();
        for file in *files {
            place.copy("whole/schema.json", &format!("{run}/{file}"));
        }
        let stderr = code(&place.run(&["train", "--resume", "--run", &run]), 2);
        let fix = "if it stopped before it wrote one, begin it again without --resume";
        assert_eq!(stderr, format!("error: {run}: holds no run (no config.toml); {fix}\n"));
        code(&place.run(&[&TRAIN[..], &["--run", &run]].concat()), 0);
        assert!(whole == place.checkpoints(&run), "{files:?}");
        assert_eq!(place.names(&run), place.names("whole"));
    }
}

#[test]
fn a_run_without_a_checkpoint_begins_again_from_its_configuration() {
    let place = place();
    code(&place.run(&[&TRAIN[..], &["--run", "whole"]].concat()), 0);
    code(&place.run(&[&TRAIN[..], &["--run", "other", "--set", "train.seed=7"]].concat()), 0);
    let left: [&[&str]; 4] = [
        &["config.toml", "schema.json"],
        &["config.toml"],
        &["config.toml", "schema.json", ".lock", "checkpoints/.optmsm-0123456789ab.tmp"],
        &["config.toml", "schema.json", "metrics.jsonl"],
    ];
    for (i, files) in left.iter().enumerate() {
        let seed = (&["--set", "train.seed=7"][..], "other", "train.seed: 1 → 7\n");
        for (more, wanted, changed) in [(&[][..], "whole", ""), seed] {
            let run = format!("{wanted}{i}");
            fs::create_dir(place.path(&run)).unwrap();
            for file in *files {
                let of = if file.contains("config") { "whole/config.toml" } else { "whole/schema.json" };
                place.copy(of, &format!("{run}/{file}"));
            }
            if files.contains(&"metrics.jsonl") {
                place.write(&format!("{run}/metrics.jsonl"), "");
            }
            let stderr = code(&place.run(&[&TRAIN[..], &["--run", &run]].concat()), 2);
            let problem =
                "holds a run that stopped before its first checkpoint; begin it again with --resume";
            assert!(stderr.starts_with(&format!("error: {run}: {problem}, or choose")), "{stderr}");
            let resume = ["train", "--resume", "--quiet", "--run", &run];
            let stderr = code(&place.run(&[&resume[..], more].concat()), 0);
            let again = format!("{run}: stopped before its first checkpoint, and begins again\n{changed}");
            assert_eq!(besides_the_model(&stderr), again);
            assert!(place.checkpoints(&run) == place.checkpoints(wanted), "{files:?} {more:?}");
        }
    }
}

#[test]
fn what_cannot_go_on_says_the_way_out() {
    let place = place();
    code(&place.run(&[&TRAIN[..], &["--run", "r"]].concat()), 0);
    let [last, best] = ["last", "best"].map(|name| format!("r/checkpoints/{name}.safetensors"));
    let good = place.checkpoints("r");
    let resume = || code(&place.run(&["train", "--resume", "--quiet", "--run", "r"]), 2);
    let without = "restore it from a copy, or begin a new run; evaluate and predict do not need it\n";
    for damaged in [&b""[..], &good[0][..100], &[&good[0][..good[0].len() - 1], b"?"].concat()] {
        place.write(&last, damaged);
        let stderr = resume();
        assert!(stderr.starts_with(&format!("error: {last}: is ")) && stderr.ends_with(without), "{stderr}");
    }
    fs::remove_file(place.path(&last)).unwrap();
    assert_eq!(resume(), format!("error: {last}: is missing, though the run has trained; {without}"));
    code(&place.run(&["evaluate", "r", "--data", "valid.csv"]), 0);
    fs::remove_file(place.path(&best)).unwrap();
    let stderr = resume();
    assert!(
        stderr.ends_with("though the run has trained; restore it from a copy, or begin a new run\n"),
        "{stderr}"
    );
    // Nothing of a run that is there in part is written over.
    place.write(&last, &good[0]);
    fs::remove_file(place.path("r/config.toml")).unwrap();
    let stderr = code(&place.run(&[&TRAIN[..], &["--run", "r"]].concat()), 2);
    let wanted =
        "error: r: holds checkpoints, but no config.toml; restore that file from a copy, or choose another";
    assert!(stderr.starts_with(wanted), "{stderr}");
    assert!(good[0] == place.bytes(&last));
}

#[test]
fn built_in_data_is_written_again_and_a_users_is_not_written_over() {
    let place = place();
    let demo = |run: &str| {
        place.run(&["train", "--rows", "1000", "--set", "train.epochs=1", "--quiet", "--run", run])
    };
    code(&demo("whole"), 0);
    for (run, files) in
        [("a", &["data/train.csv"][..]), ("b", &["data/train.csv", "data/test.csv", "schema.json"])]
    {
        place.copy("whole/config.toml", &format!("{run}/.lock"));
        files.iter().for_each(|file| place.copy("whole/config.toml", &format!("{run}/{file}")));
        code(&demo(run), 0);
        assert!(place.checkpoints("whole") == place.checkpoints(run));
    }
    // Killed once its configuration was there.
    for file in ["config.toml", "schema.json", "data/train.csv", "data/valid.csv", "data/test.csv"] {
        let text = place.text(&format!("whole/{file}")).replace("whole/data", "c/data");
        fs::create_dir_all(place.path("c/data")).unwrap();
        place.write(&format!("c/{file}"), text);
    }
    code(&place.run(&["train", "--resume", "--quiet", "--run", "c"]), 0);
    assert!(place.checkpoints("whole") == place.checkpoints("c"));
    for mine in ["data/train.csv", "data/notes", "data/deep/file"] {
        fs::create_dir_all(place.path(&format!("mine/{mine}")).parent().unwrap()).unwrap();
        place.write(&format!("mine/{mine}"), "mine");
        let stderr = code(&demo("mine"), 2);
        assert!(
            stderr.starts_with("error: mine/data: is there already, and not of this run; choose"),
            "{stderr}"
        );
        assert_eq!(place.text(&format!("mine/{mine}")), "mine");
    }
}

#[test]
fn a_run_that_cannot_be_written_leaves_nothing() {
    let place = place();
    for blocked in ["schema.json", "checkpoints"] {
        // Of the wrong kind, so that nothing can be written there.
        fs::create_dir(place.path("r")).unwrap();
        match blocked {
            "checkpoints" => place.write("r/checkpoints", ""),
            _ => fs::create_dir(place.path("r/schema.json")).unwrap(),
        }
        let stderr = code(&place.run(&[&TRAIN[..], &["--run", "r"]].concat()), 2);
        assert!(stderr.starts_with("error: r") && stderr.lines().count() == 1, "{stderr}");
        assert_eq!(place.names("r"), [blocked]);
        fs::remove_dir_all(place.path("r")).unwrap();
    }
}

#[test]
fn a_name_is_taken_again_only_where_nothing_is_lost() {
    let place = place();
    let trained = |run: &str| {
        let out = place.run(&TRAIN);
        code(&out, 0);
        let stdout = String::from_utf8(out.stdout).unwrap();
        assert!(stdout.ends_with(&format!("run folder: {run}\n")), "{stdout}");
    };
    place.write("train.bad", "label,scenario,user,tags,price\n2,a,u,,1\n");
    for more in [
        &["--set", "data.train=train.bad"][..],
        &["--set", "data.train=none"],
        &["--set", "model.hyper.rank=99"],
    ] {
        code(&place.run(&[&TRAIN[..], more].concat()), 2);
        assert!(!place.path("runs").exists(), "{more:?}");
    }
    fs::create_dir_all(place.path("runs/config/checkpoints")).unwrap();
    place.write("runs/config/.lock", "process 7 on elsewhere"); // killed before the run was written
    trained("runs/config");
    fs::create_dir(place.path("runs/config-2")).unwrap();
    place.write("runs/config-2/notes", "mine");
    place.write("runs/config-3", "a file");
    let _held = place.hold("runs/config-4/.lock", "process 9");
    fs::create_dir(place.path("runs/config-5")).unwrap();
    trained("runs/config-5");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", place.path("runs/config-6")).unwrap();
        trained("runs/config-7");
    }
    assert_eq!(place.names("runs/config-2"), ["notes"]);
}

/// Killed at any moment, a run goes on or begins again, and ends as one that was not.
#[cfg(unix)]
#[test]
fn a_run_that_is_killed_at_any_moment_is_not_stuck() {
    let place = place();
    code(&place.run(&[&TRAIN[..], &["--run", "whole"]].concat()), 0);
    let whole = place.checkpoints("whole");
    // Files that are there when it is killed: from the folder to the second checkpoint.
    let moments = [
        ".lock",
        "checkpoints",
        "schema.json",
        "config.toml",
        "checkpoints/last.safetensors",
        "metrics.jsonl",
    ];
    for moment in moments {
        let run = format!("r-{}", moment.replace('/', "-"));
        let mut child = place.start(&[&TRAIN[..], &["--run", &run]].concat());
        let there = place.path(&run).join(moment);
        while !there.exists() && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let again = match place.path(&run).join("config.toml").exists() {
            true => place.run(&["train", "--resume", "--quiet", "--run", &run]),
            false => place.run(&[&TRAIN[..], &["--run", &run]].concat()),
        };
        code(&again, 0);
        assert!(whole == place.checkpoints(&run), "killed when there was {moment}");
        assert_eq!(place.names(&run), place.names("whole"));
        assert_eq!(place.names(&format!("{run}/checkpoints")), ["best.safetensors", "last.safetensors"]);
    }
}

#[test]
fn a_name_of_dots_leads_nowhere_else() {
    for name in ["...toml", "..toml", "....toml"] {
        let place = place();
        place.copy("config.toml", name);
        place.copy("tuned.toml", &format!("below/{name}"));
        let before = place.names("");
        code(&place.run(&["compare", name, "config.toml", "--seeds", "1", "--quiet", "--out", "out/c"]), 0);
        assert_eq!(place.names("out"), ["c"]);
        assert_eq!(place.names("out/c"), ["compare.json", "compare.md", "config", "config-2"]);
        code(&place.run(&["train", "--quiet", "--config", name]), 0);
        let data = format!("data_dir={}", place.path("").display());
        code(&place.run(&["tune", &format!("below/{name}"), "--quiet", "--set", &data]), 0);
        assert_eq!(place.names("runs"), ["config", "tune-config"]);
        assert_eq!(place.names("").len(), before.len() + 2);
    }
    // Nor is one that is that of a file of the comparison.
    let place = place();
    place.copy("config.toml", "compare.md.toml");
    code(&place.run(&["compare", "compare.md.toml", "--seeds", "1", "--quiet", "--out", "c"]), 0);
    assert_eq!(place.names("c"), ["compare.json", "compare.md", "compare.md-2"]);
}

#[test]
fn prepare_and_train_wait_for_the_cache_that_another_makes() {
    let place = place();
    let stream = ["--set", "data.stream.mode=always", "--set", "data.stream.folder=caches"];
    let prepare = [&["prepare", "--config", "config.toml"], &stream[..]].concat();
    code(&place.run(&prepare), 0);
    let caches = place.names("caches");
    let cache = caches.iter().find(|name| name.starts_with("train-")).unwrap();
    let lock = format!("caches/.{}.lock", cache.strip_suffix(".cache").unwrap());
    let good = place.bytes(&format!("caches/{cache}"));
    for args in [prepare, [&TRAIN[..], &stream[..]].concat()] {
        fs::remove_file(place.path(&format!("caches/{cache}"))).unwrap();
        let held = place.hold(&lock, "process 7 on elsewhere");
        let mut child = place.start(&args);
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "waits for process 7 on elsewhere\n");
        place.write(&format!("caches/{cache}"), &good);
        drop(held);
        let out = child.wait_with_output().unwrap();
        code(&out, 0);
        let stdout = String::from_utf8(out.stdout).unwrap();
        assert!(args[0] == "train" || !stdout.contains("made in"), "{stdout}");
        assert_eq!(place.names("caches"), caches);
    }
    // There is nothing to wait for where a cache is there.
    let _held = place.hold(&lock, "process 7 on elsewhere");
    code(&place.run(&[&TRAIN[..], &stream].concat()), 0);
}
