//! Ten thousand members: no check, edit or text may grow with the square of their number.

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fielato_policy::edit::{NewMember, add_member};
use fielato_policy::render::nft;
use fielato_policy::{Circumstances, Config, Plan};
use fielato_wireguard::PublicKey;

fn many(count: u32) -> String {
    let mut text = String::from(
        "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.123.2:51820\"\naddresses = [\"10.8.0.1/16\", \"fd00:8::1/64\"]\nuplink = \"eth0\"\n",
    );
    for number in 2..count + 2 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let v4 = std::net::Ipv4Addr::from_bits(0x0a08_0000 + number);
        let v6 = std::net::Ipv6Addr::from_bits(0xfd00_0008_0000_0000_0000_0000_0000_0000 + u128::from(number));
        let _ = write!(
            text,
            "\n[member.m{number}]\naddresses = [\"{v4}\", \"{v6}\"]\npublic_key = \"{}\"\ngroups = [\"g{}\"]\n",
            PublicKey(key),
            number % 10
        );
    }
    text.push_str("\n[[rule]]\nfrom = [\"g1\", \"g2\", \"members\"]\nto = \"any\"\naction = \"accept\"\n");
    text.push_str("[[shape]]\nqdisc = \"root handle 1: htb\"\n[[shape]]\nclass = \"parent 1: classid 1:10 htb rate 1gbit\"\nfor = \"members\"\n");
    text
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = work();
    let took = begun.elapsed();
    eprintln!("{what}: {took:?}");
    (value, took)
}

#[test]
fn ten_thousand_members() {
    let text = many(10_000);
    let (config, parsed) = timed("parse", || Config::parse(&text).unwrap());
    let now = common::NOW.parse().unwrap();
    let (plan, _) = timed("compile", || {
        Plan::compile(&config, &Circumstances::at(now, Default::default()))
    });
    let (rules, _) = timed("nft text", || nft::hub(&plan.firewall));
    assert_eq!(plan.peers.len(), 10_000);
    assert!(rules.lines().filter(|line| line.contains("counter")).count() < 30);
    let ((edited, addresses), edit) = timed("add a member", || {
        add_member(&text, &NewMember::new("last", PublicKey([255; 32]))).unwrap()
    });
    assert_eq!(addresses[0], "10.8.39.18".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(addresses[1], "fd00:8::2712".parse::<std::net::IpAddr>().unwrap());
    let more = Plan::compile(&Config::parse(&edited).unwrap(), &Circumstances::at(now, Default::default()));
    let (update, _) = timed("update", || nft::update(&plan.firewall, &more.firewall).unwrap());
    assert_eq!(update.len(), 4, "{update:?}");
    // Errors in every member take no longer than none.
    let wrong = text.replacen("10.8.0.1/16", "10.200.0.1/16", 1);
    let (found, refused) = timed("refuse", || Config::parse(&wrong).err().unwrap());
    assert!(found.0.len() >= 10_000);
    // A square of ten thousand takes minutes without optimisation; these are far below on any machine.
    let limit = Duration::from_secs(10);
    assert!(
        parsed < limit && edit < limit && refused < limit,
        "{parsed:?} {edit:?} {refused:?}"
    );
    common::in_namespace("ten_thousand_members", "nft -f -", &rules);
}
