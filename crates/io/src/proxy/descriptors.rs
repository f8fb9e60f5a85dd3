//! Enough open files for the limits, or a word about it.

use std::sync::atomic::Ordering;

use rustix::process::{Resource, getrlimit, setrlimit};

use super::Limits;
use super::counters::Counters;

/// For the rest of the process: its tunnel, files, control connections.
const RESERVE: u64 = 128;

/// Raises the soft limit towards the hard one as far as it is needed, and says when that is not enough.
pub(super) fn prepare(limits: &Limits, counters: &Counters) {
    let needed = (limits.tcp + limits.udp + limits.ping) as u64 + RESERVE;
    let mut now = getrlimit(Resource::Nofile);
    // No limit is no number.
    if now.current.is_some_and(|current| current < needed) {
        let raised = now.maximum.map_or(needed, |maximum| maximum.min(needed));
        let wanted = rustix::process::Rlimit {
            current: Some(raised),
            maximum: now.maximum,
        };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            now.current = Some(raised);
        }
    }
    let current = now.current.unwrap_or(u64::MAX);
    counters.descriptors.store(current, Ordering::Relaxed);
    if current < needed {
        log::warn!(
            "proxy: {current} open files are allowed, and its limits need {needed}: connections beyond are dropped and counted as \
             `descriptors`; raise the hard limit (ulimit -Hn, LimitNOFILE= in a unit)"
        );
    }
}
