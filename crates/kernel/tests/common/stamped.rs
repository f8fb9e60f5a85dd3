//! A UDP socket whose packets carry the time at which the kernel took them in, before anybody woke up.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds on the clock of [`receive`].
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Asks for times (`SO_TIMESTAMPNS`, man 7 socket).
#[allow(unsafe_code)]
pub fn ask(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The next packet's length and the time at which it came.
#[allow(unsafe_code)]
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // Aligned as a control message must be.
    let mut control = [0u64; 8];
    // SAFETY: all zeros are a message without name, parts and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message points at `part`, which points at `buffer`, and at `control`; all outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel filled the message in, and `control` lives.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message).as_ref() };
    let time = header
        .filter(|header| (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS))
        // SAFETY: a message of this type carries a timespec, which may stand unaligned.
        .map(|header| unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() })
        .ok_or_else(|| io::Error::other("no time with the packet"))?;
    let time = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    Ok((length, time.as_nanos() as u64))
}
