//! One process of a job speaks, and says what a process by itself does.

use super::work::{Work, said};

#[test]
fn ranks_say_what_one_process_says() {
    let Some(work) = Work::new() else { return };
    let config = ["train", "--config", "config.toml"];
    let built_in = ["train", "--rows", "2000", "--set", "train.epochs=1", "--set", "train.groups=4"];
    let cases: [(&[&str], &[&str], i32); 7] = [
        (&config, &[], 0),
        (&config, &["--json"], 0),
        (&config, &["--quiet"], 0),
        (&config, &["--max-steps", "4"], 130),
        (&config, &["--steps", "4"], 2),
        // With a run of `dnn` on the same rows behind it.
        (&built_in, &[], 0),
        (&config, &["--set", "train.optimizer.lr=1e30", "--set", "train.embedding_optimizer.lr=1e30"], 1),
    ];
    for (number, (train, more, code)) in cases.into_iter().enumerate() {
        let of = |ranks: usize| {
            let run = format!("r{number}-{ranks}");
            let out = work.run(ranks, code, &[train, more, &["--run", &run]].concat());
            let said = |text: String| said(&text.replace(&run, "r"));
            [said(out.stdout), said(out.stderr)]
        };
        let alone = of(0);
        assert!(!alone.concat().is_empty(), "{more:?}");
        assert_eq!(alone, of(4), "{train:?} {more:?}");
    }
}

/// The table of the first rank, whose parameters are those without it.
#[test]
fn ranks_are_profiled() {
    let Some(work) = Work::new() else { return };
    work.train(0, 0, "plain", &[]);
    for ranks in [0, 2] {
        let run = format!("profiled-{ranks}");
        let out = work.train(ranks, 0, &run, &["--profile"]);
        assert_eq!(out.stdout.matches("18 training steps, 1 threads").count(), 1, "{}", out.stdout);
        // Operations have their lines between these.
        let line = |text: &str| out.stdout.lines().position(|line| line.contains(text));
        assert!(line("smaller ones") > line("operation").map(|line| line + 2), "{}", out.stdout);
        assert_eq!(super::work::differences(&work.left("plain"), &work.left(&run)), [""; 0]);
    }
}
