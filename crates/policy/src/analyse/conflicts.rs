//! Rules that say the opposite of the same packets, where neither is an exception from the other.
//!
//! The first one decides, so this is information: whoever meant the second one has to put it first. A rule whose packets are all
//! among a later one's is an exception from it, which is how exceptions are written, and is not told. Where all packets of the later
//! one (or of one of its destinations) are among the earlier one's, the later one has no effect there, and that is told.

use std::collections::BTreeSet;

use super::chain::{Chain, Effect, Reached};
use super::finding::{About, Finding, Kind, Severity};
use super::names::Names;
use super::ranges::{Range, Ranges};
use super::region::Region;
use super::shadows::{Fates, word};

/// Pairs of rules that are compared.
const PAIRS: usize = 3_000_000;
/// Pairs that are told.
const TOLD: usize = 100;

/// What was found, and why there may be more.
pub(super) struct Conflicts {
    pub findings: Vec<Finding>,
    pub unfinished: Option<String>,
}

/// One region of a rule.
#[derive(Clone, Copy)]
struct Item<'a> {
    line: usize,
    effect: Effect,
    region: &'a Region,
    /// As in [`Line`](super::chain::Line).
    sources: &'a Ranges,
}

/// An item with its range along the side that is looked at.
type Along<'a> = (Range, Item<'a>);

pub(super) fn conflicts(chains: &[Chain<'_>], fates: &Fates, names: &Names<'_>) -> Conflicts {
    let mut found = Conflicts {
        findings: Vec::new(),
        unfinished: None,
    };
    let mut known: BTreeSet<(usize, usize)> = BTreeSet::new();
    for chain in chains {
        let lines = chain.lines.iter().enumerate();
        let decides = |effect| matches!(effect, Effect::Accept | Effect::Stop);
        let lines = lines.filter(|(_, line)| !line.conditional && decides(line.effect) && !fates.is_dead(line.number));
        let items: Vec<Item<'_>> = lines
            .flat_map(|(place, line)| {
                line.regions.iter().zip(&line.sources).map(move |(region, sources)| Item {
                    line: place,
                    effect: line.effect,
                    region,
                    sources,
                })
            })
            .collect();
        let compared = pairs(&items, |earlier, later| {
            let is_full = found.findings.len() >= TOLD;
            if is_full && found.unfinished.is_some() {
                return;
            }
            let (Some(first), Some(second)) = (chain.lines.get(earlier.line), chain.lines.get(later.line)) else {
                return;
            };
            let numbers = (first.number, second.number);
            if known.contains(&numbers) || earlier.region.is_within(later.region) {
                return;
            }
            if is_full {
                found.unfinished = Some(format!("{TOLD} contradictions are named, and there may be more"));
                return;
            }
            // A packet of both that no rule before decides over.
            let Reached::By(point) = chain.reached(&earlier.region.and(later.region), earlier.line, false) else {
                return;
            };
            known.insert(numbers);
            let packet = names.packet(point, chain.family);
            let (one, other) = (word(first.effect), word(second.effect));
            let message = match later.region.is_within(earlier.region) {
                true => format!(
                    "a part of rule {} has no effect: rule {} {one} its packets first, such as {packet}, and it {other} them",
                    numbers.1, numbers.0
                ),
                false => format!(
                    "rule {} {one} and rule {} {other} the same packets, such as {packet}: rule {} decides, since it comes first",
                    numbers.0, numbers.1, numbers.0
                ),
            };
            found.findings.push(Finding {
                kind: Kind::Contradiction,
                severity: Severity::Note,
                about: About::Rule(numbers.1),
                message,
                help: format!("if rule {} is an exception, put it before rule {}", numbers.1, numbers.0),
            });
        });
        if !compared {
            let why = "too many rules share addresses: not every pair was compared for contradictions";
            found.unfinished.get_or_insert_with(|| why.to_owned());
        }
    }
    found
}

/// Gives each pair of opposite items that have packets in common to `told`, the earlier rule's first; false when there were too many
/// to look at. They are looked for along the side on which fewer items share an address.
fn pairs<'a>(items: &[Item<'a>], mut told: impl FnMut(Item<'a>, Item<'a>)) -> bool {
    let by_source = sorted(items, |region| region.src.around());
    let by_destination = sorted(items, |region| region.dst.around());
    let sorted = match crossings(&by_source) < crossings(&by_destination) {
        true => by_source,
        false => by_destination,
    };
    let (mut accepting, mut stopping): (Vec<Along<'a>>, Vec<Along<'a>>) = (Vec::new(), Vec::new());
    let mut left = PAIRS;
    for (range, item) in sorted {
        let (same, opposite) = match item.effect {
            Effect::Accept => (&mut accepting, &mut stopping),
            _ => (&mut stopping, &mut accepting),
        };
        let mut place = 0;
        while let Some(&(other_range, other)) = opposite.get(place) {
            if other_range.1 < range.0 {
                opposite.swap_remove(place);
                continue;
            }
            place += 1;
            let Some(rest) = left.checked_sub(1) else { return false };
            left = rest;
            if item.sources.touches(other.sources) && item.region.touches(other.region) {
                match item.line < other.line {
                    true => told(item, other),
                    false => told(other, item),
                }
            }
        }
        same.push((range, item));
    }
    true
}

fn sorted<'a>(items: &[Item<'a>], side: impl Fn(&Region) -> Option<Range>) -> Vec<Along<'a>> {
    let mut sorted: Vec<Along<'a>> = items.iter().filter_map(|item| Some((side(item.region)?, *item))).collect();
    sorted.sort_by_key(|(range, item)| (*range, item.line));
    sorted
}

/// How many pairs share an address, whatever they do.
fn crossings(sorted: &[Along<'_>]) -> u64 {
    let mut ends: Vec<u128> = sorted.iter().map(|(range, _)| range.1).collect();
    ends.sort_unstable();
    let mut count = 0;
    for (before, (range, _)) in (0u64..).zip(sorted) {
        let ended = ends.partition_point(|end| *end < range.0) as u64;
        count += before.saturating_sub(ended);
    }
    count
}
