//! The languages of Linux 2.2 (`ipchains`) and 2.0 (`ipfwadm`), over the same tables.
//!
//! In 2.2 a packet that is received passes `input`; one for another host then passes `forward` and `output` too; one made here
//! passes `output`. So each chain is written as often as there are ways through it ([`to_iptables`]): an ACCEPT in `input` goes on
//! to `forward` for a packet that is forwarded, and lets in one that is for this host. The rules as they were given stand in
//! chains that no packet meets ([`SHADOW`]), each as a comment with its counts: they are what is listed, changed and saved.

mod address;
mod check;
mod command;
mod fwadm;
mod list;
pub mod program;
mod to_iptables;

pub use address::Network;
pub use check::{Fate, Probe};
pub use command::{Command, Operation};
pub use fwadm::translate as ipfwadm;
pub use to_iptables::{SHADOW, text};

use std::fmt::Write as _;

use fielato_netfilter::Counters;

/// Where a rule sends a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the language")]
pub enum Target {
    Accept,
    Deny,
    Reject,
    Masq,
    /// To a port of this host; 0 for the packet's own.
    Redirect(u16),
    Return,
    Chain(String),
}

impl Target {
    /// As `-j` takes it.
    pub fn words(&self) -> String {
        match self {
            Target::Accept => "ACCEPT".to_owned(),
            Target::Deny => "DENY".to_owned(),
            Target::Reject => "REJECT".to_owned(),
            Target::Masq => "MASQ".to_owned(),
            Target::Redirect(0) => "REDIRECT".to_owned(),
            Target::Redirect(port) => format!("REDIRECT {port}"),
            Target::Return => "RETURN".to_owned(),
            Target::Chain(name) => name.clone(),
        }
    }
}

/// What is asked of one end of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The network.
    pub network: Network,
    /// `!` before it.
    pub negated: bool,
    /// Ports; the type or the code of ICMP.
    pub ports: Option<(u16, u16)>,
    /// `!` before them.
    pub ports_negated: bool,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `-s`
    pub source: Side,
    /// `-d`
    pub destination: Side,
    /// `-p`, and `!`
    pub protocol: Option<(u8, bool)>,
    /// `-i`, and `!`: the way in for `input`, else the way out.
    pub interface: Option<(String, bool)>,
    /// `-f`; `Some(false)` for `! -f`.
    pub fragment: Option<bool>,
    /// `-y`; `Some(false)` for `! -y`.
    pub syn: Option<bool>,
    /// `-l`
    pub log: bool,
    /// `-t`: and, exclusive or.
    pub tos: Option<(u8, u8)>,
    /// `-m`: what the mark becomes.
    pub mark: Option<u32>,
    /// `-j`
    pub target: Option<Target>,
}

impl Rule {
    /// As ipchains-save writes it, without the chain.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (option, side) in [("-s", &self.source), ("-d", &self.destination)] {
            let not = |negated: bool| if negated { "! " } else { "" };
            let _ = write!(text, "{option} {}{} ", not(side.negated), side.network);
            if let Some((from, to)) = side.ports {
                let _ = write!(text, "{}{from}:{to} ", not(side.ports_negated));
            }
        }
        if let Some((name, negated)) = &self.interface {
            let _ = write!(text, "-i {}{name} ", if *negated { "! " } else { "" });
        }
        if let Some((number, negated)) = self.protocol {
            let _ = write!(text, "-p {}{number} ", if negated { "! " } else { "" });
        }
        for (option, asked) in [("-f", self.fragment), ("-y", self.syn)] {
            match asked {
                Some(true) => text += &format!("{option} "),
                Some(false) => text += &format!("! {option} "),
                None => {}
            }
        }
        if self.log {
            text += "-l ";
        }
        if let Some((and, xor)) = self.tos {
            let _ = write!(text, "-t {and:#04x} {xor:#04x} ");
        }
        if let Some(mark) = self.mark {
            let _ = write!(text, "-m {mark:#x} ");
        }
        if let Some(target) = &self.target {
            let _ = write!(text, "-j {}", target.words());
        }
        text.trim_end().to_owned()
    }

    /// The same for the way back (`-b`).
    pub fn reversed(&self) -> Rule {
        Rule {
            source: self.destination.clone(),
            destination: self.source.clone(),
            ..self.clone()
        }
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, at most 8 bytes.
    pub name: String,
    /// The policy of `input`, `forward` and `output`.
    pub policy: Option<Target>,
    /// The rules, and what they counted.
    pub rules: Vec<(Rule, Counters)>,
}

/// All chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chains(pub Vec<Chain>);

/// The chains that are always there.
pub const BUILTIN: [&str; 3] = ["input", "forward", "output"];

impl Default for Chains {
    fn default() -> Chains {
        Chains(
            BUILTIN
                .into_iter()
                .map(|name| Chain {
                    name: name.to_owned(),
                    policy: Some(Target::Accept),
                    rules: Vec::new(),
                })
                .collect(),
        )
    }
}

impl Chains {
    /// The chain of this name.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.0.iter().find(|chain| chain.name == name)
    }

    fn chain_mut(&mut self, name: &str) -> Result<&mut Chain, Error> {
        self.0.iter_mut().find(|chain| chain.name == name).ok_or(Error::NoChain)
    }

    /// Whether a chain can be reached from itself.
    fn has_loop(&self) -> bool {
        fn deep(chains: &Chains, name: &str, path: &mut Vec<String>) -> bool {
            if path.iter().any(|known| known == name) {
                return true;
            }
            path.push(name.to_owned());
            let rules = chains.chain(name).map(|chain| chain.rules.as_slice()).unwrap_or_default();
            let found = rules.iter().any(|(rule, _)| match &rule.target {
                Some(Target::Chain(to)) => deep(chains, to, path),
                _ => false,
            });
            path.pop();
            found
        }
        self.0.iter().any(|chain| deep(self, &chain.name, &mut Vec::new()))
    }

    fn references(&self, name: &str) -> usize {
        let rules = self.0.iter().flat_map(|chain| &chain.rules);
        rules
            .filter(|(rule, _)| matches!(&rule.target, Some(Target::Chain(to)) if to == name))
            .count()
    }

    /// Does what a command says; listings and checks change nothing.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        let before = self.clone();
        let done = self.change(operation);
        if done.is_ok() && self.has_loop() {
            *self = before;
            return Err(Error::Loop);
        }
        done
    }

    fn change(&mut self, operation: &Operation) -> Result<(), Error> {
        let fresh = |rule: &Rule| (rule.clone(), Counters::default());
        match operation {
            Operation::Append { chain, rules } => {
                self.targets_exist(rules)?;
                self.chain_mut(chain)?.rules.extend(rules.iter().map(fresh));
            }
            Operation::Insert { chain, number, rules } => {
                self.targets_exist(rules)?;
                let known = &mut self.chain_mut(chain)?.rules;
                let at = number.checked_sub(1).filter(|&at| at <= known.len()).ok_or(Error::TooBig)?;
                known.splice(at..at, rules.iter().map(fresh));
            }
            Operation::Replace { chain, number, rule } => {
                self.targets_exist(std::slice::from_ref(rule))?;
                let known = &mut self.chain_mut(chain)?.rules;
                let at = number.checked_sub(1).ok_or(Error::TooBig)?;
                *known.get_mut(at).ok_or(Error::TooBig)? = fresh(rule);
            }
            Operation::DeleteNumber { chain, number } => {
                let known = &mut self.chain_mut(chain)?.rules;
                let at = number.checked_sub(1).filter(|&at| at < known.len()).ok_or(Error::TooBig)?;
                known.remove(at);
            }
            Operation::Delete { chain, rules } => {
                let known = &mut self.chain_mut(chain)?.rules;
                for rule in rules {
                    let at = known.iter().position(|(other, _)| other == rule).ok_or(Error::NoRule)?;
                    known.remove(at);
                }
            }
            Operation::Flush { chain } => self.each(chain.as_deref(), |chain| chain.rules.clear())?,
            Operation::Zero { chain } => self.each(chain.as_deref(), |chain| {
                for (_, counters) in &mut chain.rules {
                    *counters = Counters::default();
                }
            })?,
            Operation::NewChain { chain } if self.chain(chain).is_some() => return Err(Error::ChainExists),
            Operation::NewChain { chain } => self.0.push(Chain {
                name: chain.clone(),
                policy: None,
                rules: Vec::new(),
            }),
            Operation::DeleteChain { chain: Some(name) } => {
                let chain = self.chain(name).ok_or(Error::NoChain)?;
                if chain.policy.is_some() || !chain.rules.is_empty() || self.references(name) > 0 {
                    return Err(Error::InUse);
                }
                self.0.retain(|chain| chain.name != *name);
            }
            Operation::DeleteChain { chain: None } => {
                let all = self.clone();
                self.0
                    .retain(|chain| chain.policy.is_some() || !chain.rules.is_empty() || all.references(&chain.name) > 0);
            }
            Operation::Policy { chain, target } => {
                let chain = self.chain_mut(chain)?;
                let fits = match target {
                    Target::Accept | Target::Deny | Target::Reject => true,
                    Target::Masq => chain.name == "forward",
                    _ => false,
                };
                if chain.policy.is_none() || !fits {
                    return Err(Error::BadPolicy);
                }
                chain.policy = Some(target.clone());
            }
            Operation::List { .. } | Operation::Check { .. } => {}
        }
        Ok(())
    }

    fn each(&mut self, name: Option<&str>, mut change: impl FnMut(&mut Chain)) -> Result<(), Error> {
        match name {
            Some(name) => change(self.chain_mut(name)?),
            None => self.0.iter_mut().for_each(change),
        }
        Ok(())
    }

    fn targets_exist(&self, rules: &[Rule]) -> Result<(), Error> {
        let missing = rules.iter().any(|rule| match &rule.target {
            Some(Target::Chain(name)) => BUILTIN.contains(&name.as_str()) || self.chain(name).is_none(),
            _ => false,
        });
        if missing { Err(Error::NoChain) } else { Ok(()) }
    }
}

/// Why a command was refused, in the program's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No chain, or no target, of this name.
    #[error("No chain by that name")]
    NoChain,
    /// `-N`
    #[error("Chain already exists")]
    ChainExists,
    /// `-X`
    #[error("Chain is built in, not empty, or in use")]
    InUse,
    /// `-P`
    #[error("Bad policy for this chain")]
    BadPolicy,
    /// A number beyond the chain's rules.
    #[error("Index of rule too big")]
    TooBig,
    /// `-D`
    #[error("Bad rule (does a matching rule exist in that chain?)")]
    NoRule,
    /// A rule that comes back to its own chain.
    #[error("Too many levels of symbolic links")]
    Loop,
    /// Words that can't be read.
    #[error("{0}")]
    Words(String),
}
