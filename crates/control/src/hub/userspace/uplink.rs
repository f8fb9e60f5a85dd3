//! What the user-space engine must know of the way out, and what the plan does not say.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link};
use fielato_policy::config::{Exit, Hub, PacketExit};
use fielato_policy::gateway::{self as compiled, Uplink};

/// By sockets of this machine: its addresses on the uplink are the hub's too, as they are with the kernel engine.
pub(super) fn by_sockets(netlink: &mut Netlink, hub: &Hub) -> Result<Uplink> {
    let link = link::find(netlink, &hub.uplink)?;
    let mut addresses = Vec::new();
    if let Some(link) = &link {
        let all = address::list(netlink)?.into_iter();
        let own = all.filter(|found| found.index == link.index && found.global && found.usable);
        addresses.extend(own.map(|found| found.address));
    }
    Ok(Uplink {
        addresses,
        gateways: Vec::new(),
        mtu: link.map_or(Uplink::MTU, |link| link.mtu),
        exit: compiled::Exit::Proxy,
    })
}

/// By sockets of a machine of which nothing is known: what is for its own addresses, the sockets refuse.
pub(super) fn by_any_sockets() -> Uplink {
    Uplink {
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu: Uplink::MTU,
        exit: compiled::Exit::Proxy,
    }
}

/// By an interface of the hub's own.
pub(super) fn by_packets(netlink: &mut Netlink, packet: &PacketExit) -> Result<Uplink> {
    let name = &packet.interface;
    let Some(link) = link::find(netlink, name)? else {
        bail!("[hub.packet] interface: there is no interface {name}; see `ip link`");
    };
    // The machine's kernel would answer there too: with resets, and for addresses that it thinks are nobody's.
    let all = address::list(netlink)?.into_iter();
    let taken: Vec<IpAddr> = all
        .filter(|found| found.index == link.index && found.global)
        .map(|found| found.address.addr())
        .collect();
    if let Some(address) = taken.first() {
        bail!(
            "[hub.packet] interface: {name} has the address {address} of this machine; the interface must be the hub's alone: \
             remove it (`ip address flush dev {name}`), or make another (`ip link add link {name} name out0 type macvlan mode bridge`)"
        );
    }
    let exit = match link.arphrd {
        // linux/if_arp.h
        1 => compiled::Exit::Ethernet { mac: mac(name)? },
        _ => compiled::Exit::Ip,
    };
    Ok(Uplink {
        addresses: packet.addresses.clone(),
        gateways: packet.gateways.clone(),
        mtu: link.mtu,
        exit,
    })
}

/// What `exit` asks for, as it is on this machine now.
pub(super) fn look(netlink: &mut Netlink, hub: &Hub) -> Result<Uplink> {
    match &hub.exit {
        Exit::Proxy => by_sockets(netlink, hub),
        Exit::Packet(packet) => by_packets(netlink, packet),
    }
}

fn mac(name: &str) -> Result<[u8; 6]> {
    let path = format!("/sys/class/net/{name}/address");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_mac(text.trim()).with_context(|| format!("{path} holds no Ethernet address"))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses() {
        assert_eq!(parse_mac("02:42:ac:11:00:ff"), Some([2, 0x42, 0xac, 0x11, 0, 0xff]));
        for wrong in ["", "02:42:ac:11:00", "02:42:ac:11:00:ff:00", "02:42:ac:11:00:gg"] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }
}
