//! `-m socket` (`xt_socket.c`, revision 3).

use fielato_wire::number;

use crate::Hook;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};

/// `-m socket`: a local socket would take the packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Socket {
    /// `--transparent`: only sockets with IP_TRANSPARENT.
    pub transparent: bool,
    /// `--nowildcard`: sockets bound to no address count too.
    pub no_wildcard: bool,
    /// `--restore-skmark`: the packet gets the socket's mark. The host does not tell marks of sockets; the packet's stays.
    pub restore_mark: bool,
}

impl Socket {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_hooks("socket", &[Hook::Prerouting, Hook::Input])
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        // ICMP errors belong to the socket that they are about: the host knows.
        let protocols = [number::TCP, number::UDP, number::ICMP, number::ICMPV6];
        protocols.contains(&cx.packet.headers.protocol) && cx.host.has_socket(cx.packet, self.transparent)
    }
}
