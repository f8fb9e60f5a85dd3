//! `fielato lab`

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use fielato_lab::talk::{self, TalkOptions};
use fielato_lab::{DEFAULT_NAME, Interrupt, Lab, LabOptions, Node, TemporaryLab};

use crate::cli;
use crate::output::{self, Progress};

/// `fielato lab …`
pub fn run(command: cli::Lab) -> Result<ExitCode> {
    match command {
        cli::Lab::Up => up(),
        cli::Lab::Exec { host, command } => exec(host, &command),
        cli::Lab::Down => {
            Lab::down(DEFAULT_NAME)?;
            println!("the lab is gone");
            Ok(ExitCode::SUCCESS)
        }
        cli::Lab::Talk(args) => talk(args),
    }
}

fn up() -> Result<ExitCode> {
    let fielato = std::env::current_exe().context("cannot find this program's own file")?;
    let interrupt = Interrupt::install()?;
    let mut progress = Progress::new();
    progress.step("three machines");
    let lab = TemporaryLab::up(
        &LabOptions {
            name: DEFAULT_NAME.into(),
            fielato,
        },
        &interrupt,
    )?;
    progress.step("the gateway");
    lab.start_gateway(&interrupt)?;
    let _ = lab.keep();
    drop(progress);
    println!("client-a, vpn-core and client-b are up; next:");
    println!("  fielato lab exec client-a -- ping -c 3 192.168.4.3");
    println!("  fielato lab exec vpn-core -- fielato status");
    println!("  fielato lab down");
    Ok(ExitCode::SUCCESS)
}

fn exec(node: Node, command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("say which command, after `--`")?;
    let code = Lab::open(DEFAULT_NAME)?.exec(node, program, arguments)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn talk(args: cli::Talk) -> Result<ExitCode> {
    let options = TalkOptions {
        fielato: std::env::current_exe().context("cannot find this program's own file")?,
        captures: args.captures,
        keep: args.keep,
        colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let report = match args.json {
        true => {
            let report = talk::run(&options, None)?;
            output::json(&report)?;
            report
        }
        false => talk::run(&options, Some(&mut std::io::stdout()))?,
    };
    Ok(ExitCode::from(u8::from(report.failed > 0)))
}
