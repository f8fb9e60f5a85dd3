//! `-j TEE` (`xt_TEE.c`).

use fielato_wire::{Addr, Family};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::{read16, write16};
use crate::verdict::TargetVerdict;
use crate::{Effect, Hook, InterfaceName, PacketCt};

/// `-j TEE`: a copy goes to a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Tee {
    /// `--gateway`
    pub gateway: Box<Addr>,
    /// `--oif`; empty for any. The embedder's routes decide: it is kept for the listing.
    pub interface: Box<InterfaceName>,
}

impl Tee {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if *self.gateway == Addr::ZERO {
            return Err(CheckError("TEE: the gateway can't be the unspecified address".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let mut copy = cx.packet.clone();
        // The copy is nobody's connection, must not be fragmented, and can't circle between two hosts for ever.
        copy.ct = PacketCt::Untracked;
        // Its fragments are shared with the packet: the kernel cuts it anew (`skb_shared` in `ip_do_fragment`).
        copy.pieces = None;
        copy.copied = true;
        if copy.headers.family == Family::V4
            && let Some(word) = read16(&copy.data, 6).filter(|word| word & 0x4000 == 0)
        {
            let check = read16(&copy.data, 10).unwrap_or(0);
            write16(&mut copy.data, 6, word | 0x4000);
            write16(
                &mut copy.data,
                10,
                fielato_wire::checksum::update16(check, word, word | 0x4000),
            );
            copy.headers.dont_fragment = true;
        }
        if matches!(cx.hook, Hook::Prerouting | Hook::Input) {
            copy.set_ttl(copy.headers.ttl.wrapping_sub(1));
        }
        cx.effects.push(Effect::Copy {
            gateway: *self.gateway,
            packet: Box::new(copy),
        });
        TargetVerdict::Continue
    }
}
