//! `fielato lab`

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use fielato_lab::{DEFAULT_NAME, Interrupt, Lab, LabOptions, talk};

use crate::cli;

/// `fielato lab …`
pub fn run(command: cli::Lab) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let interrupt = Interrupt::install()?;
    match command {
        cli::Lab::Up => todo!(),
        _ => todo!(),
    }
}
