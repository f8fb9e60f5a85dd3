//! The words of an ipchains command.

use fielato_netfilter::syntax::Names;
use fielato_wire::number;

use super::{Error, Network, Probe, Rule, Side, Target};
use crate::names::parse_protocol;

/// What to do. Rules are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the words of the option")]
pub enum Operation {
    /// `-A`; two rules with `-b`.
    Append { chain: String, rules: Vec<Rule> },
    /// `-I`
    Insert { chain: String, number: usize, rules: Vec<Rule> },
    /// `-R`
    Replace { chain: String, number: usize, rule: Box<Rule> },
    /// `-D` by rule.
    Delete { chain: String, rules: Vec<Rule> },
    /// `-D` by number.
    DeleteNumber { chain: String, number: usize },
    /// `-F`
    Flush { chain: Option<String> },
    /// `-Z`
    Zero { chain: Option<String> },
    /// `-N`
    NewChain { chain: String },
    /// `-X`
    DeleteChain { chain: Option<String> },
    /// `-P`
    Policy { chain: String, target: Target },
    /// `-L`, then `-Z` where that is given too.
    List { chain: Option<String>, zero: bool },
    /// `-C`
    Check { chain: String, probe: Box<Probe> },
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
    /// `-n`
    pub numeric: bool,
    /// `-v`
    pub verbose: bool,
    /// `-x`
    pub exact: bool,
    /// `--line-numbers`
    pub line_numbers: bool,
    /// `--print`: write the iptables rules that all chains now stand for.
    pub print: bool,
}

/// Long options, and the short ones that they stand for.
const LONG: [(&str, &str); 32] = [
    ("--append", "-A"),
    ("--insert", "-I"),
    ("--replace", "-R"),
    ("--delete", "-D"),
    ("--flush", "-F"),
    ("--zero", "-Z"),
    ("--new-chain", "-N"),
    ("--delete-chain", "-X"),
    ("--policy", "-P"),
    ("--list", "-L"),
    ("--check", "-C"),
    ("--masquerade", "-M"),
    ("--set", "-S"),
    ("--proto", "-p"),
    ("--protocol", "-p"),
    ("--source", "-s"),
    ("--src", "-s"),
    ("--source-port", "--sport"),
    ("--destination", "-d"),
    ("--dst", "-d"),
    ("--destination-port", "--dport"),
    ("--interface", "-i"),
    ("--jump", "-j"),
    ("--mark", "-m"),
    ("--numeric", "-n"),
    ("--log", "-l"),
    ("--output", "-o"),
    ("--TOS", "-t"),
    ("--verbose", "-v"),
    ("--exact", "-x"),
    ("--fragment", "-f"),
    ("--bidirectional", "-b"),
];

fn refused<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Words(text.into()))
}

struct Words<'a> {
    words: &'a [&'a str],
    names: &'a dyn Names,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn next_if(&mut self, fits: impl Fn(&str) -> bool) -> Option<&'a str> {
        if fits(self.words.first()?) { self.next() } else { None }
    }

    /// A word that an option needs.
    fn value(&mut self, option: &str) -> Result<&'a str, Error> {
        self.next()
            .ok_or_else(|| Error::Words(format!("option `{option}' requires an argument")))
    }

    /// The same, with `!` before it or not.
    fn negatable(&mut self, option: &str) -> Result<(&'a str, bool), Error> {
        let negated = self.next_if(|word| word == "!").is_some();
        Ok((self.value(option)?, negated))
    }

    /// A word that is no option.
    fn further(&mut self) -> Option<&'a str> {
        self.next_if(|word| !word.starts_with('-') && word != "!")
    }
}

/// A rule's words as ipchains-save writes them.
pub(super) fn rule(words: &str, names: &dyn Names) -> Result<Rule, Error> {
    let line = format!("-A input {words}");
    let words: Vec<&str> = line.split_whitespace().collect();
    match Command::parse(&words, names)?.operation {
        Operation::Append { rules, .. } => rules.into_iter().next().ok_or(Error::NoRule),
        _ => Err(Error::NoRule),
    }
}

/// A target's words.
pub(super) fn target(name: &str, port: Option<u16>) -> Target {
    match name {
        "ACCEPT" => Target::Accept,
        "DENY" => Target::Deny,
        "REJECT" => Target::Reject,
        "MASQ" => Target::Masq,
        "REDIRECT" => Target::Redirect(port.unwrap_or(0)),
        "RETURN" => Target::Return,
        name => Target::Chain(name.to_owned()),
    }
}

#[derive(Default)]
struct Given {
    rule: Rule,
    sport: Option<(String, bool)>,
    dport: Option<(String, bool)>,
    icmp_type: Option<(String, bool)>,
    both_ways: bool,
}

impl Command {
    /// Understands the words after the program's name.
    pub fn parse(words: &[&str], names: &dyn Names) -> Result<Command, Error> {
        let mut words = Words { words, names };
        let mut command = Command {
            operation: Operation::List {
                chain: None,
                zero: false,
            },
            numeric: false,
            verbose: false,
            exact: false,
            line_numbers: false,
            print: false,
        };
        let mut action: Option<(char, Option<String>, Option<String>)> = None;
        let mut zero = false;
        let mut given = Given::default();
        let mut invert = false;
        while let Some(word) = words.next() {
            let option = LONG.iter().find(|(long, _)| *long == word).map_or(word, |(_, short)| short);
            if invert && !matches!(option, "-y" | "-f") {
                return refused(format!("unexpected ! before {option}"));
            }
            match option {
                "!" => {
                    invert = true;
                    continue;
                }
                "-Z" if matches!(action, Some(('L', ..))) => zero = true,
                "-A" | "-I" | "-R" | "-D" | "-F" | "-Z" | "-N" | "-X" | "-P" | "-L" | "-C" => {
                    if let Some((letter, ..)) = &action {
                        return refused(format!("Can't use {option} with -{letter}"));
                    }
                    let chain = words.further().map(str::to_owned);
                    let more = match option {
                        "-R" | "-P" => words.further().map(str::to_owned),
                        "-I" | "-D" => words.next_if(|word| word.parse::<usize>().is_ok()).map(str::to_owned),
                        _ => None,
                    };
                    action = option.chars().nth(1).map(|letter| (letter, chain, more));
                }
                "-M" | "-S" => {
                    return refused(
                        "masqueraded connections and their timeouts are the connection table's: list them with conntrack -L",
                    );
                }
                "-p" => {
                    let (name, negated) = words.negatable(option)?;
                    let number = match name {
                        "all" => 0,
                        name => parse_protocol(name, words.names)
                            .ok_or_else(|| Error::Words(format!("unknown protocol `{name}' specified")))?,
                    };
                    given.rule.protocol = (number != 0).then_some((number, negated));
                }
                "-s" => side(&mut words, option, &mut given.rule.source, &mut given.sport)?,
                "-d" => side(&mut words, option, &mut given.rule.destination, &mut given.dport)?,
                "--sport" => given.sport = Some(words.negatable(option).map(owned)?),
                "--dport" => given.dport = Some(words.negatable(option).map(owned)?),
                "--icmp-type" => given.icmp_type = Some(words.negatable(option).map(owned)?),
                "-i" => {
                    let (name, negated) = words.negatable(option)?;
                    given.rule.interface = Some((interface_name(name)?.to_owned(), negated));
                }
                "-j" => {
                    let name = words.value(option)?;
                    let port = match name {
                        "REDIRECT" => words.further(),
                        _ => None,
                    };
                    let port = port
                        .map(|port| self::port(port, words.names, given.rule.protocol))
                        .transpose()?;
                    given.rule.target = Some(target(name, port));
                }
                "-m" => given.rule.mark = Some(mark(words.value(option)?)?),
                "-t" => {
                    let and = byte(words.value(option)?)?;
                    given.rule.tos = Some((and, byte(words.value(option)?)?));
                }
                "-y" => given.rule.syn = Some(!std::mem::take(&mut invert)),
                "-f" => given.rule.fragment = Some(!std::mem::take(&mut invert)),
                "-l" => given.rule.log = true,
                "-b" => given.both_ways = true,
                "-n" => command.numeric = true,
                "-v" => command.verbose = true,
                "-x" => command.exact = true,
                "--line-numbers" => command.line_numbers = true,
                "--print" => command.print = true,
                "-o" => return refused("copies of packets (-o) are taken with iptables' NFLOG or NFQUEUE"),
                other => return refused(format!("unknown option `{other}'")),
            }
        }
        let Some((letter, chain, more)) = action else {
            if command.print {
                return Ok(command);
            }
            return refused("no command specified");
        };
        let both_ways = given.both_ways;
        let rule = given.rule(names)?;
        command.operation = operation(letter, chain, more, rule, both_ways, zero)?;
        Ok(command)
    }
}

fn owned((word, negated): (&str, bool)) -> (String, bool) {
    (word.to_owned(), negated)
}

/// `[!] ADDRESS [[!] PORT[:PORT]]`
fn side(words: &mut Words<'_>, option: &str, side: &mut Side, port: &mut Option<(String, bool)>) -> Result<(), Error> {
    let (address, negated) = words.negatable(option)?;
    side.network =
        Network::parse(address, words.names).ok_or_else(|| Error::Words(format!("host/network `{address}' not found")))?;
    side.negated = negated;
    // `!` belongs to the port when a port follows it, else to the next option.
    let negates_port = words.words.first() == Some(&"!") && words.words.get(1).is_some_and(|word| !word.starts_with('-'));
    if negates_port {
        words.next();
    }
    if let Some(word) = words.further() {
        *port = Some((word.to_owned(), negates_port));
    }
    Ok(())
}

fn byte(word: &str) -> Result<u8, Error> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u8::from_str_radix(digits, 16).map_err(|_| Error::Words(format!("bad TOS value `{word}'")))
}

fn mark(word: &str) -> Result<u32, Error> {
    let mark = crate::text::number(word, 0, u32::MAX.into()).and_then(|mark| u32::try_from(mark).ok());
    mark.ok_or_else(|| Error::Words(format!("bad mark value `{word}'")))
}

fn port(word: &str, names: &dyn Names, protocol: Option<(u8, bool)>) -> Result<u16, Error> {
    let service = |protocol| names.service(word, protocol);
    let named = match protocol {
        Some((number::UDP, _)) => service("udp"),
        _ => service("tcp").or_else(|| service("udp")),
    };
    let port = word.parse().ok().or(named);
    port.ok_or_else(|| Error::Words(format!("invalid port/service `{word}' specified")))
}

fn ports(word: &str, names: &dyn Names, protocol: Option<(u8, bool)>) -> Result<(u16, u16), Error> {
    let (from, to) = match word.split_once(':') {
        None => return port(word, names, protocol).map(|port| (port, port)),
        Some(("", to)) => (0, port(to, names, protocol)?),
        Some((from, "")) => (port(from, names, protocol)?, u16::MAX),
        Some((from, to)) => (port(from, names, protocol)?, port(to, names, protocol)?),
    };
    if from > to {
        return refused(format!("invalid portrange (min > max) `{word}'"));
    }
    Ok((from, to))
}

/// ICMP types by their names in ipchains.
const ICMP: [(&str, u16, Option<u16>); 15] = [
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("parameter-problem", 12, None),
];

fn icmp(word: &str) -> Result<(u16, Option<u16>), Error> {
    if let Some((_, kind, code)) = ICMP.iter().find(|(name, ..)| *name == word) {
        return Ok((*kind, *code));
    }
    // ipchains-save writes a type as a range of one.
    let word = word
        .split_once(':')
        .filter(|(from, to)| from == to)
        .map_or(word, |(from, _)| from);
    let kind = word
        .parse::<u8>()
        .map_err(|_| Error::Words(format!("unknown ICMP type `{word}'")))?;
    Ok((kind.into(), None))
}

impl Given {
    fn rule(self, names: &dyn Names) -> Result<Rule, Error> {
        let Given {
            mut rule,
            sport,
            dport,
            icmp_type,
            ..
        } = self;
        let protocol = rule.protocol.filter(|(_, negated)| !negated).map(|(number, _)| number);
        if rule.syn.is_some() && protocol != Some(number::TCP) {
            return refused("-y only allowed with TCP");
        }
        let has_ports = sport.is_some() || dport.is_some() || icmp_type.is_some();
        if has_ports && rule.fragment == Some(true) {
            return refused("fragments have no ports");
        }
        match protocol {
            Some(number::TCP | number::UDP) if icmp_type.is_none() => {
                for (side, given) in [(&mut rule.source, sport), (&mut rule.destination, dport)] {
                    if let Some((word, negated)) = given {
                        side.ports = Some(ports(&word, names, rule.protocol)?);
                        side.ports_negated = negated;
                    }
                }
            }
            Some(number::ICMP) => {
                if let Some((word, negated)) = icmp_type.or(sport) {
                    let (kind, code) = icmp(&word)?;
                    rule.source.ports = Some((kind, kind));
                    rule.source.ports_negated = negated;
                    rule.destination.ports = code.map(|code| (code, code));
                }
                if let Some((word, negated)) = dport {
                    let (code, _) = icmp(&word)?;
                    if negated || rule.source.ports.is_none() {
                        return refused("an ICMP code needs a type, and can't be negated");
                    }
                    rule.destination.ports = Some((code, code));
                }
            }
            _ if has_ports => return refused("can only specify ports for icmp, tcp or udp"),
            _ => {}
        }
        Ok(rule)
    }
}

fn operation(
    letter: char,
    chain: Option<String>,
    more: Option<String>,
    rule: Rule,
    both_ways: bool,
    zero: bool,
) -> Result<Operation, Error> {
    let named = || {
        chain
            .clone()
            .ok_or_else(|| Error::Words(format!("-{letter} requires a chain")))
    };
    let number = |more: Option<String>| {
        let number = more.map_or(Ok(1), |word| word.parse::<usize>());
        number.map_err(|_| Error::Words("Invalid rule number".to_owned()))
    };
    let both = |rule: Rule| match both_ways {
        true => vec![rule.clone(), rule.reversed()],
        false => vec![rule],
    };
    Ok(match letter {
        'A' => Operation::Append {
            chain: named()?,
            rules: both(rule),
        },
        'I' => Operation::Insert {
            chain: named()?,
            number: number(more)?,
            rules: both(rule),
        },
        'R' if both_ways => return refused("-b can't be replaced: one rule stands for one"),
        'R' => Operation::Replace {
            chain: named()?,
            number: number(Some(more.unwrap_or_default()))?,
            rule: Box::new(rule),
        },
        'D' if more.is_some() => Operation::DeleteNumber {
            chain: named()?,
            number: number(more)?,
        },
        'D' => Operation::Delete {
            chain: named()?,
            rules: both(rule),
        },
        'F' => Operation::Flush { chain },
        'Z' => Operation::Zero { chain },
        'N' => Operation::NewChain {
            chain: new_name(&named()?)?,
        },
        'X' => Operation::DeleteChain { chain },
        'P' => Operation::Policy {
            chain: named()?,
            target: target(&more.ok_or(Error::BadPolicy)?, None),
        },
        'C' => {
            let whole = rule.source.network.mask == u32::MAX && rule.destination.network.mask == u32::MAX;
            if !whole || rule.protocol.is_none() || rule.interface.is_none() {
                return refused("-C needs the source and destination address, the protocol and the interface of one packet");
            }
            Operation::Check {
                chain: named()?,
                probe: Box::new(Probe(rule)),
            }
        }
        _ => Operation::List { chain, zero },
    })
}

/// A new chain's name: at most 8 bytes, and none of the targets' names.
fn new_name(name: &str) -> Result<String, Error> {
    let fits = (1..=8).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match (fits && !name.starts_with('-'), target(name, None)) {
        (true, Target::Chain(_)) => Ok(name.to_owned()),
        _ => refused(format!("bad chain name `{name}': 1 to 8 letters, digits, _ and -")),
    }
}

/// A name that an interface may have, in a form that the rule's comment can hold.
fn interface_name(name: &str) -> Result<&str, Error> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '"' | '\\');
    match (1..=fielato_netfilter::interface::MAX_NAME).contains(&name.len()) && !name.contains(odd) {
        true => Ok(name),
        false => refused(format!(
            "bad interface name `{name}': 1 to 15 bytes without blanks, slashes and quotes"
        )),
    }
}
