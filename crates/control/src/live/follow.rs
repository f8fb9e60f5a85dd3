//! From the kernel's events to packets: what belongs together, and where it ends.

use std::collections::HashMap;
use std::time::Duration;

use fielato_kernel::nft::probe;
use fielato_kernel::nft::trace::{Step, TraceEvent, TracedHeaders, TracedVerdict};
use fielato_wire::Headers;

use super::report::LiveVerdict;

/// A packet that says nothing for so long is lost. The kernel takes a packet through all rules at once, so that this passes only when
/// it went elsewhere in between.
const SILENCE: Duration = Duration::from_millis(60);
/// Most packets that are followed at once.
const OPEN_MAX: usize = 4096;
/// Most events of one packet.
const EVENTS_MAX: usize = 256;

/// A packet whose way has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// When its first event was read, since 1970.
    pub at: Duration,
    /// All that happened to it, in order.
    pub events: Vec<TraceEvent>,
    /// How it ended.
    pub verdict: LiveVerdict,
}

impl Followed {
    /// The headers in each base chain, in order.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = &TracedHeaders> {
        self.events.iter().filter_map(|event| event.headers.as_ref())
    }
}

/// Puts events together.
#[derive(Debug)]
pub(super) struct Follower {
    /// The table that chose the packets.
    table: String,
    open: HashMap<u32, Open>,
    /// Packets given up because there were too many.
    pub overrun: u64,
}

#[derive(Debug)]
struct Open {
    begun: Duration,
    latest: Duration,
    /// Whether our table chose it: somebody else may be tracing, too.
    chosen: bool,
    events: Vec<TraceEvent>,
}

impl Follower {
    pub fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            open: HashMap::new(),
            overrun: 0,
        }
    }

    /// The packet, when this event ends its way.
    pub fn handle(&mut self, event: TraceEvent, now: Duration) -> Option<Followed> {
        let of_ours = event.table == self.table;
        let ends = match &event.step {
            Step::Rule {
                verdict: TracedVerdict::Drop | TracedVerdict::Stolen,
                ..
            }
            | Step::Policy(TracedVerdict::Drop) => Some(LiveVerdict::Dropped),
            Step::Policy(_) if of_ours && probe::PASSED.contains(&event.chain.as_str()) => Some(LiveVerdict::Passed),
            _ => None,
        };
        let id = event.id;
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&id) {
            self.overrun += 1;
            return None;
        }
        let open = self.open.entry(id).or_insert_with(|| Open {
            begun: now,
            latest: now,
            chosen: false,
            events: Vec::new(),
        });
        open.latest = now;
        open.chosen |= of_ours && event.chain == probe::MARKING;
        if open.events.len() < EVENTS_MAX {
            open.events.push(event);
        }
        let verdict = ends?;
        let Open {
            begun, chosen, events, ..
        } = self.open.remove(&id)?;
        chosen.then_some(Followed {
            at: begun,
            events,
            verdict,
        })
    }

    /// The packets that have been silent for too long.
    pub fn expire(&mut self, now: Duration) -> Vec<Followed> {
        let silent = |open: &Open| now.saturating_sub(open.latest) >= SILENCE;
        let lost = self.open.extract_if(|_, open| silent(open));
        let lost = lost.filter(|(_, open)| open.chosen).map(|(_, open)| Followed {
            at: open.begun,
            events: open.events,
            verdict: LiveVerdict::Lost,
        });
        let mut lost: Vec<Followed> = lost.collect();
        lost.sort_by_key(|followed| followed.at);
        lost
    }
}

/// What the headers of a traced packet say. What the kernel left out of the packet is taken to be zero.
pub(super) fn parse(headers: &TracedHeaders) -> Option<Headers> {
    let TracedHeaders { network, transport, .. } = headers;
    let total = match network.first()? >> 4 {
        4 => usize::from(u16::from_be_bytes(*network.get(2..)?.first_chunk()?)),
        6 => 40 + usize::from(u16::from_be_bytes(*network.get(4..)?.first_chunk()?)),
        _ => return None,
    };
    let mut packet = [&network[..], transport].concat();
    packet.resize(total.max(packet.len()), 0);
    Headers::parse(&packet).ok()
}

/// By what a packet within a capture is found among traced ones: its first bytes, and which way it goes. `None` for what is no packet.
pub(super) fn key(outbound: bool, network: &[u8], transport: &[u8]) -> Vec<u8> {
    [&[u8::from(outbound)], network, transport].concat()
}

/// The key of a whole packet: as much of it as the kernel puts into a trace (`NFT_TRACETYPE_NETWORK_HSIZE`,
/// `NFT_TRACETYPE_TRANSPORT_HSIZE`, net/netfilter/nf_tables_trace.c).
pub(super) fn key_of(outbound: bool, headers: &Headers, packet: &[u8]) -> Option<Vec<u8>> {
    let l4 = headers.ip_header_len();
    let network = packet.get(..l4.min(40))?;
    let transport = headers.transport(packet);
    Some(key(outbound, network, &transport[..transport.len().min(20)]))
}

#[cfg(test)]
mod tests {
    use fielato_wire::build::Ip;

    use super::*;

    fn event(id: u32, table: &str, chain: &str, step: Step) -> TraceEvent {
        TraceEvent {
            id,
            family: "inet",
            table: table.into(),
            chain: chain.into(),
            step,
            mark: 0,
            headers: None,
            state: None,
        }
    }

    fn rule(verdict: TracedVerdict) -> Step {
        Step::Rule { handle: 1, verdict }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn events_of_several_packets_are_told_apart_and_end() {
        let mut follower = Follower::new("ours");
        let chosen = |id| event(id, "ours", probe::MARKING, rule(TracedVerdict::Continue));
        for id in 1..=3 {
            assert_eq!(follower.handle(chosen(id), at(0)), None);
        }
        let accept = || rule(TracedVerdict::Accept);
        assert_eq!(follower.handle(event(1, "fielato", "forward", accept()), at(1)), None);
        let dropped = follower
            .handle(event(2, "fielato", "forward", rule(TracedVerdict::Drop)), at(1))
            .unwrap();
        assert_eq!((dropped.verdict, dropped.events.len()), (LiveVerdict::Dropped, 2));
        let passed = event(1, "ours", probe::PASSED[1], Step::Policy(TracedVerdict::Accept));
        let passed = follower.handle(passed, at(2)).unwrap();
        assert_eq!(
            (passed.verdict, passed.events.len(), passed.at),
            (LiveVerdict::Passed, 3, at(0))
        );
        assert_eq!(follower.expire(at(59)), []);
        let lost = follower.expire(at(60));
        assert_eq!((lost.len(), lost[0].verdict), (1, LiveVerdict::Lost));
        // The number of the dropped one is another packet's now.
        assert_eq!(follower.handle(chosen(2), at(70)), None);
        let again = follower
            .handle(event(2, "x", "y", Step::Policy(TracedVerdict::Drop)), at(70))
            .unwrap();
        assert_eq!(again.events.len(), 2);
        assert!(follower.open.is_empty());
    }

    #[test]
    fn what_others_trace_is_not_told() {
        let mut follower = Follower::new("ours");
        let theirs = event(1, "theirs", probe::MARKING, rule(TracedVerdict::Continue));
        assert_eq!(follower.handle(theirs, at(0)), None);
        assert_eq!(
            follower.handle(event(1, "fielato", "forward", rule(TracedVerdict::Drop)), at(0)),
            None
        );
        let passing = event(2, "ours", probe::ARRIVED, Step::Policy(TracedVerdict::Accept));
        assert_eq!(follower.handle(passing, at(0)), None);
        assert_eq!(follower.expire(at(1000)), []);
    }

    #[test]
    fn is_bounded() {
        let mut follower = Follower::new("ours");
        for id in 0..OPEN_MAX as u32 + 10 {
            follower.handle(event(id, "ours", probe::MARKING, rule(TracedVerdict::Continue)), at(0));
        }
        assert_eq!((follower.open.len(), follower.overrun), (OPEN_MAX, 10));
        for _ in 0..1000 {
            follower.handle(event(1, "x", "y", rule(TracedVerdict::Continue)), at(0));
        }
        assert!(
            follower
                .expire(at(100))
                .iter()
                .all(|followed| followed.events.len() <= EVENTS_MAX)
        );
    }

    #[test]
    fn a_captured_packet_has_the_key_of_its_trace() {
        let v4 = Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]).udp(1000, 53, &[7; 400]);
        let v6 = Ip::v6([1, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 2]).echo_request(1, 2, b"y");
        for (packet, l4) in [(v4, 20), (v6, 40)] {
            let headers = Headers::parse(&packet).unwrap();
            let traced = TracedHeaders {
                iif: Some(1),
                oif: None,
                network: packet[..l4].to_vec(),
                transport: packet[l4..].iter().take(20).copied().collect(),
            };
            assert_eq!(parse(&traced), Some(headers));
            let wanted = key(false, &traced.network, &traced.transport);
            assert_eq!(key_of(false, &headers, &packet), Some(wanted));
        }
        let nonsense = TracedHeaders {
            iif: None,
            oif: None,
            network: vec![0x45],
            transport: Vec::new(),
        };
        assert_eq!(parse(&nonsense), None);
    }
}
