//! The two engines behind one hub.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use anyhow::{Result, bail};
use fielato_io::tap::Tap;
use fielato_policy::Plan;
use fielato_policy::plan::PerFamily;
use fielato_wireguard::{DeviceConfig, DeviceStatus, PeerChange};
use ipnet::IpNet;
use jiff::Timestamp;

use super::kernel::{Kernel, Missing};
use super::userspace::Userspace;
use crate::accounting::Lives;
use crate::bans::Bans;
use crate::protocol::{Changes, DropCount, GuardStatus, ShapeDevice};
use crate::undo;

/// Who judges and moves the packets.
pub(super) enum Engine {
    /// nftables, tc and XDP.
    Kernel(Box<Kernel>),
    /// One process.
    Userspace(Box<Userspace>),
}

/// What leads from one plan to another.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// What stands.
    pub(super) old: &'a Plan,
    /// What shall stand; interface, uplink and guard are those of `old`.
    pub(super) new: &'a Plan,
    /// The peers' part of it.
    pub(super) peers: &'a [PeerChange],
    /// The whole device, when its key or its port changes.
    pub(super) device: Option<&'a DeviceConfig>,
    /// Bans made by commands; the file's are in the plan.
    pub(super) bans: &'a Bans,
}

/// What came from one source address.
pub(super) struct Counted {
    /// Source address of the packets.
    pub(super) address: IpAddr,
    /// Where it was counted.
    pub(super) interface: String,
    /// Packets.
    pub(super) packets: u64,
    /// Bytes, from the IP header on.
    pub(super) bytes: u64,
}

/// Calls a function of the engine that runs.
macro_rules! running {
    ($engine:expr, $running:ident => $call:expr) => {
        match $engine {
            Engine::Kernel($running) => $call,
            Engine::Userspace($running) => $call,
        }
    };
}

impl Engine {
    /// In which families the machine forwarded packets before us.
    pub(super) fn forwarded_before(&self) -> Result<PerFamily<bool>> {
        match self {
            Self::Kernel(kernel) => kernel.forwarded_before(),
            // It forwards nothing but the VPN's packets, whatever the machine did and does.
            Self::Userspace(_) => Ok(PerFamily::default()),
        }
    }

    /// Leads from one plan to another.
    ///
    /// # Errors
    /// Why it was refused; everything is then as before.
    pub(super) fn change(&mut self, step: &Step<'_>) -> Result<Changes> {
        running!(self, engine => engine.change(step))
    }

    /// Makes the bans in force those of the file and of the list. Returns how many were added or removed.
    pub(super) fn set_bans(&mut self, plan: &Plan, bans: &Bans) -> Result<usize> {
        running!(self, engine => engine.set_bans(plan, bans))
    }

    /// Takes everything down. Returns what the device reported at the end.
    pub(super) fn down(self) -> Result<Option<DeviceStatus>> {
        running!(self, engine => engine.down())
    }

    /// What becomes readable when [`Engine::handle_watched`] has something to look at.
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Kernel(kernel) => Some(kernel.watched()),
            Self::Userspace(_) => None,
        }
    }

    /// Puts back what somebody else changed.
    pub(super) fn handle_watched(&mut self, plan: &Plan) -> Result<()> {
        match self {
            Self::Kernel(kernel) => kernel.handle_watched(plan),
            Self::Userspace(_) => Ok(()),
        }
    }

    /// Notices what only ends the hub: the interface taken away.
    pub(super) fn check(&mut self, plan: &Plan) -> Result<()> {
        running!(self, engine => engine.check(plan))
    }

    /// Looks whether everything is as the plan says, as far as that can be asked.
    ///
    /// # Errors
    /// What is not.
    pub(super) fn verify(&mut self, plan: &Plan) -> Result<()> {
        let wanted: BTreeSet<_> = plan.peers.iter().map(|peer| peer.public_key).collect();
        let found: BTreeSet<_> = self.device()?.peers.iter().map(|peer| peer.public_key).collect();
        if let Some(key) = wanted.symmetric_difference(&found).next() {
            bail!("the WireGuard device has other peers than the policy: {key}");
        }
        match self {
            Self::Kernel(kernel) => kernel.verify(plan),
            Self::Userspace(userspace) => userspace.check(plan),
        }
    }

    /// Names one life of the WireGuard interface, among all there were and will be: its counters begin anew with another one. Our
    /// own device lives as long as this process.
    pub(super) fn lives(&mut self, plan: &Plan, now: Timestamp) -> Result<Lives> {
        let boot = undo::boot_id()?;
        match self {
            Self::Kernel(kernel) if kernel.wireguard() == "kernel" => Ok(Lives {
                device: format!("{boot} interface {}", kernel.index(plan)?),
                packets: kernel.counting().map(|life| format!("{boot} map {life}")),
            }),
            _ => {
                let own = format!("{boot} process {} since {now}", std::process::id());
                Ok(Lives {
                    device: own.clone(),
                    packets: Some(own),
                })
            }
        }
    }

    /// `"kernel"` or `"userspace"`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Kernel(_) => "kernel",
            Self::Userspace(_) => "userspace",
        }
    }

    /// Who encrypts: `"kernel"` or `"userspace"`.
    pub(super) fn wireguard(&self) -> &'static str {
        match self {
            Self::Kernel(kernel) => kernel.wireguard(),
            Self::Userspace(_) => "userspace",
        }
    }

    /// What the WireGuard device reports.
    pub(super) fn device(&mut self) -> Result<DeviceStatus> {
        running!(self, engine => engine.device())
    }

    /// What the kernel engine would have needed, when this one was taken for that reason.
    pub(super) fn missing(&self) -> &[Missing] {
        match self {
            Self::Kernel(_) => &[],
            Self::Userspace(userspace) => &userspace.missing,
        }
    }

    /// How packets leave the process: `"proxy"` or `"packet"`.
    pub(super) fn exit(&self) -> Option<&'static str> {
        match self {
            Self::Kernel(_) => None,
            Self::Userspace(userspace) => Some(userspace.exit()),
        }
    }

    /// Connections that are tracked here.
    pub(super) fn flows(&self) -> Result<Option<u64>> {
        match self {
            Self::Kernel(_) => Ok(None),
            Self::Userspace(userspace) => userspace.flows().map(Some),
        }
    }

    /// Where packets can be looked at, when they are this process's own.
    pub(super) fn tap(&self) -> Option<&Tap> {
        match self {
            Self::Kernel(_) => None,
            Self::Userspace(userspace) => Some(userspace.tap()),
        }
    }

    /// What our own parts dropped, by reason.
    pub(super) fn drops(&self) -> Result<Vec<DropCount>> {
        match self {
            Self::Kernel(kernel) => Ok(kernel.drops()),
            Self::Userspace(userspace) => userspace.drops(),
        }
    }

    /// Where the guard is.
    pub(super) fn guard(&self, plan: &Plan) -> Vec<GuardStatus> {
        match self {
            Self::Kernel(kernel) => kernel.guard(),
            Self::Userspace(userspace) => userspace.guard(plan),
        }
    }

    /// What an administrator should look at.
    pub(super) fn warnings(&self) -> Vec<String> {
        match self {
            Self::Kernel(kernel) => kernel.warnings(),
            Self::Userspace(_) => Vec::new(),
        }
    }

    /// What came from each source.
    pub(super) fn sources(&self, plan: &Plan) -> Result<Vec<Counted>> {
        match self {
            Self::Kernel(kernel) => kernel.sources(),
            Self::Userspace(userspace) => userspace.sources(plan),
        }
    }

    /// What each ban has stopped: packets and bytes.
    pub(super) fn ban_counts(&self) -> Result<BTreeMap<IpNet, (u64, u64)>> {
        running!(self, engine => engine.ban_counts())
    }

    /// The disciplines and classes with their statistics.
    pub(super) fn shape(&mut self, plan: &Plan) -> Result<Vec<ShapeDevice>> {
        running!(self, engine => engine.shape(plan))
    }
}
