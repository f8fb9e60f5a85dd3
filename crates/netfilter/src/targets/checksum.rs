//! `-j CHECKSUM` (`xt_CHECKSUM.c`).

use fielato_wire::{checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::{read16, write16};
use crate::verdict::TargetVerdict;

/// `-j CHECKSUM --checksum-fill`: completes the checksum that a sender left to its device (`CHECKSUM_PARTIAL`). Only a packet made on
/// this host can be without, and then the pseudo header's sum stands in its place; all others keep theirs, right or wrong.
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
        if cx.packet.is_local_output() && !headers.is_fragment() && headers.l4_whole {
            let transport = headers.transport_mut(&mut cx.packet.data);
            let pseudo = checksum::pseudo(headers.src, headers.dst, headers.protocol, transport.len() as u32);
            if read16(transport, place) != Some(checksum::fold(pseudo)) {
                return TargetVerdict::Continue;
            }
            write16(transport, place, 0);
            let check = checksum::transport(headers.src, headers.dst, headers.protocol, transport);
            write16(transport, place, check);
        }
        TargetVerdict::Continue
    }
}
