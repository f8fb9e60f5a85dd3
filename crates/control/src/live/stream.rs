//! The client's end of a stream: the gateway's packets, as the daemon sends them.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::report::LivePacket;
use crate::protocol::{Request, Response, Watch, Watched};
use crate::{Paths, client};

/// Bytes read in one go.
const TURN: usize = 256 * 1024;
/// Longest line: a whole packet in base64, and all it met.
const LINE_MAX: usize = 1024 * 1024;

/// A packet of the gateway's.
pub(super) struct Streamed {
    /// Within the tunnel, or encrypted.
    pub clear: bool,
    /// From peers, or towards them.
    pub inbound: bool,
    /// As it came to be judged, or as it went by.
    pub judged: bool,
    /// When, since 1970.
    pub at: Duration,
    /// As much of it as was asked for.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub len: u32,
    /// What it met.
    pub told: Option<LivePacket>,
}

/// Packets from the daemon.
pub(super) struct Stream {
    socket: UnixStream,
    /// What has come of a line.
    buffer: VecDeque<u8>,
    /// Packets that the daemon could not send in time.
    pub lost: u64,
}

impl Stream {
    /// Asks for packets.
    ///
    /// # Errors
    /// [`client::NotRunning`] without a daemon, [`client::Refused`] when it says no.
    pub fn open(paths: &Paths, watch: Watch) -> Result<Self> {
        let (socket, response) = client::begin(paths, &Request::Watch(watch))?;
        if response != Response::Watching {
            bail!("the daemon answered something else");
        }
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            buffer: VecDeque::new(),
            lost: 0,
        })
    }

    /// The packets that have come.
    ///
    /// # Errors
    /// When the hub has ended, or what came makes no sense.
    pub fn read(&mut self) -> Result<Vec<Streamed>> {
        let mut bytes = vec![0; TURN];
        match self.socket.read(&mut bytes) {
            Ok(0) => bail!("the hub has ended"),
            Ok(len) => self.buffer.extend(bytes.iter().take(len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("the hub does not answer any more"),
        }
        let Some(last) = self.buffer.iter().rposition(|byte| *byte == b'\n') else {
            if self.buffer.len() > LINE_MAX {
                bail!("the daemon sent a line of more than {LINE_MAX} bytes");
            }
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.buffer.drain(..=last).collect();
        let mut packets = Vec::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line).context("the daemon's answer makes no sense; is it of another version?")? {
                Watched::Packet(packet) => packets.push(Streamed {
                    clear: packet.clear,
                    inbound: packet.inbound,
                    judged: packet.judged,
                    at: Duration::from_nanos(packet.at),
                    bytes: STANDARD.decode(&packet.bytes).context("the daemon's packet makes no sense")?,
                    len: packet.len,
                    told: packet.told,
                }),
                Watched::Lost { packets } => self.lost = packets,
            }
        }
        Ok(packets)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
