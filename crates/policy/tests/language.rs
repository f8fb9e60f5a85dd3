//! The language: what is read, and what is refused with its place and what would be right.

mod common;

use std::fmt::Write as _;

use common::{config, full, rich};
use fielato_policy::Config;
use fielato_policy::config::{Action, Expect, Over, Party, Period, Protocol, Rate, RateUnit};

#[test]
fn everything_is_read() {
    let config = config(&rich());
    let contents = config.group_contents();
    let everybody = contents.get("everybody").unwrap();
    assert_eq!(everybody.members.iter().copied().collect::<Vec<_>>(), ["alice", "carol"]);
    assert_eq!(everybody.hosts.iter().copied().collect::<Vec<_>>(), ["bob"]);
    assert_eq!(config.services["web"].hosts, ["archive", "server"]);
    assert_eq!(config.services["web"].ports[1].protocol, Protocol::Sctp);
    let actions: Vec<&Action> = config.rules.iter().map(|rule| &rule.action).collect();
    let rate = Rate {
        count: 10,
        per: RateUnit::Minute,
        burst: 3,
    };
    let prefix = "interns: ".to_owned();
    assert_eq!(
        actions,
        [
            &Action::Log { prefix },
            &Action::Limit(rate),
            &Action::Accept,
            &Action::Accept,
            &Action::Drop
        ]
    );
    assert_eq!(config.rules[2].when[0].zone, "Europe/Madrid");
    assert_eq!(config.members["alice"].limits.rate, Some(2_500_000));
    let quotas: Vec<_> = config.quotas().collect();
    let told: Vec<(&str, Vec<&str>, u64, Period)> = quotas
        .iter()
        .map(|one| (one.owner, one.members.clone(), one.quota.bytes, one.quota.period))
        .collect();
    assert_eq!(
        told,
        [
            ("bob", vec!["bob"], 50_000_000_000, Period::Month),
            ("carol", vec!["carol"], 1 << 30, Period::Day),
            ("interns", vec!["carol"], 10_000_000_000, Period::Week),
        ]
    );
    assert_eq!(quotas[1].quota.over, Over::Throttle { rate: 125_000 });
    let [first, second] = config.publish.as_slice() else {
        panic!()
    };
    assert_eq!((first.to.as_str(), first.to_port), ("server", 443));
    assert_eq!((second.to.as_str(), second.to_port), ("carol", 5000));
    assert_eq!(second.from, [Party::Any]);
    assert_eq!(config.raw.len(), 3);
    assert_eq!((config.raw[1].families.v4, config.raw[1].families.v6), (true, false));
    assert_eq!(
        (config.tests[0].expect, config.tests[0].rate),
        (Expect::Drop, Some(2_500_000))
    );
}

#[test]
fn a_services_port_needs_no_saying() {
    let one = rich().replace("host = \"servers\"", "host = \"server\"");
    let publish = |lines: &str| config(&format!("{one}\n[[nat.publish]]\n{lines}\n")).publish[2].clone();
    let known = publish("port = \"tcp/9443\"\nto = \"web\"");
    assert_eq!((known.to.as_str(), known.to_port), ("server", 443));
    let same = publish("port = \"sctp/3869\"\nto = \"web\"");
    assert_eq!(same.to_port, 3869);
}

/// What is added behind [`rich`] or put in the place of something there, and what is told of it.
const REFUSED: &[(&str, &str, &str)] = &[
    // Groups.
    (
        "members = [\"carol\"]",
        "members = [\"carl\"]",
        "group interns: no member is called \"carl\"",
    ),
    (
        "members = [\"carol\"]",
        "members = [\"carol\", \"carol\"]",
        "group interns: member carol is named twice",
    ),
    (
        "hosts = [\"archive\"]",
        "hosts = [\"alice\"]",
        "group servers: no host is called \"alice\"",
    ),
    (
        "groups = [\"staff\", \"interns\"]",
        "groups = [\"stuff\"]",
        "group everybody: no group is called \"stuff\"",
    ),
    (
        "[group.interns]",
        "[group.interns]\ngroups = [\"everybody\"]",
        "group interns would be within itself: interns > everybody > interns",
    ),
    ("[group.servers]", "[group.alice]", "group alice has the name of a member"),
    ("[group.servers]", "[group.server]", "group server has the name of a host"),
    (
        "host = \"servers\"",
        "host = \"staff\"",
        "service web: group staff has no hosts",
    ),
    (
        "host = \"servers\"",
        "host = \"sarver\"",
        "service web: unknown host \"sarver\"",
    ),
    // Rules.
    ("action = \"allow\"", "action = \"permit\"", "rule: unknown action \"permit\""),
    (
        "action = \"log\"",
        "action = \"log\"\nburst = 3",
        "rule: burst with action \"log\"",
    ),
    (
        "action = \"log\"",
        "action = \"log\"\nprefix = \"a\\\"b\"",
        "rule: prefix \"a\\\"b\" cannot begin a line of the log",
    ),
    (
        "action = \"log\"",
        "action = \"log\"\nprefix = \"thirty characters are too many\"",
        "rule: prefix \"thirty characters are too many\" cannot begin a line of the log",
    ),
    ("limit = \"10/minute\"", "", "rule: limit is missing"),
    (
        "limit = \"10/minute\"",
        "limit = \"10/month\"",
        "rule: limit \"10/month\" is not a number in a time",
    ),
    (
        "limit = \"10/minute\"",
        "limit = \"0/minute\"",
        "rule: limit \"0/minute\" is not a number in a time",
    ),
    (
        "limit = \"10/minute\"",
        "limit = \"20000/second\"",
        "rule: limit 20000/second is too fast",
    ),
    (
        "limit = \"10/minute\"",
        "limit = \"1/day\"",
        "rule: a burst of 3 at 1/day is more than can be counted",
    ),
    ("\"mon-fri\"", "\"mon-fry\"", "rule: when: \"mon-fry\" is not a day"),
    ("\"mon-fri\"", "[]", "rule: when: days is empty"),
    (
        "\"08:00-18:00\"",
        "\"8-18\"",
        "rule: when: hours \"8-18\" are not from one time to another",
    ),
    (
        "\"08:00-18:00\"",
        "\"08:00-08:00\"",
        "rule: when: hours \"08:00-08:00\" are not from one time to another",
    ),
    (
        "\"08:00-18:00\"",
        "\"08:00-24:01\"",
        "rule: when: hours \"08:00-24:01\" are not from one time to another",
    ),
    (
        "Europe/Madrid",
        "Europe/Madird",
        "rule: when: no time zone is called \"Europe/Madird\"",
    ),
    (
        "2026-06-30T00:00:00Z",
        "2026-06-30",
        "rule: until is not a moment in time: 2026-06-30",
    ),
    // Rates and quotas.
    ("rate = \"20mbit\"\nceil", "ceil", "member alice: a ceil without a rate"),
    ("ceil = \"50mbit\"", "ceil = \"5mbit\"", "member alice: ceil is below rate"),
    (
        "ceil = \"50mbit\"",
        "ceil = \"50 mbit\"",
        "member alice: ceil \"50 mbit\" is not a rate",
    ),
    ("priority = 2", "priority = 8", "member alice: priority is out of range"),
    (
        "quota = \"50GB/month\"",
        "quota = \"50GB\"",
        "member bob: quota \"50GB\" is not an amount in a period",
    ),
    (
        "quota = \"50GB/month\"",
        "quota = \"50G/month\"",
        "member bob: quota \"50G/month\" is not an amount in a period",
    ),
    (
        "quota = \"50GB/month\"",
        "over = \"block\"",
        "member bob: over without a quota",
    ),
    (
        "quota = \"50GB/month\"",
        "priority = 1",
        "member bob: a priority without a rate",
    ),
    ("throttle 1mbit", "slow down", "member carol: unknown over \"slow down\""),
    (
        "rate = \"10mbit\"\npriority = 5",
        "priority = 5",
        "group interns: a priority without a rate",
    ),
    (
        "",
        "[group.others]\nmembers = [\"carol\"]\nrate = \"1mbit\"",
        "member carol is in interns and in others, which both have a rate",
    ),
    (
        "",
        "[group.others]\ngroups = [\"interns\"]\nrate = \"1mbit\"",
        "group interns is in everybody and in others, which both have a rate",
    ),
    (
        "",
        "[[shape]]\nqdisc = \"root fq_codel\"",
        "rates make disciplines of their own on wg0 and eth0, beside the [[shape]] in line 121",
    ),
    // Published ports.
    ("masquerade = true", "masquerade = \"yes\"", "nat: masquerade is a string"),
    (
        "uplink = \"eth0\"",
        "uplink = \"eth0\"\nmasquerade = false",
        "nat: masquerade = true, and line 6 says false",
    ),
    (
        "to = \"server\"\nto_port",
        "to = \"servers\"\nto_port",
        "nat.publish: no host, member or service is called \"servers\"",
    ),
    (
        "to = \"server\"\nto_port",
        "to = \"web\"\nto_port",
        "nat.publish: service web has 2 hosts",
    ),
    (
        "to = \"server\"\nto_port = 443",
        "to = \"shell\"\nto_port = 23",
        "nat.publish: service shell has no tcp/23",
    ),
    (
        "\"udp/5000-5010\"",
        "\"udp/51000-52000\"",
        "nat.publish: udp/51820 is the hub's own: members come by it",
    ),
    (
        "to = \"carol\"",
        "to = \"carol\"\nto_port = 6000",
        "nat.publish: 11 ports that become others",
    ),
    (
        "[\"10.0.123.2\", \"2001:db8::2\"]\n\n[raw]",
        "[\"10.0.123.4\"]\n\n[raw]",
        "nat.publish: 10.0.123.4 is server's address",
    ),
    (
        "",
        "[[nat.publish]]\nport = \"udp/5010\"\nto = \"server\"\naddress = \"10.0.123.2\"",
        "nat.publish: line 102 publishes this port already",
    ),
    // Raw rules.
    ("-p gre", "-p gray", "raw: unknown protocol \"gray\" specified"),
    ("-A FORWARD -p gre", "-A OUTPUT -p gre", "raw: there is no chain OUTPUT here"),
    ("-p gre -j ACCEPT", "-m recent --set -j ACCEPT", "raw: -m recent: "),
    // Tests.
    ("expect = \"drop\"", "expect = \"refuse\"", "test: unknown expect \"refuse\""),
    (
        "via = \"wg0\"",
        "via = \"wg1\"",
        "test: packets do not reach the hub by \"wg1\"",
    ),
    ("server:22/tcp", "sever:22/tcp", "test: nothing is called \"sever\""),
    ("server:22/tcp", "server:22/tco", "test: \"22/tco\" is not a port"),
    (
        "from = \"alice\"\nto = [\"web\"",
        "from = \"alice:1\"\nto = [\"web\"",
        "test: a port in from",
    ),
    (
        "from = \"alice\"\nto = [\"web\"",
        "from = \"any\"\nto = [\"web\"",
        "test: any is nobody to ask about",
    ),
    (
        "from = \"alice\"\nto = [\"web\"",
        "from = \"web\"\nto = [\"web\"",
        "test: service web cannot stand in from",
    ),
];

#[test]
fn what_is_wrong_is_told_with_what_would_be_right() {
    let mut failures = String::new();
    for (from, to, expected) in REFUSED {
        let text = match *from {
            "" => format!("{}\n{to}\n", rich()),
            from => rich().replacen(from, to, 1),
        };
        assert_ne!(text, rich(), "{from} is not there");
        let told = match Config::parse(&text) {
            Ok(_) => vec!["accepted".to_owned()],
            Err(found) => found
                .0
                .iter()
                .map(|one| {
                    let place = text
                        .lines()
                        .nth(one.line - 1)
                        .is_some_and(|line| one.column <= line.chars().count() + 1);
                    assert!(place, "{one:?}");
                    format!("{} -> {}", one.message, one.help)
                })
                .collect(),
        };
        let found = told.iter().find(|one| one.starts_with(expected));
        if !found.is_some_and(|one| !one.ends_with("-> ") || expected.contains("is not a port")) {
            let _ = writeln!(failures, "{to:?}\n  expected {expected}\n  told     {told:?}");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn older_words_mean_what_they_meant() {
    let config = config(&full());
    assert!(config.groups.is_empty() && config.publish.is_empty() && config.raw.is_empty() && config.tests.is_empty());
    assert!(
        config
            .rules
            .iter()
            .all(|rule| rule.when.is_empty() && rule.until.is_none() && rule.file.is_none())
    );
    assert_eq!(config.quotas().count(), 0);
}
