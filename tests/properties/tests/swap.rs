//! Rule sets change while packets flow: each packet is judged by one of them as a whole, none is lost, no count either.

use fielato_netfilter::conntrack::{Config, Tracking};
use fielato_netfilter::engine::Fate;
use fielato_netfilter::{Counters, Netfilter, Now, Ruleset, Table};
use fielato_properties::machine::{self, INSIDE, inside, outside};
use fielato_wire::Family;
use fielato_wire::build::Ip;

const SWAPS: u64 = 4000;

/// A rule set that marks its packets in two tables and counts them in each: a packet that met half of one and half of another
/// would carry both marks, or be counted by one of the two only.
fn rules(family: Family, bit: u32, tracked: bool) -> Ruleset {
    let state = if tracked {
        "-m conntrack --ctstate NEW,ESTABLISHED "
    } else {
        ""
    };
    let text = format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
-A PREROUTING {state}-j MARK --set-xmark {bit:#x}/{bit:#x}\n-A POSTROUTING -j MARK --set-xmark {0:#x}/{0:#x}\nCOMMIT\n\
*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:user - [0:0]\n\
-A FORWARD -m mark --mark {bit:#x}/0xf -j user\n-A user -j ACCEPT\nCOMMIT\n",
        bit << 8,
    );
    machine::rules(family, &text)
}

/// Packets counted by the rules of a table, by chain and place.
fn add(sums: &mut Vec<u64>, tables: &[Table]) {
    let counts = tables.iter().flat_map(|table| &table.chains).flat_map(|chain| {
        let policy = chain.policy.is_some().then_some(chain.counters);
        policy.into_iter().chain(chain.rules.iter().map(|rule| rule.counters))
    });
    let counts: Vec<Counters> = counts.collect();
    sums.resize(counts.len(), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.packets;
    }
}

#[test]
fn rule_sets_change_between_packets() {
    for family in [Family::V4, Family::V6] {
        for tracked in [true, false] {
            let tracking = if tracked { Tracking::Always } else { Tracking::WhenNeeded };
            let config = Config {
                tracking,
                ..Config::default()
            };
            let mut netfilter = Netfilter::new(config, 1);
            let mut random = fastrand::Rng::with_seed(9);
            let mut now = Now::from_secs(1000);
            let sets = [rules(family, 1, tracked), rules(family, 2, tracked)];
            let mut sums = Vec::new();
            assert!(machine::replace(&mut netfilter, sets[0].clone(), now).is_empty());
            let mut sent = 0u64;
            for swap in 0..SWAPS {
                let bit = 1 << (swap % 2);
                for _ in 0..random.u8(..6) {
                    // Few flows, so that most packets would take the short way.
                    let port = 2000 + u16::from(random.u8(..5));
                    let packet = Ip::new(family, inside(family, 1), outside(family, 9)).udp(port, 53, b"x");
                    let fate = machine::receive(&mut netfilter, packet, INSIDE, now);
                    let Some(Fate::Transmit(packet)) = fate else {
                        panic!("packet {sent} was lost at swap {swap}: {fate:?}");
                    };
                    assert_eq!(packet.mark, bit | bit << 8, "judged by two rule sets at swap {swap}");
                    sent += 1;
                    now = now.plus(1_000_000);
                }
                let next = sets[(swap as usize + 1) % 2].clone();
                add(&mut sums, &machine::replace(&mut netfilter, next, now));
            }
            add(&mut sums, &netfilter.ruleset(family).tables);
            // Mangle: PREROUTING and its rule, INPUT, FORWARD, OUTPUT, POSTROUTING and its rule; filter: INPUT, FORWARD and its
            // rule, OUTPUT, the user chain's rule.
            assert_eq!(
                sums,
                [sent, sent, 0, sent, 0, sent, sent, 0, 0, sent, 0, sent],
                "{sent} packets"
            );
            assert!(sent > SWAPS, "{sent} packets over {SWAPS} swaps");
            assert!(netfilter.cached_packets() > 0 || !tracked);
        }
    }
}
