//! The gateway's tables of rules judge as the file says: compared with a reading of the file that knows nothing of tables.

#[path = "common/random.rs"]
mod random;

mod common;

use std::net::IpAddr;

use fastrand::Rng;
use fielato_netfilter::conntrack;
use fielato_netfilter::engine::Ended;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_netfilter::{Interface, Netfilter, Now, Packet};
use fielato_policy::HostPlan;
use fielato_policy::config::{Action, Config, Member, Party, Rule, Transit};
use fielato_policy::gateway::{Origin, Rules};
use fielato_policy::plan::{Admit, PerFamily};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, TcpFlags};
use ipnet::IpNet;
use jiff::Timestamp;

use common::NOW;

/// A hub between the tunnel (1, wg0) and the uplink (2, eth0).
struct Hub {
    overlay: Vec<IpNet>,
    own: Vec<IpAddr>,
}

impl Hub {
    fn interface(&self, tunnel: bool) -> Interface {
        if tunnel {
            Interface::new(1, "wg0").unwrap()
        } else {
            Interface::new(2, "eth0").unwrap()
        }
    }

    fn is_inside(&self, address: IpAddr) -> bool {
        self.overlay.iter().any(|net| net.contains(&address))
    }
}

impl Host for Hub {
    fn route(&mut self, key: &RouteKey) -> Route {
        let to = key.dst.to_ip(key.family);
        if self.own.contains(&to) {
            return Route::Local;
        }
        Route::Out {
            interface: self.interface(self.is_inside(to)),
            mtu: 1500,
            realm: 0,
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, _: Option<Interface>) -> AddressType {
        if self.own.contains(&address.to_ip(family)) {
            AddressType::Local
        } else {
            AddressType::Unicast
        }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, _: Addr) -> Option<Addr> {
        let inside = interface == self.interface(true);
        let of_family = |own: &&IpAddr| own.is_ipv4() == (family == Family::V4) && self.is_inside(**own) == inside;
        self.own.iter().find(of_family).map(|own| (*own).into())
    }
}

fn engine(rules: &Rules) -> Netfilter {
    let mut engine = Netfilter::new(conntrack::Config::default(), 1);
    let now = Now::from_secs(1000);
    for set in &rules.sets {
        let sets = &mut engine.shared_mut(Caller::Admin).unwrap().sets;
        sets.create(&set.name, set.kind.clone()).unwrap();
        for entry in &set.entries {
            sets.get_mut(&set.name).unwrap().add(entry, None, false, 0).unwrap();
        }
    }
    for ruleset in &rules.rulesets {
        let replace = Command::Replace {
            ruleset: ruleset.clone(),
            generation: None,
        };
        engine.execute(Caller::Admin, replace, now).unwrap();
    }
    engine
}

/// What the filter table's rule that counted the packet was made from.
fn counted(engine: &Netfilter, rules: &Rules, family: Family, before: &[Vec<u64>]) -> Option<Origin> {
    let ruleset = engine.ruleset(family);
    let chains = &ruleset.table("filter").unwrap().chains;
    for (chain, before) in chains.iter().zip(before) {
        for (place, (rule, before)) in chain.rules.iter().zip(before).enumerate() {
            if rule.counters.packets != *before {
                return rules.origin(family, "filter", &chain.name, place);
            }
        }
    }
    None
}

fn counters(engine: &Netfilter, family: Family) -> Vec<Vec<u64>> {
    let ruleset = engine.ruleset(family);
    let chains = ruleset.table("filter").unwrap().chains.iter();
    chains
        .map(|chain| chain.rules.iter().map(|rule| rule.counters.packets).collect())
        .collect()
}

/// The file, read as a person reads it.
struct Reader<'a> {
    config: &'a Config,
    forwarded: bool,
}

impl Reader<'_> {
    fn is_active(&self, member: &Member) -> bool {
        let now: Timestamp = NOW.parse().unwrap();
        !member.disabled && member.expires.is_none_or(|end| end > now)
    }

    fn is_member(&self, name: &str, address: IpAddr) -> bool {
        let member = self.config.members.get(name);
        member.is_some_and(|member| self.is_active(member) && member.addresses.contains(&address))
    }

    fn any_member(&self, address: IpAddr, wanted: impl Fn(&Member) -> bool) -> bool {
        let mut members = self.config.members.iter();
        members.any(|(name, member)| wanted(member) && self.is_member(name, address))
    }

    fn is_host(&self, name: &str, address: IpAddr) -> bool {
        self.is_member(name, address)
            || self
                .config
                .hosts
                .get(name)
                .is_some_and(|host| host.addresses.contains(&address))
    }

    fn is_internet(&self, address: IpAddr) -> bool {
        let hub = &self.config.hub;
        let near = hub.addresses.iter().map(IpNet::trunc).chain(hub.lab.iter().copied());
        let mut hosts = self.config.hosts.values();
        !near.into_iter().any(|net| net.contains(&address)) && !hosts.any(|host| host.addresses.contains(&address))
    }

    fn is(&self, party: &Party, address: IpAddr) -> bool {
        match party {
            Party::Any => true,
            Party::Members => self.any_member(address, |_| true),
            Party::Hub => false,
            Party::Internet => self.is_internet(address),
            Party::Member(name) => self.is_member(name, address),
            Party::Group(group) => self.any_member(address, |member| member.groups.contains(group)),
            Party::Host(name) => self.is_host(name, address),
            Party::Service(name) => {
                let mut hosts = self.config.services[name].hosts.iter();
                hosts.any(|host| self.is_host(host, address))
            }
            Party::Prefix(net) => net.contains(&address),
        }
    }

    fn serves(&self, party: &Party, protocol: u8, port: u16) -> bool {
        let Party::Service(name) = party else { return true };
        self.config.services[name]
            .ports
            .iter()
            .any(|spec| spec.protocol.number() == protocol && (spec.first..=spec.last).contains(&port))
    }

    /// Whether a new connection's first packet passes, and what decides.
    fn judge(&self, hub: &Hub, from_tunnel: bool, src: IpAddr, dst: IpAddr, protocol: u8, port: u16) -> (bool, Origin) {
        let to_hub = hub.own.contains(&dst);
        if !from_tunnel && hub.is_inside(src) {
            return (false, Origin::ForgedSource);
        }
        if to_hub && !from_tunnel {
            return (true, Origin::NotOurs);
        }
        if !from_tunnel && !hub.is_inside(dst) {
            let leave = match self.config.hub.transit {
                Transit::Auto => self.forwarded,
                Transit::Drop => false,
                Transit::Leave => true,
            };
            return (leave, Origin::Transit);
        }
        for (number, rule) in (1..).zip(&self.config.rules) {
            let reaches = |party: &Party| match party {
                Party::Hub => to_hub,
                Party::Any | Party::Prefix(_) => self.is(party, dst),
                _ => !to_hub && self.is(party, dst) && self.serves(party, protocol, port),
            };
            if rule.from.iter().any(|party| self.is(party, src)) && rule.to.iter().any(reaches) {
                let Rule { file, line, action, .. } = rule;
                let origin = Origin::Rule {
                    number,
                    file: file.clone(),
                    line: *line,
                };
                return (*action == Action::Accept, origin);
            }
        }
        (false, Origin::NoRule)
    }
}

#[test]
fn every_verdict_and_rule_is_what_the_file_says() {
    let mut rng = Rng::with_seed(20);
    let (mut passed, mut dropped, mut by_rule) = (0, 0, 0);
    for round in 0..300 {
        let text = random::configuration(&mut rng);
        let config = common::config(&text);
        let forwarded = rng.bool();
        let before = PerFamily {
            v4: forwarded,
            v6: forwarded,
        };
        let plan = common::compile(&config, NOW.parse().unwrap(), before);
        let rules = Rules::hub(&plan.firewall);
        let reader = Reader {
            config: &config,
            forwarded,
        };
        let mut engine = engine(&rules);
        let mut hub = Hub {
            overlay: plan.firewall.overlay.clone(),
            own: ["192.168.4.1", "fd00:4::1", "10.0.123.2", "2001:db8::2"]
                .map(|own| own.parse().unwrap())
                .into(),
        };
        for sport in 2000..2060 {
            let v4 = rng.bool();
            let family = if v4 { Family::V4 } else { Family::V6 };
            let src = random::address(&mut rng, v4);
            let mut dst = random::address(&mut rng, v4);
            if rng.u8(..6) == 0 {
                dst = hub.own[usize::from(!v4) + 2 * rng.usize(..2)];
            }
            let from_tunnel = rng.u8(..3) > 0;
            let (bytes, protocol, port) = random::opening(&mut rng, src, dst, sport);
            let (expected, origin) = reader.judge(&hub, from_tunnel, src, dst, protocol, port);
            let counts = counters(&engine, family);
            let mut packet = Packet::received(bytes, hub.interface(from_tunnel)).unwrap();
            let ended = engine.receive_in_place(&mut packet, &mut hub, Now::from_secs(1000));
            let case = format!("round {round}: {src} -> {dst} protocol {protocol} port {port}, tunnel {from_tunnel}\n{text}");
            match ended {
                Ended::Deliver | Ended::Transmit => assert!(expected, "passed: {case}"),
                Ended::Dropped(_) => assert!(!expected, "dropped: {case}"),
                other => panic!("{other:?}: {case}"),
            }
            assert_eq!(counted(&engine, &rules, family, &counts), Some(origin.clone()), "{case}");
            if ended == Ended::Transmit {
                let hidden = config.hub.masquerade && hub.is_inside(src) && !hub.is_inside(dst);
                let expected = if hidden { hub.own[2 + usize::from(!v4)] } else { src };
                assert_eq!(packet.headers.src.to_ip(family), expected, "{case}");
            }
            passed += usize::from(expected);
            dropped += usize::from(!expected);
            by_rule += usize::from(matches!(origin, Origin::Rule { .. }));
            engine.drain_effects();
        }
    }
    assert!(
        passed > 3000 && dropped > 3000 && by_rule > 3000,
        "{passed} {dropped} {by_rule}"
    );
}

#[test]
fn answers_pass_and_what_belongs_to_nothing_is_dropped() {
    let plan = common::plan(&common::full());
    let rules = Rules::hub(&plan.firewall);
    let mut engine = engine(&rules);
    let mut hub = Hub {
        overlay: plan.firewall.overlay.clone(),
        own: vec!["192.168.4.1".parse().unwrap(), "10.0.123.2".parse().unwrap()],
    };
    let now = Now::from_secs(1000);
    let ip = Ip::v4([192, 168, 4, 2], [10, 0, 123, 4]);
    let syn = ip.tcp(&Tcp::new(4000, 443).syn());
    let mut packet = Packet::received(syn, hub.interface(true)).unwrap();
    assert_eq!(engine.receive_in_place(&mut packet, &mut hub, now), Ended::Transmit);
    assert_eq!(packet.headers.src.to_ip(Family::V4), hub.own[1]);
    // The host answers the hub's address, and the answer reaches the member.
    let answer = Ip::v4([10, 0, 123, 4], [10, 0, 123, 2]);
    let answer = answer.tcp(&Tcp::new(443, packet.headers.sport).syn().ack(1));
    let mut packet = Packet::received(answer, hub.interface(false)).unwrap();
    assert_eq!(engine.receive_in_place(&mut packet, &mut hub, now), Ended::Transmit);
    assert_eq!(packet.headers.dst.to_ip(Family::V4), "192.168.4.2".parse::<IpAddr>().unwrap());
    // An answer that nobody asked for.
    let reset = Ip::v4([10, 0, 123, 4], [192, 168, 4, 2]);
    let reset = reset.tcp(&Tcp::new(9, 9).flags(TcpFlags::RST));
    let counts = counters(&engine, Family::V4);
    let mut packet = Packet::received(reset, hub.interface(false)).unwrap();
    assert!(matches!(
        engine.receive_in_place(&mut packet, &mut hub, now),
        Ended::Dropped(_)
    ));
    assert_eq!(counted(&engine, &rules, Family::V4, &counts), Some(Origin::Invalid));
}

#[test]
fn rejected_packets_are_answered_in_both_families() {
    let plan = common::plan(&common::full());
    let rules = Rules::hub(&plan.firewall);
    let mut engine = engine(&rules);
    let mut hub = Hub {
        overlay: plan.firewall.overlay.clone(),
        own: vec!["192.168.4.1".parse().unwrap(), "fd00:4::1".parse().unwrap()],
    };
    let cases = [("192.168.4.2", "10.0.123.4", (3, 13)), ("fd00:4::2", "2001:db8::4", (1, 1))];
    for (src, dst, answer) in cases {
        let ip = Ip::between(src.parse().unwrap(), dst.parse().unwrap()).unwrap();
        let mut packet = Packet::received(ip.udp(1, 9, b"?"), hub.interface(true)).unwrap();
        let ended = engine.receive_in_place(&mut packet, &mut hub, Now::from_secs(1000));
        assert!(matches!(ended, Ended::Dropped(_)), "{src} {dst} {ended:?}");
        let effects: Vec<_> = engine.drain_effects().collect();
        let [fielato_netfilter::Effect::Transmit(sent)] = effects.as_slice() else {
            panic!("{src} {ended:?} {effects:?}");
        };
        assert_eq!((sent.headers.icmp_type, sent.headers.icmp_code), answer);
    }
}

/// A machine that nothing but itself is on.
struct Alone;

impl Host for Alone {
    fn route(&mut self, _: &RouteKey) -> Route {
        Route::Local
    }

    fn address_type(&mut self, _: Family, _: Addr, _: Option<Interface>) -> AddressType {
        AddressType::Local
    }

    fn interface_address(&mut self, _: Family, _: Interface, _: Addr) -> Option<Addr> {
        None
    }
}

fn reaches_the_host(plan: &HostPlan, interface: &str, src: &str, dst: &str, port: u16) -> bool {
    let mut engine = engine(&Rules::host(plan));
    let ip = Ip::between(src.parse().unwrap(), dst.parse().unwrap()).unwrap();
    let syn = ip.tcp(&Tcp::new(4000, port).syn());
    let mut packet = Packet::received(syn, Interface::new(1, interface).unwrap()).unwrap();
    engine.receive_in_place(&mut packet, &mut Alone, Now::from_secs(1000)) == Ended::Deliver
}

#[test]
fn a_protected_host_lets_the_vpn_in_alone() {
    let config = common::config(&common::full());
    let cases = [
        ("server", "eth0", "10.0.123.2", "10.0.123.4", 443, true),
        ("server", "eth0", "10.0.123.3", "10.0.123.4", 443, false),
        ("server", "eth0", "10.0.123.3", "10.0.123.4", 79, true),
        ("server", "eth0", "10.0.123.3", "10.0.123.4", 85, false),
        ("server", "eth0", "2001:db8::2", "2001:db8::4", 443, true),
        ("server", "eth0", "2001:db8::3", "2001:db8::4", 443, false),
        ("bob", "wg0", "192.168.4.2", "10.0.123.5", 22, true),
        ("bob", "wg0", "192.168.4.2", "10.0.123.5", 23, false),
        ("bob", "wg0", "192.168.4.1", "10.0.123.5", 23, true),
        ("bob", "eth0", "192.168.4.2", "10.0.123.5", 22, false),
        ("bob", "eth0", "192.168.4.2", "10.0.123.5", 23, false),
        ("bob", "eth0", "10.0.123.9", "10.0.123.5", 23, true),
        ("bob", "eth0", "fd00:4::2", "fd00:4::3", 22, false),
    ];
    for (name, interface, src, dst, port, expected) in cases {
        let plan = common::host(&config, name).unwrap();
        assert_eq!(
            reaches_the_host(&plan, interface, src, dst, port),
            expected,
            "{name} {interface} {src} {port}"
        );
    }
}

#[test]
fn a_host_may_know_two_addresses_of_the_hub_in_a_family() {
    let config = common::config(&common::full());
    let mut plan = common::host(&config, "server").unwrap();
    plan.admit = Admit::Sources(["10.0.123.2", "10.0.123.3"].map(|own| own.parse().unwrap()).into());
    for (src, expected) in [("10.0.123.2", true), ("10.0.123.3", true), ("10.0.123.4", false)] {
        assert_eq!(reaches_the_host(&plan, "eth0", src, "10.0.123.4", 443), expected, "{src}");
    }
    // The hub has no address of the other family there.
    assert!(!reaches_the_host(&plan, "eth0", "2001:db8::2", "2001:db8::4", 443));
}

#[test]
fn members_are_elements_not_rules() {
    let mut text = common::talk();
    let count = |text: &str| {
        let rules = Rules::hub(&common::plan(text).firewall);
        let tables = rules.rulesets.iter().flat_map(|ruleset| &ruleset.tables);
        let lines: usize = tables.flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
        (lines, rules.sets.iter().map(|set| set.entries.len()).sum::<usize>())
    };
    let (lines, elements) = count(&text);
    for number in 4..250_u8 {
        let mut key = [7; 32];
        key[0] = number;
        let key = fielato_wireguard::PublicKey(key);
        text.push_str(&format!(
            "[member.m{number}]\naddresses = [\"192.168.4.{number}\"]\npublic_key = \"{key}\"\n"
        ));
    }
    assert_eq!(count(&text), (lines, elements + 246));
}
