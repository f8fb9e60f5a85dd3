//! The sets that rules name with `-m set` and `-j SET`, the same in every case: of hosts, of networks with exceptions, of hosts
//! with ports, and one that is empty until rules fill it.

use std::fmt::Write as _;

use fielato_iptables::FileNames;
use fielato_netfilter::sets::{Kind, Part, SetError, Sets};
use fielato_wire::{Addr, Family, number};

use crate::network;
use crate::subject::Port;

/// A set: its name, and the kind that ipset makes.
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// `hash:ip` and so on.
    kind: &'static str,
    family: Family,
    entries: Vec<Entry>,
}

/// What is in it.
struct Entry {
    address: Addr,
    prefix: u8,
    port: Option<(u8, u16)>,
    excluded: bool,
}

/// How many flags (`src,dst`) a rule gives for each set of [`all`], in order.
pub const DIMENSIONS: [usize; 4] = [1, 1, 2, 1];

/// The sets of a family. The last is the one to be filled.
pub fn all(family: Family) -> [Spec; 4] {
    let whole = family.bits();
    let host = |address| Entry {
        address,
        prefix: whole,
        port: None,
        excluded: false,
    };
    let around = |address: Addr, prefix, excluded| Entry {
        address: address.and(Addr::mask(family, prefix)),
        prefix,
        excluded,
        ..host(address)
    };
    let at = |address, protocol, port| Entry {
        port: Some((protocol, port)),
        ..host(address)
    };
    let (inside, outside) = (network::hosts(family, Port::Inside), network::hosts(family, Port::Outside));
    let [own, ..] = network::local(family);
    let names = match family {
        Family::V4 => ["hosts4", "networks4", "services4", "seen4"],
        Family::V6 => ["hosts6", "networks6", "services6", "seen6"],
    };
    let spec = |name, kind, entries| Spec {
        name,
        kind,
        family,
        entries,
    };
    [
        spec(
            names[0],
            "hash:ip",
            vec![host(inside[0]), host(inside[3]), host(outside[2]), host(own)],
        ),
        spec(
            names[1],
            "hash:net",
            vec![
                around(inside[0], whole - 8, false),
                around(inside[1], whole - 1, true),
                around(inside[2], whole, false),
                around(outside[0], whole - 16, false),
                around(outside[1], whole, true),
            ],
        ),
        spec(
            names[2],
            "hash:ip,port",
            vec![
                at(outside[0], number::TCP, 80),
                at(outside[0], number::UDP, 53),
                at(outside[1], number::TCP, 21),
                at(inside[0], number::TCP, 2000),
                at(inside[1], number::SCTP, 5000),
            ],
        ),
        spec(names[3], "hash:ip", Vec::new()),
    ]
}

/// Lines for `ipset restore -exist` that make and fill the sets of both families as they are at the beginning.
pub fn commands() -> String {
    let mut text = String::new();
    for spec in [Family::V4, Family::V6].into_iter().flat_map(all) {
        let Spec { name, kind, family, .. } = spec;
        let inet = if family == Family::V4 { "inet" } else { "inet6" };
        let _ = write!(text, "create {name} {kind} family {inet}\nflush {name}\n");
        for entry in spec.entries {
            let _ = write!(text, "add {name} {}", entry.address.display(family));
            if entry.prefix != family.bits() {
                let _ = write!(text, "/{}", entry.prefix);
            }
            if let Some((protocol, port)) = entry.port {
                let _ = write!(text, ",{protocol}:{port}");
            }
            text += if entry.excluded { " nomatch\n" } else { "\n" };
        }
    }
    text
}

/// The same in the engine, whose sets are empty.
///
/// # Errors
/// When the engine refuses one.
pub fn fill(sets: &mut Sets) -> Result<(), SetError> {
    for spec in [Family::V4, Family::V6].into_iter().flat_map(all) {
        let kind = Kind::from_name(spec.kind, spec.family).ok_or(SetError::NoSet)?;
        sets.create(spec.name, kind)?;
        let set = sets.get_mut(spec.name).ok_or(SetError::NoSet)?;
        for entry in spec.entries {
            let mut parts = vec![Part::Addr(entry.address, entry.prefix)];
            parts.extend(entry.port.map(|(protocol, port)| Part::Port(protocol, port)));
            set.add(&parts, None, entry.excluded, 0)?;
        }
    }
    Ok(())
}

/// Whether rules name any set.
pub fn are_named(rules: &str) -> bool {
    rules.contains("-m set") || rules.contains("-j SET")
}

/// Gives `names` the sets, so that rules may name them.
pub fn name(names: &mut FileNames) {
    for spec in [Family::V4, Family::V6].into_iter().flat_map(all) {
        names.set(spec.name);
    }
}

/// The built-in names, and the sets.
pub fn names() -> FileNames {
    let mut names = FileNames::new();
    name(&mut names);
    names
}
