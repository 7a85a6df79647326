//! Settings of a server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::error::ServeError;

/// Most threads: what a system starts by far, and what `threads + 2` cannot overflow.
const MOST_THREADS: usize = 4096;

/// Longest time that a setting can have: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Settings of a server; [`Config::new`] has the values that are taken where nothing is said.
#[derive(Clone, Debug)]
pub struct Config {
    /// Models, the first version of each name first: it gets what no share takes.
    pub sources: Vec<Source>,
    /// Shares of requests by name and version, from 0 to 1.
    pub shares: Vec<(String, String, f64)>,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port; 0 for one that the system chooses.
    pub port: u16,
    /// Threads that predict, and as many requests at the same time.
    pub threads: usize,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// Bytes of bodies that are held at the same time.
    pub max_held: usize,
    /// Most rows of a request.
    pub max_rows: usize,
    /// Most requests that wait for a thread.
    pub queue: usize,
    /// Most open connections; others wait until one is closed.
    pub connections: usize,
    /// Time for a request from its header to its answer.
    pub timeout: Duration,
    /// Time for a header, and for a connection without a request; also for an answer that nobody takes.
    pub header_timeout: Duration,
    /// Time between looks at the files of the models; none: they are never looked at.
    pub watch: Option<Duration>,
    /// Whether rows may have no other columns than the model's.
    pub strict: bool,
    /// Whether models can be loaded and unloaded by requests.
    pub repository: bool,
    /// Whether a model predicts rows of its own before it is ready.
    pub warm_up: bool,
    /// A line for each request.
    pub log: Option<Log>,
    /// Requests that take as long are reported.
    pub slow: Option<Duration>,
    /// Most reports of slow requests within a minute.
    pub slow_per_minute: u32,
    /// Time that the server goes on to accept connections after it was told to stop, not ready any more.
    pub linger: Duration,
    /// Time for requests in flight after that.
    pub drain: Duration,
}

/// A place for the lines of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// Standard output.
    Stdout,
    /// A file, to which lines are appended.
    File(PathBuf),
}

impl Config {
    /// Settings for some models.
    pub fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            shares: Vec::new(),
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_body: 16 << 20,
            max_held: 256 << 20,
            max_rows: 16_384,
            queue: 256,
            connections: 4096,
            timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            watch: None,
            strict: false,
            repository: true,
            warm_up: true,
            log: None,
            slow: None,
            slow_per_minute: 10,
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(30),
        }
    }

    /// # Errors
    /// A setting that cannot work.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        let times = [
            ("--timeout", self.timeout),
            ("header_timeout", self.header_timeout),
            ("--watch", self.watch.unwrap_or_default()),
            ("--linger", self.linger),
            ("--drain", self.drain),
        ];
        // Clocks end somewhere.
        if let Some((name, time)) = times.iter().find(|(_, time)| *time > LONGEST) {
            let problem = format!("{} seconds are too many", time.as_secs());
            let fix = format!("give at most {}, which is a year", LONGEST.as_secs());
            return Err(ServeError::setting(*name, problem, fix));
        }
        let positive = [
            ("--threads", self.threads),
            ("--max-body", self.max_body),
            ("--max-rows", self.max_rows),
            ("--timeout", self.timeout.as_millis() as usize),
            ("connections", self.connections),
            ("header_timeout", self.header_timeout.as_millis() as usize),
            ("--watch", self.watch.map_or(1, |every| every.as_millis() as usize)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(ServeError::setting(*name, "0 serves nobody", "give at least 1"));
        }
        if self.threads > MOST_THREADS {
            let problem = format!("{} are too many", self.threads);
            return Err(ServeError::setting("--threads", problem, format!("give at most {MOST_THREADS}")));
        }
        if self.max_held < self.max_body {
            let problem = format!("{} bytes do not hold a body of {}", self.max_held, self.max_body);
            return Err(ServeError::setting("max_held", problem, "give at least max_body"));
        }
        if self.sources.is_empty() {
            return Err(ServeError::setting("RUN", "there is no model", "name at least one run folder"));
        }
        let mut seen = BTreeSet::new();
        for source in &self.sources {
            if !seen.insert((&source.name, &source.version)) {
                let what = format!("{}/{}", source.name, source.version);
                let fix = "give each a name or version of its own, as NAME/VERSION=RUN";
                return Err(ServeError::setting(what, "two models have this name and version", fix));
            }
        }
        self.check_shares(&seen)
    }

    fn check_shares(&self, known: &BTreeSet<(&String, &String)>) -> Result<(), ServeError> {
        let mut seen = BTreeSet::new();
        for (name, version, share) in &self.shares {
            let what = || format!("--share {name}/{version}={share}");
            if !known.contains(&(name, version)) {
                let all: Vec<_> = known.iter().map(|(name, version)| format!("{name}/{version}")).collect();
                let fix = format!("there are {}", all.join(", "));
                return Err(ServeError::setting(what(), "there is no such version", fix));
            }
            if !(0.0..=1.0).contains(share) {
                return Err(ServeError::setting(what(), "no share", "give a number from 0 to 1"));
            }
            if !seen.insert((name, version)) {
                return Err(ServeError::setting(what(), "the version has two shares", "keep one"));
            }
            let of_name = self.shares.iter().filter(|other| other.0 == *name);
            let sum: f64 = of_name.map(|other| other.2).sum();
            if sum > 1.0 + 1e-9 {
                let problem = format!("the shares of {name} add up to {sum}");
                return Err(ServeError::setting(what(), problem, "give at most 1 in all"));
            }
            let first = self.sources.iter().find(|source| source.name == *name);
            if first.is_some_and(|source| source.version == *version) {
                let problem = "the first version of a name gets what is left";
                return Err(ServeError::setting(what(), problem, "give shares to the others alone"));
            }
        }
        Ok(())
    }
}

/// A model to serve: its name, its version, and where it is.
///
/// Its text is `PATH`, `NAME=PATH` or `NAME/VERSION=PATH`; the name is that of the folder where none is given, the version `1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the model.
    pub name: String,
    /// Name of the version.
    pub version: String,
    /// The path that a [`Loader`](crate::Loader) gets.
    pub path: PathBuf,
}

impl FromStr for Source {
    type Err = ServeError;

    fn from_str(text: &str) -> Result<Self, ServeError> {
        let refused = |problem: &str, fix: &str| Err(ServeError::setting(text, problem, fix));
        // A path with `=` in it is given with a name.
        let (label, path) = text.split_once('=').unwrap_or(("", text));
        if path.is_empty() {
            return refused("there is no path", "give PATH, NAME=PATH or NAME/VERSION=PATH");
        }
        let (name, version) = label.split_once('/').unwrap_or((label, "1"));
        let name = match name {
            "" if label.is_empty() => folder(Path::new(path)),
            name => name.to_owned(),
        };
        for part in [&*name, version] {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            // Two dots would be another folder of a path.
            if part.is_empty() || part.len() > 128 || !part.chars().all(fits) || part.starts_with('.') {
                let problem = format!("'{part}' is no name of a model or version");
                return refused(&problem, "give letters, digits, '.', '_' and '-', as in NAME/VERSION=PATH");
            }
        }
        Ok(Self { name, version: version.to_owned(), path: path.into() })
    }
}

/// The name of a folder, `.` and `..` resolved.
fn folder(path: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    name(path).or_else(|| name(&path.canonicalize().ok()?)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Result<(String, String, String), String> {
        let source: Source = text.parse().map_err(|e: ServeError| e.to_string())?;
        Ok((source.name, source.version, source.path.to_string_lossy().into_owned()))
    }

    #[test]
    fn a_source_has_a_name_and_a_version() {
        let is = |name: &str, version: &str, path: &str| Ok((name.into(), version.into(), path.into()));
        assert_eq!(source("runs/first"), is("first", "1", "runs/first"));
        assert_eq!(source("runs/first/"), is("first", "1", "runs/first/"));
        assert_eq!(source("ctr=runs/a=b"), is("ctr", "1", "runs/a=b"));
        assert_eq!(source("ctr/2024-11=runs/first"), is("ctr", "2024-11", "runs/first"));
        for bad in ["", "ctr=", "a/b/c=x", "a b=x", "/2=x", "ctr/=x", "../x/.hidden", "é=x"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_of_versions_and_add_up_to_one_at_most() {
        let sources = ["m/1=a", "m/2=b", "m/3=c"].map(|text| text.parse().unwrap());
        let check = |shares: &[(&str, f64)]| {
            let mut config = Config::new(sources.to_vec());
            config.shares = shares.iter().map(|(v, s)| ("m".into(), (*v).into(), *s)).collect();
            config.check().map_err(|e| e.to_string())
        };
        assert_eq!(check(&[("2", 0.5), ("3", 0.5)]), Ok(()));
        for (shares, text) in [
            (&[("2", 0.6), ("3", 0.5)][..], "add up to 1.1"),
            (&[("4", 0.1)], "no such version; there are m/1, m/2, m/3"),
            (&[("2", -0.1)], "from 0 to 1"),
            (&[("2", f64::NAN)], "from 0 to 1"),
            (&[("2", 0.1), ("2", 0.1)], "two shares"),
            (&[("1", 0.1)], "gets what is left"),
        ] {
            let said = check(shares).unwrap_err();
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn settings_that_serve_nobody_are_refused() {
        let config = || Config::new(vec!["m=a".parse().unwrap()]);
        let said = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(config().check().is_ok());
        assert!(said(|c| c.threads = 0).starts_with("--threads: 0 serves nobody"));
        assert!(said(|c| c.threads = usize::MAX).ends_with("are too many; give at most 4096"));
        assert!(said(|c| c.sources.clear()).starts_with("RUN: there is no model"));
        assert!(said(|c| c.sources.push(c.sources[0].clone())).contains("two models"));
        assert!(said(|c| c.watch = Some(Duration::ZERO)).starts_with("--watch: 0 serves nobody"));
        // Longer than `Instant` can add.
        for change in [
            (|c| c.timeout = Duration::from_secs(1 << 62)) as fn(&mut Config),
            |c| c.header_timeout = Duration::MAX,
            |c| c.watch = Some(Duration::MAX),
            |c| c.linger = Duration::MAX,
            |c| c.drain = Duration::MAX,
        ] {
            assert!(said(change).ends_with("give at most 31536000, which is a year"));
        }
        assert!(said(|c| c.max_held = 1).contains("do not hold a body"));
    }
}
