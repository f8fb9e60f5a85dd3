//! Rules that are never reached.

use std::collections::{BTreeSet, HashSet};

use super::chain::{Chain, Effect, Reached};
use super::finding::{About, Finding, Kind, Severity};

/// What is known of a rule, in all chains and families together.
#[derive(Debug, Clone, Default)]
struct Fate {
    /// It is in some chain.
    there: bool,
    /// Some packet meets it, or that took too long to find out.
    perhaps: bool,
    /// The rules that take its packets.
    takers: BTreeSet<usize>,
    /// It says the opposite of one of them.
    opposed: bool,
}

impl Fate {
    fn is_dead(&self) -> bool {
        self.there && !self.perhaps
    }
}

/// The fates of all rules.
pub(super) struct Fates {
    /// Of rule 1 and those behind it.
    rules: Vec<Fate>,
    /// Of each chain the lines' regions, by their places, of which no packet comes past the lines before.
    taken: Vec<HashSet<(usize, usize)>>,
}

impl Fates {
    /// Of rules 1 to `count`.
    pub fn of(chains: &[Chain<'_>], count: usize) -> Fates {
        let mut rules = vec![Fate::default(); count];
        let mut taken = Vec::with_capacity(chains.len());
        for chain in chains {
            let mut of_chain = HashSet::new();
            for (place, line) in chain.lines.iter().enumerate() {
                let Some(fate) = line.number.checked_sub(1).and_then(|index| rules.get_mut(index)) else {
                    continue;
                };
                fate.there = true;
                for (region_place, region) in line.regions.iter().enumerate() {
                    if fate.perhaps {
                        break;
                    }
                    match chain.reached(region, place, false) {
                        Reached::By(_) | Reached::Unknown => fate.perhaps = true,
                        Reached::Never(takers) => {
                            of_chain.insert((place, region_place));
                            let takers = takers.iter().filter_map(|taker| chain.lines.get(*taker));
                            for taker in takers {
                                fate.opposed |= taker.effect != line.effect && line.effect != Effect::Pass;
                                fate.takers.insert(taker.number);
                            }
                        }
                    }
                }
            }
            taken.push(of_chain);
        }
        Fates { rules, taken }
    }

    /// Whether a rule, of those with a number, is never reached.
    pub fn is_dead(&self, number: usize) -> bool {
        let fate = number.checked_sub(1).and_then(|index| self.rules.get(index));
        fate.is_none_or(Fate::is_dead)
    }

    /// Whether it is known that no packet of a region comes past the lines before: of the chain, the line and the region in these
    /// places.
    pub fn is_taken(&self, chain: usize, line: usize, region: usize) -> bool {
        self.taken.get(chain).is_some_and(|taken| taken.contains(&(line, region)))
    }
}

/// Findings about the dead ones.
pub(super) fn findings(fates: &Fates) -> Vec<Finding> {
    let dead = (1..).zip(&fates.rules).filter(|(_, fate)| fate.is_dead());
    let findings = dead.map(|(number, fate)| {
        if fate.takers.is_empty() {
            return Finding {
                kind: Kind::NoPacket,
                severity: Severity::Note,
                about: About::Rule(number),
                message: format!(
                    "rule {number} applies to no packet: nothing that it names goes through the VPN, or nobody is left in it"
                ),
                help: "name who sends or receives by the VPN, or take the rule out".to_owned(),
            };
        }
        let takers = rules(&fate.takers);
        let (severity, same, help) = match fate.opposed {
            true => (
                Severity::Warning,
                "",
                format!("put it before {}, or take it out", rules(&first(&fate.takers))),
            ),
            false => (
                Severity::Note,
                ", and with the same verdict",
                "take it out: it changes nothing".to_owned(),
            ),
        };
        let s = if fate.takers.len() == 1 { "s" } else { "" };
        Finding {
            kind: Kind::NeverReached,
            severity,
            about: About::Rule(number),
            message: format!("rule {number} is never reached: {takers} decide{s} over all its packets first{same}"),
            help,
        }
    });
    findings.collect()
}

fn first(numbers: &BTreeSet<usize>) -> BTreeSet<usize> {
    numbers.iter().take(1).copied().collect()
}

/// `rule 1`, `rules 1, 2 and 3`.
pub(super) fn rules(numbers: &BTreeSet<usize>) -> String {
    const SHOWN: usize = 6;
    let all: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    match all.as_slice() {
        [one] => format!("rule {one}"),
        [some @ .., last] if all.len() <= SHOWN => format!("rules {} and {last}", some.join(", ")),
        _ => {
            let some = all.get(..SHOWN).unwrap_or_default().join(", ");
            format!("rules {some} and {} more", all.len().saturating_sub(SHOWN))
        }
    }
}

/// In a sentence.
pub(super) const fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Accept => "accepts",
        Effect::Limit => "limits",
        Effect::Stop => "stops",
        Effect::Pass => "logs",
    }
}
