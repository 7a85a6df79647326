//! Signs of a launcher in the environment of a process that it starts.

use crate::{Comm, CommError, Result};

/// A process that a launcher has started as a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The launcher, for messages.
    pub(crate) launcher: &'static str,
    /// The variables by which it is known, with their values.
    pub(crate) signs: String,
    /// Number of ranks, unless the launcher tells it to MPI alone.
    pub(crate) size: Option<usize>,
    /// Number of this rank.
    pub(crate) rank: usize,
    /// How to come to an MPI that knows the launcher.
    pub(crate) remedy: &'static str,
}

/// Signs of a launcher: a variable with the rank, and one or more that may have the number of ranks.
struct Signs {
    launcher: &'static str,
    rank: &'static str,
    sizes: &'static [&'static str],
    /// One that has to be there besides, or nothing.
    with: &'static str,
    /// How to come to an MPI that knows the launcher.
    remedy: &'static str,
}

const OPEN_MPIRUN: &str = "Open MPI's mpirun";
const SLURM: &str = "Slurm's srun";
const SLURM_SIZES: &[&str] = &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];

const OPEN_MPI: &str = "Open MPI 6 or newer has the standard interface; for an older one, build the program on such a machine with \
     the cargo feature `mpi`, which takes mpicc and libclang; MPICH (`pip install mpich`) has its own mpiexec, and under Slurm \
     `srun --mpi=pmi2`";
const MPICH: &str = "MPICH 5 or newer has the standard interface, and `pip install mpich` brings it with its mpiexec; for an older \
     one, build the program on such a machine with the cargo feature `mpi`, which takes mpicc and libclang";

/// The first that fits counts. PMIx and PMI are ways by which ranks find each other; without one, `srun` starts processes that are
/// not ranks of one job (`--mpi=none`).
const LAUNCHERS: [Signs; 5] = [
    Signs {
        launcher: OPEN_MPIRUN,
        rank: "OMPI_COMM_WORLD_RANK",
        sizes: &["OMPI_COMM_WORLD_SIZE"],
        with: "",
        remedy: OPEN_MPI,
    },
    // Before Slurm's: MPICH's mpiexec starts its helpers by srun, whose variables the ranks then have too.
    Signs {
        launcher: "MPICH's mpiexec or its like",
        rank: "PMI_RANK",
        sizes: &["PMI_SIZE"],
        with: "",
        remedy: MPICH,
    },
    Signs { launcher: SLURM, rank: "SLURM_PROCID", sizes: SLURM_SIZES, with: "PMI_FD", remedy: MPICH },
    Signs { launcher: SLURM, rank: "SLURM_PROCID", sizes: SLURM_SIZES, with: "PMIX_RANK", remedy: OPEN_MPI },
    Signs {
        launcher: "a launcher with PMIx",
        rank: "PMIX_RANK",
        sizes: &[],
        with: "PMIX_NAMESPACE",
        remedy: OPEN_MPI,
    },
];

impl Launch {
    /// Of this process; `None` where nothing says that it is a rank.
    pub(crate) fn here() -> Result<Option<Self>> {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let found = |name: &'static str| Some((name, variable(name)?));
        for Signs { launcher, rank, sizes, with, remedy } in LAUNCHERS {
            let (Some(rank), size) = (found(rank), sizes.iter().find_map(|&name| found(name))) else {
                continue;
            };
            if size.is_none() && !sizes.is_empty() || !with.is_empty() && found(with).is_none() {
                continue;
            }
            let signs: Vec<String> =
                size.iter().chain([&rank]).map(|(name, value)| format!("{name}={value}")).collect();
            let size = size.as_ref().map(number).transpose()?;
            return Ok(Some(Self { launcher, signs: signs.join(", "), size, rank: number(&rank)?, remedy }));
        }
        Ok(None)
    }

    /// Whether a library can know the launcher: MPICH ends the process where Open MPI has started it.
    #[cfg(all(unix, any(feature = "abi", feature = "mpi")))]
    pub(crate) fn known_to(&self, library: &str) -> Result<()> {
        if self.launcher != OPEN_MPIRUN || !library.contains("MPICH") {
            return Ok(());
        }
        Err(CommError::new(format!(
            "{} has started this process ({}), and {library} does not know that launcher; start the program by the mpiexec of this \
             MPI, or have it use the launcher's ({})",
            self.launcher, self.signs, self.remedy,
        )))
    }

    /// Whether MPI sees the job that the launcher has started: an MPI that the launcher does not know is alone in each process.
    pub(crate) fn agrees(&self, seen: &dyn Comm) -> Result<()> {
        let (rank, size) = (seen.rank(), seen.size());
        let fits = match self.size {
            Some(expected) => size == expected,
            None => size > 1 || self.rank == rank,
        };
        if fits {
            return Ok(());
        }
        Err(CommError::new(format!(
            "{} has started this process ({}), but MPI sees one of {size}: {seen:?}; it does not know that launcher; start the \
             program by the mpiexec of this MPI, or have it use the launcher's ({})",
            self.launcher, self.signs, self.remedy,
        )))
    }
}

fn number((name, value): &(&str, String)) -> Result<usize> {
    value.parse().map_err(|_| {
        CommError::new(format!(
            "{name}={value}: a launcher of MPI jobs sets a number here; unset it where this is no job of MPI"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alone, threads};

    fn launch(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        let value =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Launch::of(value)
    }

    /// Facts of a job: launcher, number of ranks, rank.
    fn job(variables: &[(&str, &str)]) -> Option<(&'static str, Option<usize>, usize)> {
        launch(variables).unwrap().map(|l| (l.launcher, l.size, l.rank))
    }

    #[test]
    fn launchers_are_known_by_what_they_set() {
        assert_eq!(job(&[]), None);
        let open = [
            ("PMIX_RANK", "1"),
            ("PMIX_NAMESPACE", "7"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_RANK", "1"),
        ];
        assert_eq!(job(&open), Some(("Open MPI's mpirun", Some(4), 1)));
        assert_eq!(job(&open[..2]), Some(("a launcher with PMIx", None, 1)));
        assert_eq!(
            job(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")]),
            Some(("MPICH's mpiexec or its like", Some(2), 0))
        );
        let slurm = [("SLURM_PROCID", "3"), ("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "4")];
        let with = |name| [&slurm[..], &[(name, "3")]].concat();
        assert_eq!(job(&with("PMIX_RANK")), Some(("Slurm's srun", Some(4), 3)));
        assert_eq!(job(&with("PMI_FD")), Some(("Slurm's srun", Some(4), 3)));
        // Of `srun --mpi=none`, and of a job's own script.
        assert_eq!(job(&slurm), None);
        // MPICH's mpiexec within a job of Slurm: the ranks are its own.
        let hydra = [&slurm[..], &[("PMI_FD", "9"), ("PMI_RANK", "1"), ("PMI_SIZE", "2")]].concat();
        assert_eq!(job(&hydra), Some(("MPICH's mpiexec or its like", Some(2), 1)));
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let said = launch(&[("PMI_RANK", "0"), ("PMI_SIZE", "two")]).unwrap_err().to_string();
        assert!(said.starts_with("PMI_SIZE=two: "), "{said}");
    }

    #[test]
    fn mpi_has_to_see_the_launchers_job() {
        let four = launch(&[("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "1")]).unwrap().unwrap();
        assert!(four.agrees(&threads(4)[1]).is_ok());
        let said = four.agrees(&Alone).unwrap_err().to_string();
        assert!(
            said.contains("OMPI_COMM_WORLD_SIZE=4") && said.contains("MPI sees one of 1: Alone"),
            "{said}"
        );
        // Nothing tells how many there are: rank 1 cannot be alone, rank 0 can.
        let pmix = |rank| launch(&[("PMIX_RANK", rank), ("PMIX_NAMESPACE", "7")]).unwrap().unwrap();
        assert!(pmix("0").agrees(&Alone).is_ok());
        assert!(pmix("1").agrees(&Alone).is_err());
        assert!(pmix("1").agrees(&threads(2)[1]).is_ok());
    }
}
