//! What the hub tells of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use fielato_wireguard::PublicKey;
use jiff::Timestamp;

use super::{Counted, Hub};
use crate::protocol::{BanList, BanStatus, MemberStatus, ShapeReport, Source, Status, Top, VERSION};

impl Hub {
    pub(super) fn status(&mut self) -> Result<Status> {
        let device = self.engine.device()?;
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
            engine: self.engine.name().into(),
            wireguard: self.engine.wireguard().into(),
            public_key: self.private_key.public_key().to_string(),
            listen_port: device.listen_port,
            addresses: self.plan.addresses.clone(),
            uplink: self.plan.uplink.clone(),
            since: self.since,
            pid: std::process::id(),
            guard: self.engine.guard(),
            members: members.collect(),
            drops: self.engine.drops(),
            warnings: self.engine.warnings(),
        })
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
        let source = |counted: Counted| Source {
            address: counted.address,
            interface: counted.interface,
            member: members.get(&counted.address).map(|name| name.to_string()),
            packets: counted.packets,
            bytes: counted.bytes,
        };
        let mut sources: Vec<Source> = self.engine.sources()?.into_iter().map(source).collect();
        sources.sort_by_key(|source| (std::cmp::Reverse(source.bytes), source.address));
        Ok(Top {
            version: VERSION,
            sources,
            bans: self.ban_status()?,
        })
    }

    fn ban_status(&self) -> Result<Vec<BanStatus>> {
        let counts = self.engine.ban_counts()?;
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
        Ok(ShapeReport {
            version: VERSION,
            devices: self.engine.shape(&self.plan)?,
        })
    }
}
