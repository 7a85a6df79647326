//! Outcome of the cases.

use std::collections::BTreeMap;
use std::fmt;

/// Outcomes of a case. Those from [`Came::Stuck`] on are faults of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Came {
    /// A fault was planned.
    Tried,
    /// It came to happen: the program made the call, or read the file.
    Struck,
    /// The command did its work all the same.
    Unharmed,
    /// The command ended with a message that says what was wrong.
    Refused,
    /// The next command made of it what an undisturbed one makes, bit by bit.
    Recovered,
    /// No next command succeeds, or one hangs.
    Stuck,
    /// Success is claimed, of other bytes.
    Silent,
    /// A panic, an abort, a signal.
    Died,
    /// Files are there that an undisturbed run does not leave.
    LeftOver,
    /// A refusal that does not say what was wrong with what.
    Unclear,
}

const COLUMNS: [(Came, &str); 10] = [
    (Came::Tried, "tried"),
    (Came::Struck, "struck"),
    (Came::Unharmed, "unharmed"),
    (Came::Refused, "refused"),
    (Came::Recovered, "recovered"),
    (Came::Stuck, "stuck"),
    (Came::Silent, "silent"),
    (Came::Died, "died"),
    (Came::LeftOver, "left over"),
    (Came::Unclear, "unclear"),
];

/// Counts by kind of fault and command, and the story of each fault of the program.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<(&'static str, String), BTreeMap<Came, usize>>,
    pub(crate) stories: Vec<String>,
}

impl Tally {
    pub(crate) fn count(&mut self, kind: &'static str, name: &str, came: Came) {
        let row = self.counts.entry((kind, name.to_string())).or_default();
        *row.entry(came).or_default() += 1;
    }

    pub(crate) fn total(&self, came: Came) -> usize {
        self.counts.values().filter_map(|row| row.get(&came)).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |f: &mut fmt::Formatter<'_>, of: &dyn Fn(Came) -> usize| {
            COLUMNS.iter().try_for_each(|&(came, _)| write!(f, "{:>11}", of(came)))?;
            writeln!(f)
        };
        write!(f, "{:<8}{:<34}", "fault", "to")?;
        COLUMNS.iter().try_for_each(|(_, title)| write!(f, "{title:>11}"))?;
        writeln!(f)?;
        for ((kind, name), row) in &self.counts {
            write!(f, "{kind:<8}{name:<34}")?;
            cells(f, &|came| row.get(&came).copied().unwrap_or(0))?;
        }
        write!(f, "{:<42}", "all")?;
        cells(f, &|came| self.total(came))
    }
}
