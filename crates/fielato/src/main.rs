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
    end_quietly_without_a_reader();
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

/// `fielato log | head` is no failure: when nobody reads on, `println!` panics, and then there is nothing left to say.
fn end_quietly_without_a_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            // As a shell reports a program that SIGPIPE ended.
            std::process::exit(141);
        }
        usual(panic);
    }));
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
