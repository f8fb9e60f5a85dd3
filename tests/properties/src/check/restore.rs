//! Save files: what is read, written and read again is the same.

use fielato_iptables::save::{self, SaveOptions};
use fielato_iptables::{BuiltinNames, Registry, restore as file};
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Netfilter, Now, Ruleset};
use fielato_wire::Family;

/// A save file of either family: read, compiled, saved and read again it is the same.
pub fn restore(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let registry = Registry::builtin();
    for family in [Family::V4, Family::V6] {
        let Ok(rules) = file::parse(&text, family, &registry, &BuiltinNames) else {
            continue;
        };
        same_again(&rules, &registry);
        let mut netfilter = Netfilter::new(Default::default(), 1);
        let replace = Command::Replace {
            ruleset: rules.clone(),
            generation: None,
        };
        if netfilter.execute(Caller::Admin, replace, Now::from_secs(1)).is_ok() {
            let read = netfilter.ruleset(family);
            assert_eq!(written(&read, &registry), written(&rules, &registry), "read from the engine");
        }
    }
}

fn written(rules: &Ruleset, registry: &Registry) -> String {
    let options = SaveOptions {
        counters: true,
        complete: true,
        ..SaveOptions::default()
    };
    save::ruleset(rules, registry, &BuiltinNames, options)
}

/// Saves `rules`, reads the text and saves again.
///
/// # Panics
/// When the text is refused or the second one differs.
pub(super) fn same_again(rules: &Ruleset, registry: &Registry) {
    let first = written(rules, registry);
    match file::parse(&first, rules.family, registry, &BuiltinNames) {
        Ok(again) => assert_eq!(written(&again, registry), first),
        Err(error) => panic!("what was saved is refused: {error}\n{first}"),
    }
}
