//! From words to an expression.

use std::fmt;
use std::net::IpAddr;

use super::{Expression, NameKind, Network, PARTS_MAX, Side, Test, Word};
use crate::{Family, number};

/// Longest filter, in bytes.
const TEXT_MAX: usize = 4096;
/// Deepest nesting of brackets and `not`s.
const DEPTH_MAX: usize = 32;

/// Why words are no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Which character of the text, counted from 1.
    pub at: usize,
    /// The word that stands there; empty at the end.
    pub found: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a word of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Something else must stand here.
    Expected(&'static str),
    /// A single address must be given as `host`.
    NotAnAddress,
    /// A network's address has bits beyond its prefix.
    HostBits,
    /// The filter is too long or nested too deeply.
    TooLarge,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, found, problem } = self;
        match found.as_str() {
            "" => write!(f, "the filter, at its end (character {at}): ")?,
            found => write!(f, "the filter, at character {at}, `{found}`: ")?,
        }
        match problem {
            Problem::Expected(what) => write!(f, "expected {what}"),
            Problem::NotAnAddress => f.write_str("expected a single address; for a network write `net ADDRESS/LENGTH`"),
            Problem::HostBits => f.write_str("the address has bits beyond the prefix; for a single address write `host ADDRESS`"),
            Problem::TooLarge => write!(
                f,
                "too much: a filter has up to {PARTS_MAX} parts, {DEPTH_MAX} brackets within each other and {TEXT_MAX} bytes"
            ),
        }
    }
}

impl std::error::Error for FilterError {}

/// What a primitive can begin with.
const PRIMITIVE: &str = "host, net, port, src, dst, ip, ip6, tcp, udp, sctp, icmp, icmp6, proto, member, service, not or `(`";

pub(super) fn parse(text: &str) -> Result<Expression<Word>, FilterError> {
    let mut parser = Parser {
        words: words(text),
        at: 0,
        end: text.chars().count() + 1,
        parts: 0,
    };
    if text.len() > TEXT_MAX {
        return Err(parser.error(Problem::TooLarge));
    }
    if parser.words.is_empty() {
        return Ok(Expression::All(Vec::new()));
    }
    let expression = parser.expression(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => Err(parser.error(Problem::Expected("`and`, `or` or the end"))),
    }
}

/// The words of a text, each with the number of its first character, from 1. Brackets and `!` stand for themselves, and `&&` and
/// `||` end a word too.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words: Vec<(usize, &str)> = Vec::new();
    // The class of the character before: only characters of the same class go on with its word.
    let mut before = Class::Space;
    let mut start = 0;
    for (count, (byte, character)) in text.char_indices().enumerate() {
        let class = match character {
            '(' | ')' | '!' => Class::Alone,
            '&' | '|' => Class::Operator,
            other if other.is_whitespace() => Class::Space,
            _ => Class::Letter,
        };
        if class != before || class == Class::Alone {
            start = byte;
            if class != Class::Space {
                words.push((count + 1, ""));
            }
        }
        if class != Class::Space
            && let Some((_, word)) = words.last_mut()
        {
            *word = &text[start..byte + character.len_utf8()];
        }
        before = class;
    }
    words
}

#[derive(PartialEq, Eq)]
enum Class {
    Space,
    Alone,
    Operator,
    Letter,
}

struct Parser<'a> {
    words: Vec<(usize, &'a str)>,
    at: usize,
    /// The number of the character behind the last.
    end: usize,
    parts: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(|(_, word)| *word)
    }

    fn takes(&mut self, wanted: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| wanted.contains(&word));
        self.at += usize::from(found);
        found
    }

    /// About the word that comes next.
    fn error(&self, problem: Problem) -> FilterError {
        let (at, found) = self.words.get(self.at).copied().unwrap_or((self.end, ""));
        FilterError {
            at,
            found: found.chars().take(60).collect(),
            problem,
        }
    }

    /// `and` and `or` bind equally: what stands to the left is one operand, however it was joined.
    fn expression(&mut self, depth: usize) -> Result<Expression<Word>, FilterError> {
        let mut left = self.operand(depth)?;
        loop {
            let all = match self.peek() {
                Some("and" | "&&") => true,
                Some("or" | "||") => false,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.operand(depth)?;
            left = match (left, all) {
                (Expression::All(mut parts), true) if !parts.is_empty() => {
                    parts.push(right);
                    Expression::All(parts)
                }
                (Expression::Any(mut parts), false) if !parts.is_empty() => {
                    parts.push(right);
                    Expression::Any(parts)
                }
                (left, true) => Expression::All(vec![left, right]),
                (left, false) => Expression::Any(vec![left, right]),
            };
        }
    }

    fn operand(&mut self, depth: usize) -> Result<Expression<Word>, FilterError> {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return Err(self.error(Problem::TooLarge));
        }
        if self.takes(&["not", "!"]) {
            return Ok(Expression::Not(Box::new(self.operand(depth + 1)?)));
        }
        if self.takes(&["("]) {
            let inner = self.expression(depth + 1)?;
            return match self.takes(&[")"]) {
                true => Ok(inner),
                false => Err(self.error(Problem::Expected("`and`, `or` or `)`"))),
            };
        }
        self.primitive()
    }

    fn primitive(&mut self) -> Result<Expression<Word>, FilterError> {
        let protocol = match self.peek() {
            Some("tcp") => Some(number::TCP),
            Some("udp") => Some(number::UDP),
            Some("sctp") => Some(number::SCTP),
            _ => None,
        };
        if let Some(protocol) = protocol {
            self.at += 1;
            let is = Expression::Is(Word::Test(Test::Protocol(protocol)));
            return match self.peek() {
                Some("src" | "dst" | "port" | "portrange") => {
                    let side = self.side();
                    match self.takes(&["port", "portrange"]) {
                        true => Ok(Expression::All(vec![is, self.port(side)?])),
                        false => Err(self.error(Problem::Expected("port, after a protocol and `src` or `dst`"))),
                    }
                }
                _ => Ok(is),
            };
        }
        let test = match self.peek() {
            Some("ip") => Some(Test::Family(Family::V4)),
            Some("ip6") => Some(Test::Family(Family::V6)),
            Some("icmp") => Some(Test::Protocol(number::ICMP)),
            Some("icmp6") => Some(Test::Protocol(number::ICMPV6)),
            _ => None,
        };
        if let Some(test) = test {
            self.at += 1;
            return Ok(Expression::Is(Word::Test(test)));
        }
        if self.takes(&["proto"]) {
            let protocol = self.peek().and_then(|word| word.parse().ok());
            let protocol = protocol.ok_or_else(|| self.error(Problem::Expected("a protocol's number, 0 to 255")))?;
            self.at += 1;
            return Ok(Expression::Is(Word::Test(Test::Protocol(protocol))));
        }
        let side = self.side();
        match self.peek() {
            Some("host") => {
                self.at += 1;
                self.host(side)
            }
            Some("net") => {
                self.at += 1;
                self.net(side)
            }
            Some("port" | "portrange") => {
                self.at += 1;
                self.port(side)
            }
            Some("member") => self.name(NameKind::Member, side),
            Some("service") => self.name(NameKind::Service, side),
            Some(word) if side.is_some() && word.parse::<IpAddr>().is_ok() => self.host(side),
            _ if side.is_some() => Err(self.error(Problem::Expected("host, net, port, member, service or an address"))),
            _ => Err(self.error(Problem::Expected(PRIMITIVE))),
        }
    }

    fn side(&mut self) -> Option<Side> {
        if self.takes(&["src"]) {
            Some(Side::Source)
        } else if self.takes(&["dst"]) {
            Some(Side::Destination)
        } else {
            None
        }
    }

    fn host(&mut self, side: Option<Side>) -> Result<Expression<Word>, FilterError> {
        let word = self.peek().unwrap_or_default();
        let address: IpAddr = word.parse().map_err(|_| {
            self.error(match word.contains('/') {
                true => Problem::NotAnAddress,
                false => Problem::Expected("an address, as 192.0.2.1 or 2001:db8::1"),
            })
        })?;
        self.at += 1;
        let network = Network::new(address, u8::MAX);
        Ok(either(side, |side| Test::Address(side, network)))
    }

    fn net(&mut self, side: Option<Side>) -> Result<Expression<Word>, FilterError> {
        let word = self.peek().unwrap_or_default();
        let parsed = || {
            let (address, len) = word.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let len: u8 = len.parse().ok()?;
            (len <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, len))
        };
        let (address, len) =
            parsed().ok_or_else(|| self.error(Problem::Expected("a network, as 192.0.2.0/24 or 2001:db8::/32")))?;
        let network = Network::new(address, len);
        if network.address != address.into() {
            return Err(self.error(Problem::HostBits));
        }
        self.at += 1;
        Ok(either(side, |side| Test::Address(side, network)))
    }

    fn port(&mut self, side: Option<Side>) -> Result<Expression<Word>, FilterError> {
        let word = self.peek().unwrap_or_default();
        let parsed = || {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
            (first <= last).then_some((first, last))
        };
        let (first, last) =
            parsed().ok_or_else(|| self.error(Problem::Expected("a port's number, or two as in 5000-5010, the lower first")))?;
        self.at += 1;
        Ok(either(side, |side| Test::Port(side, first, last)))
    }

    fn name(&mut self, kind: NameKind, side: Option<Side>) -> Result<Expression<Word>, FilterError> {
        self.at += 1;
        let is_name = |word: &&str| !matches!(*word, "(" | ")" | "!" | "&&" | "||" | "and" | "or" | "not");
        let Some(name) = self.peek().filter(is_name) else {
            return Err(self.error(Problem::Expected("a name from the configuration")));
        };
        self.at += 1;
        Ok(Expression::Is(Word::Name(kind, side, name.to_owned())))
    }
}

fn either(side: Option<Side>, test: impl Fn(Side) -> Test) -> Expression<Word> {
    let is = |side| Expression::Is(Word::Test(test(side)));
    match side {
        Some(side) => is(side),
        None => Expression::Any(vec![is(Side::Source), is(Side::Destination)]),
    }
}
