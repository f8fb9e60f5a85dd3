//! The part that every rule has: interfaces, addresses, protocol.

use fielato_netfilter::rule::{AddressMatch, Fragment, InterfaceMatch, IpMatch};
use fielato_wire::{Family, number};

use super::words::{NEVER, equals, not};
use super::{Reason, RuleContext, family_name};

/// `-i` and `-o`.
pub(super) fn interfaces(ip: &IpMatch) -> Result<String, Reason> {
    let both = [("iifname", &ip.in_interface), ("oifname", &ip.out_interface)];
    let mut words = Vec::new();
    for (key, m) in both {
        let text = interface(key, m)?;
        if !text.is_empty() {
            words.push(text);
        }
    }
    Ok(words.join(" "))
}

fn interface(key: &str, m: &InterfaceMatch) -> Result<String, Reason> {
    if m.name.is_empty() {
        return Ok(if m.negated { NEVER.to_owned() } else { String::new() });
    }
    let name = m.name.as_str();
    if name.contains(['"', '$', '\\']) {
        return Err(format!("nft can't quote the interface name {name:?}"));
    }
    // Only a closing asterisk is one of nft's.
    let name = match (m.prefix, name.strip_suffix('*')) {
        (true, _) => format!("{name}*"),
        (false, Some(stem)) => format!("{stem}\\*"),
        (false, None) => name.to_owned(),
    };
    Ok(format!("{key} {}\"{name}\"", not(m.negated)))
}

/// `-s`, `-d` and `-f`, where they ask for something.
pub(super) fn addresses(cx: &RuleContext<'_>) -> impl Iterator<Item = String> + use<> {
    let (family, ip) = (cx.family, cx.ip);
    let fragment = ip.fragment.filter(|_| family == Family::V4).map(|fragment| match fragment {
        Fragment::Later => "ip frag-off & 0x1fff != 0".to_owned(),
        Fragment::FirstOrWhole => "ip frag-off & 0x1fff == 0".to_owned(),
    });
    let name = family_name(family);
    let sides = [("saddr", ip.source), ("daddr", ip.destination)];
    let said = sides
        .into_iter()
        .filter(|(_, m)| !m.is_any())
        .map(move |(side, m)| address(&format!("{name} {side}"), &m, family));
    said.chain(fragment)
}

/// An address under a mask.
pub(super) fn address(key: &str, m: &AddressMatch, family: Family) -> String {
    if !m.network.within(m.network, m.mask) || m.network.and(m.mask) != m.network {
        return if m.negated { String::new() } else { NEVER.to_owned() };
    }
    let network = m.network.display(family);
    match m.mask.prefix_len(family) {
        Some(bits) if bits == family.bits() => format!("{key} {}{network}", not(m.negated)),
        Some(bits) => format!("{key} {}{network}/{bits}", not(m.negated)),
        None => format!("{key} & {} {} {network}", m.mask.display(family), equals(m.negated)),
    }
}

/// `-p`.
pub(super) fn protocol(cx: &RuleContext<'_>) -> String {
    let protocol = cx.ip.protocol;
    if protocol.number == 0 {
        return String::new();
    }
    format!("meta l4proto {}{}", not(protocol.negated), protocol_name(protocol.number))
}

/// A protocol by the name that nft has for it, else its number.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        number::TCP => "tcp",
        number::UDP => "udp",
        number::ICMP => "icmp",
        number::ICMPV6 => "ipv6-icmp",
        50 => "esp",
        51 => "ah",
        108 => "comp",
        33 => "dccp",
        132 => "sctp",
        136 => "udplite",
        other => return other.to_string(),
    }
    .to_owned()
}
