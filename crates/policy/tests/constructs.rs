//! What the language has beside the talk's rules: compiled at a moment, said in nft and iptables, judged by the gateway.

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::{NOW, config, full, in_namespace, rich, talk};
use fielato_gateway::{Buffer, Gateway, Now, PortId};
use fielato_policy::config::Over;
use fielato_policy::gateway::{self, TUNNEL, UPLINK, Uplink};
use fielato_policy::plan::{Origin, PerFamily};
use fielato_policy::render::nft::ElementChange;
use fielato_policy::render::{iptables, nft, script};
use fielato_policy::{Circumstances, Grant, HostPlan, HostPlans, Plan};
use fielato_qdisc::Item;
use fielato_wire::Headers;
use fielato_wire::build::{Ip, Tcp};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn grant(member: &str, service: &str, until: &str) -> Grant {
    Grant {
        member: member.to_owned(),
        service: service.to_owned(),
        until: at(until),
        reason: None,
        by: None,
    }
}

fn plan_with(text: &str, now: &str, grants: &[Grant], over_quota: &BTreeMap<String, Over>) -> Plan {
    let circumstances = Circumstances {
        now: at(now),
        forwarding_before: PerFamily::default(),
        grants,
        over_quota,
    };
    Plan::compile(&config(text), &circumstances)
}

fn origins(plan: &Plan) -> Vec<String> {
    plan.firewall.forward.iter().map(|rule| rule.origin.comment()).collect()
}

#[test]
fn hours_and_ends_are_compiled() {
    // Monday, 14:00 in Madrid.
    let all = ["rule 1", "rule 2", "rule 3", "rule 4", "rule 5"];
    let plan = common::plan(&rich());
    assert_eq!(origins(&plan), all);
    assert_eq!(plan.next_change, Some(at("2026-06-01T16:00:00Z")));
    let evening = common::plan_at(&rich(), "2026-06-01T16:00:00Z");
    assert_eq!(origins(&evening), ["rule 1", "rule 2", "rule 4", "rule 5"]);
    assert_eq!(evening.next_change, Some(at("2026-06-02T06:00:00Z")));
    // In July the rule with an end is gone; its numbers stay.
    let july = common::plan_at(&rich(), "2026-07-01T12:00:00Z");
    assert_eq!(origins(&july), ["rule 1", "rule 2", "rule 3", "rule 5"]);
    let last = common::plan_at(&rich(), "2026-06-29T17:00:00Z");
    assert_eq!(last.next_change, Some(at("2026-06-30T00:00:00Z")), "before the next morning");
}

#[test]
fn grants_come_first_and_end() {
    let grants = [
        grant("bob", "web", "2026-06-01T13:00:00Z"),
        grant("alice", "shell", "2026-06-01T11:00:00Z"),
        grant("nobody", "web", "2026-06-01T14:00:00Z"),
    ];
    let plan = plan_with(&rich(), NOW, &grants, &BTreeMap::new());
    assert_eq!(origins(&plan)[..2], ["grant bob web", "rule 1"]);
    assert_eq!(plan.next_change, Some(at("2026-06-01T13:00:00Z")));
    let text = nft::hub(&plan.firewall);
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}\n{text}"));
    assert!(place("comment \"grant bob web\"") < place("meta l4proto 47"), "{text}");
    assert!(place("meta l4proto 47") < place("comment \"rule 1\""), "{text}");
    let later = plan_with(&rich(), "2026-06-01T13:00:00Z", &grants, &BTreeMap::new());
    assert_eq!(origins(&later)[0], "rule 1");
    // A host is told of it too: it judges by itself.
    let grants = [grant("carol", "shell", "2026-06-02T00:00:00Z")];
    let circumstances = Circumstances {
        grants: &grants,
        ..Circumstances::at(at("2026-06-01T20:00:00Z"), PerFamily::default())
    };
    let host = HostPlan::compile(&config(&rich()), "bob", &circumstances).unwrap();
    let rules: Vec<String> = host.tunnel.unwrap().rules.iter().map(|rule| rule.origin.comment()).collect();
    assert_eq!(rules, ["grant carol shell", "rule 5"]);
}

#[test]
fn who_is_over_quota_is_an_element_of_a_set_or_has_a_slow_class() {
    let nobody = BTreeMap::new();
    let before = plan_with(&rich(), NOW, &[], &nobody);
    let over = BTreeMap::from([("bob".to_owned(), Over::Block)]);
    let blocked = plan_with(&rich(), NOW, &[], &over);
    let element = |address: &str| ElementChange {
        set: format!("over_quota_{}", if address.contains(':') { "v6" } else { "v4" }),
        add: true,
        address: address.parse().unwrap(),
        class: None,
    };
    let update = nft::update(&before.firewall, &blocked.firewall).expect("elements only");
    assert_eq!(update, [element("192.168.4.3"), element("fd00:4::3")]);
    assert_eq!(before.shaping, blocked.shaping);

    let over = BTreeMap::from([("carol".to_owned(), Over::Throttle { rate: 125_000 })]);
    let throttled = plan_with(&rich(), NOW, &[], &over);
    let class = |plan: &Plan| {
        let handle = plan.firewall.classes["wg0"][&"192.168.4.4/32".parse().unwrap()];
        let classes = plan.shaping.iter().filter_map(|shaping| match &shaping.item {
            Item::Class(class) if shaping.dev == "wg0" && class.classid == handle => Some(class.htb.clone()),
            _ => None,
        });
        classes.collect::<Vec<_>>()
    };
    assert_eq!(class(&before)[0].ceil, 1_250_000);
    assert_eq!((class(&throttled)[0].rate, class(&throttled)[0].ceil), (125_000, 125_000));
    // The map stays the same: only the class changes.
    assert_eq!(nft::update(&before.firewall, &throttled.firewall), Some(Vec::new()));
    // A file without quotas knows of no such set.
    assert_eq!(common::plan(&full()).firewall.blocked, None);
}

#[test]
fn rates_make_trees_that_tc_takes() {
    let plan = common::plan(&rich());
    let items: Vec<String> = plan
        .shaping
        .iter()
        .filter(|shaping| shaping.dev == "eth0")
        .map(|shaping| match &shaping.item {
            Item::Qdisc(qdisc) => format!("qdisc {qdisc}"),
            Item::Class(class) => format!("class {class}"),
            Item::Filter(filter) => format!("filter {filter}"),
        })
        .collect();
    assert_eq!(
        items,
        [
            "qdisc root handle 1: htb",
            "class parent 1: classid 1:f000 htb rate 100mbit quantum 1514",
            "class parent 1:f000 classid 1:f001 htb rate 10mbit prio 5 quantum 1514",
            "class parent 1:f000 classid 1:402 htb rate 20mbit ceil 50mbit prio 2 quantum 1514",
            "class parent 1:f001 classid 1:404 htb rate 10mbit prio 5 quantum 1514",
            "qdisc parent 1:402 fq_codel",
            "qdisc parent 1:404 fq_codel",
        ]
    );
    let others = plan.shaping.iter().filter(|shaping| shaping.dev == "wg0").count();
    assert_eq!(others, items.len());
    assert_eq!(plan.firewall.classes["eth0"], plan.firewall.classes["wg0"]);
    assert_eq!(plan.firewall.classes["wg0"].len(), 4, "bob passes unshaped");
    // The kernel takes it as tc's words. Not every kernel has fq_codel, and its words have no options.
    let words = script::hub(&plan, "key");
    let tc: Vec<&str> = words
        .lines()
        .filter(|line| line.starts_with("tc ") && !line.ends_with(" fq_codel"))
        .collect();
    let links = "ip link add wg0 type veth peer name eth0\nip link set wg0 up\nip link set eth0 up\n";
    let listed = in_namespace(
        "rates_make_trees_that_tc_takes",
        &format!("{links}{}\ntc class show dev wg0", tc.join("\n")),
        "",
    );
    if let Some(listed) = listed {
        assert!(
            listed.contains("htb 1:404 parent 1:f001") && listed.contains("ceil 50Mbit"),
            "{listed}"
        );
    }
}

#[test]
fn shares_follow_who_is_there() {
    let text = rich().replace("members = [\"carol\"]", "members = [\"carol\", \"bob\"]");
    let rate = |text: &str| {
        let plan = common::plan(text);
        let handle = plan.firewall.classes["wg0"][&"192.168.4.4/32".parse().unwrap()];
        let mut classes = plan.shaping.iter().filter_map(|shaping| match &shaping.item {
            Item::Class(class) if class.classid == handle => Some(class.htb.rate),
            _ => None,
        });
        classes.next().unwrap()
    };
    assert_eq!(rate(&text), 625_000);
    assert_eq!(
        rate(&text.replace("[member.bob]", "[member.bob]\ndisabled = true")),
        1_250_000
    );
}

#[test]
fn both_languages_of_the_kernel_take_all_of_it() {
    let text = rich();
    let over = BTreeMap::from([("bob".to_owned(), Over::Block)]);
    let plan = plan_with(&text, NOW, &[grant("bob", "web", "2026-06-01T13:00:00Z")], &over);
    let hub = nft::hub(&plan.firewall);
    let names: Vec<String> = config(&text).hosts.into_keys().collect();
    let hosts: Vec<HostPlan> = names.iter().map(|name| common::host(&config(&text), name).unwrap()).collect();
    for rules in std::iter::once(hub.clone()).chain(hosts.iter().map(nft::host)) {
        let twice = format!("{rules}\n{rules}");
        in_namespace("both_languages_of_the_kernel_take_all_of_it", "nft -f -", &twice);
    }
    for expected in [
        "limit rate 10/minute burst 3 packets counter accept comment \"rule 2\"",
        "counter log prefix \"interns: \" comment \"rule 1\"",
        "ip saddr @over_quota_v4 counter drop comment \"over quota\"",
        "meta nfproto ipv4 iifname \"eth0\" fib daddr type local ip saddr 203.0.113.0/24 tcp dport 8443 counter dnat ip to 10.0.123.4:443 comment \"publish 1\"",
        "ip6 daddr 2001:db8::2 udp dport 5000-5010 counter dnat ip6 to fd00:4::4 comment \"publish 2\"",
        "ct status dnat ip6 daddr fd00:4::4 udp dport 5000-5010 counter accept comment \"publish 2\"",
        "meta nfproto ipv4 ip saddr 192.168.4.2 ip daddr 10.9.0.0/16 counter snat ip to 10.0.123.9 comment \"raw 3\"",
        "sctp dport 3868-3870",
    ] {
        assert!(hub.contains(expected), "{expected}\n{hub}");
    }
    let all = hosts.iter().map(iptables::host).chain([iptables::hub(&plan.firewall)]);
    for commands in all {
        for kind in ["legacy", "nft"] {
            let script = commands
                .replace("ip6tables ", &format!("ip6tables-{kind} "))
                .replace("iptables ", &format!("iptables-{kind} "));
            in_namespace("both_languages_of_the_kernel_take_all_of_it", &script, "");
        }
    }
}

#[test]
fn plans_come_back_from_json() {
    for text in [talk(), full(), rich()] {
        let plan = common::plan(&text);
        let json = serde_json::to_string(&plan).unwrap();
        let back: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(back, plan);
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
        for name in config(&text).hosts.keys() {
            let host = common::host(&config(&text), name).unwrap();
            let json = serde_json::to_string(&host).unwrap();
            assert_eq!(serde_json::from_str::<HostPlan>(&json).unwrap(), host);
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn moment(seconds: u64) -> Now {
    Now::from_secs(1_780_000_000 + seconds)
}

struct Machine(Gateway);

impl Machine {
    fn new(text: &str, plan: &Plan) -> Self {
        let uplink = Uplink {
            addresses: vec!["10.0.123.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
            gateways: vec![ip("10.0.123.1"), ip("2001:db8::1")],
            ..Uplink::supposed(&config(text))
        };
        let made = Gateway::new(gateway::config(plan, &uplink), 1, moment(0));
        Self(made.unwrap_or_else(|error| panic!("{error}")))
    }

    /// What leaves when this packet comes: which way, from where to where and to which port.
    fn sent(&mut self, port: PortId, packet: Vec<u8>, now: Now) -> Option<(PortId, IpAddr, IpAddr, u16)> {
        self.0.receive(port, Buffer::from(packet), now);
        let (port, buffer) = self.0.transmit(now)?;
        let headers = Headers::receive(&buffer.data).unwrap();
        let to_ip = |address: fielato_wire::Addr| address.to_ip(headers.family);
        Some((port, to_ip(headers.src), to_ip(headers.dst), headers.dport))
    }

    fn passes(&mut self, src: &str, dst: &str, port: u16, source_port: u16) -> bool {
        self.sent(TUNNEL, syn(src, dst, port, source_port), moment(0)).is_some()
    }
}

fn syn(src: &str, dst: &str, port: u16, source_port: u16) -> Vec<u8> {
    Ip::between(ip(src), ip(dst)).unwrap().tcp(&Tcp::new(source_port, port).syn())
}

#[test]
fn a_published_port_leads_there_and_back() {
    let text = rich();
    let mut machine = Machine::new(&text, &common::plan(&text));
    for (client, hub, server) in [
        ("203.0.113.9", "10.0.123.2", "10.0.123.4"),
        ("2001:db8:77::9", "2001:db8::2", "2001:db8::4"),
    ] {
        let there = machine.sent(UPLINK, syn(client, hub, 8443, 4000), moment(0));
        // The machine sees the hub, so that its answer comes back.
        assert_eq!(there, Some((UPLINK, ip(hub), ip(server), 443)));
        let answer = Ip::between(ip(server), ip(hub))
            .unwrap()
            .tcp(&Tcp::new(443, 4000).syn().ack(1));
        let back = machine.sent(UPLINK, answer, moment(0));
        assert_eq!(back, Some((UPLINK, ip(hub), ip(client), 4000)));
    }
    // Another port, a neighbour of the hub's that is no part of the internet, a port that nobody published.
    assert_eq!(
        machine
            .sent(UPLINK, syn("203.0.113.9", "10.0.123.2", 443, 4001), moment(0))
            .map(|(port, ..)| port),
        Some(fielato_policy::gateway::HOST)
    );
    let member = Ip::between(ip("203.0.113.9"), ip("10.0.123.2"))
        .unwrap()
        .udp(4000, 5003, b"x");
    assert_eq!(
        machine.sent(UPLINK, member, moment(0)),
        Some((TUNNEL, ip("192.168.4.1"), ip("192.168.4.4"), 5003))
    );
}

#[test]
fn a_limit_accepts_what_is_within_it_and_drops_the_rest() {
    let text = rich();
    let mut machine = Machine::new(&text, &common::plan(&text));
    let passed = |machine: &mut Machine, dst: &str, seconds: u64, first: u16| {
        let source = if dst.contains(':') { "fd00:4::4" } else { "192.168.4.4" };
        let all =
            (first..first + 10).filter(|port| machine.sent(TUNNEL, syn(source, dst, 443, *port), moment(seconds)).is_some());
        all.count()
    };
    // Two hosts, one bucket; the families are counted apart.
    assert_eq!(
        passed(&mut machine, "10.0.123.4", 0, 1000) + passed(&mut machine, "10.0.123.6", 0, 1000),
        3
    );
    assert_eq!(passed(&mut machine, "2001:db8::4", 0, 1000), 3);
    assert_eq!(passed(&mut machine, "10.0.123.6", 6, 2000), 1);
    assert_eq!(passed(&mut machine, "10.0.123.4", 60, 3000), 3);
}

#[test]
fn who_is_blocked_is_cut_off_in_the_middle_of_a_connection() {
    let text = rich().replace(
        "from = \"alice\"\nto = \"internet\"",
        "from = [\"alice\", \"bob\"]\nto = \"internet\"",
    );
    let mut machine = Machine::new(&text, &common::plan(&text));
    assert!(machine.passes("192.168.4.3", "8.8.8.8", 53, 4000));
    let answer = Ip::between(ip("8.8.8.8"), ip("10.0.123.2"))
        .unwrap()
        .tcp(&Tcp::new(53, 4000).syn().ack(1));
    assert!(machine.sent(UPLINK, answer.clone(), moment(0)).is_some());
    let over = BTreeMap::from([("bob".to_owned(), Over::Block)]);
    let blocked = plan_with(&text, NOW, &[grant("bob", "web", "2027-01-01T00:00:00Z")], &over);
    let mut machine = Machine::new(&text, &blocked);
    for (dst, port) in [("8.8.8.8", 53), ("10.0.123.4", 443), ("192.168.4.1", 53)] {
        assert!(!machine.passes("192.168.4.3", dst, port, 4000), "{dst}");
    }
    assert_eq!(
        machine.sent(UPLINK, answer, moment(0)).map(|(port, ..)| port),
        Some(gateway::HOST),
        "there is no connection that it would belong to"
    );
    assert!(machine.passes("192.168.4.2", "8.8.8.8", 53, 4000));
}

#[test]
fn raw_rules_and_logs_are_run() {
    let text = rich();
    let mut machine = Machine::new(&text, &common::plan(&text));
    let gre = Ip::between(ip("192.168.4.3"), ip("10.0.123.4"))
        .unwrap()
        .gre(0x0800, None, &[0; 16]);
    assert!(machine.sent(TUNNEL, gre, moment(0)).is_some());
    assert!(machine.passes("192.168.4.2", "192.168.4.1", 9100, 4000));
    assert!(!machine.passes("192.168.4.2", "192.168.4.1", 9101, 4000));
    // What is logged goes on to the next rule.
    assert!(machine.passes("192.168.4.4", "10.0.123.4", 443, 4000));
    assert!(!machine.passes("192.168.4.4", "10.0.123.4", 80, 4000));
    let at = |after: bool| {
        let plan = common::plan(&rich().replace("[raw]", &format!("[raw]\nafter = {after}")));
        let text = nft::hub(&plan.firewall);
        (
            text.find("meta l4proto 47").unwrap(),
            text.find("comment \"rule 5\"").unwrap(),
        )
    };
    assert!(at(false).0 < at(false).1 && at(true).0 > at(true).1);
}

#[test]
fn a_host_of_strategy_member_judges_as_the_hub_does() {
    let host = common::host(&config(&rich()), "bob").unwrap();
    let tunnel = host.tunnel.clone().unwrap();
    let rules: Vec<(&Origin, &fielato_policy::config::Action)> =
        tunnel.rules.iter().map(|rule| (&rule.origin, &rule.action)).collect();
    // Rule 1 logs and rule 2 does not concern it; rule 4 is about the internet.
    let numbers: Vec<String> = rules.iter().map(|(origin, _)| origin.comment()).collect();
    assert_eq!(numbers, ["rule 3", "rule 5"]);
    assert_eq!(tunnel.sets.keys().collect::<Vec<_>>(), ["group_everybody", "group_servers"]);
    let text = nft::host(&host);
    for expected in [
        "iifname != \"wg0\" ip6 saddr fd00:4::/64 counter drop comment \"forged source\"",
        "fib saddr . iif oif missing counter drop comment \"reverse path\"",
        "ip saddr 192.168.4.1 counter accept comment \"from the hub\"",
        "counter drop comment \"no rule\"",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert_eq!(common::host(&config(&rich()), "server").unwrap().tunnel, None);
    // All at once is each by itself.
    for text in [talk().replace("\"source\"", "\"member\""), full(), rich()] {
        let (config, plan) = (config(&text), common::plan(&text));
        let all: Vec<HostPlan> = HostPlans::new(&config, &plan).iter().collect();
        assert_eq!(all.len(), config.hosts.len());
        for host in all {
            assert_eq!(Some(&host), common::host(&config, &host.name).as_ref());
            assert_eq!(Some(&host), HostPlan::of(&config, &plan, &host.name).as_ref());
        }
    }
}
