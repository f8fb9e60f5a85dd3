//! Which rules of a chain can match a packet, found without comparing it with each.
//!
//! A chain of a hundred thousand rules compares most packets with a handful. What a rule asks of the header fields is a box: a
//! range in each field ([`Bounds`]). The [`Classifier`] finds the first rule whose box holds the packet's fields ([`Key`]), then
//! the next, exactly as if each had been compared in order; what else a rule asks (states, limits, sets) the caller checks.
//!
//! How: rules stand in a few search trees (`forest`), each cutting by the fields that tell its rules apart (`choose`, `grow`). A cut
//! takes one 32-bit lane of the fields without its low bits and looks in a hash table (`slot`), so that prefixes, exact ports and
//! interfaces are all found in one step, as in tuple space search, and what is behind a slot is cut further where it is still
//! much, as in decision trees. A path ends with a few rows (`row`) or, where no cut helps, many in a hierarchy of boxes (`pile`).
//!
//! Bounded: a rule is copied only as long as all copies together stay below twice the number of rules (ten times in a small
//! chain), a path has at most eight cuts, there are at most ten trees, and so much effort goes into choosing cuts for each rule.
//! A rule set made to defeat all cuts is scanned in order, box by box.

mod choose;
mod forest;
mod grow;
mod matches;
mod pile;
mod row;
mod slot;

use fielato_wire::{Addr, Family};

pub use matches::Matches;

use forest::Forest;
use row::{Row, V4_LANES, V6_LANES};

/// What of a rule the classifier looks at: a range, with both ends, in each header field. A rule holds a packet back only by the
/// fields it restricts; the others are full ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Source addresses: first and last.
    pub src: (Addr, Addr),
    /// Destination addresses: first and last.
    pub dst: (Addr, Addr),
    /// The protocol's number; `None`: any.
    pub protocol: Option<u8>,
    /// Source ports: first and last.
    pub sport: (u16, u16),
    /// Destination ports: first and last.
    pub dport: (u16, u16),
    /// The number the caller gave the name of the interface a packet comes in by; `None`: any.
    pub in_interface: Option<u32>,
    /// The same of the interface it goes out by.
    pub out_interface: Option<u32>,
}

impl Bounds {
    /// Holds every packet of either family.
    pub const ANY: Bounds = Bounds {
        src: (Addr::ZERO, Addr::from_bits(u128::MAX)),
        dst: (Addr::ZERO, Addr::from_bits(u128::MAX)),
        protocol: None,
        sport: (0, u16::MAX),
        dport: (0, u16::MAX),
        in_interface: None,
        out_interface: None,
    };

    /// Whether the fields are all within.
    pub fn holds(&self, key: &Key) -> bool {
        let Self {
            src,
            dst,
            protocol,
            sport,
            dport,
            in_interface,
            out_interface,
        } = self;
        src.0 <= key.src
            && key.src <= src.1
            && dst.0 <= key.dst
            && key.dst <= dst.1
            && protocol.is_none_or(|protocol| protocol == key.protocol)
            && (sport.0..=sport.1).contains(&key.sport)
            && (dport.0..=dport.1).contains(&key.dport)
            && in_interface.is_none_or(|number| number == key.in_interface)
            && out_interface.is_none_or(|number| number == key.out_interface)
    }
}

/// A packet's header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The source address.
    pub src: Addr,
    /// The destination address.
    pub dst: Addr,
    /// The protocol's number.
    pub protocol: u8,
    /// The source port; 0 where there is none, as in a later fragment.
    pub sport: u16,
    /// The destination port; 0 where there is none.
    pub dport: u16,
    /// The number of the interface the packet came in by. A number that no rule names for an interface that no rule names.
    pub in_interface: u32,
    /// The number of the interface it goes out by.
    pub out_interface: u32,
}

/// The rules of a chain, made ready for [`Classifier::next`].
#[derive(Debug)]
pub struct Classifier {
    trees: Trees,
    /// Rules whose rows hold more than their bounds do, in order: IPv6 ranges that are no prefixes.
    wider: Vec<(u32, Bounds)>,
}

#[derive(Debug)]
enum Trees {
    V4(Forest<V4_LANES>),
    V6(Forest<V6_LANES>),
}

impl Classifier {
    /// Of a chain's rules, in order. A rule's index is its place in the slice.
    pub fn build(family: Family, rules: &[Bounds]) -> Self {
        let mut wider = Vec::new();
        let trees = match family {
            Family::V4 => Trees::V4(grow::grow(&rows(family, rules, &mut wider))),
            Family::V6 => Trees::V6(grow::grow(&rows(family, rules, &mut wider))),
        };
        wider.shrink_to_fit();
        Self { trees, wider }
    }

    /// The smallest rule index at or above `from` whose bounds hold the key.
    #[inline]
    pub fn next(&self, key: &Key, from: u32) -> Option<u32> {
        let mut from = from;
        loop {
            let index = match &self.trees {
                Trees::V4(forest) => forest.first(&row::v4(key, from))?,
                Trees::V6(forest) => forest.first(&row::v6(key, from))?,
            };
            if self.holds(key, index) {
                return Some(index);
            }
            from = index.checked_add(1)?;
        }
    }

    /// All rule indexes at or above `from` whose bounds hold the key, in order: the same as asking [`Classifier::next`] again and
    /// again, but from the second on for a fraction of the time, as the trees' paths are walked once.
    #[inline]
    pub fn matches(&self, key: &Key, from: u32) -> Matches<'_> {
        Matches::new(self, key, from)
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        let trees = match &self.trees {
            Trees::V4(forest) => forest.memory(),
            Trees::V6(forest) => forest.memory(),
        };
        size_of::<Self>() + trees + self.wider.capacity() * size_of::<(u32, Bounds)>()
    }

    /// Whether the bounds themselves hold the key, where the rule's row does.
    #[inline]
    fn holds(&self, key: &Key, index: u32) -> bool {
        if self.wider.is_empty() {
            return true;
        }
        match self.wider.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(place) => self.wider.get(place).is_some_and(|(_, bounds)| bounds.holds(key)),
            Err(_) => true,
        }
    }
}

/// The rows of all rules that hold anything; rules whose rows hold too much are noted.
fn rows<const N: usize>(family: Family, rules: &[Bounds], wider: &mut Vec<(u32, Bounds)>) -> Vec<Row<N>> {
    let mut rows = Vec::with_capacity(rules.len());
    // The greatest number means "none" in a search.
    for (index, bounds) in (0..u32::MAX).zip(rules) {
        if let Some((row, exact)) = Row::new(family, bounds, index) {
            rows.push(row);
            if !exact {
                wider.push((index, *bounds));
            }
        }
    }
    rows
}
