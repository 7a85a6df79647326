//! `optmsm completions` and `optmsm man`: from the same definitions as the options themselves.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use optmsm_train::error::{Error, Result};

use super::Cli;

/// Prints what a shell reads to complete commands, options and their values.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "optmsm", &mut text);
    super::print(&text)
}

/// Prints the program's page, or writes one for it and one for each command into a folder.
pub(super) fn man(out: Option<&Path>) -> Result<()> {
    let Some(folder) = out else {
        let mut text = Vec::new();
        let page = clap_mangen::Man::new(Cli::command());
        page.render(&mut text).map_err(|e| Error::file("man page", e.to_string(), "report this"))?;
        return super::print(&text);
    };
    let fail = |e: std::io::Error| {
        let fix = "check the folder and the space on its disk";
        Error::file(folder.display(), format!("cannot be written: {e}"), fix)
    };
    std::fs::create_dir_all(folder).map_err(fail)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(fail)?;
    super::print(
        format!("man pages: {}; look at one with: man {}/optmsm.1\n", folder.display(), folder.display())
            .as_bytes(),
    )
}
