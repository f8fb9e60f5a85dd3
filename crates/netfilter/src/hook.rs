//! The five hooks of a family, and the order of what is registered at them (`linux/netfilter_ipv4.h`).

use std::fmt;

/// A place on a packet's way through a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Just received, before the route is chosen.
    Prerouting,
    /// For this host.
    Input,
    /// For another host.
    Forward,
    /// Made on this host.
    Output,
    /// About to leave.
    Postrouting,
}

impl Hook {
    /// All, in the kernel's numbering.
    pub const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    /// The name of the built-in chain of this hook.
    pub const fn chain(self) -> &'static str {
        match self {
            Hook::Prerouting => "PREROUTING",
            Hook::Input => "INPUT",
            Hook::Forward => "FORWARD",
            Hook::Output => "OUTPUT",
            Hook::Postrouting => "POSTROUTING",
        }
    }

    /// The hook of a built-in chain's name.
    pub fn from_chain(name: &str) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| hook.chain() == name)
    }

    /// The kernel's number.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain())
    }
}

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HookMask(pub u8);

impl HookMask {
    /// No hook.
    pub const NONE: HookMask = HookMask(0);
    /// Every hook.
    pub const ALL: HookMask = HookMask(0x1f);

    /// The set of `hooks`.
    pub const fn of(hooks: &[Hook]) -> HookMask {
        let mut bits = 0;
        let mut i = 0;
        while i < hooks.len() {
            bits |= 1 << hooks[i] as u8;
            i += 1;
        }
        HookMask(bits)
    }

    /// Whether `hook` is in the set.
    pub const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u8) != 0
    }

    /// Whether every hook of this set is in `allowed`.
    pub const fn within(self, allowed: HookMask) -> bool {
        self.0 & !allowed.0 == 0
    }

    /// Both sets.
    pub const fn or(self, other: HookMask) -> HookMask {
        HookMask(self.0 | other.0)
    }
}

/// The kernel's standard priorities (`enum nf_ip_hook_priorities`): lower runs first.
pub mod priority {
    /// Before everything.
    pub const FIRST: i32 = i32::MIN;
    /// `raw` when it is to come before fragments are put together.
    pub const RAW_BEFORE_DEFRAG: i32 = -450;
    /// Fragments are put together.
    pub const CONNTRACK_DEFRAG: i32 = -400;
    /// Table `raw`.
    pub const RAW: i32 = -300;
    /// SELinux, first.
    pub const SELINUX_FIRST: i32 = -225;
    /// Connection tracking finds or makes the connection.
    pub const CONNTRACK: i32 = -200;
    /// Table `mangle`.
    pub const MANGLE: i32 = -150;
    /// Destination NAT.
    pub const NAT_DST: i32 = -100;
    /// Table `filter`.
    pub const FILTER: i32 = 0;
    /// Table `security`.
    pub const SECURITY: i32 = 50;
    /// Source NAT.
    pub const NAT_SRC: i32 = 100;
    /// SELinux, last.
    pub const SELINUX_LAST: i32 = 225;
    /// Connection tracking's helpers.
    pub const CONNTRACK_HELPER: i32 = 300;
    /// The connection enters the table.
    pub const CONNTRACK_CONFIRM: i32 = i32::MAX;
    /// After everything.
    pub const LAST: i32 = i32::MAX;
}
