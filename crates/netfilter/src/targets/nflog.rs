//! `-j NFLOG` (`xt_NFLOG.c`).

use crate::Effect;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j NFLOG`.
#[derive(Clone, Debug, PartialEq)]
pub struct Nflog(pub Box<Parameters>);

/// The parameters of `-j NFLOG`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Group.
    pub group: u16,
    /// Before the message; at most 63 bytes.
    pub prefix: Box<str>,
    /// Bytes of the packet to hand over.
    pub size: Size,
    /// How many the kernel would queue before it sends; kept, not used: effects are drained by the embedder.
    pub threshold: u16,
}

/// How much of the packet is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All.
    Whole,
    /// `--nflog-range`: kept, but it never had an effect.
    Range(u32),
    /// `--nflog-size`: no more than this.
    Bytes(u32),
}

impl Nflog {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.0.prefix.len() > 63 {
            return Err(CheckError("NFLOG: the prefix is longer than 63 bytes".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let mut packet = Box::new(cx.packet.clone());
        if let Size::Bytes(bytes) = self.0.size {
            packet.data.truncate(bytes as usize);
        }
        cx.effects.push(Effect::NfLog {
            group: self.0.group,
            prefix: self.0.prefix.to_string(),
            hook: cx.hook,
            packet,
        });
        TargetVerdict::Continue
    }
}
