//! The `fielato` command.

mod cli;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser as _;
use fielato_control::client::{NotRunning, Refused};
use fielato_control::source::BadConfig;
use fielato_wire::filter::{FilterError, UnknownName};

fn main() -> ExitCode {
    if let Some(code) = commands::iptables::by_name() {
        return code;
    }
    let done = match commands::device::by_name() {
        Some(args) => commands::device::run(&args),
        None => commands::run(cli::Cli::parse()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fielato: {}", format!("{error:#}").trim_end());
            ExitCode::from(exit_code(&error))
        }
    }
}

/// See the exit codes in the help text.
fn exit_code(error: &anyhow::Error) -> u8 {
    let configuration = error.chain().any(|cause| cause.is::<BadConfig>())
        || error.downcast_ref::<Refused>().is_some_and(|refused| refused.configuration);
    let usage = error.is::<FilterError>() || error.is::<UnknownName>();
    match (configuration || usage, error.is::<NotRunning>()) {
        (true, _) => 2,
        (_, true) => 4,
        _ => 1,
    }
}
