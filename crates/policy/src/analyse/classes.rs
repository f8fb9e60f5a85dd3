//! Numbers for addresses that no rule tells apart, so that a group of machines here and there is one range of numbers.
//!
//! The classifier looks for boxes. A group's addresses are no box: twenty machines among others are twenty ranges, and the box around
//! them holds all the others. So the addresses are cut where any rule's set begins or ends; pieces that are in the same sets are one
//! class, and classes get numbers such that each single range of addresses is one range of numbers, and each group few.

use std::collections::{BTreeSet, HashMap};

use fielato_wire::Family;
use ipnet::IpNet;

use super::chain::{nets, range};
use super::ranges::{Range, Ranges};
use crate::plan::{Addresses, Firewall};

/// One side of a chain's rules, their sources or their destinations, as the classifier is asked about it.
pub(super) enum Side<'a> {
    /// By address: no rule names a set of several ranges.
    Plain,
    /// By class.
    Classes { classes: Classes, sets: Sets<'a> },
}

/// Sets of any ranges that rules name: their classes.
#[derive(Default)]
pub(super) struct Sets<'a> {
    named: HashMap<&'a str, Ranges>,
    /// Few: mostly everyone is the same.
    except: Vec<(&'a [IpNet], Ranges)>,
}

impl<'a> Side<'a> {
    /// Of all parts of the rules on one side.
    pub fn of(firewall: &'a Firewall, parts: impl Iterator<Item = &'a Addresses>, family: Family) -> Side<'a> {
        let mut single: Vec<Range> = Vec::new();
        let mut named: HashMap<&str, Ranges> = HashMap::new();
        let mut except: Vec<(&[IpNet], Ranges)> = Vec::new();
        for part in parts {
            match part {
                Addresses::Any => {}
                Addresses::Nets(some) => single.extend(some.iter().filter(|net| is_of(net, family)).map(range)),
                Addresses::Set(name) => {
                    let set = || nets(firewall.sets.get(name).map_or(&[][..], Vec::as_slice), family);
                    named.entry(name).or_insert_with(set);
                }
                Addresses::Except(some) => {
                    if !except.iter().any(|(known, _)| known == some) {
                        except.push((some, everything_but(some, family)));
                    }
                }
            }
        }
        let several = |ranges: &Ranges| ranges.as_slice().len() > 1;
        if !named.values().chain(except.iter().map(|(_, set)| set)).any(several) {
            return Side::Plain;
        }
        single.sort_unstable();
        single.dedup();
        let mut sets: Vec<&Ranges> = named.values().chain(except.iter().map(|(_, set)| set)).collect();
        // The larger ones first: those within them then stay together, too.
        sets.sort_unstable_by_key(|set| (usize::MAX - set.as_slice().len(), set.around()));
        let classes = Classes::of(&single, &sets);
        let of = |set: Ranges| classes.of_set(&set);
        let sets = Sets {
            named: named.into_iter().map(|(name, set)| (name, of(set))).collect(),
            except: except.into_iter().map(|(some, set)| (some, of(set))).collect(),
        };
        Side::Classes { classes, sets }
    }

    /// What the classifier is asked for an address.
    pub fn number(&self, address: u128) -> u128 {
        match self {
            Side::Plain => address,
            Side::Classes { classes, .. } => classes.of_address(address).into(),
        }
    }

    /// The same of all parts of a rule, which together hold the addresses `all`.
    pub fn numbers(&self, all: &Ranges, parts: impl ExactSizeIterator<Item = &'a Addresses>, family: Family) -> Ranges {
        let Side::Classes { classes, sets } = self else {
            return all.clone();
        };
        let alone = parts.len() == 1;
        let mut ranges: Vec<Range> = Vec::new();
        for part in parts {
            match part {
                Addresses::Any => return Ranges::One((0, u128::MAX)),
                Addresses::Nets(some) => {
                    let own = some.iter().filter(|net| is_of(net, family));
                    ranges.extend(own.map(|net| classes.of_range(range(net))));
                }
                Addresses::Set(name) => match sets.named.get(name.as_str()) {
                    Some(set) if alone => return set.clone(),
                    set => ranges.extend(set.map_or(&[][..], Ranges::as_slice)),
                },
                Addresses::Except(some) => match sets.except.iter().find(|(known, _)| known == some).map(|(_, set)| set) {
                    Some(set) if alone => return set.clone(),
                    set => ranges.extend(set.map_or(&[][..], Ranges::as_slice)),
                },
            }
        }
        Ranges::new(ranges)
    }
}

fn is_of(net: &IpNet, family: Family) -> bool {
    net.addr().is_ipv4() == (family == Family::V4)
}

/// Every address but these.
pub(super) fn everything_but(some: &[IpNet], family: Family) -> Ranges {
    super::chain::everything(family).without(&nets(some, family))
}

/// Pieces of the addresses and their classes.
pub(super) struct Classes {
    /// Where pieces begin, in order.
    begins: Vec<u128>,
    /// The class of each piece.
    of_piece: Vec<u32>,
    /// Where the single ranges begin and end, and the first class from there on.
    blocks: Vec<(u128, u32)>,
    count: u32,
}

/// So many of the sets that hold a class decide over its place.
const DECIDING: usize = 4;

/// What gives a class its number: the block that it begins in, the sets that hold it, its place.
type Place = (usize, [u32; DECIDING], usize);

/// Something begins or ends.
struct Event {
    at: u128,
    /// Told apart from all others.
    mark: u128,
    /// The set's place, when it is one of a set's ranges.
    set: Option<u32>,
}

impl Classes {
    /// Of single ranges, each once, and of sets, in the order in which they decide over classes' places.
    fn of(single: &[Range], sets: &[&Ranges]) -> Classes {
        let mut events: Vec<Event> = Vec::new();
        let mut add = |(first, last): Range, mark: u128, set: Option<u32>| {
            events.push(Event { at: first, mark, set });
            // What ends with the numbers ends nowhere.
            events.extend(last.checked_add(1).map(|at| Event { at, mark, set }));
        };
        let mut borders: BTreeSet<u128> = BTreeSet::from([0]);
        for (number, range) in (0u64..).zip(single) {
            add(*range, mark(number << 1), None);
            if range.0 != range.1 {
                borders.insert(range.0);
                borders.extend(range.1.checked_add(1));
            }
        }
        for (place, set) in (0u32..).zip(sets) {
            let ranges = set.as_slice().iter();
            ranges.for_each(|range| add(*range, mark(u64::from(place) << 1 | 1), Some(place)));
        }
        events.sort_unstable_by_key(|event| event.at);
        let mut begins: Vec<u128> = Vec::new();
        let mut of_piece: Vec<u32> = Vec::new();
        let mut known: HashMap<u128, u32> = HashMap::new();
        let mut places: Vec<Place> = Vec::new();
        let mut borders = borders.into_iter().peekable();
        let mut blocks: Vec<u128> = Vec::new();
        let (mut signature, mut holding) = (0u128, BTreeSet::new());
        let mut events = events.into_iter().peekable();
        let mut begin = 0u128;
        loop {
            while let Some(event) = events.next_if(|event| event.at == begin) {
                signature ^= event.mark;
                if let Some(set) = event.set
                    && !holding.insert(set)
                {
                    holding.remove(&set);
                }
            }
            while let Some(border) = borders.next_if(|border| *border <= begin) {
                blocks.push(border);
            }
            let class = *known.entry(signature).or_insert_with(|| {
                let mut deciding = [u32::MAX; DECIDING];
                deciding.iter_mut().zip(&holding).for_each(|(place, set)| *place = *set);
                places.push((blocks.len(), deciding, places.len()));
                places.len() as u32 - 1
            });
            begins.push(begin);
            of_piece.push(class);
            match events.peek() {
                Some(event) => begin = event.at,
                None => break,
            }
        }
        // In order of their places; `numbers` leads from the class as it was found to its number.
        places.sort_unstable();
        let mut numbers = vec![0; places.len()];
        for (number, (_, _, found)) in (0u32..).zip(&places) {
            if let Some(class) = numbers.get_mut(*found) {
                *class = number;
            }
        }
        for class in &mut of_piece {
            *class = numbers.get(*class as usize).copied().unwrap_or_default();
        }
        let first = |(block, border): (usize, u128)| (border, places.partition_point(|place| place.0 < block) as u32);
        Classes {
            begins,
            of_piece,
            blocks: (1..).zip(blocks).map(first).collect(),
            count: places.len() as u32,
        }
    }

    fn of_address(&self, address: u128) -> u32 {
        let behind = self.begins.partition_point(|begin| *begin <= address);
        self.of_piece.get(behind.wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Of one of the single ranges. Each class that has a piece in it lies in it, and is numbered in the block of its first piece:
    /// so they are those of the range's own blocks.
    fn of_range(&self, (first, last): Range) -> Range {
        if first == last {
            let class = self.of_address(first).into();
            return (class, class);
        }
        let first_of = |block: usize| self.blocks.get(block).map_or(self.count, |(_, class)| *class);
        let begin = first_of(self.blocks.partition_point(|(border, _)| *border < first));
        let end = first_of(self.blocks.partition_point(|(border, _)| *border <= last));
        (begin.into(), end.saturating_sub(1).into())
    }

    /// Of one of the sets.
    fn of_set(&self, set: &Ranges) -> Ranges {
        let mut classes: Vec<u32> = Vec::new();
        for (first, last) in set.as_slice() {
            let begin = self.begins.partition_point(|begin| begin < first);
            let end = self.begins.partition_point(|begin| begin <= last);
            classes.extend(self.of_piece.get(begin..end).unwrap_or_default());
        }
        classes.sort_unstable();
        classes.dedup();
        Ranges::new(classes.into_iter().map(|class| (class.into(), class.into())).collect())
    }
}

/// Numbers spread over 128 bits, so that no two different unions of sets have the same sum (but with a probability of one in two to
/// the hundred). The mixing is splitmix64's (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mark(number: u64) -> u128 {
    let mix = |number: u64| {
        let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let low = mix(number.wrapping_mul(2).wrapping_add(1));
    u128::from(low) << 64 | u128::from(mix(number.wrapping_mul(2).wrapping_add(2) ^ 1 << 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u128 = 40;

    fn random(rng: &mut fastrand::Rng, most: usize) -> Ranges {
        let ranges = (0..rng.usize(1..=most)).map(|_| {
            let first = rng.u128(..MOST);
            (first, (first + rng.u128(..4)).min(MOST - 1))
        });
        Ranges::new(ranges.collect())
    }

    #[test]
    fn numbers_hold_what_addresses_hold() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            let mut single: Vec<Range> = (0..rng.usize(..8)).filter_map(|_| random(&mut rng, 1).around()).collect();
            single.sort_unstable();
            single.dedup();
            let sets: Vec<Ranges> = (0..rng.usize(..6)).map(|_| random(&mut rng, 8)).collect();
            let classes = Classes::of(&single, &sets.iter().collect::<Vec<_>>());
            for address in 0..MOST {
                let class = u128::from(classes.of_address(address));
                assert!(class < u128::from(classes.count));
                for range in &single {
                    let held = Ranges::One(classes.of_range(*range)).contains(class);
                    assert_eq!(
                        held,
                        range.0 <= address && address <= range.1,
                        "{single:?} {sets:?}: {address} in {range:?}"
                    );
                }
                for set in &sets {
                    let held = classes.of_set(set).contains(class);
                    assert_eq!(held, set.contains(address), "{single:?} {sets:?}: {address} in {set:?}");
                }
            }
        }
    }

    /// A hundred groups that take turns, with a network around them and one within.
    #[test]
    fn groups_apart_are_few_ranges() {
        let groups: Vec<Ranges> = (0..100)
            .map(|group| Ranges::new((0..10).map(|member| (group + member * 100, group + member * 100)).collect()))
            .collect();
        let single = [(0, u128::MAX), (5, 5), (17, 17), (400, 700)];
        let classes = Classes::of(&single, &groups.iter().collect::<Vec<_>>());
        let ranges: usize = groups.iter().map(|group| classes.of_set(group).as_slice().len()).sum();
        // Each is cut in two by the network, and by nothing else.
        assert_eq!(ranges, 200);
    }
}
