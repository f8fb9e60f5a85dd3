//! Which packets to look at, in a part of tcpdump's words (pcap-filter(7)).
//!
//! ```text
//! EXPRESSION   PRIMITIVE | not EXPRESSION | EXPRESSION and EXPRESSION | EXPRESSION or EXPRESSION | ( EXPRESSION )
//! PRIMITIVE    [src|dst] host ADDRESS            [src|dst] net ADDRESS/LENGTH
//!              [tcp|udp|sctp] [src|dst] port NUMBER[-NUMBER]
//!              ip  ip6  tcp  udp  sctp  icmp  icmp6  proto NUMBER
//!              [src|dst] member NAME             [src|dst] service NAME
//! ```
//!
//! As with tcpdump, `not` binds closest, and `and` and `or` bind equally, from left to right; `!`, `&&` and `||` are other words
//! for them, and `host` may be left out after `src` and `dst`. No words at all mean every packet. `member` and `service` are this
//! program's own: whoever knows the names replaces them ([`Words::resolve`]).
//!
//! Only a packet's own headers are asked, not those within ICMP errors or tunnels. A fragment other than the first has no ports.

mod parse;

use crate::{Addr, Family, Headers, number};

pub use parse::{FilterError, Problem};

/// Nothing more often than this is joined or nested in one filter.
const PARTS_MAX: usize = 256;

/// Which address or port of a packet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Side {
    Source,
    Destination,
}

/// A network, or a single address when the prefix is as long as the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Of the addresses.
    pub family: Family,
    /// The network's address: no bits beyond the prefix.
    pub address: Addr,
    /// Length of the prefix.
    pub len: u8,
}

impl Network {
    /// The network that `address` is in; a `len` beyond the address's width is that width.
    pub fn new(address: std::net::IpAddr, len: u8) -> Self {
        let family = match address {
            std::net::IpAddr::V4(_) => Family::V4,
            std::net::IpAddr::V6(_) => Family::V6,
        };
        let len = len.min(family.bits());
        Self {
            family,
            address: Addr::from(address).and(Addr::mask(family, len)),
            len,
        }
    }

    fn holds(&self, family: Family, address: Addr) -> bool {
        self.family == family && address.within(self.address, Addr::mask(family, self.len))
    }
}

/// What is asked of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// IP version.
    Family(Family),
    /// Transport protocol.
    Protocol(u8),
    /// An address.
    Address(Side, Network),
    /// A port between these two, of TCP, UDP, UDP-Lite, SCTP or DCCP.
    Port(Side, u16, u16),
}

impl Test {
    fn matches(&self, headers: &Headers) -> bool {
        match self {
            Self::Family(family) => headers.family == *family,
            Self::Protocol(protocol) => headers.protocol == *protocol,
            Self::Address(Side::Source, network) => network.holds(headers.family, headers.src),
            Self::Address(Side::Destination, network) => network.holds(headers.family, headers.dst),
            Self::Port(side, first, last) => {
                let port = match side {
                    Side::Source => headers.sport,
                    Side::Destination => headers.dport,
                };
                has_ports(headers) && (*first..=*last).contains(&port)
            }
        }
    }
}

fn has_ports(headers: &Headers) -> bool {
    let protocol = matches!(
        headers.protocol,
        number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
    );
    protocol && headers.l4_whole && !headers.is_later_fragment()
}

/// Tests, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<T> {
    /// This one.
    Is(T),
    /// Not so.
    Not(Box<Expression<T>>),
    /// All of them; every packet when there are none.
    All(Vec<Expression<T>>),
    /// Any of them; no packet when there are none.
    Any(Vec<Expression<T>>),
}

/// What a name stands for in a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum NameKind {
    Member,
    Service,
}

/// A test as it is written: names are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// No name in it.
    Test(Test),
    /// A member or a service, on one side of a packet or on either.
    Name(NameKind, Option<Side>, String),
}

/// Where a name leads: addresses, and a protocol with its ports if not all of them are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The addresses.
    pub network: Network,
    /// Protocol, first port and last port.
    pub ports: Option<(u8, u16, u16)>,
}

/// A filter as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Expression<Word>);

/// A name that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter names the {kind} {name:?}, and there is none of that name")]
pub struct UnknownName {
    /// `member` or `service`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
}

impl Words {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] says which word, and what could stand there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }

    /// Replaces the names. `places` tells where a name leads, or `None` when there is no such name; a name that leads nowhere
    /// matches nothing.
    ///
    /// # Errors
    /// [`UnknownName`].
    pub fn resolve(&self, places: &dyn Fn(NameKind, &str) -> Option<Vec<Place>>) -> Result<Filter, UnknownName> {
        resolve(&self.0, places).map(Filter)
    }
}

fn resolve(
    expression: &Expression<Word>,
    places: &dyn Fn(NameKind, &str) -> Option<Vec<Place>>,
) -> Result<Expression<Test>, UnknownName> {
    let all = |parts: &[Expression<Word>]| parts.iter().map(|part| resolve(part, places)).collect::<Result<Vec<_>, _>>();
    Ok(match expression {
        Expression::Is(Word::Test(test)) => Expression::Is(*test),
        Expression::Is(Word::Name(kind, side, name)) => {
            let found = places(*kind, name).ok_or_else(|| UnknownName {
                kind: match kind {
                    NameKind::Member => "member",
                    NameKind::Service => "service",
                },
                name: name.clone(),
            })?;
            let sides = match side {
                Some(side) => vec![*side],
                None => vec![Side::Source, Side::Destination],
            };
            let at = |side: &Side| found.iter().map(|place| on(*side, place)).collect::<Vec<_>>();
            Expression::Any(sides.iter().flat_map(at).collect())
        }
        Expression::Not(inner) => Expression::Not(Box::new(resolve(inner, places)?)),
        Expression::All(parts) => Expression::All(all(parts)?),
        Expression::Any(parts) => Expression::Any(all(parts)?),
    })
}

fn on(side: Side, place: &Place) -> Expression<Test> {
    let mut tests = vec![Expression::Is(Test::Address(side, place.network))];
    if let Some((protocol, first, last)) = place.ports {
        tests.push(Expression::Is(Test::Protocol(protocol)));
        tests.push(Expression::Is(Test::Port(side, first, last)));
    }
    Expression::All(tests)
}

/// A filter without names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Expression<Test>);

impl Filter {
    /// Takes every packet.
    pub const fn all() -> Self {
        Self(Expression::All(Vec::new()))
    }

    /// Whether this packet is wanted.
    pub fn matches(&self, headers: &Headers) -> bool {
        matches(&self.0, headers)
    }

    /// Whether every packet is wanted.
    pub fn is_all(&self) -> bool {
        matches!(&self.0, Expression::All(parts) if parts.is_empty())
    }

    /// The filter as lists of tests, for those who can only ask one thing after the other, as nftables' rules do: a packet that
    /// the filter wants passes all tests of one list. A list may let more through than the filter, never less. (What is dropped
    /// are denials of ports, which would need to know that there is a port.) `None` when there would be more than `max` lists.
    pub fn alternatives(&self, max: usize) -> Option<Vec<Vec<Literal>>> {
        alternatives(&self.0, true, max)
    }
}

/// A test that must hold, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The test.
    pub test: Test,
    /// Whether it must hold.
    pub holds: bool,
}

impl Literal {
    /// Whether this packet passes.
    pub fn matches(&self, headers: &Headers) -> bool {
        self.test.matches(headers) == self.holds
    }
}

fn matches(expression: &Expression<Test>, headers: &Headers) -> bool {
    match expression {
        Expression::Is(test) => test.matches(headers),
        Expression::Not(inner) => !matches(inner, headers),
        Expression::All(parts) => parts.iter().all(|part| matches(part, headers)),
        Expression::Any(parts) => parts.iter().any(|part| matches(part, headers)),
    }
}

fn alternatives(expression: &Expression<Test>, holds: bool, max: usize) -> Option<Vec<Vec<Literal>>> {
    let lists = match (expression, holds) {
        (Expression::Not(inner), _) => alternatives(inner, !holds, max)?,
        (Expression::Is(test), _) => literals(*test, holds),
        (Expression::All(parts), true) | (Expression::Any(parts), false) => {
            let mut lists = vec![Vec::new()];
            for part in parts {
                let more = alternatives(part, holds, max)?;
                if lists.len() * more.len() > max {
                    return None;
                }
                let joined = lists
                    .iter()
                    .flat_map(|list| more.iter().map(|tail| [&list[..], tail].concat()));
                lists = joined.collect();
            }
            lists
        }
        (Expression::Any(parts), true) | (Expression::All(parts), false) => {
            let mut lists = Vec::new();
            for part in parts {
                lists.extend(alternatives(part, holds, max)?);
            }
            lists
        }
    };
    (lists.len() <= max).then_some(lists)
}

fn literals(test: Test, holds: bool) -> Vec<Vec<Literal>> {
    let other = |family| match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    };
    let family = |family| Literal {
        test: Test::Family(family),
        holds: true,
    };
    let literal = Literal { test, holds };
    match (test, holds) {
        (Test::Port(..), false) => vec![Vec::new()],
        (Test::Address(_, network), false) => vec![vec![family(other(network.family))], vec![family(network.family), literal]],
        (Test::Address(_, network), true) => vec![vec![family(network.family), literal]],
        (Test::Family(denied), false) => vec![vec![family(other(denied))]],
        _ => vec![vec![literal]],
    }
}

#[cfg(test)]
mod tests;
