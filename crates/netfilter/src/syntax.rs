//! The user side of matches and targets: options, parsing, printing, help. The built-in ones live in the `iptables` crate,
//! an extension brings its own; both are the same traits, registered in the same place.

use std::fmt;

use fielato_wire::{Addr, Family};

use crate::rule::{IpMatch, Match, Target};

/// How many words follow an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// None.
    None,
    /// One.
    One,
    /// One or none (`--set-xmark` style options never are; `--connlimit-saddr` is `None`).
    Optional,
    /// Two (`--tcp-flags MASK COMP`, `--match-set NAME FLAGS`).
    Two,
}

/// An option of a match or target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name without dashes.
    pub name: &'static str,
    /// Its words.
    pub arguments: Arguments,
    /// Whether `!` may stand before it.
    pub negatable: bool,
    /// Another name for the same: options of equal `canonical` are one, and may be given once. Usually equal to `name`.
    pub canonical: &'static str,
    /// It may be given more than once.
    pub repeatable: bool,
}

impl OptionSpec {
    /// An option with one word, not negatable.
    pub const fn one(name: &'static str) -> OptionSpec {
        OptionSpec {
            name,
            arguments: Arguments::One,
            negatable: false,
            canonical: name,
            repeatable: false,
        }
    }

    /// An option without words.
    pub const fn flag(name: &'static str) -> OptionSpec {
        OptionSpec {
            arguments: Arguments::None,
            ..OptionSpec::one(name)
        }
    }

    /// The same, but with as many words.
    pub const fn arguments(self, arguments: Arguments) -> OptionSpec {
        OptionSpec { arguments, ..self }
    }

    /// The same, but `!` may stand before it.
    pub const fn negatable(self) -> OptionSpec {
        OptionSpec { negatable: true, ..self }
    }

    /// The same, but it may be given more than once.
    pub const fn repeatable(self) -> OptionSpec {
        OptionSpec {
            repeatable: true,
            ..self
        }
    }

    /// The same, as another name of `canonical`.
    pub const fn alias_of(self, canonical: &'static str) -> OptionSpec {
        OptionSpec { canonical, ..self }
    }
}

/// An option as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its canonical name.
    pub option: &'static str,
    /// The name as it was written.
    pub written: &'static str,
    /// Its words.
    pub values: Vec<String>,
    /// `!` stood before it.
    pub negated: bool,
}

impl Given {
    /// Its first word, or "".
    pub fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }
}

/// Names of hosts, services and protocols, as the machine knows them. The `iptables` crate has a table built in; the
/// command adds /etc/services, /etc/protocols and the resolver.
pub trait Names {
    /// The port of a service (`http`, `tcp`) in host order.
    fn service(&self, name: &str, protocol: &str) -> Option<u16>;
    /// The service of a port.
    fn service_name(&self, port: u16, protocol: &str) -> Option<String>;
    /// The number of a protocol.
    fn protocol(&self, name: &str) -> Option<u8>;
    /// The name of a protocol.
    fn protocol_name(&self, number: u8) -> Option<String>;
    /// The number of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// The number of a group.
    fn group(&self, name: &str) -> Option<u32>;
    /// Name of a user.
    fn user_name(&self, uid: u32) -> Option<String>;
    /// Name of a group.
    fn group_name(&self, gid: u32) -> Option<String>;
    /// A number by its name in a file of `/etc/iproute2` (`rt_realms`, `rt_dsfield`) or `/etc/xtables`
    /// (`devgroup`, `connlabel.conf`).
    fn number(&self, file: &str, name: &str) -> Option<u32>;
    /// The name of a number in such a file.
    fn name_of(&self, file: &str, number: u32) -> Option<String>;
    /// Whether there is a set of this name (`-m set`, `-j SET`): rules that name another are refused.
    fn has_set(&self, name: &str) -> bool {
        let _ = name;
        false
    }
    /// Whether there is an accounting object of this name (`-m nfacct`): rules that name another are refused.
    fn has_nfacct(&self, name: &str) -> bool {
        let _ = name;
        false
    }
    /// The addresses of a host's or network's name; none without a resolver.
    fn host(&self, name: &str, family: Family) -> Vec<Addr> {
        let _ = (name, family);
        Vec::new()
    }
    /// The name of an address; none without a resolver.
    fn host_name(&self, address: Addr, family: Family) -> Option<String> {
        let _ = (address, family);
        None
    }
}

/// The rule around the options being parsed.
#[derive(Clone, Copy)]
pub struct ParseContext<'a> {
    /// IPv4 (`iptables`) or IPv6 (`ip6tables`).
    pub family: Family,
    /// The rule's IP part.
    pub ip: &'a IpMatch,
    /// Names.
    pub names: &'a dyn Names,
    /// The table, as far as the command named it.
    pub table: &'a str,
}

/// How to print.
#[derive(Clone, Copy)]
pub struct PrintContext<'a> {
    /// The family.
    pub family: Family,
    /// The rule's IP part.
    pub ip: &'a IpMatch,
    /// `-n`: no names.
    pub numeric: bool,
    /// What iptables leaves out though it is part of the rule is written too.
    pub complete: bool,
    /// Names.
    pub names: &'a dyn Names,
}

/// Refused words. The text is what iptables prints after `iptables v1.8.9 (legacy): `, exit code 2 unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What was wrong.
    pub message: String,
}

impl SyntaxError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> SyntaxError {
        SyntaxError { message: message.into() }
    }
}

/// The user side of a match.
pub trait MatchSyntax: Send + Sync {
    /// `-m NAME`.
    fn name(&self) -> &'static str;
    /// Revision, as the kernel numbers them.
    fn revision(&self) -> u8 {
        0
    }
    /// Families it exists for.
    fn families(&self) -> &'static [Family] {
        &[Family::V4, Family::V6]
    }
    /// Its options.
    fn options(&self) -> &'static [OptionSpec];
    /// What `-m NAME -h` adds to the help: a heading "NAME match options:" and a line per option.
    fn help(&self, family: Family) -> String;
    /// Makes the match of the options as given, in order, and does the final check (required options, options that exclude
    /// each other). The language has already refused unknown options, a `!` where none may stand and an option given twice.
    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Match, SyntaxError>;
    /// The name that `-S` and `-L` print for `m`, where it isn't the match's own.
    fn alias(&self, m: &Match) -> Option<&'static str> {
        let _ = m;
        None
    }
    /// What `-S` prints after `-m NAME`: options with a leading space each, or nothing.
    fn save(&self, m: &Match, cx: &PrintContext<'_>) -> String;
    /// What `-L` prints, with a leading space, or nothing.
    fn print(&self, m: &Match, cx: &PrintContext<'_>) -> String;
}

/// The user side of a target.
pub trait TargetSyntax: Send + Sync {
    /// `-j NAME`.
    fn name(&self) -> &'static str;
    /// Revision, as the kernel numbers them.
    fn revision(&self) -> u8 {
        0
    }
    /// Families it exists for.
    fn families(&self) -> &'static [Family] {
        &[Family::V4, Family::V6]
    }
    /// Its options.
    fn options(&self) -> &'static [OptionSpec];
    /// What `-j NAME -h` adds to the help.
    fn help(&self, family: Family) -> String;
    /// As [`MatchSyntax::parse`].
    fn parse(&self, given: &[Given], cx: &ParseContext<'_>) -> Result<Target, SyntaxError>;
    /// The name that `-S` prints for `t`, where it isn't the target's own (`NOTRACK` for `CT --notrack`).
    fn alias(&self, t: &Target) -> Option<&'static str> {
        let _ = t;
        None
    }
    /// What `-S` prints after `-j NAME`.
    fn save(&self, t: &Target, cx: &PrintContext<'_>) -> String;
    /// What `-L` prints, with a leading space, or nothing.
    fn print(&self, t: &Target, cx: &PrintContext<'_>) -> String;
}

impl fmt::Debug for dyn MatchSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "match {}", self.name())
    }
}

impl fmt::Debug for dyn TargetSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "target {}", self.name())
    }
}
