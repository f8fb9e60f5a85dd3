//! Everything of one network namespace, and a packet's way through it.

use fielato_wire::Family;

use crate::conntrack::{Config, Conntrack, CtState};
use crate::context::{Context, Effect, Shared};
use crate::hook::priority;
use crate::host::{Host, Route, RouteKey};
use crate::nat::{self, Manip};
use crate::rule::{Ruleset, Table};
use crate::table::{CompileError, CompiledTable};
use crate::verdict::{DropReason, Verdict};
use crate::{Hook, Now, Packet, PacketCt};

/// What became of a packet given to the engine.
#[derive(Debug)]
pub enum Fate {
    /// For this host.
    Deliver(Packet),
    /// To be sent by [`Packet::out_interface`].
    Transmit(Packet),
    /// Dropped.
    Dropped(DropReason),
    /// A hook keeps it.
    Stolen,
    /// It waits in a queue.
    Queued,
}

/// A function registered at a hook.
pub trait HookFunction: Send {
    /// Judges a packet.
    fn call(&mut self, cx: &mut Context<'_>) -> Verdict;
}

/// Handle of a registered hook function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registration(u64);

/// What runs at a hook.
enum Stage {
    Conntrack,
    Table(u16),
    /// NAT: the `nat` table for a connection's first packet, the binding for all.
    Nat(Option<u16>),
    Confirm,
    Function(Registration, Box<dyn HookFunction>),
}

struct Staged {
    priority: i32,
    stage: Stage,
}

/// Most calls of one hook function for one packet when it answers [`Verdict::Repeat`].
const REPEAT_LIMIT: u32 = 16;

/// Netfilter for one network namespace: both families.
pub struct Netfilter {
    families: [PerFamily; 2],
    conntrack: Conntrack,
    shared: Shared,
    rng: fastrand::Rng,
    effects: Vec<Effect>,
    stack: Vec<(u32, u32)>,
    registrations: u64,
}

struct PerFamily {
    source: Ruleset,
    tables: Vec<CompiledTable>,
    hooks: [Vec<Staged>; 5],
}

impl PerFamily {
    fn new(family: Family) -> PerFamily {
        PerFamily {
            source: Ruleset::new(family),
            tables: Vec::new(),
            hooks: Default::default(),
        }
    }
}

impl Netfilter {
    /// An engine without rules. `seed` starts its random generator.
    pub fn new(config: Config, seed: u64) -> Netfilter {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut engine = Netfilter {
            families: [PerFamily::new(Family::V4), PerFamily::new(Family::V6)],
            conntrack: Conntrack::new(config, rng.u64(..)),
            shared: Shared::default(),
            rng,
            effects: Vec::new(),
            stack: Vec::new(),
            registrations: 0,
        };
        engine.rebuild_stages(Family::V4);
        engine.rebuild_stages(Family::V6);
        engine
    }

    /// Replaces all tables of the rule set's family at once. Nothing changes when it can't be compiled.
    pub fn replace(&mut self, ruleset: Ruleset, now: Now) -> Result<(), CompileError> {
        let family = ruleset.family;
        let mut tables = Vec::with_capacity(ruleset.tables.len());
        for table in &ruleset.tables {
            let hooks = Table::standard_hooks(&table.name).unwrap_or(&Hook::ALL);
            tables.push(CompiledTable::compile(table, family, hooks, now)?);
        }
        let state = &mut self.families[family as usize];
        state.source = ruleset;
        state.tables = tables;
        self.rebuild_stages(family);
        Ok(())
    }

    /// The rule set of a family, with the counters of now.
    pub fn ruleset(&self, family: Family) -> Ruleset {
        let state = &self.families[family as usize];
        let mut ruleset = state.source.clone();
        for (table, compiled) in ruleset.tables.iter_mut().zip(&state.tables) {
            compiled.counters_into(table);
        }
        ruleset
    }

    /// Connections.
    pub const fn conntrack(&self) -> &Conntrack {
        &self.conntrack
    }

    /// Connections, to be changed.
    pub const fn conntrack_mut(&mut self) -> &mut Conntrack {
        &mut self.conntrack
    }

    /// What packets caused beside their fate, since the last call.
    pub fn drain_effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Registers a function at a hook. Functions of equal priority run in the order of registration.
    pub fn register(&mut self, family: Family, hook: Hook, priority: i32, function: Box<dyn HookFunction>) -> Registration {
        self.registrations += 1;
        let registration = Registration(self.registrations);
        let stages = &mut self.families[family as usize].hooks[hook.index()];
        let place = stages.partition_point(|staged| staged.priority <= priority);
        stages.insert(
            place,
            Staged {
                priority,
                stage: Stage::Function(registration, function),
            },
        );
        registration
    }

    /// Takes a function away again; `None` when it is not registered.
    pub fn unregister(&mut self, registration: Registration) -> Option<Box<dyn HookFunction>> {
        for family in &mut self.families {
            for stages in &mut family.hooks {
                let found = stages
                    .iter()
                    .position(|staged| matches!(staged.stage, Stage::Function(r, _) if r == registration));
                if let Some(place) = found
                    && let Stage::Function(_, function) = stages.remove(place).stage
                {
                    return Some(function);
                }
            }
        }
        None
    }

    /// A packet received: PRE_ROUTING, the route, then LOCAL_IN, or FORWARD and POST_ROUTING.
    pub fn receive(&mut self, mut packet: Packet, host: &mut dyn Host, now: Now) -> Fate {
        if let Some(fate) = self.stopped(Hook::Prerouting, &mut packet, host, now) {
            return fate;
        }
        match host.route(&route_key(&packet)) {
            Route::Local => match self.stopped(Hook::Input, &mut packet, host, now) {
                Some(fate) => fate,
                None => Fate::Deliver(packet),
            },
            Route::Out { interface, realm, .. } => {
                (packet.out_interface, packet.realm) = (interface, realm);
                if let Err(reason) = decrement_ttl(&mut packet) {
                    self.conntrack.release(&mut packet);
                    return Fate::Dropped(reason);
                }
                for hook in [Hook::Forward, Hook::Postrouting] {
                    if let Some(fate) = self.stopped(hook, &mut packet, host, now) {
                        return fate;
                    }
                }
                Fate::Transmit(packet)
            }
            Route::Unreachable | Route::Blackhole => {
                self.conntrack.release(&mut packet);
                Fate::Dropped(DropReason::NoRoute)
            }
        }
    }

    /// A packet made on this host: the route, LOCAL_OUT, the route again if it changed, POST_ROUTING.
    pub fn send_local(&mut self, mut packet: Packet, host: &mut dyn Host, now: Now) -> Fate {
        if let Err(reason) = route_out(&mut packet, host) {
            return Fate::Dropped(reason);
        }
        let before = (packet.headers.src, packet.headers.dst, packet.mark, packet.headers.tos);
        if let Some(fate) = self.stopped(Hook::Output, &mut packet, host, now) {
            return fate;
        }
        let after = (packet.headers.src, packet.headers.dst, packet.mark, packet.headers.tos);
        if before != after
            && let Err(reason) = route_out(&mut packet, host)
        {
            self.conntrack.release(&mut packet);
            return Fate::Dropped(reason);
        }
        match self.stopped(Hook::Postrouting, &mut packet, host, now) {
            Some(fate) => fate,
            None => Fate::Transmit(packet),
        }
    }

    /// Runs one hook; `None` when the packet goes on.
    fn stopped(&mut self, hook: Hook, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Option<Fate> {
        match self.run(hook, packet, host, now) {
            Verdict::Accept => None,
            Verdict::Drop(reason) => {
                self.conntrack.release(packet);
                Some(Fate::Dropped(reason))
            }
            Verdict::Stolen => Some(Fate::Stolen),
            Verdict::Queue { bypass: true, .. } => None,
            Verdict::Queue { number, .. } => {
                self.conntrack.release(packet);
                Some(Fate::Dropped(DropReason::Queue { number }))
            }
            Verdict::Repeat => Some(Fate::Dropped(DropReason::RepeatLimit)),
        }
    }

    /// Runs the functions of one hook on a packet, for embedders that have a path of their own.
    pub fn run(&mut self, hook: Hook, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Verdict {
        let Netfilter {
            families,
            conntrack,
            shared,
            rng,
            effects,
            stack,
            ..
        } = self;
        let PerFamily { tables, hooks, .. } = &mut families[packet.headers.family as usize];
        for staged in &mut hooks[hook.index()] {
            let mut calls = 0;
            loop {
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
                let verdict = match &mut staged.stage {
                    Stage::Conntrack => cx.conntrack.track(cx.packet, hook, now),
                    Stage::Confirm => cx.conntrack.confirm(cx.packet, now),
                    Stage::Table(number) => tables[usize::from(*number)].walk(&mut cx, *number, stack),
                    Stage::Nat(table) => translate(&mut cx, table.map(|n| (n, &mut tables[usize::from(n)])), stack),
                    Stage::Function(_, function) => function.call(&mut cx),
                };
                match verdict {
                    Verdict::Accept => break,
                    Verdict::Repeat => {
                        calls += 1;
                        if calls == REPEAT_LIMIT {
                            return Verdict::Drop(DropReason::RepeatLimit);
                        }
                    }
                    other => return other,
                }
            }
        }
        Verdict::Accept
    }

    /// Puts the tables' stages into order, keeping registered functions.
    fn rebuild_stages(&mut self, family: Family) {
        let state = &mut self.families[family as usize];
        let number = |name: &str| state.tables.iter().position(|table| table.name == name).map(|n| n as u16);
        for hook in Hook::ALL {
            let mut stages: Vec<Staged> = Vec::new();
            let mut add = |priority, stage| stages.push(Staged { priority, stage });
            if matches!(hook, Hook::Prerouting | Hook::Output) {
                add(priority::CONNTRACK, Stage::Conntrack);
            }
            if matches!(hook, Hook::Input | Hook::Postrouting) {
                add(priority::CONNTRACK_CONFIRM, Stage::Confirm);
            }
            if let Some(manip) = Manip::at(hook) {
                let priority = match manip {
                    Manip::Destination => priority::NAT_DST,
                    Manip::Source => priority::NAT_SRC,
                };
                add(priority, Stage::Nat(number("nat")));
            }
            for (name, priority) in [
                ("raw", priority::RAW),
                ("mangle", priority::MANGLE),
                ("filter", priority::FILTER),
                ("security", priority::SECURITY),
            ] {
                if let Some(number) = number(name) {
                    add(priority, Stage::Table(number));
                }
            }
            let old = std::mem::take(&mut state.hooks[hook.index()]);
            stages.extend(old.into_iter().filter(|staged| matches!(staged.stage, Stage::Function(..))));
            stages.sort_by_key(|staged| staged.priority);
            state.hooks[hook.index()] = stages;
        }
    }
}

/// NAT at a hook: decides on the first packet of a connection, then rewrites (`nf_nat_inet_fn`).
fn translate(cx: &mut Context<'_>, table: Option<(u16, &mut CompiledTable)>, stack: &mut Vec<(u32, u32)>) -> Verdict {
    let PacketCt::Tracked { id, state, .. } = cx.packet.ct else {
        return Verdict::Accept;
    };
    let Some(manip) = Manip::at(cx.hook) else {
        return Verdict::Accept;
    };
    let first = state != CtState::Established && !nat::is_icmp_error(cx.packet);
    if first && !nat::is_bound(cx.conntrack, id, manip) {
        if let Some((number, table)) = table {
            match table.walk(cx, number, stack) {
                Verdict::Accept => {}
                other => return other,
            }
        }
        if !nat::is_bound(cx.conntrack, id, manip) {
            match nat::null_binding(cx.conntrack, id, manip, cx.rng) {
                Verdict::Accept => {}
                other => return other,
            }
        }
    }
    nat::translate(cx.conntrack, cx.packet, cx.hook)
}

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

fn route_out(packet: &mut Packet, host: &mut dyn Host) -> Result<(), DropReason> {
    match host.route(&route_key(packet)) {
        Route::Out { interface, realm, .. } => {
            (packet.out_interface, packet.realm) = (interface, realm);
            Ok(())
        }
        Route::Local | Route::Unreachable | Route::Blackhole => Err(DropReason::NoRoute),
    }
}

/// What forwarding does before FORWARD (`ip_forward`, `ip6_forward`).
fn decrement_ttl(packet: &mut Packet) -> Result<(), DropReason> {
    if packet.headers.ttl <= 1 {
        return Err(DropReason::TtlExceeded);
    }
    packet.headers.ttl -= 1;
    match packet.headers.family {
        Family::V4 => {
            let word = |data: &[u8]| u16::from_be_bytes([data[8], data[9]]);
            let old = word(&packet.data);
            packet.data[8] -= 1;
            let check = u16::from_be_bytes([packet.data[10], packet.data[11]]);
            let check = fielato_wire::checksum::update16(check, old, word(&packet.data));
            packet.data[10..12].copy_from_slice(&check.to_be_bytes());
        }
        Family::V6 => packet.data[7] -= 1,
    }
    Ok(())
}
