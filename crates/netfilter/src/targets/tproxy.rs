//! `-j TPROXY` (`xt_TPROXY.c`).

use fielato_wire::{Addr, number};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::write16;
use crate::verdict::TargetVerdict;
use crate::{Hook, Packet};

/// `-j TPROXY`: a local socket gets the packet, its addresses unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Tproxy(pub Box<Parameters>);

/// The parameters of `-j TPROXY`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// `--on-ip`; unspecified for the address of the interface the packet came in by.
    pub address: Addr,
    /// `--on-port`; 0 for the packet's own.
    pub port: u16,
    /// `--tproxy-mark`: bits to flip.
    pub mark: u32,
    /// Bits of the mark to clear first.
    pub mask: u32,
}

impl Tproxy {
    pub(crate) fn check(&self, cx: &CheckContext<'_>) -> Result<(), CheckError> {
        cx.only_tables("TPROXY", &["mangle"])?;
        cx.only_hooks("TPROXY", &[Hook::Prerouting])?;
        cx.only_protocols("TPROXY", &[number::TCP, number::UDP])
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let p = &*self.0;
        let headers = cx.packet.headers;
        if !headers.l4_whole || headers.is_later_fragment() {
            return TargetVerdict::Drop;
        }
        // A connection that is open already, else a listener.
        if !cx.host.has_socket(cx.packet, true) {
            let mut own = || cx.host.interface_address(headers.family, cx.packet.in_interface, Addr::ZERO);
            let address = if p.address == Addr::ZERO {
                own().unwrap_or(headers.dst)
            } else {
                p.address
            };
            let port = if p.port == 0 { headers.dport } else { p.port };
            let redirected = led_to(cx.packet, address, port);
            if !redirected.is_some_and(|packet| cx.host.has_socket(&packet, true)) {
                return TargetVerdict::Drop;
            }
            cx.packet.tproxy = Some(Box::new((address, port)));
        }
        cx.packet.mark = cx.packet.mark & !p.mask ^ p.mark;
        TargetVerdict::Accept
    }
}

/// The packet as it would look if it were sent to this address and port; only to ask for the socket.
fn led_to(packet: &Packet, address: Addr, port: u16) -> Option<Packet> {
    let mut packet = packet.clone();
    let bytes = packet.headers.family.bytes();
    let at = if bytes == 4 { 16 } else { 24 };
    address.write(packet.data.get_mut(at..at + bytes)?);
    let port_at = usize::from(packet.headers.l4) + 2;
    write16(&mut packet.data, port_at, port);
    packet.reparse().ok()?;
    Some(packet)
}
