//! What can go wrong with the guard.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use ipnet::IpNet;

/// Why the guard could not be attached, changed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The kernel refused the program or its maps for want of privilege.
    #[error(
        "guard: the kernel does not permit BPF here ({0}); it wants CAP_BPF and CAP_NET_ADMIN in the first user namespace \
         (run as root, or AmbientCapabilities=CAP_BPF CAP_NET_ADMIN in the unit)"
    )]
    NotPermitted(#[source] io::Error),
    /// The kernel was built without BPF.
    #[error("guard: this kernel has no BPF ({0}); it wants CONFIG_BPF_SYSCALL and CONFIG_NET, kernel 5.18 or newer")]
    NoBpf(#[source] io::Error),
    /// The program or its maps could not be loaded.
    #[error("guard: the program could not be loaded: {}; the guard wants kernel 5.18 or newer", brief(.0))]
    Load(#[source] Box<EbpfError>),
    /// The kernel's verifier refused the program.
    #[error("guard: the kernel refused the program: {}; the guard wants kernel 5.18 or newer", brief(.0))]
    Verify(#[source] Box<ProgramError>),
    /// Where a packet begins on such a device is not known.
    #[error(
        "guard: devices of ARPHRD type {arphrd} are not known; Ethernet (1), loopback (772) and devices without a link header \
         (65534 as WireGuard and TUN have it, 519) are"
    )]
    UnknownDeviceType {
        /// The type, as in `/sys/class/net/IFACE/type`.
        arphrd: u16,
    },
    /// There is no such interface.
    #[error("guard: no interface with index {ifindex}")]
    NoInterface {
        /// Its index.
        ifindex: u32,
    },
    /// Another XDP program sits on the interface.
    #[error(
        "guard: the interface with index {ifindex} already has an XDP program that is not ours (id {program}, see `bpftool prog show id \
         {program}`); detach it, or switch the guard off for this interface"
    )]
    Occupied {
        /// The interface.
        ifindex: u32,
        /// The program's id; 0 when the kernel doesn't tell.
        program: u32,
    },
    /// Attaching failed.
    #[error("guard: attaching to the interface with index {ifindex} failed: {source}")]
    Attach {
        /// The interface.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The kernel can't hold XDP by a BPF link.
    #[error("guard: this kernel has no BPF links for XDP; kernel 5.18 or newer is needed")]
    NoLink(#[source] LinkError),
    /// The pin's path is taken by something that is not a pinned guard.
    #[error("guard: {path} is {what}, not a guard's pin; move it away, or choose another path")]
    ForeignPin {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// The pin could not be made, read or removed.
    #[error("guard: pin {path}: {source}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Asking the kernel about the interface failed.
    #[error("guard: asking for the interface with index {ifindex} by netlink failed: {source}")]
    Netlink {
        /// The interface.
        ifindex: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No room for more bans.
    #[error("guard: {network} is not banned: {limit} bans per address family are the limit; ban wider networks instead")]
    TooManyBans {
        /// The first that did not fit.
        network: IpNet,
        /// The limit.
        limit: usize,
    },
    /// A map could not be read or written.
    #[error("guard: map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A system call on a map failed.
    #[error("guard: {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl GuardError {
    pub(super) fn map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { map, source }
    }

    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// What loading failed with, told apart by the system's error.
    pub(super) fn load(error: EbpfError) -> Self {
        match system_error(&error) {
            Some(source) => Self::privilege(source).unwrap_or_else(|| Self::Load(Box::new(error))),
            None => Self::Load(Box::new(error)),
        }
    }

    /// What the verifier's turn failed with.
    pub(super) fn verify(error: ProgramError) -> Self {
        match system_error(&error) {
            Some(source) => Self::privilege(source).unwrap_or_else(|| Self::Verify(Box::new(error))),
            None => Self::Verify(Box::new(error)),
        }
    }

    /// EACCES is the verifier's word, and it says why.
    fn privilege(source: io::Error) -> Option<Self> {
        match source.raw_os_error() {
            Some(libc::EPERM) => Some(Self::NotPermitted(source)),
            Some(libc::ENOSYS) => Some(Self::NoBpf(source)),
            _ => None,
        }
    }
}

/// Of the verifier's log, which may have thousands of lines, what it refused: it stands last, before the statistics.
pub(crate) fn brief(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let Some((what, log)) = text.split_once(". Verifier output: ") else {
        return text;
    };
    let mut lines = log.lines().rev().map(str::trim);
    let statistics = ["verification time", "stack depth", "processed"];
    let says = |line: &&str| !line.is_empty() && !statistics.iter().any(|begin| line.starts_with(begin));
    match lines.find(says) {
        Some(refused) => format!("{what}: {refused}"),
        None => what.to_owned(),
    }
}

/// The system's error at the bottom of a chain of causes.
pub(crate) fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(io::Error::from_raw_os_error(code));
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_what_was_refused() {
        let log = "the BPF_PROG_LOAD syscall returned Permission denied (os error 13). Verifier output: 0: R1=ctx(off=0,imm=0)\n\
            12: (85) call bpf_map_lookup_elem#1\nR2 type=scalar expected=fp\nverification time 16310 usec\n\
            stack depth 24+16\nprocessed 247 insns (limit 1000000)\n ";
        assert_eq!(
            brief(&log),
            "the BPF_PROG_LOAD syscall returned Permission denied (os error 13): R2 type=scalar expected=fp"
        );
        assert_eq!(brief(&"no log"), "no log");
        assert_eq!(brief(&"it failed. Verifier output: "), "it failed");
    }
}
