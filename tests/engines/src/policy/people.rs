//! Members, hosts and services.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_oracle::random::Random;
use fielato_oracle::rules::SERVICES;
use fielato_wireguard::PublicKey;
use ipnet::IpNet;

use super::{Draft, Host, Member, Size, list, more};

/// Two of them differ only in characters that nft doesn't take in names.
const GROUPS: [&str; 6] = ["staff", "admins", "guests", "build-er", "build.er", "lab1"];

pub(super) fn members(random: &mut Random, draft: &mut Draft, text: &mut String) {
    let count = match draft.size {
        Size::Small => random.between(1, 5),
        Size::Usual => random.between(4, 11),
        Size::Large => random.between(40, 160),
    };
    let groups = &GROUPS[..random.below(GROUPS.len() + 1)];
    let mut used: BTreeSet<IpAddr> = draft.overlay.iter().map(IpNet::addr).collect();
    for index in 0..count {
        let mut addresses = Vec::new();
        for net in &draft.overlay {
            let Some(address) = free(random, net, &used) else {
                continue;
            };
            if draft.overlay.len() == 1 || random.chance(88) {
                used.insert(address);
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            continue;
        }
        let in_groups: Vec<&'static str> = groups.iter().filter(|_| random.chance(35)).copied().collect();
        let name = format!("m{index}");
        let key = PublicKey(std::array::from_fn(|_| random.bits() as u8));
        let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let _ = write!(
            text,
            "\n[member.{name}]\naddresses = [{}]\npublic_key = \"{key}\"\n",
            quoted.join(", ")
        );
        if !in_groups.is_empty() {
            let words: Vec<String> = in_groups.iter().map(|group| format!("\"{group}\"")).collect();
            let _ = writeln!(text, "groups = [{}]", words.join(", "));
        }
        if random.chance(12) {
            const ENDS: [&str; 3] = [
                "disabled = true\n",
                "expires = 2021-03-04T05:06:07Z\n",
                "expires = 2095-01-01T00:00:00Z\n",
            ];
            text.push_str(ENDS[random.below(ENDS.len())]);
        }
        if let Some(more) = &mut draft.more {
            more::of_a_member(more, index, text);
        }
        draft.groups.extend(&in_groups);
        draft.members.push(Member { name, addresses });
    }
    draft.groups.sort_unstable();
    draft.groups.dedup();
}

/// An address of `net` that nobody has; nothing when none was met.
fn free(random: &mut Random, net: &IpNet, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let room = u32::from(net.max_prefix_len() - net.prefix_len()).min(12);
    for _ in 0..20 {
        let offset = random.between(1, (1 << room) - 2);
        let address = match net {
            IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() + offset)),
            IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() + u128::from(offset))),
        };
        if !used.contains(&address) {
            return Some(address);
        }
    }
    None
}

pub(super) fn hosts(random: &mut Random, draft: &mut Draft, text: &mut String) {
    const V4: [&str; 5] = ["203.0.113.10", "203.0.113.11", "198.51.100.7", "10.99.3.4", "10.99.3.5"];
    const V6: [&str; 5] = [
        "2001:db8::10",
        "2001:db8::11",
        "2620:fe::7",
        "2001:db8:99::4",
        "2001:db8:99::5",
    ];
    for index in 0..random.weighted(&[10, 30, 30, 20, 10]) {
        let mut addresses: Vec<IpAddr> = Vec::new();
        let families = random.weighted(&[50, 30, 20]);
        if families != 2 {
            addresses.extend(V4[index].parse::<IpAddr>());
        }
        if families != 1 {
            addresses.extend(V6[index].parse::<IpAddr>());
        }
        // A host of strategy `member` has the name of the member that it is.
        let likely = if draft.more.is_some() { 70 } else { 35 };
        let member = draft.members.get(index).filter(|_| random.chance(likely));
        let (name, strategy) = match member {
            Some(member) => {
                let by_address = draft.more.as_mut().is_some_and(|more| more.chance(25));
                (member.name.clone(), if by_address { "source" } else { "member" })
            }
            None => (format!("h{index}"), "source"),
        };
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let _ = write!(
            text,
            "\n[host.{name}]\naddress = {}\nstrategy = \"{strategy}\"\n",
            list(&words)
        );
        if let Some(more) = &mut draft.more
            && !name.starts_with('h')
            && more.chance(30)
        {
            text.push_str("agent = true\n");
        }
        draft.hosts.push(Host { name, addresses });
    }
}

/// Groups with tables of their own: others within them, members and hosts by name.
pub(super) fn groups(random: &mut Random, draft: &mut Draft, text: &mut String) {
    // Each holds earlier ones alone, so that none is within itself.
    const NAMES: [&str; 3] = ["everybody", "outer", "mixed"];
    for name in NAMES.iter().take(random.weighted(&[55, 25, 15, 5])) {
        let inner: Vec<String> = draft
            .groups
            .iter()
            .filter(|_| random.chance(40))
            .map(|name| (*name).to_owned())
            .collect();
        let members: Vec<String> = draft
            .members
            .iter()
            .filter(|_| random.chance(10))
            .map(|member| member.name.clone())
            .collect();
        let hosts: Vec<String> = draft
            .hosts
            .iter()
            .filter(|_| random.chance(30))
            .map(|host| host.name.clone())
            .collect();
        let _ = writeln!(text, "\n[group.{name}]");
        for (key, names) in [("groups", inner), ("members", members), ("hosts", hosts)] {
            if !names.is_empty() {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                let _ = writeln!(text, "{key} = [{}]", quoted.join(", "));
            }
        }
        draft.groups.push(name);
    }
}

pub(super) fn services(random: &mut Random, draft: &mut Draft, text: &mut String) {
    if draft.hosts.is_empty() {
        return;
    }
    for index in 0..random.below(5) {
        let mut hosts = vec![random.pick(&draft.hosts).name.clone()];
        if random.chance(20) {
            hosts.push(random.pick(&draft.hosts).name.clone());
        }
        let ports: Vec<String> = (0..random.between(1, 3)).map(|_| port(random)).collect();
        let quoted: Vec<String> = ports.iter().map(|port| format!("\"{port}\"")).collect();
        let name = format!("s{index}");
        let _ = write!(
            text,
            "\n[service.{name}]\nhost = {}\nports = [{}]\n",
            list(&hosts),
            quoted.join(", ")
        );
        draft.services.push(name);
    }
}

fn port(random: &mut Random) -> String {
    let protocol = random.pick(&["tcp", "tcp", "tcp", "udp", "udp", "sctp"]);
    let first = *random.pick(&SERVICES);
    match random.below(4) {
        0 => format!("{protocol}/{first}-{}", first + random.between(1, 60) as u16),
        1 if random.chance(30) => format!("{protocol}/1-65535"),
        _ => format!("{protocol}/{first}"),
    }
}
