//! The machine of a protected host: its table of rules, the reverse path, and the plan on the disk.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use fielato_fleet::agent::Application;
use fielato_fleet::{Digest, HostState};
use fielato_kernel::nft::{self, Family, NftError, element};
use fielato_kernel::sysctl::{self, SysctlError};
use fielato_policy::HostPlan;
use fielato_policy::plan::Admit;
use fielato_policy::render;
use fielato_policy::render::nft::ElementChange;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hub::{ELEMENTS_MAX, element_change};
use crate::{Paths, files};

/// The nftables table of a protected host, in family `inet`. No other is touched.
pub const TABLE: &str = "fielato_host";

/// Keeps the machine as the last applied plan wants it.
pub(super) struct Enforcer {
    paths: Paths,
    /// What the table looked like after it was applied.
    seen: Option<Digest>,
    /// Settings of the kernel and their value before the agent came.
    before: BTreeMap<String, String>,
    /// The interface whose reverse path is to be strict.
    strict: Option<String>,
}

/// The plan on the disk, with what tells a whole file from a damaged one.
#[derive(Serialize, Deserialize)]
struct Kept {
    digest: Digest,
    #[serde(flatten)]
    state: HostState,
}

impl Enforcer {
    pub(super) fn open(paths: &Paths) -> Result<Self> {
        files::ensure_dir(&paths.state())?;
        nft::check()?;
        Ok(Self {
            paths: paths.clone(),
            seen: None,
            before: recorded(paths)?,
            strict: None,
        })
    }

    /// The plan that was enforced last, by this process or one before.
    pub(super) fn last_good(&self) -> Option<HostState> {
        let path = self.paths.agent_plan();
        let text = match files::read_if_exists(&path) {
            Ok(text) => text?,
            Err(error) => {
                log::error!("{error:#}; the rules in the kernel stay until the hub says what to enforce");
                return None;
            }
        };
        match serde_json::from_str(&text) {
            Ok(Kept { digest, state }) if state.digest() == digest => Some(state),
            _ => {
                log::error!(
                    "{} is damaged; the rules in the kernel stay until the hub says what to enforce",
                    path.display()
                );
                None
            }
        }
    }

    /// Makes the machine so, then the file: a plan that the kernel refuses must not be the one that is tried after a reboot.
    pub(super) fn apply(&mut self, application: &Application) -> Result<()> {
        let Application { state, before } = application;
        let elements = before
            .as_ref()
            .and_then(|before| render::nft::update_host(&before.plan, &state.plan));
        let by_elements = match elements {
            Some(steps) if steps.len() <= ELEMENTS_MAX => self.change_elements(&steps)?,
            _ => false,
        };
        if !by_elements {
            nft::apply(&render::nft::host(&state.plan))?;
        }
        self.seen = fingerprint()?;
        self.strict = tunnel(&state.plan);
        self.keep_strict()?;
        let kept = Kept {
            digest: state.digest(),
            state: state.clone(),
        };
        files::replace(&self.paths.agent_plan(), &serde_json::to_vec(&kept)?, 0o600)
    }

    /// Changes single elements of sets. Not in a table that somebody else has changed: it has to be loaded whole.
    fn change_elements(&self, steps: &[ElementChange]) -> Result<bool> {
        if self.seen.is_none() || self.drift()?.is_some() {
            return Ok(false);
        }
        let steps: Vec<element::Change> = steps.iter().map(element_change).collect();
        match element::change(Family::Inet, TABLE, &steps) {
            Ok(()) => Ok(true),
            Err(error) => {
                log::warn!("{error}; loading all rules");
                Ok(false)
            }
        }
    }

    /// What somebody has changed of ours.
    pub(super) fn drift(&self) -> Result<Option<String>> {
        if self.seen.is_none() {
            return Ok(None);
        }
        let now = fingerprint()?;
        Ok(match now {
            None => Some(format!("table inet {TABLE} was removed")),
            now if now != self.seen => Some(format!("table inet {TABLE} was changed")),
            _ => None,
        })
    }

    /// Strict reverse path on the tunnel, also when its interface comes later than the agent or was made anew.
    pub(super) fn keep_strict(&mut self) -> Result<()> {
        let Some(interface) = &self.strict else { return Ok(()) };
        // net/ipv4/fib_frontend.c: IPv6 has no such setting, so the table has a rule for both.
        let name = format!("net/ipv4/conf/{interface}/rp_filter");
        let value = match sysctl::read(&name) {
            Ok(value) => value,
            Err(SysctlError::Missing(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if value == STRICT {
            return Ok(());
        }
        if !self.before.contains_key(&name) {
            self.before.insert(name.clone(), value);
            record(&self.paths, &self.before)?;
        }
        Ok(sysctl::write(&name, STRICT)?)
    }
}

/// RFC 3704 section 2.2: a packet whose source would be answered by another interface is dropped.
const STRICT: &str = "1";

/// The interface that strategy `member` trusts.
fn tunnel(plan: &HostPlan) -> Option<String> {
    match &plan.admit {
        Admit::Interface(interface) => Some(interface.clone()),
        Admit::Sources(_) => None,
    }
}

/// Takes away all that an agent made.
pub(super) fn remove(paths: &Paths) -> Result<()> {
    for (name, value) in recorded(paths)? {
        match sysctl::write(&name, &value) {
            // The interface has gone, and its settings with it.
            Err(SysctlError::Missing(_)) => {}
            result => result?,
        }
    }
    nft::delete_table(Family::Inet, TABLE)?;
    files::remove(&paths.agent_undo())
}

fn recorded(paths: &Paths) -> Result<BTreeMap<String, String>> {
    let path = paths.agent_undo();
    let Some(text) = files::read_if_exists(&path)? else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is damaged; it says how the machine was; remove it if that is known",
            path.display()
        )
    })
}

fn record(paths: &Paths, before: &BTreeMap<String, String>) -> Result<()> {
    files::replace(&paths.agent_undo(), &serde_json::to_vec(before)?, 0o600)
}

/// The table as it stands, but for what changes by itself: counters, handles. `None` when there is none.
fn fingerprint() -> Result<Option<Digest>> {
    let mut table = match nft::list_table_json(Family::Inet, TABLE) {
        Ok(table) => table,
        Err(NftError::Refused(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    forget_counts(&mut table);
    Ok(Some(Digest::of_bytes(table.to_string().as_bytes())))
}

fn forget_counts(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["handle", "metainfo"] {
                fields.remove(key);
            }
            for (key, value) in fields.iter_mut() {
                match key.as_str() {
                    "counter" => *value = Value::Null,
                    _ => forget_counts(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget_counts),
        _ => {}
    }
}
