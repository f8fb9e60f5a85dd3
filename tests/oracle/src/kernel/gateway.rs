//! Linux forwarding between its two TUNs under rules of the caller's, for measurements.

use std::time::{Duration, Instant};

use fielato_netfilter::conntrack::Direction;
use rustix::io::Errno;

use super::namespace::{Blueprint, Namespace, is_chatter};
use crate::error::Error;

/// A namespace of its own with the [`crate::network`] in it, at first without rules on the way of forwarded packets.
///
/// What goes in by `tun0` and out by `tun1` is [`Direction::Original`].
pub struct Gateway {
    namespace: Namespace,
    buffer: Vec<u8>,
}

impl Gateway {
    /// Most packets that wait in a TUN for their reader (`TUN_READQ_SIZE`, linux/if_tun.h); further ones are lost.
    pub const QUEUE: usize = 500;

    /// Makes one. Connections aren't tracked until a rule needs it, and, as by default, not counted.
    ///
    /// # Errors
    /// Without root.
    pub fn create() -> Result<Self, Error> {
        let mut gateway = Self {
            namespace: Namespace::create(Blueprint::oracle(false))?,
            buffer: vec![0; 65_536],
        };
        let uncounted = &["-q", "-w", "net.netfilter.nf_conntrack_acct=0"];
        gateway.run("sysctl", uncounted, String::new())?;
        // What the kernel said while its interfaces came up.
        for direction in [Direction::Original, Direction::Reply] {
            gateway.drain(direction, |_| ())?;
        }
        Ok(gateway)
    }

    /// Runs a program inside.
    ///
    /// # Errors
    /// With what it wrote, when it fails.
    pub fn run(&self, program: &'static str, arguments: &'static [&'static str], input: String) -> Result<(), Error> {
        self.namespace.run(program, arguments, input).map(drop)
    }

    /// Sends packets, one system call each, and returns how long it took. The kernel has forwarded a packet when its call
    /// returns. Give no more than [`Self::QUEUE`] between two calls of [`Self::drain`].
    ///
    /// # Errors
    /// When the kernel takes a packet not at all; that it drops one is no error.
    pub fn send(&self, direction: Direction, packets: &[Vec<u8>]) -> Result<Duration, Error> {
        let tun = &self.namespace.opened.tuns[direction as usize];
        let start = Instant::now();
        for packet in packets {
            rustix::io::write(tun, packet).map_err(Error::system("write to a TUN"))?;
        }
        Ok(start.elapsed())
    }

    /// Reads what came out at the end of `direction`, but for what the kernel says unasked.
    ///
    /// # Errors
    /// When the TUN can't be read.
    pub fn drain(&mut self, direction: Direction, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        let tun = &self.namespace.opened.tuns[1 - direction as usize];
        loop {
            match rustix::io::read(tun, &mut self.buffer) {
                Ok(length) if is_chatter(&self.buffer[..length]) => {}
                Ok(length) => each(&self.buffer[..length]),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(Error::system("read a TUN")(error)),
            }
        }
    }

    /// Forgets every connection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush_connections(&mut self) -> Result<(), Error> {
        self.namespace.opened.tracking.flush()
    }
}
