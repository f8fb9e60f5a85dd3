//! Comments in a restore text that say where counters come from.
//!
//! A line for each chain, before the table's rules: `#@ CHAIN POLICY RULE…`, each either `=` (as the text has it),
//! `OLDCHAIN@p` (that chain's policy counter), `OLDCHAIN@3` (that of its fourth rule), or one of these less what was seen:
//! `OLDCHAIN@3-PACKETS:BYTES`. A chain without a line has counters as in the text.

use std::collections::HashMap;
use std::fmt::Write as _;

use fielato_netfilter::{Counters, Table};

use crate::iptc::{ChainSources, CounterSource};

/// The lines for a table. `loaded` is the table that the sources count in.
pub fn encode(table: &Table, sources: &[ChainSources], loaded: &Table) -> String {
    let mut text = String::new();
    for (chain, sources) in table.chains.iter().zip(sources) {
        text.push_str("#@ ");
        text.push_str(&chain.name);
        let policy = sources.policy.unwrap_or(CounterSource::Set);
        for source in std::iter::once(&policy).chain(&sources.rules) {
            put(&mut text, *source, loaded);
        }
        text.push('\n');
    }
    text
}

fn put(text: &mut String, source: CounterSource, loaded: &Table) {
    let (chain, rule, seen) = match source {
        CounterSource::Set => return text.push_str(" ="),
        CounterSource::Live { chain, rule } => (chain, rule, None),
        CounterSource::LiveLess { chain, rule, seen } => (chain, rule, Some(seen)),
    };
    let Some(chain) = loaded.chains.get(chain) else {
        return text.push_str(" =");
    };
    // Writing to a string does not fail.
    let _ = match rule {
        Some(rule) => write!(text, " {}@{rule}", chain.name),
        None => write!(text, " {}@p", chain.name),
    };
    if let Some(Counters { packets, bytes }) = seen {
        let _ = write!(text, "-{packets}:{bytes}");
    }
}

/// The sources of `table`'s counters by the lines in `text`, counted in `live`.
pub fn decode(text: &str, table: &Table, live: &Table) -> Vec<ChainSources> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("#@ ")?.split_once(' '));
    let lines: HashMap<&str, &str> = lines.collect();
    let places = live.chains.iter().enumerate();
    let places: HashMap<&str, usize> = places.map(|(place, chain)| (chain.name.as_str(), place)).collect();
    let of_chain = |chain: &fielato_netfilter::Chain| {
        let words = lines.get(chain.name.as_str()).copied().unwrap_or("");
        let mut words = words
            .split(' ')
            .map(|word| parse(word, &places).unwrap_or(CounterSource::Set));
        ChainSources {
            policy: Some(words.next().unwrap_or(CounterSource::Set)),
            rules: chain
                .rules
                .iter()
                .map(|_| words.next().unwrap_or(CounterSource::Set))
                .collect(),
        }
    };
    table.chains.iter().map(of_chain).collect()
}

fn parse(word: &str, places: &HashMap<&str, usize>) -> Option<CounterSource> {
    let (chain, rest) = word.rsplit_once('@')?;
    let (rule, seen) = match rest.split_once('-') {
        Some((rule, seen)) => (rule, Some(seen.split_once(':')?)),
        None => (rest, None),
    };
    let chain = places.get(chain).copied()?;
    let rule = match rule {
        "p" => None,
        number => Some(number.parse().ok()?),
    };
    Some(match seen {
        None => CounterSource::Live { chain, rule },
        Some((packets, bytes)) => CounterSource::LiveLess {
            chain,
            rule,
            seen: Counters {
                packets: packets.parse().ok()?,
                bytes: bytes.parse().ok()?,
            },
        },
    })
}
