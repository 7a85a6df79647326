//! Launchers of MPI jobs that tests can have on this machine, and their jobs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::require;

/// The release whose library has the standard binary interface, from PyPI.
const MPICH: &str = "mpich==5.0.2";

/// Writes down the process of each rank in the folder `$PIDS`, does what `$DISTURB` says, and becomes the program.
const RANK: &str =
    r#"echo $$ > "$PIDS/${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-0}}"; eval "$DISTURB"; exec "$0" "$@""#;

/// A launcher, with its arguments.
#[derive(Clone, Debug)]
pub struct Launcher(Vec<String>);

impl Launcher {
    /// MPICH in a virtual environment under `folder`, installed once; says so where it cannot be had, and panics if `OPTMSM_REQUIRE`
    /// asks for `mpich`.
    pub fn mpich(folder: &Path) -> Option<Self> {
        let folder = installed(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        if folder.is_none() {
            println!("SKIPPED: MPICH cannot be installed: it takes Python 3 with venv, and PyPI");
        }
        require("mpich", folder.is_some());
        Some(Self(vec![folder?.join("bin/mpiexec").display().to_string()]))
    }

    /// Open MPI of this machine, if its headers are there too; says so where it is not, and panics if `OPTMSM_REQUIRE` asks for
    /// `openmpi`.
    pub fn open_mpi() -> Option<Self> {
        let version = Command::new("mpirun").arg("--version").output();
        let there = version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("Open MPI"))
            && works(Command::new("mpicc").arg("--version"));
        if !there {
            println!("SKIPPED: Open MPI is not installed (Debian: openmpi-bin libopenmpi-dev libclang-dev)");
        }
        // More processes than cores.
        require("openmpi", there).then(|| {
            Self::mpirun(&["--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"])
        })
    }

    /// Open MPI with these arguments, on one machine.
    pub fn mpirun(arguments: &[&str]) -> Self {
        let local = ["mpirun", "--mca", "btl", "self,vader", "--mca", "oob_tcp_if_include", "lo"];
        Self(local.iter().chain(arguments).map(|&argument| argument.into()).collect())
    }

    /// Folder of the libraries beside the launcher, where it was given with its path.
    pub fn libraries(&self) -> PathBuf {
        Path::new(&self.0[0]).ancestors().nth(2).unwrap_or(Path::new("")).join("lib")
    }

    /// Starts a program on some ranks. Their processes, and what they write, are in `folder`. A shell runs `disturb` in each before it
    /// becomes the program; `$PMI_RANK` tells it which one it is in.
    ///
    /// # Errors
    /// The launcher cannot be started.
    pub fn start(&self, ranks: usize, disturb: &str, program: &Command, folder: &Path) -> io::Result<Job> {
        fs::create_dir_all(folder)?;
        for old in fs::read_dir(folder)? {
            fs::remove_file(old?.path())?;
        }
        let file = |name: &str| File::create(folder.join(name));
        let mut launcher = Command::new(&self.0[0]);
        launcher.args(&self.0[1..]).args(["-n", &ranks.to_string(), "/bin/sh", "-c", RANK]);
        launcher.arg(program.get_program()).args(program.get_args());
        launcher.env("PIDS", folder).env("DISTURB", disturb);
        // Open MPI wants to be told that root means it.
        launcher.envs(["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"].map(|name| (name, "1")));
        launcher.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(current) = program.get_current_dir() {
            launcher.current_dir(current);
        }
        // Files, since ranks that are left hold a pipe open.
        launcher.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?);
        Ok(Job { launcher: launcher.spawn()?, ranks, folder: folder.into() })
    }
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}

/// The virtual environment; none where it cannot be made. Of processes that come at the same time one makes it.
fn installed(tmp: &Path) -> io::Result<Option<PathBuf>> {
    fs::create_dir_all(tmp)?;
    let folder = tmp.join(MPICH.replace("==", "-"));
    let one = File::create(folder.with_extension("lock"))?;
    one.lock()?;
    let ready = folder.join("ready");
    let make = || {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MPICH];
        works(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && works(Command::new(folder.join("bin/python")).args(pip))
            && fs::write(&ready, "").is_ok()
    };
    Ok((ready.exists() || make()).then_some(folder))
}

/// A job that was started.
#[derive(Debug)]
pub struct Job {
    launcher: Child,
    ranks: usize,
    folder: PathBuf,
}

/// How a job ended.
#[derive(Debug)]
pub struct Ended {
    /// Of the launcher.
    pub status: ExitStatus,
    /// Of all ranks.
    pub stdout: String,
    /// Of all ranks, and of the launcher.
    pub stderr: String,
}

impl Job {
    /// Process of the launcher.
    pub fn launcher(&self) -> u32 {
        self.launcher.id()
    }

    /// Process of a rank, once it is there.
    pub fn rank(&self, rank: usize) -> Option<u32> {
        fs::read_to_string(self.folder.join(rank.to_string())).ok()?.trim().parse().ok()
    }

    /// Whether the launcher has ended.
    pub fn has_ended(&mut self) -> bool {
        self.launcher.try_wait().is_ok_and(|status| status.is_some())
    }

    fn said(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join(name)).unwrap_or_default()).into()
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.ranks).filter(|&rank| self.rank(rank).is_some_and(lives)).collect()
    }

    /// Waits for the launcher, and then for its ranks.
    ///
    /// # Panics
    /// They do not end within `limit`; they are killed then.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        while !self.has_ended() || !self.alive().is_empty() {
            let (stderr, alive) = (self.said("stderr"), self.alive());
            assert!(start.elapsed() < limit, "not within {limit:?}; ranks {alive:?} run\n{stderr}");
            sleep(Duration::from_millis(2));
        }
        let status = self.launcher.wait().unwrap_or_else(|e| panic!("the launcher: {e}"));
        Ended { status, stdout: self.said("stdout"), stderr: self.said("stderr") }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A test that fails leaves nothing.
        if !self.has_ended() {
            self.launcher.kill().ok();
            self.launcher.wait().ok();
        }
        for process in self.alive().into_iter().filter_map(|rank| self.rank(rank)) {
            signal(process, "KILL");
        }
    }
}

/// Sends a signal, as `TERM`, to a process; whether it was there.
pub fn signal(process: u32, signal: &str) -> bool {
    works(Command::new("kill").args([&format!("-{signal}"), &process.to_string()]))
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn lives(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}
