//! What the hub tells of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use fielato_policy::plan::Shaping;
use fielato_qdisc::tc::{Object, Show};
use fielato_qdisc::{Filter, Item, Parent};
use fielato_wireguard::PublicKey;
use jiff::Timestamp;

use super::{Counted, Hub};
use crate::protocol::{BanList, BanStatus, MemberStatus, RevisionReport, ShapeReport, Source, Status, Top, VERSION};
use crate::tc::is_shown;

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
            missing: self.engine.missing().iter().map(ToString::to_string).collect(),
            exit: self.engine.exit().map(Into::into),
            flows: self.engine.flows()?,
            wireguard: self.engine.wireguard().into(),
            public_key: self.private_key.public_key().to_string(),
            listen_port: device.listen_port,
            addresses: self.plan.addresses.clone(),
            uplink: self.plan.uplink.clone(),
            since: self.since,
            pid: std::process::id(),
            guard: self.engine.guard(&self.plan),
            revision: self.kept.revisions.current().map(|current| current.number),
            confirm_until: self.pending_until().map(|(_, until)| until),
            members: members.collect(),
            drops: self.engine.drops()?,
            hosts: self.hosts.status(),
            warnings: self
                .engine
                .warnings()
                .into_iter()
                .chain(self.hosts.trouble().map(str::to_owned))
                .chain(self.kept.warnings.iter().cloned())
                .collect(),
        })
    }

    /// A revision with what it changed; the one in force when `None`.
    pub(super) fn revision(&self, number: Option<u64>) -> Result<RevisionReport> {
        self.kept.revisions.report(number)
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
        let mut sources: Vec<Source> = self.engine.sources(&self.plan)?.into_iter().map(source).collect();
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

    /// What `tc show` prints: the first line of each item, or all with its statistics.
    pub(super) fn tc_show(&mut self, show: &Show) -> Result<String> {
        if show.object == Object::Filter {
            return Ok(self.tc_filters(show));
        }
        let dev = show.dev.as_deref();
        let devices = self.engine.shape(&self.plan)?;
        let mut text = String::new();
        let mut values = Vec::new();
        for device in devices.into_iter().filter(|device| dev.is_none_or(|dev| dev == device.dev)) {
            for item in device.items.into_iter().filter(|item| is_shown(&item.text, show)) {
                match (show.json, show.statistics) {
                    (true, _) => values.push(item.detail),
                    // tc names the device where none was asked for.
                    (false, true) => text += &(on_device(&item.text, &device.dev, dev) + "\n"),
                    (false, false) => {
                        let first = item.text.lines().next().unwrap_or_default();
                        text += &(on_device(first, &device.dev, dev) + "\n");
                    }
                }
            }
        }
        match show.json {
            true => Ok(serde_json::to_string(&values)? + "\n"),
            false => Ok(text),
        }
    }

    fn tc_filters(&self, show: &Show) -> String {
        let dev = show.dev.as_deref();
        let is_root = |on: &str, handle| {
            let mut of_device = self.plan.shaping.iter().filter(|shaping| shaping.dev == on);
            of_device.any(|shaping| {
                matches!(&shaping.item, Item::Qdisc(qdisc) if qdisc.parent == Parent::Root && qdisc.handle == Some(handle))
            })
        };
        let is_there = |on: &str, filter: &Filter| match show.parent {
            None => true,
            Some(Parent::Root) => is_root(on, filter.parent),
            Some(Parent::Class(class)) => filter.parent == class,
        };
        let mut text = String::new();
        for Shaping { dev: on, item } in &self.plan.shaping {
            if let Item::Filter(filter) = item
                && dev.is_none_or(|dev| dev == on)
                && is_there(on, filter)
            {
                text += &(on_device(&item.to_string(), on, dev) + "\n");
            }
        }
        text
    }

    pub(super) fn shape(&mut self) -> Result<ShapeReport> {
        Ok(ShapeReport {
            version: VERSION,
            devices: self.engine.shape(&self.plan)?,
        })
    }
}

/// `qdisc netem 8001: dev wg0 root …`, where tc was not asked for one device.
fn on_device(line: &str, device: &str, asked: Option<&str>) -> String {
    let mut words = line.splitn(4, ' ');
    match (asked, words.next(), words.next(), words.next(), words.next()) {
        (None, Some(object), Some(kind), Some(handle), Some(rest)) => format!("{object} {kind} {handle} dev {device} {rest}"),
        _ => line.to_owned(),
    }
}
