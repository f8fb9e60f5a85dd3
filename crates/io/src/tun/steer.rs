//! Which queue of the interface a packet comes out of: that of the worker who serves its destination.
//!
//! Left to itself the kernel keeps a table of flows by a hash that is the same for both directions, and remembers the queue of
//! the last write (kernel file drivers/net/tun.c, `tun_flow_update`). A flow that nothing was written of comes out anywhere, and
//! one forwarded from one worker's peer to another's changes its queue with each write. A BPF program in its place looks up the
//! destination, `bpf/steer.bpf.c`; the kernel then spares itself the hash of each packet that is written, too.
//!
//! The interface holds the program and the program its maps: nothing is pinned, and with the last queue all of it goes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use aya::programs::{ProgramError, ProgramFd, SocketFilter};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use ipnet::IpNet;

use super::{Queue, check};

#[cfg(test)]
mod tests;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.bpf.o"));
const PROGRAM: &str = "fielato_steer";

/// Why packets are not steered. The interface works without it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SteerError {
    /// The kernel refused for want of privilege.
    #[error(
        "steering packets to the workers' queues: the kernel does not permit BPF here ({0}); it wants CAP_BPF in the first user \
         namespace (run as root, or AmbientCapabilities=CAP_BPF CAP_NET_ADMIN in the unit)"
    )]
    NotPermitted(#[source] io::Error),
    /// The kernel was built without BPF.
    #[error(
        "steering packets to the workers' queues: this kernel has no BPF ({0}); it wants CONFIG_BPF_SYSCALL, kernel 5.1 or newer"
    )]
    NoBpf(#[source] io::Error),
    /// The program or its maps could not be loaded for another reason.
    #[error("steering packets to the workers' queues: the program could not be loaded: {0}; it wants kernel 5.1 or newer")]
    Load(#[source] Box<EbpfError>),
}

impl SteerError {
    fn new(error: impl Into<EbpfError>) -> Self {
        let error = error.into();
        match system_error(&error) {
            Some(code @ libc::EPERM) => Self::NotPermitted(io::Error::from_raw_os_error(code)),
            Some(code @ libc::ENOSYS) => Self::NoBpf(io::Error::from_raw_os_error(code)),
            // EACCES is the verifier's word, and it says why.
            _ => Self::Load(Box::new(error)),
        }
    }
}

/// The program in the kernel, and who serves which destinations.
pub(crate) struct Steering {
    program: ProgramFd,
    v4: Prefixes<4>,
    v6: Prefixes<16>,
}

impl Steering {
    /// Loads the program, attached to nothing yet. No prefix is set: all packets go to the first queue.
    ///
    /// # Errors
    /// See [`SteerError`].
    pub(crate) fn new() -> Result<Self, SteerError> {
        let mut ebpf = load()?;
        let program = loaded(&mut ebpf).and_then(|program| Ok(program.fd()?.try_clone()?));
        Ok(Self {
            program: program.map_err(SteerError::new)?,
            v4: Prefixes::take(&mut ebpf, "hosts_v4", "nets_v4").map_err(SteerError::new)?,
            v6: Prefixes::take(&mut ebpf, "hosts_v6", "nets_v6").map_err(SteerError::new)?,
        })
    }

    /// Steers what comes out of the interface that this queue belongs to. It stays so when this is dropped, as the interface holds
    /// the program; what was set last then counts.
    ///
    /// Queues have the order in which they were opened, and closing one puts the last in its place: prefixes then lead elsewhere.
    ///
    /// # Errors
    /// The kernel is older than 4.16, or the interface is gone.
    pub(crate) fn attach(&self, queue: &Queue) -> io::Result<()> {
        set_program(queue, self.program.as_fd().as_raw_fd())
    }

    /// Packets to a prefix go to this queue from now on, unless a longer prefix covers them: counted from 0, modulo the queues that
    /// there are. Host bits are not heeded.
    ///
    /// # Errors
    /// There are 2^20 networks of this family, or no memory.
    pub(crate) fn set(&mut self, prefix: IpNet, worker: u32) -> io::Result<()> {
        let set = match prefix {
            IpNet::V4(net) => self.v4.set(net.network().octets(), net.prefix_len(), worker),
            IpNet::V6(net) => self.v6.set(net.network().octets(), net.prefix_len(), worker),
        };
        set.map_err(system)
    }

    /// The prefix leads nowhere any more; a shorter one that covers it counts again. Nothing happens if it was not set.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn remove(&mut self, prefix: IpNet) -> io::Result<()> {
        let removed = match prefix {
            IpNet::V4(net) => self.v4.remove(net.network().octets(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().octets(), net.prefix_len()),
        };
        removed.map_err(system)
    }
}

/// The prefixes of a family whose addresses have `N` bytes. The program asks for the host first, so that one in both maps counts
/// as `hosts` has it.
struct Prefixes<const N: usize> {
    hosts: HashMap<MapData, [u8; N], u32>,
    nets: LpmTrie<MapData, [u8; N], u32>,
}

impl<const N: usize> Prefixes<N> {
    fn take(ebpf: &mut Ebpf, hosts: &str, nets: &str) -> Result<Self, MapError> {
        let mut map = |name| ebpf.take_map(name).ok_or(MapError::ElementNotFound);
        Ok(Self {
            hosts: HashMap::try_from(map(hosts)?)?,
            nets: LpmTrie::try_from(map(nets)?)?,
        })
    }

    fn set(&mut self, address: [u8; N], len: u8, worker: u32) -> Result<(), MapError> {
        if usize::from(len) == 8 * N {
            match self.hosts.insert(address, worker, 0) {
                Err(error) if system_error(&error) == Some(libc::E2BIG) => {}
                result => return result,
            }
        }
        self.nets.insert(&Key::new(len.into(), address), worker, 0)
    }

    fn remove(&mut self, address: [u8; N], len: u8) -> Result<(), MapError> {
        // The trie first: what it has of a host may be older.
        there(self.nets.remove(&Key::new(len.into(), address)))?;
        if usize::from(len) == 8 * N {
            there(self.hosts.remove(&address))?;
        }
        Ok(())
    }
}

/// What was to be removed and is not there is no error.
fn there(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(error) if system_error(&error) == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// The program's and the maps' file descriptors. What is taken out of it goes on without it.
fn load() -> Result<Ebpf, SteerError> {
    let mut ebpf = EbpfLoader::new()
        .btf(None) // nothing in the program depends on the kernel's own types
        .load(OBJECT)
        .map_err(SteerError::new)?;
    loaded(&mut ebpf)
        .and_then(|program| program.load())
        .map_err(SteerError::new)?;
    Ok(ebpf)
}

fn loaded(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, ProgramError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(ProgramError::UnexpectedProgramType)?;
    program.try_into()
}

/// A program by its file descriptor, or -1: none, the kernel chooses again.
fn set_program(queue: &Queue, program: RawFd) -> io::Result<()> {
    // SAFETY: TUNSETSTEERINGEBPF reads one `int`, which lives through the call. (Its number says that it writes; it does not.)
    check(unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const program) })
}

/// What the kernel said.
fn system(error: MapError) -> io::Error {
    match system_error(&error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}

/// The system's error at the bottom of a chain of causes.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        next = error.source();
    }
    None
}
