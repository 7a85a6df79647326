//! The other side: `peers/optmsm_torch.py` as a child process, one JSON command and answer a line.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A running peer.
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the CPU's; `stock` leaves PyTorch's memory allocation as it comes.
    ///
    /// # Errors
    /// When Python cannot be started.
    pub fn start(python: &Path, threads: usize, stock: bool) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/optmsm_torch.py");
        let threads = threads.to_string();
        let arguments = ["--threads", &threads, "--stock"];
        Self::run(python, &script, if stock { &arguments } else { &arguments[..2] })
    }

    /// Starts a script that speaks this protocol.
    ///
    /// # Errors
    /// When Python cannot be started.
    pub fn run(python: &Path, script: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(python);
        command.arg(script).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| {
                format!("{}: {e}; give a Python that has torch as --python", python.display())
            })?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("the peer has no stdout")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// When the peer ended or reports an error.
    pub fn ask(&mut self, command: &Value) -> Result<Value> {
        let stdin = self.stdin.as_mut().ok_or("the peer was stopped")?;
        writeln!(stdin, "{command}")?;
        stdin.flush()?;
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(format!("the peer ended ({status}) at {command}; its message is above").into());
        }
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(problem) => Err(format!("the peer answers {problem} to {command}").into()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Seconds of each repetition of a work.
    ///
    /// # Errors
    /// As [`Peer::ask`].
    pub fn time(&mut self, work: &str, reps: usize) -> Result<Vec<f64>> {
        floats(&self.ask(&json!({"cmd": "time", "work": work, "reps": reps}))?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Numbers of a JSON array.
///
/// # Errors
/// When it is something else.
pub fn floats(value: &Value) -> Result<Vec<f64>> {
    Ok(serde_json::from_value(value.clone())?)
}
