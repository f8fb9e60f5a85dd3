//! Whether `trace` says what happens: a sequence of packets is given to an engine, packet by packet, and what the engine counted and
//! sent on is held against what `fielato_policy::trace` says of the same sequence, without an engine.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fielato_oracle::subject::{Output, Port};
use fielato_policy::gateway::Origin;
use fielato_policy::trace::{self, End, Place, Sender, Step, Trace};
use fielato_qdisc::Item;
use fielato_wire::pcap::Captured;
use fielato_wire::{Addr, Headers, number};
use jiff::Timestamp;

use crate::error::Error;
use crate::network::{INTERFACE, UPLINK_NAME};
use crate::scene::{NOW, Scene, Setup};
use crate::subject::{Subject, Tallies};
use crate::traffic::Crowd;

/// What happened to one packet, or is said to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Rules and bans that it met, of those that are counted.
    pub met: BTreeSet<String>,
    /// Where it went; nowhere when it was stopped.
    pub to: Option<Port>,
    /// The classes it waited in; unknown where an answer may have waited in some, too.
    pub classes: Option<BTreeSet<String>>,
}

/// A packet of which trace says otherwise.
#[derive(Clone, Debug)]
pub struct Untrue {
    /// Seed of the case.
    pub seed: u64,
    /// Number of the packet in it.
    pub step: usize,
    /// The packet, and where it came in.
    pub packet: Output,
    /// What trace says.
    pub said: Fate,
    /// What happened.
    pub fact: Fate,
}

impl fmt::Display for Untrue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            step,
            packet,
            said,
            fact,
        } = self;
        writeln!(f, "case {seed}, packet {step}: {packet:?}\n  said {said:?}\n  fact {fact:?}")
    }
}

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Packets that were compared.
    pub count: usize,
    /// Of these, that the engine let pass.
    pub passed: usize,
    /// Those of which trace says otherwise.
    pub untrue: Vec<Untrue>,
}

/// Gives an engine up to `packets` packets under the policy of `seed`, and asks trace about them.
///
/// # Errors
/// Those of the engine and of trace.
pub fn check(engine: &mut impl Subject, seed: u64, packets: usize) -> Result<Checked, Error> {
    // Trace supposes the usual settings.
    let setup = Setup {
        tcp_loose: true,
        tcp_liberal: false,
        checksum: true,
        rp_filter: 0,
        ..Setup::generate(seed)
    };
    let scene = Scene::new(setup)?;
    engine.load(&scene)?;
    let began = Instant::now();
    let mut crowd = Crowd::new(!seed, &scene);
    let (mut captured, mut happened) = (Vec::new(), Vec::new());
    let mut before = engine.tallies()?;
    let mut known = HashMap::new();
    // Trace doesn't look at the machine, and knows of the uplink's networks nothing but the hub's addresses.
    let broadcast = Addr::from(Ipv4Addr::new(203, 0, 113, 255));
    for _ in 0..packets * 4 {
        let (port, packet) = crowd.next_packet();
        let Some(ends) = Headers::parse(&packet).ok().filter(|headers| !headers.is_fragment()) else {
            continue;
        };
        // Who sends it and whom to decides, not what is in it.
        let comes = match known.entry((port, ends.src, ends.dst)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(place) => *place.insert(comes_there(&scene, port, &packet)?),
        };
        if !comes || ends.dst == broadcast {
            continue;
        }
        let at = began.elapsed();
        let outputs = engine.inject(at, port, &packet)?;
        crowd.observe(&outputs);
        if has_chosen_port(&packet, &outputs) {
            // Trace's own choice would be another, and answers would go elsewhere.
            break;
        }
        let after = engine.tallies()?;
        happened.push((
            Output {
                port,
                packet: packet.clone(),
            },
            outputs,
            met(&before, &after),
        ));
        captured.push(Captured { at, packet });
        before = after;
        if captured.len() == packets {
            break;
        }
    }
    let said = traced(&scene, &captured)?;
    let mut checked = Checked {
        count: captured.len(),
        ..Checked::default()
    };
    for (step, ((packet, outputs, met), trace)) in happened.into_iter().zip(&said).enumerate() {
        let said = claim(&scene, trace);
        let told = trace.stations.iter().any(|station| matches!(station.step, Step::Tell { .. }));
        let fact = fact(met, &outputs, told);
        checked.passed += usize::from(fact.to.is_some());
        if said != fact {
            checked.untrue.push(Untrue {
                seed,
                step,
                packet,
                said,
                fact,
            });
        }
    }
    Ok(checked)
}

fn traced(scene: &Scene, captured: &[Captured]) -> Result<Vec<Trace>, Error> {
    let now = Timestamp::from_second(NOW).map_err(|error| Error::Trace(error.to_string()))?;
    trace::packets(&scene.config, &scene.plan, now, captured, false).map_err(|error| Error::Trace(error.to_string()))
}

/// Whether such a packet can come in by that port: not from a member who would not send it there, or from whom WireGuard would not
/// take it.
fn comes_there(scene: &Scene, port: Port, packet: &[u8]) -> Result<bool, Error> {
    let alone = [Captured {
        at: Duration::ZERO,
        packet: packet.to_vec(),
    }];
    let Some(trace) = traced(scene, &alone)?.pop() else {
        return Ok(false);
    };
    let from = match trace.from {
        Sender::Member(_) => Port::Inside,
        Sender::Outside(_) => Port::Outside,
        Sender::Hub => Port::Host,
    };
    let reaches = |step: &Step| match step {
        Step::Decrypt { source, allowed, .. } => allowed.iter().any(|net| net.contains(source)),
        Step::NoPeer { .. } => false,
        _ => true,
    };
    let at_hub: Vec<&Step> = trace
        .stations
        .iter()
        .filter(|station| station.place == Place::Hub)
        .map(|station| &station.step)
        .collect();
    Ok(from == port && !at_hub.is_empty() && at_hub.into_iter().all(reaches))
}

/// Whether the source port was translated to another one.
fn has_chosen_port(packet: &[u8], outputs: &[Output]) -> bool {
    let source = |packet: &[u8]| {
        let headers = Headers::parse(packet).ok()?;
        match headers.protocol {
            number::TCP | number::UDP | number::UDPLITE | number::SCTP => Some(headers.sport),
            number::ICMP | number::ICMPV6 => headers
                .transport(packet)
                .get(4..6)
                .map(|id| u16::from_be_bytes([id[0], id[1]])),
            _ => None,
        }
    };
    let protocol = |packet: &[u8]| {
        Headers::parse(packet)
            .ok()
            .map(|headers| (headers.protocol, headers.icmp_type))
    };
    outputs
        .iter()
        .any(|output| protocol(&output.packet) == protocol(packet) && source(&output.packet) != source(packet))
}

/// What was counted in between.
fn met(before: &Tallies, after: &Tallies) -> BTreeSet<String> {
    let grew = |(name, now): &(&String, &(u64, u64))| before.get(*name).is_none_or(|then| then.0 < now.0);
    after.iter().filter(grew).map(|(name, _)| name.clone()).collect()
}

fn fact(met: BTreeSet<String>, outputs: &[Output], told: bool) -> Fate {
    let (classes, met): (BTreeSet<String>, BTreeSet<String>) = met.into_iter().partition(|name| name.starts_with("class "));
    Fate {
        met,
        // What comes out of a packet that was stopped is the answer to it.
        to: outputs.first().filter(|_| !told).map(|output| output.port),
        classes: (!told).then_some(classes),
    }
}

/// What trace says, in the engines' terms.
fn claim(scene: &Scene, trace: &Trace) -> Fate {
    let mut fate = Fate {
        met: BTreeSet::new(),
        to: None,
        classes: Some(BTreeSet::new()),
    };
    for station in trace.stations.iter().filter(|station| station.place == Place::Hub) {
        match &station.step {
            Step::Guard { ban: Some(network), .. } => drop(fate.met.insert(format!("ban {network}"))),
            Step::Table {
                table,
                chain,
                origin: Some(origin),
                ..
            } if table == "filter" && is_counted(origin) => {
                fate.met.insert(scene.tally(&chain.to_lowercase(), &origin.comment()));
            }
            Step::Queue { interface, path } if [INTERFACE, UPLINK_NAME].contains(&interface.as_str()) => {
                fate.to = Some(if interface == INTERFACE { Port::Inside } else { Port::Outside });
                fate.classes = Some(
                    path.iter()
                        .flat_map(|handle| with_parents(scene, interface, handle))
                        .collect(),
                );
            }
            Step::Tell { .. } => fate.classes = None,
            _ => {}
        }
    }
    if let End::Arrived { at: Place::Hub, .. } = trace.end {
        fate.to = Some(Port::Host);
    }
    fate
}

/// A class and those above it, which all count its packets; trace names the one that a packet waits in. Nothing for a discipline.
fn with_parents(scene: &Scene, device: &str, handle: &str) -> Vec<String> {
    let classes = || {
        scene.plan.shaping.iter().filter_map(|shaping| match &shaping.item {
            Item::Class(class) if shaping.dev == device => Some(class),
            _ => None,
        })
    };
    let mut names = Vec::new();
    let mut next = classes().find(|class| class.classid.to_string() == handle);
    while let Some(class) = next {
        names.push(format!("class {device} {}", class.classid));
        next = classes().find(|above| above.classid == class.parent);
    }
    names
}

/// Whether nft counts the packets of such a rule of the hub's.
pub(crate) fn is_counted(origin: &Origin) -> bool {
    match origin {
        Origin::Rule { .. }
        | Origin::Grant { .. }
        | Origin::OverQuota
        | Origin::Raw { .. }
        | Origin::Publish { .. }
        | Origin::ForgedSource
        | Origin::Transit
        | Origin::Invalid
        | Origin::MidConnection
        | Origin::ControlChannel
        | Origin::NoRule => true,
        Origin::Established
        | Origin::Loopback
        | Origin::NotOurs
        | Origin::Masquerade
        | Origin::FromHub
        | Origin::Translated
        | Origin::Protected => false,
    }
}
