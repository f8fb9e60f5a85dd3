//! What was measured, for people and for the result's file.

use fielato_testkit::bench::{Goal, Limit, Series};
use serde_json::{Value, json};

use crate::implementation::OURS;
use crate::scenario::Scenario;

/// The veth pair without a tunnel, as it is called in the tables.
pub const BARE: &str = "bare veth";

/// All turns of one implementation in one scenario.
pub struct Row {
    pub scenario: Scenario,
    pub implementation: String,
    figures: Vec<(&'static str, Series)>,
    /// Which part of the processors other programs had in each turn.
    pub others: Vec<f64>,
    /// Which part the host took.
    pub stolen: Vec<f64>,
    /// The machine's speed before it.
    pub speed: Vec<f64>,
    /// Why a turn failed; none follows it.
    pub failure: Option<String>,
}

impl Row {
    pub fn new(scenario: Scenario, implementation: &str) -> Self {
        Self {
            scenario,
            implementation: implementation.to_owned(),
            figures: Vec::new(),
            others: Vec::new(),
            stolen: Vec::new(),
            speed: Vec::new(),
            failure: None,
        }
    }

    /// Adds one turn's.
    pub fn add(&mut self, figures: &[(&'static str, f64)]) {
        for (name, value) in figures {
            match self.figures.iter_mut().find(|(known, _)| known == name) {
                Some((_, series)) => series.0.push(*value),
                None => self.figures.push((name, Series(vec![*value]))),
            }
        }
    }

    /// What the last turn brought, in a few words.
    pub fn last(&self) -> String {
        if let Some(failure) = &self.failure {
            return format!("failed: {failure}");
        }
        let words = columns(self.scenario).iter().filter_map(|(figure, heading, digits)| {
            let (_, series) = self.figures.iter().find(|(name, _)| name == figure)?;
            Some(format!("{heading} {:.digits$}", series.0.last()?))
        });
        words.collect::<Vec<_>>().join(", ")
    }

    fn median(&self, figure: &str) -> Option<f64> {
        let (_, series) = self.figures.iter().find(|(name, _)| *name == figure)?;
        Some(series.median())
    }

    /// For the result's file.
    pub fn json(&self) -> Value {
        let mut row = json!({
            "scenario": self.scenario.name(), "implementation": self.implementation,
            "others": all_rounded(&self.others), "stolen": all_rounded(&self.stolen), "speed": all_rounded(&self.speed),
        });
        if let Some(failure) = &self.failure {
            row["failure"] = json!(failure);
        }
        for (name, series) in &self.figures {
            row[*name] = json!({
                "median": rounded(series.median()), "minimum": rounded(series.minimum()), "maximum": rounded(series.maximum()),
                "rounds": all_rounded(&series.0),
            });
        }
        row
    }
}

fn all_rounded(values: &[f64]) -> Vec<f64> {
    values.iter().copied().map(rounded).collect()
}

fn rounded(value: f64) -> f64 {
    if value.abs() < 100.0 {
        (value * 1e3).round() / 1e3
    } else {
        value.round()
    }
}

/// A scenario's columns: the figure, its heading, digits behind the point.
fn columns(scenario: Scenario) -> &'static [(&'static str, &'static str, usize)] {
    match scenario {
        Scenario::Ping => &[("median_ms", "median ms", 3)],
        Scenario::Tcp | Scenario::TcpPlain => &[
            ("mbit_per_s", "Mbit/s", 0),
            ("sender_ns_per_kb", "sender ns/kB", 0),
            ("receiver_ns_per_kb", "receiver ns/kB", 0),
            ("retransmits", "retransmits", 0),
            ("resident_mb", "resident MB", 1),
            ("peak_mb", "peak MB", 1),
        ],
        Scenario::PingLoaded => &[
            ("median_ms", "median ms", 2),
            ("p99_ms", "99 % ms", 2),
            ("mbit_per_s", "Mbit/s beside", 0),
        ],
        Scenario::Udp => &[
            ("packets_per_s", "packets/s", 0),
            ("sender_us_per_packet", "sender µs", 2),
            ("receiver_us_per_packet", "receiver µs", 2),
        ],
        Scenario::Hub => &[
            ("mbit_per_s", "Mbit/s", 0),
            ("hub_ns_per_packet", "hub ns/packet", 0),
            ("hub_peak_mb", "hub peak MB", 1),
        ],
        Scenario::Peers => &[
            ("one_single_mbit_per_s", "1: Mbit/s", 0),
            ("one_single_ns_per_packet", "1: ns/packet", 0),
            ("many_single_mbit_per_s", "1000: Mbit/s", 0),
            ("many_single_ns_per_packet", "1000: ns/pkt", 0),
            ("one_burst_mbit_per_s", "1×32: Mbit/s", 0),
            ("one_burst_ns_per_packet", "1×32: ns/pkt", 0),
            ("many_burst_mbit_per_s", "1000×32: Mb/s", 0),
            ("many_burst_ns_per_packet", "1000×32: ns/p", 0),
            ("peak_mb", "peak MB", 1),
        ],
    }
}

/// A table for every scenario that has rows.
pub fn print(rows: &[Row]) {
    for scenario in Scenario::ALL {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.scenario == scenario).collect();
        if rows.is_empty() {
            continue;
        }
        println!("\n{}", scenario.title());
        print!("  {:<20}", "");
        for (_, heading, _) in columns(scenario) {
            print!(" {heading:>14}");
        }
        println!();
        for row in rows {
            print!("  {:<20}", row.implementation);
            for (figure, _, digits) in columns(scenario) {
                match row.median(figure) {
                    Some(value) => print!(" {value:>14.digits$}"),
                    None => print!(" {:>14}", "–"),
                }
            }
            println!();
            if let Some(failure) = &row.failure {
                println!("    failed: {failure}");
            }
        }
    }
}

/// The goals that what was measured can tell about.
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let ours = |scenario, figure| find(rows, scenario, OURS, figure);
    let wireguard_go = |scenario, figure| find(rows, scenario, "wireguard-go", figure);
    let peers = |scenario: Scenario, figure: &'static str| {
        let others = rows
            .iter()
            .filter(move |row| row.scenario == scenario && row.implementation != OURS && row.implementation != BARE);
        others.filter_map(move |row| row.median(figure))
    };
    let ratio = |above: Option<f64>, below: Option<f64>| Some(above? / below?);
    let tcp = Scenario::Tcp;
    let best_tcp = peers(tcp, "mbit_per_s").reduce(f64::max);
    let least_hub = peers(Scenario::Hub, "hub_ns_per_packet").reduce(f64::min);
    let peers_ratio = |many, one| ratio(ours(Scenario::Peers, many), ours(Scenario::Peers, one));

    let mut goals = Vec::new();
    let mut goal = |what: &str, measured: Option<f64>, limit, unit| {
        goals.extend(measured.map(|measured| Goal {
            what: what.to_owned(),
            measured,
            limit,
            unit,
        }));
    };
    goal("TCP, one stream", ours(tcp, "mbit_per_s"), Limit::Least(5_000.0), " Mbit/s");
    let to_go = ratio(ours(tcp, "mbit_per_s"), wireguard_go(tcp, "mbit_per_s"));
    goal("TCP, to wireguard-go", to_go, Limit::Least(1.8), "×");
    goal(
        "TCP, to the best peer",
        ratio(ours(tcp, "mbit_per_s"), best_tcp),
        Limit::Least(1.8),
        "×",
    );
    goal(
        "CPU per kB, sender",
        ours(tcp, "sender_ns_per_kb"),
        Limit::Most(1_400.0),
        " ns",
    );
    goal(
        "CPU per kB, receiver",
        ours(tcp, "receiver_ns_per_kb"),
        Limit::Most(1_400.0),
        " ns",
    );
    goal(
        "resident memory, tunnel loaded",
        ours(tcp, "resident_mb"),
        Limit::Most(20.0),
        " MB",
    );
    let udp = Scenario::Udp;
    goal(
        "UDP, 64 bytes",
        ours(udp, "packets_per_s"),
        Limit::Least(200_000.0),
        " packets/s",
    );
    goal(
        "CPU per small packet, sender",
        ours(udp, "sender_us_per_packet"),
        Limit::Most(3.0),
        " µs",
    );
    goal(
        "CPU per small packet, receiver",
        ours(udp, "receiver_us_per_packet"),
        Limit::Most(3.0),
        " µs",
    );
    goal("ping, idle", ours(Scenario::Ping, "median_ms"), Limit::Most(0.15), " ms");
    goal(
        "ping under one TCP stream",
        ours(Scenario::PingLoaded, "median_ms"),
        Limit::Most(2.0),
        " ms",
    );
    let hub = ratio(ours(Scenario::Hub, "hub_ns_per_packet"), least_hub);
    goal("hub, CPU per packet, to the best peer", hub, Limit::Most(0.5), "×");
    let burst = peers_ratio("many_burst_mbit_per_s", "one_burst_mbit_per_s");
    let what = "1,000 of 10,000 peers send bursts, to one peer, throughput";
    goal(what, burst, Limit::Least(0.8), "×");
    // A system call for each packet makes the sender the slower one: what the hub could do is told by its CPU time.
    let single = peers_ratio("one_single_ns_per_packet", "many_single_ns_per_packet");
    let what = "1,000 of 10,000 peers send single packets, to one peer, packets per CPU time";
    goal(what, single, Limit::Least(0.8), "×");
    goal(
        "memory with 10,000 peers",
        ours(Scenario::Peers, "peak_mb"),
        Limit::Most(100.0),
        " MB",
    );
    goals
}

fn find(rows: &[Row], scenario: Scenario, implementation: &str, figure: &str) -> Option<f64> {
    let row = rows
        .iter()
        .find(|row| row.scenario == scenario && row.implementation == implementation)?;
    row.median(figure)
}
