//! What `fielato can` answers and `fielato trace` tells, against packets through the hub in both engines and through protected hosts.

use fielato_engines::can::{self, Checked, Machines};
use fielato_netfilter::{Rule, Target};

/// Questions whose answers are held against packets, and how many of them are about one policy.
const QUESTIONS: usize = 2_000;
const EACH: usize = 20;

fn can_run(test: &str) -> bool {
    fielato_testkit::can_run(test, &["ip", "nft"])
}

fn told(checked: &Checked) -> String {
    checked.untrue.iter().map(ToString::to_string).collect()
}

#[test]
fn can_and_trace_say_what_packets_do() {
    if !can_run("can_and_trace_say_what_packets_do") {
        return;
    }
    // The kernel often waits for itself (RCU).
    let checked = can::campaign(1, QUESTIONS, EACH, 4, usize::MAX).unwrap();
    println!("{}", checked.text());
    assert_eq!(told(&checked), "");
    assert!(checked.count >= QUESTIONS, "{}", checked.text());
    // Each would prove little without the others.
    for (kind, least) in [
        ("passed to a host, by its network", 200),
        ("passed to a host, through the tunnel", 100),
        ("passed to a member", 50),
        ("passed to the hub", 50),
        ("passed to the internet", 20),
        ("dropped at the hub", 200),
        ("dropped at the hub, the answer", 1),
        ("rejected at the hub", 40),
        ("dropped at a host, by its network", 20),
        ("dropped at a host, through the tunnel", 40),
        ("rejected at a host, through the tunnel", 2),
        ("dropped at a member", 50),
        ("by a rule", 200),
        ("by the end of the rules", 100),
        ("by a grant", 10),
        ("by a quota", 10),
        ("by a raw rule", 20),
        ("by a published port", 5),
        ("by a protected port", 20),
        ("by a ban", 10),
        ("tcp over IPv4", 100),
        ("tcp over IPv6", 100),
        ("udp over IPv4", 100),
        ("udp over IPv6", 100),
        ("sctp over IPv4", 50),
        ("sctp over IPv6", 50),
        ("ping over IPv4", 50),
        ("ping over IPv6", 50),
    ] {
        let count = checked.kinds.get(kind).copied().unwrap_or_default();
        assert!(count >= least, "{kind}: {count} of {least}\n{}", checked.text());
    }
    let share = checked.passed * 100 / checked.count;
    assert!((35..=65).contains(&share), "{share} % pass\n{}", checked.text());
}

/// Each way of doing otherwise than the plan says is found in some of a few policies.
#[test]
fn a_wrong_answer_is_found() {
    fn rules(config: &mut fielato_gateway::Config) -> impl Iterator<Item = &mut Rule> {
        let tables = config.rulesets.iter_mut().flat_map(|ruleset| &mut ruleset.tables);
        tables.flat_map(|table| &mut table.chains).flat_map(|chain| &mut chain.rules)
    }
    type Way = (&'static str, fn(&mut fielato_gateway::Config));
    let ways: [Way; 4] = [
        ("rules drop what they should accept", |config| {
            for rule in rules(config).filter(|rule| matches!(rule.target, Target::Accept)) {
                rule.target = Target::Drop;
            }
        }),
        ("rejections are silent", |config| {
            for rule in rules(config).filter(|rule| matches!(rule.target, Target::Reject(_))) {
                rule.target = Target::Drop;
            }
        }),
        ("nobody is banned", |config| config.guard.bans.clear()),
        ("the last rule does not count", |config| {
            config
                .rulesets
                .iter_mut()
                .flat_map(|ruleset| &mut ruleset.tables)
                .for_each(|table| {
                    for chain in &mut table.chains {
                        if chain.rules.last().is_some_and(|rule| matches!(rule.target, Target::Drop)) {
                            chain.rules.pop();
                        }
                    }
                });
        }),
    ];
    if !can_run("a_wrong_answer_is_found") {
        return;
    }
    for (what, spoil) in ways {
        let mut machines = Machines::new(spoil);
        let mut found = (0..40).map(|seed| machines.check(seed, 20).unwrap().untrue.len());
        assert!(found.any(|wrong| wrong > 0), "nobody noticed that {what}");
    }
}
