//! Trace equals fact: `fielato trace` says of each packet what the engines do with it, and by which rule.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use fielato_engines::gateway::UserSpace;
use fielato_engines::kernel::Kernel;
use fielato_engines::scene::{NOW, Scene, Setup};
use fielato_engines::subject::{Subject, Tallies};
use fielato_oracle::random::Random;
use fielato_oracle::subject::{Output, Port};
use fielato_policy::gateway::Origin;
use fielato_policy::plan::Peer;
use fielato_policy::render::wg_quick::allowed_ips;
use fielato_policy::trace::{self, End, Place, Reason, Step, Trace};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::pcap::Captured;
use fielato_wire::{Headers, number};
use jiff::Timestamp;

/// Packets to be judged by each engine, answers among them.
const PACKETS: usize = 10_000;
/// Connections that are begun under one policy.
const OPENINGS: usize = 60;

/// What an engine did with a packet.
struct Fact {
    port: Port,
    packet: Vec<u8>,
    passed: bool,
    /// The counted rules that it met.
    rules: BTreeSet<String>,
}

/// A policy, and who sends under it.
struct World {
    scene: Scene,
    random: Random,
    /// Addresses worth sending to.
    known: Vec<IpAddr>,
}

impl World {
    fn new(seed: u64) -> World {
        // As trace supposes the machine to be.
        let setup = Setup {
            tcp_loose: true,
            tcp_liberal: false,
            checksum: true,
            rp_filter: 0,
            ..Setup::generate(seed)
        };
        let scene = Scene::new(setup).unwrap();
        let config = &scene.config;
        let members = config.members.values().take(8).flat_map(|member| &member.addresses);
        let hosts = config.hosts.values().take(8).flat_map(|host| &host.addresses);
        let hub = config.hub.addresses.iter().map(|net| net.addr());
        let others = [
            "198.51.100.9",
            "203.0.113.77",
            "10.99.3.4",
            "2001:db8::77",
            "2001:db8:99::1",
            "2001:db8:5::5",
        ];
        let others = others.iter().map(|text| text.parse().unwrap());
        let known = members
            .chain(hosts)
            .chain(&config.hub.source)
            .copied()
            .chain(hub)
            .chain(others);
        World {
            known: known.collect(),
            random: Random::new(seed ^ 0x7ace),
            scene,
        }
    }

    /// Whether the sender would send this there: what a member does not put into the tunnel reaches no engine.
    fn port(&self, source: IpAddr, destination: IpAddr) -> Option<Port> {
        let config = &self.scene.config;
        let holds = |peer: &&Peer| peer.allowed_ips.iter().any(|net| net.contains(&source));
        if let Some(peer) = self.scene.plan.peers.iter().find(holds) {
            let networks = allowed_ips(config, &config.members.get(&peer.name)?.route);
            return networks.iter().any(|net| net.contains(&destination)).then_some(Port::Inside);
        }
        let is_hub = config.hub.source.contains(&source) || config.hub.addresses.iter().any(|net| net.addr() == source);
        let is_member = config.members.values().any(|member| member.addresses.contains(&source));
        // What the hub says by itself is not asked of its stack here.
        (!is_hub && !is_member).then_some(Port::Outside)
    }

    /// A packet that could begin a connection; `sport` is its own.
    fn opening(&mut self, sport: u16) -> Option<(Port, Vec<u8>)> {
        let (source, destination) = (*self.random.pick(&self.known), *self.random.pick(&self.known));
        let ip = Ip::between(source, destination).filter(|_| source != destination)?;
        let port = self.port(source, destination)?;
        let services = self.scene.config.services.values().flat_map(|service| &service.ports);
        let mut ports: Vec<u16> = services.flat_map(|port| [port.first, port.last]).take(30).collect();
        ports.extend([22, 53, 9999]);
        let dport = *self.random.pick(&ports);
        let packet = match self.random.weighted(&[50, 30, 20]) {
            0 => ip.tcp(&Tcp::new(sport, dport).syn()),
            1 => ip.udp(sport, dport, b"?"),
            _ => ip.echo_request(sport, 1, b"?"),
        };
        Some((port, packet))
    }
}

fn kind(packet: &[u8]) -> Option<(u8, u8)> {
    let headers = Headers::parse(packet).ok()?;
    let icmp = matches!(headers.protocol, number::ICMP | number::ICMPV6);
    Some((headers.protocol, if icmp { headers.icmp_type } else { 0 }))
}

/// What the receiver of this packet would answer.
fn answer(packet: &[u8]) -> Option<(IpAddr, IpAddr, Vec<u8>)> {
    let headers = Headers::parse(packet).ok()?;
    let (from, to) = (headers.dst.to_ip(headers.family), headers.src.to_ip(headers.family));
    let ip = Ip::between(from, to)?;
    let transport = headers.transport(packet);
    let bytes = match headers.protocol {
        number::TCP => ip.tcp(&Tcp::new(headers.dport, headers.sport).syn().seq(7).ack(1)),
        number::UDP => ip.udp(headers.dport, headers.sport, b"!"),
        _ => ip.echo_reply(u16::from_be_bytes([*transport.get(4)?, *transport.get(5)?]), 1, b"?"),
    };
    Some((from, to, bytes))
}

fn grown(before: &Tallies, after: &Tallies) -> BTreeSet<String> {
    let rules = after
        .iter()
        .filter(|(name, _)| name.starts_with("forward: ") || name.starts_with("input: "));
    let grown = rules.filter(|(name, count)| before.get(*name) != Some(*count));
    grown.map(|(name, _)| name.clone()).collect()
}

/// Lets an engine judge openings and the answers to what came through.
fn facts(world: &mut World, subject: &mut impl Subject) -> Vec<Fact> {
    subject.load(&world.scene).unwrap();
    let mut facts: Vec<Fact> = Vec::new();
    let mut before = Tallies::new();
    let mut judge = |port: Port, packet: Vec<u8>| {
        let at = Duration::from_millis(facts.len() as u64);
        let outputs = subject.inject(at, port, &packet).unwrap();
        let after = subject.tallies().unwrap();
        let through: Option<Output> = outputs.into_iter().find(|output| kind(&output.packet) == kind(&packet));
        facts.push(Fact {
            port,
            passed: through.is_some(),
            packet,
            rules: grown(&before, &after),
        });
        before = after;
        through
    };
    for sport in 0..OPENINGS as u16 {
        let Some((port, packet)) = world.opening(20_000 + sport) else {
            continue;
        };
        let Some(through) = judge(port, packet) else { continue };
        // The hub's own stack does not answer here.
        if let Some((from, to, reply)) = answer(&through.packet).filter(|_| through.port != Port::Host)
            && world.port(from, to) == Some(through.port)
        {
            judge(through.port, reply);
        }
    }
    facts
}

/// Whether the hub let it through; what becomes of it behind the hub no engine knows.
fn crossed(trace: &Trace) -> bool {
    match &trace.end {
        End::Arrived { .. } => true,
        End::Stopped { at, reason, .. } => *at != Place::Hub || matches!(reason, Reason::NobodysAddress | Reason::NoPeer { .. }),
    }
}

/// The counted rules that the trace names.
fn named(trace: &Trace, scene: &Scene) -> BTreeSet<String> {
    let met = trace.stations.iter().filter(|station| station.place == Place::Hub);
    let rules = met.filter_map(|station| match &station.step {
        Step::Table {
            table,
            chain,
            origin: Some(origin),
            ..
        } if table == "filter" && !matches!(origin, Origin::Established | Origin::Loopback | Origin::NotOurs) => {
            Some(scene.tally(&chain.to_lowercase(), &origin.comment()))
        }
        _ => None,
    });
    rules.collect()
}

fn trace_equals(mut subject: impl Subject, first_seed: u64) {
    let now = Timestamp::from_second(NOW).unwrap();
    let (mut judged, mut by_rule, mut verdicts) = (0, 0, BTreeMap::<bool, usize>::new());
    let mut seed = first_seed;
    while judged < PACKETS {
        seed += 1;
        let mut world = World::new(seed);
        let facts = facts(&mut world, &mut subject);
        let captured = facts.iter().zip(0..).map(|(fact, millisecond)| Captured {
            at: Duration::from_millis(millisecond),
            packet: fact.packet.clone(),
        });
        let captured: Vec<Captured> = captured.collect();
        let Scene { config, plan, .. } = &world.scene;
        let traces = trace::packets(config, plan, now, &captured, false).unwrap();
        for (fact, trace) in facts.iter().zip(&traces) {
            let told = || {
                let text = trace::text(std::slice::from_ref(trace), "fielato.toml");
                format!(
                    "seed {seed}, {:?}, met {:?}\n{text}\n{}",
                    fact.port, fact.rules, world.scene.setup.policy
                )
            };
            assert_eq!(crossed(trace), fact.passed, "{}", told());
            assert_eq!(named(trace, &world.scene), fact.rules, "{}", told());
            *verdicts.entry(fact.passed).or_default() += 1;
            by_rule += usize::from(fact.rules.iter().any(|name| name.contains(": rule")));
        }
        judged += facts.len();
    }
    println!(
        "{judged} packets under {} policies, passed or not: {verdicts:?}",
        seed - first_seed
    );
    assert!(
        verdicts.len() == 2 && verdicts.values().all(|count| *count > PACKETS / 10),
        "{verdicts:?}"
    );
}

#[test]
fn of_the_user_space_engine() {
    trace_equals(UserSpace::new(1), 40_000);
}

#[test]
fn of_the_kernel_engine() {
    if fielato_testkit::can_run("of_the_kernel_engine", &["ip", "nft"]) {
        trace_equals(Kernel::new(), 50_000);
    }
}
