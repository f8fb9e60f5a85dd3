//! Tables, chains and rules.

use fielato_wire::Family;

use super::{IpMatch, Match, Target};
use crate::Hook;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the IP header.
    pub bytes: u64,
}

impl Counters {
    /// Counts `packets` packets of `bytes` bytes in all.
    pub const fn add(&mut self, packets: u64, bytes: u64) {
        self.packets = self.packets.wrapping_add(packets);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// What a built-in chain does with a packet that no rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// ACCEPT
    Accept,
    /// DROP
    Drop,
}

/// A rule: it holds when its IP part and all its matches hold; then its target says what happens.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Addresses, protocol, interfaces.
    pub ip: IpMatch,
    /// `-m`, in the order given.
    pub matches: Vec<Match>,
    /// `-j` or `-g`.
    pub target: Target,
    /// What it counted.
    pub counters: Counters,
}

impl Rule {
    /// Whether the rules are the same but for their counters (`-C`, `-D` by rule).
    pub fn same(&self, other: &Rule) -> bool {
        let Rule {
            ip,
            matches,
            target,
            counters: _,
        } = self;
        *ip == other.ip && *matches == other.matches && *target == other.target
    }
}

impl Rule {
    /// Whether every packet takes its verdict, so that no rule after it is reached.
    pub fn always_decides(&self) -> bool {
        let decides = matches!(self.target, Target::Accept | Target::Drop | Target::Return | Target::Queue);
        decides && self.matches.is_empty() && self.ip == IpMatch::default()
    }
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            ip: IpMatch::default(),
            matches: Vec::new(),
            target: Target::None,
            counters: Counters::default(),
        }
    }
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name, at most 28 bytes.
    pub name: String,
    /// A built-in chain's policy; `None` for a user chain.
    pub policy: Option<Policy>,
    /// What the policy counted.
    pub counters: Counters,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// An empty user chain.
    pub fn user(name: impl Into<String>) -> Chain {
        Chain {
            name: name.into(),
            policy: None,
            counters: Counters::default(),
            rules: Vec::new(),
        }
    }

    /// An empty built-in chain with policy ACCEPT.
    pub fn builtin(hook: Hook) -> Chain {
        Chain {
            policy: Some(Policy::Accept),
            ..Chain::user(hook.chain())
        }
    }
}

/// A table: built-in chains, then user chains.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its chains, the built-in ones first, in the order of their hooks.
    pub chains: Vec<Chain>,
}

impl Table {
    /// The hooks of the standard tables, `None` for an unknown name (`iptable_raw.c` and its siblings).
    pub fn standard_hooks(name: &str) -> Option<&'static [Hook]> {
        use Hook::{Forward, Input, Output, Postrouting, Prerouting};
        Some(match name {
            "raw" => &[Prerouting, Output],
            "mangle" => &[Prerouting, Input, Forward, Output, Postrouting],
            "nat" => &[Prerouting, Input, Output, Postrouting],
            "filter" | "security" => &[Input, Forward, Output],
            _ => return None,
        })
    }

    /// A standard table with empty chains.
    pub fn standard(name: &str) -> Option<Table> {
        Table::standard_hooks(name).map(|hooks| Table::with_hooks(name, hooks))
    }

    /// A table of any name with empty built-in chains at `hooks`.
    pub fn with_hooks(name: &str, hooks: &[Hook]) -> Table {
        Table {
            name: name.to_owned(),
            chains: hooks.iter().map(|&hook| Chain::builtin(hook)).collect(),
        }
    }

    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The chain of this name, to be changed.
    pub fn chain_mut(&mut self, name: &str) -> Option<&mut Chain> {
        self.chains.iter_mut().find(|chain| chain.name == name)
    }
}

/// The tables of one family.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// The family.
    pub family: Family,
    /// The tables, in the order in which they were made.
    pub tables: Vec<Table>,
}

impl Chain {
    /// Whether the chains are the same but for their counters.
    pub fn same(&self, other: &Chain) -> bool {
        let Chain {
            name,
            policy,
            counters: _,
            rules,
        } = self;
        let same_rules = rules.len() == other.rules.len() && rules.iter().zip(&other.rules).all(|(one, other)| one.same(other));
        *name == other.name && *policy == other.policy && same_rules
    }
}

impl Ruleset {
    /// Whether the rule sets are the same but for their counters.
    pub fn same(&self, other: &Ruleset) -> bool {
        let Ruleset { family, tables } = self;
        let same_tables = |one: &Table, other: &Table| {
            let mut chains = one.chains.iter().zip(&other.chains);
            one.name == other.name && one.chains.len() == other.chains.len() && chains.all(|(one, other)| one.same(other))
        };
        let same = tables.iter().zip(&other.tables).all(|(one, other)| same_tables(one, other));
        *family == other.family && tables.len() == other.tables.len() && same
    }

    /// No tables.
    pub const fn new(family: Family) -> Ruleset {
        Ruleset {
            family,
            tables: Vec::new(),
        }
    }

    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The table of this name, to be changed.
    pub fn table_mut(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.iter_mut().find(|table| table.name == name)
    }
}
