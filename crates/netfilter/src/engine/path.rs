//! A packet's way: hooks and routing decisions in their order, and where it can be taken up again.

use fielato_wire::{Family, checksum, number};

use super::Netfilter;
use super::stage::Ran;
use crate::context::Effect;
use crate::host::{Host, Route, RouteKey};
use crate::targets::reject::{self, ErrorAbout};
use crate::verdict::{DropReason, Verdict};
use crate::{Hook, Now, Packet};

/// What became of a packet given to the engine.
#[derive(Debug)]
pub enum Fate {
    /// For this host.
    Deliver(Packet),
    /// To be sent by [`Packet::out_interface`]; in pieces when [`Packet::largest_fragment`] or the way out asks for it
    /// ([`crate::conntrack::defrag::fragment`]).
    Transmit(Packet),
    /// Dropped.
    Dropped(DropReason),
    /// A hook or target keeps it.
    Stolen,
    /// It waits for the rest of its datagram.
    Fragment,
    /// It waits in a queue.
    Queued,
}

/// What became of a packet that stays where it is: a [`Fate`] without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// For this host.
    Deliver,
    /// To be sent, as [`Fate::Transmit`] says.
    Transmit,
    /// Dropped.
    Dropped(DropReason),
    /// A hook or target keeps it.
    Stolen,
    /// It waits for the rest of its datagram; what is left is empty.
    Fragment,
    /// It waits in a queue; what is left is empty.
    Queued,
}

impl Ended {
    /// With the packet.
    #[inline]
    pub(super) fn with(self, packet: Packet) -> Fate {
        match self {
            Ended::Deliver => Fate::Deliver(packet),
            Ended::Transmit => Fate::Transmit(packet),
            Ended::Dropped(reason) => Fate::Dropped(reason),
            Ended::Stolen => Fate::Stolen,
            Ended::Fragment => Fate::Fragment,
            Ended::Queued => Fate::Queued,
        }
    }
}

/// Most answers (REJECT, SYNPROXY) sent for one packet, answers to answers included.
const ANSWER_LIMIT: usize = 8;

impl Netfilter {
    /// A packet received: PRE_ROUTING, the route, then LOCAL_IN, or FORWARD and POST_ROUTING.
    pub fn receive(&mut self, mut packet: Packet, host: &mut dyn Host, now: Now) -> Fate {
        self.receive_in_place(&mut packet, host, now).with(packet)
    }

    /// [`Netfilter::receive`] for those who count every nanosecond: the packet is not moved.
    #[inline]
    pub fn receive_in_place(&mut self, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Ended {
        let ended = self.way(Hook::Prerouting, packet, host, now);
        self.send_answers(host, now);
        ended
    }

    /// A packet made on this host: the route, LOCAL_OUT, the route again if what it depends on changed, POST_ROUTING.
    pub fn send_local(&mut self, mut packet: Packet, host: &mut dyn Host, now: Now) -> Fate {
        self.send_local_in_place(&mut packet, host, now).with(packet)
    }

    /// [`Netfilter::send_local`] for those who count every nanosecond: the packet is not moved.
    pub fn send_local_in_place(&mut self, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Ended {
        if let Err(reason) = route_out(packet, host) {
            return self.drop(packet, reason);
        }
        let ended = self.way(Hook::Output, packet, host, now);
        self.send_answers(host, now);
        ended
    }

    /// Sends an ICMP error about a packet that got no further, if one may be sent; it becomes [`Effect::Transmit`].
    pub fn send_icmp_error(&mut self, packet: &Packet, kind: u8, code: u8, host: &mut dyn Host, now: Now) {
        if let Some(answer) = reject::icmp_error(packet, host, &mut self.rng, ErrorAbout::new(kind, code, 0)) {
            self.effects.push(Effect::Send(Box::new(answer)));
            self.send_answers(host, now);
        }
    }

    /// Runs one hook on a packet, for embedders that have a path of their own. Answers made by targets are left in the effects.
    pub fn run(&mut self, hook: Hook, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Verdict {
        match self.run_stages(hook, &mut 0, packet, host, now) {
            Ran::Through => Verdict::Accept,
            Ran::Stopped(verdict) => verdict,
            Ran::Fragment => Verdict::Stolen,
        }
    }

    /// Takes a packet through the rest of its way, from stage `from` of `hook`.
    pub(super) fn advance(
        &mut self,
        mut hook: Hook,
        mut from: usize,
        packet: &mut Packet,
        host: &mut dyn Host,
        now: Now,
    ) -> Ended {
        self.scratch.reroute = false;
        loop {
            match self.run_stages(hook, &mut from, packet, host, now) {
                Ran::Through => {}
                Ran::Fragment => return Ended::Fragment,
                Ran::Stopped(Verdict::Drop(reason)) => {
                    // Answers belong to the packet's connection, which goes with the packet when it is new.
                    self.send_answers(host, now);
                    return self.drop(packet, reason);
                }
                Ran::Stopped(Verdict::Queue { number, bypass }) => {
                    let stage = self.place_of(packet, hook, from);
                    match self.queues.park(number, bypass, hook, stage, packet) {
                        Ok(()) => return Ended::Queued,
                        Err(true) => {
                            from += 1;
                            continue;
                        }
                        Err(false) => return self.drop(packet, DropReason::Queue { number }),
                    }
                }
                Ran::Stopped(Verdict::Stolen | Verdict::Accept | Verdict::Repeat) => {
                    self.send_answers(host, now);
                    self.conntrack.release(packet);
                    return Ended::Stolen;
                }
            }
            from = 0;
            hook = match hook {
                // What comes back by loopback keeps its route, unless NAT sent it elsewhere.
                Hook::Prerouting if !std::mem::take(&mut self.scratch.reroute) && host.is_loopback(packet.in_interface) => {
                    Hook::Input
                }
                Hook::Prerouting => match self.route_received(packet, host) {
                    Ok(next) => next,
                    Err((reason, error)) => {
                        if let Some(error) = error
                            && let Some(answer) = reject::icmp_error(packet, host, &mut self.rng, error)
                        {
                            self.effects.push(Effect::Send(Box::new(answer)));
                            self.send_answers(host, now);
                        }
                        return self.drop(packet, reason);
                    }
                },
                Hook::Forward => Hook::Postrouting,
                Hook::Output => {
                    if std::mem::take(&mut self.scratch.reroute)
                        && let Err(reason) = route_out(packet, host)
                    {
                        return self.drop(packet, reason);
                    }
                    if packet.copied {
                        // Its route's device stands with it as if it had come in there (`nf_dup_ipv4_route`).
                        packet.in_interface = packet.out_interface;
                    }
                    Hook::Postrouting
                }
                Hook::Input => return Ended::Deliver,
                Hook::Postrouting if host.is_loopback(packet.out_interface) => {
                    // What is sent to an address of the host's own comes in again, with its connection and mark.
                    self.scratch.recorder.spoil();
                    packet.in_interface = std::mem::take(&mut packet.out_interface);
                    Hook::Prerouting
                }
                Hook::Postrouting => return Ended::Transmit,
            };
        }
    }

    /// The routing decision about a received packet, and what forwarding does before FORWARD (`ip_forward`, `ip6_forward`).
    fn route_received(&mut self, packet: &mut Packet, host: &mut dyn Host) -> Result<Hook, (DropReason, Option<ErrorAbout>)> {
        let v4 = packet.headers.family == Family::V4;
        if packet.headers.protocol == number::TCP {
            // A socket is looked for before a route (`tcp_v4_early_demux`).
            packet.join_header(20);
        }
        let error = |(kind, code)| ErrorAbout {
            kind,
            code,
            lacks_route: true,
            ..ErrorAbout::default()
        };
        match host.route(&route_key(packet)) {
            Route::Local => Ok(Hook::Input),
            // ip_error() for ENETUNREACH, which is what a lookup that finds nothing gives; ip6_pkt_discard() has the same code.
            Route::Unreachable => Err((DropReason::NoRoute, Some(error(if v4 { (3, 0) } else { (1, 0) })))),
            // ICMPv6 has no code for it: ip6_pkt_discard() again.
            Route::HostUnreachable => Err((DropReason::NoRoute, Some(error(if v4 { (3, 1) } else { (1, 0) })))),
            Route::Prohibit => Err((DropReason::NoRoute, Some(error(if v4 { (3, 13) } else { (1, 1) })))),
            Route::Blackhole => Err((DropReason::NoRoute, None)),
            Route::Out { interface, mtu, realm } => {
                (packet.out_interface, packet.mtu, packet.realm) = (interface, mtu, realm);
                packet.summed.forward();
                // An error about the packet quotes it as it came (`ip_forward`: "decrease ttl after skb cow done").
                if packet.headers.ttl <= 1 {
                    return Err((DropReason::TtlExceeded, Some(ErrorAbout::new(if v4 { 11 } else { 3 }, 0, 0))));
                }
                let whole = !v4 || packet.headers.dont_fragment;
                if packet.size_on_way() > mtu && whole {
                    let (kind, code) = if v4 { (3, 4) } else { (2, 0) };
                    return Err((DropReason::TooBig, Some(ErrorAbout::new(kind, code, mtu))));
                }
                decrement_ttl(packet).map_err(|reason| (reason, None))?;
                Ok(Hook::Forward)
            }
        }
    }

    /// Counts a drop and lets go of what only this packet held.
    pub(super) fn drop(&mut self, packet: &mut Packet, reason: DropReason) -> Ended {
        self.conntrack.release(packet);
        self.drops.count(reason);
        Ended::Dropped(reason)
    }

    /// Sends the answers that targets made ([`Effect::Send`]); they become [`Effect::Transmit`].
    #[inline]
    pub(super) fn send_answers(&mut self, host: &mut dyn Host, now: Now) {
        if !self.effects.is_empty() {
            self.send_all_answers(host, now);
        }
    }

    fn send_all_answers(&mut self, host: &mut dyn Host, now: Now) {
        self.scratch.recorder.spoil();
        for _ in 0..ANSWER_LIMIT {
            let Some(place) = self.effects.iter().position(|effect| matches!(effect, Effect::Send(_))) else {
                return;
            };
            let Effect::Send(mut answer) = self.effects.remove(place) else {
                return;
            };
            let ended = match route_out(&mut answer, host) {
                Ok(()) => self.advance(Hook::Output, 0, &mut answer, host, now),
                Err(reason) => self.drop(&mut answer, reason),
            };
            if let Ended::Transmit | Ended::Deliver = ended {
                self.effects.push(Effect::Transmit(answer));
            }
        }
        // More than that is a loop of targets answering each other.
        self.effects.retain(|effect| !matches!(effect, Effect::Send(_)));
    }
}

/// What a route is chosen by.
fn route_key(packet: &Packet) -> RouteKey {
    RouteKey {
        family: packet.headers.family,
        src: packet.headers.src,
        dst: packet.headers.dst,
        in_interface: packet.in_interface,
        mark: packet.mark,
        tos: packet.headers.tos,
    }
}

/// What makes a local packet be routed again when LOCAL_OUT changed it (`ip_route_me_harder`'s callers).
pub(super) fn route_inputs(packet: &Packet) -> (fielato_wire::Addr, fielato_wire::Addr, u32, (u8, u8)) {
    // IPv6 asks for the hop limit, too (`ip6t_mangle_out`).
    let hop_limit = match packet.headers.family {
        Family::V4 => 0,
        Family::V6 => packet.headers.ttl,
    };
    (
        packet.headers.src,
        packet.headers.dst,
        packet.mark,
        (packet.headers.tos, hop_limit),
    )
}

fn route_out(packet: &mut Packet, host: &mut dyn Host) -> Result<(), DropReason> {
    match host.route(&route_key(packet)) {
        Route::Out { interface, mtu, realm } => {
            (packet.out_interface, packet.mtu, packet.realm) = (interface, mtu, realm);
            Ok(())
        }
        Route::Local | Route::Unreachable | Route::HostUnreachable | Route::Prohibit | Route::Blackhole => {
            Err(DropReason::NoRoute)
        }
    }
}

#[inline]
pub(super) fn decrement_ttl(packet: &mut Packet) -> Result<(), DropReason> {
    if packet.headers.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    packet.headers.ttl -= 1;
    match packet.headers.family {
        Family::V4 => {
            let old = u16::from_be_bytes([packet.data[8], packet.data[9]]);
            packet.data[8] -= 1;
            let check = u16::from_be_bytes([packet.data[10], packet.data[11]]);
            let check = checksum::update16(check, old, old - 0x0100);
            packet.data[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => packet.data[7] -= 1,
    }
    Ok(())
}
