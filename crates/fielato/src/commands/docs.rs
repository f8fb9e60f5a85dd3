//! Completions and man pages, made from the same definitions as the help.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::cli::Cli;

/// `fielato completions SHELL`
pub fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "fielato", &mut std::io::stdout());
}

/// `fielato man DIR`: `fielato.8`, and a page for each command.
pub fn man(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    pages(&root, dir)
}

fn pages(command: &clap::Command, dir: &Path) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone()).section("8").manual("Fielato");
    page.generate_to(dir)
        .with_context(|| format!("cannot write into {}", dir.display()))?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, dir)?;
    }
    Ok(())
}
