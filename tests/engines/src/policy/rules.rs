//! `[[rule]]`s, and the networks that they and bans name.

use std::fmt::Write as _;
use std::net::IpAddr;

use fielato_oracle::random::Random;
use ipnet::IpNet;

use super::{Draft, Size, list, more};

const ACTIONS: [&str; 7] = ["accept", "allow", "drop", "deny", "reject", "log", "limit"];

pub(super) fn rules(random: &mut Random, draft: &Draft, mut more: Option<&mut Random>, text: &mut String) {
    let count = match draft.size {
        Size::Small => random.between(0, 4),
        Size::Usual => random.between(2, 12),
        Size::Large => random.between(10, 60),
    };
    let mut before: Option<(Vec<String>, &str)> = None;
    for _ in 0..count {
        let from = parties(random, draft, false);
        let action = ACTIONS[random.weighted(&[50, 12, 14, 4, 12, 5, 3])];
        // Neighbours that differ only in `from` are written as one line of nft.
        let (to, action) = match before {
            Some(before) if random.chance(20) => before,
            _ => (parties(random, draft, true), action),
        };
        let _ = write!(
            text,
            "\n[[rule]]\nfrom = {}\nto = {}\naction = \"{action}\"\n",
            list(&from),
            list(&to)
        );
        if action == "limit" {
            // What comes back in a case is less than one in a day. Of questions each is as if it were the first.
            let limit = match more {
                Some(_) => "limit = \"1000/second\"\nburst = 1000",
                None => "limit = \"1/day\"\nburst = 1",
            };
            let _ = writeln!(text, "{limit}");
        }
        // It holds at the time of every case, or not.
        match random.below(30) {
            0 => text.push_str("when = { days = \"mon-sun\", hours = \"00:00-24:00\", zone = \"Europe/Madrid\" }\n"),
            1 => text.push_str("until = 2020-01-01T00:00:00Z\n"),
            2 => text.push_str("until = 2095-01-01T00:00:00Z\n"),
            _ => {
                if let Some(more) = more.as_deref_mut() {
                    more::hours(more, text);
                }
            }
        }
        before = Some((to, action));
    }
}

fn parties(random: &mut Random, draft: &Draft, is_to: bool) -> Vec<String> {
    let count = [1, 2, 3, 5][random.weighted(&[60, 22, 14, 4])];
    let mut all: Vec<String> = Vec::new();
    for _ in 0..count {
        let party = party(random, draft, is_to);
        if !all.contains(&party) {
            all.push(party);
        }
    }
    all
}

fn party(random: &mut Random, draft: &Draft, is_to: bool) -> String {
    let some = |has: bool, weight: u32| if has { weight } else { 0 };
    let kind = random.weighted(&[
        12,
        14,
        12,
        some(!draft.members.is_empty(), 16),
        some(!draft.groups.is_empty(), 18),
        some(!draft.hosts.is_empty(), 12),
        16,
        some(is_to, 14),
        some(is_to && !draft.services.is_empty(), 22),
    ]);
    match kind {
        0 => "any".to_owned(),
        1 => "members".to_owned(),
        2 => "internet".to_owned(),
        3 => random.pick(&draft.members).name.clone(),
        4 => (*random.pick(&draft.groups)).to_owned(),
        5 => random.pick(&draft.hosts).name.clone(),
        6 => prefix(random, draft).to_string(),
        7 => "hub".to_owned(),
        _ => random.pick(&draft.services).clone(),
    }
}

/// A network around an address that packets have, or that address alone.
pub(super) fn prefix(random: &mut Random, draft: &Draft) -> IpNet {
    const FAR: [&str; 6] = [
        "8.8.8.8",
        "198.51.100.8",
        "203.0.113.11",
        "2620:fe::88",
        "2001:db8::11",
        "10.99.7.7",
    ];
    let known: Vec<IpAddr> = draft
        .members
        .iter()
        .flat_map(|member| &member.addresses)
        .chain(draft.hosts.iter().flat_map(|host| &host.addresses))
        .copied()
        .collect();
    let own: Vec<IpAddr> = draft.overlay.iter().map(IpNet::addr).collect();
    let far: Vec<IpAddr> = FAR.iter().filter_map(|text| text.parse().ok()).collect();
    let address = match random.weighted(&[50, 15, 35]) {
        0 if !known.is_empty() => *random.pick(&known),
        1 => *random.pick(&own),
        _ => *random.pick(&far),
    };
    let lengths: &[u8] = match address {
        IpAddr::V4(_) => &[32, 32, 32, 30, 24, 23, 16, 8, 0],
        IpAddr::V6(_) => &[128, 128, 128, 126, 112, 64, 48, 32, 0],
    };
    let length = *random.pick(lengths);
    IpNet::new(address, length).map_or_else(|_| IpNet::from(address), |net| net.trunc())
}
