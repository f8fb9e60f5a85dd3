//! A packet meets connection tracking: it finds or makes its connection, and confirms it when it has passed.

use fielato_wire::number;

use super::event::EventMask;
use super::proto::{self, ProtoPacket};
use super::slab::Phase;
use super::table::DIRECTIONS;
use super::{
    Changes, Conn, ConnId, Conntrack, CtState, Direction, ExpectNat, Master, ProtoVerdict, Status, Template, Tuple, Zone,
    extract, icmp,
};
use crate::verdict::{DropReason, Verdict};
use crate::{Hook, Now, Packet, PacketCt};

/// How often a packet may find that its connection is over and look again.
const REPEATS: usize = 4;

/// The table is full.
struct Full;

/// What [`Conntrack::judge`] found.
pub(super) struct Judged {
    pub(super) verdict: ProtoVerdict,
    /// Whether the transport checksum is right, where it was looked at.
    pub(super) right: Option<bool>,
}

impl Judged {
    const INVALID: Judged = Judged {
        verdict: ProtoVerdict::Invalid,
        right: None,
    };
}

impl Conntrack {
    /// Finds or makes the packet's connection, at PRE_ROUTING and LOCAL_OUT (`nf_conntrack_in`). Sets [`Packet::ct`] and takes
    /// [`Packet::template`].
    pub fn track(&mut self, packet: &mut Packet, hook: Hook, now: Now) -> Verdict {
        self.advance(now);
        let template = packet.template.take();
        if matches!(packet.ct, PacketCt::Tracked { .. } | PacketCt::Untracked) {
            // Seen before (it came by loopback), or excluded.
            return Verdict::Accept;
        }
        packet.ct = PacketCt::None;
        let template = template.as_deref();
        let zone = match template {
            Some(template) if template.zone_from_mark => Zone {
                id: packet.mark as u16,
                ..template.zone
            },
            Some(template) => template.zone,
            None => Zone::default(),
        };
        if !extract::has_transport(&packet.headers) {
            return self.invalid(packet);
        }
        let family_icmp = match packet.headers.family {
            fielato_wire::Family::V4 => number::ICMP,
            fielato_wire::Family::V6 => number::ICMPV6,
        };
        if packet.headers.protocol == family_icmp {
            match icmp::inspect(self, packet, hook, zone) {
                icmp::Outcome::Track => {}
                icmp::Outcome::Settled(ct) => {
                    packet.ct = ct;
                    return Verdict::Accept;
                }
                icmp::Outcome::Invalid => {
                    self.stats.error += 1;
                    return self.invalid(packet);
                }
            }
        }
        let Some(tuple) = extract::tuple(&packet.headers, packet.transport(), &self.trackers) else {
            return self.invalid(packet);
        };
        for _ in 0..REPEATS {
            let (id, direction) = match self.resolve(&tuple, zone, template, now) {
                Ok(Some(found)) => found,
                Ok(None) => return self.invalid(packet),
                Err(Full) => {
                    self.stats.drop += 1;
                    self.stats.table_full += 1;
                    self.pressed = true;
                    return Verdict::Drop(DropReason::TableFull);
                }
            };
            let judged = self.judge(packet, hook, id, direction, now);
            if let Some(right) = judged.right {
                packet.note_checksum(right);
            }
            match judged.verdict {
                ProtoVerdict::Accept | ProtoVerdict::Ignore => return Verdict::Accept,
                ProtoVerdict::Repeat => self.forget(id),
                ProtoVerdict::Invalid => {
                    self.discard(id);
                    return self.invalid(packet);
                }
                ProtoVerdict::Drop => {
                    self.discard(id);
                    self.stats.drop += 1;
                    self.stats.invalid += 1;
                    return Verdict::Drop(DropReason::Protocol);
                }
            }
        }
        self.invalid(packet)
    }

    /// Enters the packet's connection into the table, if it isn't there (`__nf_conntrack_confirm`).
    pub fn confirm(&mut self, packet: &mut Packet, now: Now) -> Verdict {
        let PacketCt::Tracked { id, state, direction } = packet.ct else {
            return Verdict::Accept;
        };
        self.advance(now);
        let Some(entry) = self.slab.get_mut(id) else {
            // It was removed while the packet waited. A packet that could have begun it must not pass without it.
            if state == CtState::Established || direction == Direction::Reply {
                return Verdict::Accept;
            }
            return self.refuse(packet);
        };
        if entry.phase == Phase::Confirmed {
            if entry.pending != 0 {
                self.report_changes(id);
            }
            return Verdict::Accept;
        }
        // An answer made here to the packet that began it (REJECT); that packet itself confirms it.
        if direction == Direction::Reply {
            return Verdict::Accept;
        }
        if entry.conn.status.has(Status::DYING) {
            self.stats.insert_failed += 1;
            return self.refuse(packet);
        }
        for direction in DIRECTIONS {
            if let Some(other) = self.clash(id, direction) {
                return self.resolve_clash(packet, id, other, direction);
            }
        }
        self.enter(id);
        Verdict::Accept
    }

    /// Lets go of a packet's connection when the packet ends before it was confirmed.
    pub fn release(&mut self, packet: &mut Packet) {
        if let PacketCt::Tracked { id, .. } = packet.ct {
            packet.ct = PacketCt::None;
            self.discard(id);
        }
    }

    /// Puts a connection into the table. Its timeout counts from now, not from when its first packet came.
    fn enter(&mut self, id: ConnId) {
        let now = self.now.mono;
        let Some(entry) = self.slab.get_mut(id) else {
            return;
        };
        entry.conn.deadline = entry.conn.deadline.saturating_add(now.saturating_sub(entry.born()));
        entry.conn.status.set(Status::CONFIRMED);
        entry.phase = Phase::Confirmed;
        let mut changes = match entry.conn.master {
            Some(_) => Changes::RELATED,
            None => Changes::NEW,
        };
        if entry.conn.helper.is_some() {
            changes |= Changes::HELPER;
        }
        let assured = entry.conn.status.has(Status::ASSURED);
        // The loser of a clash stands behind its answers only.
        if entry.conn.status.has(Status::NAT_CLASH) {
            self.link_direction(id.index, Direction::Reply);
        } else {
            self.link(id.index);
            self.note_change(id, Changes(changes));
        }
        if !assured {
            self.slab.age_push(id.index);
        }
        self.stats.insert += 1;
        self.report_changes(id);
    }

    /// The living connection that has a tuple of this one. Dead ones on the way are removed.
    fn clash(&mut self, id: ConnId, direction: Direction) -> Option<ConnId> {
        let conn = self.get(id)?;
        let (tuple, zone) = (*conn.tuple(direction), conn.zone);
        while let Some((other, _)) = self.find_as(&tuple, zone, direction, |_, _| true) {
            if self.slab.get(other).is_some_and(|entry| self.is_alive(entry)) {
                return Some(other);
            }
            self.end_dead(other.index);
        }
        None
    }

    /// Two packets of one connection were on their way at once, and the other one's was confirmed first: `winner`, which has
    /// this one's tuple of `direction` (`nf_ct_resolve_clash`).
    fn resolve_clash(&mut self, packet: &mut Packet, loser: ConnId, winner: ConnId, direction: Direction) -> Verdict {
        let protocol = self.get(loser).map(|conn| conn.tuples[0].protocol);
        if !protocol.is_some_and(allows_clash) {
            self.stats.insert_failed += 1;
            return self.refuse(packet);
        }
        if self.merge(packet, loser, winner) {
            return Verdict::Accept;
        }
        // Translated, and to different ends. Answers must find the right one, or there is no help.
        if direction == Direction::Original {
            match self.clash(loser, Direction::Reply) {
                None => {
                    let soon = self.now.mono.saturating_add(Now::SECOND);
                    if let Some(entry) = self.slab.get_mut(loser) {
                        entry.conn.deadline = soon.saturating_sub(self.now.mono.saturating_sub(entry.born()));
                        entry.conn.status.set(Status::FIXED_TIMEOUT | Status::NAT_CLASH);
                    }
                    self.enter(loser);
                    self.stats.clash_resolve += 1;
                    return Verdict::Accept;
                }
                Some(other) if self.merge(packet, loser, other) => return Verdict::Accept,
                Some(_) => {}
            }
        }
        self.stats.insert_failed += 1;
        self.refuse(packet)
    }

    /// Gives a packet to the connection that won against its own, when both are the same connection.
    fn merge(&mut self, packet: &mut Packet, loser: ConnId, winner: ConnId) -> bool {
        let (Some(lost), Some(won)) = (self.get(loser), self.get(winner)) else {
            return false;
        };
        let translated = won.status.has(Status::SRC_NAT_DONE | Status::DST_NAT_DONE);
        let [original, reply] = lost.tuples;
        // Both ends may have begun it at once.
        let same = lost.zone == won.zone && (won.tuples == [original, reply] || won.tuples == [reply, original]);
        if translated && !same {
            return false;
        }
        let counters = lost.counters;
        if let Some(conn) = self.get_mut(winner) {
            for (own, more) in conn.counters.iter_mut().zip(counters) {
                own.add(more.packets, more.bytes);
            }
        }
        if let PacketCt::Tracked { id, .. } = &mut packet.ct {
            *id = winner;
        }
        self.discard(loser);
        self.stats.clash_resolve += 1;
        true
    }

    fn refuse(&mut self, packet: &mut Packet) -> Verdict {
        self.stats.drop += 1;
        self.release(packet);
        Verdict::Drop(DropReason::ConfirmClash)
    }

    pub(super) fn invalid(&mut self, packet: &mut Packet) -> Verdict {
        self.stats.invalid += 1;
        packet.ct = PacketCt::None;
        Verdict::Accept
    }

    /// The connection of a tuple, a new one when there is none; `None` when such a packet can't begin one
    /// (`resolve_normal_ct`).
    fn resolve(
        &mut self,
        tuple: &Tuple,
        zone: Zone,
        template: Option<&Template>,
        now: Now,
    ) -> Result<Option<(ConnId, Direction)>, Full> {
        while let Some((id, direction)) = self.find(tuple, zone, |_, _| true) {
            match self.slab.get(id) {
                Some(entry) if self.is_alive(entry) => return Ok(Some((id, direction))),
                _ => self.end_dead(id.index),
            }
        }
        self.begin(tuple, zone, template, now)
    }

    /// A new connection (`init_conntrack`).
    fn begin(
        &mut self,
        tuple: &Tuple,
        zone: Zone,
        template: Option<&Template>,
        now: Now,
    ) -> Result<Option<(ConnId, Direction)>, Full> {
        let Some(reply) = self.trackers.invert(tuple) else {
            return Ok(None);
        };
        if !may_begin(tuple) {
            return Ok(None);
        }
        let max = self.config.max;
        if max != 0 && self.count() >= max && !self.early_drop() {
            return Err(Full);
        }
        let mut conn = Conn::new(*tuple, reply);
        conn.zone = zone;
        self.half_zones |= zone.in_direction(Direction::Original) != zone.in_direction(Direction::Reply);
        if let Some(template) = template {
            self.apply(template, &mut conn);
        }
        if let Some(expected) = self.meet(tuple, zone) {
            conn.status.set(Status::EXPECTED);
            conn.master = Some(expected.master);
            if let Some(master) = self.get(expected.master) {
                conn.mark = master.mark;
                conn.extra_mut().master = Some(Master {
                    tuple: master.tuples[0],
                    helper: master.helper,
                });
            }
            conn.helper = expected.helper;
            if expected.nat != ExpectNat::None {
                conn.extra_mut().follow = Some(expected.nat);
            }
            self.stats.expect_new += 1;
        } else if let Some(helper) = template.and_then(|template| template.helper) {
            conn.helper = Some(helper);
            conn.status.set(Status::HELPER);
        }
        conn.round = self.round;
        let id = self.slab.insert(conn, now.mono);
        Ok(Some((id, Direction::Original)))
    }

    /// Gives a new connection what `-j CT` asked for, but for the helper.
    fn apply(&self, template: &Template, conn: &mut Conn) {
        if template.events.is_some() || template.expect_events.is_some() {
            let extra = conn.extra_mut();
            (extra.events, extra.expect_events) = (template.events, template.expect_events);
        }
        let protocol = conn.tuples[0].protocol;
        let policy = template.timeout.as_ref().and_then(|name| self.policies.get(name));
        if let Some(policy) = policy.filter(|policy| policy.protocol == protocol) {
            conn.extra_mut().timeouts = Some(policy.seconds.clone());
        }
    }

    /// Lets the protocol judge a packet of a connection, counts it and gives it its state (`nf_conntrack_handle_packet`).
    pub(super) fn judge(&mut self, packet: &mut Packet, hook: Hook, id: ConnId, direction: Direction, now: Now) -> Judged {
        let Some(entry) = self.slab.get_mut(id) else {
            return Judged::INVALID;
        };
        let fresh = entry.phase == Phase::Unconfirmed;
        let conn = &mut entry.conn;
        let state = conn.state(direction);
        let sums = self.config.checksum && hook == Hook::Prerouting && !packet.summed.is_vouched();
        if sums && packet.headers.protocol == number::SCTP {
            // `sctp_error` writes into the header while it sums.
            packet.join_header(12);
        }
        let seen = ProtoPacket {
            headers: &packet.headers,
            transport: packet.headers.transport(&packet.data),
            vouched: packet.summed.is_vouched(),
            hook,
            state,
            direction,
        };
        let listening = self.events.mask.has(EventMask::NEW.or(EventMask::UPDATE));
        let before = (conn.status, if listening { proto::state_name(&conn.proto) } else { None });
        let (verdict, right) = if let Some(tracker) = self.trackers.get(packet.headers.protocol) {
            if fresh && !tracker.new(conn, &seen, &self.config, now) {
                return Judged::INVALID;
            }
            (tracker.packet(conn, &seen, &self.config, now), None)
        } else {
            proto::judge(conn, &seen, fresh, &self.config, now)
        };
        if !matches!(verdict, ProtoVerdict::Accept | ProtoVerdict::Ignore) {
            return Judged { verdict, right };
        }
        if conn.deadline == 0 {
            // Its tracker sets no timeout.
            conn.deadline = now.mono.saturating_add(u64::from(self.config.timeouts.generic) * Now::SECOND);
        }
        if self.config.acct && verdict == ProtoVerdict::Accept {
            conn.counters[direction.index()].add(1, u64::from(packet.headers.len));
        }
        if direction == Direction::Reply {
            conn.status.set(Status::SEEN_REPLY);
            if conn.status.has(Status::NAT_CLASH) {
                // Its question is answered; that is all it was kept for.
                conn.status.set(Status::DYING);
            }
        }
        if listening {
            entry.pending |= changes(before, (conn.status, proto::state_name(&conn.proto)));
        }
        if entry.in_age_list && entry.conn.status.has(Status::ASSURED) {
            self.slab.age_remove(id.index);
        }
        packet.ct = PacketCt::Tracked { id, state, direction };
        Judged {
            verdict: ProtoVerdict::Accept,
            right,
        }
    }

    /// Forgets a connection that is not confirmed.
    fn discard(&mut self, id: ConnId) {
        if self.slab.get(id).is_some_and(|entry| entry.phase == Phase::Unconfirmed) {
            self.destroy(id.index);
        }
    }

    /// Keeps a connection for a moment, outside of the table: no packet finds it.
    pub(crate) fn lend(&mut self, conn: Conn, now: Now) -> ConnId {
        self.slab.insert(conn, now.mono)
    }

    /// Ends what [`Conntrack::lend`] began.
    pub(crate) fn take_back(&mut self, id: ConnId) {
        self.discard(id);
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: ConnId) {
        if self.slab.get(id).is_some() {
            self.destroy(id.index);
        }
    }
}

/// Whether a packet with this tuple may begin a connection: of ICMP only what asks for an answer.
fn may_begin(tuple: &Tuple) -> bool {
    use fielato_wire::Family;
    match (tuple.protocol, tuple.family) {
        (number::ICMP, Family::V4) | (number::ICMPV6, Family::V6) => icmp::may_begin(tuple.family, tuple.icmp().0),
        (number::ICMP | number::ICMPV6, _) => false,
        _ => true,
    }
}

/// Protocols without a handshake: an equal connection is as good as one's own (`allow_clash`).
const fn allows_clash(protocol: u8) -> bool {
    matches!(protocol, number::UDP | number::UDPLITE | number::GRE)
}

type Visible = (Status, Option<&'static str>);

/// What a packet changed.
fn changes((status, state): Visible, (status_after, state_after): Visible) -> u16 {
    let gained = Status(status_after.0 & !status.0);
    let mut changes = 0;
    if gained.has(Status::SEEN_REPLY) {
        changes |= Changes::REPLY;
    }
    if gained.has(Status::ASSURED) {
        changes |= Changes::ASSURED;
    }
    if state != state_after {
        changes |= Changes::PROTOINFO;
    }
    changes
}
