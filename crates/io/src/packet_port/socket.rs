//! The packet socket.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Room for frames that wait: some milliseconds at full speed. The kernel doubles it, and counts its own overhead against it.
const BUFFER: libc::c_int = 8 << 20;

/// All protocols, in network byte order.
pub(super) const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A socket for the frames of one interface; the error says at what.
pub(super) fn open(index: u32) -> Result<OwnedFd, (&'static str, io::Error)> {
    let at = |what| move |error| (what, error);
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Of no protocol until it is bound: between the two calls it would have every interface's frames.
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }).map_err(at("socket"))?;
    // SAFETY: the call succeeded, so the descriptor is ours alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let fd = socket.as_fd();
    let packet = libc::SOL_PACKET;
    set(fd, packet, libc::PACKET_VNET_HDR, &1_i32).map_err(at("superpackets (PACKET_VNET_HDR)"))?;
    set(fd, packet, libc::PACKET_AUXDATA, &1_i32).map_err(at("VLAN tags (PACKET_AUXDATA)"))?;
    set(fd, packet, libc::PACKET_IGNORE_OUTGOING, &1_i32).map_err(at("no echo (PACKET_IGNORE_OUTGOING, Linux 4.20)"))?;
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        // Forcing needs a privilege that is not needed otherwise; the plain request is cut to the system's limit.
        set(fd, libc::SOL_SOCKET, force, &BUFFER)
            .or_else(|_| set(fd, libc::SOL_SOCKET, plain, &BUFFER))
            .map_err(at("buffer"))?;
    }
    // Solicitations for the gateway's IPv6 addresses go to groups that the kernel joined none of (RFC 4861 §7.2.1).
    let membership = libc::packet_mreq {
        mr_ifindex: index as libc::c_int,
        mr_type: libc::PACKET_MR_ALLMULTI as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(fd, packet, libc::PACKET_ADD_MEMBERSHIP, &membership).map_err(at("multicast"))?;
    let address = address(index, ALL);
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from `address`, which lives through the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) }).map_err(at("binding"))?;
    Ok(socket)
}

/// An interface as an address; `protocol` in network byte order.
pub(super) fn address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: `sockaddr_ll` is plain data, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index as libc::c_int;
    address
}

/// Frames that the kernel had no room for since it was asked last.
pub(super) fn take_dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `stats`, and both live through the call.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut size,
        )
    })?;
    Ok(stats.tp_drops)
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from `value`, which lives through the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), size) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
