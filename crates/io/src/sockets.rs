//! The two UDP sockets of a device: IPv4 and IPv6 on the same port.
//!
//! Answers leave from the address that the peer sent to (`IP_PKTINFO`, `IPV6_PKTINFO`: `man 7 ip`, RFC 3542), so
//! that a hub with several addresses is not mistaken for another.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use fielato_wireguard::Path;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// Asked for in both directions: some milliseconds of traffic at full speed.
const BUFFER: libc::c_int = 7 << 20;

/// Attempts to find one port that is free in both families.
const PORT_ATTEMPTS: usize = 16;

/// Room for the one control message that we use, `in6_pktinfo` being the larger.
const CONTROL: usize = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Both sockets.
pub(crate) struct Sockets {
    pub(crate) v4: Udp,
    /// `None` when the system has no IPv6.
    pub(crate) v6: Option<Udp>,
    pub(crate) port: u16,
}

impl Sockets {
    /// Binds `port`, or the same free one in both families when it is 0.
    pub(crate) fn bind(port: u16, fwmark: u32) -> io::Result<Self> {
        let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_once(port, fwmark) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, fwmark: u32) -> io::Result<Self> {
        let v4 = Udp::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), fwmark)?;
        let port = v4.port()?;
        let v6 = match Udp::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), fwmark) {
            Ok(v6) => Some(v6),
            Err(error) if no_ipv6(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { v4, v6, port })
    }

    pub(crate) fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        [Some(&self.v4), self.v6.as_ref()]
            .into_iter()
            .flatten()
            .try_for_each(|udp| udp.0.set_mark(fwmark))
    }

    /// Sends a datagram.
    pub(crate) fn send(&self, datagram: &[u8], path: &Path) -> io::Result<()> {
        let udp = match path.remote {
            SocketAddr::V4(_) => Some(&self.v4),
            SocketAddr::V6(_) => self.v6.as_ref(),
        };
        let udp = udp.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        match udp.send(datagram, path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                crate::fd::writable(&udp.0);
                udp.send(datagram, path)
            }
            // Our address that the peer knew is gone: any other is better than none.
            Err(error) if path.local.is_some() && address_is_gone(&error) => udp.send(datagram, &Path::from(path.remote)),
            result => result,
        }
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn address_is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH)
    )
}

/// One UDP socket that knows which of our addresses a datagram came to.
pub(crate) struct Udp(Socket);

impl Udp {
    fn bind(address: SocketAddr, fwmark: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let on = 1;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on)?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, on)?;
            // Outer packets may be fragmented, as the Linux driver's are: losing them would be worse.
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        }
        if fwmark != 0 {
            socket.set_mark(fwmark)?;
        }
        for (force, plain) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            // Forcing needs a privilege that is not needed otherwise; the plain request is cut to the system's limit.
            if set_option(&socket, libc::SOL_SOCKET, force, BUFFER).is_err() {
                set_option(&socket, libc::SOL_SOCKET, plain, BUFFER)?;
            }
        }
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.as_socket().map_or(0, |address| address.port()))
    }

    /// One datagram, without waiting: its length, and the way it came.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Path)> {
        let mut control = Control([0; CONTROL]);
        let mut name = SockAddrStorage::zeroed();
        let mut slice = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: `msghdr` is plain data, for which all zeros is a value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = name.size_of();
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: every pointer in `message` is to a local that lives through the call, with its true length.
        let len = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel wrote an address of `msg_namelen` bytes into `name`.
        let remote = unsafe { SockAddr::new(name, message.msg_namelen) }.as_socket();
        let remote = remote.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        Ok((
            len,
            Path {
                remote,
                local: local_address(&message),
            },
        ))
    }

    fn send(&self, datagram: &[u8], path: &Path) -> io::Result<()> {
        let mut control = Control([0; CONTROL]);
        let name = SockAddr::from(path.remote);
        let mut slice = libc::iovec {
            iov_base: datagram.as_ptr().cast_mut().cast(),
            iov_len: datagram.len(),
        };
        // SAFETY: `msghdr` is plain data, for which all zeros is a value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        if let Some(local) = path.local {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = CONTROL as _;
            set_local_address(&mut message, local);
        }
        // SAFETY: every pointer in `message` is to a value that lives through the call, with its true length; the
        // kernel only reads them.
        let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of our addresses the datagram came to.
fn local_address(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled `message`; the macros stay within `msg_controllen` bytes of `msg_control`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it is a header within the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(header) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a message of this level and type holds an `in_pktinfo`, perhaps not aligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                return Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: a message of this level and type holds an `in6_pktinfo`, perhaps not aligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            // SAFETY: as for the first header.
            _ => header = unsafe { libc::CMSG_NXTHDR(message, header) },
        }
    }
    None
}

/// Asks for the datagram to leave from `local`.
fn set_local_address(message: &mut libc::msghdr, local: IpAddr) {
    match local {
        IpAddr::V4(local) => {
            let address = libc::in_addr {
                s_addr: u32::from(local).to_be(),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            set_control(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(local) => {
            let address = libc::in6_addr { s6_addr: local.octets() };
            let info = libc::in6_pktinfo {
                ipi6_addr: address,
                ipi6_ifindex: 0,
            };
            set_control(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

fn set_control<T: Copy>(message: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, value: T) {
    const { assert!(size_of::<T>() + 2 * size_of::<libc::cmsghdr>() <= CONTROL) };
    // SAFETY: the control buffer is `CONTROL` bytes, aligned for a header, and the assertion above says that header
    // and value fit.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        message.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from `value`, which lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
