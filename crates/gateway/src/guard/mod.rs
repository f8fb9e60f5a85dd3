//! The guard, native: what the XDP guard (`bpf/guard.bpf.c`) does before the kernel's stack, done before the first hook.
//!
//! Bans come first, counters second: counting first would let forged sources push the real ones out of the table. The
//! rate limit comes last, since its state stands with a source's counters.

mod bans;
mod keyed;
mod sources;

use std::net::IpAddr;

use fielato_netfilter::Now;
use fielato_wire::{Addr, Family};
use ipnet::IpNet;
use serde::Serialize;

use crate::config::PortKind;
use bans::Bans;
use sources::Sources;

/// How many bans fit, of hosts and of networks each, per family, as in the XDP guard.
pub const MAX_BANS: usize = 131_072;

/// Packets that a source may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Packets in a second, at least 1.
    pub rate: u64,
    /// Packets at once, at least 1.
    pub burst: u64,
}

/// What the guard does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether there is one.
    pub enabled: bool,
    /// Whether it stands on the ports towards other networks, too, beside the tunnel's.
    pub networks: bool,
    /// How many sources are counted at once, per family; the least recently seen gives way.
    pub sources: u32,
    /// Banned networks, with the end of the ban in nanoseconds of the time of day.
    pub bans: Vec<(IpNet, Option<u64>)>,
    /// What each source may send.
    pub limit: Option<Limit>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            enabled: true,
            networks: false,
            sources: 65_536,
            bans: Vec::new(),
            limit: None,
        }
    }
}

/// Why the guard refused a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its source is banned.
    Banned(IpNet),
    /// Its source sent too much.
    Limited,
}

/// A ban, and what it has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BanCount {
    /// The banned network.
    pub network: IpNet,
    /// When it ends, in nanoseconds of the time of day.
    pub until: Option<u64>,
    /// Packets dropped.
    pub packets: u64,
    /// IP bytes dropped.
    pub bytes: u64,
}

/// What a source has sent and the guard let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    /// The source.
    pub address: IpAddr,
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
    /// Packets that the rate limit refused.
    pub limited: u64,
}

/// No more bans fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_BANS} bans of this kind are in force already; ban a network around them instead")]
pub struct TooManyBans;

/// Whether the guard takes this configuration.
///
/// # Errors
/// Too many bans.
pub(crate) fn check(config: &Config) -> Result<(), TooManyBans> {
    Bans::check(&config.bans)
}

/// The guard.
#[derive(Debug)]
pub struct Guard {
    enabled: bool,
    networks: bool,
    bans: Bans,
    /// By family.
    sources: [Sources; 2],
    limit: Option<sources::Gcra>,
}

impl Guard {
    /// A guard. `seed` keys its tables, so that nobody can aim at a place in them.
    ///
    /// # Errors
    /// Too many bans.
    pub fn new(config: &Config, seed: u64, now: Now) -> Result<Guard, TooManyBans> {
        let mut guard = Guard {
            enabled: false,
            networks: false,
            bans: Bans::new(seed),
            sources: [
                Sources::new(config.sources, seed),
                Sources::new(config.sources, seed.rotate_left(17)),
            ],
            limit: None,
        };
        guard.configure(config, now)?;
        Ok(guard)
    }

    /// Makes the guard what `config` says, or leaves it as it is. Bans that stay keep their counts, and sources theirs.
    ///
    /// # Errors
    /// Too many bans.
    pub fn configure(&mut self, config: &Config, now: Now) -> Result<(), TooManyBans> {
        let Config {
            enabled,
            networks,
            sources,
            bans,
            limit,
        } = config;
        self.bans.set(bans, now)?;
        for table in &mut self.sources {
            table.resize(*sources);
        }
        (self.enabled, self.networks, self.limit) = (*enabled, *networks, limit.map(sources::Gcra::from));
        Ok(())
    }

    /// Whether there is one.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it judges what comes in by a port of this kind.
    pub const fn stands_on(&self, kind: PortKind) -> bool {
        match kind {
            PortKind::Tunnel => true,
            PortKind::Network => self.networks,
            PortKind::Host => false,
        }
    }

    /// Judges a packet by its first bytes, which are its IP header. A packet that can't be read is others' to judge.
    #[inline]
    pub fn judge(&mut self, packet: &[u8], now: Now) -> Result<(), Refusal> {
        if !self.enabled {
            return Ok(());
        }
        let Some((family, source, claimed)) = read(packet) else {
            return Ok(());
        };
        // A superpacket's length is its own; one's padding is not.
        let bytes = claimed.min(packet.len() as u64);
        if let Some(network) = self.bans.meet(family, source, bytes, now) {
            return Err(Refusal::Banned(network));
        }
        match self.sources[family as usize].count(source, bytes, self.limit, now.mono) {
            true => Ok(()),
            false => Err(Refusal::Limited),
        }
    }

    /// Bans a network, until a time of day in nanoseconds or for good. False when it was banned: then only the end changes.
    ///
    /// # Errors
    /// Too many bans.
    pub fn ban(&mut self, network: IpNet, until: Option<u64>) -> Result<bool, TooManyBans> {
        self.bans.add(network, until)
    }

    /// Lifts the ban of exactly this network. False when there was none.
    pub fn unban(&mut self, network: IpNet) -> bool {
        self.bans.remove(network)
    }

    /// Every ban with what it has refused, in the order of networks.
    pub fn bans(&self) -> Vec<BanCount> {
        self.bans.list()
    }

    /// The `count` sources that sent the most bytes, the greatest first.
    pub fn top(&self, count: usize) -> Vec<SourceCount> {
        let mut all: Vec<SourceCount> = self.sources().collect();
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.address.cmp(&b.address)));
        all.truncate(count);
        all
    }

    /// Every counted source.
    pub fn sources(&self) -> impl Iterator<Item = SourceCount> + '_ {
        let families = [Family::V4, Family::V6].into_iter().zip(&self.sources);
        families.flat_map(|(family, sources)| sources.list(family))
    }

    /// Lifts bans that have ended.
    pub fn expire(&mut self, now: Now) {
        self.bans.expire(now);
    }

    /// When the next ban ends, in nanoseconds of the time of day.
    pub fn next_end(&self) -> Option<u64> {
        self.bans.next_end()
    }
}

/// Family, source and length of the packet as its header has them; none when it has no whole IP header.
#[inline]
fn read(packet: &[u8]) -> Option<(Family, Addr, u64)> {
    match packet.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let length = u64::from(u16::from_be_bytes([header[2], header[3]]));
            // A superpacket above 64 KiB has the length 0 (BIG TCP).
            let length = if length == 0 { u64::MAX } else { length };
            Some((Family::V4, Addr::read(&header[12..16]), length))
        }
        6 => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let length = u64::from(u16::from_be_bytes([header[4], header[5]]));
            // RFC 2675: a jumbogram has the length 0 and a hop-by-hop header that tells the real one.
            let jumbo = length == 0 && header[6] == fielato_wire::number::HOP_BY_HOP;
            let length = if jumbo { u64::MAX } else { length + 40 };
            Some((Family::V6, Addr::read(&header[8..24]), length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
