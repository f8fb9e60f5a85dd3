//! `-j ECN` (`ipt_ECN.c`).

use fielato_wire::{Family, TcpFlags, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::read16;
use crate::verdict::TargetVerdict;

/// `-j ECN`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn {
    /// TCP's ECE bit becomes this.
    pub ece: Option<bool>,
    /// TCP's CWR bit becomes this.
    pub cwr: Option<bool>,
    /// The code point in the IP header becomes this, 0 to 3.
    pub codepoint: Option<u8>,
}

impl Ecn {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("ECN", Family::V4)?;
        cx.only_tables("ECN", &["mangle"])?;
        if self.codepoint.is_some_and(|codepoint| codepoint > 3) {
            return Err(CheckError("ECN: code points are 0 to 3".to_owned()));
        }
        if self.ece.is_some() || self.cwr.is_some() {
            cx.only_protocols("ECN on TCP bits", &[number::TCP])?;
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        if let Some(codepoint) = self.codepoint {
            let tos = cx.packet.headers.tos;
            if tos & 3 != codepoint {
                cx.packet.set_tos(tos & !3 | codepoint);
            }
        }
        if (self.ece.is_some() || self.cwr.is_some()) && cx.packet.headers.protocol == number::TCP {
            let transport = cx.packet.transport();
            let Some(word) = read16(transport, 12).filter(|_| transport.len() >= 20) else {
                return TargetVerdict::Drop;
            };
            let set = |word: u16, bit: u8, to: Option<bool>| match to {
                None => word,
                Some(true) => word | u16::from(bit),
                Some(false) => word & !u16::from(bit),
            };
            let new = set(set(word, TcpFlags::ECE, self.ece), TcpFlags::CWR, self.cwr);
            if new != word {
                cx.packet.join_header(20);
                cx.packet.set_transport_word(12, new, 16);
                cx.packet.headers.tcp_flags = TcpFlags(new as u8);
            }
        }
        TargetVerdict::Continue
    }
}
