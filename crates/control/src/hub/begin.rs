//! Which policy a hub comes up with.

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::apply::NOBODY_IS_ASKED;
use crate::Paths;
use crate::kept::{self, Kept};
use crate::revisions::{NewRevision, Origin};
use crate::source::Source;

/// A policy, and whether it is one that was confirmed before.
pub(super) struct Begin {
    pub(super) source: Source,
    applied: bool,
}

/// The file's policy, or with `applied` the last one that was confirmed. What a process that is no more had applied and somebody was
/// to confirm is taken back: then, too, it is the last confirmed one.
pub(super) fn choose(paths: &Paths, kept: &mut Kept, applied: bool) -> Result<Begin> {
    let mut applied = applied;
    if let Some((revision, until)) = kept.revisions.pending() {
        let asked = until != NOBODY_IS_ASKED;
        let why = match asked {
            true => "the daemon ended before it was confirmed",
            false => "the daemon ended while it was put in force",
        };
        kept.revisions.roll_back(revision.number, why)?;
        log::warn!("revision {} is taken back: {why}", revision.number);
        applied |= asked;
    }
    if applied && let Some(source) = last_confirmed(paths, kept) {
        return Ok(Begin { source, applied: true });
    }
    let source = Source::load(paths).map_err(|error| match kept.revisions.last_good() {
        Some(good) => error.context(format!(
            "`fielato up --applied` brings up what was applied last, revision {}",
            good.number
        )),
        None => error,
    })?;
    Ok(Begin { source, applied: false })
}

impl Begin {
    /// Records the policy as a revision, once it is in force.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(super) fn record(&self, kept: &Kept, author: &str, now: Timestamp) -> Result<()> {
        let files = self.source.files();
        if self.applied || kept.revisions.is_current(&files) {
            return Ok(());
        }
        let new = NewRevision {
            files: &files,
            author,
            message: None,
            origin: Origin::Up,
            confirm_until: None,
            now,
        };
        kept.revisions.record(new).map(drop)
    }
}

/// The last confirmed policy from the store, else as it stands in plain files.
fn last_confirmed(paths: &Paths, kept: &mut Kept) -> Option<Source> {
    let from_store = kept.revisions.last_good().map(|good| {
        let files = kept.revisions.text(good.number);
        files.with_context(|| format!("revision {}", good.number))
    });
    let stored = from_store.and_then(|files| match files.and_then(|files| Source::of(paths, files)) {
        Ok(source) => Some(source),
        Err(error) => {
            kept.warnings
                .push(format!("the last policy cannot be read from the store: {error:#}"));
            None
        }
    });
    stored.or_else(
        || match kept::last_good(paths).and_then(|files| files.map(|files| Source::of(paths, files)).transpose()) {
            Ok(source) => source,
            Err(error) => {
                kept.warnings
                    .push(format!("the last policy cannot be read from its files: {error:#}"));
                None
            }
        },
    )
}
