//! Filters at work: which class they choose for a packet.

use fielato_wire::{Addr, Headers, number};

use crate::discipline::Arrival;
use crate::packet::Packet;
use crate::spec::{Filter, FilterKind, FilterProtocol, Flower, Handle, U32Field, U32Key};

/// The priority of the first filter that is added without one; each later one is asked before it (`tcf_auto_prio`).
const AUTOMATIC_PRIO: u16 = 0xc000;

/// The filters of one discipline or class, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    pub fn new<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> Filters {
        let mut automatic = AUTOMATIC_PRIO;
        let mut sorted: Vec<(u16, Filter)> = filters
            .into_iter()
            .map(|filter| {
                let prio = filter.prio.unwrap_or_else(|| {
                    automatic = automatic.saturating_sub(1);
                    automatic + 1
                });
                (prio, filter.clone())
            })
            .collect();
        sorted.sort_by_key(|(prio, _)| *prio);
        Filters(sorted.into_iter().map(|(_, filter)| filter).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The class that the first filter that matches names; `discipline` is whose filters these are.
    pub fn classify<P: Packet>(&self, packet: &P, arrival: &Arrival, discipline: Handle) -> Option<Handle> {
        self.0.iter().find_map(|filter| classify(filter, packet, arrival, discipline))
    }
}

fn classify<P: Packet>(filter: &Filter, packet: &P, arrival: &Arrival, discipline: Handle) -> Option<Handle> {
    let version = packet.bytes().first().map(|byte| byte >> 4);
    let of_protocol = match filter.protocol {
        FilterProtocol::All => true,
        FilterProtocol::Ip => version == Some(4),
        FilterProtocol::Ipv6 => version == Some(6),
    };
    if !of_protocol {
        return None;
    }
    let matches = match &filter.kind {
        FilterKind::U32(keys) => keys.iter().all(|key| key_matches(key, packet, arrival)),
        FilterKind::Fw(Some((mark, mask))) => packet.mark() & mask == *mark,
        FilterKind::Fw(None) => return class_of_mark(packet.mark(), discipline),
        FilterKind::Matchall => true,
        FilterKind::Flower(flower) => arrival.headers(packet).is_some_and(|headers| flower_matches(flower, headers)),
    };
    filter.classid.filter(|_| matches)
}

/// `fw_classify` without marks of its own: the mark is a class of this discipline, with or without the major number.
fn class_of_mark(mark: u32, discipline: Handle) -> Option<Handle> {
    let (major, minor) = ((mark >> 16) as u16, mark as u16);
    (mark != 0 && (major == 0 || major == discipline.major)).then_some(Handle {
        major: discipline.major,
        minor,
    })
}

fn key_matches<P: Packet>(key: &U32Key, packet: &P, arrival: &Arrival) -> bool {
    let bytes = packet.bytes();
    let at = match key.field {
        U32Field::Mark => return packet.mark() & key.mask == key.value,
        U32Field::At(offset) => i64::from(offset),
        U32Field::Nexthdr(offset) => match arrival.headers(packet) {
            Some(headers) => headers.ip_header_len() as i64 + i64::from(offset),
            None => return false,
        },
    };
    // A key that reaches beyond the packet does not match.
    let word = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.first_chunk::<4>());
    word.is_some_and(|word| (u32::from_be_bytes(*word) ^ key.value) & key.mask == 0)
}

fn flower_matches(flower: &Flower, headers: &Headers) -> bool {
    let Flower {
        src_ip,
        dst_ip,
        ip_proto,
        src_port,
        dst_port,
        ip_tos,
    } = flower;
    let within = |net: &Option<ipnet::IpNet>, address: Addr| net.is_none_or(|net| net.contains(&address.to_ip(headers.family)));
    // Ports are looked at in protocols that have them, and not in later fragments, which have none.
    let has_ports = matches!(headers.protocol, number::TCP | number::UDP | number::SCTP) && !headers.is_later_fragment();
    let in_range =
        |range: &Option<(u16, u16)>, port: u16| range.is_none_or(|(first, last)| has_ports && (first..=last).contains(&port));
    within(src_ip, headers.src)
        && within(dst_ip, headers.dst)
        && ip_proto.is_none_or(|protocol| protocol == headers.protocol)
        && in_range(src_port, headers.sport)
        && in_range(dst_port, headers.dport)
        && ip_tos.is_none_or(|(value, mask)| (headers.tos ^ value) & mask == 0)
}

/// The kernel's priority of a packet by its type of service (`rt_tos2priority`): normal, bulk, interactive, or both. The kernel knows
/// it for IPv4 only; a traffic class means the same.
pub(crate) fn tos_priority(headers: &Headers) -> u32 {
    [0, 2, 6, 4][usize::from(headers.tos >> 3 & 3)]
}
