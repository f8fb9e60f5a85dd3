//! What the stores tell when no daemon runs.
//!
//! The lock is held while they are read: nobody writes to them meanwhile, and a daemon that is being started waits for that moment.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use fielato_policy::Grant;
use fielato_store::Embedded;
use jiff::Timestamp;

use crate::Paths;
use crate::accounting::{self, Accounting, by_group};
use crate::grants::Grants;
use crate::lock::Lock;
use crate::protocol::{By, Request, Response, Usage};
use crate::revisions::Revisions;
use crate::source::Source;

/// What the daemon would answer: to a request for revisions, grants or accounts. `None` to any other, and where nothing was stored yet.
///
/// # Errors
/// A daemon holds the lock; a store cannot be read; there is no such revision.
pub fn answer(paths: &Paths, request: &Request, now: Timestamp) -> Result<Option<Response>> {
    let store = match request {
        Request::Usage { .. } => paths.usage(),
        _ => paths.store(),
    };
    let is_known = matches!(
        request,
        Request::Revisions { .. } | Request::Revision { .. } | Request::Grants | Request::Usage { .. }
    );
    if !is_known || !store.exists() {
        return Ok(None);
    }
    let _lock = Lock::take(paths).context("the stores can't be read while a daemon has them")?;
    Ok(match request {
        Request::Revisions { limit } => Some(Response::Revisions(revisions(paths)?.log(*limit))),
        Request::Revision { number } => Some(Response::Revision(Box::new(revisions(paths)?.report(*number)?))),
        Request::Grants => Some(Response::Grants(stored_grants(paths)?)),
        Request::Usage { since, by } => Some(Response::Usage(usage(paths, *since, *by, now)?)),
        _ => None,
    })
}

/// Temporary access that was given; none where nothing was stored yet.
///
/// # Errors
/// As [`answer`].
pub fn grants(paths: &Paths) -> Result<Vec<Grant>> {
    match answer(paths, &Request::Grants, Timestamp::now())? {
        Some(Response::Grants(grants)) => Ok(grants),
        _ => Ok(Vec::new()),
    }
}

fn revisions(paths: &Paths) -> Result<Revisions> {
    Revisions::open(Arc::new(Embedded::open(&paths.store())?), paths.last_good())
}

fn stored_grants(paths: &Paths) -> Result<Vec<Grant>> {
    Grants::new(Arc::new(Embedded::open(&paths.store())?)).list()
}

/// Up to the last flush: what a killed daemon had counted since is lost with it, or comes with the next one.
fn usage(paths: &Paths, since: Timestamp, by: By, now: Timestamp) -> Result<Usage> {
    let store = Embedded::open_with(&paths.usage(), accounting::store_options())?;
    let members = Accounting::open(Arc::new(store))?.usage(since, now)?;
    let sums = match by {
        By::Member => members,
        By::Group => {
            // Who is in which group, the policy says that was applied last.
            let revisions = revisions(paths)?;
            let last = revisions
                .current()
                .context("no policy was applied yet, so there are no groups")?;
            by_group(&members, &Source::of(paths, revisions.text(last.number)?)?.config)
        }
    };
    Ok(Usage::new(sums, since, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::{Counters, Lives, Sample};
    use crate::files;
    use crate::kept::Kept;
    use crate::lock::Held;
    use crate::revisions::{NewRevision, Origin};
    use crate::source::MAIN;

    const POLICY: &str = "[hub]\ninterface = \"wg0\"\nendpoint = \"vpn.example.org:51820\"\naddresses = [\"192.168.4.1/24\"]\nuplink = \"eth0\"\n\
        [group.staff]\n[member.alice]\naddresses = [\"192.168.4.2\"]\ngroups = [\"staff\"]\n\
        public_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n";

    fn now() -> Timestamp {
        "2026-11-01T12:30:00Z".parse().unwrap()
    }

    /// As a daemon leaves them: a revision, a grant, and what alice has sent.
    fn stored(paths: &Paths) {
        let mut kept = Kept::open(paths).unwrap();
        let new = NewRevision {
            files: &[(MAIN.to_owned(), POLICY.to_owned())],
            author: "root",
            message: Some("first"),
            origin: Origin::Apply,
            confirm_until: None,
            now: now(),
        };
        kept.revisions.record(new).unwrap();
        let grant = Grant {
            member: "alice".into(),
            service: "storage".into(),
            until: "2026-11-02T00:00:00Z".parse().unwrap(),
            reason: None,
            by: None,
        };
        kept.grant(&grant).unwrap();
        for sent in [0, 1000] {
            let counters = Counters {
                rx_bytes: sent,
                ..Counters::default()
            };
            let sample = Sample {
                member: "alice",
                key: [7; 32],
                counters,
            };
            let lives = Lives {
                device: "device".into(),
                packets: None,
            };
            kept.accounting.observe(&lives, &[sample], now());
        }
        kept.flush_now(now());
    }

    #[test]
    fn everything_is_told_as_the_daemon_would() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        let ask = |request: &Request| answer(&paths, request, now()).unwrap();
        let since = "2026-11-01T00:00:00Z".parse().unwrap();
        let usage_by = |by| Request::Usage { since, by };
        for request in [Request::Revisions { limit: 5 }, Request::Grants, usage_by(By::Member)] {
            assert_eq!(ask(&request), None, "nothing was stored");
        }
        assert!(!paths.store().exists() && !paths.usage().exists(), "and nothing is");
        files::ensure_dir(&paths.state()).unwrap();
        stored(&paths);

        let Some(Response::Revisions(log)) = ask(&Request::Revisions { limit: 5 }) else {
            panic!("no revisions")
        };
        assert_eq!(log.iter().map(|one| one.number).collect::<Vec<_>>(), [1]);
        let Some(Response::Revision(report)) = ask(&Request::Revision { number: None }) else {
            panic!("no revision")
        };
        assert_eq!((report.revision.number, report.files[0].1.as_str()), (1, POLICY));
        let missing = answer(&paths, &Request::Revision { number: Some(9) }, now()).unwrap_err();
        assert!(missing.to_string().contains('9'), "{missing}");
        assert_eq!(grants(&paths).unwrap()[0].service, "storage");
        for (by, name) in [(By::Member, "alice"), (By::Group, "staff")] {
            let Some(Response::Usage(usage)) = ask(&usage_by(by)) else {
                panic!("no accounts")
            };
            let told: Vec<_> = usage
                .usage
                .iter()
                .map(|of| (of.name.as_str(), of.counters.rx_bytes))
                .collect();
            assert_eq!(told, [(name, 1000)]);
        }
        assert_eq!(ask(&Request::Status), None, "that is a daemon's to know");
    }

    #[test]
    fn a_daemon_that_has_the_stores_is_not_disturbed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path(), None);
        stored(&paths);
        let mut lock = Lock::take(&paths).unwrap();
        lock.sign().unwrap();
        let refused = answer(&paths, &Request::Grants, now()).unwrap_err();
        assert!(refused.is::<Held>(), "{refused:#}");
    }
}
