//! Targets that translate addresses.

use fielato_netfilter::nat::{NatFlags, NatRange};
use fielato_netfilter::{Hook, HookMask};
use fielato_wire::{Addr, Family};

use super::words::span;
use super::{Reason, RuleContext};

/// `-j SNAT`, `-j DNAT`.
pub(super) fn translate(word: &str, range: &NatRange, cx: &RuleContext<'_>) -> Result<String, Reason> {
    if range.flags.has(NatFlags::PROTO_OFFSET) {
        return Err("nft has no shifted port ranges".to_owned());
    }
    let mut to = String::new();
    let has_ports = range.flags.has(NatFlags::PROTO_SPECIFIED);
    if range.flags.has(NatFlags::MAP_IPS) {
        let (min, max) = (range.min_addr.display(cx.family), range.max_addr.display(cx.family));
        let brackets = cx.family == Family::V6 && has_ports;
        to = match (range.min_addr == range.max_addr, brackets) {
            (true, false) => min.to_string(),
            (true, true) => format!("[{min}]"),
            (false, false) => format!("{min}-{max}"),
            (false, true) => format!("[{min}]-[{max}]"),
        };
    }
    if has_ports {
        to += &ports(range.min_port, range.max_port, cx)?;
    }
    let to = if to.is_empty() { to } else { format!(" to {to}") };
    Ok(format!("{word}{to}{}", flags(range.flags)))
}

/// `-j MASQUERADE`, `-j REDIRECT`.
pub(super) fn to_own_address(word: &str, given: NatFlags, min: u16, max: u16, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let to = match given.has(NatFlags::PROTO_SPECIFIED) {
        true => format!(" to {}", ports(min, max, cx)?),
        false => String::new(),
    };
    Ok(format!("{word}{to}{}", flags(given)))
}

fn ports(min: u16, max: u16, cx: &RuleContext<'_>) -> Result<String, Reason> {
    if cx.only_protocol().is_none() {
        return Err("nft changes ports only where the rule names a protocol with ports".to_owned());
    }
    if min > max {
        return Err("nft has no port range that ends before it starts".to_owned());
    }
    Ok(format!(":{}", span(min, max)))
}

fn flags(flags: NatFlags) -> String {
    let known = [
        (NatFlags::PROTO_RANDOM, "random"),
        (NatFlags::PROTO_RANDOM_FULLY, "fully-random"),
        (NatFlags::PERSISTENT, "persistent"),
    ];
    let names: Vec<&str> = known
        .iter()
        .filter(|(bit, _)| flags.has(*bit))
        .map(|(_, name)| *name)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" {}", names.join(",")),
    }
}

/// `-j NETMAP`: the bits of a network are replaced, the host's stay.
pub(super) fn netmap(network: Addr, mask: Addr, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let word = match (
        cx.hooks.within(HookMask::of(&[Hook::Prerouting, Hook::Output])),
        cx.hooks.within(HookMask::of(&[Hook::Postrouting, Hook::Input])),
    ) {
        (true, false) => "dnat",
        (false, true) => "snat",
        _ => {
            return Err("nft must know which end changes, and this chain is reached from hooks of both kinds or none".to_owned());
        }
    };
    let bits = mask.prefix_len(cx.family).ok_or("nft maps only networks with a prefix")?;
    let asked = if word == "dnat" { &cx.ip.destination } else { &cx.ip.source };
    // `nft_nat_setup_netmap` compares words that an IPv4 address doesn't fill, and takes one that stays for one that changes:
    // the connection has the status, and ICMP errors about it are rewritten.
    let common = mask.and(asked.mask);
    let apart = !asked.negated && asked.network.and(common) != network.and(common);
    if cx.family == Family::V4 && !apart {
        return Err(format!(
            "nft takes addresses that stay as they are for translated ones; name others ({} …) and it can be said",
            if word == "dnat" { "-d" } else { "-s" }
        ));
    }
    let family = super::family_name(cx.family);
    Ok(format!(
        "{word} {family} prefix to {}/{bits}",
        network.and(mask).display(cx.family)
    ))
}
