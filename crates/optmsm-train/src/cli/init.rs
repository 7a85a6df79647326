//! `optmsm init`.

use std::path::{Path, PathBuf};

use crate::error::{Error, FileErrorKind, Result};
use crate::starter::{self, Given, starter};
use clap::Args;
use optmsm_data::{Form, Quoting, is_taken, printable};

#[derive(Args)]
pub(super) struct Options {
    /// The rows to train on: file, folder or quoted glob of CSV, Parquet or Arrow.
    data: PathBuf,
    /// Configuration to write, - for standard output; named after the data when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Column of the label, 0 or 1.
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// Column of the scenario's name.
    #[arg(long, value_name = "COL")]
    scenario: Option<String>,
    /// Column that no field is to read; may be given several times.
    #[arg(long = "leave-out", value_name = "COL")]
    leave_out: Vec<String>,
    /// The CSV has no header: its columns are called c1, c2 and so on.
    #[arg(long)]
    no_header: bool,
    /// Meaning of quotes in the CSV: strict, standard (values may have line breaks in them) or none.
    #[arg(long, value_name = "QUOTING", default_value = "strict", value_parser = quoting)]
    quoting: Quoting,
}

fn quoting(text: &str) -> std::result::Result<Quoting, String> {
    match text {
        "strict" => Ok(Quoting::Strict),
        "standard" => Ok(Quoting::Standard),
        "none" => Ok(Quoting::None),
        _ => Err("give strict, standard or none".into()),
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let &Options { no_header, quoting, .. } = options;
    let Options { data, out, label, scenario, leave_out, .. } = options;
    let out = out.clone().unwrap_or_else(|| starter::name(data));
    if !super::is_stdout(&out) && is_taken(&out) {
        return Err(Error::file(
            FileErrorKind::Exists,
            out.display(),
            "is there already",
            "choose another file with --out",
        ));
    }
    let (label, scenario, leave_out) = (label.clone(), scenario.clone(), leave_out.clone());
    let text = starter(data, &Given { label, scenario, leave_out, form: Form { quoting, no_header } })?;
    super::write_out(&out, text.as_bytes())?;
    if super::is_stdout(&out) {
        return Ok(());
    }
    let (name, quoted) = (out.display().to_string(), quoted(&out));
    let text = format!(
        "{}: read it through, then: optmsm check {quoted}, optmsm train --config {quoted}\n",
        printable(&name)
    );
    super::print(text.as_bytes())
}

/// A path as a word of a command that can be pasted into a shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    // It would be taken for an option.
    let path = if path.starts_with('-') { format!("./{path}") } else { path };
    if path.contains(char::is_control) {
        // Neither is a terminal to obey it nor a line to end in it: the quotes of bash, zsh and POSIX 2024 for such characters.
        let escape = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\x{byte:02x}")).collect()
            }
            c => c.to_string(),
        };
        return format!("$'{}'", path.chars().map(escape).collect::<String>());
    }
    // Without a control character nothing cannot be quoted.
    shlex::try_quote(&path).map_or_else(|_| path.clone(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_of_a_shell() {
        for (path, wanted) in [
            ("my.toml", "my.toml"),
            ("a b/my data.toml", "'a b/my data.toml'"),
            ("it's.toml", r#""it's.toml""#),
            ("-x.toml", "./-x.toml"),
            ("a#b$c.toml", "'a#b$c.toml'"),
            ("a\nb\u{1b}'c.toml", r"$'a\x0ab\x1b\'c.toml'"),
        ] {
            assert_eq!(quoted(Path::new(path)), wanted, "{path:?}");
        }
    }
}
