//! Packets larger than their way out are cut (`ip_do_fragment`, `ip6_fragment`).

use fielato_wire::{Family, number};

use super::seal_v4;
use crate::Packet;

/// The least MTU of an IPv6 link (RFC 8200 §5).
const MIN_MTU_V6: usize = 1_280;

/// The packets that leave by a way of `mtu` bytes: `packet` itself when it fits, its fragments (no larger than
/// the largest it came in, when it was put together), or `None` when it must not be fragmented.
///
/// An IPv6 packet that came in pieces keeps its identification; for one made on this host it is drawn from the
/// packet's bytes. [`fragment_as`] takes one instead.
pub fn fragment(packet: &Packet, mtu: u32) -> Option<Vec<Vec<u8>>> {
    let id = match &packet.pieces {
        Some(pieces) => pieces.id,
        // RFC 7739 §5: not a counter that others can guess.
        None => packet.data.iter().fold(0x811c_9dc5, |hash: u32, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        }),
    };
    fragment_as(packet, mtu, id)
}

/// [`fragment`], with the identification for IPv6's fragment headers.
pub fn fragment_as(packet: &Packet, mtu: u32, id: u32) -> Option<Vec<Vec<u8>>> {
    let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
    let largest = usize::from(packet.largest_fragment);
    let whole = packet.data.get(..usize::from(packet.headers.len))?;
    match packet.headers.family {
        Family::V4 => fragment_v4(packet, whole, mtu, largest),
        Family::V6 => fragment_v6(packet, whole, mtu, largest, id),
    }
}

fn fragment_v4(packet: &Packet, whole: &[u8], mtu: usize, largest: usize) -> Option<Vec<Vec<u8>>> {
    // One that was put together is always cut again: the sender chose its fragments' size.
    if whole.len() <= mtu && largest == 0 {
        return Some(vec![whole.to_vec()]);
    }
    let headers = &packet.headers;
    if headers.dont_fragment && (largest == 0 || largest > mtu) {
        return None;
    }
    let mtu = if largest != 0 { mtu.min(largest) } else { mtu };
    let header_len = headers.ip_header_len();
    if mtu < header_len + 8 {
        return None;
    }
    let (header, payload) = whole.split_at_checked(header_len)?;
    let as_it_came = fitting(packet, payload.len(), mtu - header_len);
    let as_it_came = as_it_came.filter(|_| !headers.is_fragment());
    // DF stays on what is cut anew, as the sender looks for the path's MTU; pieces sent on as they came lose it.
    let flags: u16 = if headers.dont_fragment && as_it_came.is_none() {
        0x4000
    } else {
        0
    };
    let mut later_header = header.to_vec();
    drop_uncopied_options(&mut later_header);

    let mut offset = usize::from(headers.fragment_offset);
    let mut fragments = Vec::new();
    let mut rest = payload;
    for size in sizes(as_it_came, payload.len(), mtu - header_len) {
        let (data, after) = rest.split_at_checked(size)?;
        let header = if fragments.is_empty() { header } else { &later_header };
        let more = !after.is_empty() || headers.more_fragments;
        let mut fragment = [header, data].concat();
        let len = fragment.len() as u16;
        fragment[2..4].copy_from_slice(&len.to_be_bytes());
        let word = (offset >> 3) as u16 | flags | u16::from(more) << 13;
        fragment[6..8].copy_from_slice(&word.to_be_bytes());
        seal_v4(&mut fragment, header_len);
        fragments.push(fragment);
        offset += size;
        rest = after;
    }
    Some(fragments)
}

fn fragment_v6(packet: &Packet, whole: &[u8], mtu: usize, largest: usize, id: u32) -> Option<Vec<Vec<u8>>> {
    if whole.len() <= mtu && (largest == 0 || whole.len() <= largest) {
        return Some(vec![whole.to_vec()]);
    }
    // Routers don't fragment (RFC 8200 §5): only what came in pieces, or was made here.
    let made_here = packet.in_interface.index == 0;
    if whole.len() > mtu && largest == 0 && !made_here || largest > mtu {
        return None;
    }
    let mtu = if largest != 0 { largest.max(MIN_MTU_V6) } else { mtu };
    let (announced_at, header_len) = unfragmentable_v6(whole)?;
    if mtu < header_len + 16 {
        return None;
    }
    let room = mtu - header_len - 8;
    let (header, payload) = whole.split_at_checked(header_len)?;
    let next = *header.get(announced_at)?;

    let mut offset = 0;
    let mut fragments = Vec::new();
    let mut rest = payload;
    for size in sizes(fitting(packet, payload.len(), room), payload.len(), room) {
        let (data, after) = rest.split_at_checked(size)?;
        let word = offset as u16 | u16::from(!after.is_empty());
        let mut fragment = Vec::with_capacity(header_len + 8 + size);
        fragment.extend_from_slice(header);
        fragment[announced_at] = number::FRAGMENT;
        fragment.extend_from_slice(&[next, 0]);
        fragment.extend_from_slice(&word.to_be_bytes());
        fragment.extend_from_slice(&id.to_be_bytes());
        fragment.extend_from_slice(data);
        let payload_len = (fragment.len() - 40) as u16;
        fragment[4..6].copy_from_slice(&payload_len.to_be_bytes());
        fragments.push(fragment);
        offset += size;
        rest = after;
    }
    Some(fragments)
}

/// The pieces the packet came in, if it can leave in the same: they still make up the payload, each fits into `room`,
/// and all but the last are multiples of 8.
fn fitting(packet: &Packet, payload_len: usize, room: usize) -> Option<Vec<usize>> {
    let mut sizes: Vec<usize> = packet.pieces.as_deref()?.sizes.iter().map(|&size| size.into()).collect();
    let total: usize = sizes.iter().sum();
    // Extension headers that stood behind the fragment header now stand before it, in every fragment: the first has less payload.
    let (first, later) = sizes.split_first_mut()?;
    *first = first.checked_sub(total.checked_sub(payload_len)?)?;
    if later.is_empty() {
        return None;
    }
    let (_, others) = sizes.split_last()?;
    let aligned = others.iter().all(|size| size % 8 == 0);
    (aligned && sizes.iter().all(|&size| size <= room)).then_some(sizes)
}

/// Payload bytes of each fragment.
fn sizes(as_it_came: Option<Vec<usize>>, len: usize, room: usize) -> Vec<usize> {
    if let Some(sizes) = as_it_came {
        return sizes;
    }
    let mut sizes = Vec::new();
    let mut left = len;
    while left > 0 {
        // At least 8 fit: that was checked.
        let size = if left > room { (room & !7).max(8) } else { left };
        sizes.push(size);
        left -= size.min(left);
    }
    sizes
}

/// Options without the copy bit are only in the first fragment (RFC 791 §3.1); in the others no-operations take their
/// place, so that the header keeps its length (`ip_options_fragment`).
fn drop_uncopied_options(header: &mut [u8]) {
    const COPIED: u8 = 0x80;
    let mut at = 20;
    while let Some(&kind) = header.get(at) {
        match kind {
            0 => return,
            1 => at += 1,
            _ => {
                let len = header.get(at + 1).map_or(0, |&len| usize::from(len));
                let Some(option) = header.get_mut(at..at + len).filter(|option| option.len() >= 2) else {
                    return;
                };
                if kind & COPIED == 0 {
                    option.fill(1);
                }
                at += len;
            }
        }
    }
}

/// The length of the headers that every fragment has, after the place of the byte that announces what follows
/// (`ip6_find_1stfragopt`): hop-by-hop options, destination options and routing headers.
fn unfragmentable_v6(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut announced_at, mut at) = (6, 40);
    let mut routed = false;
    loop {
        match *packet.get(announced_at)? {
            number::HOP_BY_HOP => {}
            number::ROUTING => routed = true,
            // Behind a routing header they are for the last receiver, unless they hold a home address.
            number::DESTINATION if !routed || has_home_address(packet, at) => {}
            _ => return Some((announced_at, at)),
        }
        let len = usize::from(*packet.get(at + 1)?);
        announced_at = at;
        at += (len + 1) * 8;
        if at > packet.len() {
            return None;
        }
    }
}

/// Whether destination options hold a home address (RFC 6275 §6.3), which belongs before the fragment header.
fn has_home_address(packet: &[u8], at: usize) -> bool {
    const HOME_ADDRESS: u8 = 0xc9;
    let len = packet.get(at + 1).map_or(0, |&len| (usize::from(len) + 1) * 8);
    let mut options = packet.get(at + 2..at + len).unwrap_or(&[]);
    while let [kind, rest @ ..] = options {
        match (*kind, rest) {
            (HOME_ADDRESS, _) => return true,
            (0, _) => options = rest,
            (_, [len, value @ ..]) => options = value.get(usize::from(*len)..).unwrap_or(&[]),
            (_, []) => return false,
        }
    }
    false
}
