//! The WireGuard interface, whoever runs it: the kernel's module where there is one, else our own device.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use fielato_gateway::{Egress, Side};
use fielato_io::device::Middle;
use fielato_kernel::link::{self, LinkError};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::wireguard::Wireguard;
use fielato_qdisc::Settings;
use fielato_wireguard::{DeviceConfig, DeviceStatus, PeerChange, PublicKey};

use crate::protocol::DropCount;

/// Which implementation to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The kernel's where there is one, else our own.
    #[default]
    Auto,
    /// The kernel's, or nothing.
    Kernel,
    /// Our own, even where the kernel has one.
    Userspace,
}

/// A WireGuard interface that is ours.
pub enum Tunnel {
    /// The kernel's.
    Kernel {
        /// Name of the interface.
        name: String,
        /// The way to it.
        wireguard: Wireguard,
    },
    /// Our own; it vanishes with this process.
    Userspace(fielato_io::Device),
}

/// An interface that somebody else made has the name.
#[derive(Debug, thiserror::Error)]
#[error(
    "interface {0} exists and is not fielato's; choose another name under [hub] interface, or remove it with `ip link del {0}`"
)]
pub struct Foreign(pub String);

/// Refuses an interface of this name that is not ours.
///
/// # Errors
/// [`Foreign`], or a netlink error.
pub fn refuse_foreign(netlink: &mut Netlink, name: &str) -> Result<()> {
    match link::find(netlink, name)? {
        Some(link) if !link.is_ours() => Err(Foreign(name.into()).into()),
        _ => Ok(()),
    }
}

impl Tunnel {
    /// Makes the interface, still down, with its key and peers. An interface of ours that an earlier process left behind is
    /// taken over with its sessions.
    ///
    /// # Errors
    /// [`Foreign`] when the name is taken; the kernel's or the device's own error otherwise. Nothing is left behind.
    pub fn create(netlink: &mut Netlink, choice: Choice, name: &str, mtu: u32, config: &DeviceConfig) -> Result<Self> {
        refuse_foreign(netlink, name)?;
        link::remove_leftovers(netlink)?;
        let existing = link::find(netlink, name)?;
        // The TUN of a killed process may still be there while the kernel takes that process apart.
        let existing = match existing {
            Some(link) if choice == Choice::Userspace || link.kind.as_deref() != Some("wireguard") => {
                remove_link(netlink, name)?;
                None
            }
            existing => existing,
        };
        if choice == Choice::Userspace {
            return Self::create_userspace(netlink, name, mtu, config);
        }
        if existing.is_none() {
            match link::create_owned_wireguard(netlink, name) {
                Err(LinkError::NoKind { .. }) if choice == Choice::Auto => {
                    return Self::create_userspace(netlink, name, mtu, config);
                }
                result => result?,
            };
        }
        match Self::take_over(netlink, name, mtu, config) {
            Ok(wireguard) => Ok(Self::Kernel {
                name: name.into(),
                wireguard,
            }),
            Err(error) => {
                remove_link(netlink, name)?;
                Err(error)
            }
        }
    }

    fn create_userspace(netlink: &mut Netlink, name: &str, mtu: u32, config: &DeviceConfig) -> Result<Self> {
        let mtu = u16::try_from(mtu).context("an MTU is at most 65535")?;
        let middle = Middle::Egress(Box::new(own_disciplines(mtu)?));
        let device = fielato_io::Device::create_between(name, &mtu.into(), config, middle)?;
        mark(netlink, name)?;
        Ok(Self::Userspace(device))
    }

    /// Sets what a kernel interface must have. Peers that it has already keep their sessions.
    fn take_over(netlink: &mut Netlink, name: &str, mtu: u32, config: &DeviceConfig) -> Result<Wireguard> {
        let link = link::get(netlink, name)?;
        link::set_mtu(netlink, &link, mtu)?;
        let mut wireguard = Wireguard::open()?;
        let had = wireguard.get(name)?;
        if had.peers.is_empty() {
            wireguard.set(name, config)?;
            return Ok(wireguard);
        }
        wireguard.set_own(name, &config.private_key, config.listen_port, config.fwmark)?;
        let wanted: BTreeSet<PublicKey> = config.peers.iter().map(|peer| peer.public_key).collect();
        let removed = had
            .peers
            .iter()
            .map(|peer| peer.public_key)
            .filter(|key| !wanted.contains(key))
            .map(PeerChange::Remove);
        let changes: Vec<PeerChange> = removed.chain(config.peers.iter().cloned().map(PeerChange::Set)).collect();
        wireguard.apply(name, &changes)?;
        Ok(wireguard)
    }

    /// Our own device, when it is the one that encrypts.
    pub fn own(&self) -> Option<&fielato_io::Device> {
        match self {
            Self::Kernel { .. } => None,
            Self::Userspace(device) => Some(device),
        }
    }

    /// `"kernel"` or `"userspace"`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kernel { .. } => "kernel",
            Self::Userspace(_) => "userspace",
        }
    }

    /// Changes some peers; the others' sessions keep running.
    ///
    /// # Errors
    /// When the kernel refuses the change.
    pub fn apply(&mut self, changes: &[PeerChange]) -> Result<()> {
        match self {
            Self::Kernel { name, wireguard } => Ok(wireguard.apply(name, changes)?),
            Self::Userspace(device) => {
                device.apply(changes);
                Ok(())
            }
        }
    }

    /// Changes key, port and mark, not the peers.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn set_interface(&mut self, config: &DeviceConfig) -> Result<()> {
        match self {
            Self::Kernel { name, wireguard } => {
                Ok(wireguard.set_own(name, &config.private_key, config.listen_port, config.fwmark)?)
            }
            Self::Userspace(device) => Ok(device.set(config)?),
        }
    }

    /// What the device reports.
    ///
    /// # Errors
    /// When the kernel's interface has gone.
    pub fn status(&mut self) -> Result<DeviceStatus> {
        match self {
            Self::Kernel { name, wireguard } => Ok(wireguard.get(name)?),
            Self::Userspace(device) => Ok(device.status()),
        }
    }

    /// What our own device dropped, by reason; reasons that have not occurred are left out.
    pub fn drops(&self) -> Vec<DropCount> {
        match self {
            Self::Kernel { .. } => Vec::new(),
            Self::Userspace(device) => device_drops(device),
        }
    }

    /// Takes the interface away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(self, netlink: &mut Netlink) -> Result<()> {
        self.remove_with_counters(netlink).map(drop)
    }

    /// The same; returns what the device reports at the end, when nothing comes or goes any more. `None` when somebody else has
    /// taken it away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_with_counters(self, netlink: &mut Netlink) -> Result<Option<DeviceStatus>> {
        match self {
            Self::Kernel { name, mut wireguard } => {
                let last = match link::find(netlink, &name)? {
                    Some(link) if link.is_ours() => {
                        link::set_up(netlink, &link, false)?;
                        wireguard.get(&name).ok()
                    }
                    _ => None,
                };
                remove_link(netlink, &name)?;
                Ok(last)
            }
            Self::Userspace(device) => Ok(Some(device.stop())),
        }
    }
}

/// Disciplines for the way to the peers; none yet. They are for what the kernel can't do on the interface.
fn own_disciplines(mtu: u16) -> Result<Egress> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("the system has no randomness to give")?;
    let settings = Settings {
        mtu: mtu.into(),
        seed: u64::from_ne_bytes(seed),
        ..Settings::default()
    };
    Ok(Egress::new(Side::Destination, settings))
}

/// Makes an interface known as ours.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn mark(netlink: &mut Netlink, name: &str) -> Result<()> {
    if let Some(link) = link::find(netlink, name)? {
        link::set_alias(netlink, &link, link::ALIAS)?;
    }
    Ok(())
}

/// What a device of ours dropped, by reason; reasons that have not occurred are left out.
pub(crate) fn device_drops(device: &fielato_io::Device) -> Vec<DropCount> {
    let counted = device.drops().into_iter().filter(|(_, packets)| *packets > 0);
    counted
        .map(|(reason, packets)| DropCount {
            by: "wireguard".into(),
            reason: reason.to_string(),
            packets,
        })
        .collect()
}

/// Deletes the interface if it is there and ours.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_link(netlink: &mut Netlink, name: &str) -> Result<()> {
    match link::find(netlink, name)? {
        Some(link) if link.is_ours() => match link::delete(netlink, &link) {
            // It went by itself, with the process that had it.
            Ok(()) | Err(LinkError::Missing(_)) => Ok(()),
            Err(error) => Err(error.into()),
        },
        _ => Ok(()),
    }
}

/// Deletes what a killed process left of the interface: the link, and the socket that `wg` would ask.
///
/// # Errors
/// When the system refuses.
pub fn remove_leftovers(netlink: &mut Netlink, name: &str) -> Result<()> {
    remove_link(netlink, name)?;
    link::remove_leftovers(netlink)?;
    fielato_io::remove_leftover_socket(name)
        .with_context(|| format!("cannot remove the socket of {name} in /var/run/wireguard"))?;
    Ok(())
}
