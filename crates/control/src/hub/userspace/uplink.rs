//! The way out of the user-space engine: what it must know of it, and what the plan does not say.

use anyhow::{Context as _, Result};
use fielato_io::packet_port::PacketPort;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link};
use fielato_policy::config::PacketExit;
use fielato_policy::gateway::{Exit, Uplink};

/// By sockets of this machine: its addresses on the uplink are the hub's too, as they are with the kernel engine.
pub(super) fn by_sockets(netlink: &mut Netlink, uplink: &str) -> Result<Uplink> {
    let link = link::find(netlink, uplink)?;
    let mut addresses = Vec::new();
    if let Some(link) = &link {
        let all = address::list(netlink)?.into_iter();
        let own = all.filter(|found| found.index == link.index && found.global && found.usable);
        addresses.extend(own.map(|found| found.address));
    }
    Ok(Uplink {
        addresses,
        mtu: link.map_or(Uplink::MTU, |link| link.mtu),
        ..by_any_sockets()
    })
}

/// By sockets of a machine of which nothing is known: what is for its own addresses, the sockets refuse.
pub(super) const fn by_any_sockets() -> Uplink {
    Uplink {
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu: Uplink::MTU,
        exit: Exit::Proxy,
    }
}

/// By an interface of the hub's own.
pub(super) fn by_packets(packet: &PacketExit) -> Result<(Uplink, PacketPort)> {
    let port = PacketPort::open(&packet.interface).context("[hub.packet] interface")?;
    let uplink = Uplink {
        addresses: packet.addresses.clone(),
        gateways: packet.gateways.clone(),
        mtu: port
            .mtu()
            .with_context(|| format!("cannot read the MTU of {}", packet.interface))?,
        exit: Exit::Ethernet { mac: port.mac() },
    };
    Ok((uplink, port))
}
