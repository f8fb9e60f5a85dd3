//! Waiting for file descriptors, and waking those who wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Wakes a thread that waits in [`readable`] or with a [`Poller`](crate::poller::Poller).
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        // The only failure is a counter that is full: then the thread is awake already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Forgets that it was used, so that the next wait is one.
    pub(crate) fn clear(&self) {
        // Reading a counter that is 0 does nothing.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Waits until `fd` can be read or has an error to find by reading, the waker is used, or the time is over.
pub(crate) fn readable(fd: Option<&dyn AsFd>, waker: &Waker, timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(timespec);
    let own = PollFd::new(&waker.0, PollFlags::IN);
    let result = match fd {
        Some(fd) => poll(
            &mut [own, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)],
            timeout.as_ref(),
        ),
        None => poll(&mut [own], timeout.as_ref()),
    };
    match result {
        Ok(0) | Err(rustix::io::Errno::INTR) => {}
        Ok(_) => waker.clear(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Waits a moment for room to write: whether there is some. Congestion beyond that is loss, as on any network.
pub(crate) fn writable(fd: impl AsFd) -> bool {
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&wait)) == Ok(1)
}
