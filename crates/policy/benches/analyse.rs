//! What it takes to judge a large policy: 100,000 rules analysed, and 1,000 members by 50 services asked for.
//!
//! `cargo bench -p fielato-policy --bench analyse`

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use fielato_policy::analyse::analyse;
use fielato_policy::judge::Judge;
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Config, Plan};
use fielato_testkit::bench::{self, Goal, Limit};
use fielato_wireguard::PublicKey;
use jiff::Timestamp;
use serde_json::json;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const RULES: usize = 100_000;
const MEMBERS: usize = 1_000;
const SERVICES: usize = 50;

/// What the rules are like.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A member to a port of a host: mostly apart from each other.
    Members,
    /// Groups to services and prefixes: many overlap.
    Groups,
    /// Every rule from a group to anywhere: each packet meets very many.
    Crossing,
}

fn main() -> Result<()> {
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    println!(
        "{:<10} {:>9} {:>9} {:>11} {:>9} {:>9}",
        "rules", "parse, s", "compile", "analyse, s", "all, s", "findings"
    );
    for kind in [Kind::Members, Kind::Groups, Kind::Crossing] {
        let text = policy(RULES, kind);
        let begun = Instant::now();
        let config = Config::parse(&text)?;
        let parsed = begun.elapsed();
        let plan = compile(&config);
        let compiled = begun.elapsed();
        let findings = analyse(&config, &plan).len();
        let all = begun.elapsed();
        let [parse, compile, analysis] = [parsed, compiled - parsed, all - compiled].map(|time| time.as_secs_f64());
        let all = all.as_secs_f64();
        println!("{kind:<10?} {parse:9.3} {compile:9.3} {analysis:11.3} {all:9.3} {findings:9}");
        rows.push(
            json!({ "rules": RULES, "kind": format!("{kind:?}"), "parse_s": parse, "compile_s": compile, "analyse_s": analysis }),
        );
        goals.push(Goal {
            what: format!("{RULES} rules ({kind:?}) read, compiled and analysed"),
            measured: all,
            limit: Limit::Most(2.0),
            unit: " s",
        });
    }
    let config = Config::parse(&policy(1_000, Kind::Groups))?;
    let plan = compile(&config);
    let begun = Instant::now();
    let matrix = Judge::new(&config, &plan, now()?)?.matrix()?;
    let took = begun.elapsed().as_secs_f64();
    println!(
        "matrix of {} members and {} services: {took:.2} s",
        matrix.rows.len(),
        matrix.services.len()
    );
    rows.push(json!({ "members": MEMBERS, "services": SERVICES, "matrix_s": took }));
    goals.push(Goal {
        what: format!("a matrix of {MEMBERS} members and {SERVICES} services"),
        measured: took,
        limit: Limit::Most(20.0),
        unit: " s",
    });
    goals.iter().for_each(|goal| println!("{}", goal.line()));
    bench::write(
        "judge",
        "judging a policy before it is applied",
        &json!({ "rounds": 1 }),
        &rows,
        &goals,
    )?;
    Ok(())
}

fn now() -> Result<Timestamp> {
    Ok("2026-06-01T12:00:00Z".parse()?)
}

fn compile(config: &Config) -> Plan {
    Plan::compile(config, &Circumstances::at(now().unwrap_or_default(), PerFamily::default()))
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
                format!("10.{}.0.0/{}", rule / 10 % 250, 9 + rule % 20),
            ),
        };
        let _ = writeln!(text, "[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"");
    }
    text
}
