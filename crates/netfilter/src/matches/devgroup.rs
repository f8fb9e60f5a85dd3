//! `-m devgroup` (`net/netfilter/xt_devgroup.c`).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// A group under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the masked number is to be.
    pub value: u32,
    /// Bits that are compared.
    pub mask: u32,
    /// `!`
    pub negated: bool,
}

impl Group {
    const fn holds(&self, group: u32) -> bool {
        ((self.value ^ group) & self.mask == 0) != self.negated
    }
}

/// `-m devgroup`: groups of the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devgroup {
    /// `--src-group`
    pub source: Option<Group>,
    /// `--dst-group`
    pub destination: Option<Group>,
}

impl Devgroup {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.source.is_some() {
            cx.only_hooks("devgroup --src-group", &[Hook::Prerouting, Hook::Input, Hook::Forward])?;
        }
        if self.destination.is_some() {
            cx.only_hooks("devgroup --dst-group", &[Hook::Forward, Hook::Output, Hook::Postrouting])?;
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let (incoming, outgoing) = (cx.packet.in_interface, cx.packet.out_interface);
        self.source.is_none_or(|group| group.holds(cx.host.interface_group(incoming)))
            && self
                .destination
                .is_none_or(|group| group.holds(cx.host.interface_group(outgoing)))
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn both_interfaces() {
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            kit.packet.out_interface = testkit::interface(2, "eth1");
            kit.host.groups = vec![(1, 0x15), (2, 7)];
            let group = |value, mask, negated| Some(Group { value, mask, negated });
            let mut ask = |source, destination| kit.answer(&Match::Devgroup(Devgroup { source, destination }));
            assert_eq!(ask(group(0x15, u32::MAX, false), None), Answer::Yes);
            assert_eq!(ask(group(5, 15, false), None), Answer::Yes);
            assert_eq!(ask(group(5, 15, true), None), Answer::No);
            assert_eq!(ask(group(5, 15, false), group(7, u32::MAX, false)), Answer::Yes);
            assert_eq!(ask(None, group(8, u32::MAX, false)), Answer::No);
        }
    }
}
