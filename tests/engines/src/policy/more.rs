//! What is said in policies that questions are asked about, beside all that the others say.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use fielato_oracle::random::Random;
use fielato_oracle::rules::SERVICES;
use fielato_policy::Grant;
use fielato_policy::config::Over;
use jiff::Timestamp;

use super::{Draft, list};
use crate::network::UPLINK;
use crate::scene::{Beside, NOW};

/// A member's route and quota, in its section.
///
/// The first four may be protected hosts. Those keep the way to their own network: with all of it in the tunnel, what comes to them
/// from there would be answered through the tunnel, as with every VPN on a server, and no policy says so.
pub(super) fn of_a_member(more: &mut Random, index: u32, text: &mut String) {
    match more.below(12) {
        0 => text.push_str("route = []\n"),
        _ if index < 4 => {}
        1 => text.push_str("route = [\"203.0.113.0/24\", \"2001:db8::/64\"]\n"),
        2 => text.push_str("route = [\"0.0.0.0/1\", \"128.0.0.0/1\", \"2000::/3\"]\n"),
        _ => {}
    }
    if more.chance(12) {
        text.push_str("quota = \"50GB/month\"\nover = \"block\"\n");
    }
}

/// Services on one host or several, with ranges that meet and overlap those of others.
pub(super) fn services(more: &mut Random, draft: &mut Draft, text: &mut String) {
    if draft.hosts.is_empty() {
        return;
    }
    for index in 0..more.between(1, 4) {
        let mut hosts: Vec<String> = draft.hosts.iter().map(|host| host.name.clone()).collect();
        let count = [1, 2, 3][more.weighted(&[70, 20, 10])];
        while hosts.len() > count {
            hosts.swap_remove(more.below(hosts.len()));
        }
        let ports: Vec<String> = (0..more.between(1, 3)).map(|_| ports(more)).collect();
        let name = format!("t{index}");
        let (hosts, ports) = (list(&hosts), list(&ports));
        let ports = if ports.starts_with('[') { ports } else { format!("[{ports}]") };
        let _ = write!(text, "\n[service.{name}]\nhost = {hosts}\nports = {ports}\n");
        draft.services.push(name);
    }
}

fn ports(more: &mut Random) -> String {
    let protocol = more.pick(&["tcp", "tcp", "udp", "sctp"]);
    match more.below(5) {
        0 => format!("{protocol}/50-100"),
        1 => format!("{protocol}/80-443"),
        2 => format!("{protocol}/1000-{}", more.between(1001, 9000)),
        _ => format!("{protocol}/{}", more.pick(&SERVICES)),
    }
}

/// Rules that let somebody in, or not, before all others: random ones alone would seldom speak of services.
pub(super) fn rules(more: &mut Random, draft: &Draft, text: &mut String) {
    if draft.services.is_empty() {
        return;
    }
    for _ in 0..more.between(1, 4) {
        let from = match more.below(3) {
            0 if !draft.groups.is_empty() => (*more.pick(&draft.groups)).to_owned(),
            1 if !draft.members.is_empty() => more.pick(&draft.members).name.clone(),
            _ => "members".to_owned(),
        };
        let to = more.pick(&draft.services).clone();
        let action = ["accept", "deny", "reject", "log"][more.weighted(&[66, 8, 20, 6])];
        let _ = write!(text, "\n[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"\n");
        hours(more, text);
    }
}

/// Hours that hold at [`NOW`], which is Friday, 15 January 2027, 08:00 UTC, or don't.
pub(super) fn hours(more: &mut Random, text: &mut String) {
    const HOURS: [&str; 8] = [
        "{ days = \"mon-fri\", hours = \"07:00-09:00\" }",
        "{ days = \"sat,sun\" }",
        "{ hours = \"08:00-08:01\" }",
        "{ hours = \"07:00-08:00\" }",
        "{ hours = \"09:00-10:00\" }",
        "{ hours = \"09:00-10:00\", zone = \"Europe/Madrid\" }",
        "{ days = \"thu\", hours = \"22:00-08:30\" }",
        "[{ days = \"mon\" }, { days = \"fri\", hours = \"06:00-24:00\" }]",
    ];
    if more.chance(12) {
        let _ = writeln!(text, "when = {}", more.pick(&HOURS));
    }
}

/// Rules in iptables' words, about addresses of the policy and single ports within services' ranges.
pub(super) fn raw(more: &mut Random, draft: &Draft, text: &mut String) {
    if !more.chance(45) {
        return;
    }
    let rules: Vec<String> = (0..more.between(1, 3)).map(|_| raw_rule(more, draft)).collect();
    let quoted: Vec<String> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
    let _ = write!(text, "\n[raw]\nrules = [{}]\n", quoted.join(", "));
    if more.chance(30) {
        text.push_str("after = true\n");
    }
}

fn raw_rule(more: &mut Random, draft: &Draft) -> String {
    if more.chance(15) {
        return translation(more, draft);
    }
    if more.chance(35) {
        // The hub lets it in, and hosts that judge by themselves have the last word.
        return format!("-A FORWARD -p {} -j ACCEPT", more.pick(&["tcp", "udp"]));
    }
    let chain = more.pick(&["FORWARD", "FORWARD", "FORWARD", "INPUT"]);
    let mut rule = format!("-A {chain}");
    // Addresses of both families would be no rule.
    let v6 = more.chance(50);
    let of_family = |address: &&IpAddr| address.is_ipv6() == v6;
    if more.chance(40) {
        let addresses = draft.members.iter().flat_map(|member| &member.addresses);
        let addresses: Vec<&IpAddr> = addresses.filter(of_family).collect();
        if !addresses.is_empty() {
            let _ = write!(rule, " -s {}", more.pick(&addresses));
        }
    }
    if more.chance(30) {
        let addresses = draft.hosts.iter().flat_map(|host| &host.addresses);
        let addresses: Vec<&IpAddr> = addresses.filter(of_family).collect();
        if !addresses.is_empty() {
            let _ = write!(rule, " -d {}", more.pick(&addresses));
        }
    }
    let protocol = more.pick(&["tcp", "udp"]);
    match more.below(4) {
        0 => {
            let _ = write!(rule, " -p {protocol} --dport {}", more.pick(&SERVICES));
        }
        1 => {
            let first = more.between(60, 2000);
            let _ = write!(rule, " -p {protocol} --dport {first}:{}", first + more.between(1, 400));
        }
        2 => {
            let _ = write!(
                rule,
                " -p {protocol} -m multiport --dports 53,70:90,{}",
                more.between(1000, 9000)
            );
        }
        _ => {
            let _ = write!(rule, " -p {protocol}");
        }
    }
    let target = ["ACCEPT", "DROP", "REJECT"][more.weighted(&[40, 35, 25])];
    let _ = write!(rule, " -j {target}");
    if target == "REJECT" && *protocol == "tcp" && more.chance(40) {
        rule.push_str(" --reject-with tcp-reset");
    }
    rule
}

/// Ports of the hub that lead to a host, and sources that are rewritten by hand.
fn translation(more: &mut Random, draft: &Draft) -> String {
    let v6 = more.chance(50);
    let [own_v4, own_v6] = UPLINK.map(|net| net.split('/').next().unwrap_or_default());
    let own = if v6 { own_v6 } else { own_v4 };
    let members = draft.members.iter().flat_map(|member| &member.addresses);
    let members: Vec<&IpAddr> = members.filter(|address| address.is_ipv6() == v6).collect();
    let hosts = draft.hosts.iter().flat_map(|host| &host.addresses);
    let hosts: Vec<&IpAddr> = hosts.filter(|address| address.is_ipv6() == v6).collect();
    let (from, to) = (*more.pick(&SERVICES), *more.pick(&SERVICES));
    match more.below(3) {
        0 if !members.is_empty() => {
            let member = more.pick(&members);
            format!("-t nat -A POSTROUTING -s {member} -o eth0 -j SNAT --to-source {own}")
        }
        1 if !hosts.is_empty() => {
            let target = SocketAddr::new(**more.pick(&hosts), to);
            format!("-t nat -A PREROUTING -d {own} -p tcp --dport {from} -j DNAT --to-destination {target}")
        }
        _ => format!("-t nat -A PREROUTING -p tcp --dport {from} -j REDIRECT --to-ports {to}"),
    }
}

/// What was granted, and who has used up a quota.
pub(super) fn beside(more: &mut Random, draft: &Draft) -> Beside {
    let mut beside = Beside::default();
    if draft.members.is_empty() {
        return beside;
    }
    if !draft.services.is_empty() {
        for _ in 0..more.weighted(&[60, 30, 10]) {
            // Some are over.
            let until = NOW + if more.chance(80) { 3_600 } else { -1 };
            beside.grants.push(Grant {
                member: more.pick(&draft.members).name.clone(),
                service: more.pick(&draft.services).clone(),
                until: Timestamp::from_second(until).unwrap_or_default(),
                reason: None,
                by: None,
            });
        }
    }
    if more.chance(30) {
        for _ in 0..more.between(1, 2) {
            beside.over_quota.insert(more.pick(&draft.members).name.clone(), Over::Block);
        }
    }
    beside
}
