//! What members have sent and received: counted, told, and held against quotas.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use super::{Hub, names};
use crate::accounting::by_group;
use crate::protocol::{By, Usage};

/// How often the counters are read; those of our own device are written as often.
const EVERY: Duration = Duration::from_secs(2);

impl Hub {
    /// Reads the counters.
    pub(super) fn account(&mut self, now: Timestamp) {
        self.accounted = Instant::now();
        match self.engine.device() {
            Ok(status) => {
                self.kept.account(&self.lives, &status, &names(&self.plan), now);
                self.kept.flush(self.engine.wireguard() == "userspace", now);
            }
            Err(error) => log::warn!("the members' counters cannot be read: {error:#}"),
        }
    }

    /// Whether it is time to read them again.
    pub(super) fn is_time_to_account(&self) -> bool {
        self.accounted.elapsed() >= EVERY
    }

    /// Whether somebody has used up a quota, or has one anew.
    pub(super) fn judge_quotas(&mut self, now: Timestamp) -> Result<bool> {
        self.kept.judge_quotas(&self.source.config, now)
    }

    /// What was used since a moment.
    ///
    /// # Errors
    /// When the accounts cannot be read.
    pub(super) fn usage(&mut self, since: Timestamp, by: By, now: Timestamp) -> Result<Usage> {
        self.account(now);
        let members = self.kept.accounting.usage(since, now)?;
        let sums = match by {
            By::Member => members,
            By::Group => by_group(&members, &self.source.config),
        };
        Ok(Usage::new(sums, since, now))
    }
}
