//! `-m set` (`xt_set.c`, revision 4).

use fielato_wire::number;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::sets::{Dimension, MAX_DIMENSIONS, Part, Set as SetOf};
use crate::{Hook, Packet};

/// `-m set`.
#[derive(Clone, Debug, PartialEq)]
pub struct Set(pub Box<Parameters>);

/// Which end of the packet each dimension is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// How many are given, 1 to 6.
    pub count: u8,
    /// The source, a bit for each dimension; else the destination.
    pub source: u8,
}

impl Sides {
    /// Most that can be given (`IPSET_DIM_MAX`).
    pub const MAX: u8 = 6;

    /// Whether the dimension at this place is the source's.
    pub const fn is_source(self, place: usize) -> bool {
        self.source >> place & 1 != 0
    }
}

/// What a count of the entry is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// Nothing.
    #[default]
    Any,
    /// `!` `-eq`
    NotEqual(u64),
    /// `-eq`
    Equal(u64),
    /// `-lt`
    Less(u64),
    /// `-gt`
    Greater(u64),
}

impl Compare {
    const fn holds(self, count: u64) -> bool {
        match self {
            Compare::Any => true,
            Compare::NotEqual(value) => count != value,
            Compare::Equal(value) => count == value,
            Compare::Less(value) => count < value,
            Compare::Greater(value) => count > value,
        }
    }
}

/// The parameters of `-m set`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The set.
    pub name: Box<str>,
    /// `!`
    pub negated: bool,
    /// `src,dst,...`
    pub sides: Sides,
    /// `--return-nomatch`: an excluded network holds too.
    pub return_nomatch: bool,
    /// The entry's counters are not updated (`! --update-counters`).
    pub keep_counters: bool,
    /// Those of a list's members are not updated (`! --update-subcounters`); kept, as there are no lists of sets.
    pub keep_subcounters: bool,
    /// `--packets-eq` and the like.
    pub packets: Compare,
    /// `--bytes-eq` and the like.
    pub bytes: Compare,
}

impl Set {
    /// Whether asking the set changes it: its entries count what they match.
    pub(crate) fn counts(&self, cx: &Context<'_>) -> bool {
        let set = cx.shared.sets.get(&self.0.name);
        set.is_some_and(|set| set.kind().counters) && !self.0.keep_counters
    }

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        check_sides("set", self.0.sides)
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let p = &*self.0;
        let Some(set) = cx.shared.sets.get_mut(&p.name) else {
            // The kernel does not load a rule whose set is not there; a set that went away holds nothing.
            return p.negated;
        };
        let counts = set.kind().counters;
        // Only sets of networks have exceptions (`IPSET_TYPE_NOMATCH`); others don't look at the option.
        let exceptions = p.return_nomatch && set.kind().dimensions.contains(&Dimension::Net);
        let found = match parts(set, cx.packet, cx.hook, p.sides) {
            None => false,
            Some((parts, len)) => match set.lookup(parts.get(..len).unwrap_or(&[]), cx.now.mono) {
                None => false,
                Some(entry) => {
                    if counts && !p.keep_counters {
                        entry.counters.add(1, cx.packet.data.len() as u64);
                    }
                    let counters = entry.counters;
                    let compared = !counts || p.packets.holds(counters.packets) && p.bytes.holds(counters.bytes);
                    (entry.excluded == exceptions) && compared
                }
            },
        };
        found != p.negated
    }
}

pub(crate) fn check_sides(name: &str, sides: Sides) -> Result<(), CheckError> {
    if sides.count == 0 || sides.count > Sides::MAX {
        return Err(CheckError(format!("{name}: 1 to 6 of src and dst are needed")));
    }
    Ok(())
}

/// A packet's parts in the dimensions of a set; none when it lacks one (a port, say) or too few sides are given.
pub(crate) fn parts(set: &SetOf, packet: &Packet, hook: Hook, sides: Sides) -> Option<([Part; MAX_DIMENSIONS], usize)> {
    let kind = set.kind();
    if kind.dimensions.len() > usize::from(sides.count) {
        return None;
    }
    let headers = &packet.headers;
    let mut parts = [Part::Mark(0); MAX_DIMENSIONS];
    for (place, dimension) in kind.dimensions.iter().enumerate() {
        let source = sides.is_source(place);
        *parts.get_mut(place)? = match dimension {
            Dimension::Ip | Dimension::Net if headers.family != kind.family => return None,
            Dimension::Ip | Dimension::Net => {
                let address = if source { headers.src } else { headers.dst };
                Part::Addr(address, kind.family.bits())
            }
            Dimension::Port => Part::Port(headers.protocol, port(packet, source)?),
            Dimension::Mac if matches!(hook, Hook::Prerouting | Hook::Input | Hook::Forward) => {
                Part::Mac(if source { packet.source_mac? } else { packet.destination_mac? })
            }
            Dimension::Mac => return None,
            Dimension::Interface => {
                let interface = if source { packet.in_interface } else { packet.out_interface };
                if interface.name.is_empty() {
                    return None;
                }
                Part::Interface(interface.name)
            }
            Dimension::Mark => Part::Mark(packet.mark),
        };
    }
    Some((parts, kind.dimensions.len()))
}

/// `ip_set_get_ip_port`.
fn port(packet: &Packet, source: bool) -> Option<u16> {
    let headers = &packet.headers;
    if headers.is_later_fragment() {
        return None;
    }
    match headers.protocol {
        number::TCP | number::UDP | number::UDPLITE | number::SCTP => {
            let port = if source { headers.sport } else { headers.dport };
            headers.l4_whole.then_some(port)
        }
        number::ICMP | number::ICMPV6 => Some(u16::from(headers.icmp_type) << 8 | u16::from(headers.icmp_code)),
        _ => Some(0),
    }
}
