//! The XDP guard: banned networks are refused before the stack sees their packets, and what every other source sends is
//! counted.
//!
//! The program is `bpf/guard.bpf.c`. [`Filter`] is the program in the kernel with its maps; [`Guard`] is a filter on an
//! interface.

mod device;
mod error;
mod filter;
mod hosts;
mod pin;
mod prefilter;
mod sys;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, XdpMode};
use ipnet::IpNet;

pub(crate) use error::{brief, system_error};
pub(crate) use pin::{on_bpffs, unwritable};
pub(crate) use sys::{Entries, lookup_all};

pub use error::GuardError;
pub use filter::{BanCount, Filter, LinkLayer, SourceCount, TestResult, Unread, run};

/// How a guard is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many sources are counted at once, per address family; the least recently seen gives way.
    pub sources: u32,
    /// A path in a bpffs where the link is kept, so that the bans stand when this process is killed.
    pub pin: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: 65_536,
            pin: None,
        }
    }
}

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel makes a buffer of the packet.
    Native,
    /// In the stack's first step: every device has it.
    Generic,
}

/// A filter on an interface.
///
/// Dropping it leaves a pinned link standing, and detaches one that is not pinned; [`Guard::detach`] removes both.
#[derive(Debug)]
pub struct Guard {
    filter: Filter,
    link: FdLink,
    mode: Mode,
    pin: Option<PathBuf>,
}

impl Guard {
    /// Attaches to an interface of this network namespace; `arphrd` is its `/sys/class/net/IFACE/type`.
    pub fn attach(ifindex: u32, arphrd: u16, options: &Options) -> Result<Self, GuardError> {
        Self::attach_with(ifindex, arphrd, options, &[])
    }

    /// As [`Guard::attach`], with bans that are in force from the first packet on. Where a pin of an earlier process still
    /// guards the interface, the new program takes its place in one step, so that there is no moment without bans.
    pub fn attach_with(ifindex: u32, arphrd: u16, options: &Options, bans: &[IpNet]) -> Result<Self, GuardError> {
        let link_layer = LinkLayer::from_arphrd(arphrd)?;
        let before = device::attached(ifindex)?;
        let mut filter = Filter::load(link_layer, options.sources)?;
        filter.ban_all(bans)?;

        let place = match &options.pin {
            Some(path) => pin::prepare(path)?,
            None => pin::Place::NoBpffs,
        };
        let path = match place {
            pin::Place::NoBpffs => None,
            pin::Place::Free | pin::Place::Held(_) => options.pin.as_deref(),
        };
        if let (pin::Place::Held(held), Some(path)) = (place, path) {
            // Program ids are unique on the machine: the same id means the same link, in whatever namespace.
            if before.is_some_and(|before| before.program == held.program) {
                let link = replace(&mut filter, ifindex, path)?;
                return Self::finish(filter, link, ifindex, Some(path));
            }
            // Its interface is gone, or was made anew.
            held.remove(path)?;
        }
        if let Some(before) = device::attached(ifindex)? {
            return Err(GuardError::Occupied {
                ifindex,
                program: before.program,
            });
        }
        let link = attach(&mut filter, ifindex, link_layer)?;
        match path {
            Some(path) => match keep(link, path)? {
                Kept::Pinned(link) => Self::finish(filter, link, ifindex, Some(path)),
                Kept::Unpinned => {
                    let link = attach(&mut filter, ifindex, link_layer)?;
                    Self::finish(filter, link, ifindex, None)
                }
            },
            None => Self::finish(filter, link, ifindex, None),
        }
    }

    fn finish(filter: Filter, link: FdLink, ifindex: u32, pin: Option<&Path>) -> Result<Self, GuardError> {
        let native = device::attached(ifindex)?.is_some_and(|attached| attached.native);
        let mode = if native { Mode::Native } else { Mode::Generic };
        Ok(Self {
            filter,
            link,
            mode,
            pin: pin.map(Into::into),
        })
    }

    /// Removes the program from the interface, and the pin.
    pub fn detach(self) -> Result<(), GuardError> {
        let Self {
            filter,
            link,
            mode: _,
            pin,
        } = self;
        let removed = match pin {
            Some(path) => pin::remove(&path).map(drop),
            None => Ok(()),
        };
        drop(link);
        drop(filter);
        removed
    }

    /// Removes what a killed process left at a pin's path; false when there is nothing.
    pub fn remove_pin(path: &Path) -> Result<bool, GuardError> {
        pin::remove(path)
    }

    /// Where the link is pinned; `None` also when [`Options::pin`] named a path that is not in a writable bpffs.
    pub fn pinned(&self) -> Option<&Path> {
        self.pin.as_deref()
    }

    /// Where the program runs.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Deref for Guard {
    type Target = Filter;

    fn deref(&self) -> &Filter {
        &self.filter
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Filter {
        &mut self.filter
    }
}

/// Puts the filter in the place of the program that a pinned link holds.
fn replace(filter: &mut Filter, ifindex: u32, path: &Path) -> Result<FdLink, GuardError> {
    let pinned = PinnedLink::from_pin(path).map_err(GuardError::NoLink)?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(GuardError::NoLink)?;
    let id = filter
        .program()
        .attach_to_link(link)
        .map_err(|error| refused(ifindex, error))?;
    let link = filter.program().take_link(id).map_err(|error| refused(ifindex, error))?;
    FdLink::try_from(link).map_err(GuardError::NoLink)
}

fn attach(filter: &mut Filter, ifindex: u32, link_layer: LinkLayer) -> Result<FdLink, GuardError> {
    // No driver without a link header has native XDP.
    let modes: &[XdpMode] = match link_layer {
        LinkLayer::Ethernet => &[XdpMode::Driver, XdpMode::Skb],
        LinkLayer::None => &[XdpMode::Skb],
    };
    let mut last = ProgramError::NotAttached;
    for mode in modes {
        match filter.program().attach_to_if_index(ifindex, *mode) {
            Ok(id) => {
                let link = filter.program().take_link(id).map_err(|error| refused(ifindex, error))?;
                return FdLink::try_from(link).map_err(GuardError::NoLink);
            }
            Err(error) => last = error,
        }
    }
    Err(refused(ifindex, last))
}

enum Kept {
    Pinned(FdLink),
    Unpinned,
}

/// Pins a link, and holds it too.
fn keep(link: FdLink, path: &Path) -> Result<Kept, GuardError> {
    match link.pin(path) {
        Ok(pinned) => Ok(Kept::Pinned(pinned.into())),
        Err(error) => {
            let source = error::system_error(&error).unwrap_or_else(|| std::io::Error::other(error));
            if pin::unwritable(&source) {
                Ok(Kept::Unpinned)
            } else {
                Err(GuardError::Pin {
                    path: path.into(),
                    source,
                })
            }
        }
    }
}

fn refused(ifindex: u32, error: ProgramError) -> GuardError {
    match error::system_error(&error).and_then(|error| error.raw_os_error()) {
        // Attached by someone else between our look and now.
        Some(libc::EBUSY | libc::EEXIST) => GuardError::Occupied { ifindex, program: 0 },
        Some(libc::ENODEV) => GuardError::NoInterface { ifindex },
        Some(libc::EPERM | libc::EACCES) => GuardError::NotPermitted(std::io::Error::from_raw_os_error(libc::EPERM)),
        _ => GuardError::Attach {
            ifindex,
            source: Box::new(error),
        },
    }
}
