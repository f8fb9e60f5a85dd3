//! What runs at a hook, in the order of priorities.

use fielato_wire::{Extensions, number};

use super::Netfilter;
use super::path::route_inputs;
use crate::conntrack::defrag::Defragmented;
use crate::conntrack::helper;
use crate::conntrack::{ConnId, CtState, Direction, Template};
use crate::context::Context;
use crate::hook::priority;
use crate::host::Host;
use crate::nat::{self, Manip};
use crate::table::{CompiledTable, Scratch};
use crate::verdict::{DropReason, Verdict};
use crate::{Hook, Now, Packet, PacketCt};

/// A function registered at a hook.
pub trait HookFunction: Send {
    /// Judges a packet.
    fn call(&mut self, cx: &mut Context<'_>) -> Verdict;
}

/// Handle of a registered hook function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registration(pub(super) u64);

/// Most calls of one hook function for one packet when it answers [`Verdict::Repeat`].
pub const REPEAT_LIMIT: u32 = 16;

/// One thing that runs at a hook.
pub(super) enum Stage {
    Defrag,
    Conntrack,
    Table(u16),
    /// The `nat` table for a connection's first packet, the binding for all.
    Nat(u16),
    Helper,
    Confirm,
    Function(Registration, Box<dyn HookFunction>),
}

pub(super) struct Staged {
    pub(super) priority: i32,
    /// A packet made here is routed again when this changes what its route depends on. So do the mangle table and NAT
    /// (`ipt_mangle_out`, `nf_nat_ipv4_local_fn`); other tables' marks don't. What comes back by loopback has a route, which only
    /// NAT takes from it (`nf_nat_ipv4_pre_routing`).
    pub(super) reroutes: bool,
    pub(super) stage: Stage,
}

impl Staged {
    pub(super) fn new(hook: Hook, priority: i32, stage: Stage, tables: &[CompiledTable]) -> Staged {
        let reroutes = match stage {
            Stage::Table(number) => hook == Hook::Output && tables[usize::from(number)].name == "mangle",
            Stage::Nat(_) | Stage::Function(..) => matches!(hook, Hook::Prerouting | Hook::Output),
            Stage::Defrag | Stage::Conntrack | Stage::Helper | Stage::Confirm => false,
        };
        Staged {
            priority,
            reroutes,
            stage,
        }
    }
}

/// How far a packet came at a hook.
pub(super) enum Ran {
    /// Past all of it.
    Through,
    /// It ended, or waits.
    Stopped(Verdict),
    /// It waits for the rest of its datagram.
    Fragment,
}

/// A packet's connection has to be judged before the packet goes on ([`Netfilter::judge_again`]).
struct Unjudged {
    id: ConnId,
    /// The packet's, which tracking took.
    template: Option<Box<Template>>,
}

/// The stages of each hook for these tables, with connection tracking where `tracks`, which needs whole datagrams; functions
/// registered in `old` keep their places.
pub(super) fn in_order(tables: &[CompiledTable], tracks: bool, mut old: [Vec<Staged>; 5]) -> [Vec<Staged>; 5] {
    let defrags = tracks || tables.iter().any(|table| table.needs_defrag);
    Hook::ALL.map(|hook| {
        let mut stages: Vec<Staged> = Vec::new();
        let mut add = |priority, stage| stages.push(Staged::new(hook, priority, stage, tables));
        if defrags && matches!(hook, Hook::Prerouting | Hook::Output) {
            add(priority::CONNTRACK_DEFRAG, Stage::Defrag);
        }
        if tracks && matches!(hook, Hook::Prerouting | Hook::Output) {
            add(priority::CONNTRACK, Stage::Conntrack);
        }
        if tracks && matches!(hook, Hook::Input | Hook::Postrouting) {
            add(priority::CONNTRACK_HELPER, Stage::Helper);
            add(priority::CONNTRACK_CONFIRM, Stage::Confirm);
        }
        // Without a nat table nothing is registered there (`nf_nat_register_fn`), not even what drops redirects and errors.
        let nat = tables.iter().position(|table| table.name == "nat").filter(|_| tracks);
        if let (Some(number), Some(manip)) = (nat, Manip::at(hook)) {
            let place = match manip {
                Manip::Destination => priority::NAT_DST,
                Manip::Source => priority::NAT_SRC,
            };
            add(place, Stage::Nat(number as u16));
        }
        for (number, table) in tables.iter().enumerate() {
            if table.name != "nat" && table.hooks[hook.index()].is_some() {
                add(table.priority, Stage::Table(number as u16));
            }
        }
        let registered = std::mem::take(&mut old[hook.index()]).into_iter();
        stages.extend(registered.filter(|staged| matches!(staged.stage, Stage::Function(..))));
        stages.sort_by_key(|staged| staged.priority);
        stages
    })
}

impl Netfilter {
    /// Runs a hook's stages from number `from` on. `from` is left at the stage that stopped the packet.
    #[inline]
    pub(super) fn run_stages(&mut self, hook: Hook, from: &mut usize, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Ran {
        loop {
            match self.run_judged(hook, from, packet, host, now) {
                Ok(ran) => return ran,
                Err(Unjudged { id, template }) => {
                    if !self.judge(id, host, now) {
                        // It may begin anew, if the rules let it.
                        (packet.ct, packet.template) = (PacketCt::None, template);
                        self.scratch.recorder.spoil();
                    }
                }
            }
        }
    }

    /// [`Netfilter::run_stages`], as far as the connection.
    fn run_judged(
        &mut self,
        hook: Hook,
        from: &mut usize,
        packet: &mut Packet,
        host: &mut dyn Host,
        now: Now,
    ) -> Result<Ran, Unjudged> {
        let Netfilter {
            families,
            conntrack,
            defrag,
            shared,
            rng,
            effects,
            scratch,
            found_invalid,
            judging,
            ..
        } = self;
        let family = &mut families[packet.headers.family as usize];
        let stages = &mut family.hooks[hook.index()];
        if *from >= stages.len() {
            return Ok(Ran::Through);
        }
        let mut cx = Context {
            packet,
            hook,
            conntrack,
            shared,
            host,
            rng,
            effects,
            now,
            hotdrop: false,
        };
        while let Some(staged) = stages.get_mut(*from) {
            let mut calls = 0;
            loop {
                let reroutes = staged.reroutes && (hook == Hook::Output || cx.host.is_loopback(cx.packet.in_interface));
                let routed_by = reroutes.then(|| route_inputs(cx.packet));
                cx.hotdrop = false;
                let verdict = match &mut staged.stage {
                    Stage::Defrag => match put_together(defrag, cx.packet, hook, cx.conntrack.config(), now) {
                        Ran::Through => Verdict::Accept,
                        other => return Ok(other),
                    },
                    // A reply made by REJECT has its connection already; so has what was excluded from tracking.
                    Stage::Conntrack if matches!(cx.packet.ct, PacketCt::Tracked { .. } | PacketCt::Untracked) => Verdict::Accept,
                    Stage::Conntrack if std::mem::take(found_invalid) => Verdict::Accept,
                    Stage::Conntrack => {
                        let judges = judging.is_under_way();
                        let template = judges.then(|| cx.packet.template.clone()).flatten();
                        let verdict = cx.conntrack.track(cx.packet, hook, now);
                        if let PacketCt::Tracked {
                            id,
                            state: CtState::Related,
                            ..
                        } = cx.packet.ct
                        {
                            nat::follow_master(cx.conntrack, id, cx.rng);
                        }
                        scratch.recorder.tracked(cx.packet.ct);
                        if judges
                            && verdict == Verdict::Accept
                            && let PacketCt::Tracked { id, .. } = cx.packet.ct
                            && cx.conntrack.get(id).is_some_and(|conn| conn.round != cx.conntrack.round)
                        {
                            return Err(Unjudged { id, template });
                        }
                        verdict
                    }
                    Stage::Helper => helper::help(cx.conntrack, cx.packet, now),
                    Stage::Confirm => match helper::adjust_sequence(cx.conntrack, cx.packet) {
                        Verdict::Accept => cx.conntrack.confirm(cx.packet, now),
                        other => other,
                    },
                    Stage::Table(number) => family.tables[usize::from(*number)].walk(&mut cx, *number, scratch),
                    Stage::Nat(number) => {
                        let number = *number;
                        translate(&mut cx, number, &mut family.tables[usize::from(number)], scratch)
                    }
                    Stage::Function(_, function) => {
                        scratch.recorder.spoil();
                        function.call(&mut cx)
                    }
                };
                if routed_by.is_some_and(|inputs| inputs != route_inputs(cx.packet)) {
                    scratch.reroute = true;
                }
                match verdict {
                    Verdict::Accept => break,
                    Verdict::Repeat => {
                        calls += 1;
                        if calls == REPEAT_LIMIT {
                            return Ok(Ran::Stopped(Verdict::Drop(DropReason::RepeatLimit)));
                        }
                    }
                    other => return Ok(Ran::Stopped(other)),
                }
            }
            *from += 1;
        }
        Ok(Ran::Through)
    }
}

fn put_together(
    defrag: &mut crate::conntrack::defrag::Defrag,
    packet: &mut Packet,
    hook: Hook,
    config: &crate::conntrack::Config,
    now: Now,
) -> Ran {
    // A packet with a fragment header but no other fragments loses that header (RFC 6946).
    let headers = &packet.headers;
    let cut_short = headers.lacks_protocol() && headers.protocol == number::FRAGMENT;
    let fragmented = headers.is_fragment() || headers.extensions.0 & Extensions::FRAGMENT != 0 || cut_short;
    if !fragmented || packet.ct == PacketCt::Untracked {
        return Ran::Through;
    }
    // The zone is not known yet unless a rule before this stage gave a template.
    let template = packet.template.as_ref();
    let zone = template.map_or(0, |template| template.zone.in_direction(Direction::Original));
    let fragment = std::mem::replace(packet, Packet::empty(packet.headers));
    match defrag.push(fragment, zone, u8::from(hook == Hook::Output), config, now) {
        Defragmented::Whole(whole) => {
            *packet = whole;
            Ran::Through
        }
        Defragmented::Waiting => Ran::Fragment,
        Defragmented::Refused => Ran::Stopped(Verdict::Drop(DropReason::Fragment)),
    }
}

/// NAT at a hook: decides on the first packet of a connection, then rewrites (`nf_nat_inet_fn`).
fn translate(cx: &mut Context<'_>, number: u16, table: &mut CompiledTable, scratch: &mut Scratch) -> Verdict {
    let (PacketCt::Tracked { id, state, direction }, Some(manip)) = (cx.packet.ct, Manip::at(cx.hook)) else {
        return Verdict::Accept;
    };
    let first = state != CtState::Established && !nat::is_icmp_error(cx.packet);
    if first && !nat::is_bound(cx.conntrack, id, manip) {
        match table.walk(cx, number, scratch) {
            Verdict::Accept => {}
            other => return other,
        }
        if !nat::is_bound(cx.conntrack, id, manip) {
            match nat::null_binding(cx.conntrack, id, manip, cx.rng) {
                Verdict::Accept => {}
                other => return other,
            }
        }
    }
    if let Some(conn) = cx.conntrack.get(id)
        && !nat::is_icmp_error(cx.packet)
        && nat::leaves_masquerade(conn, cx.packet, direction, cx.hook)
    {
        cx.conntrack.delete(id);
        return Verdict::Drop(DropReason::MasqueradeMoved);
    }
    nat::translate(cx.conntrack, cx.packet, cx.hook)
}
