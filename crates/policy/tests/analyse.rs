//! What is found about a policy, case by case, and for policies made at random against every packet that could make a difference.

mod common;
#[path = "common/random.rs"]
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_policy::analyse::{About, Finding, Kind, Severity, analyse};
use fielato_policy::config::Action;
use fielato_policy::plan::{Addresses, FilterRule, Origin, PerFamily};
use fielato_policy::{Circumstances, Config, Plan};
use ipnet::IpNet;
use jiff::Timestamp;

use common::{A, B, NOW, config};

fn compile(config: &Config) -> Plan {
    let now = NOW.parse::<Timestamp>().unwrap();
    Plan::compile(config, &Circumstances::at(now, PerFamily::default()))
}

fn found(text: &str) -> Vec<Finding> {
    let config = config(text);
    analyse(&config, &compile(&config))
}

fn lab(rules: &str) -> String {
    format!(
        r#"[hub]
interface = "wg0"
endpoint = "192.0.2.1:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
source = ["192.0.2.1", "2001:db8::1"]
lab = ["10.0.0.0/8"]

[member.alice]
addresses = ["192.168.4.2", "fd00:4::2"]
public_key = "{A}"
groups = ["staff"]

[member.bob]
addresses = ["192.168.4.3"]
public_key = "{B}"
groups = ["staff", "guests"]

[host.archive]
address = "10.0.123.9"
strategy = "source"

[service.storage]
host = "archive"
ports = ["tcp/1094-1100", "udp/2049"]

[service.shell]
host = "archive"
ports = ["tcp/22"]

{rules}"#
    )
}

fn rule(from: &str, to: &str, action: &str) -> String {
    format!("[[rule]]\nfrom = {from}\nto = {to}\naction = \"{action}\"\n")
}

fn of_kind(findings: &[Finding], kind: Kind) -> Vec<&str> {
    let of_kind = findings.iter().filter(|finding| finding.kind == kind);
    of_kind.map(|finding| finding.message.as_str()).collect()
}

#[test]
fn a_rule_behind_one_that_holds_it() {
    let rules = [rule("\"staff\"", "\"any\"", "accept"), rule("\"bob\"", "\"shell\"", "drop")].concat();
    let findings = found(&lab(&rules));
    assert_eq!(
        of_kind(&findings, Kind::NeverReached),
        ["rule 2 is never reached: rule 1 decides over all its packets first"]
    );
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(findings[0].about, About::Rule(2));
    assert_eq!(findings[0].help, "put it before rule 1, or take it out");
}

#[test]
fn a_rule_behind_several_that_hold_it_together() {
    let rules = [
        rule("\"alice\"", "[\"storage\", \"shell\"]", "accept"),
        rule("\"bob\"", "\"storage\"", "accept"),
        rule("\"bob\"", "\"shell\"", "accept"),
        rule("\"staff\"", "[\"shell\", \"storage\"]", "accept"),
    ]
    .concat();
    let findings = found(&lab(&rules));
    assert_eq!(
        of_kind(&findings, Kind::NeverReached),
        ["rule 4 is never reached: rules 1, 2 and 3 decide over all its packets first, and with the same verdict"]
    );
    // One port less, and some packet of it comes past.
    let rules = rules.replacen("\"storage\", \"shell\"", "\"storage\"", 1);
    assert_eq!(of_kind(&found(&lab(&rules)), Kind::NeverReached), [""; 0]);
}

#[test]
fn a_rule_about_packets_that_do_not_come() {
    let rules = [
        rule("\"10.0.0.0/8\"", "\"internet\"", "accept"),
        rule("\"members\"", "\"storage\"", "accept"),
    ]
    .concat();
    let findings = found(&lab(&rules));
    assert_eq!(of_kind(&findings, Kind::NoPacket).len(), 1);
    assert_eq!(
        findings.iter().find(|finding| finding.kind == Kind::NoPacket).unwrap().about,
        About::Rule(1)
    );
}

#[test]
fn exceptions_are_no_contradictions() {
    let rules = [rule("\"bob\"", "\"shell\"", "drop"), rule("\"staff\"", "\"any\"", "accept")].concat();
    assert_eq!(of_kind(&found(&lab(&rules)), Kind::Contradiction), [""; 0]);
    let rules = [
        rule("\"guests\"", "\"any\"", "drop"),
        rule("\"staff\"", "\"storage\"", "accept"),
    ]
    .concat();
    assert_eq!(
        of_kind(&found(&lab(&rules)), Kind::Contradiction),
        [
            "rule 1 stops and rule 2 accepts the same packets, such as bob (192.168.4.3) > archive (10.0.123.9) tcp/1094: rule 1 decides, since it comes first"
        ]
    );
    let rules = [
        rule("\"staff\"", "\"shell\"", "drop"),
        rule("\"bob\"", "[\"shell\", \"storage\"]", "accept"),
    ]
    .concat();
    assert_eq!(
        of_kind(&found(&lab(&rules)), Kind::Contradiction),
        [
            "a part of rule 2 has no effect: rule 1 stops its packets first, such as bob (192.168.4.3) > archive (10.0.123.9) tcp/22, and it accepts them"
        ]
    );
}

#[test]
fn that_not_all_contradictions_are_named_is_said() {
    let found = |accepting: u32| {
        let mut rules = vec![rule("\"guests\"", "\"10.70.0.0/16\"", "drop")];
        rules.extend((0..accepting).map(|n| rule("\"staff\"", &format!("\"10.70.{n}.0/28\""), "accept")));
        let findings = found(&lab(&rules.concat()));
        let unfinished: Vec<String> = of_kind(&findings, Kind::Unfinished).into_iter().map(str::to_owned).collect();
        (of_kind(&findings, Kind::Contradiction).len(), unfinished)
    };
    assert_eq!(found(100), (100, vec![]));
    let more = "100 contradictions are named, and there may be more";
    assert_eq!(found(101), (100, vec![more.to_owned()]));
}

#[test]
fn members_that_reach_nothing() {
    let idle = |rules: &str, change: (&str, &str)| {
        let text = lab(rules).replace(change.0, change.1);
        let findings = found(&text);
        let idle = findings.into_iter().filter(|finding| finding.kind == Kind::ReachesNothing);
        idle.map(|finding| finding.about).collect::<Vec<_>>()
    };
    let member = |name: &str| About::Member(name.to_owned());
    let both = rule("\"staff\"", "\"storage\"", "accept");
    assert_eq!(idle(&both, ("", "")), []);
    assert_eq!(idle(&rule("\"alice\"", "\"storage\"", "accept"), ("", "")), [member("bob")]);
    // Rules let it, but it sends nothing of that through the tunnel.
    let elsewhere = (
        "groups = [\"staff\", \"guests\"]",
        "groups = [\"staff\"]\nroute = [\"10.9.0.0/16\"]",
    );
    assert_eq!(idle(&both, elsewhere), [member("bob")]);
    // A rule before takes everything away.
    let blocked = [rule("\"guests\"", "\"any\"", "reject"), both.clone()].concat();
    assert_eq!(idle(&blocked, ("", "")), [member("bob")]);
    // Who is no peer is not told.
    let off = ("groups = [\"staff\", \"guests\"]", "disabled = true");
    assert_eq!(idle(&rule("\"alice\"", "\"storage\"", "accept"), off), []);
    // Oneself is nobody to reach.
    assert_eq!(
        idle(
            &[both, rule("\"any\"", "\"bob\"", "accept")]
                .concat()
                .replace("staff", "alice"),
            ("", "")
        ),
        [member("bob")]
    );
}

#[test]
fn services_open_to_everyone() {
    let open = |rules: &str| {
        let findings = found(&lab(rules));
        let open = findings.into_iter().filter(|finding| finding.kind == Kind::OpenToEveryone);
        open.map(|finding| (finding.severity, finding.message)).collect::<Vec<_>>()
    };
    assert_eq!(open(&rule("\"staff\"", "\"any\"", "accept")), []);
    assert_eq!(
        open(&rule("\"any\"", "\"any\"", "accept")),
        [(
            Severity::Note,
            "rule 1 opens services shell, storage to everyone in the VPN".to_owned()
        )]
    );
    // The host is in the overlay, and the internet reaches that by the hub.
    let member = "[member.inner]\naddresses = [\"192.168.4.9\"]\npublic_key = \"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\"\n\
                  [host.inner]\naddress = \"10.0.123.10\"\nstrategy = \"member\"\n\
                  [service.web]\nhost = \"inner\"\nports = [\"tcp/443\"]\n";
    let rules = [member, &rule("\"internet\"", "\"web\"", "accept")].concat();
    assert_eq!(
        open(&rules),
        [(Severity::Warning, "rule 1 opens service web to the internet".to_owned())]
    );
}

#[test]
fn networks_that_overlap() {
    let overlaps = |text: &str| {
        let findings = found(text);
        of_kind(&findings, Kind::Overlap)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let plain = lab(&rule("\"staff\"", "\"storage\"", "accept"));
    assert_eq!(overlaps(&plain), [""; 0]);
    let text = plain.replace(
        "lab = [\"10.0.0.0/8\"]",
        "lab = [\"192.168.0.0/16\", \"192.0.2.0/24\", \"10.0.0.0/8\", \"10.1.0.0/16\"]",
    );
    let text = text.replace("groups = [\"staff\"]", "groups = [\"staff\"]\nroute = [\"192.0.2.0/25\"]");
    let said = overlaps(&text);
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said.iter()
            .any(|one| one.contains("the lab's network 192.168.0.0/16 overlaps the overlay 192.168.4.0/24"))
    );
    assert!(
        said.iter()
            .any(|one| one.contains("the lab's networks 10.0.0.0/8 and 10.1.0.0/16 overlap"))
    );
    assert!(
        said.iter()
            .any(|one| one.contains("the lab's network 192.0.2.0/24 holds the hub's endpoint 192.0.2.1"))
    );
    assert!(
        said.iter()
            .any(|one| one.contains("alice's route 192.0.2.0/25 holds the hub's endpoint 192.0.2.1"))
    );
}

/// What rules in iptables' words and published ports may do to a packet is not said otherwise.
#[test]
fn raw_rules_and_published_ports() {
    let raw = |place: &str, words: &str| format!("[raw]\nafter = {}\nrules = [\"{words}\"]\n", place == "after");
    let told = |rules: &str, more: &str, kind: Kind| {
        let findings = found(&lab(&[rules, more].concat()));
        findings.iter().filter(|finding| finding.kind == kind).count()
    };
    let opposite = [
        rule("\"guests\"", "\"any\"", "drop"),
        rule("\"staff\"", "\"storage\"", "accept"),
    ]
    .concat();
    let alone = rule("\"alice\"", "\"storage\"", "accept");
    let wide = rule("\"any\"", "\"any\"", "accept");
    let publish = |at: &str| {
        format!("[[nat.publish]]\nport = \"tcp/80\"\nto = \"archive\"\nto_port = 1094\nfrom = \"staff\"\naddress = \"{at}\"\n")
    };
    for (rules, more, kind, expected) in [
        // Rule 1 does not decide where a raw rule may have decided before.
        (&opposite, String::new(), Kind::Contradiction, 1),
        (
            &opposite,
            raw("before", "-A FORWARD -s 192.168.4.3 -j ACCEPT"),
            Kind::Contradiction,
            0,
        ),
        (&opposite, raw("before", "-A FORWARD -j LOG"), Kind::Contradiction, 1),
        (
            &opposite,
            raw("before", "-A FORWARD -s 192.168.4.9 -j ACCEPT"),
            Kind::Contradiction,
            1,
        ),
        (
            &opposite,
            raw("before", "-A FORWARD -p udp -j ACCEPT"),
            Kind::Contradiction,
            1,
        ),
        (
            &opposite,
            raw("after", "-A FORWARD -s 192.168.4.3 -j ACCEPT"),
            Kind::Contradiction,
            1,
        ),
        // Bob reaches what a raw rule or a published port lets him.
        (&alone, String::new(), Kind::ReachesNothing, 1),
        (
            &alone,
            raw("before", "-A FORWARD -s 192.168.4.3 -p gre -j ACCEPT"),
            Kind::ReachesNothing,
            0,
        ),
        (
            &alone,
            raw("after", "-A INPUT -s 192.168.4.0/24 -j ACCEPT"),
            Kind::ReachesNothing,
            0,
        ),
        (
            &alone,
            raw("before", "-A FORWARD -s 192.168.4.3 -j DROP"),
            Kind::ReachesNothing,
            1,
        ),
        (
            &alone,
            raw("before", "-A FORWARD -s 192.168.4.2 -j ACCEPT"),
            Kind::ReachesNothing,
            1,
        ),
        (
            &alone,
            raw(
                "before",
                "-t nat -A PREROUTING -d 10.0.0.1 -j DNAT --to-destination 10.0.123.9",
            ),
            Kind::ReachesNothing,
            0,
        ),
        (&alone, publish("192.168.4.1"), Kind::ReachesNothing, 0),
        // Nothing is open that a raw rule may stop.
        (&wide, String::new(), Kind::OpenToEveryone, 1),
        (
            &wide,
            raw("before", "-A FORWARD -d 10.0.123.9 -j DROP"),
            Kind::OpenToEveryone,
            0,
        ),
        (
            &wide,
            raw("before", "-A FORWARD -d 10.0.123.8 -j DROP"),
            Kind::OpenToEveryone,
            1,
        ),
        // A rule that is never reached is none, whatever else is before it.
        (
            &[wide.clone(), alone.clone()].concat(),
            raw("before", "-A FORWARD -j DROP"),
            Kind::NeverReached,
            1,
        ),
    ] {
        assert_eq!(told(rules, &more, kind), expected, "{rules}{more}");
    }
}

/// A packet that begins a connection.
#[derive(Debug, Clone, Copy)]
struct Packet {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    port: u16,
}

fn holds(plan: &Plan, addresses: &Addresses, address: IpAddr) -> bool {
    let any = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    match addresses {
        Addresses::Any => true,
        Addresses::Nets(nets) => any(nets),
        Addresses::Except(nets) => !any(nets),
        Addresses::Set(name) => any(&plan.firewall.sets[name]),
    }
}

/// Its place in the file.
fn number(rule: &FilterRule) -> usize {
    match rule.origin {
        Origin::Rule { number, .. } => number,
        _ => 0,
    }
}

fn matches(plan: &Plan, rule: &FilterRule, packet: Packet) -> bool {
    rule.from.iter().any(|from| holds(plan, from, packet.src))
        && rule.to.iter().any(|to| {
            let mut ports = to.ports.iter();
            let port = to.ports.is_empty()
                || ports.any(|port| port.protocol.number() == packet.protocol && (port.first..=port.last).contains(&packet.port));
            port && holds(plan, &to.addresses, packet.dst)
        })
}

/// Addresses of which each one stands for all up to the next.
fn addresses(config: &Config, plan: &Plan, v4: bool) -> Vec<IpAddr> {
    let mut nets: Vec<IpNet> = config.hub.addresses.iter().map(IpNet::trunc).collect();
    nets.extend(config.hub.addresses.iter().map(|net| IpNet::from(net.addr())));
    nets.extend(plan.firewall.sets.values().flatten());
    nets.extend(
        config
            .members
            .values()
            .flat_map(|member| member.addresses.iter().copied().map(IpNet::from)),
    );
    nets.extend(
        config
            .hosts
            .values()
            .flat_map(|host| host.addresses.iter().copied().map(IpNet::from)),
    );
    let rules = plan.firewall.forward.iter().chain(&plan.firewall.input);
    let parts = rules.flat_map(|rule| rule.from.iter().chain(rule.to.iter().map(|to| &to.addresses)));
    for part in parts {
        if let Addresses::Nets(some) | Addresses::Except(some) = part {
            nets.extend(some);
        }
    }
    let first = if v4 { "0.0.0.0" } else { "::" };
    let mut points = BTreeSet::from([first.parse::<IpAddr>().unwrap()]);
    for net in nets.iter().filter(|net| net.addr().is_ipv4() == v4) {
        points.insert(net.network());
        points.extend(match net.broadcast() {
            IpAddr::V4(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::from(Ipv4Addr::from_bits(next))),
            IpAddr::V6(last) => last
                .to_bits()
                .checked_add(1)
                .map(|next| IpAddr::from(Ipv6Addr::from_bits(next))),
        });
    }
    points.into_iter().collect()
}

fn services(plan: &Plan) -> Vec<(u8, u16)> {
    let mut points = BTreeSet::from([(1, 0), (6, 0), (17, 0)]);
    let rules = plan.firewall.forward.iter().chain(&plan.firewall.input);
    for port in rules.flat_map(|rule| &rule.to).flat_map(|to| &to.ports) {
        let protocol = port.protocol.number();
        points.insert((protocol, port.first));
        points.extend(port.last.checked_add(1).map(|next| (protocol, next)));
    }
    points.into_iter().collect()
}

/// What every packet that could make a difference does.
#[derive(Default)]
struct Brute {
    /// Which rule, by number, takes packets of which rule, itself among them.
    takers: BTreeMap<usize, BTreeSet<usize>>,
    /// Pairs that say opposite things of a packet that the first of them decides over, earlier one first.
    opposite: BTreeSet<(usize, usize)>,
    /// Members that come somewhere.
    active: BTreeSet<String>,
}

fn brute(config: &Config, plan: &Plan) -> Brute {
    let mut brute = Brute::default();
    let accepts = |rule: &FilterRule| rule.action == Action::Accept;
    let overlay = |address: IpAddr| config.hub.addresses.iter().any(|net| net.contains(&address));
    let hub = |address: IpAddr| config.hub.addresses.iter().any(|net| net.addr() == address);
    let known = |address: IpAddr| {
        let hosts = config.hosts.values().flat_map(|host| &host.addresses);
        let mut members = config.members.values().flat_map(|member| &member.addresses).chain(hosts);
        members.any(|one| *one == address)
    };
    for v4 in [true, false] {
        let (ends, services) = (addresses(config, plan, v4), services(plan));
        for (src, dst) in ends.iter().flat_map(|src| ends.iter().map(move |dst| (*src, *dst))) {
            let peer = plan
                .peers
                .iter()
                .find(|peer| peer.allowed_ips.iter().any(|net| net.contains(&src)));
            let somebody =
                !overlay(dst) || hub(dst) || plan.peers.iter().any(|peer| peer.allowed_ips.contains(&IpNet::from(dst)));
            for (protocol, port) in &services {
                let packet = Packet {
                    src,
                    dst,
                    protocol: *protocol,
                    port: *port,
                };
                let chains = [
                    (&plan.firewall.forward, overlay(src) || overlay(dst)),
                    (&plan.firewall.input, overlay(src) && !known(dst)),
                ];
                for (rules, comes) in chains {
                    if !comes {
                        continue;
                    }
                    let met: Vec<&FilterRule> = rules.iter().filter(|rule| matches(plan, rule, packet)).collect();
                    let Some(first) = met.first() else { continue };
                    for rule in &met {
                        brute.takers.entry(number(rule)).or_default().insert(number(first));
                        if accepts(rule) != accepts(first) {
                            brute.opposite.insert((number(first), number(rule)));
                        }
                    }
                    if let Some(peer) = peer
                        && accepts(first)
                        && somebody
                        && src != dst
                    {
                        brute.active.insert(peer.name.clone());
                    }
                }
            }
        }
    }
    brute
}

#[test]
fn random_policies_against_every_packet() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut told: BTreeMap<Kind, usize> = BTreeMap::new();
    for _ in 0..60 {
        // With everything in the tunnel, what rules let pass is what members reach.
        let mut text = random::configuration(&mut rng).replace("groups = [", "route = \"all\"\ngroups = [");
        for _ in 0..rng.usize(..4) {
            text += &rule(
                &format!("\"g{}\"", rng.u8(..3)),
                "[\"s0\", \"10.0.123.0/24\"]",
                ["accept", "drop"][rng.usize(..2)],
            );
        }
        let config = config(&text);
        let plan = compile(&config);
        let findings = analyse(&config, &plan);
        let brute = brute(&config, &plan);
        for finding in &findings {
            *told.entry(finding.kind).or_default() += 1;
        }
        let about = |kind: Kind| {
            let of_kind = findings.iter().filter(move |finding| finding.kind == kind);
            of_kind.filter_map(|finding| match finding.about {
                About::Rule(number) => Some(number),
                _ => None,
            })
        };
        for number in 1..=config.rules.len() {
            let takers = brute.takers.get(&number);
            let in_plan = plan
                .firewall
                .forward
                .iter()
                .chain(&plan.firewall.input)
                .any(|rule| self::number(rule) == number);
            let dead = takers.is_some_and(|takers| !takers.contains(&number));
            assert_eq!(
                about(Kind::NeverReached).any(|one| one == number),
                dead,
                "rule {number}: {takers:?}\n{findings:#?}\n{text}"
            );
            let nothing = in_plan && takers.is_none();
            assert_eq!(
                about(Kind::NoPacket).any(|one| one == number),
                nothing,
                "rule {number}\n{findings:#?}\n{text}"
            );
        }
        for finding in findings.iter().filter(|finding| finding.kind == Kind::NeverReached) {
            let About::Rule(number) = finding.about else {
                panic!("{finding:?}")
            };
            let names: BTreeSet<usize> = finding
                .message
                .split(|char: char| !char.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .filter(|named| *named != number)
                .collect();
            assert!(
                names.iter().all(|named| brute.takers[&number].contains(named)),
                "{finding:?} {:?}\n{text}",
                brute.takers[&number]
            );
        }
        for number in about(Kind::Contradiction) {
            assert!(
                brute.opposite.iter().any(|(_, later)| *later == number),
                "{findings:#?}\n{text}"
            );
        }
        let idle: BTreeSet<&str> = findings
            .iter()
            .filter_map(|finding| match (&finding.about, finding.kind) {
                (About::Member(name), Kind::ReachesNothing) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let expected = plan
            .peers
            .iter()
            .map(|peer| peer.name.as_str())
            .filter(|name| !brute.active.contains(*name));
        assert_eq!(idle, expected.collect::<BTreeSet<_>>(), "{findings:#?}\n{text}");
    }
    for kind in [
        Kind::NeverReached,
        Kind::NoPacket,
        Kind::Contradiction,
        Kind::ReachesNothing,
        Kind::OpenToEveryone,
    ] {
        assert!(told.get(&kind).is_some_and(|count| *count > 3), "{kind:?}: {told:?}");
    }
}
