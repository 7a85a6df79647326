//! Commands whose standard output or standard error nobody reads, or that go where there is no room.

use std::fs::File;
use std::process::{Command, Stdio};

use super::disturb::Reference;
use super::plan::{Kind, Plan};
use super::stage::{Stage, differences};
use super::tally::Came;
use super::works::WORKS;

const OUTPUT: Kind = Kind { name: "output", until: 1.0 };

/// Fate of an output.
const WAYS: [&str; 3] = ["full", "a closed pipe", "closed"];

/// Every command with every output in every way.
pub(crate) fn unread(stage: &Stage, references: &[Reference], plan: &mut Plan) {
    for (work, reference) in WORKS.iter().zip(references) {
        for n in 0..2 * WAYS.len() {
            let Some(mut case) = plan.case(OUTPUT, work.name, n) else { continue };
            let (way, error) = (WAYS[n / 2], n % 2 == 1);
            case.came(Came::Tried);
            stage.set(work.state);
            let Some(mut command) = redirected(stage, work.command, way, error) else { continue };
            case.came(Came::Struck);
            let out = stage.plain(&mut command);
            let stream = if error { "error" } else { "output" };
            let args = work.command.join(" ");
            let story =
                format!("standard {stream} is {way}: optmsm {args}: {}: {}", out.status, out.message());
            let code = out.status.code();
            if out.late {
                case.fault(Came::Stuck, story);
            } else if out.died() || !matches!(code, Some(0 | 2)) {
                case.fault(Came::Died, story);
            } else if code == Some(2)
                && (error || way != "full" || !out.message().contains("standard output"))
            {
                // Only results that find no room are an error; what nobody reads is dropped, as a closed pipe's reader expects.
                case.fault(Came::Unclear, story);
            } else {
                if code == Some(2) {
                    // Files come before words about them, except those of later parts of the work.
                    stage.plain(&mut stage.command(work.again[0]));
                }
                let other = differences(&reference.files, &stage.snapshot());
                match other.is_empty() {
                    true => case.came(if code == Some(0) { Came::Unharmed } else { Came::Refused }),
                    false => case.fault(Came::Silent, format!("{other:?}\n  {story}")),
                }
            }
        }
    }
}

/// The program with one output in this way; `None` where the system has none.
fn redirected(stage: &Stage, args: &[&str], way: &str, error: bool) -> Option<Command> {
    let mut command = stage.command(args);
    let to = match way {
        "full" => Stdio::from(File::options().write(true).open("/dev/full").ok()?),
        "a closed pipe" => Stdio::from(std::io::pipe().ok()?.1),
        _ => return Some(stage.redirected(args, if error { "2>&-" } else { ">&-" })),
    };
    if error {
        command.stderr(to)
    } else {
        command.stdout(to)
    };
    Some(command)
}
