//! `-m owner` (`net/netfilter/xt_owner.c`, revision 1).

use super::Range;
use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m owner`: who made the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `--uid-owner`
    pub uid: Option<Range<u32>>,
    /// `--gid-owner`
    pub gid: Option<Range<u32>>,
    /// `--suppl-groups`: supplementary groups count for [`Owner::gid`] too.
    pub supplementary: bool,
    /// `--socket-exists` (true) or `! --socket-exists` (false).
    pub socket: Option<bool>,
}

impl Owner {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("owner", &[Hook::Output, Hook::Postrouting])?;
        let reversed = |range: Option<Range<u32>>| range.is_some_and(|range| range.min > range.max);
        if reversed(self.uid) || reversed(self.gid) {
            return Err(CheckError("owner: the range ends before it begins".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let negated = |range: Option<Range<u32>>| range.is_none_or(|range| range.negated);
        let Some(owner) = cx.host.socket_owner(cx.packet) else {
            // No socket: it holds when everything asked for is negated. `--suppl-groups` can't be.
            return negated(self.uid) && negated(self.gid) && !self.supplementary && self.socket != Some(true);
        };
        let group_holds = |range: Range<u32>| {
            let within = |gid: u32| (range.min..=range.max).contains(&gid);
            let found = within(owner.gid) || self.supplementary && owner.groups.iter().any(|&gid| within(gid));
            found != range.negated
        };
        self.socket != Some(false) && self.uid.is_none_or(|range| range.holds(owner.uid)) && self.gid.is_none_or(group_holds)
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::host::SocketOwner;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn user_group_and_socket() {
        let any = Owner::default();
        let user = Some(Range::one(1000));
        let not_user = Some(Range::one(1000).not());
        let group = |gid| Some(Range::one(gid));
        // What it answers with a socket, and without one.
        let cases = [
            (Owner { uid: user, ..any }, Answer::Yes, Answer::No),
            (Owner { uid: not_user, ..any }, Answer::No, Answer::Yes),
            (Owner { gid: group(100), ..any }, Answer::Yes, Answer::No),
            (Owner { gid: group(27), ..any }, Answer::No, Answer::No),
            (
                Owner {
                    gid: group(27),
                    supplementary: true,
                    ..any
                },
                Answer::Yes,
                Answer::No,
            ),
            (
                Owner {
                    socket: Some(true),
                    ..any
                },
                Answer::Yes,
                Answer::No,
            ),
            (
                Owner {
                    socket: Some(false),
                    ..any
                },
                Answer::No,
                Answer::Yes,
            ),
            (
                Owner {
                    uid: not_user,
                    socket: Some(true),
                    ..any
                },
                Answer::No,
                Answer::No,
            ),
        ];
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            for (m, with, without) in cases {
                kit.host.owner = None;
                assert_eq!(kit.answer(&Match::Owner(m)), without, "{m:?}");
                kit.host.owner = Some(SocketOwner {
                    uid: 1000,
                    gid: 100,
                    groups: vec![27],
                });
                assert_eq!(kit.answer(&Match::Owner(m)), with, "{m:?}");
            }
        }
    }
}
