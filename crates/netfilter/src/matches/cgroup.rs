//! `-m cgroup` (`net/netfilter/xt_cgroup.c`, revision 2).

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m cgroup`: the control group of the packet's socket, by path or by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// `--path` was given.
    pub by_path: bool,
    /// Path in version 2; groups below it count too.
    pub path: Box<str>,
    /// `--cgroup` was given.
    pub by_class: bool,
    /// Class of version 1.
    pub class: u32,
    /// `!`
    pub negated: bool,
}

impl Cgroup {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("cgroup", &[Hook::Output, Hook::Postrouting, Hook::Input])?;
        if self.by_path == self.by_class {
            return Err(CheckError("cgroup takes either a path or a class".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let Some(group) = cx.host.socket_cgroup(cx.packet) else {
            return false;
        };
        let within = match self.by_path {
            true => is_within(&group.path, &self.path),
            false => self.class == group.classid,
        };
        within != self.negated
    }
}

fn is_within(path: &str, ancestor: &str) -> bool {
    let (path, ancestor) = (path.trim_matches('/'), ancestor.trim_matches('/'));
    path.strip_prefix(ancestor)
        .is_some_and(|rest| ancestor.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use fielato_wire::number;

    use super::*;
    use crate::host::SocketCgroup;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};

    #[test]
    fn class_and_path() {
        let path = |path: &str, negated| {
            Match::Cgroup(Cgroup {
                by_path: true,
                path: path.into(),
                negated,
                ..Cgroup::default()
            })
        };
        for packet in testkit::both(number::UDP, &[0; 8]) {
            let mut kit = Kit::new(packet);
            assert_eq!(kit.answer(&path("/", true)), Answer::No, "no socket");
            kit.host.cgroup = Some(SocketCgroup {
                classid: 7,
                path: "/system.slice/ssh".to_owned(),
            });
            assert_eq!(kit.answer(&path("/", false)), Answer::Yes);
            assert_eq!(kit.answer(&path("system.slice", false)), Answer::Yes);
            assert_eq!(kit.answer(&path("system", false)), Answer::No);
            assert_eq!(kit.answer(&path("user.slice", true)), Answer::Yes);
            let class = |class, negated| {
                Match::Cgroup(Cgroup {
                    by_class: true,
                    class,
                    negated,
                    ..Cgroup::default()
                })
            };
            assert_eq!(kit.answer(&class(7, false)), Answer::Yes);
            assert_eq!(kit.answer(&class(8, false)), Answer::No);
            assert_eq!(kit.answer(&class(7, true)), Answer::No);
        }
    }
}
