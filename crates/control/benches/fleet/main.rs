//! How long a change of the policy takes until 200 hosts enforce it, and what 5,000 hosts cost the hub.
//!
//! Writes `bench/results/fleet.json`. The 200 are agents in this process over real sockets on the loopback, against the hub's own
//! thread; what they would tell the kernel is left out. The 5,000 are connections in memory. `FIELATO_BENCH_ROUNDS` changes.

mod agents;

use std::error::Error;
use std::time::{Duration, Instant};

use agents::{Agents, Laboratory, address, name, now};
use fielato_control::fleet::{Fleet, Listen};
use fielato_fleet::hub::{ConnectionId, Hub, Limits, Output};
use fielato_fleet::{Digest, ToHost, ToHub, VERSION, line};
use fielato_testkit::bench::{self, Goal, Limit, Series};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const REAL: usize = 200;
const SIMULATED: usize = 5_000;
const USERS: usize = 500;
const SERVICES: usize = 200;
const ROUNDS: usize = 30;

fn main() -> Result<()> {
    let rounds = match std::env::var("FIELATO_BENCH_ROUNDS") {
        Ok(text) => text.parse()?,
        Err(_) => ROUNDS,
    };
    let (mut rows, mut goals) = (Vec::new(), Vec::new());
    real(rounds, &mut rows, &mut goals)?;
    simulated(rounds.min(10), &mut rows)?;
    let conditions = json!({
        "rounds": rounds,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "policy": format!("{USERS} users in ten groups, {SERVICES} services on as many hosts with a rule each; each change disables or enables one user"),
    });
    bench::write(
        "fleet",
        "From a change of the policy to hosts that enforce it",
        &conditions,
        &rows,
        &goals,
    )?;
    Ok(())
}

fn percentile(series: &Series, part: f64) -> f64 {
    let mut sorted = series.0.clone();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[((last as f64) * part).round() as usize]
}

fn row(what: &str, hosts: usize, unit: &str, series: &Series) -> Value {
    let (median, p99, maximum) = (series.median(), percentile(series, 0.99), series.maximum());
    println!("{hosts:>6} hosts  {what:<52} median {median:>9.2} {unit}  p99 {p99:>9.2} {unit}  most {maximum:>9.2} {unit}");
    json!({ "hosts": hosts, "what": what, "unit": unit, "median": median, "p99": p99, "maximum": maximum })
}

fn real(rounds: usize, rows: &mut Vec<Value>, goals: &mut Vec<Goal>) -> Result<()> {
    let mut laboratory = Laboratory::new(REAL, USERS, SERVICES);
    let listen = Listen {
        interface: "lo".to_owned(),
        addresses: vec!["127.0.0.1".parse()?],
        port: 0,
    };
    let fleet = Fleet::start(&listen, &laboratory.hosts())?;
    let agents = Agents::start(REAL, fleet.addresses()[0]);
    fleet.publish(1, laboratory.plans());
    wait(&fleet, 1)?;
    let (mut enforced, mut acknowledged) = (Series::default(), Series::default());
    for (round, revision) in (0..rounds).zip(2..) {
        laboratory.edit(round);
        let begun = Instant::now();
        fleet.publish(revision, laboratory.plans());
        wait(&fleet, revision)?;
        acknowledged.push(begun.elapsed());
        let applied = agents.applied.lock().map_err(|_| "an agent panicked")?;
        for number in 0..REAL {
            let at = applied.get(&(name(number), revision)).ok_or("acknowledged, not applied")?;
            enforced.push(at.duration_since(begun));
        }
    }
    rows.push(row("compiled, told, applied: each host", REAL, "ms", &enforced));
    rows.push(row("until the last has acknowledged", REAL, "ms", &acknowledged));
    let goal = Goal {
        what: format!("{REAL} hosts: change to enforced, p99"),
        measured: percentile(&enforced, 0.99),
        limit: Limit::Most(1000.0),
        unit: " ms",
    };
    println!("{}", goal.line());
    goals.push(goal);
    Ok(())
}

fn wait(fleet: &Fleet, revision: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fleet.status().iter().all(|host| host.revision == Some(revision)) {
        if Instant::now() > deadline {
            return Err(format!("revision {revision} did not reach every host within a minute").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// This thread's time on a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Of this process, in bytes.
fn resident() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split(' ').nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * rustix::param::page_size() as f64)
}

fn simulated(rounds: usize, rows: &mut Vec<Value>) -> Result<()> {
    let mut laboratory = Laboratory::new(SIMULATED, USERS, SERVICES);
    let plans = laboratory.plans();
    let before = resident()?;
    let mut hub = Hub::new(Limits::default());
    hub.set_hosts(&laboratory.hosts(), now());
    hub.publish(1, plans, now());
    for number in 0..SIMULATED {
        let id = ConnectionId(number as u64);
        hub.handle_open(id, address(number), now());
        let hello = ToHub::Hello {
            version: VERSION,
            host: Some(name(number)),
            revision: None,
            digest: None,
        };
        hub.handle_bytes(id, &line(&hello), now());
    }
    let (mut compiling, mut telling, mut bytes) = (Series::default(), Series::default(), Series::default());
    answer(&mut hub)?;
    for (round, revision) in (0..rounds).zip(2..) {
        laboratory.edit(round);
        let begun = processor_time();
        let plans = laboratory.plans();
        compiling.push(processor_time() - begun);
        let begun = processor_time();
        hub.publish(revision, plans, now());
        let said = answer(&mut hub)?;
        telling.push(processor_time() - begun);
        bytes.0.push(said as f64 / 1e3);
        if !hub.status(now()).iter().all(|host| host.revision == Some(revision)) {
            return Err("not every host has acknowledged".into());
        }
    }
    let mut memory = Series::default();
    memory.0.push((resident()? - before) / 1e6);
    rows.push(row("processor: compiling every host's plan", SIMULATED, "ms", &compiling));
    rows.push(row(
        "processor: differences, telling, acknowledgements",
        SIMULATED,
        "ms",
        &telling,
    ));
    rows.push(row("sent to all hosts together", SIMULATED, "kB", &bytes));
    rows.push(row(
        "memory of the hub's end, connections and history",
        SIMULATED,
        "MB",
        &memory,
    ));
    Ok(())
}

/// Acknowledges all that the hub says; returns how many bytes it said.
fn answer(hub: &mut Hub) -> Result<usize> {
    let mut said = 0;
    while let Some(output) = hub.poll_output() {
        let Output::Write(id) = output else {
            return Err(format!("the hub ends a connection: {output:?}").into());
        };
        let text = hub.outgoing(id).to_vec();
        said += text.len();
        hub.handle_sent(id, text.len(), now());
        for message in text.split(|byte| *byte == b'\n').filter(|message| !message.is_empty()) {
            let (revision, digest): (u64, Digest) = match serde_json::from_slice(message)? {
                ToHost::Full { revision, digest, .. } => (revision, digest),
                ToHost::Delta { to, digest, .. } => (to, digest),
                other => return Err(format!("unexpected: {other:?}").into()),
            };
            hub.handle_bytes(id, &line(&ToHub::Ack { revision, digest }), now());
        }
    }
    while hub.poll_event().is_some() {}
    Ok(said)
}
