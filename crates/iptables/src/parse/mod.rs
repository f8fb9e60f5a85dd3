//! From the words of a command line to a [`Command`].

mod address;
mod getopt;
mod legal;
mod modules;

use fielato_netfilter::rule::{AddressMatch, Fragment, InterfaceMatch, IpMatch, Policy, ProtocolMatch};
use fielato_netfilter::syntax::{Arguments, Names, ParseContext};
use fielato_netfilter::{Counters, InterfaceName, Rule, Target};
use fielato_wire::Family;

use crate::command::{Command, Operation, Wait, ZeroAfter};
use crate::error::{Error, Program};
use crate::names::parse_protocol;
use crate::registry::Registry;
use crate::text::{leading_number, number};
use getopt::{Getopt, Item};
use legal::{CommandSet, Flag, FlagSet};
use modules::Modules;

/// Longest name of a chain, a match or a target, and one byte.
pub(crate) const MAX_NAME: usize = 29;

/// What a command line is parsed with.
#[derive(Clone, Copy)]
pub struct Parser<'a> {
    /// `iptables` or `ip6tables`.
    pub family: Family,
    /// What to be called in help texts.
    pub program: &'a Program,
    /// The matches and targets there are.
    pub registry: &'a Registry,
    /// Names of hosts, services, protocols.
    pub names: &'a dyn Names,
    /// It is a line of a restore file, with this as its table.
    pub restore: Option<&'a str>,
}

impl Parser<'_> {
    /// Understands the words after the program's name.
    pub fn parse(&self, words: &[&str]) -> Result<Command, Error> {
        Line::new(*self, words).parse()
    }
}

/// A command line on its way.
struct Line<'a> {
    parser: Parser<'a>,
    options: Getopt<'a>,
    modules: Modules<'a>,
    given: FlagSet,
    commands: CommandSet,
    chain: Option<&'a str>,
    number: Option<usize>,
    new_name: &'a str,
    policy: Option<&'a str>,
    table: &'a str,
    ip: IpMatch,
    source: Option<&'a str>,
    destination: Option<&'a str>,
    /// `-p` as written, in lower case.
    protocol: Option<String>,
    jump: Option<&'a str>,
    goto: bool,
    counters: Counters,
    verbose: u8,
    wait: Wait,
    wait_interval: bool,
    warnings: Vec<String>,
}

impl<'a> Line<'a> {
    fn new(parser: Parser<'a>, words: &'a [&'a str]) -> Line<'a> {
        Line {
            parser,
            options: Getopt::new(words),
            modules: Modules::new(parser.registry, parser.family),
            given: FlagSet::default(),
            commands: CommandSet::default(),
            chain: None,
            number: None,
            new_name: "",
            policy: None,
            table: parser.restore.unwrap_or("filter"),
            ip: IpMatch::default(),
            source: None,
            destination: None,
            protocol: None,
            jump: None,
            goto: false,
            counters: Counters::default(),
            verbose: 0,
            wait: Wait::No,
            wait_interval: false,
            warnings: Vec::new(),
        }
    }

    fn parse(mut self) -> Result<Command, Error> {
        let mut invert = false;
        loop {
            match self.options.next_item() {
                Item::End => break,
                Item::Word("!") if invert => return parameter("multiple consecutive ! not allowed"),
                Item::Word("!") => {
                    invert = true;
                    continue;
                }
                Item::Word(word) => return Err(Error::Usage(format!("Bad argument `{word}'"))),
                Item::Base(letter, value) => {
                    if let Some(operation) = self.base_option(letter, value, invert)? {
                        return Ok(self.command(operation));
                    }
                }
                Item::Module(module, spec, value) => {
                    let second = match spec.arguments {
                        Arguments::Two => self.options.further(),
                        Arguments::Optional if value.is_none() => self.options.further(),
                        _ => None,
                    };
                    self.modules.give(module, spec, value, second, invert)?;
                }
                item @ (Item::Missing | Item::Unknown) => {
                    if self
                        .modules
                        .load_protocol(self.protocol.as_deref(), self.parser.names, &mut self.options)
                    {
                        self.options.again();
                        continue;
                    }
                    let word = self.options.last_word();
                    return match item {
                        Item::Missing => parameter(format!("option \"{word}\" requires an argument")),
                        _ => parameter(format!("unknown option \"{word}\"")),
                    };
                }
            }
            invert = false;
        }
        self.finish(invert)
    }

    /// An option of the language itself; `-h`, `-V` and the other family's lines end the command here.
    fn base_option(&mut self, letter: u8, value: Option<&'a str>, invert: bool) -> Result<Option<Operation>, Error> {
        let word = value.unwrap_or("");
        match letter {
            b'A' | b'C' | b'D' | b'R' | b'I' | b'L' | b'S' | b'F' | b'Z' | b'N' | b'X' | b'E' | b'P' => {
                self.command_option(letter, value, invert)?;
            }
            b'h' => return Ok(Some(Operation::Print(self.help()))),
            b'V' => return Ok(Some(Operation::Print(self.version(invert)))),
            b'p' => self.protocol_option(word, invert)?,
            b's' => {
                self.given.set(Flag::Source, invert)?;
                self.ip.source.negated = invert;
                self.source = Some(word);
            }
            b'd' => {
                self.given.set(Flag::Destination, invert)?;
                self.ip.destination.negated = invert;
                self.destination = Some(word);
            }
            b'i' => self.ip.in_interface = self.interface(Flag::InInterface, word, invert)?,
            b'o' => self.ip.out_interface = self.interface(Flag::OutInterface, word, invert)?,
            b'f' => self.fragment_option(invert)?,
            b'j' | b'g' => {
                self.given.set(Flag::Jump, invert)?;
                self.jump = Some(valid_target(word)?);
                self.goto = letter == b'g';
                if !self.goto {
                    self.modules.load_target(word, &mut self.options);
                }
            }
            b'm' if invert => return parameter("unexpected ! flag before --match"),
            b'm' => self.modules.load_match(word, &mut self.options)?,
            b'n' => self.given.set(Flag::Numeric, invert)?,
            b'x' => self.given.set(Flag::Exact, invert)?,
            b'0' => self.given.set(Flag::LineNumbers, invert)?,
            b'v' => {
                if self.verbose == 0 {
                    self.given.set(Flag::Verbose, invert)?;
                }
                self.verbose = self.verbose.saturating_add(1);
            }
            b't' => self.table_option(word, invert)?,
            b'w' | b'W' => self.wait_option(letter, value)?,
            b'c' => self.counters_option(word, invert)?,
            b'4' | b'6' => {
                let own = (letter == b'4') == (self.parser.family == Family::V4);
                match (own, self.parser.restore) {
                    (true, _) => {}
                    (false, Some(_)) => return Ok(Some(Operation::Ignored)),
                    (false, None) => return Err(Error::Usage(String::new())),
                }
            }
            // --modprobe names a command that loads modules: there is nothing to load.
            b'M' => {}
            _ => return parameter(format!("Unknown arg \"{word}\"")),
        }
        Ok(None)
    }

    fn command_option(&mut self, letter: u8, value: Option<&'a str>, invert: bool) -> Result<(), Error> {
        if letter == b'N' {
            self.valid_new_chain(value.unwrap_or(""))?;
        }
        self.commands.add(letter, invert)?;
        match letter {
            b'L' | b'S' | b'F' | b'Z' | b'X' => {
                if let Some(chain) = value.or_else(|| self.options.further()) {
                    self.chain = Some(chain);
                }
            }
            _ => self.chain = value,
        }
        match letter {
            b'D' | b'Z' => {
                if let Some(word) = self.options.further() {
                    self.number = Some(rule_number(word)?);
                    self.commands.numbered(letter);
                }
            }
            b'L' | b'S' => {
                if let Some(word) = self.options.further() {
                    self.number = Some(rule_number(word)?);
                }
            }
            b'R' => match self.options.further() {
                Some(word) => self.number = Some(rule_number(word)?),
                None => return parameter("-R requires a rule number"),
            },
            b'I' => {
                self.number = Some(match self.options.further() {
                    Some(word) => rule_number(word)?,
                    None => 1,
                });
            }
            b'E' => match self.options.further() {
                Some(word) if word.is_empty() || word.contains(|c: char| c.is_ascii_whitespace()) => {
                    return parameter(format!("Invalid chain name `{word}'"));
                }
                Some(word) => self.new_name = word,
                None => return parameter("-E requires old-chain-name and new-chain-name"),
            },
            b'P' => match self.options.further() {
                Some(word) => self.policy = Some(word),
                None => return parameter("-P requires a chain and a policy"),
            },
            _ => {}
        }
        Ok(())
    }

    fn valid_new_chain(&self, chain: &str) -> Result<(), Error> {
        if chain.len() >= MAX_NAME {
            return parameter(format!("chain name `{chain}' too long (must be under {MAX_NAME} chars)"));
        }
        if let Some(first @ ('-' | '!')) = chain.chars().next() {
            return parameter(format!("chain name not allowed to start with `{first}'"));
        }
        let target = self.parser.registry.find_target(chain, self.parser.family);
        if target.is_some() || standard_target(chain).is_some() {
            return parameter("chain name may not clash with target name");
        }
        if chain.is_empty() || chain.contains(|c: char| c.is_ascii_whitespace()) {
            return parameter(format!("Invalid chain name `{chain}'"));
        }
        Ok(())
    }

    fn protocol_option(&mut self, word: &str, invert: bool) -> Result<(), Error> {
        self.given.set(Flag::Protocol, invert)?;
        let word = word.to_ascii_lowercase();
        let Some(number) = parse_protocol(&word, self.parser.names) else {
            return parameter(format!("unknown protocol \"{word}\" specified"));
        };
        if number == 0 && invert {
            return parameter("rule would never match protocol");
        }
        // Routing, fragment, AH and destination options are extension headers, not upper protocols.
        if self.parser.family == Family::V6 && matches!(number, 43 | 44 | 51 | 60) && !invert {
            self.warnings.push(format!(
                "Warning: never matched protocol: {word}. use extension match instead."
            ));
        }
        self.ip.protocol = ProtocolMatch { number, negated: invert };
        self.protocol = Some(word);
        Ok(())
    }

    fn interface(&mut self, flag: Flag, word: &str, invert: bool) -> Result<InterfaceMatch, Error> {
        if word.is_empty() {
            return parameter("Empty interface is likely to be undesired");
        }
        self.given.set(flag, invert)?;
        if word.len() > fielato_netfilter::interface::MAX_NAME {
            return parameter(format!("interface name `{word}' must be shorter than IFNAMSIZ (15)"));
        }
        if word.contains(['/', ' ']) {
            self.warnings.push(format!(
                "Warning: weird character in interface `{word}' ('/' and ' ' are not allowed by the kernel)."
            ));
        }
        let (name, prefix) = match word.strip_suffix('+') {
            Some(name) => (name, true),
            None => (word, false),
        };
        Ok(InterfaceMatch {
            name: InterfaceName::new(name).unwrap_or_default(),
            prefix,
            negated: invert,
        })
    }

    fn fragment_option(&mut self, invert: bool) -> Result<(), Error> {
        if self.parser.family == Family::V6 {
            return parameter("`-f' is not supported in IPv6, use -m frag instead");
        }
        self.given.set(Flag::Fragment, invert)?;
        self.ip.fragment = Some(if invert { Fragment::FirstOrWhole } else { Fragment::Later });
        Ok(())
    }

    fn table_option(&mut self, word: &'a str, invert: bool) -> Result<(), Error> {
        if invert {
            return parameter("unexpected ! flag before --table");
        }
        if self.parser.restore.is_some() {
            return parameter(format!("The -t option cannot be used in {}.\n", self.parser.program.name));
        }
        self.table = word;
        Ok(())
    }

    fn wait_option(&mut self, letter: u8, value: Option<&'a str>) -> Result<(), Error> {
        if self.parser.restore.is_some() {
            return parameter(format!("You cannot use `-{}' from iptables-restore", letter as char));
        }
        let word = value.or_else(|| self.options.further());
        if letter == b'w' {
            self.wait = parse_wait(word)?;
            return Ok(());
        }
        self.wait_interval = true;
        self.warnings.push(parse_wait_interval(word)?);
        Ok(())
    }

    fn counters_option(&mut self, word: &'a str, invert: bool) -> Result<(), Error> {
        self.given.set(Flag::Counters, invert)?;
        // "1,2", or "1" and "2".
        let comma = word.char_indices().skip(1).find(|&(_, c)| c == ',').map(|(at, _)| at);
        let bytes = match comma {
            Some(at) => word.get(at + 1..),
            None => self.options.further(),
        };
        let Some(bytes) = bytes else {
            return parameter("-c requires packet and byte counter");
        };
        let Some(packets) = leading_decimal(word) else {
            return parameter("-c packet counter not numeric");
        };
        let Some(bytes) = leading_decimal(bytes) else {
            return parameter("-c byte counter not numeric");
        };
        self.counters = Counters { packets, bytes };
        Ok(())
    }

    fn version(&self, invert: bool) -> String {
        let Program { name, version } = self.parser.program;
        match invert {
            true => format!("Not {version} ;-)\n"),
            false => format!("{name} v{version}\n"),
        }
    }

    fn help(&mut self) -> String {
        self.modules.load_for_help(self.protocol.as_deref());
        let mut text = crate::help::text(self.parser.program, self.parser.family);
        text.push_str(&self.modules.help());
        text
    }

    fn finish(self, invert: bool) -> Result<Command, Error> {
        let drops = self.policy == Some("DROP") || self.jump == Some("DROP");
        if self.table == "nat" && drops {
            return parameter("\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n");
        }
        if self.wait == Wait::No && self.wait_interval {
            return parameter("--wait-interval only makes sense with --wait\n");
        }
        let cx = ParseContext {
            family: self.parser.family,
            ip: &self.ip,
            names: self.parser.names,
            table: self.table,
        };
        let (matches, target) = self.modules.build(&cx)?;
        // iptables takes such a word, and then saves a file that can't be read.
        if let Some(word) = self.options.words().iter().find(|word| word.contains(['\n', '\0'])) {
            return parameter(format!(
                "the word {word:?} can't be saved: leave out the line end or zero byte in it"
            ));
        }
        if self.options.has_rest() {
            return parameter("unknown arguments found on commandline");
        }
        if self.commands.is_empty() {
            return parameter("no command specified");
        }
        if invert {
            return parameter("nothing appropriate following !");
        }
        let mut rule = Rule {
            ip: self.ip,
            matches,
            target: Target::None,
            counters: self.counters,
        };
        rule.target = match (self.jump, target) {
            (Some(chain), _) if self.goto => Target::Goto(chain.to_owned()),
            (Some(_), Some(target)) => target,
            // Not a target: the executor finds out whether it is a chain.
            (Some(name), None) => standard_target(name).unwrap_or_else(|| Target::Jump(name.to_owned())),
            (None, _) => Target::None,
        };
        let rules = self.each_address(rule)?;
        if self.commands.is(b'R') && rules.len() != 1 {
            return parameter("Replacement rule does not specify a unique address");
        }
        self.commands.check_options(self.given)?;
        self.check_chain()?;
        let operation = self.operation(rules);
        Ok(self.command(operation))
    }

    /// A rule for each pair of source and destination.
    fn each_address(&self, rule: Rule) -> Result<Vec<Rule>, Error> {
        let parse = |list: Option<&str>, given: AddressMatch| -> Result<Vec<AddressMatch>, Error> {
            let Some(list) = list else { return Ok(vec![given]) };
            let mut found = address::parse(list, self.parser.family, self.parser.names)?;
            found.iter_mut().for_each(|address| address.negated = given.negated);
            Ok(found)
        };
        let sources = parse(self.source, rule.ip.source)?;
        let destinations = parse(self.destination, rule.ip.destination)?;
        let several = sources.len() > 1 || destinations.len() > 1;
        if several && (rule.ip.source.negated || rule.ip.destination.negated) {
            return parameter("! not allowed with multiple source or destination IP addresses");
        }
        if let ([source], [destination]) = (&sources[..], &destinations[..]) {
            let mut rule = rule;
            (rule.ip.source, rule.ip.destination) = (*source, *destination);
            return Ok(vec![rule]);
        }
        let mut rules = Vec::with_capacity(sources.len().saturating_mul(destinations.len()));
        for &source in &sources {
            for &destination in &destinations {
                let mut rule = rule.clone();
                (rule.ip.source, rule.ip.destination) = (source, destination);
                rules.push(rule);
            }
        }
        Ok(rules)
    }

    fn check_chain(&self) -> Result<(), Error> {
        let chain = self.chain.unwrap_or("");
        if chain.len() >= MAX_NAME {
            return parameter(format!("chain name `{chain}' too long (must be under {MAX_NAME} chars)"));
        }
        if !self.commands.takes_rule() {
            return Ok(());
        }
        if matches!(chain, "PREROUTING" | "INPUT") && self.given.has(Flag::OutInterface) {
            return parameter(format!("Can't use -o with {chain}\n"));
        }
        if matches!(chain, "POSTROUTING" | "OUTPUT") && self.given.has(Flag::InInterface) {
            return parameter(format!("Can't use -i with {chain}\n"));
        }
        Ok(())
    }

    fn operation(&self, mut rules: Vec<Rule>) -> Operation {
        let optional = self.chain.map(str::to_owned);
        let chain = optional.clone().unwrap_or_default();
        let number = self.number.unwrap_or(1);
        let zero = match (self.commands.has(b'Z'), self.commands.has_zero_number()) {
            (_, true) => ZeroAfter::Rule,
            (true, _) => ZeroAfter::Chains,
            _ => ZeroAfter::No,
        };
        match self.commands.first() {
            b'A' => Operation::Append { chain, rules },
            b'I' => Operation::Insert { chain, number, rules },
            b'R' => Operation::Replace {
                chain,
                number,
                rule: Box::new(rules.pop().unwrap_or_default()),
            },
            b'D' if self.number.is_some() => Operation::DeleteNumber { chain, number },
            b'D' => Operation::Delete { chain, rules },
            b'C' => Operation::Check { chain, rules },
            b'L' => Operation::List {
                chain: optional,
                number: self.number,
                zero,
            },
            b'S' => Operation::ListRules {
                chain: optional,
                number: self.number,
                zero,
            },
            b'F' => Operation::Flush { chain: optional },
            b'Z' if self.number.is_some() => Operation::ZeroNumber { chain, number },
            b'Z' => Operation::Zero { chain: optional },
            b'N' => Operation::NewChain { chain },
            b'X' => Operation::DeleteChain { chain: optional },
            b'E' => Operation::RenameChain {
                from: chain,
                to: self.new_name.to_owned(),
            },
            _ => Operation::Policy {
                chain,
                policy: match self.policy {
                    Some("ACCEPT") => Some(Policy::Accept),
                    Some("DROP") => Some(Policy::Drop),
                    _ => None,
                },
                counters: self.given.has(Flag::Counters).then_some(self.counters),
            },
        }
    }

    fn command(self, operation: Operation) -> Command {
        Command {
            operation,
            table: self.table.to_owned(),
            wait: self.wait,
            verbose: self.verbose,
            numeric: self.given.has(Flag::Numeric),
            exact: self.given.has(Flag::Exact),
            line_numbers: self.given.has(Flag::LineNumbers),
            warnings: self.warnings,
        }
    }
}

/// ACCEPT, DROP, QUEUE, RETURN.
fn standard_target(name: &str) -> Option<Target> {
    Some(match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "QUEUE" => Target::Queue,
        "RETURN" => Target::Return,
        _ => return None,
    })
}

fn valid_target(name: &str) -> Result<&str, Error> {
    if name.is_empty() {
        return parameter("Invalid target name (too short)");
    }
    if name.len() >= MAX_NAME {
        return parameter(format!("Invalid target name `{name}' ({} chars max)", MAX_NAME - 1));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return parameter(format!("Invalid target name `{name}'"));
    }
    Ok(name)
}

fn rule_number(word: &str) -> Result<usize, Error> {
    match number(word, 1, i32::MAX as u64) {
        Some(number) => Ok(number as usize),
        None => parameter(format!("Invalid rule number `{word}'")),
    }
}

/// The words after `-w`.
pub(crate) fn parse_wait(word: Option<&str>) -> Result<Wait, Error> {
    match word {
        None => Ok(Wait::Forever),
        Some(word) if word.trim_start().starts_with('-') => Ok(Wait::Forever),
        Some(word) => match leading_number(word) {
            Some((0, _)) => Ok(Wait::No),
            Some((seconds, _)) => Ok(Wait::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX))),
            None => parameter("wait seconds not numeric"),
        },
    }
}

/// The word after `-W`; gives what iptables says about it.
pub(crate) fn parse_wait_interval(word: Option<&str>) -> Result<String, Error> {
    let Some(word) = word else {
        return parameter("wait interval value required");
    };
    match leading_decimal(word) {
        Some(interval @ 1_000_000..) => parameter(format!("too long usec wait {interval} > 999999 usec")),
        Some(_) => Ok("Ignoring deprecated --wait-interval option.".to_owned()),
        None => parameter("wait interval not numeric"),
    }
}

/// The decimal number that `text` begins with (C's `scanf` `%llu`, which wraps a minus).
pub(crate) fn leading_decimal(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let digits = text.get(..end).filter(|digits| !digits.is_empty())?;
    let value = digits.parse().unwrap_or(u64::MAX);
    Some(if negative { 0u64.wrapping_sub(value) } else { value })
}

fn parameter<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Parameter(message.into()))
}
