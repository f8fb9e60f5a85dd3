//! The kernel between the taps: two TUN devices in the network namespace that this process is in, which must be a fresh one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use anyhow::{Context as _, bail};
use fielato_io::Tun;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link, sysctl};
use fielato_wire::{Family, Headers};
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::backend::Backend;
use super::{NETS, TAPS};
use crate::frame;

/// Protocol of a raw socket whose packets bring their own IP header (man 7 raw).
const IPPROTO_RAW: i32 = 255;

/// What each setting is for: the machine forwards; it sends every ICMP error and from every address, so that answers don't depend
/// on how many came before; it says nothing about itself.
const SETTINGS: [(&str, &str); 8] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv4.icmp_ratelimit", "0"),
    ("net.ipv4.icmp_ratemask", "0"),
    ("net.ipv6.icmp.ratelimit", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
];

/// Two TUN devices and sockets for the machine's own packets.
pub struct Kernel {
    taps: Vec<Tun>,
    raw_v4: Socket,
    raw_v6: Socket,
}

impl Kernel {
    /// Makes the devices, with address 1 of each net.
    pub fn new() -> anyhow::Result<Kernel> {
        let mut netlink = Netlink::open()?;
        if link::list(&mut netlink)?.iter().any(|link| link.name != "lo") {
            bail!("there are interfaces in this network namespace already: start it in a new one (unshare -n)");
        }
        let loopback = link::get(&mut netlink, "lo")?;
        link::set_up(&mut netlink, &loopback, true)?;
        let mut taps = Vec::new();
        let mut links = Vec::new();
        for (name, (v4, v6)) in TAPS.iter().zip(NETS) {
            taps.push(Tun::create(name, 1500).with_context(|| format!("make the interface {name}"))?);
            // No link-local address, and so no reports of the groups it would join.
            sysctl::write(&format!("net.ipv6.conf.{name}.addr_gen_mode"), "1")?;
            let link = link::get(&mut netlink, name)?;
            // Forwarding would make it join the routers' groups, and report that at some moment.
            link::set_multicast(&mut netlink, &link, false)?;
            links.push((link, v4, v6));
        }
        for (name, value) in SETTINGS {
            sysctl::write(name, value)?;
        }
        for (link, v4, v6) in links {
            link::set_up(&mut netlink, &link, true)?;
            for prefix in [format!("{v4}.1/24"), format!("{v6}::1/64")] {
                let prefix: IpNet = prefix.parse().with_context(|| format!("the address {prefix}"))?;
                address::add(&mut netlink, link.index, prefix)?;
            }
        }
        let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).context("open a raw socket");
        Ok(Kernel {
            taps,
            raw_v4: raw(Domain::IPV4)?,
            raw_v6: raw(Domain::IPV6)?,
        })
    }
}

impl Backend for Kernel {
    fn inject(&mut self, tap: usize, packet: &[u8], _: Instant) -> io::Result<()> {
        match self.taps.get(tap) {
            // The kernel receives the packet before this returns.
            Some(tap) => tap.write(packet),
            None => Ok(()),
        }
    }

    fn send_local(&mut self, packet: &[u8], _: Instant) -> io::Result<()> {
        let headers = Headers::parse(packet).map_err(|error| io::Error::other(error.name()))?;
        let socket = match headers.family {
            Family::V4 => &self.raw_v4,
            Family::V6 => &self.raw_v6,
        };
        let to = SocketAddr::new(headers.dst.to_ip(headers.family), 0);
        match socket.send_to(packet, &SockAddr::from(to)) {
            // A packet that the rules drop on its way out.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result.map(drop),
        }
    }

    fn outputs(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; frame::MAX];
        for (number, tap) in self.taps.iter().enumerate() {
            loop {
                match tap.read(&mut buffer) {
                    Ok(len) => all.push((number, buffer[..len].to_vec())),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(all)
    }

    fn wakes(&self) -> Vec<BorrowedFd<'_>> {
        self.taps.iter().map(|tap| tap.as_fd()).collect()
    }
}
