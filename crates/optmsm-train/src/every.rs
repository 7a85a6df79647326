//! How often something is done in the course of training.

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A distance between two times: `"pass"`, `{ steps = 500 }` or `{ rows = 1000000 }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// From the end of one pass over the training rows to that of the next.
    #[default]
    Pass,
    /// So many steps.
    Steps(u64),
    /// So many rows; the step that takes the last of them ends it.
    Rows(u64),
}

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Steps done.
    pub(crate) step: u64,
    /// Rows taken.
    pub(crate) rows: u64,
    /// Whether a pass ends here.
    pub(crate) pass_ends: bool,
}

impl Every {
    /// Whether it ends with the step that led to `now`, with `rows` rows before it.
    pub(crate) fn ends(self, rows: u64, now: Place) -> bool {
        match self {
            Every::Pass => now.pass_ends,
            Every::Steps(steps) => now.step.is_multiple_of(steps),
            Every::Rows(every) => rows / every < now.rows / every,
        }
    }

    /// Checks the number; `key` is its dotted name.
    pub(crate) fn validate(self, key: &str) -> Result<()> {
        match self {
            Every::Steps(0) | Every::Rows(0) => {
                Err(Error::config(key, "must be at least 1, got 0", "raise it, or set \"pass\""))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps, of eight of three rows in two passes, that end it.
    fn ends(every: Every) -> Vec<u64> {
        let place = |step| Place { step, rows: 3 * step, pass_ends: step % 4 == 0 };
        (1..=8).filter(|&step| every.ends(3 * (step - 1), place(step))).collect()
    }

    #[test]
    fn by_hand() {
        assert_eq!(ends(Every::Pass), [4, 8]);
        assert_eq!(ends(Every::Steps(3)), [3, 6]);
        assert_eq!(ends(Every::Steps(1)), [1, 2, 3, 4, 5, 6, 7, 8]);
        // Rows 7, 14 and 21 come with steps 3, 5 and 7.
        assert_eq!(ends(Every::Rows(7)), [3, 5, 7]);
        // Fewer rows than a step takes: it ends with every step, and more than once counts once.
        assert_eq!(ends(Every::Rows(2)), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ends(Every::Rows(25)), [] as [u64; 0]);
    }

    #[test]
    fn as_it_is_written() {
        #[derive(Deserialize)]
        struct Of {
            every: Every,
        }
        let read = |text: &str| toml::from_str::<Of>(text).map(|of| of.every);
        assert_eq!(read("every = \"pass\""), Ok(Every::Pass));
        assert_eq!(read("every = { steps = 10 }"), Ok(Every::Steps(10)));
        assert_eq!(read("every = { rows = 1_000_000 }"), Ok(Every::Rows(1_000_000)));
        assert!(read("every = 10").is_err() && read("every = { steps = -1 }").is_err());
        assert!(Every::Steps(0).validate("train.evaluate_every").is_err());
    }
}
