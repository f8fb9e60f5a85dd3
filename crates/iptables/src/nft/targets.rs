//! Targets: which words say them.

use fielato_netfilter::Target;
use fielato_netfilter::targets::connmark::{Connmark, Operation, Shift};
use fielato_netfilter::targets::ct::Ct;
use fielato_netfilter::targets::ecn::Ecn;
use fielato_netfilter::targets::log::{Log, LogFlags};
use fielato_netfilter::targets::nflog::{Nflog, Size};
use fielato_netfilter::targets::nfqueue::Nfqueue;
use fielato_netfilter::targets::reject::Reject;
use fielato_netfilter::targets::synproxy::Synproxy;
use fielato_netfilter::targets::tcpmss::Tcpmss;
use fielato_netfilter::targets::tcpoptstrip::Tcpoptstrip;
use fielato_netfilter::targets::tee::Tee;
use fielato_netfilter::targets::tos::Tos;
use fielato_netfilter::targets::ttl::{Change, Ttl};
use fielato_wire::Family;

use super::words::{identifier, quoted, set_mark, ttl};
use super::{Reason, RuleContext, family_name, nat};

/// What a target is in nft.
pub(super) fn words(target: &Target, cx: &RuleContext<'_>) -> Result<String, Reason> {
    Ok(match target {
        Target::None => String::new(),
        Target::Accept => "accept".to_owned(),
        Target::Drop => "drop".to_owned(),
        Target::Return => "return".to_owned(),
        Target::Queue => "queue num 0".to_owned(),
        Target::Jump(chain) => format!("jump {}", identifier(chain)),
        Target::Goto(chain) => format!("goto {}", identifier(chain)),
        Target::Classify(t) => format!("meta priority set {}", priority(t.priority)),
        Target::Connmark(t) => return cx.no_template().and_then(|()| connmark(t)),
        Target::Ct(t) => return ct(t),
        Target::Dnat(t) => return nat::translate("dnat", &t.range, cx),
        Target::Dscp(t) => format!("{} dscp set {:#x}", family_name(cx.family), t.dscp),
        Target::Log(t) => return log(t),
        Target::Ecn(t) => return ecn(t, cx),
        Target::Mark(t) => set_mark("meta mark", "meta mark", !t.mask, t.value),
        Target::Masquerade(t) => return nat::to_own_address("masquerade", t.flags, t.min_port, t.max_port, cx),
        Target::Netmap(t) => return nat::netmap(t.to.0, t.to.1, cx),
        Target::Nflog(t) => return nflog(t),
        Target::Nfqueue(t) => nfqueue(t),
        Target::Redirect(t) => return nat::to_own_address("redirect", t.flags, t.min_port, t.max_port, cx),
        Target::Reject(t) => return reject(t, cx),
        Target::Snat(t) => return nat::translate("snat", &t.range, cx),
        Target::Synproxy(t) => return synproxy(t),
        // iptables also adds the option where it is missing: the size that holds without one, or less.
        Target::Tcpmss(Tcpmss::Set(size)) if *size < default_mss(cx.family) => {
            return Err("nft can't add the option to a packet without it".to_owned());
        }
        Target::Tcpmss(Tcpmss::Set(size)) => format!("tcp option maxseg size set {size}"),
        Target::Tcpmss(Tcpmss::Clamp) => "tcp option maxseg size set rt mtu".to_owned(),
        Target::Tcpoptstrip(t) => options_stripped(t),
        Target::Tee(t) => return tee(t, cx),
        Target::Tos(t) => return tos(t, cx),
        Target::Tproxy(_) => return Err("nft lets a packet go on that no socket takes, iptables drops it".to_owned()),
        Target::Trace(_) => "meta nftrace set 1".to_owned(),
        Target::Ttl(t) => return set_ttl(t),
        Target::Audit(_)
        | Target::Checksum(_)
        | Target::Connsecmark(_)
        | Target::Dnpt(_)
        | Target::Hmark(_)
        | Target::Idletimer(_)
        | Target::Led(_)
        | Target::Rateest(_)
        | Target::Secmark(_)
        | Target::Set(_)
        | Target::Snpt(_)
        | Target::Ext(_) => return Err("nft has no statement for it".to_owned()),
    })
}

/// What a peer may send when it was told nothing (RFC 9293 §3.7.1), which is what `xt_TCPMSS.c` says for it at most.
fn default_mss(family: Family) -> u16 {
    match family {
        Family::V4 => 536,
        Family::V6 => 1220,
    }
}

fn priority(priority: u32) -> String {
    match priority {
        0 => "none".to_owned(),
        u32::MAX => "root".to_owned(),
        other => format!("{:x}:{:x}", other >> 16, other & 0xffff),
    }
}

fn connmark(t: &Connmark) -> Result<String, Reason> {
    let shift = match t.shift {
        Shift::Left(0) | Shift::Right(0) => String::new(),
        Shift::Left(bits) => format!(" << {bits}"),
        Shift::Right(bits) => format!(" >> {bits}"),
    };
    let two = || "nft 1.0 can't join the bits of two marks".to_owned();
    Ok(match t.operation {
        Operation::Set { value } => {
            let set = set_mark("ct mark", "ct mark", !t.ct_mask, value);
            match (shift.is_empty(), set.strip_prefix("ct mark set ")) {
                (false, Some(value)) => format!("ct mark set ({value}){shift}"),
                _ => set,
            }
        }
        Operation::Save if t.ct_mask != u32::MAX => return Err(two()),
        Operation::Save => copy("ct mark", "meta mark", t.nf_mask, &shift),
        Operation::Restore if t.nf_mask != u32::MAX => return Err(two()),
        Operation::Restore => copy("meta mark", "ct mark", t.ct_mask, &shift),
    })
}

/// One mark from the other, under a mask, shifted.
fn copy(to: &str, from: &str, mask: u32, shift: &str) -> String {
    match (mask, shift.is_empty()) {
        (0, _) => format!("{to} set 0x0"),
        (u32::MAX, _) => format!("{to} set {from}{shift}"),
        (mask, true) => format!("{to} set {from} & {mask:#x}"),
        (mask, false) => format!("{to} set ({from} & {mask:#x}){shift}"),
    }
}

fn ct(t: &Ct) -> Result<String, Reason> {
    if t.notrack {
        return Ok("notrack".to_owned());
    }
    let template = &*t.template;
    if template.helper.is_some() {
        return Err("nft gives a connection its helper only after tracking, not in table raw".to_owned());
    }
    if template.timeout.is_some() || template.events.is_some() || template.expect_events.is_some() {
        return Err("nft gives a connection its timeouts and events only after tracking, not in table raw".to_owned());
    }
    if template.zone_from_mark {
        return Err("nft 1.0 can't make a zone of the mark".to_owned());
    }
    let way = match template.zone.directions {
        1 => "original ",
        2 => "reply ",
        _ => "",
    };
    // iptables leaves a packet that isn't tracked as it is, nft would have it tracked again.
    Ok(format!("ct state != untracked ct {way}zone set {}", template.zone.id))
}

fn set_ttl(t: &Ttl) -> Result<String, Reason> {
    match t.change {
        Change::Set(value) => Ok(format!("{} set {value}", ttl(t.family))),
        Change::Increase(_) | Change::Decrease(_) => Err("nft can't count".to_owned()),
    }
}

fn tos(t: &Tos, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let family = family_name(cx.family);
    let dscp = || format!("{family} dscp set {:#x}", t.value >> 2);
    let ecn = || format!("{family} ecn set {:#x}", t.value & 3);
    match t.mask {
        0xff => Ok(format!("{} {}", dscp(), ecn())),
        0xfc if t.value & 3 == 0 => Ok(dscp()),
        0x03 if t.value >> 2 == 0 => Ok(ecn()),
        _ => Err("nft 1.0 can't change some bits of the code point and leave others".to_owned()),
    }
}

fn ecn(t: &Ecn, cx: &RuleContext<'_>) -> Result<String, Reason> {
    match (t.codepoint, t.ece, t.cwr) {
        (Some(codepoint), None, None) => Ok(format!("{} ecn set {codepoint:#x}", family_name(cx.family))),
        _ => Err("nft 1.0 can't change one TCP flag and leave others".to_owned()),
    }
}

fn synproxy(t: &Synproxy) -> Result<String, Reason> {
    if t.ecn {
        return Err("nft's synproxy has no ECN".to_owned());
    }
    let mut text = "synproxy".to_owned();
    if let Some(size) = t.mss {
        text += &format!(" mss {size}");
    }
    if let Some(scale) = t.wscale {
        text += &format!(" wscale {scale}");
    }
    if t.timestamp {
        text += " timestamp";
    }
    if t.sack_perm {
        text += " sack-perm";
    }
    Ok(text)
}

fn options_stripped(t: &Tcpoptstrip) -> String {
    let stripped = (0..=255usize).filter(|kind| t.kinds.get(kind / 64).is_some_and(|bits| bits >> (kind % 64) & 1 != 0));
    stripped
        .map(|kind| format!("reset tcp option {kind}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn tee(t: &Tee, cx: &RuleContext<'_>) -> Result<String, Reason> {
    let gateway = t.gateway.display(cx.family);
    match t.interface.is_empty() {
        true => Ok(format!("dup to {gateway}")),
        false => Ok(format!("dup to {gateway} device {}", quoted(t.interface.as_str())?)),
    }
}

fn log(t: &Log) -> Result<String, Reason> {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
    let mut text = "log".to_owned();
    if !t.prefix.is_empty() {
        text += &format!(" prefix {}", quoted(&t.prefix)?);
    }
    if t.level != Log::DEFAULT_LEVEL
        && let Some(level) = LEVELS.get(usize::from(t.level))
    {
        text += &format!(" level {level}");
    }
    let has = |bit| t.flags.has(bit);
    text += match (has(LogFlags::TCP_SEQUENCE), has(LogFlags::TCP_OPTIONS)) {
        (true, true) => " flags tcp sequence,options",
        (true, false) => " flags tcp sequence",
        (false, true) => " flags tcp options",
        (false, false) => "",
    };
    for (bit, words) in [
        (LogFlags::IP_OPTIONS, " flags ip options"),
        (LogFlags::UID, " flags skuid"),
        (LogFlags::MAC_DECODE, " flags ether"),
    ] {
        if has(bit) {
            text += words;
        }
    }
    Ok(text)
}

fn nflog(Nflog(t): &Nflog) -> Result<String, Reason> {
    let mut text = "log".to_owned();
    if !t.prefix.is_empty() {
        text += &format!(" prefix {}", quoted(&t.prefix)?);
    }
    text += &format!(" group {}", t.group);
    // The kernel doesn't look at `--nflog-range` (no XT_NFLOG_F_COPY_LEN).
    if let Size::Bytes(bytes) = t.size {
        text += &format!(" snaplen {bytes}");
    }
    if t.threshold != 0 {
        text += &format!(" queue-threshold {}", t.threshold);
    }
    Ok(text)
}

fn nfqueue(t: &Nfqueue) -> String {
    let last = t.queue.saturating_add(t.total.saturating_sub(1));
    let mut text = format!("queue num {}", super::words::span(t.queue, last));
    text += match (t.bypass, t.cpu_fanout) {
        (true, true) => " bypass,fanout",
        (true, false) => " bypass",
        (false, true) => " fanout",
        (false, false) => "",
    };
    text
}

fn reject(t: &Reject, cx: &RuleContext<'_>) -> Result<String, Reason> {
    const V4: [(u8, &str); 7] = [
        (0, "net-unreachable"),
        (1, "host-unreachable"),
        (2, "prot-unreachable"),
        (3, "port-unreachable"),
        (9, "net-prohibited"),
        (10, "host-prohibited"),
        (13, "admin-prohibited"),
    ];
    const V6: [(u8, &str); 6] = [
        (0, "no-route"),
        (1, "admin-prohibited"),
        (3, "addr-unreachable"),
        (4, "port-unreachable"),
        (5, "policy-fail"),
        (6, "reject-route"),
    ];
    let code = match *t {
        Reject::TcpReset => return Ok("reject with tcp reset".to_owned()),
        Reject::Unreachable(code) => code,
    };
    let (family, known): (&str, &[(u8, &str)]) = match cx.family {
        Family::V4 => ("icmp", &V4),
        Family::V6 => ("icmpv6", &V6),
    };
    let name = known.iter().find(|(number, _)| *number == code);
    let (_, name) = name.ok_or_else(|| format!("nft has no word for code {code}"))?;
    Ok(format!("reject with {family} type {name}"))
}
