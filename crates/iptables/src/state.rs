//! A file that holds both families' tables: save files with counters, one after the other, and the generation.

use fielato_netfilter::syntax::Names;
use fielato_wire::Family;

use crate::iptc::Memory;
use crate::print::{SaveOptions, ruleset};
use crate::registry::Registry;
use crate::restore::{self, RestoreError};

const TITLE: &str = "# fielato rule sets, generation ";
const V4: &str = "# ipv4\n";
const V6: &str = "# ipv6\n";

/// What the file says.
pub fn encode(tables: &Memory, registry: &Registry, names: &dyn Names) -> String {
    let options = SaveOptions {
        counters: true,
        complete: true,
        ..SaveOptions::default()
    };
    let save = |family| ruleset(tables.ruleset(family), registry, names, options);
    format!(
        "{TITLE}{}\n{V4}{}{V6}{}",
        tables.generation,
        save(Family::V4),
        save(Family::V6)
    )
}

/// The tables of such a file; of an empty one, none. A save file of one's own making is taken as IPv4's.
pub fn decode(text: &str, registry: &Registry, names: &dyn Names) -> Result<Memory, RestoreError> {
    let generation = text
        .strip_prefix(TITLE)
        .and_then(|rest| rest.lines().next())
        .and_then(|generation| generation.parse().ok())
        .unwrap_or(0);
    let (v4, v6) = match text.split_once(V6) {
        Some((v4, v6)) => (v4, v6),
        None => (text, ""),
    };
    let before = v4.lines().count() + 1;
    let v6 = restore::parse(v6, Family::V6, registry, names).map_err(|error| RestoreError {
        line: before + error.line,
        ..error
    })?;
    Ok(Memory {
        v4: restore::parse(v4, Family::V4, registry, names)?,
        v6,
        generation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::BuiltinNames;

    #[test]
    fn both_families_and_the_generation() {
        let text = "\
# fielato rule sets, generation 12
# ipv4
*raw
:PREROUTING ACCEPT [1:2]
:OUTPUT DROP [0:0]
[3:4] -A PREROUTING -s 10.0.0.0/8 -j ACCEPT
COMMIT
# ipv6
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[0:0] -A OUTPUT -d ff00::/8 -j DROP
COMMIT
";
        let registry = Registry::builtin();
        let tables = decode(text, &registry, &BuiltinNames).unwrap();
        assert_eq!(tables.generation, 12);
        assert_eq!(encode(&tables, &registry, &BuiltinNames), text);
        assert_eq!(decode("", &registry, &BuiltinNames).unwrap().v4.tables.len(), 0);
        let broken = text.replace("ff00::", "gg00::");
        assert_eq!(decode(&broken, &registry, &BuiltinNames).unwrap_err().line, 12);
    }
}
