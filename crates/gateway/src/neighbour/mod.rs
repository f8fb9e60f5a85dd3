//! Neighbours on Ethernet ports: who has which address (ARP, RFC 826; NDP, RFC 4861).
//!
//! A neighbour is *incomplete* while it is asked for, *reachable* after it answered, *stale* some time later, *probed* when it is
//! used then: it gets packets while it is asked whether it is still there. One that does not answer is forgotten, and what
//! waited for it has failed. Packets wait a few for each neighbour, neighbours are bounded in number, and only addresses of the port
//! itself are answered for.
//!
//! NDP is heard before the hooks, unlike in the kernel, where INPUT sees it.

mod arp;
mod ethernet;
mod ndp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_netfilter::Now;
use ipnet::IpNet;

use crate::egress::EgressPacket;
use crate::{Buffer, DropReason};
use arp::{Arp, Operation};
pub(crate) use ethernet::{EtherType, Frame, HEADER, Mac, is_group};
use ndp::{Message, Parsed};

/// Frames of our own that wait to be sent, at most.
const OUTBOX: usize = 256;

/// Settings, with Linux's defaults where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Neighbours that are known at once, on each port (`gc_thresh3`).
    pub max: usize,
    /// Packets that wait for a neighbour's answer; the oldest gives way.
    pub waiting: usize,
    /// How often a neighbour is asked for (`mcast_solicit`, `ucast_solicit`).
    pub tries: u8,
    /// Milliseconds between two questions (`retrans_time_ms`).
    pub retry: u32,
    /// Milliseconds that an answer is good for (`base_reachable_time_ms`).
    pub reachable: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max: 1024,
            waiting: 3,
            tries: 3,
            retry: 1000,
            reachable: 30_000,
        }
    }
}

/// What is known of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was asked for so often.
    Incomplete(u8),
    /// It answered, and need not be asked until then.
    Reachable(u64),
    /// It may be there still.
    Stale,
    /// It is asked, so often already, whether it is.
    Probed(u8),
}

#[derive(Debug)]
struct Neighbour {
    state: State,
    mac: Mac,
    /// When it was last used or heard of.
    used: u64,
    /// When it is asked again.
    due: Option<u64>,
    waiting: VecDeque<EgressPacket>,
}

/// What became of a packet for a neighbour.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// It can be sent.
    Ready(EgressPacket),
    /// It waits for an answer.
    Waits,
    /// Another, or it itself, found no room.
    Dropped(DropReason),
}

/// The neighbours of a port.
#[derive(Debug)]
pub(crate) struct Neighbours {
    mac: Mac,
    own: Vec<IpNet>,
    settings: Settings,
    known: HashMap<IpAddr, Neighbour>,
    timers: BTreeSet<(u64, IpAddr)>,
    outbox: VecDeque<Buffer>,
}

const fn nanoseconds(milliseconds: u32) -> u64 {
    milliseconds as u64 * 1_000_000
}

impl Neighbours {
    pub(crate) fn new(mac: Mac, addresses: &[IpNet], settings: Settings) -> Neighbours {
        let mut neighbours = Neighbours {
            mac,
            own: Vec::new(),
            settings,
            known: HashMap::new(),
            timers: BTreeSet::new(),
            outbox: VecDeque::new(),
        };
        neighbours.configure(mac, addresses, settings);
        neighbours
    }

    /// Other settings; what is known stays.
    pub(crate) fn configure(&mut self, mac: Mac, addresses: &[IpNet], settings: Settings) {
        let link_local = IpNet::from(IpAddr::V6(ndp::link_local(mac)));
        self.own = addresses.iter().copied().chain([link_local]).collect();
        (self.mac, self.settings) = (mac, settings);
    }

    /// Neighbours that are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Those that are being asked for.
    pub(crate) fn asked(&self) -> usize {
        self.timers.len()
    }

    /// The next frame of our own to send.
    pub(crate) fn next_frame(&mut self) -> Option<Buffer> {
        self.outbox.pop_front()
    }

    /// When there is something to ask or to send.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        match self.outbox.is_empty() {
            true => self.timers.first().map(|(due, _)| *due),
            false => Some(0),
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|net| net.addr() == address)
    }

    /// Finds the station that a packet goes to.
    pub(crate) fn resolve(&mut self, hop: IpAddr, mut packet: EgressPacket, now: Now) -> Resolved {
        let on_link = |net: &IpNet| matches!(net, IpNet::V4(net) if net.prefix_len() < 31 && IpAddr::V4(net.broadcast()) == hop);
        let group = match self.own.iter().any(on_link) {
            true => Some(ethernet::BROADCAST),
            false => ethernet::group_of(hop),
        };
        if group.is_some() {
            packet.next_hop = group;
            return Resolved::Ready(packet);
        }
        if !self.known.contains_key(&hop) && !self.make_room(now) {
            return Resolved::Dropped(DropReason::NeighbourQueue);
        }
        let most = self.settings.waiting.max(1);
        let mut is_new = false;
        let neighbour = self.known.entry(hop).or_insert_with(|| {
            is_new = true;
            Neighbour::new(State::Incomplete(0), [0; 6], now)
        });
        neighbour.used = now.mono;
        match neighbour.state {
            State::Incomplete(_) => {
                neighbour.waiting.push_back(packet);
                let too_many = neighbour.waiting.len() > most;
                if too_many {
                    neighbour.waiting.pop_front();
                }
                if is_new {
                    self.ask(hop, now);
                }
                match too_many {
                    true => Resolved::Dropped(DropReason::NeighbourQueue),
                    false => Resolved::Waits,
                }
            }
            State::Reachable(until) if now.mono < until => ready(packet, neighbour.mac),
            State::Reachable(_) | State::Stale => {
                neighbour.state = State::Probed(0);
                let mac = neighbour.mac;
                self.ask(hop, now);
                ready(packet, mac)
            }
            State::Probed(_) => ready(packet, neighbour.mac),
        }
    }

    /// Asks neighbours again, gives up those that don't answer, and gives back what waited for these.
    pub(crate) fn handle_timeout(&mut self, now: Now) -> Vec<EgressPacket> {
        let mut failed = Vec::new();
        while let Some(&(due, hop)) = self.timers.first()
            && due <= now.mono
        {
            self.timers.pop_first();
            let Some(neighbour) = self.known.get_mut(&hop) else {
                continue;
            };
            neighbour.due = None;
            match neighbour.state {
                State::Incomplete(tries) | State::Probed(tries) if tries >= self.settings.tries => {
                    if let Some(gone) = self.known.remove(&hop) {
                        failed.extend(gone.waiting);
                    }
                }
                State::Incomplete(_) | State::Probed(_) => self.ask(hop, now),
                State::Reachable(_) | State::Stale => {}
            }
        }
        failed
    }

    /// A frame with an ARP message.
    pub(crate) fn handle_arp(&mut self, frame: &Frame, bytes: &[u8], now: Now) -> Result<Vec<EgressPacket>, DropReason> {
        let arp = Arp::parse(bytes).ok_or(DropReason::BadNeighbourMessage)?;
        let (mac, sender) = arp.sender;
        let (_, target) = arp.target;
        // Nobody has these addresses (`arp_process`).
        let nobodys = |address: Ipv4Addr| address.is_multicast() || address.is_loopback() || address.is_broadcast();
        if nobodys(sender) || nobodys(target) || is_group(mac) || self.is_own(sender.into()) {
            return Err(DropReason::BadNeighbourMessage);
        }
        let for_us = self.is_own(target.into());
        if arp.operation == Operation::Request && for_us {
            let reply = Arp {
                operation: Operation::Reply,
                sender: (self.mac, target),
                target: (mac, sender),
            };
            self.send(mac, EtherType::Arp, reply.emit());
        }
        // A probe for a duplicate address tells nothing (RFC 5227 §2.1.1).
        if sender.is_unspecified() {
            return Ok(Vec::new());
        }
        let answers = arp.operation == Operation::Reply && !is_group(frame.destination);
        let state = match answers {
            true => self.reachable(now),
            false => State::Stale,
        };
        // Who asks for us will be answered by us: worth knowing. Others' traffic only renews what is known.
        let learn = arp.operation == Operation::Request && for_us;
        Ok(self.learn(sender.into(), mac, state, learn, now))
    }

    /// A packet that may be a message of neighbour discovery; none when it is not.
    pub(crate) fn handle_ndp(&mut self, packet: &[u8], now: Now) -> Option<Result<Vec<EgressPacket>, DropReason>> {
        match ndp::parse(packet) {
            Parsed::Other => None,
            Parsed::Invalid => Some(Err(DropReason::BadNeighbourMessage)),
            Parsed::Message(message) => Some(Ok(self.handle_message(message, now))),
        }
    }

    fn handle_message(&mut self, message: Message, now: Now) -> Vec<EgressPacket> {
        match message {
            Message::Solicitation { from, target, mac } if self.is_own(target.into()) => {
                let known = mac.or_else(|| self.known.get(&IpAddr::V6(from)).map(|neighbour| neighbour.mac));
                let answer = ndp::advertisement(target, from, self.mac);
                let to = match from.is_unspecified() {
                    true => ethernet::group_of(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))),
                    false => known,
                };
                if let Some(to) = to {
                    self.send(to, EtherType::Ipv6, answer);
                }
                match mac {
                    Some(mac) if !from.is_unspecified() => self.learn(from.into(), mac, State::Stale, true, now),
                    _ => Vec::new(),
                }
            }
            Message::Solicitation { .. } => Vec::new(),
            Message::Advertisement {
                target,
                mac,
                solicited,
                overrides,
            } => {
                let Some(neighbour) = self.known.get_mut(&IpAddr::V6(target)) else {
                    return Vec::new();
                };
                let incomplete = matches!(neighbour.state, State::Incomplete(_));
                // RFC 4861 §7.2.5.
                let Some(mac) = mac.or((!incomplete).then_some(neighbour.mac)) else {
                    return Vec::new();
                };
                if !incomplete && !overrides && mac != neighbour.mac {
                    if matches!(neighbour.state, State::Reachable(_)) {
                        neighbour.state = State::Stale;
                    }
                    return Vec::new();
                }
                let state = match (solicited, mac == neighbour.mac) {
                    (true, _) => self.reachable(now),
                    (false, true) if !incomplete => return Vec::new(),
                    (false, _) => State::Stale,
                };
                self.learn(target.into(), mac, state, false, now)
            }
        }
    }

    const fn reachable(&self, now: Now) -> State {
        State::Reachable(now.mono.saturating_add(nanoseconds(self.settings.reachable)))
    }

    /// Notes where a neighbour is, a new one if that is worth it; gives what waited for it.
    fn learn(&mut self, address: IpAddr, mac: Mac, state: State, is_worth_it: bool, now: Now) -> Vec<EgressPacket> {
        if !(self.known.contains_key(&address) || is_worth_it && self.make_room(now)) {
            return Vec::new();
        }
        let neighbour = self
            .known
            .entry(address)
            .or_insert_with(|| Neighbour::new(State::Stale, mac, now));
        let confirms = matches!(state, State::Reachable(_));
        let was_reachable = matches!(neighbour.state, State::Reachable(_));
        // Hearing of it is no proof that it hears us, unless it moved.
        if confirms || !was_reachable || neighbour.mac != mac {
            let probed = matches!(neighbour.state, State::Probed(_)) && neighbour.mac == mac && !confirms;
            if !probed {
                neighbour.state = state;
                if let Some(due) = neighbour.due.take() {
                    self.timers.remove(&(due, address));
                }
            }
        }
        (neighbour.mac, neighbour.used) = (mac, now.mono);
        let waiting = std::mem::take(&mut neighbour.waiting);
        let known = waiting.into_iter().map(|packet| EgressPacket {
            next_hop: Some(mac),
            ..packet
        });
        known.collect()
    }

    /// Asks for a neighbour once more: everybody, or itself when it was known.
    fn ask(&mut self, hop: IpAddr, now: Now) {
        let due = now.mono.saturating_add(nanoseconds(self.settings.retry.max(1)));
        let Some(neighbour) = self.known.get_mut(&hop) else {
            return;
        };
        let known = match &mut neighbour.state {
            State::Incomplete(tries) => {
                *tries += 1;
                None
            }
            State::Probed(tries) => {
                *tries += 1;
                Some(neighbour.mac)
            }
            State::Reachable(_) | State::Stale => return,
        };
        if let Some(before) = neighbour.due.replace(due) {
            self.timers.remove(&(before, hop));
        }
        self.timers.insert((due, hop));
        match hop {
            IpAddr::V4(target) => {
                let request = Arp {
                    operation: Operation::Request,
                    sender: (self.mac, self.source_v4(target)),
                    target: ([0; 6], target),
                };
                self.send(known.unwrap_or(ethernet::BROADCAST), EtherType::Arp, request.emit());
            }
            IpAddr::V6(target) => {
                let group = ndp::solicited_node(target);
                let (to, station) = match known {
                    Some(mac) => (target, Some(mac)),
                    None => (group, ethernet::group_of(group.into())),
                };
                let packet = ndp::solicitation(ndp::link_local(self.mac), to, target, self.mac);
                self.send(station.unwrap_or(ethernet::BROADCAST), EtherType::Ipv6, packet);
            }
        }
    }

    /// The address to ask with: that in the neighbour's network, else any; none is the unspecified one.
    fn source_v4(&self, target: Ipv4Addr) -> Ipv4Addr {
        let v4 = || {
            self.own.iter().filter_map(|net| match net {
                IpNet::V4(net) => Some(net),
                IpNet::V6(_) => None,
            })
        };
        let around = v4().find(|net| net.contains(&target)).or_else(|| v4().next());
        around.map_or(Ipv4Addr::UNSPECIFIED, |net| net.addr())
    }

    fn send(&mut self, destination: Mac, kind: EtherType, data: Vec<u8>) {
        if self.outbox.len() < OUTBOX {
            let frame = Frame {
                destination,
                source: self.mac,
                kind,
            };
            self.outbox.push_back(frame.wrap(Buffer::from(data)));
        }
    }

    /// Makes room for one more: who was not heard of for longest goes, but nobody who is reachable or waited for.
    fn make_room(&mut self, now: Now) -> bool {
        if self.known.len() < self.settings.max.max(1) {
            return true;
        }
        let may_go = self.known.iter().filter(|(_, neighbour)| match neighbour.state {
            State::Stale => true,
            State::Reachable(until) => until <= now.mono,
            State::Incomplete(_) | State::Probed(_) => false,
        });
        let oldest = may_go.min_by_key(|(address, neighbour)| (neighbour.used, **address));
        let Some(oldest) = oldest.map(|(address, _)| *address) else {
            return false;
        };
        self.known.remove(&oldest);
        true
    }
}

fn ready(mut packet: EgressPacket, mac: Mac) -> Resolved {
    packet.next_hop = Some(mac);
    Resolved::Ready(packet)
}

impl Neighbour {
    fn new(state: State, mac: Mac, now: Now) -> Neighbour {
        Neighbour {
            state,
            mac,
            used: now.mono,
            due: None,
            waiting: VecDeque::new(),
        }
    }
}
