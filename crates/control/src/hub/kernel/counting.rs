//! Members' packets, where the kernel's WireGuard is: it counts bytes only.

use anyhow::Result;
use fielato_kernel::peer_packets::{CountError, PeerCounting, Wanted};
use fielato_policy::Plan;
use fielato_wireguard::DeviceStatus;

use crate::hub::Machine;

/// Who counts them.
pub(super) enum Counting {
    /// The device: it is our own.
    Device,
    /// A filter on the interface.
    Filter(Box<PeerCounting>),
    /// Nobody, and why. Nothing else depends on it.
    Nobody(CountError),
}

impl Counting {
    /// Counts on the kernel's interface. What an earlier process counted there goes on.
    ///
    /// # Errors
    /// When the record of what is on the machine cannot be written.
    pub(super) fn begin(machine: &mut Machine, plan: &Plan) -> Result<Self> {
        let pin = machine.paths.packets_pin(&plan.interface);
        machine.undo.packets = Some(pin.clone());
        machine.undo.save(&machine.paths)?;
        Ok(match PeerCounting::attach(&plan.interface, &pin, &wanted(plan)) {
            Ok(counting) => Self::Filter(Box::new(counting)),
            Err(error) => {
                log::warn!("{error}");
                Self::Nobody(error)
            }
        })
    }

    /// Counts for the plan's members, too. For use before their peers are there.
    pub(super) fn extend(&mut self, plan: &Plan) {
        if let Self::Filter(counting) = self {
            say(counting.extend(&wanted(plan)));
        }
    }

    /// Counts for nobody else. For use after their peers are gone.
    pub(super) fn retain(&mut self, plan: &Plan) {
        if let Self::Filter(counting) = self {
            say(counting.retain(&wanted(plan)));
        }
    }

    /// Adds the packets to what the device reports of its peers.
    pub(super) fn complete(&self, status: &mut DeviceStatus) {
        let Self::Filter(counting) = self else { return };
        match counting.counts() {
            Ok(counts) => {
                for peer in &mut status.peers {
                    peer.packets = counts.get(&peer.public_key).copied();
                }
            }
            // The next time tells them all.
            Err(error) => log::warn!("{error}"),
        }
    }

    /// The filter, when it is one that counts.
    pub(super) fn filter(&self) -> Option<&PeerCounting> {
        match self {
            Self::Filter(counting) => Some(counting),
            Self::Device | Self::Nobody(_) => None,
        }
    }

    /// What an administrator should know.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Nobody(error) => Some(format!("{error}; `fielato usage` has bytes only")),
            Self::Filter(counting) if !counting.is_pinned() => Some(
                "no BPF file system at /sys/fs/bpf: should the daemon be killed, packets until the next one are not counted"
                    .into(),
            ),
            Self::Device | Self::Filter(_) => None,
        }
    }
}

/// Whoever is missing is counted as nobody: packets are no reason to refuse a change.
fn say(result: Result<(), CountError>) {
    if let Err(error) = result {
        log::error!("{error}");
    }
}

fn wanted(plan: &Plan) -> Wanted {
    let peers = plan.peers.iter();
    peers
        .flat_map(|peer| peer.allowed_ips.iter().map(|net| (net.trunc(), peer.public_key)))
        .collect()
}
