//! Members' own files: what changes there reaches them only when they are given the file anew.

use std::collections::BTreeMap;

use fielato_wireguard::PublicKey;
use fielato_wireguard::wg_quick::WgQuick;

use super::{Change, Machine, MachineDiff, Op, unified};
use crate::Config;
use crate::render::wg_quick::{Secrets, member_config};

/// A field of a file, and what it says.
type Field = (&'static str, String);

/// Members of both whose files differ, those together whose files differ in the same way.
pub(super) fn files(old: &Config, new: &Config) -> Vec<MachineDiff> {
    // By what changes: who, and how in the first one's file.
    let mut alike: BTreeMap<Vec<Field>, (Vec<String>, String)> = BTreeMap::new();
    for name in old.members.keys().filter(|name| new.members.contains_key(*name)) {
        let (Some(before), Some(after)) = (file(old, name), file(new, name)) else {
            continue;
        };
        let (a, b) = (lines(&before), lines(&after));
        if a == b {
            continue;
        }
        let change = |(field, value): Field, before: &str| (field, format!("{before} -> {value}"));
        let differing = b.into_iter().zip(&a).filter(|(after, before)| after.1 != before.1);
        let changes: Vec<_> = differing.map(|(after, before)| change(after, &before.1)).collect();
        let (members, full) = alike.entry(changes).or_default();
        if members.is_empty() {
            *full = unified(
                &format!("a/{name}.conf"),
                &format!("b/{name}.conf"),
                &before.emit(),
                &after.emit(),
            );
        }
        members.push(name.clone());
    }
    let diffs = alike.into_iter().map(|(changes, (members, full))| MachineDiff {
        machine: Machine::Members(members),
        changes: changes
            .into_iter()
            .map(|(field, detail)| Change {
                op: Op::Change,
                kind: "file",
                name: field.to_owned(),
                detail,
            })
            .collect(),
        full,
    });
    let mut diffs: Vec<MachineDiff> = diffs.collect();
    diffs.sort_by_key(|diff| match &diff.machine {
        Machine::Members(members) => members.first().cloned(),
        _ => None,
    });
    diffs
}

/// Without secrets; the hub's key is no part of the policy.
fn file(config: &Config, name: &str) -> Option<WgQuick> {
    let hub = PublicKey([0; 32]);
    member_config(config, name, Secrets::default(), hub, None).map(|made| made.file)
}

/// The values that its owner would have to change.
fn lines(file: &WgQuick) -> Vec<Field> {
    fn joined<T: ToString>(items: &[T]) -> String {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    let interface = &file.interface;
    let peer = file.peers.first();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    vec![
        ("Address", joined(&interface.addresses)),
        ("DNS", joined(&interface.dns)),
        ("MTU", or_none(interface.mtu.map(|mtu| mtu.to_string()))),
        ("AllowedIPs", peer.map_or_else(String::new, |peer| joined(&peer.allowed_ips))),
        ("Endpoint", or_none(peer.and_then(|peer| peer.endpoint.clone()))),
        (
            "PersistentKeepalive",
            or_none(
                peer.and_then(|peer| peer.persistent_keepalive)
                    .map(|seconds| seconds.to_string()),
            ),
        ),
    ]
}
