//! What is asked of the interface as a whole.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::check;

/// Longest name of an interface, without the closing zero (`IFNAMSIZ`).
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// The interface that the queues belong to. It is gone when the last queue is.
pub struct Interface {
    name: String,
    /// Any socket, for ioctls about the interface, in the network namespace it was made in.
    control: OwnedFd,
}

impl Interface {
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let control = rustix::net::socket_with(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self {
            name: name.to_owned(),
            control,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The MTU as it is now; anyone may have changed it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> io::Result<usize> {
        let mut request = request(&self.name)?;
        // SAFETY: SIOCGIFMTU reads and writes one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) })?;
        // SAFETY: the call succeeded, so the kernel wrote this member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(usize::try_from(mtu).unwrap_or_default())
    }

    /// Changes the MTU.
    ///
    /// # Errors
    /// The kernel refuses it (below 68, or above 65,535), or the interface is gone.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_mtu = mtu.into();
        // SAFETY: SIOCSIFMTU reads one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCSIFMTU as _, &raw mut request) })
    }

    /// Changes how many packets each queue holds before the kernel drops (`txqueuelen`; 500 unless told). What waits there is
    /// latency under load.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn set_queue_len(&self, packets: u16) -> io::Result<()> {
        let mut request = request(&self.name)?;
        // `ifr_qlen` is another name of the same member (include/uapi/linux/if.h).
        request.ifr_ifru.ifru_metric = packets.into();
        // SAFETY: SIOCSIFTXQLEN reads one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCSIFTXQLEN as _, &raw mut request) })
    }

    fn index(&self) -> io::Result<u32> {
        let mut request = request(&self.name)?;
        // SAFETY: SIOCGIFINDEX reads and writes one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut request) })?;
        // SAFETY: the call succeeded, so the kernel wrote this member.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        Ok(u32::try_from(index).unwrap_or_default())
    }

    /// Limits how many segments the kernel puts into one superpacket (`gso_max_segs`). The calling thread must be in the
    /// interface's network namespace.
    pub(super) fn set_gso_segments_max(&self, segments: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.index()?;
        message.attributes.push(LinkAttribute::GsoMaxSegs(segments));
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(message)));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);

        let socket = Socket::new(protocols::NETLINK_ROUTE)?;
        // The kernel answers while it is asked, so this passes only when the answer was lost.
        set_socket_timeout(&socket, Timeout::Recv, Some(std::time::Duration::from_secs(5)))?;
        socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

/// A request about the interface of that name.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    let fits = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(['/', '\0', '%']);
    if !fits || name.contains(char::is_whitespace) {
        let text = format!("`{name}` is no interface name: 1 to {NAME_MAX} bytes without `/`, `%` and spaces");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}
