//! What is known of a packet's transport checksum, so that it is not summed twice (`ip_summed`, `csum` and `csum_valid` of the
//! kernel's buffers). What the mangle table changes in between is held against a packet or not by these rules.

use fielato_wire::{Family, checksum};

use crate::{Hook, Packet};

/// What was found when a packet was last summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summed {
    state: State,
    /// The checksum was right then. Nothing takes that back.
    found_right: bool,
    /// The sum of the whole packet then (`csum`), less that of the pseudo header's fields.
    sum: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It is to be summed when somebody asks (`CHECKSUM_NONE`).
    #[default]
    Unknown,
    /// It was summed, right or not (`CHECKSUM_COMPLETE`).
    Summed,
    /// It is right for good (`CHECKSUM_UNNECESSARY`).
    Right,
}

impl Summed {
    /// Right for good.
    pub(crate) const RIGHT: Summed = Summed {
        state: State::Right,
        found_right: true,
        sum: 0,
    };

    /// Whether it was ever found right (`skb_csum_unnecessary`).
    pub(crate) fn is_right(self) -> bool {
        self.found_right || self.state == State::Right
    }

    /// Whether nobody has to sum it (`CHECKSUM_UNNECESSARY`).
    pub(crate) fn is_vouched(self) -> bool {
        self.state == State::Right
    }

    /// A packet that is forwarded loses its sum (`skb_forward_csum`).
    pub(crate) fn forward(&mut self) {
        if self.state == State::Summed {
            self.state = State::Unknown;
        }
    }

    /// It has to be summed again (`sctp_manip_pkt`, in a quotation too).
    pub(crate) fn forget(&mut self) {
        self.state = State::Unknown;
    }
}

impl Packet {
    /// Notes what summing the transport gave (`__skb_checksum_complete`).
    pub(crate) fn note_checksum(&mut self, right: bool) {
        // IPv4's header always sums to the same, so that its sum tells nothing.
        let sum = match self.headers.family {
            Family::V4 => 0,
            Family::V6 if right => self.header_sum(),
            Family::V6 => checksum::fold(u64::from(self.header_sum()) + self.pseudo_sum() + checksum::sum(self.transport())),
        };
        self.summed = Summed {
            state: State::Summed,
            found_right: right,
            sum,
        };
    }

    /// Whether the transport checksum is right at this hook (`nf_ip_checksum`, `nf_ip6_checksum`).
    pub(crate) fn checksum_is_right(&mut self, hook: Hook) -> bool {
        match self.summed.state {
            State::Right => return true,
            State::Summed if !matches!(hook, Hook::Prerouting | Hook::Input) => return true,
            State::Summed if self.fits_sum() => {
                self.summed.state = State::Right;
                return true;
            }
            State::Summed | State::Unknown => {}
        }
        let right = self.transport_checksum_ok();
        self.note_checksum(right);
        right
    }

    /// Whether the sum that was taken is right with the headers of now. IPv6 addresses are in it as in the pseudo header: changing
    /// them changes nothing, changing the hop limit or the traffic class does.
    fn fits_sum(&self) -> bool {
        match self.headers.family {
            Family::V4 => self.summed.found_right,
            Family::V6 => checksum::fold(u64::from(self.summed.sum) + u64::from(!self.header_sum())) == 0xffff,
        }
    }

    /// The sum of the IPv6 header, less that of the pseudo header's fields: so the addresses go out of it.
    fn header_sum(&self) -> u16 {
        let headers = &self.headers;
        let part = |range| checksum::sum(self.data.get(range).unwrap_or(&[]));
        let extensions = part(40..headers.ip_header_len().max(40));
        let fields = u64::from(!u16::from(headers.protocol)) + u64::from(!(self.transport().len() as u16));
        checksum::fold(part(0..8) + extensions + fields)
    }

    fn pseudo_sum(&self) -> u64 {
        let headers = &self.headers;
        checksum::pseudo(headers.src, headers.dst, headers.protocol, self.transport().len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::build::Ip;
    use fielato_wire::{Addr, number};

    use super::*;
    use crate::Interface;

    fn packet(family: Family) -> Packet {
        let address = |last| match family {
            Family::V4 => Addr {
                hi: 0,
                lo: 0x0a00_0000 | last,
            },
            Family::V6 => Addr {
                hi: 0xfd00_0000_0000_0001,
                lo: last,
            },
        };
        let bytes = Ip::new(family, address(1), address(2)).udp(1, 2, b"payload");
        Packet::received(bytes, Interface::NONE).unwrap()
    }

    fn spoiled(family: Family) -> Packet {
        let mut packet = packet(family);
        *packet.data.last_mut().unwrap() ^= 1;
        packet
    }

    fn change_source(packet: &mut Packet) {
        let at = if packet.headers.family == Family::V4 { 15 } else { 23 };
        packet.data[at] ^= 0x40;
        packet.reparse().unwrap();
    }

    #[test]
    fn is_summed_when_first_asked_for() {
        for family in [Family::V4, Family::V6] {
            for hook in Hook::ALL {
                assert!(packet(family).checksum_is_right(hook));
                let mut wrong = spoiled(family);
                assert!(!wrong.checksum_is_right(hook) && !wrong.summed.is_right());
                // Once it was summed, only what comes in is looked at again.
                let again = wrong.checksum_is_right(hook);
                assert_eq!(again, !matches!(hook, Hook::Prerouting | Hook::Input), "{hook:?}");
            }
        }
    }

    #[test]
    fn new_addresses_are_not_held_against_a_packet_and_a_new_hop_limit_is() {
        let mut moved = packet(Family::V6);
        assert!(moved.checksum_is_right(Hook::Prerouting));
        change_source(&mut moved);
        assert!(!moved.transport_checksum_ok());
        assert!(moved.checksum_is_right(Hook::Prerouting));
        moved.set_ttl(9);
        assert!(moved.checksum_is_right(Hook::Input), "it was found right for good");

        let mut both = packet(Family::V6);
        assert!(both.checksum_is_right(Hook::Prerouting));
        change_source(&mut both);
        both.set_ttl(9);
        assert!(!both.checksum_is_right(Hook::Input));
        assert!(!both.summed.is_right());

        let mut only_hop_limit = packet(Family::V6);
        assert!(only_hop_limit.checksum_is_right(Hook::Prerouting));
        only_hop_limit.set_ttl(9);
        assert!(only_hop_limit.checksum_is_right(Hook::Input), "it is summed again");
    }

    #[test]
    fn a_forwarded_packet_is_summed_again_unless_it_is_right_for_good() {
        for family in [Family::V4, Family::V6] {
            let mut once = packet(family);
            assert!(once.checksum_is_right(Hook::Prerouting));
            once.summed.forward();
            change_source(&mut once);
            assert!(once.summed.is_right());
            assert!(!once.checksum_is_right(Hook::Postrouting));

            let mut twice = packet(family);
            assert!(twice.checksum_is_right(Hook::Prerouting) && twice.checksum_is_right(Hook::Prerouting));
            twice.summed.forward();
            change_source(&mut twice);
            assert!(twice.checksum_is_right(Hook::Postrouting));
            twice.summed.forget();
            assert!(!twice.checksum_is_right(Hook::Postrouting));
        }
    }

    #[test]
    fn a_protocol_without_a_known_checksum_is_summed_alike() {
        let mut other = packet(Family::V6);
        other.data[6] = number::TCP;
        other.reparse().unwrap();
        assert!(!other.checksum_is_right(Hook::Prerouting));
    }
}
