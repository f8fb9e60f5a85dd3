//! `-j TCPMSS` (`xt_TCPMSS.c`).

use fielato_wire::{Family, TcpFlags, checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::{read16, write16};
use crate::host::{Route, RouteKey};
use crate::matches::options;
use crate::verdict::TargetVerdict;
use crate::{Hook, Interface, Match, Packet};

/// `-j TCPMSS`.
#[derive(Clone, Debug, PartialEq)]
pub enum Tcpmss {
    /// `--set-mss`
    Set(u16),
    /// `--clamp-mss-to-pmtu`: what both ways' packets allow.
    Clamp,
}

/// The TCP option "maximum segment size" and its length (RFC 9293 §3.7.1).
const MSS: u8 = 2;
const MSS_LEN: u8 = 4;

impl Tcpmss {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("TCPMSS", &[number::TCP])?;
        if *self == Tcpmss::Clamp {
            let hooks = [Hook::Forward, Hook::Output, Hook::Postrouting];
            cx.only_hooks("TCPMSS --clamp-mss-to-pmtu", &hooks)?;
        }
        let syn = |m: &Match| matches!(m, Match::Tcp(tcp) if tcp.flags & TcpFlags::SYN != 0 && !tcp.flags_negated);
        if !cx.matches.iter().any(syn) {
            return Err(CheckError("TCPMSS only works on TCP SYN packets: say --syn".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        if cx.packet.headers.is_later_fragment() {
            return TargetVerdict::Continue;
        }
        // The kernel puts the packet into one piece for this (`skb_ensure_writable`); one that came in several is then cut anew.
        cx.packet.pieces = None;
        let Some(header_len) = cx.packet.tcp_header().map(<[u8]>::len) else {
            return TargetVerdict::Drop;
        };
        let mss = match *self {
            Tcpmss::Set(mss) => mss,
            Tcpmss::Clamp => match path_mss(cx) {
                Some(mss) => mss,
                None => return TargetVerdict::Drop,
            },
        };
        lower(cx.packet, header_len, mss);
        TargetVerdict::Continue
    }
}

/// The larger segment that fits the routes both ways; none when they allow nothing.
fn path_mss(cx: &mut Context<'_>) -> Option<u16> {
    let headers = &cx.packet.headers;
    let key = RouteKey {
        family: headers.family,
        src: headers.src,
        dst: headers.dst,
        in_interface: cx.packet.in_interface,
        mark: cx.packet.mark,
        tos: headers.tos,
    };
    let back = RouteKey {
        src: fielato_wire::Addr::ZERO,
        dst: headers.src,
        in_interface: Interface::NONE,
        mark: 0,
        tos: 0,
        ..key
    };
    let mut mtu = |key: &RouteKey| match cx.host.route(key) {
        Route::Out { mtu, .. } => mtu,
        // A route to this host itself has the loopback interface's.
        Route::Local | Route::Unreachable | Route::HostUnreachable | Route::Prohibit | Route::Blackhole => 65_535,
    };
    let smallest = mtu(&key).min(mtu(&back));
    let overhead = match key.family {
        Family::V4 => 40,
        Family::V6 => 60,
    };
    (smallest > overhead).then(|| (smallest - overhead).min(65_535) as u16)
}

/// Lowers the option to `mss`, never raises it; adds one when there is none.
fn lower(packet: &mut Packet, header_len: usize, mss: u16) {
    let l4 = usize::from(packet.headers.l4);
    let transport = packet.transport();
    let found = options::walk(transport.get(20..header_len).unwrap_or(&[])).find_map(|option| match *option {
        [MSS, MSS_LEN, high, low, ..] => Some((header_len - option.len(), u16::from_be_bytes([high, low]))),
        _ => None,
    });
    if let Some((at, old)) = found {
        if old > mss {
            // The option may stand at an odd place: the checksum's words then cross it.
            let check = read16(transport, 16).unwrap_or(0);
            let (before, after) = if at % 2 == 0 {
                (old, mss)
            } else {
                (old.swap_bytes(), mss.swap_bytes())
            };
            write16(&mut packet.data, l4 + at + 2, mss);
            write16(&mut packet.data, l4 + 16, checksum::update16(check, before, after));
        }
        return;
    }
    // With data behind the header there is no room that the sender counted on; 60 bytes of header are the most.
    if transport.len() > header_len || header_len + usize::from(MSS_LEN) > 60 {
        return;
    }
    // RFC 9293 §3.7.1: without the option the peer assumes 536 (IPv4) or 1220 (IPv6), so it must not say more.
    let mss = mss.min(match packet.headers.family {
        Family::V4 => 536,
        Family::V6 => 1220,
    });
    let [high, low] = mss.to_be_bytes();
    let place = l4 + 20;
    packet.data.splice(place..place, [MSS, MSS_LEN, high, low]);
    packet.set_length();
    let first = read16(&packet.data, l4 + 12).unwrap_or(0);
    packet.set_transport_word(12, first.wrapping_add(0x1000), 16);
    let (len, check) = (packet.transport().len() as u16, read16(&packet.data, l4 + 16).unwrap_or(0));
    let check = checksum::update16(check, len.wrapping_sub(u16::from(MSS_LEN)), len);
    let check = checksum::update32(check, 0, u32::from_be_bytes([MSS, MSS_LEN, high, low]));
    write16(&mut packet.data, l4 + 16, check);
}
