//! Commands that are killed, or whose system calls fail; then what the next command makes of what they left.

use super::fault::{Act, Call, Fault};
use super::plan::{Case, Kind, Plan};
use super::stage::{Outcome, Snapshot, Stage, differences};
use super::tally::Came;
use super::trace;
use super::works::{WORKS, Work};

const KILL: Kind = Kind { name: "kill", until: 0.45 };
const THREAD: Kind = Kind { name: "thread", until: 0.48 };
const FAIL: Kind = Kind { name: "fail", until: 0.7 };

/// Files that an undisturbed run makes, and the system calls that it takes.
pub(crate) struct Reference {
    calls: Vec<Call>,
    pub(crate) files: Snapshot,
    printed: String,
}

/// Those of all commands.
pub(crate) fn references(stage: &Stage) -> Vec<Reference> {
    WORKS.iter().map(|work| Reference::of(stage, work)).collect()
}

impl Reference {
    fn of(stage: &Stage, work: &Work) -> Self {
        let once = || {
            stage.set(work.state);
            let out = stage.run(work.command, None);
            assert!(out.success(), "{}: {}", work.name, out.stderr);
            (out, stage.snapshot())
        };
        let (out, files) = once();
        let other = differences(&files, &once().1);
        assert!(other.is_empty(), "{}: undisturbed runs differ in {other:?}", work.name);
        Self { calls: out.calls, files, printed: out.stdout }
    }

    /// Differences that a run which claims success made: contents, and files that should not be there.
    fn compare(&self, stage: &Stage, work: &Work, out: &Outcome) -> (Vec<String>, Vec<String>) {
        let found = stage.snapshot();
        let (more, mut other): (Vec<_>, Vec<_>) =
            differences(&self.files, &found).into_iter().partition(|name| !self.files.contains_key(name));
        if work.prints && out.stdout != self.printed {
            other.push("standard output".into());
        }
        (other, more)
    }
}

/// `kill -9` at system calls, in one case of four twice in a row.
pub(crate) fn kills(stage: &Stage, references: &[Reference], plan: &mut Plan) {
    each(references, plan, KILL, (3, 75), |work, reference, case| {
        stage.set(work.state);
        let fault = kill(case, &reference.calls);
        let out = stage.run(work.command, Some(fault));
        let mut story = format!("{fault}\n  {}", said(work.command, &out));
        if !out.struck {
            return ended(stage, work, reference, case, &out, &story);
        }
        case.came(Came::Struck);
        if case.rng.below(4) == 0 {
            let fault = kill(case, &reference.calls);
            let out = stage.run(work.again[0], Some(fault));
            story += &format!("\n  {fault}\n  {}", said(work.again[0], &out));
        }
        recover(stage, work, reference, case, &story);
    });
}

/// System calls that return an error, or write less than they are given.
pub(crate) fn failing_calls(stage: &Stage, references: &[Reference], plan: &mut Plan) {
    if !stage.traces() {
        println!("SKIPPED: no process may trace another here, so no call can be made to fail");
        return;
    }
    each(references, plan, FAIL, (3, 45), |work, reference, case| {
        stage.set(work.state);
        let mut kinds: Vec<Call> = reference.calls.clone();
        kinds.retain(|&call| !trace::acts(call).is_empty());
        kinds.sort_unstable();
        kinds.dedup();
        let call = case.rng.pick(&kinds);
        let nth = case.rng.below(reference.calls.iter().filter(|&&c| c == call).count());
        let fault = Fault { call: Some(call), nth, act: case.rng.pick(trace::acts(call)) };
        let out = stage.run(work.command, Some(fault));
        let story = format!("{fault}\n  {}", said(work.command, &out));
        if out.struck {
            case.came(Came::Struck);
        }
        ended(stage, work, reference, case, &out, &story);
    });
}

/// Every thread that a command starts is refused once.
pub(crate) fn threads(stage: &Stage, references: &[Reference], plan: &mut Plan) {
    let starts = |call: &Call| trace::name(*call).starts_with("clone");
    let few = ["train", "train streamed", "predict gzip", "init", "evaluate", "report"];
    for (work, reference) in WORKS.iter().zip(references).filter(|(work, _)| few.contains(&work.name)) {
        let Some(call) = reference.calls.iter().copied().find(starts) else { continue };
        for nth in 0..reference.calls.iter().filter(|&&c| c == call).count() {
            let Some(mut case) = plan.case(THREAD, work.name, nth) else { continue };
            case.came(Came::Tried);
            stage.set(work.state);
            let fault = Fault { call: Some(call), nth, act: trace::acts(call)[0] };
            let out = stage.run(work.command, Some(fault));
            if out.struck {
                case.came(Came::Struck);
            }
            let story = format!("{fault}\n  {}", said(work.command, &out));
            ended(stage, work, reference, &mut case, &out, &story);
        }
    }
}

/// Runs the short form's or the long one's number of cases of each command, all commands in turn.
fn each(
    references: &[Reference],
    plan: &mut Plan,
    kind: Kind,
    (short, long): (usize, usize),
    one: impl Fn(&Work, &Reference, &mut Case),
) {
    for n in 0..plan.cases(short, long) {
        for (work, reference) in WORKS.iter().zip(references) {
            let Some(mut case) = plan.case(kind, work.name, n) else { continue };
            case.came(Came::Tried);
            one(work, reference, &mut case);
        }
    }
}

/// At any call, or at one of a rare kind, where files come to be.
fn kill(case: &mut Case, calls: &[Call]) -> Fault {
    let act = case.rng.pick(&[Act::KillBefore, Act::KillAfter]);
    if case.rng.below(2) == 0 {
        return Fault { call: None, nth: case.rng.below(calls.len()), act };
    }
    let mut kinds = calls.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let call = case.rng.pick(&kinds);
    Fault { call: Some(call), nth: case.rng.below(calls.iter().filter(|&&c| c == call).count()), act }
}

/// A disturbed command came to its end.
fn ended(stage: &Stage, work: &Work, reference: &Reference, case: &mut Case, out: &Outcome, story: &str) {
    if out.late {
        return case.fault(Came::Stuck, format!("it hangs\n  {story}"));
    }
    if out.died() {
        case.fault(Came::Died, story);
        return recover(stage, work, reference, case, story);
    }
    if !out.success() {
        let known = stage.snapshot().into_keys().chain(reference.files.keys().cloned());
        match out.status.code() == Some(2) && out.names_one_of(known) {
            true => case.came(Came::Refused),
            false => case.fault(Came::Unclear, story),
        }
        return recover(stage, work, reference, case, story);
    }
    let (other, more) = reference.compare(stage, work, out);
    let warned =
        || out.message().starts_with("warning: ") && out.names_one_of(reference.files.keys().cloned());
    if !other.is_empty() && warned() {
        // A part that the work can do without, and says so.
        case.came(Came::Refused);
    } else if !other.is_empty() {
        case.fault(Came::Silent, format!("{other:?}\n  {story}"));
    } else if !more.is_empty() {
        recover(stage, work, reference, case, story);
    } else {
        case.came(Came::Unharmed);
    }
}

/// Does what a user does after a failure, and checks what that makes.
fn recover(stage: &Stage, work: &Work, reference: &Reference, case: &mut Case, story: &str) {
    let mut story = story.to_string();
    for args in work.again {
        let out = stage.run(args, None);
        story += &format!("\n  then {}", said(args, &out));
        if out.late {
            return case.fault(Came::Stuck, format!("it hangs\n  {story}"));
        }
        if out.died() {
            return case.fault(Came::Died, story);
        }
        let (other, more) = reference.compare(stage, work, &out);
        match out.success() {
            true if !other.is_empty() => return case.fault(Came::Silent, format!("{other:?}\n  {story}")),
            true if !more.is_empty() => return case.fault(Came::LeftOver, format!("{more:?}\n  {story}")),
            true => return case.came(Came::Recovered),
            // The command that was struck had done all: one that does not repeat its work may say so.
            false if !work.prints && other.is_empty() && more.is_empty() => {
                return case.came(Came::Recovered);
            }
            false => {}
        }
    }
    case.fault(Came::Stuck, story);
}

/// A command, its end, and the last words of it.
fn said(args: &[&str], out: &Outcome) -> String {
    format!("optmsm {}: {}: {}", args.join(" "), out.status, out.message())
}
