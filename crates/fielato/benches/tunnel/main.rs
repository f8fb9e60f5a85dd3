//! How fast our WireGuard device is, beside other user-space implementations taken in turn: streams, small packets, echoes,
//! memory, a hub between two machines, a hub with ten thousand peers. Writes `bench/results/tunnel.json`.
//!
//! `make bench-tunnel`, as root. Everything happens in network namespaces of its own, the same implementation at both ends.
//! CPU time is what the programs' own threads used, in nanoseconds by the scheduler's account.

mod generator;
mod implementation;
mod machine;
mod peers;
mod quiet;
mod report;
mod scenario;
mod traffic;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use fielato_lab::{Interrupt, Interrupted};
use fielato_testkit::bench::{self, Series};
use serde_json::{Value, json};

use implementation::{Implementation, OURS};
use quiet::{DISTURBED, Patience, Ticks};
use report::{BARE, Row};
use scenario::{Extent, Scenario};

const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Those that a result has to have to stand for the project.
const DEFAULT: [&str; 4] = [OURS, "wireguard-go", "boringtun", "gotatun"];

/// Measure WireGuard implementations in turn
#[derive(Debug, Parser)]
#[command(name = "make bench-tunnel")]
struct Arguments {
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Whom to measure: fielato, wireguard-go, wireguard-go-debian, boringtun, gotatun
    #[arg(long, value_delimiter = ',', default_values_t = DEFAULT.map(str::to_owned))]
    implementations: Vec<String>,
    /// Also measure another build of ours, under a name of its own
    #[arg(long, value_name = "NAME=PROGRAM")]
    also: Vec<String>,
    /// Turns of every implementation in every scenario
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of a stream
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// One round of one second each: to see that everything works
    #[arg(long)]
    quick: bool,
    /// How many seconds may be spent, in all, on waiting for a quiet machine and on measuring again what was disturbed
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// Where to write the result; without, bench/results/tunnel.json when nothing was left out and little disturbed, else
    /// target/tunnel.json
    #[arg(long)]
    json: Option<PathBuf>,
    /// What cargo gives to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if !fielato_testkit::can_run("bench tunnel", &["ip", "wg", "iperf3", "ping", "ethtool", "sysctl"]) {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.quick {
        (arguments.rounds, arguments.seconds, arguments.patience) = (1, 1, 0);
    }
    // Lives as long as the program: threads and guards of every kind ask it.
    let interrupt: &'static Interrupt = Box::leak(Box::new(Interrupt::install()?));
    match run(&arguments, interrupt) {
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("\ninterrupted; machines and programs are gone");
            Ok(ExitCode::from(130))
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn run(arguments: &Arguments, interrupt: &'static Interrupt) -> Result<()> {
    let mut implementations = implementations(arguments)?;
    for implementation in &mut implementations {
        implementation.find_cipher(interrupt)?;
    }
    let scenarios = Scenario::ALL.into_iter();
    let scenarios: Vec<Scenario> = scenarios
        .filter(|scenario| arguments.only.is_empty() || arguments.only.contains(scenario))
        .collect();
    let mut rows: Vec<Row> = Vec::new();
    for scenario in &scenarios {
        let bare = scenario.can_be_bare().then_some(BARE);
        let names = bare.into_iter().chain(implementations.iter().map(|one| one.name.as_str()));
        rows.extend(names.map(|name| Row::new(*scenario, name)));
    }
    let extent = Extent {
        seconds: arguments.seconds,
        interrupt,
    };
    let mut patience = Patience(Duration::from_secs(arguments.patience));
    let turns = arguments.rounds as usize * rows.len();
    let mut done = 0;
    for round in 0..arguments.rounds as usize {
        for scenario in &scenarios {
            let mut turn: Vec<&mut Row> = rows.iter_mut().filter(|row| row.scenario == *scenario).collect();
            // Who is first changes, so that none always follows the same other one.
            let first = round % turn.len();
            turn.rotate_left(first);
            for row in turn {
                done += 1;
                eprint!("\r{done:>3} of {turns}  {:<12} {:<20}", scenario.name(), row.implementation);
                // Progress that can't be shown is no reason to stop.
                let _ = std::io::stderr().flush();
                let implementation = implementations.iter().find(|one| one.name == row.implementation);
                one_turn(row, implementation, extent, &mut patience)?;
                eprintln!(
                    "\r{done:>3} of {turns}  {:<12} {:<20} {}",
                    scenario.name(),
                    row.implementation,
                    row.last()
                );
            }
        }
    }
    report::print(&rows);
    finish(arguments, &implementations, &rows)
}

fn one_turn(row: &mut Row, implementation: Option<&Implementation>, extent: Extent, patience: &mut Patience) -> Result<()> {
    if row.failure.is_some() {
        return Ok(());
    }
    loop {
        patience.wait(extent.interrupt)?;
        let speed = quiet::speed();
        let (begun, before) = (Instant::now(), Ticks::now()?);
        let outcome = scenario::measure(row.scenario, implementation, extent);
        if extent.interrupt.is_set() {
            return Err(Interrupted.into());
        }
        let ticks = Ticks::now()?.since(before);
        if ticks.others() >= DISTURBED && patience.spend(begun.elapsed()) {
            eprintln!(
                "\rdisturbed, once more: others had {:.0} % of the processors",
                ticks.others() * 100.0
            );
            continue;
        }
        match outcome {
            Ok(figures) => row.add(&figures),
            Err(error) => row.failure = Some(format!("{error:#}")),
        }
        row.others.push(ticks.others());
        row.stolen.push(ticks.stolen());
        row.speed.push(speed);
        return Ok(());
    }
}

/// Says which goals are reached and whether the machine was quiet, and writes the result.
fn finish(arguments: &Arguments, implementations: &[Implementation], rows: &[Row]) -> Result<()> {
    let goals = report::goals(rows);
    println!();
    for goal in &goals {
        println!("{}", goal.line());
    }
    let turns: Vec<f64> = rows.iter().flat_map(|row| row.others.iter().copied()).collect();
    let disturbed = turns.iter().filter(|others| **others >= DISTURBED).count();
    if disturbed > 0 {
        println!(
            "\n{disturbed} of {} turns were disturbed by other programs: don't trust these figures",
            turns.len()
        );
    }
    let speeds = Series(rows.iter().flat_map(|row| row.speed.iter().copied()).collect());
    println!(
        "\nthe machine's speed: {:.0} to {:.0}, median {:.0} (both processors computing, million steps per second each)",
        speeds.minimum(),
        speeds.maximum(),
        speeds.median()
    );
    let conditions = json!({
        "machines": "network namespaces joined by a veth pair, MTU 1500; tunnel MTU 1420, in the hub scenario 1400; the same implementation at both ends",
        "rounds": arguments.rounds, "seconds": arguments.seconds, "statistic": "median",
        "cpu": "of all threads of the program, /proc/PID/task/*/schedstat; kB are 1,000 bytes of TCP payload",
        "udp": "one iperf3 stream, which drops what the tunnel's queue doesn't take; sender's CPU per packet that it took, receiver's per packet that arrived",
        "peers": "sealed beforehand, sent from one address for each peer, 1 or 32 packets in one send; *_waited is the part of the time in which the hub was the slower one, *_lost the part of the packets that it lost",
        "turns": turns.len(), "disturbed_turns": disturbed,
        "others": "the part of the processors that other programs had, kernel threads among them; stolen: that the host took; speed: of the machine just before, both processors computing, million steps per second each",
        "iperf3": first_line("iperf3", "--version"),
        "implementations": implementations.iter().map(|one| json!({
            "name": one.name, "version": one.version, "command": one.command(), "cipher": one.cipher,
        })).collect::<Vec<Value>>(),
    });
    let written: Vec<Value> = rows.iter().map(Row::json).collect();
    let what = "user-space WireGuard implementations in turn";
    let complete = !arguments.quick
        && arguments.only.is_empty()
        && arguments.rounds >= 3
        && disturbed * 10 <= turns.len()
        && DEFAULT.iter().all(|name| implementations.iter().any(|one| one.name == *name));
    match &arguments.json {
        None if complete => bench::write("tunnel", what, &conditions, &written, &goals)?,
        path => {
            let path = path.clone().unwrap_or_else(|| target().join("tunnel.json"));
            bench::write_to(&path, what, &conditions, &written, &goals)?;
            println!("\nwritten: {}", path.display());
        }
    }
    if rows.iter().any(|row| row.failure.is_some() && row.implementation == OURS) {
        bail!("ours failed; see above");
    }
    Ok(())
}

fn implementations(arguments: &Arguments) -> Result<Vec<Implementation>> {
    let mut found = Vec::new();
    for name in &arguments.implementations {
        found.push(if name == OURS {
            Implementation::ours(OURS, Path::new(FIELATO))?
        } else {
            Implementation::peer(name, &peer(name)?)?
        });
    }
    for also in &arguments.also {
        let (name, program) = also.split_once('=').context("--also takes NAME=PROGRAM")?;
        found.push(Implementation::ours(name, Path::new(program))?);
    }
    Ok(found)
}

/// Where the program is, fetched or built if it lacks.
fn peer(name: &str) -> Result<PathBuf> {
    let output = Command::new(Path::new(WORKSPACE).join("tools/wireguard-peers.sh"))
        .arg(name)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let path = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(path.with_context(|| format!("{name} could not be had"))?.into())
}

/// The build folder: this program is in its `release/deps`.
fn target() -> PathBuf {
    let folder = Path::new(FIELATO).parent().and_then(Path::parent);
    folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
