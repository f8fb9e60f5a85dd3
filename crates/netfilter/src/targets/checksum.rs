//! `-j CHECKSUM` (`xt_CHECKSUM.c`).

use fielato_wire::{checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::write16;
use crate::verdict::TargetVerdict;

/// `-j CHECKSUM --checksum-fill`: completes the checksum that the sender left to its device ([`Packet::partial_checksum`]). Any
/// other is as it is meant to be, right or wrong.
///
/// [`Packet::partial_checksum`]: crate::Packet::partial_checksum
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checksum {}

impl Checksum {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("CHECKSUM", &["mangle"])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let headers = cx.packet.headers;
        let place = match headers.protocol {
            number::TCP => 16,
            number::UDP => 6,
            _ => return TargetVerdict::Continue,
        };
        if cx.packet.partial_checksum && !headers.is_fragment() && headers.l4_whole {
            cx.packet.partial_checksum = false;
            let transport = headers.transport_mut(&mut cx.packet.data);
            write16(transport, place, 0);
            let check = checksum::transport(headers.src, headers.dst, headers.protocol, transport);
            write16(transport, place, check);
        }
        TargetVerdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{self, Kit};

    #[test]
    fn only_what_was_left_to_the_device_is_filled_in() {
        for (protocol, bytes) in [
            (number::TCP, testkit::tcp(1, 2, 0, &[1; 4])),
            (number::UDP, testkit::udp(1, 2, b"left to the device")),
        ] {
            for mut packet in testkit::both(protocol, &bytes) {
                packet.data.last_mut().into_iter().for_each(|last| *last ^= 1);
                let before = packet.data.clone();
                let mut kit = Kit::new(packet.clone());
                Checksum {}.apply(&mut kit.context(), &mut Slot::None);
                assert_eq!(kit.packet.data, before);

                packet.partial_checksum = true;
                let mut kit = Kit::new(packet);
                Checksum {}.apply(&mut kit.context(), &mut Slot::None);
                assert!(kit.packet.transport_checksum_ok() && !kit.packet.partial_checksum);
                assert_ne!(kit.packet.data, before);
            }
        }
    }
}
