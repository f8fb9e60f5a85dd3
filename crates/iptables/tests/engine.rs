//! Rules in iptables' words, run by the engine on whole packets.

mod common;

use fielato_netfilter::conntrack::Config;
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Counters, Host, Interface, Netfilter, Now, Packet, Ruleset};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, TcpFlags};

use common::{Router, address};

const ROUTER: Router = Router(["eth0", "eth1"]);

fn eth(number: u32) -> Interface {
    ROUTER.interface(number)
}

fn rules(family: Family, lines: &[&str]) -> Ruleset {
    let mut rules = Ruleset::new(family);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        common::run(&mut rules, &words).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    rules
}

struct Lab {
    engine: Netfilter,
    now: Now,
}

impl Lab {
    fn new(family: Family, lines: &[&str]) -> Lab {
        let mut lab = Lab {
            engine: Netfilter::new(Config::default(), 7),
            now: Now::from_secs(1),
        };
        lab.replace(rules(family, lines));
        lab
    }

    fn replace(&mut self, ruleset: Ruleset) {
        let command = Command::Replace {
            ruleset,
            generation: None,
        };
        self.engine.execute(Caller::Admin, command, self.now).unwrap();
    }

    fn receive(&mut self, interface: u32, bytes: Vec<u8>) -> Fate {
        self.now = self.now.plus(1_000_000);
        let packet = Packet::received(bytes, eth(interface)).unwrap();
        self.engine.receive(packet, &mut { ROUTER }, self.now)
    }

    fn passes(&mut self, interface: u32, bytes: Vec<u8>) -> Vec<u8> {
        match self.receive(interface, bytes) {
            Fate::Transmit(packet) => packet.data,
            other => panic!("the packet does not pass: {other:?}"),
        }
    }

    fn drops(&mut self, interface: u32, bytes: Vec<u8>) {
        match self.receive(interface, bytes) {
            Fate::Dropped(reason) => assert!(reason.is_of_rules(), "{reason:?}"),
            other => panic!("the packet is not dropped: {other:?}"),
        }
    }

    /// Counters of the rules of a chain, then of its policy.
    fn counts(&self, family: Family, table: &str, chain: &str) -> Vec<(u64, u64)> {
        let rules = self.engine.ruleset(family);
        let chain = rules.table(table).unwrap().chain(chain).unwrap();
        let all = chain.rules.iter().map(|rule| rule.counters).chain([chain.counters]);
        all.map(|Counters { packets, bytes }| (packets, bytes)).collect()
    }
}

fn between(family: Family, from: u32, to: u32) -> Ip {
    match family {
        Family::V4 => Ip::v4([10, 0, 0, from as u8], [198, 51, 100, to as u8]),
        Family::V6 => Ip::new(
            family,
            address(&format!("2001:db8::{from:x}")),
            address(&format!("2001:db8:100::{to:x}")),
        ),
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn host(family: Family, number: u32) -> String {
    match family {
        Family::V4 => format!("10.0.0.{number}"),
        Family::V6 => format!("2001:db8::{number:x}"),
    }
}

#[test]
fn a_packet_passes_then_is_stopped() {
    for family in FAMILIES {
        let mut lab = Lab::new(family, &["-N other", "-A FORWARD -j other"]);
        let packet = between(family, 2, 3).udp(1000, 2000, b"hello");
        let out = lab.passes(0, packet.clone());
        assert_eq!(out.len(), packet.len());
        let ttl = if family == Family::V4 { 8 } else { 7 };
        assert_eq!(out[ttl], packet[ttl] - 1);

        let drop = format!("-A other -s {} -j DROP", host(family, 2));
        lab.replace(rules(family, &["-N other", "-A FORWARD -j other", &drop]));
        lab.drops(0, packet.clone());
        lab.passes(0, between(family, 4, 3).udp(1000, 2000, b"hello"));
        let length = packet.len() as u64;
        assert_eq!(lab.counts(family, "filter", "other"), [(1, length), (0, 0)]);
        assert_eq!(lab.counts(family, "filter", "FORWARD"), [(2, 2 * length), (1, length)]);
    }
}

#[test]
fn flows_that_exist_are_judged_again_when_rules_change() {
    for family in FAMILIES {
        let mut lab = Lab::new(family, &["-A FORWARD -j ACCEPT"]);
        let packet = || between(family, 2, 3).udp(1000, 2000, b"");
        for _ in 0..10 {
            lab.passes(0, packet());
        }
        assert!(lab.engine.cached_packets() > 0, "the flow is not cached");
        lab.replace(rules(family, &["-A FORWARD -j DROP"]));
        for _ in 0..10 {
            lab.drops(0, packet());
        }
    }
}

#[test]
fn cached_flows_count_as_walked_ones_do() {
    for family in FAMILIES {
        let far = between(family, 2, 3);
        let lines = [
            "-t raw -A PREROUTING -i eth0".to_owned(),
            "-t mangle -A PREROUTING -j MARK --set-mark 7".to_owned(),
            "-N inner".to_owned(),
            format!("-A inner -s {}", host(family, 2)),
            "-A inner -j RETURN".to_owned(),
            "-A FORWARD -j inner".to_owned(),
            "-A FORWARD -o eth0 -j ACCEPT".to_owned(),
            "-P FORWARD ACCEPT".to_owned(),
            "-t nat -A POSTROUTING -o eth1 -j MASQUERADE".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let run = |cache: bool| {
            let mut lab = Lab::new(family, &lines);
            lab.engine
                .execute(Caller::Admin, Command::UseFlowCache(cache), lab.now)
                .unwrap();
            let mut out = Vec::new();
            for round in 0..20u16 {
                for flow in 0..5u16 {
                    let payload = vec![0; usize::from(round)];
                    let sent = lab.passes(0, far.udp(5000 + flow, 53, &payload));
                    let headers = fielato_wire::Headers::parse(&sent).unwrap();
                    assert_eq!(
                        headers.src,
                        { ROUTER }.interface_address(family, eth(1), far_dst(family)).unwrap()
                    );
                    out.push(sent);
                    let reply = Ip::new(family, headers.dst, headers.src);
                    let back = lab.passes(1, reply.udp(headers.dport, headers.sport, &payload));
                    let headers = fielato_wire::Headers::parse(&back).unwrap();
                    assert_eq!((headers.dst, headers.dport), (address(&host(family, 2)), 5000 + flow));
                    out.push(back);
                }
            }
            let counts: Vec<_> = [
                ("raw", "PREROUTING"),
                ("mangle", "PREROUTING"),
                ("filter", "inner"),
                ("filter", "FORWARD"),
                ("nat", "POSTROUTING"),
            ]
            .map(|(table, chain)| lab.counts(family, table, chain))
            .into();
            (out, counts, lab.engine.cached_packets())
        };
        let (walked, walked_counts, none) = run(false);
        let (cached, cached_counts, some) = run(true);
        assert_eq!(none, 0);
        assert!(some > 150, "only {some} of 200 packets took a cached path");
        assert_eq!(walked, cached);
        assert_eq!(walked_counts, cached_counts);
        assert_eq!(walked_counts[0][0].0, 100);
        assert_eq!(walked_counts[4][0].0, 5, "the nat table sees first packets alone");
    }
}

fn far_dst(family: Family) -> Addr {
    address(match family {
        Family::V4 => "198.51.100.3",
        Family::V6 => "2001:db8:100::3",
    })
}

#[test]
fn reject_answers() {
    for family in FAMILIES {
        let mut lab = Lab::new(
            family,
            &["-A FORWARD -p tcp -j REJECT --reject-with tcp-reset", "-A FORWARD -j REJECT"],
        );
        let tcp = between(family, 2, 3).tcp(&Tcp::new(1000, 80).syn().seq(5));
        lab.drops(0, tcp);
        let answers: Vec<_> = lab.engine.drain_effects().collect();
        let [fielato_netfilter::Effect::Transmit(reset)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(reset.headers.dst, address(&host(family, 2)));
        assert!(reset.headers.tcp_flags.has(TcpFlags::RST));
        assert_eq!(reset.out_interface, eth(0));

        lab.drops(0, between(family, 2, 3).udp(1, 2, b"x"));
        let answers: Vec<_> = lab.engine.drain_effects().collect();
        let [fielato_netfilter::Effect::Transmit(error)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        let expected = if family == Family::V4 { (3, 3) } else { (1, 4) };
        assert_eq!((error.headers.icmp_type, error.headers.icmp_code), expected);
    }
}

#[test]
fn only_the_admin_changes() {
    let mut lab = Lab::new(Family::V4, &["-A FORWARD -j ACCEPT"]);
    let command = Command::Replace {
        ruleset: rules(Family::V4, &["-A FORWARD -j DROP"]),
        generation: None,
    };
    let refused = lab.engine.execute(Caller::Reader, command, lab.now).unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    lab.passes(0, between(Family::V4, 2, 3).udp(1, 2, b"x"));
}

#[test]
fn a_stale_replacement_changes_nothing() {
    let mut lab = Lab::new(Family::V4, &["-A FORWARD -j ACCEPT"]);
    let read = lab.engine.generation(Family::V4);
    lab.replace(rules(Family::V4, &["-A FORWARD -j ACCEPT"]));
    let command = Command::Replace {
        ruleset: rules(Family::V4, &["-A FORWARD -j DROP"]),
        generation: Some(read),
    };
    lab.engine.execute(Caller::Admin, command, lab.now).unwrap_err();
    lab.passes(0, between(Family::V4, 2, 3).udp(1, 2, b"x"));
}

/// Counts how often it was checked and let go of; refuses to stand in INPUT.
#[derive(Debug, Default)]
struct Counted {
    checks: std::sync::atomic::AtomicI64,
}

impl fielato_netfilter::matches::ExtensionMatch for Counted {
    fn name(&self) -> &str {
        "counted"
    }

    fn check(&self, cx: &fielato_netfilter::check::CheckContext<'_>) -> Result<(), fielato_netfilter::check::CheckError> {
        cx.only_hooks("counted", &[fielato_netfilter::Hook::Forward])?;
        self.checks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn matches(&self, _: &mut fielato_netfilter::Context<'_>, _: &mut fielato_netfilter::context::Slot) -> bool {
        true
    }

    fn destroy(&self) {
        self.checks.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn same(&self, _: &dyn fielato_netfilter::matches::ExtensionMatch) -> bool {
        true
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[test]
fn an_extension_is_let_go_of_as_often_as_it_was_checked() {
    use fielato_netfilter::matches::ExtMatch;
    use fielato_netfilter::rule::{Match, Rule};
    let counted = std::sync::Arc::new(Counted::default());
    let held = || counted.checks.load(std::sync::atomic::Ordering::Relaxed);
    let with = |chains: &[(&str, usize)]| {
        let mut ruleset = rules(Family::V4, &["-A OUTPUT -j ACCEPT"]);
        for &(chain, count) in chains {
            let chain = ruleset.table_mut("filter").unwrap().chain_mut(chain).unwrap();
            chain.rules.extend((0..count).map(|_| Rule {
                matches: vec![Match::Ext(ExtMatch(counted.clone()))],
                ..Rule::default()
            }));
        }
        ruleset
    };
    let mut lab = Lab::new(Family::V4, &[]);
    lab.replace(with(&[("FORWARD", 3)]));
    assert_eq!((held(), lab.engine.extension_uses("counted")), (3, 3));
    // A set that is refused half way leaves nothing behind, and the old one in place.
    let command = Command::Replace {
        ruleset: with(&[("FORWARD", 2), ("OUTPUT", 1)]),
        generation: None,
    };
    assert!(lab.engine.execute(Caller::Admin, command, lab.now).is_err());
    assert_eq!((held(), lab.engine.extension_uses("counted")), (3, 3));
    lab.replace(with(&[("FORWARD", 1)]));
    assert_eq!((held(), lab.engine.extension_uses("counted")), (1, 1));
    lab.replace(with(&[]));
    assert_eq!((held(), lab.engine.extension_uses("counted")), (0, 0));
}

#[test]
fn a_queued_packet_misses_no_table_when_rules_are_replaced() {
    use fielato_netfilter::queue::{QueueAnswer, QueueVerdict};
    for family in FAMILIES {
        let mut lab = Lab::new(family, &["-t mangle -A FORWARD -j NFQUEUE", "-A FORWARD -j DROP"]);
        let bind = Command::BindQueue { number: 0, length: 9 };
        lab.engine.execute(Caller::Admin, bind, lab.now).unwrap();
        let queue = |lab: &mut Lab, port| {
            assert!(matches!(
                lab.receive(0, between(family, 2, 3).udp(port, 2, b"x")),
                Fate::Queued
            ));
            lab.engine.next_queued(0).unwrap().id
        };
        let accept = |lab: &mut Lab, id| {
            let answer = QueueAnswer::plain(QueueVerdict::Accept);
            lab.engine.reinject(0, id, answer, &mut { ROUTER }, lab.now).unwrap()
        };
        // Without a change, filter drops it; without mangle before it, filter still does.
        let id = queue(&mut lab, 1);
        assert!(matches!(accept(&mut lab, id), Fate::Dropped(reason) if reason.is_of_rules()));
        let id = queue(&mut lab, 2);
        let remove = Command::RemoveTable {
            family,
            table: "mangle".to_owned(),
        };
        lab.engine.execute(Caller::Admin, remove, lab.now).unwrap();
        assert!(matches!(accept(&mut lab, id), Fate::Dropped(reason) if reason.is_of_rules()));
        // With an open filter it passes.
        lab.replace(rules(family, &["-t mangle -A FORWARD -j NFQUEUE", "-A FORWARD -j ACCEPT"]));
        let id = queue(&mut lab, 3);
        assert!(matches!(accept(&mut lab, id), Fate::Transmit(_)));
    }
}
