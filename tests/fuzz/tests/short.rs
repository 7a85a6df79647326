//! Every target on its seeds, its corpus and a thousand mutations of both; with `OPTMSM_FUZZ_SECONDS` on as many as come in that time.

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use optmsm_fuzz::mutate::{Random, mutate};
use optmsm_fuzz::{TARGETS, Target};

/// Mutations of a target.
const RUNS: u64 = 1000;

/// Found inputs of a target.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn hostile_files_are_errors(name: &str) {
    let target = TARGETS.into_iter().find(|target| target.name == name).unwrap();
    let time =
        std::env::var("OPTMSM_FUZZ_SECONDS").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    let inputs = [(target.seeds)(), corpus(&target)].concat();
    inputs.iter().for_each(|input| (target.run)(input));
    let (begin, mut runs) = (Instant::now(), 0);
    while time.map_or(runs < RUNS, |time| begin.elapsed() < time) {
        let mut random = Random::new(runs);
        let seed = &inputs[random.below(inputs.len())];
        let input = mutate(&mut random, seed, &inputs, target.words);
        if catch_unwind(|| (target.run)(&input)).is_err() {
            let path = std::env::temp_dir().join(format!("optmsm-fuzz-{name}-{runs}"));
            std::fs::write(&path, &input).unwrap();
            panic!("mutation {runs} of target {name}; it is kept as {}", path.display());
        }
        runs += 1;
    }
    println!("target {name}: {} seeds and {runs} mutations", inputs.len());
}

#[test]
fn csv() {
    hostile_files_are_errors("csv");
}

#[test]
fn columnar() {
    hostile_files_are_errors("columnar");
}

#[test]
fn schema() {
    hostile_files_are_errors("schema");
}

#[test]
fn cache() {
    hostile_files_are_errors("cache");
}

#[test]
fn checkpoint() {
    hostile_files_are_errors("checkpoint");
}

#[test]
fn config() {
    hostile_files_are_errors("config");
}

#[test]
fn mutations_follow_from_their_seed() {
    let (seed, others) = (b"label,1\n".to_vec(), vec![b"other".to_vec()]);
    let make = |number| mutate(&mut Random::new(number), &seed, &others, &["word"]);
    assert_eq!(make(7), make(7));
    assert!((0..50).filter(|&number| make(number) != seed).count() > 40);
}
