//! What it takes to bring a hub up, to add a member to it, and to hold it in memory, for 100 to 10,000 members.
//!
//! As root; writes `bench/results/apply.json`. The real program runs in network namespaces of its own:
//!
//! ```text
//! member ── 10.77.0.2 ═ veth ═ 10.77.0.1 ── hub
//! ```
//!
//! The member runs `fielato device`; it pings the hub through the tunnel while others are added.

mod hub;
mod pieces;

use std::error::Error;
use std::time::Instant;

use fielato_testkit::bench::{self, Goal, Limit, Series};
use serde_json::{Value, json};

use hub::Bench;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const SIZES: [usize; 3] = [100, 1_000, 10_000];
/// Unless `FIELATO_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 5;
/// Members added one by one in each round.
const ADDED: usize = 3;

/// One line of the table: milliseconds unless its name says otherwise.
struct Row {
    members: usize,
    what: &'static str,
    series: Series,
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn push(&mut self, members: usize, what: &'static str, value: f64) {
        match self.0.iter_mut().find(|row| row.members == members && row.what == what) {
            Some(row) => row.series.0.push(value),
            None => self.0.push(Row {
                members,
                what,
                series: Series(vec![value]),
            }),
        }
    }

    /// Runs `work` and notes how many milliseconds it took.
    fn time<T>(&mut self, members: usize, what: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let value = work().map_err(|error| format!("{what}, {members} members: {error}"))?;
        self.push(members, what, begun.elapsed().as_secs_f64() * 1e3);
        Ok(value)
    }

    fn find(&self, members: usize, what: &str) -> &Series {
        let row = self.0.iter().find(|row| row.members == members && row.what == what);
        &row.expect("every size has every row").series
    }
}

const UP: &str = "`fielato up`, whole command";
const RELOAD_ADDED: &str = "reload after one was added: request to answer";
const RELOAD_WORK: &str = "reload after one was added: the daemon's CPU time";
const MEMORY: &str = "daemon after up: resident MB";
const MEMORY_LATER: &str = "daemon after reloads: resident MB";
const MEMORY_PEAK: &str = "daemon at its peak: resident MB";
const LOST: &str = "pings of another member lost meanwhile";
const RENEWED: &str = "handshakes of another member renewed meanwhile";

fn main() -> Result<()> {
    if !fielato_testkit::root("bench apply") {
        return Ok(());
    }
    let mut rows = Rows::default();
    let rounds = rounds()?;
    // The sizes take turns, so that a change in the machine's speed hits all alike.
    for round in 0..rounds {
        for members in SIZES {
            eprint!("\rround {} of {rounds}, {members} members   ", round + 1);
            one_round(members, &mut rows)?;
            pieces::measure(members, &mut rows)?;
        }
    }
    eprintln!();
    let goals = goals(&rows);
    print(&rows, &goals);
    let written: Vec<Value> = rows
        .0
        .iter()
        .map(|Row { members, what, series }| {
            json!({
                "members": members, "what": what, "median": series.median(), "minimum": series.minimum(),
                "maximum": series.maximum(), "rounds": series.0,
            })
        })
        .collect();
    let conditions = json!({
        "rounds": rounds,
        "configuration": "IPv4 and IPv6 for every member, a pre-shared key for every member, ten groups, three of them and \"members\" in rules; guard on; no shaping",
        "wireguard": pieces::wireguard_kind()?,
    });
    bench::write("apply", "milliseconds unless said otherwise", &conditions, &written, &goals)?;
    Ok(())
}

fn rounds() -> Result<usize> {
    match std::env::var("FIELATO_BENCH_ROUNDS") {
        Ok(text) => Ok(text.parse::<std::num::NonZeroUsize>()?.get()),
        Err(_) => Ok(ROUNDS),
    }
}

fn one_round(members: usize, rows: &mut Rows) -> Result<()> {
    let bench = Bench::new(members)?;
    rows.time(members, UP, || bench.fielato(&["up"]))?;
    let memory = bench.memory()?;
    rows.push(members, MEMORY, memory.resident);

    let live = bench.connect_member()?;
    let handshake = bench.handshake()?;
    let pings = live.ping()?;
    rows.time(members, "reload, nothing changed: request to answer", || bench.reload())?;
    for number in 0..ADDED {
        let name = format!("new{number}");
        rows.time(members, "`fielato member add`, whole command", || {
            bench.fielato(&["member", "add", &name, "--group", "g1"])
        })?;
        let worked = bench.worked()?;
        let changes = rows.time(members, RELOAD_ADDED, || bench.reload())?;
        rows.push(members, RELOAD_WORK, bench.worked()? - worked);
        if changes.peers_set != 1 || changes.peers_removed != 0 {
            return Err(format!("adding one member changed others: {changes:?}").into());
        }
    }
    bench.fielato(&["member", "add", "last"])?;
    rows.time(members, "`fielato reload` after one was added, whole command", || {
        bench.fielato(&["reload"])
    })?;
    bench.fielato(&["member", "remove", "last"])?;
    rows.time(members, "reload after one was removed: request to answer", || bench.reload())?;
    rows.push(members, LOST, pings.stop()?);
    rows.push(members, RENEWED, f64::from(u8::from(bench.handshake()? != handshake)));

    let memory = bench.memory()?;
    rows.push(members, MEMORY_LATER, memory.resident);
    rows.push(members, MEMORY_PEAK, memory.peak);
    drop(live);
    rows.time(members, "`fielato down`, whole command", || bench.fielato(&["down"]))?;
    Ok(())
}

fn goals(rows: &Rows) -> Vec<Goal> {
    let most = SIZES[SIZES.len() - 1];
    let goal = |what: &str, row: &str, limit, unit| Goal {
        what: format!("{most} members: {what}"),
        measured: rows.find(most, row).median(),
        limit: Limit::Most(limit),
        unit,
    };
    let worst = |what: &str, row: &str| Goal {
        what: what.to_owned(),
        measured: SIZES.iter().map(|size| rows.find(*size, row).maximum()).fold(0.0, f64::max),
        limit: Limit::Most(0.0),
        unit: "",
    };
    vec![
        goal("full apply", UP, 1_000.0, " ms"),
        goal("one member added", RELOAD_ADDED, 20.0, " ms"),
        goal("memory after up", MEMORY, 30.0, " MB"),
        goal("memory after reloads", MEMORY_LATER, 30.0, " MB"),
        worst("others' sessions untouched: pings lost", LOST),
        worst("others' sessions untouched: handshakes renewed", RENEWED),
    ]
}

fn print(rows: &Rows, goals: &[Goal]) {
    for members in SIZES {
        println!(
            "\n{:<58} {:>9} {:>9} {:>9}",
            format!("{members} members (ms)"),
            "median",
            "minimum",
            "maximum"
        );
        for Row { what, series, .. } in rows.0.iter().filter(|row| row.members == members) {
            println!(
                "  {what:<56} {:>9.2} {:>9.2} {:>9.2}",
                series.median(),
                series.minimum(),
                series.maximum()
            );
        }
    }
    println!();
    for goal in goals {
        println!("{}", goal.line());
    }
}
