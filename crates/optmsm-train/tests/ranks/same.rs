//! The same bytes on any number of ranks and threads.

use super::work::{Work, differences};

/// Trains by one process and by several (ranks, threads of each); whatever is in their folders is the same.
fn same(work: &Work, name: &str, settings: &[&str], jobs: &[(usize, usize)]) {
    let alone = format!("{name}-alone");
    work.train(0, 0, &alone, settings);
    let left = work.left(&alone);
    assert!(
        ["checkpoints/last.safetensors", "checkpoints/best.safetensors"]
            .iter()
            .all(|c| left.contains_key(*c))
    );
    for (ranks, threads) in jobs {
        let run = format!("{name}-{ranks}-{threads}");
        let threads = format!("train.threads={threads}");
        work.train(*ranks, 0, &run, &[settings, &["--set", &threads]].concat());
        assert_eq!(differences(&left, &work.left(&run)), [""; 0], "{run}");
    }
}

#[test]
fn rows_in_memory() {
    let Some(work) = Work::new() else { return };
    same(&work, "memory", &[], &[(0, 2), (1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]);
    // Groups are of the definition of the batch, ranks are not: this could fail.
    work.train(0, 0, "groups", &["--set", "train.groups=2"]);
    assert_ne!(differences(&work.left("memory-alone"), &work.left("groups")), [""; 0]);
}

/// Three windows; a batch begins in one and ends in the next.
#[test]
fn rows_from_disk() {
    let Some(work) = Work::new() else { return };
    let settings =
        ["data.stream.mode=always", "data.train=many.csv", "train.batch_size=1500", "train.epochs=1"];
    let settings = settings.map(|setting| ["--set", setting]).concat();
    same(&work, "disk", &settings, &[(2, 2), (4, 1)]);
    work.train(4, 130, "cut", &[&settings[..], &["--max-steps", "6"]].concat());
    work.resume(2, 0, "cut", &[]);
    assert_eq!(differences(&work.left("disk-alone"), &work.left("cut")), [""; 0]);
}

/// Batches of 4 and 5 rows, so that groups, and ranks, have none.
#[test]
fn fewer_rows_than_groups() {
    let Some(work) = Work::new() else { return };
    let settings = ["data.train=few.csv", "train.groups=8", "train.batch_size=5"];
    same(&work, "few", &settings.map(|setting| ["--set", setting]).concat(), &[(1, 2), (2, 1), (8, 1)]);
}

/// Early stopping, event files and preloaded rows, some of them frozen.
#[test]
fn what_else_a_run_has() {
    let Some(work) = Work::new() else { return };
    let still = [
        "train.optimizer.lr=1e-30",
        "train.embedding_optimizer.lr=1e-30",
        "train.epochs=9",
        "train.patience=2",
    ];
    let still = [&still[..], &["train.tensorboard=true", "train.average.decay=0.01"]].concat();
    let settings: Vec<&str> = still.iter().flat_map(|setting| ["--set", setting]).collect();
    work.train(0, 0, "still", &settings);
    work.train(2, 0, "still-2", &settings);
    let evaluations = |run: &str| work.place.text(&format!("{run}/metrics.jsonl")).lines().count();
    assert!(evaluations("still") < 9, "it was to stop early");
    // Events have their time in their name and in themselves, but not in their number and length.
    let events = |run: &str| -> Vec<u64> {
        let files = std::fs::read_dir(work.place.path(run)).unwrap().map(Result::unwrap);
        let events = files.filter(|file| file.file_name().to_string_lossy().contains("tfevents"));
        events.map(|file| file.metadata().unwrap().len()).collect()
    };
    assert_eq!(events("still").len(), 1);
    assert_eq!(events("still"), events("still-2"));
    let of_run = |run| {
        let mut left = work.left(run);
        left.retain(|name, _| !name.contains("tfevents"));
        left
    };
    assert_eq!(differences(&of_run("still"), &of_run("still-2")), [""; 0]);

    let header = r#"{"rows":{"dtype":"F32","shape":[3,5],"data_offsets":[0,60]}}"#;
    let numbers = (0..15).flat_map(|i| (0.1 * i as f32).to_le_bytes());
    let bytes: Vec<u8> =
        (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(numbers).collect();
    work.place.write("rows.safetensors", bytes);
    work.place.write("values.txt", "u7\nu14\nu3\n");
    let loaded = "table = \"people\"\ninit_from = \"rows.safetensors:rows\"\ninit_values = \"values.txt\"\nfreeze = true";
    let config = super::work::CONFIG.replace("table = \"people\"", loaded);
    work.place.write("config.toml", config);
    same(&work, "loaded", &[], &[(2, 1), (4, 1)]);
}
