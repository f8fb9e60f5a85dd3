//! `-m policy` (`xt_policy.c`).

use fielato_wire::Addr;

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::{Hook, HookMask};

/// `-m policy`. No packet here has been through IPsec, so `--pol none` holds and `--pol ipsec` does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(pub Box<Parameters>);

/// The parameters of `-m policy`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// `--dir in`, else `--dir out`.
    pub incoming: bool,
    /// `--pol none`, else `--pol ipsec`.
    pub none: bool,
    /// `--strict`: the elements are the whole path.
    pub strict: bool,
    /// The elements, `--next` between them; at most 4.
    pub elements: Vec<Element>,
}

/// A value that may be asked for, or anything but it.
pub type Wanted<T> = Option<(T, bool)>;

/// A transformation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Element {
    /// `--reqid`, and whether `!` stood before it.
    pub reqid: Wanted<u32>,
    /// `--spi`
    pub spi: Wanted<u32>,
    /// `--proto`
    pub protocol: Wanted<u8>,
    /// `--mode`: tunnel, else transport.
    pub tunnel: Wanted<bool>,
    /// `--tunnel-src`: network and mask.
    pub source: Wanted<(Addr, Addr)>,
    /// `--tunnel-dst`
    pub destination: Wanted<(Addr, Addr)>,
}

impl Policy {
    /// Most elements.
    pub const MAX_ELEMENTS: usize = 4;

    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let reached = |hooks: &[Hook]| cx.hooks.0 & HookMask::of(hooks).0 != 0;
        let p = &*self.0;
        if !p.incoming && reached(&[Hook::Prerouting, Hook::Input]) {
            return Err(CheckError(
                "policy: --dir out is not valid in PREROUTING and INPUT".to_owned(),
            ));
        }
        if p.incoming && reached(&[Hook::Postrouting, Hook::Output]) {
            return Err(CheckError(
                "policy: --dir in is not valid in POSTROUTING and OUTPUT".to_owned(),
            ));
        }
        if p.elements.len() > Policy::MAX_ELEMENTS {
            return Err(CheckError("policy: more than 4 elements".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, _cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        self.0.none
    }
}
