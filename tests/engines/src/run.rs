//! One case: made and recorded on one engine, played again on another.

use std::time::{Duration, Instant};

use fielato_oracle::case::Step;
use fielato_oracle::compare::{self as seen, Judged};
use fielato_oracle::rename::{Naming, Renames};
use fielato_oracle::subject::Connection;

use crate::case::Case;
use crate::compare::{self, Difference};
use crate::error::Error;
use crate::scene::{Scene, Setup};
use crate::subject::Subject;
use crate::traffic::Crowd;

/// Makes a case of `packets` packets by `seed`, each following from what came out before, and records it; without the packets
/// for which `takes` doesn't hold.
///
/// # Errors
/// Those of the subject, and a refused policy.
pub fn record(
    subject: &mut impl Subject,
    setup: Setup,
    seed: u64,
    packets: usize,
    takes: impl Fn(&Scene, &[u8]) -> bool,
) -> Result<Case, Error> {
    let scene = Scene::new(setup)?;
    subject.load(&scene)?;
    let began = Instant::now();
    // Another stream of numbers than the policy's, or policy and packets would follow from each other.
    let mut crowd = Crowd::new(!seed, &scene);
    let mut steps = Vec::with_capacity(packets);
    for _ in 0..packets {
        let (port, packet) = crowd.next_packet();
        if !takes(&scene, &packet) {
            continue;
        }
        let at = began.elapsed();
        let outputs = subject.inject(at, port, &packet)?;
        crowd.observe(&outputs);
        steps.push(Step {
            at,
            port,
            packet,
            outputs,
        });
    }
    let at = began.elapsed();
    Ok(Case {
        setup: scene.setup,
        steps,
        tallies: subject.tallies()?,
        connections: connections(subject, at)?,
    })
}

/// What became of a case that was played again.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All the same.
    Same,
    /// Given up, because a port that was chosen by chance may have met another conversation. Up to this packet all was the same.
    Ambiguous(usize),
    /// The first difference.
    Differs(Box<Difference>),
}

impl Outcome {
    /// How far the case was the same.
    fn reached(&self) -> usize {
        match self {
            Outcome::Ambiguous(step) => *step,
            Outcome::Differs(difference) => difference.step(),
            Outcome::Same => usize::MAX,
        }
    }
}

/// How often a case is played again on what it was recorded from, before another engine is found to differ.
const REPEATS: usize = 5;

/// Whether what a case was recorded from does again what it did, up to where another engine differed. It doesn't always: ports
/// chosen by chance may meet in ways that renaming them can't follow, and the kernel's clock goes on. Such a case tells nothing.
///
/// # Errors
/// Those of the subject.
pub fn repeats(reference: &mut impl Subject, case: &Case, difference: &Difference) -> Result<bool, Error> {
    for _ in 0..REPEATS {
        let outcome = replay(reference, case)?;
        if !matches!(outcome, Outcome::Same) && outcome.reached() <= difference.step() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Plays a recorded case on `subject` and compares.
///
/// # Errors
/// Those of the subject.
pub fn replay(subject: &mut impl Subject, case: &Case) -> Result<Outcome, Error> {
    subject.load(&Scene::new(case.setup.clone())?)?;
    let mut renames = Renames::default();
    for (index, step) in case.steps.iter().enumerate() {
        if renames.is_clash(&step.packet) {
            return Ok(Outcome::Ambiguous(index));
        }
        let packet = own_name(case, step, &renames);
        let got = subject.inject(step.at, step.port, &packet)?;
        match seen::outputs(index, step, true, &got, &mut renames) {
            Judged::Same => {}
            Judged::Ambiguous => return Ok(Outcome::Ambiguous(index)),
            Judged::Differs(mismatch) => return Ok(Outcome::Differs(Box::new(Difference::Seen(mismatch)))),
        }
    }
    let mut expected = case.tallies.clone();
    expected.retain(|name, _| subject.counts(name));
    let mut difference = compare::tallies(&expected, &subject.tallies()?);
    if difference.is_none() {
        let mismatch = seen::connections(&case.connections, connections(subject, last(case))?, &renames);
        difference = mismatch.map(|mismatch| Difference::Seen(Box::new(mismatch)));
    }
    Ok(difference.map_or(Outcome::Same, |difference| Outcome::Differs(Box::new(difference))))
}

/// Connections without the marks that translation leaves also on what it left as it was (`IPS_SRC_NAT_DONE`, `IPS_DST_NAT_DONE`):
/// they tell whether there is a nat table, which rules without translation may or may not bring along.
fn connections(subject: &mut impl Subject, at: Duration) -> Result<Vec<Connection>, Error> {
    const DONE: u32 = 1 << 7 | 1 << 8;
    let mut all = subject.connections(at)?;
    for connection in &mut all {
        connection.status &= !DONE;
    }
    Ok(all)
}

/// The packet of a step as the subject that plays it names ports.
fn own_name(case: &Case, step: &Step, renames: &Renames) -> Vec<u8> {
    let there = case.steps.iter().filter(|other| other.port == step.port);
    renames.rename_among(&step.packet, there.map(|other| &other.packet[..]), Naming::Own)
}

fn last(case: &Case) -> Duration {
    case.steps.last().map_or(Duration::ZERO, |step| step.at)
}

/// Records the same packets again, after something was taken out of policy or packets. Ports that the subject now chooses by
/// chance get the names they had in `case`.
///
/// # Errors
/// Those of the subject, and a refused policy.
pub fn rerecord(subject: &mut impl Subject, case: &Case) -> Result<Case, Error> {
    subject.load(&Scene::new(case.setup.clone())?)?;
    let mut renames = Renames::default();
    let mut steps = Vec::with_capacity(case.steps.len());
    for (index, step) in case.steps.iter().enumerate() {
        let packet = own_name(case, step, &renames);
        let got = subject.inject(step.at, step.port, &packet)?;
        // Whether it is the same as before doesn't matter here, only what ports are called.
        let _ = seen::outputs(index, step, true, &got, &mut renames);
        let outputs = renames.outputs(&got, Naming::Reference);
        steps.push(Step { outputs, ..step.clone() });
    }
    let tallies = subject.tallies()?;
    let mut connections = connections(subject, last(case))?;
    for connection in &mut connections {
        renames.rename_connection(connection);
    }
    connections.sort();
    Ok(Case {
        setup: case.setup.clone(),
        steps,
        tallies,
        connections,
    })
}
