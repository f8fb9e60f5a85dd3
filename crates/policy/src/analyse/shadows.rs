//! Rules that are never reached.

use std::collections::BTreeSet;

use super::chain::{Chain, Effect, Reached};
use super::finding::{About, Finding, Kind, Severity};

/// What is known of a rule, in all chains and families together.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate {
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
    pub fn is_dead(&self) -> bool {
        self.there && !self.perhaps
    }
}

/// The fates of rules 1 to `count`.
pub(super) fn fates(chains: &[Chain], count: usize) -> Vec<Fate> {
    let mut fates = vec![Fate::default(); count];
    for chain in chains {
        for (place, line) in chain.lines.iter().enumerate() {
            let Some(fate) = line.number.checked_sub(1).and_then(|index| fates.get_mut(index)) else {
                continue;
            };
            fate.there = true;
            for region in &line.regions {
                if fate.perhaps {
                    break;
                }
                match chain.reached(region, place, false) {
                    Reached::By(_) | Reached::Unknown => fate.perhaps = true,
                    Reached::Never(takers) => {
                        let takers = takers.iter().filter_map(|taker| chain.lines.get(*taker));
                        for taker in takers {
                            fate.opposed |= taker.effect != line.effect && line.effect != Effect::Pass;
                            fate.takers.insert(taker.number);
                        }
                    }
                }
            }
        }
    }
    fates
}

/// Findings about the dead ones.
pub(super) fn findings(fates: &[Fate]) -> Vec<Finding> {
    let dead = (1..).zip(fates).filter(|(_, fate)| fate.is_dead());
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
