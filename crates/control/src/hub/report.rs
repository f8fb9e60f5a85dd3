//! What the hub tells of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use fielato_kernel::guard::{BanCount, Mode};
use fielato_kernel::{link, tc};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;

use super::Hub;
use super::guards::Attached;
use crate::protocol::{
    BanList, BanStatus, GuardStatus, MemberStatus, ShapeDevice, ShapeItem, ShapeReport, Source, Status, Top, VERSION,
};

impl Hub {
    pub(super) fn status(&mut self) -> Result<Status> {
        let device = self.tunnel.status()?;
        let by_key: BTreeMap<PublicKey, _> = device.peers.iter().map(|peer| (peer.public_key, peer)).collect();
        let members = self.plan.peers.iter().map(|peer| {
            let seen = by_key.get(&peer.public_key);
            MemberStatus {
                name: peer.name.clone(),
                public_key: peer.public_key.to_string(),
                addresses: peer.allowed_ips.clone(),
                endpoint: seen.and_then(|seen| seen.endpoint),
                latest_handshake: seen
                    .and_then(|seen| seen.latest_handshake)
                    // Whole seconds, as `wg` has it: our device knows how long ago it was, not what the clock said then.
                    .and_then(|at| Timestamp::try_from(at).ok())
                    .and_then(|at| Timestamp::from_second(at.as_second()).ok()),
                rx_bytes: seen.map_or(0, |seen| seen.rx_bytes),
                tx_bytes: seen.map_or(0, |seen| seen.tx_bytes),
            }
        });
        Ok(Status {
            version: VERSION,
            interface: self.plan.interface.clone(),
            wireguard: self.tunnel.kind().into(),
            public_key: self.private_key.public_key().to_string(),
            listen_port: device.listen_port,
            addresses: self.plan.addresses.clone(),
            uplink: self.plan.uplink.clone(),
            since: self.since,
            pid: std::process::id(),
            guard: self.guards.attached.iter().map(guard_status).collect(),
            members: members.collect(),
            drops: self.tunnel.drops(),
            warnings: self.warnings(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.plan.guard.enabled && self.guards.attached.iter().any(|attached| attached.guard.pinned().is_none()) {
            warnings.push("no BPF file system at /sys/fs/bpf: should the daemon be killed, bans end with it".into());
        }
        warnings
    }

    pub(super) fn ban_list(&self) -> Result<BanList> {
        Ok(BanList {
            version: VERSION,
            bans: self.ban_status()?,
        })
    }

    pub(super) fn top(&self) -> Result<Top> {
        let members: BTreeMap<IpAddr, &str> = self
            .plan
            .peers
            .iter()
            .flat_map(|peer| peer.allowed_ips.iter().map(|net| (net.addr(), peer.name.as_str())))
            .collect();
        let mut sources = Vec::new();
        for Attached { interface, guard } in &self.guards.attached {
            sources.extend(guard.sources()?.into_iter().map(|count| Source {
                address: count.address,
                interface: interface.clone(),
                member: members.get(&count.address).map(|name| name.to_string()),
                packets: count.packets,
                bytes: count.bytes,
            }));
        }
        sources.sort_by_key(|source| (std::cmp::Reverse(source.bytes), source.address));
        Ok(Top {
            version: VERSION,
            sources,
            bans: self.ban_status()?,
        })
    }

    fn ban_status(&self) -> Result<Vec<BanStatus>> {
        let mut counts: BTreeMap<IpNet, (u64, u64)> = BTreeMap::new();
        for Attached { guard, .. } in &self.guards.attached {
            for BanCount { network, packets, bytes } in guard.bans()? {
                let count = counts.entry(network).or_default();
                count.0 += packets;
                count.1 += bytes;
            }
        }
        let configured = self.plan.bans.iter().map(|ban| (ban.network.trunc(), ban.until, true));
        let listed = self.bans.iter().map(|(network, until)| (network, until, false));
        let status = configured.chain(listed).map(|(network, until, configured)| {
            let (packets, bytes) = counts.get(&network).copied().unwrap_or_default();
            BanStatus {
                network,
                until,
                configured,
                packets,
                bytes,
            }
        });
        Ok(status.collect())
    }

    pub(super) fn shape(&mut self) -> Result<ShapeReport> {
        let mut devices = Vec::new();
        for name in [self.plan.interface.clone(), self.plan.uplink.clone()] {
            // An uplink may be unplugged; the other interface is still worth showing.
            let Some(link) = link::find(&mut self.machine.netlink, &name)? else {
                continue;
            };
            let items = tc::show(&mut self.machine.netlink, link.index)?.into_iter().map(|item| {
                Ok(ShapeItem {
                    text: item.to_string(),
                    detail: serde_json::to_value(&item)?,
                })
            });
            devices.push(ShapeDevice {
                dev: name,
                items: items.collect::<Result<_>>()?,
            });
        }
        Ok(ShapeReport {
            version: VERSION,
            devices,
        })
    }
}

fn guard_status(attached: &Attached) -> GuardStatus {
    let mode = match attached.guard.mode() {
        Mode::Native => "native",
        Mode::Generic => "generic",
    };
    GuardStatus {
        interface: attached.interface.clone(),
        mode: mode.into(),
        pinned: attached.guard.pinned().is_some(),
    }
}
