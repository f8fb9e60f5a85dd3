//! What it takes to judge a large policy: 100,000 rules analysed, and 1,000 members by 50 services asked for.
//!
//! Writes `bench/results/analyse.json`. `FIELATO_BENCH_ROUNDS` changes; words behind `--` (`members`, `groups`, `crossing`, `matrix`)
//! choose a part, which writes nothing.

use std::error::Error;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fielato_policy::analyse::analyse;
use fielato_policy::judge::Judge;
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, Plan};
use fielato_testkit::bench::{self, Goal, Limit, Series};
use fielato_wireguard::PublicKey;
use jiff::Timestamp;
use serde_json::{Value, json};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const RULES: usize = 100_000;
const MEMBERS: usize = 1_000;
const SERVICES: usize = 50;
const ROUNDS: usize = 5;

/// What the rules are like.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A member to a port of a host: mostly apart from each other.
    Members,
    /// Groups to services and prefixes: many overlap.
    Groups,
    /// Networks within networks to networks within networks: each packet meets very many.
    Crossing,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Members, Kind::Groups, Kind::Crossing];

    const fn word(self) -> &'static str {
        match self {
            Kind::Members => "members",
            Kind::Groups => "groups",
            Kind::Crossing => "crossing",
        }
    }
}

fn main() -> Result<()> {
    let rounds: usize = match std::env::var("FIELATO_BENCH_ROUNDS") {
        Ok(text) => text.parse()?,
        Err(_) => ROUNDS,
    };
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    println!(
        "{RULES} rules, medians of {rounds} rounds\n{:<10} {:>9} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "kind", "read, ms", "compile", "analyse", "all", "most", "processor", "findings"
    );
    for kind in Kind::ALL.into_iter().filter(|kind| wanted(kind.word())) {
        let (row, goal) = analysed(kind, rounds)?;
        rows.push(row);
        goals.push(goal);
    }
    if wanted("matrix") {
        rows.push(matrix(rounds.min(3))?);
    }
    goals.iter().for_each(|goal| println!("{}", goal.line()));
    // A part does not stand for the whole.
    if chosen.is_empty() {
        let conditions = json!({
            "rounds": rounds,
            "members": MEMBERS,
            "services": SERVICES,
            "rules": "members: a member to an address; groups: a group to a service or a network; crossing: nested networks to nested networks, so that most rules share packets; one in seven drops",
        });
        bench::write("analyse", "Judging a policy before it is applied", &conditions, &rows, &goals)?;
    }
    Ok(())
}

/// Rules of one kind: read, compiled, analysed.
fn analysed(kind: Kind, rounds: usize) -> Result<(Value, Goal)> {
    let text = policy(RULES, kind);
    let [mut read, mut compiled, mut analysed, mut all, mut processor] = [(); 5].map(|()| Series::default());
    let mut findings = 0;
    for _ in 0..rounds {
        let (begun, spent) = (Instant::now(), processor_time()?);
        let config = Config::parse(&text)?;
        let after_read = begun.elapsed();
        let plan = compile(&config);
        let after_compile = begun.elapsed();
        findings = analyse(&config, &plan).len();
        let end = begun.elapsed();
        read.push(after_read);
        compiled.push(after_compile - after_read);
        analysed.push(end - after_compile);
        all.push(end);
        processor.push(processor_time()?.saturating_sub(spent));
    }
    let word = kind.word();
    println!(
        "{word:<10} {:9.0} {:10.0} {:10.0} {:9.0} {:9.0} {:9.0} {findings:9}",
        read.median(),
        compiled.median(),
        analysed.median(),
        all.median(),
        all.maximum(),
        processor.median()
    );
    let row = json!({
        "rules": RULES, "kind": word, "unit": "ms", "read": read.median(), "compile": compiled.median(),
        "analyse": analysed.median(), "all": all.median(), "maximum": all.maximum(), "processor": processor.median(), "findings": findings,
    });
    let goal = Goal {
        what: format!("{RULES} rules ({word}) read, compiled and analysed, median"),
        measured: all.median(),
        limit: Limit::Most(2000.0),
        unit: " ms",
    };
    Ok((row, goal))
}

/// What every member reaches of every service.
fn matrix(rounds: usize) -> Result<Value> {
    let config = Config::parse(&policy(1_000, Kind::Groups))?;
    let plan = compile(&config);
    let mut took = Series::default();
    let mut answers = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        let matrix = Judge::new(&config, &plan, now()?)?.matrix()?;
        took.push(begun.elapsed());
        answers = matrix.rows.iter().map(|(_, row)| row.len()).sum();
    }
    println!(
        "matrix of {MEMBERS} members and {SERVICES} services, {answers} answers: median {:.0} ms, most {:.0} ms",
        took.median(),
        took.maximum()
    );
    let row = json!({
        "members": MEMBERS, "services": SERVICES, "answers": answers, "unit": "ms", "matrix": took.median(),
        "maximum": took.maximum(),
    });
    Ok(row)
}

/// This thread's time on a processor (Documentation/scheduler/sched-stats.rst): what others on the machine take does not count.
fn processor_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let spent = text.split_whitespace().next().ok_or("no time in schedstat")?;
    Ok(Duration::from_nanos(spent.parse()?))
}

fn now() -> Result<Timestamp> {
    Ok("2026-06-01T12:00:00Z".parse()?)
}

fn compile(config: &Config) -> Plan {
    Plan::compile(config, &Circumstances::at(now().unwrap_or_default(), PerFamily::default()))
}

/// The network of so many bits that an address is in.
fn network(address: u32, bits: u8) -> String {
    let mask = u32::MAX << (32 - bits);
    format!("{}/{bits}", Ipv4Addr::from_bits(address & mask))
}

/// A policy with so many rules.
fn policy(rules: usize, kind: Kind) -> String {
    let mut text = String::from(
        "[hub]\ninterface = \"wg0\"\nendpoint = \"192.0.2.1:51820\"\naddresses = [\"10.8.0.1/16\", \"fd00:8::1/64\"]\n\
         uplink = \"eth0\"\nsource = [\"192.0.2.1\", \"2001:db8::1\"]\n",
    );
    for member in 0..MEMBERS {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(member as u64 + 1).to_be_bytes());
        let (third, last) = (1 + member / 200, 2 + member % 200);
        let _ = writeln!(
            text,
            "[member.m{member}]\naddresses = [\"10.8.{third}.{last}\", \"fd00:8::{third:x}:{last:x}\"]\npublic_key = \"{}\"\ngroups = [\"g{}\"]",
            PublicKey(key),
            member % 100
        );
    }
    for service in 0..SERVICES {
        let last = 10 + service;
        let _ = writeln!(
            text,
            "[host.h{service}]\naddress = [\"10.1.0.{last}\", \"2001:db8:1::{last:x}\"]\nstrategy = \"source\"\n\
             [service.s{service}]\nhost = \"h{service}\"\nports = [\"tcp/{}\", \"udp/{}\"]",
            1000 + service,
            2000 + service
        );
    }
    for rule in 0..rules {
        let action = if rule % 7 == 0 { "drop" } else { "accept" };
        let (from, to) = match kind {
            Kind::Members => (
                format!("m{}", rule % MEMBERS),
                format!("10.{}.{}.{}", 20 + rule / 65_536, rule / 256 % 256, rule % 256),
            ),
            Kind::Groups if rule % 3 == 0 => (format!("g{}", rule % 100), format!("s{}", rule / 100 % SERVICES)),
            Kind::Groups => (
                format!("g{}", rule % 100),
                format!("10.{}.{}.0/24", 20 + rule / 25_600, rule / 100 % 256),
            ),
            Kind::Crossing => (
                format!("10.8.0.0/{}", 16 + rule % 10),
                network(10 << 24 | (rule as u32 / 10 % 250) << 16, 9 + (rule % 20) as u8),
            ),
        };
        let _ = writeln!(text, "[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"");
    }
    text
}
