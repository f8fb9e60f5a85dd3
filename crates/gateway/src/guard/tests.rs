use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::build::Ip;

use super::*;

fn from(source: &str) -> Vec<u8> {
    match source.parse().unwrap() {
        IpAddr::V4(source) => Ip::v4(source, Ipv4Addr::new(10, 0, 0, 1)).udp(1, 2, &[0; 72]),
        IpAddr::V6(source) => Ip::v6(source, Ipv6Addr::LOCALHOST).udp(1, 2, &[0; 52]),
    }
}

fn guard(config: Config) -> Guard {
    Guard::new(&config, 1, Now::from_secs(100)).unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn bans_come_before_counters() {
    let mut guard = guard(Config::default());
    let now = Now::from_secs(100);
    for (ban, inside, outside) in [
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("10.9.0.7/32", "10.9.0.7", "10.9.0.8"),
        ("fd00:1::/32", "fd00:1::5", "fd00:2::5"),
        ("fd00:9::7/128", "fd00:9::7", "fd00:9::8"),
    ] {
        assert_eq!(guard.judge(&from(inside), now), Ok(()));
        assert_eq!(guard.ban(net(ban), None), Ok(true));
        assert_eq!(guard.ban(net(ban), None), Ok(false));
        for _ in 0..3 {
            assert_eq!(guard.judge(&from(inside), now), Err(Refusal::Banned(net(ban))));
        }
        assert_eq!(guard.judge(&from(outside), now), Ok(()));
        let counts = guard.bans();
        assert_eq!((counts.len(), counts[0].packets, counts[0].bytes), (1, 3, 300));
        assert!(guard.unban(net(ban)) && !guard.unban(net(ban)));
        assert_eq!(guard.judge(&from(inside), now), Ok(()));
        let counted = guard.sources().find(|source| source.address.to_string() == inside);
        assert_eq!(counted.map(|source| (source.packets, source.bytes)), Some((2, 200)));
    }
}

#[test]
fn a_ban_ends_by_the_time_of_day_and_keeps_its_count_over_a_change() {
    let mut guard = guard(Config::default());
    let until = Now::from_secs(200).wall;
    guard.ban(net("10.1.0.0/16"), Some(until)).unwrap();
    let banned = Err(Refusal::Banned(net("10.1.0.0/16")));
    assert_eq!(guard.judge(&from("10.1.0.1"), Now::from_secs(199)), banned);
    let both = Config {
        bans: vec![(net("10.1.0.0/16"), Some(until)), (net("10.2.0.0/16"), None)],
        ..Config::default()
    };
    guard.configure(&both, Now::from_secs(199)).unwrap();
    assert_eq!(guard.bans()[0].packets, 1);
    assert_eq!(guard.next_end(), Some(until));
    // Before anybody removes it, too.
    assert_eq!(guard.judge(&from("10.1.0.1"), Now::from_secs(200)), Ok(()));
    guard.expire(Now::from_secs(200));
    assert_eq!(guard.bans().len(), 1);
    assert_eq!(guard.next_end(), None);
}

#[test]
fn the_least_recently_seen_source_gives_way() {
    let mut guard = guard(Config {
        sources: 3,
        ..Config::default()
    });
    let now = Now::from_secs(100);
    for last in [1, 2, 3, 1, 4] {
        guard.judge(&from(&format!("10.0.0.{last}")), now).unwrap();
        guard.judge(&from(&format!("fd00::{last}")), now).unwrap();
    }
    let mut seen: Vec<String> = guard.sources().map(|source| source.address.to_string()).collect();
    seen.sort();
    assert_eq!(seen, ["10.0.0.1", "10.0.0.3", "10.0.0.4", "fd00::1", "fd00::3", "fd00::4"]);
    assert_eq!(guard.top(1)[0].packets, 2);

    let smaller = Config {
        sources: 2,
        ..Config::default()
    };
    guard.configure(&smaller, now).unwrap();
    let mut seen: Vec<String> = guard.sources().map(|source| source.address.to_string()).collect();
    seen.sort();
    assert_eq!(seen, ["10.0.0.1", "10.0.0.4", "fd00::1", "fd00::4"]);
}

/// Against a table that is searched: random sources, random sizes.
#[test]
fn the_table_is_what_a_list_would_be() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut table = sources::Sources::new(8, 1);
    let mut list: Vec<(Addr, u64)> = Vec::new();
    let mut limit = 8;
    for round in 0..20_000 {
        if rng.u8(..) == 0 {
            limit = rng.u32(1..12);
            table.resize(limit);
            list.truncate(limit as usize);
        }
        let address = Addr {
            hi: 0,
            lo: rng.u64(0..16),
        };
        table.count(address, 1, None, round);
        let packets = match list.iter().position(|(known, _)| *known == address) {
            Some(place) => list.remove(place).1,
            None => 0,
        };
        list.insert(0, (address, packets + 1));
        list.truncate(limit as usize);
        let mut wanted: Vec<(IpAddr, u64)> = list.iter().map(|(a, count)| (a.to_ip(Family::V4), *count)).collect();
        let mut found: Vec<(IpAddr, u64)> = table
            .list(Family::V4)
            .map(|source| (source.address, source.packets))
            .collect();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_source_is_held_to_its_rate() {
    let mut guard = guard(Config {
        limit: Some(Limit { rate: 10, burst: 5 }),
        ..Config::default()
    });
    let start = Now::from_secs(100);
    let mut passed = |packet: &str, at: Now, count: usize| (0..count).filter(|_| guard.judge(&from(packet), at).is_ok()).count();
    assert_eq!(passed("10.0.0.1", start, 20), 5);
    assert_eq!(passed("10.0.0.2", start, 20), 5);
    assert_eq!(passed("10.0.0.1", start.plus(Now::SECOND / 10), 20), 1);
    assert_eq!(passed("10.0.0.1", start.plus(Now::SECOND), 20), 5);
}

#[test]
fn what_cannot_be_read_is_left_to_others() {
    let mut guard = guard(Config::default());
    guard.ban(net("0.0.0.0/0"), None).unwrap();
    guard.ban(net("::/0"), None).unwrap();
    for packet in [&[][..], &[0x45; 19], &[0x60; 39], &[0x00; 60]] {
        assert_eq!(guard.judge(packet, Now::from_secs(100)), Ok(()));
    }
    assert_eq!(guard.sources().count(), 0);
    assert!(guard.judge(&from("192.0.2.1"), Now::from_secs(100)).is_err());
    let disabled = Config {
        enabled: false,
        bans: vec![(net("0.0.0.0/0"), None)],
        ..Config::default()
    };
    guard.configure(&disabled, Now::from_secs(100)).unwrap();
    assert_eq!(guard.judge(&from("192.0.2.1"), Now::from_secs(100)), Ok(()));
}
