//! Matches on connections.

use fielato_netfilter::Match;
use fielato_netfilter::conntrack::{Direction, Status};
use fielato_netfilter::matches::connbytes::{Connbytes, ConnbytesMode};
use fielato_netfilter::matches::connlabel::Connlabel;
use fielato_netfilter::matches::connlimit::Connlimit;
use fielato_netfilter::matches::conntrack::{Conntrack, Criteria, Ends, StateMatch, States};
use fielato_netfilter::matches::helper::Helper;
use fielato_wire::{Addr, TcpFlags, number};

use super::address::address;
use super::words::{NEVER, not, quoted, span, within};
use super::{Reason, RuleContext, family_name};

pub(super) fn conntrack(m: &Conntrack, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let mut words = Vec::new();
    if let Some(state) = &m.state {
        words.push(self::state(state)?);
    }
    if let Some(criteria) = &m.criteria {
        cx.no_template()?;
        self::criteria(criteria, cx, &mut words)?;
    }
    words.retain(|word| !word.is_empty());
    Ok(words.join(" "))
}

/// `--ctstate`. SNAT and DNAT are states to iptables, status bits to nft.
pub(super) fn state(m: &StateMatch) -> Result<String, Reason> {
    const PLAIN: [(u8, &str); 5] = [
        (States::INVALID, "invalid"),
        (States::NEW, "new"),
        (States::ESTABLISHED, "established"),
        (States::RELATED, "related"),
        (States::UNTRACKED, "untracked"),
    ];
    const NAT: [(u8, &str); 2] = [(States::SNAT, "snat"), (States::DNAT, "dnat")];
    let has = |bit: u8| m.states.0 & bit != 0;
    let plain: Vec<&str> = PLAIN.iter().filter(|(bit, _)| has(*bit)).map(|(_, name)| *name).collect();
    let nat: Vec<&str> = NAT.iter().filter(|(bit, _)| has(*bit)).map(|(_, name)| *name).collect();
    let mut words = Vec::new();
    if !plain.is_empty() {
        words.push(match m.negated {
            false => format!("ct state {}", plain.join(",")),
            true => format!("ct state & ({}) == 0", plain.join(" | ")),
        });
    }
    if !nat.is_empty() {
        if !m.negated && !plain.is_empty() {
            return Err("nft can't ask for a state or a translation in one rule".to_owned());
        }
        // nft's status needs a connection; a packet without one is INVALID or UNTRACKED.
        if m.negated && !(has(States::INVALID) && has(States::UNTRACKED)) {
            return Err("it holds for packets without a connection too, where nft has no status".to_owned());
        }
        let compare = if m.negated { "==" } else { "!=" };
        words.push(format!("ct status & ({}) {compare} 0", nat.join(" | ")));
    }
    if words.is_empty() && !m.negated {
        return Ok(NEVER.to_owned());
    }
    Ok(words.join(" "))
}

fn criteria(m: &Criteria, cx: &RuleContext<'_>, words: &mut Vec<String>) -> Result<(), Reason> {
    if let Some(direction) = m.direction {
        words.push(format!("ct direction {}", direction_name(direction)));
    }
    if let Some(protocol) = &m.protocol {
        words.push(within("ct original protocol", protocol, u8::MAX));
    }
    // nft reads ports by the protocol that it was told.
    let protocol_known = cx.only_protocol().is_some()
        || m.protocol
            .as_ref()
            .is_some_and(|range| range.min == range.max && !range.negated);
    for (direction, ends) in [Direction::Original, Direction::Reply].into_iter().zip(&m.ends) {
        self::ends(direction, ends, cx, protocol_known, words)?;
    }
    if let Some(status) = m.status {
        words.push(match (status, m.status_negated) {
            (0, false) => NEVER.to_owned(),
            // The connection must be there all the same.
            (0, true) => "ct status & 0x0 == 0".to_owned(),
            (bits, false) => format!("ct status & ({}) != 0", status_names(bits)),
            (bits, true) => format!("ct status & ({}) == 0", status_names(bits)),
        });
    }
    if let Some(expires) = &m.expires {
        // iptables drops the fraction of a second, nft counts milliseconds.
        words.push(format!(
            "ct expiration {}{}s-{}s999ms",
            not(expires.negated),
            expires.min,
            expires.max
        ));
    }
    Ok(())
}

fn ends(
    direction: Direction,
    ends: &Ends,
    cx: &RuleContext<'_>,
    protocol_known: bool,
    words: &mut Vec<String>,
) -> Result<(), Reason> {
    let (way, family) = (direction_name(direction), family_name(cx.family));
    for (side, wanted) in [("saddr", &ends.source), ("daddr", &ends.destination)] {
        if let Some(wanted) = wanted {
            words.push(address(&format!("ct {way} {family} {side}"), wanted, cx.family));
        }
    }
    for (side, wanted) in [("proto-src", &ends.sport), ("proto-dst", &ends.dport)] {
        if let Some(wanted) = wanted {
            if !protocol_known {
                return Err("nft needs the protocol (-p or --ctproto) for a connection's port".to_owned());
            }
            words.push(within(&format!("ct {way} {side}"), wanted, u16::MAX));
        }
    }
    Ok(())
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Original => "original",
        Direction::Reply => "reply",
    }
}

fn status_names(bits: u32) -> String {
    const NAMES: [(u32, &str); 7] = [
        (Status::EXPECTED, "expected"),
        (Status::SEEN_REPLY, "seen-reply"),
        (Status::ASSURED, "assured"),
        (Status::CONFIRMED, "confirmed"),
        (Status::SRC_NAT, "snat"),
        (Status::DST_NAT, "dnat"),
        (Status::DYING, "dying"),
    ];
    let mut names: Vec<String> = NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let rest = bits & !NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names.join(" | ")
}

pub(super) fn connbytes(m: &Connbytes) -> String {
    let way = m
        .direction
        .map_or(String::new(), |direction| format!("{} ", direction_name(direction)));
    let what = match m.mode {
        ConnbytesMode::Packets => "packets",
        ConnbytesMode::Bytes => "bytes",
        ConnbytesMode::Average => "avgpkt",
    };
    let key = format!("ct {way}{what}");
    match (m.from, m.to) {
        (from, u64::MAX) => format!("{key} >= {from}"),
        (from, to) if from <= to => format!("{key} {}", span(from, to)),
        (from, to) => format!("{key} != {}", span(to, from)),
    }
}

pub(super) fn connlabel(m: &Connlabel) -> Result<String, Reason> {
    let label = m.label;
    match (m.set, m.negated) {
        (false, false) => Ok(format!("ct label {label}")),
        (false, true) => Err("it holds for packets without a connection too, where nft has no label".to_owned()),
        // nft adds the label to those that are there, as `--set` does.
        (true, false) => Ok(format!("ct label set {label} ct label {label}")),
        (true, true) => Err("nft can't set a label and ask whether it could be set".to_owned()),
    }
}

pub(super) fn connlimit(m: &Connlimit, cx: &mut RuleContext<'_>) -> Result<String, Reason> {
    // Closed TCP connections don't count; where that leaves none, iptables drops the packet (`connlimit_mt`), nft goes on.
    let other_protocol = cx.only_protocol().is_some_and(|protocol| protocol != number::TCP);
    if !other_protocol && !cx.matches.iter().any(asks_for_new) {
        return Err(
            "iptables drops packets of closed connections here, nft doesn't; with --syn or --ctstate NEW it can be said"
                .to_owned(),
        );
    }
    let set = cx.set("connlimit", format!("type {}; flags dynamic; size 65535;", cx.address_type()));
    let side = if m.by_destination { "daddr" } else { "saddr" };
    let key = format!("{} {side}", family_name(cx.family));
    let key = match m.prefix >= cx.family.bits() {
        true => key,
        false => format!("{key} & {}", Addr::mask(cx.family, m.prefix).display(cx.family)),
    };
    let over = if m.up_to { "" } else { "over " };
    Ok(format!("add @{set} {{ {key} ct count {over}{} }}", m.limit))
}

/// Whether a match holds for packets that open a connection only.
fn asks_for_new(m: &Match) -> bool {
    let new = |m: &StateMatch| !m.negated && m.states.0 == States::NEW;
    match m {
        Match::State(m) => new(&m.0),
        Match::Conntrack(m) => m.state.as_ref().is_some_and(new),
        Match::Tcp(m) => {
            let opens = TcpFlags::SYN | TcpFlags::ACK;
            !m.flags_negated && m.flags_mask & opens == opens && m.flags & opens == TcpFlags::SYN
        }
        _ => false,
    }
}

pub(super) fn helper(m: &Helper) -> Result<String, Reason> {
    match (m.name.is_empty(), m.negated) {
        (true, _) => Err("nft can't ask for any helper".to_owned()),
        (false, true) => Err("nft's comparison needs a connection with a helper".to_owned()),
        (false, false) => Ok(format!("ct helper {}", quoted(&m.name)?)),
    }
}
