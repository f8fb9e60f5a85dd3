//! `fielato lab`

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use fielato_lab::{DEFAULT_NAME, Engine, Interrupt, Interrupted, Lab, LabOptions, Node, Report, TemporaryLab, drills, talk};

use crate::cli;
use crate::output;

/// What a shell gives for a command that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: u8 = 128 + 2;

/// `fielato lab …`
pub fn run(command: cli::Lab) -> Result<ExitCode> {
    let done = match command {
        cli::Lab::Up => up().map(|()| ExitCode::SUCCESS),
        cli::Lab::Exec { host, command } => exec(host, &command),
        cli::Lab::Down => down().map(|()| ExitCode::SUCCESS),
        cli::Lab::Talk(args) => talk(args),
        cli::Lab::Drills(args) => drills(&args),
    };
    match done {
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("fielato: {error:#}; what was made is removed");
            Ok(ExitCode::from(INTERRUPTED))
        }
        done => done,
    }
}

fn up() -> Result<()> {
    let interrupt = Interrupt::install()?;
    eprintln!("making client-a, vpn-core and client-b");
    let lab = TemporaryLab::up(
        &LabOptions {
            name: DEFAULT_NAME.into(),
            fielato: own_file()?,
        },
        &interrupt,
    )?;
    eprintln!("starting the gateway");
    lab.start_gateway(&interrupt)?;
    println!("the lab is up, in {}", lab.directory().display());
    lab.keep();
    println!("next: `fielato lab exec client-a -- ping 192.168.4.3`, `fielato lab exec vpn-core -- fielato status`");
    Ok(())
}

fn exec(node: Node, command: &[std::ffi::OsString]) -> Result<ExitCode> {
    let lab = Lab::open(DEFAULT_NAME)?;
    let (program, arguments) = command.split_first().context("say which command to run")?;
    let code = lab.exec(node, program, arguments)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn down() -> Result<()> {
    Lab::down(DEFAULT_NAME)?;
    println!("the lab is down");
    Ok(())
}

fn talk(args: cli::Talk) -> Result<ExitCode> {
    let folder = |captures: &PathBuf, engine: Engine| match args.engine {
        cli::LabEngine::Both => captures.join(engine.name()),
        _ => captures.clone(),
    };
    with_each(args.engine, args.json, |engine, colours, out| {
        let options = talk::TalkOptions {
            fielato: own_file()?,
            engine,
            captures: args.captures.as_ref().map(|captures| folder(captures, engine)),
            keep: args.keep,
            colours,
        };
        talk::run(&options, out)
    })
}

fn drills(args: &cli::Drills) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    with_each(args.engine, args.json, |engine, colours, out| {
        let options = drills::DrillOptions {
            fielato: own_file()?,
            engine,
            times: args.times,
            seed,
            colours,
        };
        drills::run(&options, out)
    })
}

/// Runs a scenario with each engine that is asked for. It is told whether colours are seen, and where to tell what happens.
fn with_each(
    engine: cli::LabEngine,
    json: bool,
    mut run: impl FnMut(Engine, bool, Option<&mut dyn Write>) -> Result<Report>,
) -> Result<ExitCode> {
    let engines = match engine {
        cli::LabEngine::Kernel => &[Engine::Kernel][..],
        cli::LabEngine::Userspace => &[Engine::Userspace],
        cli::LabEngine::Both => &Engine::BOTH,
    };
    let mut is_good = true;
    for &engine in engines {
        let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
        // Someone who reads JSON by a program still sees on a terminal how far it is.
        let (mut out, terminal): (Option<&mut dyn Write>, bool) = match (json, stderr.is_terminal()) {
            (false, _) => (Some(&mut stdout), std::io::stdout().is_terminal()),
            (true, true) => (Some(&mut stderr), true),
            (true, false) => (None, false),
        };
        if let (Some(out), true) = (&mut out, engines.len() > 1) {
            writeln!(out, "\nThe {} engine", engine.name())?;
        }
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let report = run(engine, colours, out)?;
        if json {
            output::json(&report)?;
        }
        is_good &= report.is_good();
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn own_file() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}
