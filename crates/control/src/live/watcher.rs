//! Real packets on the kernel engine: chosen by a table of our own, told of by nftables.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use fielato_kernel::link;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::nft::probe::{self, Chosen, Probe};
use fielato_kernel::nft::trace::{Step, TraceEvent, TracedHeaders, TracedVerdict, Tracer};
use fielato_wire::filter::Filter;

use super::follow::{self, Followed, Follower};
use super::report::{Ends, Left, LivePacket, LiveStation, LiveVerdict};
use super::rules::{self, Rules};
use super::tell::timestamp;
use super::{Subject, now};
use crate::hub::TABLE;
use crate::protocol::VERSION;

/// Most lists of tests that go into the kernel; with more, all packets of the interface are traced and chosen here.
const ALTERNATIVES_MAX: usize = 64;
/// Most events read in one go.
const TURN: usize = 4096;

/// Follows chosen packets through the rules.
pub(super) struct Watcher {
    probe: Probe,
    tracer: Tracer,
    follower: Follower,
    filter: Filter,
    rules: Rules,
    interfaces: Interfaces,
    /// The lines of the configuration's rules.
    lines: Vec<usize>,
    /// Number of the tunnel's interface.
    pub tunnel: u32,
    /// Whether events were lost.
    pub lost: bool,
}

impl Watcher {
    /// Begins to trace packets of the tunnel, no more than `per_second`.
    ///
    /// # Errors
    /// Without the right, or where the kernel can't.
    pub fn open(subject: &Subject, filter: Filter, per_second: u32) -> Result<Self> {
        let mut interfaces = Interfaces::default();
        let mut netlink = Netlink::open()?;
        let tunnel = link::get(&mut netlink, &subject.status.interface)?;
        interfaces.names.insert(tunnel.index, tunnel.name.clone());
        // Before the first packet can be traced, so that none is missed.
        let tracer = Tracer::open().map_err(refused)?;
        let alternatives = filter.alternatives(ALTERNATIVES_MAX).unwrap_or_else(|| vec![Vec::new()]);
        let probe = Probe::open(&Chosen {
            interface: tunnel.index,
            alternatives: &alternatives,
            per_second,
        })?;
        Ok(Self {
            follower: Follower::new(probe.table()),
            probe,
            tracer,
            filter,
            rules: Rules::default(),
            interfaces,
            lines: rules::lines_of(&subject.config),
            tunnel: tunnel.index,
            lost: false,
        })
    }

    /// The packets whose way has ended since the last time.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub fn take(&mut self) -> Result<Vec<(Followed, LivePacket)>> {
        let traced = self.tracer.read(TURN).context("cannot read the kernel's traces")?;
        self.lost |= traced.lost;
        let time = now();
        let mut ended = Vec::new();
        for event in traced.events {
            ended.extend(self.follower.handle(event, time));
        }
        ended.extend(self.follower.expire(time));
        self.lost |= self.follower.overrun > 0;
        let wanted = ended.into_iter().filter_map(|followed| {
            let chosen = followed.headers().next().and_then(follow::parse)?;
            self.filter.matches(&chosen).then_some(())?;
            let packet = self.describe(&followed)?;
            Some((followed, packet))
        });
        Ok(wanted.collect())
    }

    fn describe(&mut self, followed: &Followed) -> Option<LivePacket> {
        let first = followed.headers().next()?;
        let packet = ends(first)?;
        let mut stations = Vec::new();
        let mut current = packet.clone();
        let mut left = None;
        let (mut iif, mut decided) = (first.iif, None);
        for event in &followed.events {
            let seen = event.headers.as_ref().and_then(ends);
            let changed = seen.filter(|seen| !seen.same_ends(&current));
            current = changed.clone().unwrap_or(current);
            if let Some(headers) = &event.headers {
                iif = iif.or(headers.iif);
                if let Some(oif) = headers
                    .oif
                    .filter(|_| event.table == self.probe.table() && event.chain == probe::PASSED[1])
                {
                    left = Some(Left {
                        interface: self.interfaces.name(oif),
                        packet: ends(headers)?,
                    });
                }
            }
            if event.table.starts_with("fielato_trace_") {
                continue;
            }
            let Some(station) = self.station(event, changed) else {
                continue;
            };
            let ours = event.family == "inet" && event.table == TABLE && matches!(event.chain.as_str(), "forward" | "input");
            if followed.verdict == LiveVerdict::Dropped || (ours && station.verdict == "accept") {
                decided = Some((station.clone(), self.comment(event)));
            }
            stations.push(station);
        }
        let reason = reason(followed.verdict, decided.as_ref(), stations.last());
        Some(LivePacket {
            version: VERSION,
            at: timestamp(followed.at),
            packet,
            interface: iif.map(|index| self.interfaces.name(index)),
            stations,
            verdict: followed.verdict,
            reason,
            left,
        })
    }

    fn station(&mut self, event: &TraceEvent, packet: Option<Ends>) -> Option<LiveStation> {
        let TraceEvent {
            family,
            table,
            chain,
            step,
            ..
        } = event;
        let table = format!("{family} {table}");
        let (handle, verdict) = match step {
            Step::Rule { handle, verdict } => (Some(*handle), verdict),
            Step::Policy(verdict) => (None, verdict),
            Step::Return => return None,
        };
        let written = handle.and_then(|handle| self.rules.find(&table, handle));
        // Other tables may have comments that look the same.
        let comment = written.and_then(|written| written.comment.as_deref());
        let comment = comment.filter(|_| table == format!("inet {TABLE}"));
        let lines = comment.map(|comment| rules::lines(comment, &self.lines)).unwrap_or_default();
        Some(LiveStation {
            place: format!("{table} {chain}"),
            state: event.state.map(|state| state.name().to_owned()),
            rule: match (handle, written) {
                (Some(_), Some(written)) => Some(written.text.clone()),
                (Some(handle), None) => Some(format!("rule number {handle}, which is gone")),
                (None, _) => None,
            },
            lines,
            verdict: verdict_name(verdict),
            packet,
        })
    }

    fn comment(&mut self, event: &TraceEvent) -> Option<String> {
        let Step::Rule { handle, .. } = event.step else { return None };
        let table = format!("{} {}", event.family, event.table);
        self.rules.find(&table, handle)?.comment.clone()
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tracer.as_fd()
    }
}

/// Why it ended as it did. `decided` is the station that decided, with its rule's comment.
fn reason(verdict: LiveVerdict, decided: Option<&(LiveStation, Option<String>)>, last: Option<&LiveStation>) -> String {
    if verdict != LiveVerdict::Lost {
        return rules::reason(decided.map(|(station, comment)| (station, comment.as_deref())));
    }
    let place = last.map_or("its arrival", |station| station.place.as_str());
    format!(
        "after {place} it was neither sent nor delivered; there may be no route, a failed reverse-path check, or a rule of iptables"
    )
}

fn ends(headers: &TracedHeaders) -> Option<Ends> {
    follow::parse(headers).map(|headers| Ends::of(&headers))
}

fn verdict_name(verdict: &TracedVerdict) -> String {
    match verdict {
        TracedVerdict::Drop => "drop".into(),
        TracedVerdict::Accept => "accept".into(),
        TracedVerdict::Stolen => "stolen".into(),
        TracedVerdict::Queue => "queue".into(),
        TracedVerdict::Continue => "continue".into(),
        TracedVerdict::Break => "break".into(),
        TracedVerdict::Jump(chain) => format!("jump {chain}"),
        TracedVerdict::Goto(chain) => format!("goto {chain}"),
        TracedVerdict::Return => "return".into(),
        TracedVerdict::Other(code) => format!("verdict {code}"),
    }
}

fn refused(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => anyhow::anyhow!("cannot trace: only root may; try sudo"),
        _ => anyhow::Error::new(error).context("cannot trace"),
    }
}

/// Names of interfaces by number.
#[derive(Debug, Default)]
struct Interfaces {
    names: HashMap<u32, String>,
}

impl Interfaces {
    fn name(&mut self, index: u32) -> String {
        if !self.names.contains_key(&index) {
            let links = Netlink::open()
                .map_err(anyhow::Error::new)
                .and_then(|mut netlink| Ok(link::list(&mut netlink)?));
            let links = links.unwrap_or_else(|error| {
                log::warn!("cannot list the interfaces: {error:#}");
                Vec::new()
            });
            self.names = links.into_iter().map(|link| (link.index, link.name)).collect();
            // Asked for once, also when it has gone.
            self.names.entry(index).or_insert_with(|| format!("interface {index}"));
        }
        self.names.get(&index).cloned().unwrap_or_default()
    }
}
