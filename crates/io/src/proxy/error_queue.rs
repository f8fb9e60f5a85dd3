//! What the network says about datagrams that were sent: the socket's error queue (`IP_RECVERR`, ip(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{SockAddr, SockAddrStorage, Socket};

/// Errors taken from one socket at once.
const BATCH: usize = 16;

/// Bytes of the datagram that are kept: what the ports and an ICMP header need, and a bit of payload.
const QUOTE: usize = 512;

/// An ICMP error about a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Where the datagram was sent.
    pub(super) to: SocketAddr,
    /// Of ICMP in the socket's family.
    pub(super) kind: u8,
    pub(super) code: u8,
    /// The beginning of its payload; for ping, from the ICMP header on.
    pub(super) payload: Vec<u8>,
}

/// Asks for reports.
pub(super) fn enable(socket: &Socket, v6: bool) -> io::Result<()> {
    let (level, name) = match v6 {
        false => (libc::IPPROTO_IP, libc::IP_RECVERR),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from `on`, which lives through the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes what waits, and forgets the pending error that came with it.
pub(super) fn drain(socket: &Socket) -> Vec<Report> {
    let mut reports = Vec::new();
    for _ in 0..BATCH {
        match receive(socket) {
            Ok(report) => reports.extend(report),
            Err(_) => break,
        }
    }
    let _ = socket.take_error();
    reports
}

/// One report; `None` for what the socket itself says, as of datagrams too long.
fn receive(socket: &Socket) -> io::Result<Option<Report>> {
    let mut payload = [0_u8; QUOTE];
    // Room for `sock_extended_err` and an address behind it, aligned as control messages are.
    let mut control = [0_u64; 32];
    let mut to = SockAddrStorage::zeroed();
    let mut part = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: `msghdr` is plain data, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut to).cast();
    message.msg_namelen = to.size_of();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in `message` is to something that lives through the call, with its length beside it.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let Ok(len) = usize::try_from(len) else {
        return Err(io::Error::last_os_error());
    };
    let Some((kind, code)) = icmp(&message) else {
        return Ok(None);
    };
    // SAFETY: the kernel wrote an address of this length.
    let to = unsafe { SockAddr::new(to, message.msg_namelen) };
    Ok(to.as_socket().map(|to| Report {
        to,
        kind,
        code,
        payload: payload.get(..len).unwrap_or(&payload).to_vec(),
    }))
}

/// Type and code of the ICMP error in the control messages.
fn icmp(message: &libc::msghdr) -> Option<(u8, u8)> {
    // SAFETY: the kernel wrote whole control messages and their length into `message`, whose buffer lives still.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: a pointer that is not null is to a whole header in that buffer, which is aligned for it.
    while let Some(found) = unsafe { header.as_ref() } {
        let is_error = matches!(
            (found.cmsg_level, found.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if is_error {
            // SAFETY: such a message holds a `sock_extended_err` (net/ipv4/ip_sockglue.c, `ip_recv_error`; net/ipv6/datagram.c).
            let error = unsafe { libc::CMSG_DATA(header).cast::<libc::sock_extended_err>().read_unaligned() };
            let by_icmp = matches!(error.ee_origin, libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6);
            return by_icmp.then_some((error.ee_type, error.ee_code));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn tells_which_datagram_met_a_closed_port() {
        for (v6, host) in [(false, "127.0.0.1:0"), (true, "[::1]:0")] {
            let closed = UdpSocket::bind(host).unwrap().local_addr().unwrap();
            let socket = UdpSocket::bind(host).unwrap();
            let sender = Socket::from(socket.try_clone().unwrap());
            enable(&sender, v6).unwrap();
            assert_eq!(drain(&sender), []);
            socket.send_to(b"anybody?", closed).unwrap();
            let deadline = Instant::now() + Duration::from_secs(10);
            let reports = loop {
                let reports = drain(&sender);
                if !reports.is_empty() {
                    break reports;
                }
                assert!(Instant::now() < deadline);
            };
            let (kind, code) = if v6 { (1, 4) } else { (3, 3) };
            let expected = Report {
                to: closed,
                kind,
                code,
                payload: b"anybody?".to_vec(),
            };
            assert_eq!(reports, [expected]);
            assert!(sender.take_error().unwrap().is_none());
        }
    }
}
