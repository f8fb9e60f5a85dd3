//! No table grows beyond its limit, however many packets come.

use fielato_netfilter::conntrack::Config;
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Netfilter, Now};
use fielato_properties::machine::{self, INSIDE, inside, outside};
use fielato_wire::build::{Ip, Tcp, fragments};
use fielato_wire::{Addr, Family};

const NOW: Now = Now::from_secs(1000);

fn engine(config: Config, rules: &str) -> Netfilter {
    let mut netfilter = Netfilter::new(config, 1);
    for family in [Family::V4, Family::V6] {
        machine::replace(&mut netfilter, machine::rules(family, rules), NOW);
    }
    netfilter
}

fn source(family: Family, number: u32) -> Addr {
    let net = inside(family, 0);
    Addr {
        lo: net.lo + u64::from(number),
        ..net
    }
}

#[test]
fn connections() {
    let config = Config {
        max: 100,
        ..Config::default()
    };
    let mut netfilter = engine(config, "");
    let mut memory = 0;
    for number in 0..5000u32 {
        let family = if number % 2 == 0 { Family::V4 } else { Family::V6 };
        let ip = Ip::new(family, inside(family, 1), outside(family, 1));
        let port = number as u16 + 1024;
        let packet = if number % 3 == 0 {
            ip.tcp(&Tcp::new(port, 80).syn())
        } else {
            ip.udp(port, 53, b"")
        };
        machine::receive(&mut netfilter, packet, INSIDE, NOW);
        assert!(netfilter.conntrack().count() <= 100);
        if number == 200 {
            memory = netfilter.conntrack().memory();
        }
    }
    assert_eq!(netfilter.conntrack().count(), 100);
    assert_eq!(netfilter.conntrack().memory(), memory, "a full table does not grow");
}

#[test]
fn expectations() {
    let rules =
        "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p udp --dport 69 -j CT --helper tftp\nCOMMIT\n";
    let config = Config {
        expect_max: 10,
        ..Config::default()
    };
    let mut netfilter = engine(config, rules);
    for port in 1024..1200 {
        for family in [Family::V4, Family::V6] {
            let request = Ip::new(family, inside(family, 1), outside(family, 1)).udp(port, 69, b"\0\x01file\0octet\0");
            machine::receive(&mut netfilter, request, INSIDE, NOW);
            assert!(netfilter.conntrack().expectation_count() <= 10);
        }
    }
    assert_eq!(netfilter.conntrack().expectation_count(), 10);
}

#[test]
fn fragments_that_wait() {
    let memory = 100_000;
    let config = Config {
        fragment_memory: memory,
        ..Config::default()
    };
    let mut netfilter = engine(config, "");
    let (mut waiting, mut refused) = ([0usize; 2], 0);
    for id in 0..4000u32 {
        let family = if id % 2 == 0 { Family::V4 } else { Family::V6 };
        let mut ip = Ip::new(family, source(family, id / 256), outside(family, 1));
        ip.id = id;
        let datagram = ip.udp(1, 2, &[7; 900]);
        let first = fragments(&datagram, 600, id).unwrap().swap_remove(0);
        let len = first.len();
        match machine::receive(&mut netfilter, first, INSIDE, NOW) {
            Some(Fate::Fragment) => waiting[family as usize] += len,
            Some(Fate::Dropped(_)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // A packet is refused once the limit is passed, so one more than fits may wait.
    assert!(
        refused > 1000 && waiting.iter().all(|bytes| *bytes <= memory + 600),
        "{waiting:?} {refused}"
    );
    netfilter.expire(NOW.plus(100 * Now::SECOND), 1000);
    let ip = Ip::new(Family::V4, inside(Family::V4, 1), outside(Family::V4, 1)).id(60_000);
    let first = fragments(&ip.udp(1, 2, &[7; 900]), 600, 1).unwrap().swap_remove(0);
    let fate = machine::receive(&mut netfilter, first, INSIDE, NOW.plus(101 * Now::SECOND));
    assert!(matches!(fate, Some(Fate::Fragment)), "there is room again: {fate:?}");
}

#[test]
fn queues() {
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A FORWARD -j NFQUEUE --queue-num 4\nCOMMIT\n";
    let mut netfilter = engine(Config::default(), rules);
    netfilter
        .execute(Caller::Admin, Command::BindQueue { number: 4, length: 20 }, NOW)
        .unwrap();
    for port in 0..500 {
        for family in [Family::V4, Family::V6] {
            let packet = Ip::new(family, inside(family, 1), outside(family, 1)).udp(port, 53, b"");
            machine::receive(&mut netfilter, packet, INSIDE, NOW);
            // Some were given to the handler, which never answers.
            netfilter.next_queued(4).map(|queued| queued.id);
            let statistics = netfilter.queues().statistics(4).unwrap();
            assert!(statistics.waiting <= 20);
        }
    }
    let statistics = netfilter.queues().statistics(4).unwrap();
    assert_eq!((statistics.waiting, statistics.queued, statistics.full), (20, 20, 980));
}

/// What a list, a rate table or a connection limit remembers shows in which sources it still knows.
#[test]
fn addresses_that_rules_remember() {
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
-A FORWARD -p udp --dport 1 -m recent --name few --set -j ACCEPT\n\
-A FORWARD -p udp --dport 2 -m recent --name few --rcheck -j ACCEPT\n\
-A FORWARD -p udp --dport 3 -m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-mode srcip \
--hashlimit-name rate --hashlimit-htable-size 50 --hashlimit-htable-max 50 -j ACCEPT\nCOMMIT\n";
    let mut netfilter = engine(Config::default(), rules);
    for family in [Family::V4, Family::V6] {
        let mut passes = |number: u32, port| {
            let packet = Ip::new(family, source(family, number + 1), outside(family, 1)).udp(9, port, b"");
            let fate = machine::receive(&mut netfilter, packet, INSIDE, NOW);
            matches!(fate, Some(Fate::Transmit(_)))
        };
        assert!((0..1000).all(|number| passes(number, 1)));
        // xt_recent keeps ip_list_tot addresses, 100, and forgets the oldest.
        let known: Vec<u32> = (0..1000).filter(|number| passes(*number, 2)).collect();
        assert_eq!(known, Vec::from_iter(900..1000));
        // The table has no less places than buckets. A full one lets no new source through (`hashlimit_mt_common`: hotdrop).
        assert_eq!((0..1000).filter(|number| passes(*number, 3)).count(), 50);
    }
}
