//! `optmsm completions` and `optmsm man`: from the same definitions as the options themselves.

use std::path::Path;

use crate::error::{Error, Result};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use optmsm_data::write_atomic;

use super::Cli;

/// Prints what a shell reads to complete commands, options and their values.
pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "optmsm", &mut text);
    super::stdout::write(&text)
}

/// Prints the program's page, or writes one for it and one for each command into a folder.
pub(super) fn man(out: Option<&Path>) -> Result<()> {
    let Some(folder) = out else { return super::stdout::write(&page(&Man::new(Cli::command()))?) };
    std::fs::create_dir_all(folder).map_err(|e| {
        Error::io(folder.display(), "written", e, "check the folder and the space on its disk")
    })?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    write_pages(&program, folder)?;
    super::print(
        format!("man pages: {}; look at one with: man {}/optmsm.1\n", folder.display(), folder.display())
            .as_bytes(),
    )
}

fn page(man: &Man) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render(&mut text).map_err(|e| Error::bug("man page", e))?;
    Ok(text)
}

/// A page for a command, and one for each of its own.
fn write_pages(command: &Command, folder: &Path) -> Result<()> {
    command.get_subcommands().try_for_each(|inner| write_pages(inner, folder))?;
    let man = Man::new(command.clone());
    Ok(write_atomic(&folder.join(man.get_filename()), &page(&man)?)?)
}
