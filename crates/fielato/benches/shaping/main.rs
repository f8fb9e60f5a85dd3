//! Whether traffic control keeps its word, measured between two members in namespaces, in either engine: rates, borrowing,
//! fairness, the delay of a sparse flow, and netem. Writes `bench/results/shaping.json`.
//!
//! `make bench-shaping`, as root. What is charged is the IP packet's length, as tc does it on such an interface.

#[path = "../gateway/hub.rs"]
#[allow(dead_code, reason = "the gateway's benchmark uses the rest")]
mod hub;
#[path = "../tunnel/implementation.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod implementation;
#[path = "../tunnel/machine.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod machine;

mod flow;
mod measure;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use fielato_lab::Interrupt;
use fielato_testkit::bench::{self, Goal};
use serde_json::{Value, json};

use hub::{FIELATO, Kind};
use implementation::{Implementation, OURS};
use measure::Lab;

/// Measure traffic control in both engines
#[derive(Debug, Parser)]
#[command(name = "make bench-shaping")]
struct Arguments {
    /// Only these engines
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Kernel, Kind::Userspace])]
    engines: Vec<Kind>,
    /// Only measurements whose names contain this
    #[arg(long)]
    only: Option<String>,
    /// A second of each: to see that everything works
    #[arg(long)]
    quick: bool,
    /// What cargo gives to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one measurement found.
pub struct Finding {
    /// The measurement.
    pub name: String,
    /// What it measured.
    pub figures: Vec<(&'static str, f64)>,
    /// What it should be.
    pub goals: Vec<Goal>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !fielato_testkit::can_run("bench shaping", &["ip", "wg", "ping", "sysctl", "nft"]) {
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt: &'static Interrupt = Box::leak(Box::new(Interrupt::install()?));
    let ours = Implementation::ours(OURS, Path::new(FIELATO))?;
    let mut findings = Vec::new();
    for engine in &arguments.engines {
        let lab = Lab::new(*engine, &ours, arguments.quick, interrupt)?;
        for (name, measurement) in measure::ALL {
            if arguments.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            for finding in measurement(&lab)? {
                let figures = finding.figures.iter().map(|(name, value)| format!("{name} {value:.3}"));
                println!(
                    "{:<10} {:<28} {}",
                    engine.name(),
                    finding.name,
                    figures.collect::<Vec<_>>().join(", ")
                );
                findings.push((*engine, finding));
            }
        }
    }
    println!();
    let mut goals = Vec::new();
    for (engine, finding) in &findings {
        for goal in &finding.goals {
            let what = format!("{}: {}", engine.name(), goal.what);
            goals.push(Goal { what, ..goal.clone() });
        }
    }
    goals.iter().for_each(|goal| println!("{}", goal.line()));
    let rows: Vec<Value> = findings
        .iter()
        .map(|(engine, finding)| {
            let figures: serde_json::Map<String, Value> = finding
                .figures
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            json!({ "engine": engine.name(), "what": finding.name, "figures": figures })
        })
        .collect();
    let conditions = json!({
        "machines": "three network namespaces joined by veth pairs; members and hub run our WireGuard device",
        "kernel": "the kernel's own HTB on the TUN interface where the kernel has the discipline, else ours in our device",
        "lengths": "of IP packets",
    });
    let what = "traffic control between two members, by engine";
    if arguments.quick || arguments.only.is_some() || arguments.engines.len() < 2 {
        let path = Path::new(FIELATO).with_file_name("shaping.json");
        bench::write_to(&path, what, &conditions, &rows, &goals)?;
        println!("\nwritten: {}", path.display());
    } else {
        bench::write("shaping", what, &conditions, &rows, &goals)?;
    }
    Ok(ExitCode::SUCCESS)
}
