//! `-j CT` and its old name NOTRACK (`xt_CT.c`).

use fielato_wire::Family;

use crate::PacketCt;
use crate::check::{CheckContext, CheckError};
use crate::conntrack::Template;
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j CT`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ct {
    /// `--notrack`
    pub notrack: bool,
    /// It was written `-j NOTRACK`, and is shown so.
    pub alias: bool,
    /// What the connection is to be.
    pub template: Box<Template>,
}

impl Ct {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("CT", &["raw"])?;
        if let Some(helper) = self.template.helper {
            let name = format!("CT --helper {}", helper.name());
            cx.only_protocols(&name, helper.protocols())?;
            if !helper.takes_v6() {
                cx.only_family(&name, Family::V4)?;
            }
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        // Seen before (loopback): what it has, it keeps.
        if cx.packet.ct != PacketCt::None || cx.packet.template.is_some() {
            return TargetVerdict::Continue;
        }
        if self.notrack {
            cx.packet.ct = PacketCt::Untracked;
        } else {
            cx.packet.template = Some(self.template.clone());
        }
        TargetVerdict::Continue
    }
}
