//! Every change of an engine goes through [`Netfilter::execute`], which checks the caller's right to it.

use fielato_wire::Family;

use super::{HookFunction, Netfilter, Registration, stage};
use crate::conntrack::{Config, ConnId, Conntrack, Tracking};
use crate::rule::{Counters, Ruleset, Table};
use crate::table::{CompileError, CompiledTable, RegisteredTable};
use crate::verdict::DropReason;
use crate::{Hook, Now};

/// Who asks. An embedder makes this from what it knows for sure, such as the credentials of a Unix socket's peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// May change everything: root, or a holder of CAP_NET_ADMIN.
    Admin,
    /// May look.
    Reader,
}

/// A change.
pub enum Command {
    /// Replaces tables of one family, all or none; tables that aren't named stay. New names are new tables.
    Replace {
        /// The tables.
        ruleset: Ruleset,
        /// The generation the change was made from; `None` replaces whatever is there.
        generation: Option<u64>,
    },
    /// Replaces all tables of both families at once; tables that aren't named go. All or none.
    Exchange([Ruleset; 2]),
    /// Removes a table.
    RemoveTable {
        /// Family.
        family: Family,
        /// Its name.
        table: String,
    },
    /// Adds counts to the rules of a table, chain by chain: the second half of a replacement that loses no count.
    AddCounters {
        /// Family.
        family: Family,
        /// Its name.
        table: String,
        /// The chains' policies and rules, in their order.
        counters: Vec<(Counters, Vec<Counters>)>,
    },
    /// Makes a table of another name than the standard ones possible.
    RegisterTable {
        /// Family.
        family: Family,
        /// Its name.
        table: String,
        /// Its hooks.
        hooks: Vec<Hook>,
        /// Its place among the others.
        priority: i32,
    },
    /// Registers a hook function.
    RegisterHook {
        /// Family.
        family: Family,
        /// Hook.
        hook: Hook,
        /// Priority; functions of equal priority run in the order of registration.
        priority: i32,
        /// The function.
        function: Box<dyn HookFunction>,
    },
    /// Takes a hook function away.
    UnregisterHook(Registration),
    /// Changes the settings of connection tracking.
    Configure(Config),
    /// Turns the flow cache on (as it is at first) or off. Verdicts and counts are the same either way.
    UseFlowCache(bool),
    /// Forgets one connection.
    DeleteConnection(ConnId),
    /// Forgets all connections.
    FlushConnections,
    /// Opens a queue for a handler.
    BindQueue {
        /// Its number.
        number: u16,
        /// Most packets that wait.
        length: usize,
    },
    /// Closes a queue; what waits is dropped.
    UnbindQueue(u16),
}

/// What a command gives back.
#[derive(Debug)]
pub enum Response {
    /// Nothing.
    Done,
    /// The tables as they were when they were replaced, with their counters: none is lost between reading and replacing.
    Replaced(Vec<Table>),
    /// The handle of a hook function.
    Registered(Registration),
}

/// Why a command was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The caller has no right to it.
    #[error("permission denied: changing netfilter needs CAP_NET_ADMIN")]
    Permission,
    /// The tables can't be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Another change came in between.
    #[error("the rules were changed by somebody else meanwhile; read them again")]
    Stale,
    /// No such table.
    #[error("there is no table {0}")]
    NoTable(String),
    /// A table of this name exists already.
    #[error("table {0} exists already")]
    TableExists(String),
    /// The counters are not as many as the table's rules.
    #[error("table {0} has other rules by now; nothing was added to its counters")]
    CounterShape(String),
    /// No such hook function.
    #[error("no such hook function is registered")]
    NoRegistration,
    /// The queue has a handler.
    #[error("queue {0} has a handler already")]
    QueueBusy(u16),
    /// No such connection.
    #[error("no such connection")]
    NoConnection,
}

impl Netfilter {
    /// Carries out a change, or refuses it whole.
    pub fn execute(&mut self, caller: Caller, command: Command, now: Now) -> Result<Response, CommandError> {
        if caller != Caller::Admin {
            return Err(CommandError::Permission);
        }
        match command {
            Command::Replace { ruleset, generation } => self.replace(ruleset, generation, now).map(Response::Replaced),
            Command::Exchange(rulesets) => self.exchange(rulesets, now).map(Response::Replaced),
            Command::RemoveTable { family, table } => self.remove_table(family, &table),
            Command::AddCounters { family, table, counters } => self.add_counters(family, &table, &counters),
            Command::RegisterTable {
                family,
                table,
                hooks,
                priority,
            } => self.register_table(family, table, hooks, priority),
            Command::RegisterHook {
                family,
                hook,
                priority,
                function,
            } => Ok(Response::Registered(self.register(family, hook, priority, function))),
            Command::UnregisterHook(registration) => self.unregister(registration),
            Command::Configure(config) => {
                *self.conntrack.config_mut() = config;
                self.put_in_order(Family::V4);
                self.put_in_order(Family::V6);
                Ok(Response::Done)
            }
            Command::UseFlowCache(on) => {
                self.fold_counts();
                self.cache.enabled = on;
                Ok(Response::Done)
            }
            Command::DeleteConnection(id) => {
                if self.conntrack.delete(id) {
                    Ok(Response::Done)
                } else {
                    Err(CommandError::NoConnection)
                }
            }
            Command::FlushConnections => {
                self.conntrack.flush();
                Ok(Response::Done)
            }
            Command::BindQueue { number, length } => {
                if self.queues.bind(number, length) {
                    Ok(Response::Done)
                } else {
                    Err(CommandError::QueueBusy(number))
                }
            }
            Command::UnbindQueue(number) => {
                for mut queued in self.queues.unbind(number) {
                    self.drop(&mut queued.packet, DropReason::Queue { number });
                }
                Ok(Response::Done)
            }
        }
    }

    fn replace(&mut self, ruleset: Ruleset, generation: Option<u64>, now: Now) -> Result<Vec<Table>, CommandError> {
        let state = &self.families[ruleset.family as usize];
        if generation.is_some_and(|generation| generation != state.generation) {
            return Err(CommandError::Stale);
        }
        let compiled = self.compile(&ruleset, now)?;
        Ok(self.install(ruleset, compiled))
    }

    /// Both families' tables take the place of all that there are.
    fn exchange(&mut self, rulesets: [Ruleset; 2], now: Now) -> Result<Vec<Table>, CommandError> {
        let mut compiled = Vec::new();
        for ruleset in rulesets {
            let tables = self.compile(&ruleset, now)?;
            compiled.push((ruleset, tables));
        }
        let mut replaced = Vec::new();
        for (ruleset, tables) in compiled {
            let family = ruleset.family;
            let is_gone = |table: &Table| ruleset.table(&table.name).is_none();
            let old = &self.families[family as usize].source.tables;
            let gone: Vec<String> = old
                .iter()
                .filter(|table| is_gone(table))
                .map(|table| table.name.clone())
                .collect();
            for name in gone {
                if let Response::Replaced(tables) = self.remove_table(family, &name)? {
                    replaced.extend(tables);
                }
            }
            replaced.extend(self.install(ruleset, tables));
        }
        Ok(replaced)
    }

    fn compile(&self, ruleset: &Ruleset, now: Now) -> Result<Vec<CompiledTable>, CompileError> {
        let registered = &self.families[ruleset.family as usize].registered_tables;
        let tables = ruleset.tables.iter();
        tables
            .map(|table| CompiledTable::compile(table, ruleset.family, registered, now))
            .collect()
    }

    /// Puts compiled tables into their places. Nothing can fail here: all tables change between two packets.
    fn install(&mut self, ruleset: Ruleset, compiled: Vec<CompiledTable>) -> Vec<Table> {
        let family = ruleset.family;
        self.fold_counts();
        let state = &mut self.families[family as usize];
        let mut replaced = Vec::with_capacity(compiled.len());
        for (table, compiled) in ruleset.tables.into_iter().zip(compiled) {
            match state.source.tables.iter().position(|old| old.name == table.name) {
                Some(place) => {
                    let mut old = std::mem::replace(&mut state.source.tables[place], table);
                    std::mem::replace(&mut state.tables[place], compiled).counters_into(&mut old);
                    replaced.push(old);
                }
                None => {
                    state.source.tables.push(table);
                    state.tables.push(compiled);
                }
            }
        }
        self.changed(family);
        replaced
    }

    fn remove_table(&mut self, family: Family, table: &str) -> Result<Response, CommandError> {
        let state = &mut self.families[family as usize];
        let place = state.source.tables.iter().position(|old| old.name == table);
        let place = place.ok_or_else(|| CommandError::NoTable(table.to_owned()))?;
        self.fold_counts();
        let state = &mut self.families[family as usize];
        let mut old = state.source.tables.remove(place);
        state.tables.remove(place).counters_into(&mut old);
        self.changed(family);
        Ok(Response::Replaced(vec![old]))
    }

    fn add_counters(
        &mut self,
        family: Family,
        table: &str,
        counters: &[(Counters, Vec<Counters>)],
    ) -> Result<Response, CommandError> {
        let state = &mut self.families[family as usize];
        let compiled = state.tables.iter_mut().find(|old| old.name == table);
        let compiled = compiled.ok_or_else(|| CommandError::NoTable(table.to_owned()))?;
        if compiled.add_counters(counters) {
            Ok(Response::Done)
        } else {
            Err(CommandError::CounterShape(table.to_owned()))
        }
    }

    fn register_table(
        &mut self,
        family: Family,
        name: String,
        hooks: Vec<Hook>,
        priority: i32,
    ) -> Result<Response, CommandError> {
        let state = &mut self.families[family as usize];
        if Table::standard_hooks(&name).is_some() || state.registered_tables.iter().any(|table| table.name == name) {
            return Err(CommandError::TableExists(name));
        }
        state.registered_tables.push(RegisteredTable { name, hooks, priority });
        Ok(Response::Done)
    }

    fn register(&mut self, family: Family, hook: Hook, priority: i32, function: Box<dyn HookFunction>) -> Registration {
        self.fold_counts();
        self.registrations += 1;
        let registration = Registration(self.registrations);
        let stages = &mut self.families[family as usize].hooks[hook.index()];
        // A function may decide about every packet: no flow keeps its path.
        let place = stages.partition_point(|staged| staged.priority <= priority);
        let stage = stage::Stage::Function(registration, function);
        stages.insert(place, stage::Staged::new(hook, priority, stage, &[]));
        registration
    }

    fn unregister(&mut self, registration: Registration) -> Result<Response, CommandError> {
        for stages in self.families.iter_mut().flat_map(|family| &mut family.hooks) {
            let place = stages
                .iter()
                .position(|staged| matches!(staged.stage, stage::Stage::Function(known, _) if known == registration));
            if let Some(place) = place {
                stages.remove(place);
                return Ok(Response::Done);
            }
        }
        Err(CommandError::NoRegistration)
    }

    /// Adds what the flow cache counted to the rules, and makes the cache void.
    pub(super) fn fold_counts(&mut self) {
        for family in [Family::V4, Family::V6] {
            for (crossed, counts) in self.cache.counts(family) {
                let table = &mut self.families[family as usize].tables[usize::from(crossed.table)];
                table.counters[crossed.counter as usize].add(counts.packets, counts.bytes);
            }
        }
        self.cache.clear();
    }

    /// After the tables of a family were changed.
    fn changed(&mut self, family: Family) {
        let state = &mut self.families[family as usize];
        state.generation += 1;
        self.put_in_order(family);
    }

    fn put_in_order(&mut self, family: Family) {
        let state = &mut self.families[family as usize];
        let always = self.conntrack.config().tracking == Tracking::Always;
        state.tracks = always || state.tables.iter().any(|table| table.needs_conntrack);
        let old = std::mem::take(&mut state.hooks);
        state.hooks = stage::in_order(&state.tables, state.tracks, old);
    }

    /// What rules share by name: sets, accounting objects, lists, timers.
    pub const fn shared(&self) -> &crate::context::Shared {
        &self.shared
    }

    /// The same, to be changed: sets are made and filled here. Answers that flows have kept are asked for again.
    pub fn shared_mut(&mut self, caller: Caller) -> Result<&mut crate::context::Shared, CommandError> {
        match caller {
            Caller::Admin => {
                self.fold_counts();
                Ok(&mut self.shared)
            }
            Caller::Reader => Err(CommandError::Permission),
        }
    }

    /// Connections, to be changed; for embedders that hold the right themselves.
    pub fn conntrack_mut(&mut self, caller: Caller) -> Result<&mut Conntrack, CommandError> {
        match caller {
            Caller::Admin => Ok(&mut self.conntrack),
            Caller::Reader => Err(CommandError::Permission),
        }
    }
}
