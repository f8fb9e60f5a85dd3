//! Which hooks a chain is reached from.

use std::collections::HashMap;

use fielato_netfilter::{Hook, HookMask, Table, Target};

/// By the chain's name.
pub(super) fn hooks_of_chains(table: &Table) -> HashMap<&str, HookMask> {
    let mut reached: HashMap<&str, HookMask> = HashMap::new();
    let mut open: Vec<(&str, HookMask)> = Vec::new();
    for chain in table.chains.iter().filter(|chain| chain.policy.is_some()) {
        if let Some(hook) = Hook::from_chain(&chain.name) {
            open.push((&chain.name, HookMask::of(&[hook])));
        }
    }
    while let Some((name, hooks)) = open.pop() {
        let known = reached.entry(name).or_insert(HookMask::NONE);
        // Loops end here: a chain is gone through again only for hooks that are new to it.
        if hooks.within(*known) {
            continue;
        }
        *known = known.or(hooks);
        let rules = table.chain(name).map(|chain| chain.rules.as_slice()).unwrap_or_default();
        for rule in rules {
            if let Target::Jump(to) | Target::Goto(to) = &rule.target {
                open.push((to, hooks));
            }
        }
    }
    reached
}
