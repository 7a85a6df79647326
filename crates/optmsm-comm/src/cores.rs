//! Cores that the process may run on: a launcher that binds each rank to one leaves it one thread.

use std::fs;
use std::str::FromStr;

/// Cores of this process and of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Those that the process may run on; a launcher or `taskset` may have bound it.
    pub allowed: usize,
    /// Those of the machine, or those that Slurm has given to the job on it.
    pub machine: usize,
    /// Ranks of the job on this machine, where the launcher tells.
    pub ranks: Option<usize>,
}

impl Cores {
    /// Of this process; `None` where the system does not tell (it is told on Linux).
    pub fn here() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let online = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
        let number = |name: &str| leading(&std::env::var(name).ok()?);
        let given = number("SLURM_CPUS_ON_NODE").unwrap_or(usize::MAX);
        Some(Self {
            allowed: count(allowed)?,
            machine: count(&online)?.min(given),
            ranks: ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE"]
                .into_iter()
                .find_map(number),
        })
    }

    /// A warning to users, where a launcher leaves cores idle that the ranks of this machine may not use. Without a launcher that
    /// tells how many there are, there is none: whoever binds a process of their own means it.
    pub fn warning(&self) -> Option<String> {
        let Self { allowed, machine, ranks } = *self;
        let used = allowed.saturating_mul(ranks?);
        (used < machine).then(|| {
            format!(
                "the ranks of this machine may use {used} of its {machine} cores, {allowed} each: the launcher binds them to cores; \
                 `mpirun --bind-to none` (Slurm: `srun --cpu-bind=none`) does not"
            )
        })
    }
}

/// How many numbers are in a list such as `0-3,8`.
fn count(list: &str) -> Option<usize> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|n| usize::from_str(n).ok());
        last?.checked_sub(first?)?.checked_add(1)
    };
    list.trim().split(',').map(part).sum()
}

/// The number that a text begins with, such as 2 of `2(x3),1`.
fn leading(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_system_are_counted() {
        for (list, cores) in [("0", 1), ("0-3", 4), ("0-3,8", 5), ("\t1,3,5-6\n", 4)] {
            assert_eq!(count(list), Some(cores), "{list}");
        }
        for list in ["", "3-1", "a", "0-", "1,,2"] {
            assert_eq!(count(list), None, "{list}");
        }
        assert_eq!(
            [leading("2(x3),1"), leading("16"), leading(""), leading("x")],
            [Some(2), Some(16), None, None]
        );
    }

    #[test]
    fn ranks_that_leave_cores_idle_are_warned() {
        let warning = |allowed, machine, ranks| Cores { allowed, machine, ranks }.warning();
        let said = warning(1, 64, Some(4)).unwrap();
        assert!(said.contains("4 of its 64 cores, 1 each"), "{said}");
        assert!(said.contains("--bind-to none"), "{said}");
        assert!(warning(1, 64, Some(1)).is_some());
        // All of them; each a share of its own; more ranks than cores; no launcher.
        for (allowed, machine, ranks) in
            [(64, 64, Some(4)), (16, 64, Some(4)), (1, 2, Some(4)), (1, 64, None)]
        {
            assert_eq!(warning(allowed, machine, ranks), None);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells() {
        let Cores { allowed, machine, .. } = Cores::here().unwrap();
        // The standard library asks the system in another way; it takes limits on time into account too.
        let threads = std::thread::available_parallelism().unwrap().get();
        assert!(threads <= allowed && allowed <= machine, "{threads} {allowed} {machine}");
    }
}
