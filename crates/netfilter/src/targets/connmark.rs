//! `-j CONNMARK` (`xt_connmark.c`).

use crate::PacketCt;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `--set-xmark`: the connection's mark less the bits of the mask, exclusive-or the value.
    Set {
        /// The value.
        value: u32,
    },
    /// `--save-mark`: the packet's mark goes to the connection.
    Save,
    /// `--restore-mark`: the connection's mark goes to the packet.
    Restore,
}

/// `--left-shift-mark`, `--right-shift-mark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Towards the high bits.
    Left(u8),
    /// Towards the low bits.
    Right(u8),
}

impl Shift {
    fn apply(self, mark: u32) -> u32 {
        match self {
            Shift::Left(bits) => mark.checked_shl(bits.into()).unwrap_or(0),
            Shift::Right(bits) => mark.checked_shr(bits.into()).unwrap_or(0),
        }
    }
}

/// `-j CONNMARK`.
#[derive(Clone, Debug, PartialEq)]
pub struct Connmark {
    /// What is done.
    pub operation: Operation,
    /// Bits of the connection's mark that take part.
    pub ct_mask: u32,
    /// Bits of the packet's mark that take part.
    pub nf_mask: u32,
    /// By how much the value is shifted on its way.
    pub shift: Shift,
}

impl Connmark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let PacketCt::Tracked { id, .. } = cx.packet.ct else {
            return TargetVerdict::Continue;
        };
        let Some(conn) = cx.conntrack.get_mut(id) else {
            return TargetVerdict::Continue;
        };
        match self.operation {
            Operation::Set { value } => conn.mark = self.shift.apply(conn.mark & !self.ct_mask ^ value),
            Operation::Save => {
                let saved = self.shift.apply(cx.packet.mark & self.nf_mask);
                conn.mark = conn.mark & !self.ct_mask ^ saved;
            }
            Operation::Restore => {
                let restored = self.shift.apply(conn.mark & self.ct_mask);
                cx.packet.mark = cx.packet.mark & !self.nf_mask ^ restored;
            }
        }
        TargetVerdict::Continue
    }
}
