//! What the gateway costs between two members, in either engine: with everything a hub does, and with nothing but forwarding.
//! Writes `bench/results/gateway.json`.
//!
//! `make bench-gateway`, as root. Namespaces as in the tunnel's hub scenario; both members run our device, and the hub changes.

#[path = "../tunnel/implementation.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod implementation;
#[path = "../tunnel/machine.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod machine;
#[path = "../tunnel/quiet.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod quiet;
#[path = "../tunnel/traffic.rs"]
#[allow(dead_code, reason = "the tunnel's benchmark uses the rest")]
mod traffic;

#[allow(dead_code, reason = "the shaping benchmark uses the rest")]
mod hub;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use fielato_lab::Interrupt;
use fielato_testkit::bench::{self, Goal, Limit, Series};
use serde_json::json;

use hub::{FIELATO, Kind, Setting, Topology};
use implementation::{Implementation, OURS};
use quiet::Patience;

/// Payload of the single packets: with the headers of UDP and IPv4, 1,400 bytes.
const DATAGRAM: u32 = 1372;
/// Payload of a TCP segment: 1,400 bytes less 20 of IPv4 and 32 of TCP with its timestamps.
const SEGMENT: f64 = 1348.0;

/// Measure the gateway's engines in turn
#[derive(Debug, Parser)]
#[command(name = "make bench-gateway")]
struct Arguments {
    /// Turns of every hub
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of a stream
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// One round of one second each: to see that everything works
    #[arg(long)]
    quick: bool,
    /// How many seconds may be spent, in all, on waiting for a quiet machine
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// What cargo gives to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured of one hub.
#[derive(Default)]
struct Row {
    mbit_per_s: Series,
    joined_ns: Series,
    single_ns: Series,
    singles_per_s: Series,
    peak_mb: Series,
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::parse();
    if !fielato_testkit::can_run("bench gateway", &["ip", "wg", "iperf3", "ping", "sysctl", "nft"]) {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.quick {
        (arguments.rounds, arguments.seconds, arguments.patience) = (1, 1, 0);
    }
    let interrupt: &'static Interrupt = Box::leak(Box::new(Interrupt::install()?));
    let ours = Implementation::ours(OURS, Path::new(FIELATO))?;
    let mut rows: Vec<(Setting, Row)> = Setting::ALL.map(|setting| (setting, Row::default())).into();
    let mut patience = Patience(Duration::from_secs(arguments.patience));
    for round in 0..arguments.rounds as usize {
        let first = round % rows.len();
        rows.rotate_left(first);
        for (setting, row) in &mut rows {
            patience.wait(interrupt)?;
            eprintln!("round {} of {}: {}", round + 1, arguments.rounds, setting.name());
            measure(*setting, row, &ours, arguments.seconds, interrupt)?;
        }
    }
    rows.sort_by_key(|(setting, _)| Setting::ALL.iter().position(|known| known == setting));
    report(&arguments, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(setting: Setting, row: &mut Row, ours: &Implementation, seconds: u32, interrupt: &'static Interrupt) -> Result<()> {
    let topology = Topology::new(setting, ours, interrupt)?;
    let mut server = traffic::Server::start(&topology.b, interrupt)?;
    traffic::reach(&topology.a, hub::B, interrupt)?;

    let before = topology.hub_cpu()?;
    let stream = traffic::start_tcp(&topology.a, hub::B, seconds)?;
    let stream = traffic::finish_tcp(stream, seconds, interrupt)?;
    row.mbit_per_s.0.push(stream.mbit_per_second);
    row.joined_ns
        .0
        .push((topology.hub_cpu()? - before) as f64 * SEGMENT / stream.bytes);

    let before = topology.hub_cpu()?;
    let datagrams = traffic::udp(&topology.a, hub::B, DATAGRAM, seconds, interrupt)?;
    row.singles_per_s.0.push(datagrams.per_second);
    row.single_ns
        .0
        .push((topology.hub_cpu()? - before) as f64 / datagrams.received);
    row.peak_mb.0.push(topology.hub_memory()?);
    server.check()
}

fn report(arguments: &Arguments, rows: &[(Setting, Row)]) -> Result<()> {
    println!(
        "\n{:<42} {:>12} {:>14} {:>14} {:>14} {:>8}",
        "hub", "TCP Mbit/s", "ns/packet", "singles/s", "ns/single", "peak MB"
    );
    for (setting, row) in rows {
        println!(
            "{:<42} {:>12.0} {:>14.0} {:>14.0} {:>14.0} {:>8.1}",
            setting.name(),
            row.mbit_per_s.median(),
            row.joined_ns.median(),
            row.singles_per_s.median(),
            row.single_ns.median(),
            row.peak_mb.median(),
        );
    }
    let mut goals = Vec::new();
    for engine in [Kind::Userspace, Kind::Kernel] {
        let of = |full| {
            rows.iter()
                .find(|(setting, _)| setting.kind == engine && setting.full == full)
        };
        if let (Some((_, bare)), Some((_, full))) = (of(false), of(true)) {
            let mut goal = |what: &str, full: &Series, bare: &Series| {
                goals.push(Goal {
                    what: format!("{}: CPU of {what} with everything, against bare forwarding", engine.name()),
                    measured: full.median() / bare.median(),
                    limit: Limit::Most(1.25),
                    unit: "x",
                });
            };
            goal("a packet of a stream", &full.joined_ns, &bare.joined_ns);
            goal("a single packet", &full.single_ns, &bare.single_ns);
        }
    }
    println!();
    goals.iter().for_each(|goal| println!("{}", goal.line()));
    let written: Vec<_> = rows
        .iter()
        .map(|(setting, row)| {
            json!({
                "hub": setting.name(), "engine": setting.kind.name(), "everything": setting.full,
                "mbit_per_s": row.mbit_per_s.median(), "ns_per_packet": row.joined_ns.median(),
                "singles_per_s": row.singles_per_s.median(), "ns_per_single": row.single_ns.median(),
                "ns_per_single_min_max": [row.single_ns.minimum(), row.single_ns.maximum()],
                "ns_per_packet_min_max": [row.joined_ns.minimum(), row.joined_ns.maximum()],
                "peak_mb": row.peak_mb.median(),
            })
        })
        .collect();
    let conditions = json!({
        "machines": "three network namespaces joined by veth pairs; members and hub run our WireGuard device; packets of 1,400 bytes",
        "everything": "guard, 1,000 rules, connection tracking, fq_codel towards the members",
        "cpu": "of all threads of the hub's process, /proc/PID/task/*/schedstat; of a stream, per TCP segment of 1,400 bytes; singles are iperf3's datagrams, CPU per one that arrived",
        "rounds": arguments.rounds, "seconds": arguments.seconds, "statistic": "median",
    });
    let what = "forwarding between two members, by engine";
    if arguments.quick || arguments.rounds < 3 {
        let path = Path::new(FIELATO).with_file_name("gateway.json");
        bench::write_to(&path, what, &conditions, &written, &goals)?;
        println!("\nwritten: {}", path.display());
    } else {
        bench::write("gateway", what, &conditions, &written, &goals)?;
    }
    Ok(())
}
