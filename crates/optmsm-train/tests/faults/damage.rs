//! Files of every kind, damaged, and every command that reads them.

use std::fs;

use optmsm_testkit::rng::Rng;

use super::plan::{Kind, Plan};
use super::stage::{Outcome, Snapshot, Stage, differences, json};
use super::tally::Came;

const DAMAGE: Kind = Kind { name: "damage", until: 0.97 };

/// A command that reads what is there.
struct Reader {
    name: &'static str,
    state: &'static str,
    command: &'static [&'static str],
}

const fn reader(name: &'static str, state: &'static str, command: &'static [&'static str]) -> Reader {
    Reader { name, state, command }
}

const READERS: [Reader; 14] = [
    reader("evaluate", "run", &["evaluate", "r", "--data", "test.csv", "--json"]),
    reader("evaluate Parquet", "run", &["evaluate", "r", "--data", "test.parquet", "--json"]),
    reader("evaluate gzip", "run", &["evaluate", "r", "--data", "test.csv.gz", "--json"]),
    reader("evaluate zstd", "run", &["evaluate", "r", "--data", "test.csv.zst", "--json"]),
    reader("evaluate Feather", "run", &["evaluate", "r", "--data", "test.feather", "--json"]),
    reader("predict", "run", &["predict", "r", "--data", "test.csv", "--out", "p.csv"]),
    reader("report", "run", &["report", "r", "--out", "r.html", "--json", "r.json"]),
    reader("inspect", "run", &["inspect", "r", "--json"]),
    reader("resume", "begun", &["train", "--resume", "--run", "r", "--quiet"]),
    reader("resume streamed", "begun streamed", &["train", "--resume", "--run", "r", "--quiet"]),
    reader("prepare", "begun streamed", &["prepare", "--config", "stream.toml"]),
    reader("resume what is done", "run", &["train", "--resume", "--run", "r", "--quiet"]),
    reader(
        "compare",
        "compared",
        &["compare", "csv.toml", "wide.toml", "--seeds", "2", "--out", "c", "--json"],
    ),
    reader("tune", "tuned", &["tune", "tune.toml", "--out", "t", "--json"]),
];

/// Results of the undamaged files.
struct Good {
    printed: String,
    files: Snapshot,
}

/// Flips, cuts and other damage in all files that a command may read.
pub(crate) fn files(stage: &Stage, plan: &mut Plan) {
    let good: Vec<Good> = READERS.iter().map(|reader| undamaged(stage, reader)).collect();
    for n in 0..plan.cases(12, 250) {
        for (reader, good) in READERS.iter().zip(&good) {
            let Some(mut case) = plan.case(DAMAGE, reader.name, n) else { continue };
            case.came(Came::Tried);
            stage.set(reader.state);
            let names = readable(&stage.snapshot(), reader);
            let name = &names[case.rng.below(names.len())];
            let path = stage.path(name);
            let mut bytes = fs::read(&path).unwrap();
            let before = bytes.clone();
            let what = damage(&mut bytes, &mut case.rng);
            if bytes == before {
                continue;
            }
            case.came(Came::Struck);
            fs::write(&path, &bytes).unwrap();
            let out = stage.plain(&mut stage.command(reader.command));
            let story = format!(
                "{name} {what}\n  optmsm {}: {}: {}",
                reader.command.join(" "),
                out.status,
                out.message()
            );
            if out.late {
                case.fault(Came::Stuck, story);
            } else if out.died() {
                case.fault(Came::Died, story);
            } else if !out.success() {
                // Other rows to train on are "data", wherever they lie.
                let said = out.names_one_of([name.clone()])
                    || name.starts_with("train.") && out.message().contains("data");
                match said {
                    true => case.came(Came::Refused),
                    false => case.fault(Came::Unclear, story),
                }
            } else {
                let mut after = stage.snapshot();
                let mut files = good.files.clone();
                if fs::read(&path).is_ok_and(|now| now == bytes) {
                    // Nobody wrote to it again.
                    after.remove(name);
                    files.remove(name);
                }
                let mut other = differences(&files, &after);
                if printed(&out) != good.printed && reader.command.contains(&"--json") {
                    other.push("standard output".into());
                }
                match other.is_empty() || legal(name, reader) {
                    true => case.came(Came::Unharmed),
                    false if told(name, &out) => {
                        case.came(Came::Refused);
                    }
                    false => case.fault(Came::Silent, format!("{other:?}\n  {story}")),
                }
            }
        }
    }
}

fn undamaged(stage: &Stage, reader: &Reader) -> Good {
    stage.set(reader.state);
    let out = stage.plain(&mut stage.command(reader.command));
    assert!(out.success(), "{}: {}", reader.name, out.stderr);
    Good { printed: printed(&out), files: stage.snapshot() }
}

fn printed(out: &Outcome) -> String {
    json(&out.stdout)
}

/// Files that a command may read: what the program wrote, and the data that it names.
fn readable(files: &Snapshot, reader: &Reader) -> Vec<String> {
    let read = |name: &&String| {
        // A configuration is the user's: another one that is read is what was asked for.
        let data = name.starts_with("train.")
            || name.starts_with("test.") && reader.command.contains(&name.as_str());
        data || name.contains('/') && !name.contains("events")
    };
    files.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name).filter(read).cloned().collect()
}

/// Whether a command that went on said so: a warning about the file, or each setting that is another one.
fn told(name: &str, out: &Outcome) -> bool {
    let warned = out.message().starts_with("warning: ") && out.names_one_of([name.to_string()]);
    warned || name.ends_with("config.toml") && out.stderr.contains(" → ")
}

/// Whether damage of this file can be other data that nothing is wrong with.
fn legal(name: &str, reader: &Reader) -> bool {
    let training = name.starts_with("train.") && reader.state != "run" && reader.name != "prepare";
    !name.contains('/') && !training && !name.ends_with(".gz")
}

/// Damages a file; says how.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) -> String {
    let at = rng.below(bytes.len());
    match rng.below(8) {
        0..4 => {
            let bit = rng.below(8);
            bytes[at] ^= 1 << bit;
            format!("with bit {bit} of byte {at} flipped")
        }
        4 => {
            bytes[at] = rng.below(256) as u8;
            format!("with {} as byte {at}", bytes[at])
        }
        5 => {
            bytes.truncate(at);
            format!("cut after {at} bytes")
        }
        6 => {
            let end = bytes.len().min(at + 1 + rng.below(64));
            bytes[at..end].fill(0);
            format!("with zeros in bytes {at} to {end}")
        }
        _ => {
            let end = bytes.len().min(at + 1 + rng.below(64));
            bytes.drain(at..end);
            format!("without bytes {at} to {end}")
        }
    }
}
