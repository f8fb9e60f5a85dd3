//! A tap as scripts see it: a path that packets are written to and read from, by shell redirection.
//!
//! It is a pseudo terminal in raw mode, because that is a byte stream in both directions with one name, which keeps what was written
//! until somebody reads it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::frame::{self, Frame};

/// One tap.
pub struct Tap {
    master: OwnedFd,
    /// Kept open, so that the stream outlives its readers and writers.
    _slave: OwnedFd,
    /// The begin of a frame that has not come whole.
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
}

impl Tap {
    /// Makes the stream and names it by a symbolic link at `path`.
    pub fn open(path: &Path) -> io::Result<Tap> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty())?;
        let mut attributes = tcgetattr(&slave)?;
        attributes.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &attributes)?;
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        std::os::unix::fs::symlink(OsStr::from_bytes(name.as_bytes()), path)?;
        Ok(Tap {
            master,
            _slave: slave,
            incoming: Vec::new(),
            outgoing: VecDeque::new(),
        })
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        match self.outgoing.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        }
    }

    /// The frames that were written to the tap.
    pub fn receive(&mut self) -> io::Result<Vec<Frame>> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(len) => self.incoming.extend_from_slice(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        frame::take(&mut self.incoming)
    }

    /// Queues a frame for whoever reads the tap.
    pub fn send(&mut self, frame: &Frame) {
        self.outgoing.extend(frame::emit(frame));
    }

    /// Gives on what there is room for.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match rustix::io::write(&self.master, self.outgoing.as_slices().0) {
                Ok(len) => drop(self.outgoing.drain(..len)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}
