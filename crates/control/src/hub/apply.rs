//! Policies that are applied, confirmed, and taken back.
//!
//! A policy is recorded as a revision before it is put in force, as one that waits to be confirmed; it is confirmed when the
//! checks that follow pass and, where a person wants to be asked, when that person says so in time. Whatever comes between, a kill
//! included, leaves a revision that was not confirmed, and the next start goes back to the last that was.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use fielato_policy::lockout::Logins;
use jiff::Timestamp;

use super::{Hub, judged};
use crate::audit::Outcome;
use crate::protocol::{Applied, Changes};
use crate::revisions::{NewRevision, Origin, Revision};
use crate::source::Source;
use crate::watchdog::Watchdog;

/// The end of a revision that nobody is asked about, while it is put in force and checked.
pub(super) const NOBODY_IS_ASKED: Timestamp = Timestamp::MAX;
/// How long after a failure the taking back is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How a policy is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct How<'a> {
    /// What brings it.
    pub(super) origin: Origin,
    /// Who applies it.
    pub(super) author: &'a str,
    /// What for.
    pub(super) message: Option<&'a str>,
    /// Within this time it must be confirmed.
    pub(super) confirm: Option<Duration>,
    /// Who is logged in.
    pub(super) logins: &'a Logins,
    /// Also if the connection of who applies it breaks, or those of hosts' agents.
    pub(super) force: bool,
}

/// A policy in force that waits to be confirmed.
pub(super) struct Pending {
    number: u64,
    until: Timestamp,
    /// The same by a clock that nobody sets.
    deadline: Instant,
    watchdog: Option<Watchdog>,
}

impl Pending {
    fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now || self.deadline <= Instant::now()
    }
}

/// Why a policy was not applied.
struct NotApplied {
    error: anyhow::Error,
    /// The machine was changed, and is to be put back.
    changed: bool,
}

impl NotApplied {
    fn before(error: anyhow::Error) -> Self {
        Self { error, changed: false }
    }
}

impl Hub {
    /// Puts the file's policy in force.
    ///
    /// # Errors
    /// Why it was refused; the hub then runs as before.
    pub(super) fn apply(&mut self, how: How<'_>, now: Timestamp) -> Result<Applied> {
        self.refuse_while_pending()?;
        let before = self.source.refresh(&self.paths)?;
        let judged = judged::judge(
            &self.source.config,
            &self.plan_at(now)?,
            before.config(),
            &self.plan,
            &how,
            now,
        );
        let applied = judged.map_err(NotApplied::before).and_then(|warnings| {
            let applied = self.apply_source(how, now)?;
            Ok(Applied { warnings, ..applied })
        });
        applied.map_err(|NotApplied { error, changed }| {
            self.source.restore(before);
            match changed.then(|| self.change_to_source(now)) {
                Some(Err(back)) => error.context(format!("and the policy before could not be put back: {back:#}")),
                _ => error,
            }
        })
    }

    fn apply_source(&mut self, how: How<'_>, now: Timestamp) -> Result<Applied, NotApplied> {
        let files = self.source.files();
        if how.confirm.is_none() && self.kept.revisions.is_current(&files) {
            // The same text: keys or the time may ask for something all the same.
            let changes = self.change_to_source(now).map_err(NotApplied::before)?;
            return Ok(self.applied(None, changes));
        }
        let watchdog = how.confirm.map(|_| self.start_watchdog());
        let watchdog = watchdog.transpose().map_err(NotApplied::before)?;
        let until = how
            .confirm
            .and_then(|within| now.checked_add(within).ok())
            .unwrap_or(NOBODY_IS_ASKED);
        let recorded = self.kept.revisions.record(NewRevision {
            files: &files,
            author: how.author,
            message: how.message,
            origin: how.origin,
            confirm_until: Some(until),
            now,
        });
        let pending = |number| Pending {
            number,
            until,
            deadline: Instant::now() + how.confirm.unwrap_or_default(),
            watchdog,
        };
        let revision = match recorded {
            Ok(revision) => revision,
            Err(error) => {
                pending(0).dismiss();
                return Err(NotApplied::before(error));
            }
        };
        let pending = pending(revision.number);
        let changes = match self.change_to_source(now) {
            Ok(changes) => changes,
            Err(error) => {
                self.undone(pending, &format!("it was refused: {error:#}"));
                return Err(NotApplied::before(error));
            }
        };
        if let Err(error) = self.engine.verify(&self.plan) {
            let error = error.context("the policy was applied, but the machine is not as it says");
            self.undone(pending, &format!("{error:#}"));
            return Err(NotApplied { error, changed: true });
        }
        if how.confirm.is_none() {
            if let Err(error) = self.kept.revisions.confirm(revision.number) {
                self.undone(pending, "it could not be recorded as confirmed");
                return Err(NotApplied { error, changed: true });
            }
            pending.dismiss();
            return Ok(self.applied(Some((&revision, None)), changes));
        }
        let applied = self.applied(Some((&revision, Some(until))), changes);
        self.pending = Some(pending);
        Ok(applied)
    }

    /// `new`: the revision that was made, and until when it must be confirmed.
    fn applied(&self, new: Option<(&Revision, Option<Timestamp>)>, changes: Changes) -> Applied {
        let (revision, until) = match new {
            Some((revision, until)) => (Some(revision.number), until),
            None => (self.kept.revisions.current().map(|current| current.number), None),
        };
        Applied {
            revision,
            is_new: new.is_some(),
            until,
            changes,
            warnings: Vec::new(),
        }
    }

    pub(super) fn refuse_while_pending(&self) -> Result<()> {
        match &self.pending {
            Some(pending) => bail!(
                "revision {} waits to be confirmed until {}: first `fielato confirm`, or `fielato rollback`",
                pending.number,
                pending.until.strftime("%F %T UTC")
            ),
            None => Ok(()),
        }
    }

    fn start_watchdog(&self) -> Result<Watchdog> {
        let words: &[OsString] = &self.again;
        Watchdog::start(&self.paths, &self.lock, words)
    }

    /// Confirms what waits for it. Returns its number.
    ///
    /// # Errors
    /// Nothing waits; the confirmation cannot be recorded.
    pub(super) fn confirm(&mut self) -> Result<u64> {
        let Some(pending) = &self.pending else {
            bail!("no policy waits to be confirmed; `fielato log` shows what became of the last ones");
        };
        let number = pending.number;
        self.kept.revisions.confirm(number)?;
        if let Some(pending) = self.pending.take() {
            pending.dismiss();
        }
        Ok(number)
    }

    /// Takes back what waits to be confirmed, if something does. Returns its number and the one that is in force again.
    ///
    /// # Errors
    /// The policy before cannot be put in force; the newer one still is, and waits on.
    pub(super) fn take_back(&mut self, why: &str, now: Timestamp) -> Result<Option<(u64, u64)>> {
        let Some(pending) = self.pending.take() else {
            return Ok(None);
        };
        match self.go_back(now) {
            Ok(good) => {
                let number = pending.number;
                self.undone(pending, why);
                log::warn!("revision {number} is taken back: {why}; revision {good} is in force");
                Ok(Some((number, good)))
            }
            Err(error) => {
                self.pending = Some(pending);
                Err(error.context("the policy before cannot be put in force"))
            }
        }
    }

    /// Puts the last confirmed policy in force.
    fn go_back(&mut self, now: Timestamp) -> Result<u64> {
        let good = self.kept.revisions.last_good();
        let good = good.ok_or_else(|| anyhow!("no policy was confirmed before"))?;
        let source = Source::of(&self.paths, self.kept.revisions.text(good.number)?)?;
        let newer = std::mem::replace(&mut self.source, source);
        if let Err(error) = self.change_to_source(now) {
            self.source = newer;
            return Err(error);
        }
        Ok(good.number)
    }

    /// Notes that a revision is no more.
    pub(super) fn undone(&mut self, pending: Pending, why: &str) {
        if let Err(error) = self.kept.revisions.roll_back(pending.number, why) {
            // It stays one that waits: the next start goes back from it as well.
            log::error!(
                "that revision {} was taken back cannot be recorded: {error:#}",
                pending.number
            );
        }
        pending.dismiss();
    }

    /// Takes back what was not confirmed in time.
    pub(super) fn expire_pending(&mut self, now: Timestamp) {
        if !self.pending.as_ref().is_some_and(|pending| pending.is_over(now)) {
            return;
        }
        let taken_back = self.take_back("it was not confirmed in time", now);
        let result = match &taken_back {
            Ok(Some((number, good))) => Outcome::Done(format!("revision {number} is undone, {good} in force")),
            Ok(None) => return,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        self.note("rollback: not confirmed in time", result, now);
        if let Err(error) = taken_back {
            log::error!("{error:#}; tried again in {} s", AGAIN.as_secs());
            if let Some(pending) = &mut self.pending {
                pending.until = now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
                pending.deadline = Instant::now() + AGAIN;
            }
        }
    }

    /// When [`Hub::expire_pending`] has something to do.
    pub(super) fn pending_until(&self) -> Option<(u64, Timestamp)> {
        self.pending.as_ref().map(|pending| (pending.number, pending.until))
    }
}

impl Pending {
    fn dismiss(self) {
        if let Some(watchdog) = self.watchdog {
            watchdog.dismiss();
        }
    }
}
