//! `-m osf` (`xt_osf.c`, `nfnetlink_osf.c`).

use fielato_wire::{Family, number};

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m osf`: the sender's system, guessed by its SYN. The guess needs fingerprints; none are loaded here, and then the kernel's
/// match holds for nothing either, with or without `!`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Osf {
    /// `--genre`: the system's name, at most 31 bytes.
    pub genre: Box<str>,
    /// `!`
    pub negated: bool,
    /// `--ttl`: how TTLs are compared, 0 to 2.
    pub ttl: Option<u8>,
    /// `--log`: what is logged, 0 to 2.
    pub log: Option<u8>,
}

impl Osf {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_family("osf", Family::V4)?;
        cx.only_protocols("osf", &[number::TCP])?;
        cx.only_hooks("osf", &[Hook::Prerouting, Hook::Input, Hook::Forward])
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        false
    }
}
