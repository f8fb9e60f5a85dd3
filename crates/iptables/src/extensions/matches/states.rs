//! Names of connection states, for `conntrack` and `state`.

use fielato_netfilter::matches::conntrack::States;

/// In the order in which they are printed.
const NAMES: [(&str, u8); 7] = [
    ("INVALID", States::INVALID),
    ("NEW", States::NEW),
    ("RELATED", States::RELATED),
    ("ESTABLISHED", States::ESTABLISHED),
    ("UNTRACKED", States::UNTRACKED),
    ("SNAT", States::SNAT),
    ("DNAT", States::DNAT),
];

/// A list of states, each by the start of its name; the rest of the list from the first that isn't one.
pub(super) fn parse(list: &str, translated: bool) -> Result<States, &str> {
    // What a name's start means is the first of these (`N` is NEW, `S` is SNAT).
    let names = if translated { &NAMES[..] } else { &NAMES[..5] };
    let mut states = States::default();
    let mut rest = list;
    loop {
        let (word, next) = rest.split_once(',').map_or((rest, None), |(word, next)| (word, Some(next)));
        let begins = |name: &str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        match names.iter().find(|(name, _)| !word.is_empty() && begins(name)) {
            Some((_, bit)) => states.0 |= bit,
            None => return Err(rest),
        }
        match next {
            Some(next) => rest = next,
            None => return Ok(states),
        }
    }
}

/// The states as a list.
pub(super) fn show(states: States) -> String {
    let names: Vec<_> = NAMES
        .iter()
        .filter(|(_, bit)| states.0 & bit != 0)
        .map(|(name, _)| *name)
        .collect();
    names.join(",")
}
