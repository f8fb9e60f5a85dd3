//! Connections under new rules: which of them would not be let begin now?
//!
//! Rules let packets of known connections pass first, so that a connection outlives the rules that admitted it. After a change of
//! rules [`Netfilter::judge_again`] begins a round in which those end that the new ones would refuse: each connection's first packet
//! is made up from its original tuple, and taken past every table but `nat`, by the way that routes give it now, without anything
//! being counted, answered or remembered. A connection is judged before its next packet passes, and [`Netfilter::judge_some`] goes
//! through the others a few at a time: with a hundred thousand of them judging all at once would keep packets waiting for a tenth of
//! a second.

use std::collections::HashSet;

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::number;

use super::Netfilter;
use super::stage::Stage;
use crate::conntrack::{Conn, ConnId, CtState, Direction, Status, Tuple};
use crate::context::Context;
use crate::host::{Host, Route, RouteKey};
use crate::table::Admission;
use crate::{Hook, Interface, Now, Packet, PacketCt};

/// A round of judging.
#[derive(Debug, Default)]
pub(super) struct Judging {
    /// The place in the connection table that is to be looked at next; `None` when all were.
    next: Option<u32>,
    /// What it ended: those that these brought about end, too.
    ended: HashSet<ConnId>,
}

impl Judging {
    pub(super) const fn is_under_way(&self) -> bool {
        self.next.is_some()
    }
}

impl Netfilter {
    /// Has every connection judged by the rules of now: before its next packet passes, and at the latest by
    /// [`Netfilter::judge_some`]. Those that the rules would not let begin end, and those that such connections brought about. What
    /// can't be told without a packet counts as allowed.
    pub fn judge_again(&mut self) {
        self.fold_counts();
        self.conntrack.round = self.conntrack.round.wrapping_add(1);
        self.judging.next = Some(0);
    }

    /// Looks at up to `places` places of the connection table, in the round that [`Netfilter::judge_again`] began. `None` when there
    /// are more; else how many connections the round ended, by packets' coming too.
    pub fn judge_some(&mut self, places: u32, host: &mut dyn Host, now: Now) -> Option<usize> {
        let mut next = self.judging.next.unwrap_or(u32::MAX);
        for _ in 0..places {
            let Some(place) = self.conntrack.at_place(next) else {
                self.judging.next = None;
                return Some(std::mem::take(&mut self.judging.ended).len());
            };
            if let Some(id) = place {
                self.judge(id, host, now);
            }
            next += 1;
        }
        self.judging.next = Some(next);
        None
    }

    /// Judges a connection if that was not done in this round, and ends it when the rules forbid it. Whether it lives.
    pub(super) fn judge(&mut self, id: ConnId, host: &mut dyn Host, now: Now) -> bool {
        if self.judging.ended.contains(&id) {
            return false;
        }
        let Some(conn) = self.conntrack.get(id).filter(|conn| conn.round != self.conntrack.round) else {
            return true;
        };
        // A connection that another announced goes with it, as deep as helpers announce any.
        let lives = conn.master.is_none_or(|master| self.judge(master, host, now)) && self.admits(id, host, now);
        let round = self.conntrack.round;
        if lives && let Some(conn) = self.conntrack.get_mut(id) {
            conn.round = round;
        }
        if !lives {
            self.judging.ended.insert(id);
            self.conntrack.delete(id);
        }
        lives
    }

    /// Whether the rules of now would let this connection begin; yes when it is gone, or can't be told.
    fn admits(&mut self, id: ConnId, host: &mut dyn Host, now: Now) -> bool {
        self.consider(id, host, now).unwrap_or(Admission::Doubt) != Admission::Drop
    }

    /// Whether the rules of now would let a connection begin that somebody else tracks; yes when it can't be told.
    pub fn would_admit(&mut self, conn: Conn, host: &mut dyn Host, now: Now) -> bool {
        let id = self.conntrack.lend(conn, now);
        let admitted = self.admits(id, host, now);
        self.conntrack.take_back(id);
        admitted
    }

    fn consider(&mut self, id: ConnId, host: &mut dyn Host, now: Now) -> Option<Admission> {
        let conn = self.conntrack.get(id)?;
        let original = *conn.tuple(Direction::Original);
        let reply = *conn.tuple(Direction::Reply);
        let state = match conn.status.has(Status::EXPECTED) {
            true => CtState::Related,
            false => CtState::New,
        };
        // The answers come from where destination NAT sent the packets.
        let translated = Tuple {
            dst: reply.src,
            dport: if original.has_ports() { reply.sport } else { original.dport },
            ..original
        };
        let came_by = came_by(&translated, host)?;
        let ct = PacketCt::Tracked {
            id,
            state,
            direction: Direction::Original,
        };
        let mut packet = made_up(&original)?;
        (packet.in_interface, packet.ct) = (came_by, ct);
        let entry = match came_by {
            Interface::NONE => Hook::Output,
            _ => Hook::Prerouting,
        };
        let mut found = match entry {
            Hook::Prerouting => self.consider_hook(entry, &mut packet, host, now),
            _ => Admission::Accept,
        };
        let mark = packet.mark;
        if translated != original {
            packet = made_up(&translated)?;
            (packet.in_interface, packet.ct, packet.mark) = (came_by, ct, mark);
        }
        let route = host.supposed_route(&RouteKey {
            family: translated.family,
            src: translated.src,
            dst: translated.dst,
            in_interface: came_by,
            mark,
            tos: 0,
        });
        let hooks: &[Hook] = match route {
            Route::Local => &[Hook::Input],
            Route::Out { interface, mtu, realm } => {
                (packet.out_interface, packet.mtu, packet.realm) = (interface, mtu, realm);
                match entry {
                    Hook::Output => &[Hook::Output, Hook::Postrouting],
                    _ => &[Hook::Forward, Hook::Postrouting],
                }
            }
            // Its packets get nowhere as it is.
            Route::Unreachable | Route::HostUnreachable | Route::Prohibit | Route::Blackhole => return None,
        };
        for &hook in hooks {
            if found == Admission::Accept {
                found = self.consider_hook(hook, &mut packet, host, now);
            }
        }
        Some(found)
    }

    /// What the tables of a hook, all but `nat`, would do with the packet.
    fn consider_hook(&mut self, hook: Hook, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Admission {
        let Netfilter {
            families,
            conntrack,
            shared,
            rng,
            ..
        } = self;
        let family = &mut families[packet.headers.family as usize];
        // Nothing that is made here leaves.
        let mut effects = Vec::new();
        let mut cx = Context {
            packet,
            hook,
            conntrack,
            shared,
            host,
            rng,
            effects: &mut effects,
            now,
            hotdrop: false,
        };
        for staged in &family.hooks[hook.index()] {
            let Stage::Table(number) = &staged.stage else {
                continue;
            };
            match family.tables[usize::from(*number)].consider(&mut cx) {
                Admission::Accept => {}
                other => return other,
            }
        }
        Admission::Accept
    }
}

/// The interface that a connection's first packets come by, as routes have it now: the way back to their source; none for what is
/// made on this host.
fn came_by(tuple: &Tuple, host: &mut dyn Host) -> Option<Interface> {
    let back = RouteKey {
        family: tuple.family,
        src: tuple.dst,
        dst: tuple.src,
        in_interface: Interface::NONE,
        mark: 0,
        tos: 0,
    };
    match host.supposed_route(&back) {
        Route::Out { interface, .. } if host.is_loopback(interface) => Some(Interface::NONE),
        Route::Out { interface, .. } => Some(interface),
        _ => None,
    }
}

/// The first packet of a connection with this tuple.
fn made_up(tuple: &Tuple) -> Option<Packet> {
    let ip = Ip::new(tuple.family, tuple.src, tuple.dst);
    let data = match tuple.protocol {
        number::TCP => ip.tcp(&Tcp::new(tuple.sport, tuple.dport).syn()),
        number::UDP => ip.udp(tuple.sport, tuple.dport, &[]),
        number::ICMP | number::ICMPV6 => {
            let (kind, code) = tuple.icmp();
            ip.icmp(kind, code, u32::from(tuple.sport) << 16, &[])
        }
        protocol => {
            let ports = [tuple.sport.to_be_bytes(), tuple.dport.to_be_bytes()].concat();
            ip.packet(protocol, &[ports.as_slice(), &[0; 12]].concat())
        }
    };
    let mut packet = Packet::local(data).ok()?;
    packet.vouch_checksum();
    Some(packet)
}
