//! The TUN interface: IP packets without a link header, made for us alone and gone with the process.
//!
//! Made by ioctl and not by a crate: two calls are needed (`Documentation/networking/tuntap.rst`), and no crate
//! at hand asks for `IFF_TUN_EXCL`, without which an existing interface of that name would be taken over.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// Longest name of an interface, without the closing zero (`IFNAMSIZ`).
const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// A TUN interface.
pub struct Tun {
    fd: OwnedFd,
    name: String,
    /// Any socket, for ioctls about the interface, in the network namespace it was made in.
    control: OwnedFd,
}

impl Tun {
    /// Makes the interface. It is down and has no address.
    ///
    /// # Errors
    /// No such name, no right to make it (`CAP_NET_ADMIN`), no `/dev/net/tun`, or an interface of that name.
    pub fn create(name: &str, mtu: u16) -> io::Result<Self> {
        let mut request = request(name)?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
        // The flags field is 16 bits wide and IFF_TUN_EXCL is its top bit.
        request.ifr_ifru.ifru_flags = flags as u16 as libc::c_short;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        let control = rustix::net::socket_with(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::DGRAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )?;
        let tun = Self {
            fd,
            name: name.to_owned(),
            control,
        };
        tun.set_mtu(mtu)?;
        Ok(tun)
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

    fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_mtu = mtu.into();
        // SAFETY: SIOCSIFMTU reads one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), libc::SIOCSIFMTU as _, &raw mut request) })
    }

    /// One packet that the kernel sent to the interface, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none, or the interface is down or gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.fd, buffer)?)
    }

    /// One packet, which the kernel receives from the interface, without waiting.
    ///
    /// # Errors
    /// It is no IP packet, or the interface is down or gone.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        Ok(rustix::io::write(&self.fd, packet).map(drop)?)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn request(name: &str) -> io::Result<libc::ifreq> {
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

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
