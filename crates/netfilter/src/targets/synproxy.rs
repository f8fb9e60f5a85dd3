//! `-j SYNPROXY` (`xt_SYNPROXY.c`).

use fielato_wire::number;

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::verdict::TargetVerdict;

/// `-j SYNPROXY`: handshakes answered on a server's behalf. This engine can't: rules with it are refused, as loading them
/// without doing it would leave a server open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Synproxy {
    /// `--sack-perm`
    pub sack_perm: bool,
    /// `--timestamp`
    pub timestamp: bool,
    /// `--wscale`
    pub wscale: Option<u8>,
    /// `--mss`
    pub mss: Option<u16>,
    /// `--ecn`
    pub ecn: bool,
}

impl Synproxy {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_protocols("SYNPROXY", &[number::TCP])?;
        cx.only_hooks("SYNPROXY", &[Hook::Input, Hook::Forward])?;
        Err(CheckError(
            "SYNPROXY is not done by this engine: limit new connections (-m hashlimit, -m connlimit), or use the kernel's"
                .to_owned(),
        ))
    }

    pub(crate) fn apply(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        // Never met: `check` refuses the rule.
        TargetVerdict::Drop
    }
}
