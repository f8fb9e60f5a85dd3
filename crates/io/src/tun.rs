//! The TUN interface: IP packets without a link header, made for us alone and gone with the process.
//!
//! Made by ioctl and not by a crate: few calls are needed (`Documentation/networking/tuntap.rst`, drivers/net/tun.c), and no crate
//! at hand asks for `IFF_TUN_EXCL`, without which an existing interface of that name would be taken over.

mod interface;
mod queue;
pub(crate) mod steer;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use fielato_wire::Offload;

pub use interface::Interface;
pub use queue::{Offloads, Queue, READ_MAX};

/// How an interface is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The MTU.
    pub mtu: u16,
    /// Queues, at least one. The kernel spreads flows over them.
    pub queues: usize,
    /// Superpackets and checksums to be completed, as far as the kernel has them.
    pub offloads: bool,
    /// The most segments of a superpacket that the kernel makes (`gso_max_segs`). It cuts up whatever it forwards to the interface
    /// with more.
    pub gso_segments_max: Option<u32>,
    /// Packets that each queue holds (`txqueuelen`).
    pub queue_len: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mtu: 1420,
            queues: 1,
            offloads: true,
            gso_segments_max: None,
            queue_len: None,
        }
    }
}

/// Makes the interface. It is down and has no address.
///
/// A kernel that does not let the number of segments be limited, or the queue's length be set, makes it all the same.
///
/// # Errors
/// No such name, no right to make it (`CAP_NET_ADMIN`), no `/dev/net/tun`, an interface of that name, or a kernel without the
/// offloads asked for.
pub fn create(name: &str, options: &Options) -> io::Result<(Interface, Vec<Queue>)> {
    let Options {
        mtu,
        queues,
        offloads,
        gso_segments_max,
        queue_len,
    } = *options;
    let multiple = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let mut all = vec![Queue::open(name, multiple | libc::IFF_TUN_EXCL, offloads)?];
    while all.len() < queues {
        all.push(Queue::open(name, multiple, offloads)?);
    }
    let interface = Interface::new(name)?;
    interface.set_mtu(mtu)?;
    if let Some(packets) = queue_len
        && let Err(error) = interface.set_queue_len(packets)
    {
        log::debug!("{name}: a queue of {packets} packets: {error}");
    }
    if let Some(segments) = gso_segments_max
        && let Err(error) = interface.set_gso_segments_max(segments)
    {
        log::debug!("{name}: at most {segments} segments: {error}");
    }
    Ok((interface, all))
}

/// A TUN interface of one queue without offloads.
pub struct Tun {
    interface: Interface,
    queue: Queue,
}

impl Tun {
    /// Makes the interface. It is down and has no address.
    ///
    /// # Errors
    /// As [`create`].
    pub fn create(name: &str, mtu: u16) -> io::Result<Self> {
        let options = Options {
            mtu,
            offloads: false,
            ..Options::default()
        };
        let (interface, queues) = create(name, &options)?;
        let queue = queues.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { interface, queue })
    }

    /// The MTU as it is now; anyone may have changed it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> io::Result<usize> {
        self.interface.mtu()
    }

    /// One packet that the kernel sent to the interface, without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none, or the interface is down or gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.queue.read(buffer).map(|(_, len)| len)
    }

    /// One packet, which the kernel receives from the interface, without waiting.
    ///
    /// # Errors
    /// It is no IP packet, or the interface is down or gone.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.queue.write(&Offload::default(), &[IoSlice::new(packet)])
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
