//! What the hub's machine is like, item by item, so that two moments can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{World, shell};

/// Items by kind and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    items: BTreeMap<(&'static str, String), String>,
}

impl Snapshot {
    pub fn take(world: &World) -> Self {
        let mut items = BTreeMap::new();
        let separator = "@@@@";
        // One shell instead of nine: this is taken hundreds of times.
        let told = shell(
            &world.hub,
            &format!(
                "ip -j link; echo {separator}; ip -j addr; echo {separator}
                 ip -4 -j route show table all; echo {separator}; ip -6 -j route show table all; echo {separator}
                 ip -4 -j rule; echo {separator}; ip -6 -j rule; echo {separator}
                 tc -j qdisc; echo {separator}; tc class show dev eth0; tc class show dev {ours} 2>/dev/null || true; echo {separator}
                 nft -s list ruleset; echo {separator}
                 for i in $(wg show interfaces); do case $i in {ours}|{foreign}) wg show $i allowed-ips; wg show $i listen-port;; esac; done",
                ours = world.interface,
                foreign = world.foreign_interface,
            ),
        );
        let parts: Vec<&str> = told.split(separator).map(str::trim).collect();
        let kinds = [
            ("link", "ifname"),
            ("address", "ifname"),
            ("route", ""),
            ("route6", ""),
            ("routing rule", ""),
            ("routing rule6", ""),
            ("qdisc", ""),
        ];
        for (&(kind, key), text) in kinds.iter().zip(&parts) {
            for value in list(text) {
                if let Some(value) = without_chance(value, &world.interface) {
                    let name = value[key].as_str().map_or_else(|| value.to_string(), str::to_owned);
                    items.insert((kind, name), value.to_string());
                }
            }
        }
        // tc prints no JSON for every kind of class.
        for line in parts[7].lines() {
            items.insert(("class", line.trim().to_owned()), String::new());
        }
        for (number, line) in parts[8].lines().enumerate() {
            items.insert(("nft rule set", format!("{number:04}")), line.to_owned());
        }
        let mut peers: Vec<&str> = parts[9].lines().collect();
        peers.sort_unstable();
        items.insert(("wg show", String::new()), peers.join("; "));

        let settings = world.hub.run_in(|| {
            let mut found = BTreeMap::new();
            for tree in ["net/ipv4/conf", "net/ipv6/conf", "net/ipv4/ip_forward"] {
                settings_below(&Path::new("/proc/sys").join(tree), &mut found);
            }
            found
        });
        for (name, value) in settings.unwrap() {
            items.insert(("setting", name), value);
        }
        let root = world.root.path();
        for path in files_below(root) {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            // What `down` leaves on purpose: what was done, and what is to be remembered.
            let kept = matches!(
                name.as_str(),
                "run/fielato/lock"
                    | "run/fielato/fielato.log"
                    | "var/lib/fielato/bans.json"
                    | "var/lib/fielato/store.redb"
                    | "var/lib/fielato/usage.redb"
                    | "var/lib/fielato/audit.jsonl"
            );
            if !kept && !name.starts_with("var/lib/fielato/policy/") {
                items.insert(("file", name), String::new());
            }
        }
        for path in files_below(Path::new("/var/run/wireguard")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if name == world.interface || name == world.foreign_interface {
                items.insert(("socket", name), String::new());
            }
        }
        let pins = format!(
            "fielato-{}",
            root.display().to_string().trim_start_matches('/').replace('/', "-")
        );
        for folder in fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten() {
            if folder.file_name().to_string_lossy() == pins {
                items.insert(("pin", pins.clone()), String::new());
                for path in files_below(&folder.path()) {
                    items.insert(("pin", path.display().to_string()), String::new());
                }
            }
        }
        Self { items }
    }

    /// What stands in a kind of items, one a line.
    pub fn text(&self, kind: &str) -> String {
        let of_kind = self.items.iter().filter(|((known, _), _)| *known == kind);
        of_kind.map(|(_, value)| format!("{value}\n")).collect()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What differs, one item a line; empty when nothing does.
    pub fn differences(&self, now: &Self) -> String {
        let mut lines = String::new();
        for ((kind, name), value) in &self.items {
            match now.items.get(&(*kind, name.clone())) {
                None => lines += &format!("gone: {kind} {name} {value}\n"),
                Some(other) if other != value => lines += &format!("changed: {kind} {name}: {value} -> {other}\n"),
                Some(_) => {}
            }
        }
        for ((kind, name), value) in &now.items {
            if !self.items.contains_key(&(*kind, name.clone())) {
                lines += &format!("new: {kind} {name} {value}\n");
            }
        }
        lines
    }
}

fn list(text: &str) -> Vec<Value> {
    match text {
        "" => Vec::new(),
        text => serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")),
    }
}

/// Takes out what differs from one `up` to the next: the numbers of the hub's interface and of its guard, and the link-local
/// address that the kernel draws for it.
fn without_chance(mut value: Value, interface: &str) -> Option<Value> {
    let on_ours = value["ifname"] == interface || value["dev"] == interface;
    if !on_ours {
        return Some(value);
    }
    if value["dst"]
        .as_str()
        .is_some_and(|destination| destination.starts_with("fe80"))
    {
        return None;
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("ifindex");
    }
    if let Some(program) = value.pointer("/xdp/prog/name").cloned() {
        value["xdp"] = program;
    }
    if let Some(addresses) = value.get_mut("addr_info").and_then(Value::as_array_mut) {
        addresses.retain(|address| address["scope"] != "link");
    }
    Some(value)
}

fn settings_below(path: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        settings_below(&entry.path(), found);
    }
    // This one is drawn at random; others can't be read, for they have no value.
    if path.ends_with("stable_secret") {
        return;
    }
    if let Ok(value) = fs::read_to_string(path) {
        found.insert(path.display().to_string(), value.trim().to_owned());
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}
