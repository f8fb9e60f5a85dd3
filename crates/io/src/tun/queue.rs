//! One queue of a TUN interface: superpackets in and out.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fielato_wire::{OFFLOAD_LEN, Offload};
use rustix::fs::{Mode, OFlags};

use super::check;
use super::interface::request;

/// Room for a packet of any length, and so for what one read brings.
pub const READ_MAX: usize = 65_535;

/// Parts of a write that need no memory of their own.
const PARTS: usize = 64;

/// What may be written to a queue, and what reading it may bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums to be completed, and TCP superpackets.
    pub tcp: bool,
    /// Superpackets of UDP datagrams (Linux 6.2 and later).
    pub udp: bool,
}

/// One queue of a TUN interface. The kernel keeps each flow on one queue.
pub struct Queue {
    fd: OwnedFd,
    offloads: Offloads,
}

impl Queue {
    /// A queue of the interface of that name. The first one makes the interface, with `IFF_TUN_EXCL` among its flags.
    pub(super) fn open(name: &str, flags: libc::c_int, offloads: bool) -> io::Result<Self> {
        let mut request = request(name)?;
        let flags = flags | libc::IFF_TUN | libc::IFF_NO_PI | if offloads { libc::IFF_VNET_HDR } else { 0 };
        // The flags field is 16 bits wide and IFF_TUN_EXCL is its top bit.
        request.ifr_ifru.ifru_flags = flags as u16 as libc::c_short;
        let mode = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open("/dev/net/tun", mode, Mode::empty())?;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        let offloads = if offloads { negotiate(&fd)? } else { Offloads::default() };
        Ok(Self { fd, offloads })
    }

    /// The same queue once more, so that another thread writes to it too. It is open until all of them are dropped.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { fd, offloads } = self;
        Ok(Self {
            fd: fd.try_clone()?,
            offloads: *offloads,
        })
    }

    /// What the kernel agreed to.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// One packet that the kernel sent to the interface, without waiting: what is left to be done with it, and its length.
    /// A packet longer than `buffer` is cut ([`READ_MAX`]).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none, or the interface is down or gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<(Offload, usize)> {
        if !self.offloads.tcp {
            let len = rustix::io::read(&self.fd, buffer)?;
            return Ok((Offload::default(), len));
        }
        let mut header = [0; OFFLOAD_LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let len = rustix::io::readv(&self.fd, &mut parts)?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let offload = Offload::parse(&header).map_err(invalid)?;
        Ok((offload, len.saturating_sub(OFFLOAD_LEN)))
    }

    /// One packet, in parts, which the kernel receives from the interface, without waiting.
    ///
    /// # Errors
    /// It is no IP packet, or the interface is down or gone. [`io::ErrorKind::InvalidInput`] for a superpacket, when the kernel
    /// refuses it, or a queue has no offloads: go on without them then.
    pub fn write(&self, offload: &Offload, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.offloads.tcp {
            if offload.needs_csum.is_some() || offload.segmentation.is_some() {
                let text = "the interface was made without offloads and takes no superpackets";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            return Ok(rustix::io::writev(&self.fd, parts).map(drop)?);
        }
        let header = offload.emit();
        let header = IoSlice::new(&header);
        let written = match parts {
            [packet] => rustix::io::writev(&self.fd, &[header, *packet]),
            parts if parts.len() <= PARTS => {
                let mut all = [header; PARTS + 1];
                for (to, from) in all.iter_mut().skip(1).zip(parts) {
                    *to = *from;
                }
                rustix::io::writev(&self.fd, all.get(..=parts.len()).unwrap_or(&all))
            }
            parts => {
                let all: Vec<_> = std::iter::once(header).chain(parts.iter().copied()).collect();
                rustix::io::writev(&self.fd, &all)
            }
        };
        Ok(written.map(drop)?)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Agrees with the kernel on the header of 10 bytes, little-endian, and on as many offloads as it has.
fn negotiate(fd: &OwnedFd) -> io::Result<Offloads> {
    let set = |request, value: libc::c_int| {
        // SAFETY: TUNSETVNETHDRSZ and TUNSETVNETLE read one `int`, which lives through the call.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const value) })
    };
    set(libc::TUNSETVNETHDRSZ, OFFLOAD_LEN as libc::c_int)?;
    set(libc::TUNSETVNETLE, 1)?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let offer = |offloads: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its flags as a number and touches no memory of ours.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) })
    };
    // A kernel before 6.2 refuses flags that it does not know (`set_offload`, drivers/net/tun.c).
    if offer(tcp | udp).is_ok() {
        return Ok(Offloads { tcp: true, udp: true });
    }
    offer(tcp)?;
    Ok(Offloads { tcp: true, udp: false })
}
