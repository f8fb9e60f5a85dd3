//! Watches: commits as they happen, to whoever asked for them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::{Entry, Error, Result, Revision};

/// How many commits may wait for a watch that nobody reads; beyond, it is given up, so that memory is bounded.
const MAX_WAITING: usize = 8192;

/// What a commit did to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What stands there now; none when it was deleted.
    pub entry: Option<Entry>,
}

/// A commit, as far as a watch wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its revision.
    pub revision: Revision,
    /// What it changed, in the order of the transaction.
    pub changes: Vec<Change>,
}

/// Commits to the keys below a prefix, in order, each once. Its descriptor is readable while there is something to take.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    prefix: String,
    from: Revision,
    state: Mutex<State>,
    changed: Condvar,
    event: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Commit>,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Lagged(usize),
    Closed,
}

impl Watch {
    /// The next commit, if there is one already.
    ///
    /// # Errors
    /// [`Error::Lagged`] when it was not read in time, [`Error::Closed`] when the store is no more; both after what still waited.
    pub fn try_next(&self) -> Result<Option<Commit>> {
        self.queue.take(&mut self.queue.lock())
    }

    /// The next commit, waited for.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub fn next(&self, patience: Duration) -> Result<Option<Commit>> {
        let deadline = Instant::now().checked_add(patience);
        let mut state = self.queue.lock();
        loop {
            if let Some(commit) = self.queue.take(&mut state)? {
                return Ok(Some(commit));
            }
            let left = deadline.map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.queue.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.event.as_fd()
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, state: &mut State) -> Result<Option<Commit>> {
        if let Some(commit) = state.waiting.pop_front() {
            if state.waiting.is_empty() && state.end.is_none() {
                // eventfd(2): reading takes the count, and with it the readiness.
                let _ = rustix::io::read(&self.event, &mut [0; 8]);
            }
            return Ok(Some(commit));
        }
        match state.end {
            None => Ok(None),
            Some(End::Lagged(missed)) => Err(Error::Lagged { missed }),
            Some(End::Closed) => Err(Error::Closed),
        }
    }

    fn push(&self, commit: &Commit) {
        if commit.revision < self.from {
            return;
        }
        let changes: Vec<Change> = commit
            .changes
            .iter()
            .filter(|change| change.key.starts_with(&self.prefix))
            .cloned()
            .collect();
        if changes.is_empty() {
            return;
        }
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        if state.waiting.len() >= MAX_WAITING {
            state.end = Some(End::Lagged(state.waiting.len()));
            state.waiting.clear();
        } else {
            state.waiting.push_back(Commit {
                revision: commit.revision,
                changes,
            });
        }
        self.wake();
    }

    fn wake(&self) {
        // It fails when the count is at its end, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        self.changed.notify_all();
    }
}

/// Everybody who watches a store.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    queues: Mutex<Vec<Weak<Queue>>>,
}

impl Watchers {
    /// Adds a watch, which begins with `past`. The caller sees to it that no commit falls between.
    pub(crate) fn add(&self, path: &Path, prefix: &str, from: Revision, past: &[Commit]) -> Result<Watch> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| Error::Io {
            path: path.into(),
            doing: "make a descriptor for a watch of",
            source: error.into(),
        })?;
        let queue = Arc::new(Queue {
            prefix: prefix.into(),
            from,
            state: Mutex::default(),
            changed: Condvar::new(),
            event,
        });
        for commit in past {
            queue.push(commit);
        }
        let mut queues = self.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&queue));
        Ok(Watch { queue })
    }

    /// Tells everybody of a commit.
    pub(crate) fn publish(&self, commit: &Commit) {
        self.lock().retain(|queue| match queue.upgrade() {
            Some(queue) => {
                queue.push(commit);
                true
            }
            None => false,
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        for queue in self.lock().iter().filter_map(Weak::upgrade) {
            queue.lock().end.get_or_insert(End::Closed);
            queue.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: u64, key: &str) -> Commit {
        Commit {
            revision: Revision(number),
            changes: vec![Change {
                key: key.into(),
                entry: None,
            }],
        }
    }

    fn readable(watch: &Watch) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn the_descriptor_is_readable_while_something_waits() {
        let watchers = Watchers::default();
        let watch = watchers.add(Path::new("x"), "a/", Revision(2), &[]).unwrap();
        watchers.publish(&commit(1, "a/before"));
        watchers.publish(&commit(2, "b/other"));
        assert!(!readable(&watch));
        watchers.publish(&commit(3, "a/1"));
        watchers.publish(&commit(4, "a/2"));
        assert!(readable(&watch));
        assert_eq!(watch.try_next().unwrap(), Some(commit(3, "a/1")));
        assert!(readable(&watch));
        assert_eq!(watch.next(Duration::ZERO).unwrap(), Some(commit(4, "a/2")));
        assert!(!readable(&watch));
        assert_eq!(watch.next(Duration::from_millis(5)).unwrap(), None);
        drop(watchers);
        assert!(readable(&watch), "the end is news, too");
        assert!(matches!(watch.try_next(), Err(Error::Closed)));
    }

    #[test]
    fn a_watch_that_nobody_reads_is_given_up() {
        let watchers = Watchers::default();
        let watch = watchers.add(Path::new("x"), "", Revision(0), &[]).unwrap();
        for number in 0..=MAX_WAITING as u64 {
            watchers.publish(&commit(number, "k"));
        }
        assert!(matches!(watch.try_next(), Err(Error::Lagged { missed: MAX_WAITING })));
        drop(watch);
        watchers.publish(&commit(1, "k"));
        assert_eq!(watchers.lock().len(), 0, "one that was dropped is forgotten");
    }

    #[test]
    fn waiting_ends_with_a_commit_of_another_thread() {
        let watchers = Watchers::default();
        let watch = watchers.add(Path::new("x"), "", Revision(0), &[]).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| watch.next(Duration::from_secs(20)));
            watchers.publish(&commit(7, "k"));
            assert_eq!(waiter.join().unwrap().unwrap(), Some(commit(7, "k")));
        });
    }
}
