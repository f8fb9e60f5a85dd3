//! What forwarding a packet costs, in the kernel under iptables-legacy, nft with a rule for each and nft with a set, and in the
//! engine with and without its flow cache: the same rules, the same packets, taking turns. Writes `bench/results/forward.json`.
//!
//! `cargo bench -p fielato-oracle --bench forward`, as root; without, the engine alone is measured. UDP packets of 64 bytes,
//! IPv4 and IPv6, from one TUN to another in a namespace of the subject's own.
//!
//! The kernel's figures hold the sender's system call and all of forwarding. The row's "bare" column is the same without any
//! netfilter, and what goes beyond it, round by round, is netfilter's own. The engine's figures hold what it does for a packet
//! by itself: copying it in, parsing, verifying the header's checksum, asking for the route, and netfilter.

use std::fmt::Write as _;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use fielato_oracle::kernel::Gateway;
use fielato_oracle::network;
use fielato_oracle::subject::Port;
use fielato_testkit::bench::{self, Series};
use fielato_wire::Family;
use fielato_wire::build::Ip;
use serde_json::{Value, json};

mod rules;
mod subject;

use rules::{Kind as RuleKind, Rules, State};
use subject::{CHUNK, Engine, Failure, Kind, Subject};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Rounds that count; one more goes before them.
const ROUNDS: usize = 5;
/// How long a subject's turn lasts, at least by one chunk.
const TURN: Duration = Duration::from_millis(12);
/// New flows in a turn at most; then all are forgotten.
const NEW: usize = 16 * CHUNK;
/// Rounds of loading, and the numbers of rules.
const LOADS: usize = 3;
const LOADED: [usize; 2] = [10_000, 50_000];

fn main() -> Result<(), Failure> {
    let programs = ["iptables-legacy-restore", "ip6tables-legacy-restore", "nft", "ip", "sysctl"];
    let test = "bench forward: the kernel's columns";
    let kernel = fielato_testkit::can_run(test, &programs);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kernel || !kind.is_kernel()).collect();

    let cases = cases();
    let mut rows = Vec::new();
    for (number, rules) in cases.iter().enumerate() {
        progress(&format!("forwarding, rule set {} of {}", number + 1, cases.len()));
        rows.extend(forward(&kinds, rules)?);
    }
    // By family, so that the table reads downwards.
    rows.sort_by_key(|row| row.family as usize);
    eprintln!();
    println!("ns per forwarded packet, UDP, 64 bytes: median of {ROUNDS} rounds");
    print!(
        "{}",
        table(&rows, |row| format!(
            "{:<12} {:<14}",
            row.rules.state.name(),
            row.rules.name()
        ))
    );
    if kernel {
        println!("\nns of these that are netfilter's: more than the bare kernel, and how many times the engine");
        print!("{}", surplus(&rows));
    }
    let mut loads = Vec::new();
    for (number, (family, count)) in FAMILIES.into_iter().flat_map(|f| LOADED.map(|count| (f, count))).enumerate() {
        progress(&format!("loading, rule set {} of {}", number + 1, LOADED.len() * 2));
        loads.push(loading(&kinds, family, count)?);
    }
    eprintln!();
    println!("\nms to load that many rules (-s): median of {LOADS} rounds");
    print!("{}", table(&loads, |row| format!("{:<12} {:<14}", "load", row.rules.count)));

    let written: Vec<Value> = rows
        .iter()
        .map(|row| row.json("ns"))
        .chain(loads.iter().map(|row| row.json("ms")))
        .collect();
    let conditions = json!({
        "packet": "UDP, 64 bytes", "statistic": "median", "rounds": ROUNDS, "turn_ms": TURN.as_millis() as u64, "load_rounds": LOADS,
        "kernel_measured": kernel, "kernel_time": "one write() to a TUN, forwarding to another TUN included",
        "engine_time": "one packet copied in, parsed, routed and judged; no system call",
    });
    Ok(bench::write(
        "forward",
        "a forwarded packet, in the kernel and in the engine",
        &conditions,
        &written,
        &[],
    )?)
}

fn progress(text: &str) {
    eprint!("\r{text:<40}");
    // Progress that can't be shown is no reason to stop.
    let _ = std::io::stderr().flush();
}

fn cases() -> Vec<Rules> {
    let mut cases = Vec::new();
    for state in [State::Stateless, State::New] {
        let kind = RuleKind::Source;
        cases.push(Rules { kind, count: 0, state });
        for kind in [RuleKind::Source, RuleKind::Port] {
            cases.extend([10, 100, 1_000, 10_000].map(|count| Rules { kind, count, state }));
        }
    }
    for state in [State::Established, State::Masqueraded] {
        let kind = RuleKind::Source;
        cases.extend([0, 10_000].map(|count| Rules { kind, count, state }));
    }
    cases
}

/// A line of a table: what each subject took.
struct Row {
    family: Family,
    rules: Rules,
    subjects: Vec<(Kind, Series)>,
}

impl Row {
    fn of(&self, wanted: Kind) -> Option<&Series> {
        self.subjects
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, series)| series)
    }

    /// What `kind` took beyond the bare kernel in the same round: the middle of all rounds.
    fn surplus(&self, kind: Kind) -> Option<f64> {
        let (own, bare) = (self.of(kind)?, self.of(Kind::Bare)?);
        let rounds = own.0.iter().zip(&bare.0);
        Some(Series(rounds.map(|(own, bare)| own - bare).collect()).median())
    }

    fn json(&self, unit: &str) -> Value {
        let kind = match self.rules.kind {
            RuleKind::Source => "source",
            RuleKind::Port => "port",
        };
        let mut row = json!({
            "case": if unit == "ms" { "load" } else { "forward" },
            "family": format!("{:?}", self.family),
            "state": self.rules.state.name(),
            "match": kind,
            "rules": self.rules.count,
        });
        for (kind, series) in &self.subjects {
            row[format!("{}_{unit}", kind.name())] = json!(rounded(series.median()));
            row[format!("{}_{unit}_least", kind.name())] = json!(rounded(series.minimum()));
            if kind.is_kernel()
                && *kind != Kind::Bare
                && let Some(surplus) = self.surplus(*kind)
            {
                row[format!("{}_less_bare_{unit}", kind.name())] = json!(rounded(surplus));
            }
        }
        row
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// One rule set in every subject, in turns, for both families.
fn forward(kinds: &[Kind], rules: &Rules) -> Result<Vec<Row>, Failure> {
    // Making a namespace is waiting, most of all: they are made side by side.
    let wanted = kinds.iter().copied().filter(|kind| *kind != Kind::NftSet || rules.count > 0);
    let made: Vec<_> = wanted
        .map(|kind| {
            let rules = *rules;
            (kind, thread::spawn(move || Subject::create(kind, &rules)))
        })
        .collect();
    let mut subjects = Vec::new();
    for (kind, thread) in made {
        let made = thread.join().map_err(|_| "a subject could not be made")?;
        subjects.push((kind, made.map_err(|error| format!("{}: {error}", kind.name()))?));
    }
    let mut rows = Vec::new();
    for family in FAMILIES {
        let packets = packets(family, rules.state);
        let mut series: Vec<(Kind, Series)> = subjects.iter().map(|(kind, _)| (*kind, Series::default())).collect();
        for (kind, subject) in &mut subjects {
            if matches!(rules.state, State::Established | State::Masqueraded) {
                let established = subject.establish(&packets[0]);
                established.map_err(|error| format!("{}: {error}", kind.name()))?;
            }
        }
        for round in 0..=ROUNDS {
            for place in 0..subjects.len() {
                // Who is first changes, so that none always follows the same other one.
                let place = (place + round) % subjects.len();
                let (kind, subject) = &mut subjects[place];
                let time = turn(subject, &packets, rules.state);
                let time = time.map_err(|error| format!("{}, {family:?}, {rules:?}: {error}", kind.name()))?;
                if round > 0 {
                    series[place].1.0.push(time);
                }
            }
        }
        rows.push(Row {
            family,
            rules: *rules,
            subjects: series,
        });
    }
    Ok(rows)
}

/// Nanoseconds per packet.
fn turn(subject: &mut Subject, packets: &[Vec<u8>], state: State) -> Result<f64, Failure> {
    let (mut time, mut passed) = (Duration::ZERO, 0);
    let mut chunks = packets.chunks(CHUNK).cycle();
    while let Some(chunk) = chunks.next()
        && time < TURN
        && (state != State::New || passed < packets.len())
    {
        time += subject.pass(chunk)?;
        passed += chunk.len();
    }
    if state == State::New {
        subject.flush_connections()?;
    }
    Ok(time.as_nanos() as f64 / passed as f64)
}

/// One flow's packet over and over, or one of each flow.
fn packets(family: Family, state: State) -> Vec<Vec<u8>> {
    let (src, dst) = (
        network::hosts(family, Port::Inside)[0],
        network::hosts(family, Port::Outside)[0],
    );
    let headers = match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    };
    let packet = |sport| Ip::new(family, src, dst).udp(sport, 4789, &vec![0; 64 - headers]);
    match state {
        State::New => (0..NEW as u16).map(|flow| packet(1_024 + flow)).collect(),
        _ => vec![packet(1_024); CHUNK],
    }
}

/// Loading so many rules, from a text to the first packet's being judged by them. The programs' start is a part of it.
fn loading(kinds: &[Kind], family: Family, count: usize) -> Result<Row, Failure> {
    let rules = Rules {
        kind: RuleKind::Source,
        count,
        state: State::Stateless,
    };
    let wanted = kinds
        .iter()
        .copied()
        .filter(|kind| !matches!(kind, Kind::Bare | Kind::Uncached));
    let mut series: Vec<(Kind, Series)> = wanted.map(|kind| (kind, Series::default())).collect();
    let text = rules.iptables(family);
    for _ in 0..LOADS {
        for (kind, series) in &mut series {
            let time = if kind.is_kernel() {
                let gateway = Gateway::create()?;
                let start = Instant::now();
                subject::load(&gateway, *kind, family, &rules)?;
                start.elapsed()
            } else {
                let mut engine = Engine::new();
                let start = Instant::now();
                engine.load(family, &text)?;
                start.elapsed()
            };
            series.push(time);
        }
    }
    Ok(Row {
        family,
        rules,
        subjects: series,
    })
}

fn table(rows: &[Row], name: impl Fn(&Row) -> String) -> String {
    let mut text = format!("{:<4} {:<12} {:<14}", "", "", "rules");
    for kind in Kind::ALL {
        let _ = write!(text, "{:>17}", kind.name());
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:<4} {}", format!("{:?}", row.family), name(row));
        for kind in Kind::ALL {
            text += &cell(row.of(kind).map(Series::median));
        }
        text.push('\n');
    }
    text
}

fn surplus(rows: &[Row]) -> String {
    let columns = [Kind::Legacy, Kind::NftLinear, Kind::NftSet];
    let mut text = format!("{:<4} {:<12} {:<14}", "", "", "rules");
    for kind in columns {
        let _ = write!(text, "{:>17}{:>9}", kind.name(), "÷ engine");
    }
    text.push('\n');
    for row in rows {
        let (state, rules) = (row.rules.state.name(), row.rules.name());
        let _ = write!(text, "{:<4} {state:<12} {rules:<14}", format!("{:?}", row.family));
        let engine = row.of(Kind::Engine).map(Series::median);
        for kind in columns {
            let surplus = row.surplus(kind);
            text += &cell(surplus);
            match surplus.zip(engine) {
                Some((surplus, engine)) => drop(write!(text, "{:>8.1}×", surplus / engine)),
                None => text += &format!("{:>9}", "–"),
            }
        }
        text.push('\n');
    }
    text
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| format!("{:>17}", "–"), |value| format!("{value:>17.0}"))
}
