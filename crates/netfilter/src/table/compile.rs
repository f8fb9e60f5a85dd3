//! `Table → CompiledTable`: everything that can be wrong with a table is found here, so that the walk meets no invalid rule.

use std::collections::HashMap;

use fielato_wire::Family;

use super::bounds::{self, InterfaceNumbers};
use crate::check::{CheckContext, CheckError};
use crate::classify::{Bounds, Classifier};
use crate::context::Slot;
use crate::hook::priority;
use crate::rule::{Counters, IpMatch, Match, Policy, Table, Target};
use crate::{Hook, HookMask, Now};

/// Deepest nesting of jumps. The kernel's limit grows with the number of chains; nobody nests this deep on purpose.
pub const MAX_JUMP_DEPTH: usize = 1024;

/// Chains of up to so many rules are walked one by one.
const LINEAR_CHAIN: usize = 8;

/// Why a table can't be compiled. Rules are numbered from 1, as `--line-numbers` does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Neither a standard table nor a registered one.
    #[error("there is no table {table}: register it with its hooks first")]
    UnknownTable {
        /// Table.
        table: String,
    },
    /// Two chains of one name.
    #[error("table {table}: chain {chain} exists twice")]
    DuplicateChain {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// A built-in chain at a hook that the table doesn't have, or a built-in chain's name without policy.
    #[error("table {table}: {chain} can't be a built-in chain here")]
    BadHook {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
    },
    /// A jump to nowhere.
    #[error("table {table}, chain {chain}, rule {rule}: there is no chain {target}")]
    MissingChain {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Rule.
        rule: usize,
        /// Where it would have jumped.
        target: String,
    },
    /// A jump to a built-in chain.
    #[error("table {table}, chain {chain}, rule {rule}: can't jump to the built-in chain {target}")]
    JumpToBuiltin {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Rule.
        rule: usize,
        /// Where it would have jumped.
        target: String,
    },
    /// Jumps that come back to a chain they began in.
    #[error("table {table}, chain {chain}, rule {rule}: the jump to {target} makes a loop")]
    Loop {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Rule.
        rule: usize,
        /// Where it would have jumped.
        target: String,
    },
    /// Jumps nested too deep.
    #[error("table {table}, chain {chain}, rule {rule}: jumps are nested deeper than {max}")]
    JumpDepth {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Rule.
        rule: usize,
        /// The limit.
        max: usize,
    },
    /// A match or target that can't stand there.
    #[error("table {table}, chain {chain}, rule {rule}: {source}")]
    Check {
        /// Table.
        table: String,
        /// Chain.
        chain: String,
        /// Rule.
        rule: usize,
        /// Why.
        source: CheckError,
    },
}

/// A table beside the standard ones, with the hooks it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredTable {
    /// Its name.
    pub name: String,
    /// Its hooks.
    pub hooks: Vec<Hook>,
    /// Its place among what runs at a hook.
    pub priority: i32,
}

/// Where a standard table stands among what runs at a hook. `nat` has two places, which the engine knows.
fn standard_priority(table: &str) -> Option<i32> {
    Some(match table {
        "raw" => priority::RAW,
        "mangle" => priority::MANGLE,
        "nat" => priority::NAT_DST,
        "filter" => priority::FILTER,
        "security" => priority::SECURITY,
        _ => return None,
    })
}

/// A table ready to be walked.
#[derive(Debug)]
pub struct CompiledTable {
    pub(crate) name: String,
    /// Its place among what runs at a hook.
    pub(crate) priority: i32,
    /// The chain of each hook.
    pub(crate) hooks: [Option<u32>; 5],
    pub(crate) chains: Vec<CompiledChain>,
    pub(crate) rules: Vec<CompiledRule>,
    /// Of the rules, by their number, then of the chains' policies.
    pub(crate) counters: Vec<Counters>,
    pub(crate) slots: Vec<Slot>,
    pub(super) interfaces: InterfaceNumbers,
    pub(super) has_classifier: bool,
    /// Connections must be tracked for its rules.
    pub(crate) needs_conntrack: bool,
    /// Datagrams must be put together for its rules.
    pub(crate) needs_defrag: bool,
    /// Its rules passed their checks: they are to be let go of when it goes.
    live: bool,
}

#[derive(Debug)]
pub(crate) struct CompiledChain {
    pub(crate) name: String,
    /// Its rules are `first..first + len`.
    pub(crate) first: u32,
    pub(crate) len: u32,
    pub(crate) policy: Option<Policy>,
    /// Finds the rules that can hold for a packet; a short chain is quicker without.
    pub(super) classifier: Option<Classifier>,
}

/// What a packet needs first stands first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CompiledRule {
    /// Its box says all that it asks of an ordinary packet.
    pub(super) exact: bool,
    /// The slots of its matches, then its target's.
    pub(crate) first_slot: u32,
    pub(crate) matches: Box<[Match]>,
    pub(crate) target: CompiledTarget,
    pub(crate) ip: IpMatch,
}

#[derive(Debug)]
pub(crate) enum CompiledTarget {
    Jump(u32),
    Goto(u32),
    Other(Target),
}

impl CompiledTable {
    /// Compiles `table` for `family`. Beside the standard tables, those in `registered` can be.
    pub fn compile(
        table: &Table,
        family: Family,
        registered: &[RegisteredTable],
        now: Now,
    ) -> Result<CompiledTable, CompileError> {
        let mut compiled = CompiledTable::assemble(table, family, registered, now)?;
        compiled.classify(table, family);
        Ok(compiled)
    }

    /// Finds what is wrong with `table`, without making it ready to be walked.
    pub fn check(table: &Table, family: Family, registered: &[RegisteredTable]) -> Result<(), CompileError> {
        CompiledTable::assemble(table, family, registered, Now::default()).map(drop)
    }

    fn assemble(table: &Table, family: Family, registered: &[RegisteredTable], now: Now) -> Result<CompiledTable, CompileError> {
        let standard = Table::standard_hooks(&table.name).zip(standard_priority(&table.name));
        let known = standard.or_else(|| {
            let found = registered.iter().find(|known| known.name == table.name)?;
            Some((found.hooks.as_slice(), found.priority))
        });
        let (hooks, priority) = known.ok_or_else(|| CompileError::UnknownTable {
            table: table.name.clone(),
        })?;
        let numbers = chain_numbers(table, hooks)?;
        let mut compiled = CompiledTable {
            name: table.name.clone(),
            priority,
            hooks: [None; 5],
            chains: Vec::with_capacity(table.chains.len()),
            rules: Vec::with_capacity(table.chains.iter().map(|chain| chain.rules.len()).sum()),
            counters: Vec::new(),
            slots: Vec::new(),
            interfaces: InterfaceNumbers::default(),
            has_classifier: false,
            needs_conntrack: false,
            needs_defrag: false,
            live: false,
        };
        for (number, chain) in table.chains.iter().enumerate() {
            if chain.policy.is_some()
                && let Some(hook) = Hook::from_chain(&chain.name)
            {
                compiled.hooks[hook.index()] = Some(number as u32);
            }
            compiled.chains.push(CompiledChain {
                name: chain.name.clone(),
                first: compiled.rules.len() as u32,
                len: chain.rules.len() as u32,
                policy: chain.policy,
                classifier: None,
            });
            for (position, rule) in chain.rules.iter().enumerate() {
                let jump = |target: &String| jump_target(table, &numbers, &chain.name, position + 1, target);
                let target = match &rule.target {
                    Target::Jump(name) => CompiledTarget::Jump(jump(name)?),
                    Target::Goto(name) => CompiledTarget::Goto(jump(name)?),
                    other => CompiledTarget::Other(other.clone()),
                };
                compiled.needs_conntrack |= rule.target.needs_conntrack() || rule.matches.iter().any(Match::needs_conntrack);
                compiled.needs_defrag |= rule.target.needs_defrag() || rule.matches.iter().any(Match::needs_defrag);
                let first_slot = compiled.slots.len() as u32;
                compiled.slots.extend(rule.matches.iter().map(|m| m.slot(now)));
                compiled.slots.push(rule.target.slot(now));
                compiled.rules.push(CompiledRule {
                    exact: false,
                    ip: rule.ip,
                    matches: rule.matches.clone().into(),
                    target,
                    first_slot,
                });
                compiled.counters.push(rule.counters);
            }
        }
        compiled.counters.extend(table.chains.iter().map(|chain| chain.counters));
        let reached = compiled.reached_from(table)?;
        check_rules(table, family, &reached)?;
        compiled.live = true;
        Ok(compiled)
    }

    /// Gives long chains their classifiers.
    fn classify(&mut self, table: &Table, family: Family) {
        for (chain, in_chain) in table.chains.iter().zip(&mut self.chains) {
            if chain.rules.len() > LINEAR_CHAIN {
                let compiled = &mut self.rules[in_chain.first as usize..];
                let boxes: Vec<Bounds> = chain
                    .rules
                    .iter()
                    .zip(compiled)
                    .map(|(rule, compiled)| {
                        let (bounds, exact) = bounds::of_rule(rule, family, &mut self.interfaces);
                        compiled.exact = exact;
                        bounds
                    })
                    .collect();
                self.has_classifier = true;
                in_chain.classifier = Some(Classifier::build(family, &boxes));
            }
        }
    }

    /// The hooks each chain is reached from; finds loops and too deep jumps on the way.
    fn reached_from(&self, table: &Table) -> Result<Vec<HookMask>, CompileError> {
        let mut reached = vec![HookMask::NONE; self.chains.len()];
        // Depth of what hangs below a chain, once known; `OPEN` while the chain is on the path.
        const UNKNOWN: u32 = u32::MAX;
        const OPEN: u32 = u32::MAX - 1;
        let mut depth = vec![UNKNOWN; self.chains.len()];
        for hook in Hook::ALL {
            let Some(start) = self.hooks[hook.index()] else {
                continue;
            };
            let mut path = vec![(start, 0u32)];
            reached[start as usize].0 |= 1 << hook as u8;
            depth[start as usize] = OPEN;
            while let Some(&mut (number, ref mut at)) = path.last_mut() {
                let chain = &self.chains[number as usize];
                if *at == chain.len {
                    depth[number as usize] = 0;
                    path.pop();
                    continue;
                }
                let rule = *at;
                *at += 1;
                // Behind a standard verdict that every packet takes nothing is reached (`mark_source_chains`).
                if table.chains[number as usize].rules[rule as usize].always_decides() {
                    *at = chain.len;
                }
                let (CompiledTarget::Jump(to) | CompiledTarget::Goto(to)) = self.rules[(chain.first + rule) as usize].target
                else {
                    continue;
                };
                let place = || (table.name.clone(), chain.name.clone(), rule as usize + 1);
                if depth[to as usize] == OPEN {
                    let (table, chain, rule) = place();
                    let target = self.chains[to as usize].name.clone();
                    return Err(CompileError::Loop {
                        table,
                        chain,
                        rule,
                        target,
                    });
                }
                if reached[to as usize].has(hook) {
                    continue;
                }
                if path.len() > MAX_JUMP_DEPTH {
                    let (table, chain, rule) = place();
                    return Err(CompileError::JumpDepth {
                        table,
                        chain,
                        rule,
                        max: MAX_JUMP_DEPTH,
                    });
                }
                reached[to as usize].0 |= 1 << hook as u8;
                depth[to as usize] = OPEN;
                path.push((to, 0));
            }
        }
        Ok(reached)
    }

    /// The counter of a chain's policy.
    pub(crate) fn policy_counter(&self, chain: u32) -> u32 {
        self.rules.len() as u32 + chain
    }

    /// Where the counter of this number is in the table as it was written.
    pub(crate) fn counter_in<'t>(&self, table: &'t mut Table, counter: u32) -> Option<&'t mut Counters> {
        if let Some(chain) = counter.checked_sub(self.rules.len() as u32) {
            return table.chains.get_mut(chain as usize).map(|chain| &mut chain.counters);
        }
        let number = self.chains.partition_point(|chain| chain.first + chain.len <= counter);
        let chain = self.chains.get(number)?;
        let rule = table
            .chains
            .get_mut(number)?
            .rules
            .get_mut((counter - chain.first) as usize)?;
        Some(&mut rule.counters)
    }

    /// The table as it was compiled, with the counters of now.
    pub fn counters_into(&self, table: &mut Table) {
        for (number, (chain, compiled)) in table.chains.iter_mut().zip(&self.chains).enumerate() {
            chain.counters = self.counters[self.policy_counter(number as u32) as usize];
            for (rule, counters) in chain.rules.iter_mut().zip(&self.counters[compiled.first as usize..]) {
                rule.counters = *counters;
            }
        }
    }
}

impl CompiledTable {
    /// Adds counts, chain by chain; false when there are not as many as chains and rules.
    pub(crate) fn add_counters(&mut self, counters: &[(Counters, Vec<Counters>)]) -> bool {
        let fits = self.chains.len() == counters.len()
            && self
                .chains
                .iter()
                .zip(counters)
                .all(|(chain, (_, rules))| chain.len as usize == rules.len());
        if fits {
            for (number, (chain, (policy, rules))) in self.chains.iter().zip(counters).enumerate() {
                self.counters[self.rules.len() + number].add(policy.packets, policy.bytes);
                for (counter, more) in self.counters[chain.first as usize..].iter_mut().zip(rules) {
                    counter.add(more.packets, more.bytes);
                }
            }
        }
        fits
    }
}

fn chain_numbers<'t>(table: &'t Table, hooks: &[Hook]) -> Result<HashMap<&'t str, u32>, CompileError> {
    let mut numbers = HashMap::with_capacity(table.chains.len());
    for (number, chain) in table.chains.iter().enumerate() {
        let name = || (table.name.clone(), chain.name.clone());
        if numbers.insert(chain.name.as_str(), number as u32).is_some() {
            let (table, chain) = name();
            return Err(CompileError::DuplicateChain { table, chain });
        }
        let builtin = Hook::from_chain(&chain.name).is_some_and(|hook| hooks.contains(&hook));
        if builtin != chain.policy.is_some() {
            let (table, chain) = name();
            return Err(CompileError::BadHook { table, chain });
        }
    }
    Ok(numbers)
}

fn jump_target(table: &Table, numbers: &HashMap<&str, u32>, chain: &str, rule: usize, to: &str) -> Result<u32, CompileError> {
    let (table_name, chain, target) = (table.name.clone(), chain.to_owned(), to.to_owned());
    let Some(&number) = numbers.get(to) else {
        return Err(CompileError::MissingChain {
            table: table_name,
            chain,
            rule,
            target,
        });
    };
    if table.chains[number as usize].policy.is_some() {
        return Err(CompileError::JumpToBuiltin {
            table: table_name,
            chain,
            rule,
            target,
        });
    }
    Ok(number)
}

impl Drop for CompiledTable {
    fn drop(&mut self) {
        if !self.live {
            return;
        }
        for rule in &self.rules {
            rule.matches.iter().for_each(Match::destroy);
            if let CompiledTarget::Other(target) = &rule.target {
                target.destroy();
            }
        }
    }
}

impl CompiledTable {
    /// How many rules use the registered match or target of this name.
    pub(crate) fn extension_uses(&self, name: &str) -> usize {
        let uses = |rule: &CompiledRule| {
            let matches = rule.matches.iter().filter(|m| matches!(m, Match::Ext(m) if m.name() == name));
            let target = matches!(&rule.target, CompiledTarget::Other(Target::Ext(t)) if t.name() == name);
            matches.count() + usize::from(target)
        };
        self.rules.iter().map(uses).sum()
    }
}

fn check_rules(table: &Table, family: Family, reached: &[HookMask]) -> Result<(), CompileError> {
    for (chain, &hooks) in table.chains.iter().zip(reached) {
        for (position, rule) in chain.rules.iter().enumerate() {
            let cx = CheckContext {
                family,
                table: &table.name,
                hooks,
                ip: &rule.ip,
                matches: &rule.matches,
            };
            let mut checked = 0;
            let matches = rule.matches.iter().try_for_each(|m| m.check(&cx).inspect(|()| checked += 1));
            if let Err(source) = matches.and_then(|()| rule.target.check(&cx)) {
                // What was checked is let go of, as when a rule set is replaced.
                rule.matches[..checked].iter().for_each(Match::destroy);
                let before = table.chains.iter().flat_map(|chain| &chain.rules);
                for passed in before.take_while(|passed| !std::ptr::eq(*passed, rule)) {
                    passed.matches.iter().for_each(Match::destroy);
                    passed.target.destroy();
                }
                return Err(CompileError::Check {
                    table: table.name.clone(),
                    chain: chain.name.clone(),
                    rule: position + 1,
                    source,
                });
            }
        }
    }
    Ok(())
}
