//! Waiting for several file descriptors at once.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::fd::timespec;

/// Taken from the system at once. What is beyond is reported by the next wait.
const EVENTS: usize = 8;

/// A longer wait ends early, with nothing ready: before Linux 5.11 a timeout is a 32-bit number of milliseconds.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// A set of file descriptors, level-triggered: what was not read to its end is ready again.
pub(crate) struct Poller(OwnedFd);

/// What is ready to read, or has an error to find by reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ready(u64);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Waits for `fd` too, and calls it `token`, which is below 64.
    pub(crate) fn add(&self, fd: impl AsFd, token: u32) -> io::Result<()> {
        if token >= u64::BITS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(epoll::add(&self.0, fd, EventData::new_u64(token.into()), EventFlags::IN)?)
    }

    /// Waits until something is ready or the time, in whole milliseconds rounded up, is over. `None` waits on.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let timeout = timeout.map(|timeout| timespec(timeout.min(WAIT_MAX)));
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [nothing; EVENTS];
        match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok(count) => Ok(Ready(
                events.iter().take(count).fold(0, |set, event| set | 1 << event.data.u64()),
            )),
            Err(Errno::INTR) => Ok(Ready::default()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Ready {
    pub(crate) fn contains(self, token: u32) -> bool {
        1_u64.checked_shl(token).is_some_and(|bit| self.0 & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;
    use crate::fd::Waker;

    const SHORT: Option<Duration> = Some(Duration::from_millis(20));
    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn tells_what_is_ready_until_it_is_read() {
        let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        poller.add(&waker, 0).unwrap();
        poller.add(&socket, 63).unwrap();
        let before = Instant::now();
        assert_eq!(poller.wait(SHORT).unwrap(), Ready::default());
        assert!(before.elapsed() >= Duration::from_millis(20));

        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        for _ in 0..2 {
            let ready = poller.wait(LONG).unwrap();
            assert_eq!((ready.contains(0), ready.contains(63)), (false, true));
        }
        waker.wake();
        let both = poller.wait(LONG).unwrap();
        assert_eq!((both.contains(0), both.contains(63), both.contains(64)), (true, true, false));
        waker.clear();
        socket.recv(&mut [0; 1]).unwrap();
        assert_eq!(poller.wait(SHORT).unwrap(), Ready::default());
    }

    #[test]
    fn another_thread_wakes_it() {
        let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
        poller.add(&waker, 5).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            assert!(poller.wait(LONG).unwrap().contains(5));
        });
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let (poller, waker) = (Poller::new().unwrap(), Waker::new().unwrap());
        assert_eq!(poller.add(&waker, 64).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        poller.add(&waker, 1).unwrap();
        waker.wake();
        assert!(poller.wait(LONG).unwrap().contains(1));
    }
}
