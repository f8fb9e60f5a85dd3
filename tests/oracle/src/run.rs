//! One case: made and recorded on one subject, played again on another.

use std::time::{Duration, Instant};

use fielato_wire::Family;

use crate::case::{Step, Trace};
use crate::compare::{self, Judged, Mismatch};
use crate::error::Error;
use crate::random::Random;
use crate::rename::{Naming, Renames};
use crate::rules::{self, Conditions};
use crate::subject::{Counter, Setup, Subject};
use crate::traffic::Traffic;

/// Rules and settings of the case `seed`.
pub fn setup(seed: u64) -> Setup {
    let mut random = Random::new(seed);
    let tracking = random.chance(80);
    let paced = tracking && random.chance(2);
    let conditions = Conditions {
        tracking,
        paced,
        copies: !paced && random.chance(10),
    };
    Setup {
        tracking,
        tcp_loose: random.chance(50),
        tcp_liberal: random.chance(20),
        checksum: random.chance(60),
        paced,
        rules_v4: rules::generate(&mut random, Family::V4, conditions),
        rules_v6: rules::generate(&mut random, Family::V6, conditions),
    }
}

/// Rules that answer answers, or copy copies, make the kernel send hundreds of packets for one; a case ends before that.
const STORM: usize = 16;

/// Makes a case of `packets` packets by `seed`, each following from what came out before, and records it; nothing
/// when one packet brought about a storm of others.
///
/// # Errors
/// Those of the subject.
pub fn record(subject: &mut impl Subject, setup: Setup, seed: u64, packets: usize) -> Result<Option<Trace>, Error> {
    record_where(subject, setup, seed, packets, |_| true)
}

/// The same without the packets for which `takes` doesn't hold.
///
/// # Errors
/// Those of the subject.
pub fn record_where(
    subject: &mut impl Subject,
    setup: Setup,
    seed: u64,
    packets: usize,
    takes: impl Fn(&[u8]) -> bool,
) -> Result<Option<Trace>, Error> {
    subject.load(&setup)?;
    let began = Instant::now();
    // Another stream of numbers than the rules', or rules and packets would follow from each other.
    let mut traffic = Traffic::new(!seed, &setup);
    let mut steps = Vec::with_capacity(packets);
    for _ in 0..packets {
        let (port, packet) = traffic.next_packet();
        if !takes(&packet) {
            continue;
        }
        let at = began.elapsed();
        let outputs = subject.inject(at, port, &packet)?;
        if outputs.len() > STORM {
            return Ok(None);
        }
        traffic.observe(&outputs);
        steps.push(Step {
            at,
            port,
            packet,
            outputs,
        });
    }
    let at = began.elapsed();
    Ok(Some(Trace {
        setup,
        steps,
        counters: subject.counters()?,
        connections: subject.connections(at)?,
    }))
}

/// What became of a case that was played again.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All the same.
    Same,
    /// Given up: see [`Judged::Ambiguous`]. Up to this packet all was the same.
    Ambiguous(usize),
    /// The first difference.
    Differs(Box<Mismatch>),
}

impl Outcome {
    /// How far the case was the same: the packet after which it wasn't, or all of them.
    fn reached(&self) -> usize {
        match self {
            Outcome::Ambiguous(step) => *step,
            Outcome::Differs(mismatch) => mismatch.step(),
            Outcome::Same => usize::MAX,
        }
    }
}

/// How often a case is played again on what it was recorded from, before another subject is found to differ. Ten, because what
/// chooses one of four ports by chance chooses the same three times running once in 64 cases.
const REPEATS: usize = 10;

/// Whether what a case was recorded from does again what it did, up to where another subject differed. It doesn't always: ports
/// chosen by chance may meet in ways that renaming them can't follow, and the kernel's clock goes on. Such a case tells nothing.
///
/// # Errors
/// Those of the subject.
pub fn repeats(reference: &mut impl Subject, trace: &Trace, mismatch: &Mismatch) -> Result<bool, Error> {
    for _ in 0..REPEATS {
        let outcome = replay(reference, trace)?;
        if !matches!(outcome, Outcome::Same) && outcome.reached() <= mismatch.step() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Plays a recorded case on `subject` and compares.
///
/// # Errors
/// Those of the subject.
pub fn replay(subject: &mut impl Subject, trace: &Trace) -> Result<Outcome, Error> {
    subject.load(&trace.setup)?;
    let mut renames = Renames::default();
    for (index, step) in trace.steps.iter().enumerate() {
        if renames.is_clash(&step.packet) {
            return Ok(Outcome::Ambiguous(index));
        }
        let packet = own_name(trace, step, &renames);
        let got = subject.inject(step.at, step.port, &packet)?;
        match compare::outputs(index, step, trace.setup.tracking, &got, &mut renames) {
            Judged::Same => {}
            Judged::Ambiguous => return Ok(Outcome::Ambiguous(index)),
            // SNPT and DNPT call a peer otherwise than its connection and what quotes it do, and ports are named by their peers.
            Judged::Differs(_) if !renames.is_empty() && trace.setup.rules_v6.contains("-pfx ") => {
                return Ok(Outcome::Ambiguous(index));
            }
            Judged::Differs(mismatch) => return Ok(Outcome::Differs(mismatch)),
        }
    }
    let mut expected = trace.counters.clone();
    expected.retain(|counter| subject.counts_policies() || counter.rule.is_some());
    let mismatch = match compare::counters(&expected, &subject.counters()?) {
        // A rule may tell the port that one chose by chance from the other's.
        Some(Mismatch::Counter { expected, .. }) if !renames.is_empty() && asks_for_ports(&expected, &trace.setup) => {
            return Ok(Outcome::Ambiguous(trace.steps.len()));
        }
        Some(mismatch) => Some(mismatch),
        None => compare::connections(&trace.connections, subject.connections(last(trace))?, &renames),
    };
    Ok(mismatch.map_or(Outcome::Same, |mismatch| Outcome::Differs(Box::new(mismatch))))
}

/// The packet of a step as the subject that plays it names ports.
fn own_name(trace: &Trace, step: &Step, renames: &Renames) -> Vec<u8> {
    let there = trace.steps.iter().filter(|other| other.port == step.port);
    renames.rename_among(&step.packet, there.map(|other| &other.packet[..]), Naming::Own)
}

/// Whether a rule asks for ports, or for what is computed of them.
fn asks_for_ports(counter: &Counter, setup: &Setup) -> bool {
    let options = ["port", "--u32", "HMARK"];
    counter
        .text(setup)
        .is_some_and(|text| options.iter().any(|option| text.contains(option)))
}

fn last(trace: &Trace) -> Duration {
    trace.steps.last().map_or(Duration::ZERO, |step| step.at)
}

/// Records the same packets again, after something was taken out of rules or packets. Ports that the subject now chooses by
/// chance get the names they had in `trace`.
///
/// # Errors
/// Those of the subject.
pub fn rerecord(subject: &mut impl Subject, trace: &Trace) -> Result<Trace, Error> {
    subject.load(&trace.setup)?;
    let mut renames = Renames::default();
    let mut steps = Vec::with_capacity(trace.steps.len());
    for (index, step) in trace.steps.iter().enumerate() {
        let packet = own_name(trace, step, &renames);
        let got = subject.inject(step.at, step.port, &packet)?;
        // Whether it is the same as before doesn't matter here, only what ports are called.
        let _ = compare::outputs(index, step, trace.setup.tracking, &got, &mut renames);
        let outputs = renames.outputs(&got, Naming::Reference);
        steps.push(Step { outputs, ..step.clone() });
    }
    let counters = subject.counters()?;
    let mut connections = subject.connections(last(trace))?;
    for connection in &mut connections {
        renames.rename_connection(connection);
    }
    connections.sort();
    Ok(Trace {
        setup: trace.setup.clone(),
        steps,
        counters,
        connections,
    })
}
