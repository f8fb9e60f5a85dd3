//! What the hub must not forget: revisions, grants, accounts, and the audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fielato_policy::config::Over;
use fielato_policy::{Config, Grant};
use fielato_store::{Embedded, Error, Options};
use fielato_wireguard::{DeviceStatus, PeerPackets};
use jiff::Timestamp;

use crate::accounting::{self, Accounting, Counters, Lives, Packets, Sample};
use crate::audit::{self, Audit};
use crate::grants::Grants;
use crate::revisions::{Revisions, last_good};
use crate::{Paths, files};

/// How often accounts go to the disk, at most: of counters that go on when this process is killed, and of such that end with it.
const FLUSH_EVERY: Duration = Duration::from_secs(4);
const FLUSH_EVERY_OWN: Duration = Duration::from_secs(1);

/// The stores, open.
pub(crate) struct Kept {
    /// Every policy that was applied.
    pub(crate) revisions: Revisions,
    /// Temporary access.
    grants: Grants,
    /// The same, as plans want it.
    granted: Vec<Grant>,
    /// What members have sent and received.
    pub(crate) accounting: Accounting,
    /// Who did what.
    pub(crate) audit: Audit,
    /// Members that have used up a quota.
    over_quota: BTreeMap<String, Over>,
    flushed: Instant,
    /// What an administrator should look at.
    pub(crate) warnings: Vec<String>,
}

impl Kept {
    /// Opens them. A damaged one is moved beside, and a new one begun: what it held is lost, but for the last good policy.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub(crate) fn open(paths: &Paths) -> Result<Self> {
        files::ensure_dir(&paths.state())?;
        let mut warnings = Vec::new();
        let store = open(&paths.store(), Options::default(), &mut warnings)?;
        let usage = open(&paths.usage(), accounting::store_options(), &mut warnings)?;
        let grants = Grants::new(store.clone());
        Ok(Self {
            granted: grants.list()?,
            grants,
            revisions: Revisions::open(store, paths.last_good())?,
            accounting: Accounting::open(usage)?,
            audit: Audit::open(&paths.audit(), audit::Limits::default())?,
            over_quota: BTreeMap::new(),
            flushed: Instant::now(),
            warnings,
        })
    }

    /// Temporary access that stands.
    pub(crate) fn granted(&self) -> &[Grant] {
        &self.granted
    }

    /// Members that have used up a quota, and what follows.
    pub(crate) const fn over_quota(&self) -> &BTreeMap<String, Over> {
        &self.over_quota
    }

    /// Adds a grant. Returns the one that it replaces.
    ///
    /// # Errors
    /// When the store cannot be written; nothing has changed then.
    pub(crate) fn grant(&mut self, grant: &Grant) -> Result<Option<Grant>> {
        let before = self.grants.add(grant)?;
        self.granted = self.grants.list()?;
        Ok(before)
    }

    /// Removes a grant, if there is one.
    ///
    /// # Errors
    /// When the store cannot be written; nothing has changed then.
    pub(crate) fn revoke(&mut self, member: &str, service: &str) -> Result<Option<Grant>> {
        let gone = self.grants.revoke(member, service)?;
        self.granted = self.grants.list()?;
        Ok(gone)
    }

    /// Removes the grants that have ended.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Result<Vec<Grant>> {
        let ended = self.grants.expire(now)?;
        self.granted = self.grants.list()?;
        Ok(ended)
    }

    /// Takes what the device's counters say of these peers. `members` are their names.
    pub(crate) fn account(&mut self, lives: &Lives, status: &DeviceStatus, members: &BTreeMap<[u8; 32], String>, now: Timestamp) {
        let samples: Vec<Sample<'_>> = status
            .peers
            .iter()
            .filter_map(|peer| {
                Some(Sample {
                    member: members.get(&peer.public_key.0)?,
                    key: peer.public_key.0,
                    counters: Counters {
                        rx_bytes: peer.rx_bytes,
                        tx_bytes: peer.tx_bytes,
                        packets: peer.packets.map(|PeerPackets { rx, tx }| Packets { rx, tx }),
                    },
                })
            })
            .collect();
        self.accounting.observe(lives, &samples, now);
    }

    /// Brings the accounts to the disk when that is due; `own`: the counters end with this process. What fails is tried again, and
    /// said.
    pub(crate) fn flush(&mut self, own: bool, now: Timestamp) {
        if self.flushed.elapsed() >= if own { FLUSH_EVERY_OWN } else { FLUSH_EVERY } {
            self.flush_now(now);
        }
    }

    /// The same, at once.
    pub(crate) fn flush_now(&mut self, now: Timestamp) {
        self.flushed = Instant::now();
        if let Err(error) = self.accounting.flush(now) {
            log::error!("{error:#}; it is tried again");
        }
        self.audit.sync(now);
    }

    /// Looks who has used up a quota. True when that has changed.
    ///
    /// # Errors
    /// When the accounts cannot be read.
    pub(crate) fn judge_quotas(&mut self, config: &Config, now: Timestamp) -> Result<bool> {
        let over = self.accounting.over_quota(config, now)?;
        let changed = over != self.over_quota;
        if changed {
            let names: Vec<&str> = over.keys().map(String::as_str).collect();
            log::info!("members that have used up a quota: [{}]", names.join(", "));
        }
        self.over_quota = over;
        Ok(changed)
    }
}

/// The policy to go on with when the store cannot be read: the last confirmed one.
///
/// # Errors
/// When its folder cannot be read.
pub(crate) fn last_good(paths: &Paths) -> Result<Option<Vec<(String, String)>>> {
    Ok(last_good::read(&paths.last_good())?.map(|good| good.files))
}

fn open(path: &std::path::Path, options: Options, warnings: &mut Vec<String>) -> Result<Arc<Embedded>> {
    let store = match Embedded::open_with(path, options) {
        Err(error @ Error::Corrupt { .. }) => {
            let (store, beside) = Embedded::set_aside(path, options).with_context(|| format!("{error}"))?;
            let warning = format!("{error}; it was moved to {}, and a new one begun", beside.display());
            log::error!("{warning}");
            warnings.push(warning);
            Ok(store)
        }
        result => result,
    };
    Ok(Arc::new(store?))
}
