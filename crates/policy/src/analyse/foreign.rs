//! Others' rules on the machine: Docker's, ufw's, firewalld's, anybody's. They are told of, and never touched.
//!
//! A packet crosses every base chain at its hook, one after the other by priority. What one of them accepts goes on to the next, and
//! what one of them drops is gone (`nft_do_chain`, `nf_hook_slow`): so no accept of ours can help a packet that another's chain
//! drops, whichever comes first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::finding::{About, Finding, Kind, Severity};

/// `nft -j list ruleset` is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what `nft -j list ruleset` printed: {0}")]
pub struct ForeignError(#[from] serde_json::Error);

/// `man 5 libnftables-json`
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
pub(super) struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
    pub hook: Option<String>,
    pub prio: Option<i64>,
    pub policy: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
    #[serde(default)]
    expr: Vec<Value>,
}

/// A table: its family and name.
type Table = (String, String);

/// What a chain's rules do.
#[derive(Default)]
pub(super) struct Content {
    drops: usize,
    jumps: BTreeSet<String>,
}

/// Our own table.
const OURS: (&str, &str) = ("inet", "fielato");
/// Where packets are judged that we let pass.
pub(super) const HOOKS: [&str; 3] = ["prerouting", "input", "forward"];

/// Chains of others that may stop what our rules let pass; `listing` is what `nft -j list ruleset` prints, `interface` the VPN's.
///
/// # Errors
/// It is not that.
pub fn foreign(listing: &str, interface: &str) -> Result<Vec<Finding>, ForeignError> {
    let Listing { nftables } = serde_json::from_str(listing)?;
    let mut chains: Vec<Chain> = Vec::new();
    let mut contents: BTreeMap<(Table, String), Content> = BTreeMap::new();
    for (kind, value) in nftables.into_iter().flatten() {
        match kind.as_str() {
            "chain" => chains.push(serde_json::from_value(value)?),
            "rule" => {
                let Rule {
                    family,
                    table,
                    chain,
                    expr,
                } = serde_json::from_value(value)?;
                let content = contents.entry(((family, table), chain)).or_default();
                expr.iter().for_each(|part| content.note(part));
            }
            _ => {}
        }
    }
    Ok(findings(&chains, &contents, interface, false))
}

/// What these chains may stop; `is_legacy` says that they are no chains of nft's.
pub(super) fn findings(
    chains: &[Chain],
    contents: &BTreeMap<(Table, String), Content>,
    interface: &str,
    is_legacy: bool,
) -> Vec<Finding> {
    let names: BTreeMap<Table, BTreeSet<&str>> = chains.iter().fold(BTreeMap::new(), |mut names, chain| {
        let table = (chain.family.clone(), chain.table.clone());
        names.entry(table).or_insert_with(BTreeSet::new).insert(chain.name.as_str());
        names
    });
    let judging = chains.iter().filter(|chain| {
        let hook = chain.hook.as_deref().is_some_and(|hook| HOOKS.contains(&hook));
        let family = ["ip", "ip6", "inet"].contains(&chain.family.as_str());
        let filters = chain.kind.as_deref() == Some("filter");
        hook && family && filters && (chain.family.as_str(), chain.table.as_str()) != OURS
    });
    let findings = judging.filter_map(|chain| {
        let table = (chain.family.clone(), chain.table.clone());
        let drops = drops(contents, &table, &chain.name);
        let by_policy = chain.policy.as_deref() == Some("drop");
        if drops == 0 && !by_policy {
            return None;
        }
        let owner = Owner::of(&table, names.get(&table));
        let place = Place {
            chain,
            interface,
            is_legacy,
        };
        Some(place.finding(owner, by_policy, drops))
    });
    findings.collect()
}

impl Content {
    /// A rule drops or rejects.
    pub fn note_drop(&mut self) {
        self.drops = self.drops.saturating_add(1);
    }

    /// A rule leads to another chain.
    pub fn note_jump(&mut self, target: String) {
        self.jumps.insert(target);
    }

    fn note(&mut self, expression: &Value) {
        let Some(expression) = expression.as_object() else { return };
        if expression.contains_key("drop") || expression.contains_key("reject") {
            self.note_drop();
        }
        for word in ["jump", "goto"] {
            let target = expression.get(word).and_then(|verdict| verdict.get("target"));
            self.jumps.extend(target.and_then(Value::as_str).map(str::to_owned));
        }
        // The values of a verdict map are verdicts.
        if let Some(map) = expression.get("vmap") {
            self.note_map(map);
        }
        // iptables' targets that nft has no words for; REJECT is one of them.
        if let Some(name) = expression.get("xt").and_then(|xt| xt.get("name")).and_then(Value::as_str)
            && name == "REJECT"
        {
            self.note_drop();
        }
    }

    fn note_map(&mut self, map: &Value) {
        let sets = map.pointer("/data/set").and_then(Value::as_array).into_iter().flatten();
        for verdict in sets.filter_map(|pair| pair.get(1)) {
            self.note(verdict);
        }
    }
}

/// Rules that drop, in a chain and those that it leads to.
fn drops(contents: &BTreeMap<(Table, String), Content>, table: &Table, chain: &str) -> usize {
    let mut seen = BTreeSet::new();
    let mut open = vec![chain.to_owned()];
    let mut drops = 0usize;
    while let Some(name) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(content) = contents.get(&(table.clone(), name)) {
            drops = drops.saturating_add(content.drops);
            open.extend(content.jumps.iter().cloned());
        }
    }
    drops
}

/// Who makes such tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Docker,
    Ufw,
    Firewalld,
    Libvirt,
    Somebody,
}

impl Owner {
    fn of((_, table): &Table, chains: Option<&BTreeSet<&str>>) -> Owner {
        let has = |wanted: fn(&str) -> bool| chains.is_some_and(|chains| chains.iter().any(|chain| wanted(chain)));
        match table.as_str() {
            "firewalld" => Owner::Firewalld,
            "docker-bridges" => Owner::Docker,
            "libvirt_network" => Owner::Libvirt,
            _ if has(|chain| chain.starts_with("LIBVIRT_")) => Owner::Libvirt,
            // Where both are, the policy is ufw's: Docker only jumps from FORWARD.
            _ if has(|chain| chain.starts_with("ufw-") || chain.starts_with("ufw6-")) => Owner::Ufw,
            _ if has(|chain| chain == "DOCKER-USER" || chain == "DOCKER") => Owner::Docker,
            _ => Owner::Somebody,
        }
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Owner::Docker => Some("Docker"),
            Owner::Ufw => Some("ufw"),
            Owner::Firewalld => Some("firewalld"),
            Owner::Libvirt => Some("libvirt"),
            Owner::Somebody => None,
        }
    }

    /// What lets the VPN's packets pass there.
    fn help(self, place: &Place<'_>) -> String {
        let Place {
            chain,
            interface,
            is_legacy,
        } = place;
        let iptables = match (chain.family.as_str(), is_legacy) {
            ("ip6", false) => "ip6tables",
            ("ip6", true) => "ip6tables-legacy",
            (_, false) => "iptables",
            (_, true) => "iptables-legacy",
        };
        match (self, chain.hook.as_deref()) {
            (Owner::Docker, Some("forward")) => format!(
                "`{iptables} -I DOCKER-USER -i {interface} -j ACCEPT` and `{iptables} -I DOCKER-USER -o {interface} -j ACCEPT` leave it to us"
            ),
            (Owner::Ufw, Some("forward")) => {
                format!("`ufw route allow in on {interface}` and `ufw route allow out on {interface}` leave it to us")
            }
            (Owner::Ufw, _) => format!("`ufw allow in on {interface}` leaves it to us"),
            (Owner::Firewalld, _) => {
                format!("`firewall-cmd --permanent --zone=trusted --add-interface={interface}` leaves it to us")
            }
            _ if *is_legacy => {
                let table = match chain.table.as_str() {
                    "filter" => String::new(),
                    table => format!(" -t {table}"),
                };
                format!(
                    "let it accept what comes by {interface} or goes out by it: `{iptables}{table} -I {} -i {interface} -j ACCEPT`",
                    chain.name
                )
            }
            _ => format!(
                "let it accept what comes by {interface} or goes out by it: `nft insert rule {} {} {} iifname {interface} accept`",
                chain.family, chain.table, chain.name
            ),
        }
    }
}

/// A chain on the machine, as it is told.
struct Place<'a> {
    chain: &'a Chain,
    interface: &'a str,
    is_legacy: bool,
}

impl Place<'_> {
    fn finding(&self, owner: Owner, by_policy: bool, drops: usize) -> Finding {
        let Chain {
            family,
            table,
            name,
            hook,
            prio,
            ..
        } = self.chain;
        let hook = hook.as_deref().unwrap_or_default();
        // Ours stand at `filter`.
        let prio = prio.unwrap_or(0);
        let place = match prio {
            0 => "beside ours",
            prio if prio < 0 => "before ours",
            _ => "behind ours",
        };
        let kind = if self.is_legacy { "iptables-legacy's " } else { "" };
        let whose = owner.name().map_or_else(String::new, |owner| format!(" of {owner}"));
        let chain = format!("chain {name} of {kind}table {family} {table}{whose} (hook {hook}, priority {prio}, {place})");
        let (severity, message) = match by_policy {
            true => (
                Severity::Warning,
                format!(
                    "{chain} drops by its policy what none of its own rules accepts: an accept of ours does not save a packet from it"
                ),
            ),
            false => (
                Severity::Note,
                format!(
                    "{chain} has {drops} rule{} that drop or reject, also what ours accept",
                    if drops == 1 { "" } else { "s" }
                ),
            ),
        };
        Finding {
            kind: Kind::ForeignRules,
            severity,
            about: About::Machine,
            message,
            help: owner.help(self),
        }
    }
}
