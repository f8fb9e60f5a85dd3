//! `[raw]`: rules in iptables' words, understood as `iptables-restore` does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use fielato_iptables::nft::{self, Place, RuleText};
use fielato_iptables::{BuiltinNames, Registry, restore};
use fielato_netfilter::{HookMask, Match, Rule};
use fielato_wire::Family;

use crate::config::{RawRule, RawTable};
use crate::plan::PerFamily;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);

/// Where a raw rule can stand.
const CHAINS: [(&str, RawTable); 4] = [
    ("FORWARD", RawTable::Filter),
    ("INPUT", RawTable::Filter),
    ("PREROUTING", RawTable::Nat),
    ("POSTROUTING", RawTable::Nat),
];

/// Why a text is no raw rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RawError {
    #[error("it does not begin with -A CHAIN")]
    NoChain,
    #[error("it has more than one line")]
    Lines,
    #[error("there is no chain {0} here")]
    Chain(String),
    #[error("chain {chain} is in table {known}, not in {said}")]
    Table {
        chain: String,
        known: &'static str,
        said: String,
    },
    /// iptables' own words.
    #[error("{0}")]
    Words(String),
    /// nft's.
    #[error("{part}: {reason}")]
    Nft { part: String, reason: String },
}

impl RawError {
    /// What would be right.
    pub fn help(&self) -> &'static str {
        match self {
            RawError::NoChain | RawError::Lines => "write one rule, such as \"-A FORWARD -p gre -j ACCEPT\"",
            RawError::Chain(_) | RawError::Table { .. } => {
                "use FORWARD or INPUT, or in table nat PREROUTING or POSTROUTING; there are no others"
            }
            RawError::Words(_) => "write what `iptables` or `ip6tables` takes, without jumps to other chains",
            RawError::Nft { .. } => "the kernel engine speaks nft, which can't say this: say it in another way",
        }
    }
}

/// Understands one; the place in the file is left open.
pub(crate) fn parse(text: &str) -> Result<RawRule, RawError> {
    if text.chars().any(char::is_control) {
        return Err(RawError::Lines);
    }
    let mut rest = text.trim();
    for program in ["iptables ", "ip6tables "] {
        rest = rest.strip_prefix(program).unwrap_or(rest).trim_start();
    }
    let said = option(&mut rest, "-t");
    let chain = option(&mut rest, "-A").ok_or(RawError::NoChain)?;
    let known = CHAINS.into_iter().find(|(name, _)| *name == chain);
    let (_, table) = known.ok_or_else(|| RawError::Chain(chain.to_owned()))?;
    if let Some(said) = said.filter(|said| *said != table.word()) {
        return Err(RawError::Table {
            chain: chain.to_owned(),
            known: table.word(),
            said: said.to_owned(),
        });
    }
    let mut raw = RawRule {
        table,
        chain: chain.to_owned(),
        families: PerFamily::default(),
        words: rest.to_owned(),
        after: false,
        number: 0,
        file: None,
        line: 0,
    };
    let [v4, v6] = [Family::V4, Family::V6].map(|family| understand(&raw, family));
    raw.families = PerFamily {
        v4: v4.is_ok(),
        v6: v6.is_ok(),
    };
    match (v4, v6) {
        // An IPv6 address is no reason why an IPv4 rule is wrong.
        (Err(_), Err(error)) if rest.contains("::") => Err(error),
        (Err(error), Err(_)) => Err(error),
        _ => Ok(raw),
    }
}

/// `-x VALUE` at the beginning, taken away.
fn option<'t>(rest: &mut &'t str, name: &str) -> Option<&'t str> {
    let behind = rest.strip_prefix(name)?.strip_prefix(' ')?.trim_start();
    let (value, behind) = behind.split_once(' ').unwrap_or((behind, ""));
    *rest = behind.trim_start();
    (!value.is_empty()).then_some(value)
}

/// Its rules in one family, which nft can say too.
fn understand(raw: &RawRule, family: Family) -> Result<Vec<Rule>, RawError> {
    let rules = read(raw, family)?;
    for rule in &rules {
        say(rule, raw, family, 0)?;
    }
    Ok(rules)
}

fn read(raw: &RawRule, family: Family) -> Result<Vec<Rule>, RawError> {
    let RawRule { table, chain, words, .. } = raw;
    let text = format!("*{}\n-A {chain} {words}\nCOMMIT\n", table.word());
    let refused = |problem: restore::RestoreError| RawError::Words(problem.error.to_string());
    let ruleset = restore::parse(&text, family, &REGISTRY, &BuiltinNames).map_err(refused)?;
    let chain = ruleset.table(table.word()).and_then(|table| table.chain(chain));
    Ok(chain.map_or_else(Vec::new, |chain| chain.rules.clone()))
}

/// Its rules in one family, without comments of their own; none when it says nothing there.
pub(crate) fn rules(raw: &RawRule, family: Family) -> Vec<Rule> {
    let said = match family {
        Family::V4 => raw.families.v4,
        Family::V6 => raw.families.v6,
    };
    if !said {
        return Vec::new();
    }
    // It was understood when the file was read.
    let mut rules = read(raw, family).unwrap_or_default();
    for rule in &mut rules {
        rule.matches.retain(|m| !matches!(m, Match::Comment(_)));
    }
    rules
}

/// The lines of nft in table `inet` for one family, without comment, and the sets that they need: name and content.
pub(crate) fn nft(raw: &RawRule, family: Family, first_set: usize) -> Vec<RuleText> {
    let mut lines: Vec<RuleText> = Vec::new();
    for rule in rules(raw, family) {
        let sets: usize = lines.iter().map(|line| line.sets.len()).sum();
        lines.extend(say(&rule, raw, family, first_set + sets).ok());
    }
    lines
}

/// Every number of 16 bits in what it says, its ports among them: in nft's words those have no names.
pub(crate) fn numbers(raw: &RawRule) -> BTreeSet<u16> {
    let lines = [Family::V4, Family::V6].into_iter().flat_map(|family| nft(raw, family, 0));
    let texts = lines.flat_map(|RuleText { text, sets, .. }| std::iter::once(text).chain(sets.into_iter().map(|(_, set)| set)));
    let mut numbers = BTreeSet::new();
    for text in texts {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        numbers.extend(words.filter_map(|word| match word.strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        }));
    }
    numbers
}

fn say(rule: &Rule, raw: &RawRule, family: Family, sets: usize) -> Result<RuleText, RawError> {
    let hook = fielato_netfilter::Hook::from_chain(&raw.chain);
    let place = Place {
        family,
        table: raw.table.word(),
        chain: &raw.chain,
        number: 1,
        hooks: hook.map_or(HookMask::NONE, |hook| HookMask::of(&[hook])),
        sets,
        counts: false,
        // Connection tracking puts them together.
        fragments: false,
    };
    let mut said = nft::rule(rule, &place).map_err(|parts| {
        let first = parts.into_iter().next();
        let (part, reason) = first.map_or_else(Default::default, |part| (part.part, part.reason));
        RawError::Nft { part, reason }
    })?;
    // In a table of both families an address translation names its own.
    for verb in ["dnat to ", "snat to "] {
        let named = format!("{} {} to ", &verb[..4], nft::family_name(family));
        said.text = said.text.replace(verb, &named);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> [Vec<String>; 2] {
        let raw = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        [Family::V4, Family::V6].map(|family| nft(&raw, family, 0).into_iter().map(|line| line.text).collect())
    }

    #[test]
    fn a_rule_is_said_in_the_families_that_have_it() {
        let both = lines("-A FORWARD -p gre -j ACCEPT");
        assert_eq!(
            both,
            [["meta l4proto 47 counter accept"], ["meta l4proto 47 counter accept"]]
                .map(|lines| lines.map(str::to_owned).to_vec())
        );
        let [v4, v6] = lines("iptables -A FORWARD -s 10.0.0.0/8,10.9.0.1 -j DROP");
        assert_eq!((v4.len(), v6.len()), (2, 0), "{v4:?}");
        let [v4, v6] = lines("-t nat -A PREROUTING -d 2001:db8::1 -p tcp --dport 80 -j DNAT --to-destination [fd00::2]:8080");
        assert_eq!(v4.len(), 0);
        assert!(v6[0].contains("dnat ip6 to [fd00::2]:8080"), "{v6:?}");
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_reason() {
        for (text, reason) in [
            ("-I FORWARD -j ACCEPT", "it does not begin with -A CHAIN"),
            ("-A OUTPUT -j ACCEPT", "there is no chain OUTPUT here"),
            (
                "-t mangle -A FORWARD -j ACCEPT",
                "chain FORWARD is in table filter, not in mangle",
            ),
            ("-A FORWARD -j ACCEPT\n-A INPUT -j DROP", "it has more than one line"),
            ("-A FORWARD --nonsense -j ACCEPT", "unknown option \"--nonsense\""),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), reason, "{text}");
        }
        assert!(matches!(parse("-A FORWARD -j OTHER"), Err(RawError::Words(_))));
        assert!(matches!(
            parse("-A FORWARD -m recent --set -j ACCEPT"),
            Err(RawError::Nft { .. })
        ));
    }
}
