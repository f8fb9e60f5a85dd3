//! `-j TCPOPTSTRIP` (`xt_TCPOPTSTRIP.c`).

use fielato_wire::{checksum, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::{read16, write16};
use crate::verdict::TargetVerdict;

/// `-j TCPOPTSTRIP`: TCP options become "no operation".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tcpoptstrip {
    /// A bit for each kind of option.
    pub kinds: Box<[u64; 4]>,
}

/// "No operation" (RFC 9293 §3.2).
const NOP: u8 = 1;

impl Tcpoptstrip {
    /// Whether options of this kind are removed.
    pub fn has(&self, kind: u8) -> bool {
        self.kinds[usize::from(kind >> 6)] >> (kind & 63) & 1 != 0
    }

    /// Removes options of this kind.
    pub fn insert(&mut self, kind: u8) {
        self.kinds[usize::from(kind >> 6)] |= 1 << (kind & 63);
    }

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("TCPOPTSTRIP", &["mangle"])?;
        cx.only_protocols("TCPOPTSTRIP", &[number::TCP])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let headers = cx.packet.headers;
        if headers.is_later_fragment() {
            return TargetVerdict::Continue;
        }
        let Some(header_len) = cx.packet.tcp_header().map(<[u8]>::len) else {
            return TargetVerdict::Drop;
        };
        cx.packet.join_header(header_len as u16);
        let transport = headers.transport_mut(&mut cx.packet.data);
        let mut check = read16(transport, 16).unwrap_or(0);
        let mut at = 20;
        while at + 1 < header_len {
            let (kind, given) = (transport[at], transport[at + 1]);
            let len = if kind <= NOP || given == 0 { 1 } else { usize::from(given) };
            if at + len > header_len {
                break;
            }
            if self.has(kind) {
                for (place, byte) in transport.iter_mut().enumerate().skip(at).take(len) {
                    // The byte is the high or the low half of a word.
                    let shift = if place % 2 == 0 { 8 } else { 0 };
                    check = checksum::update16(check, u16::from(*byte) << shift, u16::from(NOP) << shift);
                    *byte = NOP;
                }
            }
            at += len;
        }
        write16(transport, 16, check);
        TargetVerdict::Continue
    }
}
