//! `-m connlimit` (`net/netfilter/xt_connlimit.c`, `net/netfilter/nf_conncount.c`).

use std::collections::{HashMap, VecDeque};

use fielato_wire::{Addr, Family};

use crate::Now;
use crate::check::{CheckContext, CheckError};
use crate::conntrack::proto::TcpState;
use crate::conntrack::{Conn, Conntrack, ProtoState, Status, Tuple, Zone};
use crate::context::{Context, Slot};

/// `-m connlimit`: how many connections there are with the packet's source or destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connlimit {
    /// Connections.
    pub limit: u32,
    /// Length of the prefix under which addresses count as one.
    pub prefix: u8,
    /// `--connlimit-daddr`: by destination, not by source.
    pub by_destination: bool,
    /// `--connlimit-upto`: no more than the limit, instead of more.
    pub up_to: bool,
}

impl Connlimit {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot::Connections(Box::default())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, slot: &mut Slot) -> bool {
        if !matches!(slot, Slot::Connections(_)) {
            *slot = self.slot();
        }
        let Slot::Connections(connections) = slot else {
            return false;
        };
        let conntrack = &*cx.conntrack;
        let asked = match conntrack.of(cx.packet) {
            Some(conn) => Some(Asked::of(conn)),
            None => conntrack.tuple(cx.packet).map(|tuple| {
                let zone = Zone::default();
                let conn = conntrack.lookup(&tuple, zone).and_then(|(id, _)| conntrack.get(id));
                Asked {
                    tuple,
                    zone,
                    confirmed: conn.is_some(),
                    assured: conn.is_some_and(|conn| conn.status.has(Status::ASSURED)),
                }
            }),
        };
        let Some(asked) = asked else {
            cx.hotdrop = true;
            return false;
        };
        let headers = &cx.packet.headers;
        let address = if self.by_destination { headers.dst } else { headers.src };
        let network = address.and(self.mask(headers.family));
        let key = Key {
            network,
            zone: asked.zone.id,
        };
        let count = connections.count(conntrack, key, &asked, cx.now.mono / TICK);
        if count == 0 {
            // The kernel takes none for a failed allocation (`connlimit_mt`): also when all that it knew of have ended, to which a
            // packet after the end of a TCP connection may still belong.
            cx.hotdrop = true;
            return false;
        }
        (count > self.limit as usize) != self.up_to
    }

    fn mask(&self, family: Family) -> Addr {
        Addr::mask(family, self.prefix)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    network: Addr,
    zone: u16,
}

/// Connections that a rule has seen, by network. Those that ended leave when their network is next asked for. A network whose
/// connections have all ended stays; but when there are many, each new one makes two others be looked through, so that
/// hardly more are held than there are connections, and as many again.
#[derive(Debug, Default)]
pub struct Connections {
    by_network: HashMap<Key, List>,
    /// Every network once, the one longest unseen to first.
    order: VecDeque<Key>,
}

/// The connections of a network.
#[derive(Debug)]
struct List {
    seen: Vec<(Tuple, Zone)>,
    /// When those that ended were last looked for, in ticks, and how many there were then: once in a tick is enough, if not too
    /// many came since.
    looked: u64,
    looked_len: usize,
}

/// The packet's connection, and how far it is.
#[derive(Clone, Copy, Debug)]
struct Asked {
    tuple: Tuple,
    zone: Zone,
    confirmed: bool,
    /// No longer at its beginning: its packets don't add it.
    assured: bool,
}

impl Asked {
    const fn of(conn: &Conn) -> Asked {
        Asked {
            tuple: conn.tuples[0],
            zone: conn.zone,
            confirmed: conn.status.has(Status::CONFIRMED),
            assured: conn.status.has(Status::ASSURED),
        }
    }
}

/// A tick of the kernel's clock (`CONFIG_HZ=250`).
const TICK: u64 = Now::SECOND / 250;

impl List {
    /// How many connections are removed, or added without a look at the others, at most (`CONNCOUNT_GC_MAX_COLLECT`).
    const MAX_COLLECT: usize = 64;

    fn is_fresh(&self, tick: u64) -> bool {
        self.looked == tick && self.seen.len().saturating_sub(self.looked_len) < List::MAX_COLLECT
    }

    /// How many there are now, the packet's included (`__nf_conncount_add`); it is not added when it has long begun.
    fn count(&mut self, conntrack: &Conntrack, asked: &Asked, tick: u64) -> usize {
        let Asked { tuple, zone, .. } = *asked;
        if asked.confirmed && asked.assured {
            if !self.is_fresh(tick) {
                self.collect(conntrack, tick);
            }
            return self.seen.len();
        }
        if asked.confirmed || !self.is_fresh(tick) {
            let (mut at, mut gone) = (0, 0);
            while at < self.seen.len() && gone <= List::MAX_COLLECT {
                let (seen, seen_zone) = self.seen[at];
                match life(conntrack, &seen, seen_zone) {
                    Life::Open | Life::Closed if seen == tuple && seen_zone == zone => return self.seen.len(),
                    Life::Open => at += 1,
                    Life::Closed | Life::Gone => {
                        self.seen.remove(at);
                        gone += 1;
                    }
                }
            }
            (self.looked, self.looked_len) = (tick, self.seen.len());
        }
        self.seen.push((tuple, zone));
        self.seen.len()
    }

    /// Removes what has ended (`nf_conncount_gc_list`).
    fn collect(&mut self, conntrack: &Conntrack, tick: u64) {
        let mut gone = 0;
        self.seen.retain(|(tuple, zone)| {
            let stays = gone > List::MAX_COLLECT || matches!(life(conntrack, tuple, *zone), Life::Open);
            gone += usize::from(!stays);
            stays
        });
        (self.looked, self.looked_len) = (tick, self.seen.len());
    }
}

impl Connections {
    /// So many networks may stay without connections: the kernel lets go of them where eight have come together in one of its
    /// trees (`CONNCOUNT_SLOTS`, `CONNCOUNT_GC_MAX_NODES`).
    const MAX_NETWORKS: usize = 256 * 8;

    fn count(&mut self, conntrack: &Conntrack, key: Key, asked: &Asked, tick: u64) -> usize {
        if let Some(list) = self.by_network.get_mut(&key) {
            return list.count(conntrack, asked, tick);
        }
        if self.by_network.len() >= Connections::MAX_NETWORKS {
            self.sweep(conntrack, tick);
        }
        let list = List {
            seen: vec![(asked.tuple, asked.zone)],
            looked: tick,
            looked_len: 0,
        };
        self.by_network.insert(key, list);
        self.order.push_back(key);
        1
    }

    fn sweep(&mut self, conntrack: &Conntrack, tick: u64) {
        for _ in 0..2 {
            let Some(key) = self.order.pop_front() else {
                return;
            };
            let Some(list) = self.by_network.get_mut(&key) else {
                continue;
            };
            list.collect(conntrack, tick);
            if list.seen.is_empty() {
                self.by_network.remove(&key);
            } else {
                self.order.push_back(key);
            }
        }
    }
}

enum Life {
    Open,
    /// TCP that has ended, but is still remembered.
    Closed,
    /// Not in the table: it expired, or its first packet never left.
    Gone,
}

fn life(conntrack: &Conntrack, tuple: &Tuple, zone: Zone) -> Life {
    let conn = conntrack.lookup(tuple, zone).and_then(|(id, _)| conntrack.get(id));
    match conn.map(|conn| &conn.proto) {
        None => Life::Gone,
        Some(ProtoState::Tcp(tcp)) if matches!(tcp.state, TcpState::TimeWait | TcpState::Close) => Life::Closed,
        Some(_) => Life::Open,
    }
}

#[cfg(test)]
mod tests {
    use fielato_wire::{TcpFlags, number};

    use super::*;
    use crate::rule::Match;
    use crate::testkit::{self, Answer, Kit};
    use crate::{Hook, Packet, Verdict};

    fn syn(sport: u16) -> [Packet; 2] {
        testkit::both(number::TCP, &testkit::tcp(sport, 80, TcpFlags::SYN, &[]))
    }

    /// Tracks the packet, asks, and confirms the connection when `leaves`.
    fn ask(kit: &mut Kit, m: &Match, slot: &mut Slot, packet: Packet, leaves: bool) -> Answer {
        kit.packet = packet;
        kit.now.mono += TICK;
        kit.conntrack.config_mut().checksum = false;
        assert_eq!(
            kit.conntrack.track(&mut kit.packet, Hook::Prerouting, kit.now),
            Verdict::Accept
        );
        let answer = kit.answer_with(m, slot);
        if leaves {
            assert_eq!(kit.conntrack.confirm(&mut kit.packet, kit.now), Verdict::Accept);
        } else {
            kit.conntrack.release(&mut kit.packet);
        }
        answer
    }

    #[test]
    fn counts_what_was_confirmed() {
        for family in 0..2 {
            let packet = |sport| syn(sport)[family].clone();
            let m = |up_to| {
                let prefix = 128;
                Match::Connlimit(Connlimit {
                    limit: 3,
                    prefix,
                    by_destination: false,
                    up_to,
                })
            };
            let mut kit = Kit::new(packet(1));
            let (above, up_to) = (m(false), m(true));
            let mut slots = [above.slot(kit.now), up_to.slot(kit.now)];
            // Source port, whether the packet leaves, what is answered.
            let packets = [
                (1, true, Answer::No),
                (2, true, Answer::No),
                (3, false, Answer::No),
                (4, false, Answer::No), // the third never left
                (5, true, Answer::No),
                (6, false, Answer::Yes),
                (1, true, Answer::Yes), // seen before, but the sixth is still counted
            ];
            for (sport, leaves, expected) in packets {
                let answer = ask(&mut kit, &above, &mut slots[0], packet(sport), leaves);
                assert_eq!(answer, expected, "from port {sport}");
            }
            assert_eq!(
                ask(&mut kit, &up_to, &mut slots[1], packet(4), false),
                Answer::Yes,
                "another rule counts anew"
            );
        }
    }

    #[test]
    fn a_packet_without_tuple_is_dropped() {
        let m = Match::Connlimit(Connlimit {
            limit: 1,
            prefix: 32,
            by_destination: false,
            up_to: false,
        });
        assert_eq!(
            testkit::answer(m.clone(), testkit::v4_fragment(number::TCP, 8, false, &[0; 8])),
            Answer::Hotdrop
        );
        assert_eq!(testkit::answer(m, testkit::v4(number::TCP, &[0; 2])), Answer::Hotdrop);
    }
}
