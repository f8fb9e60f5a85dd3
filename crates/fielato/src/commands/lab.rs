//! `fielato lab`

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cli::Lab;
use crate::output;

/// `fielato lab …`
pub fn run(command: Lab) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let _ = (program, command, output::json::<u8>);
    Ok(ExitCode::SUCCESS)
}
