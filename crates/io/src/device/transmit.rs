//! Messages on their way to the sockets, gathered so that many go out with one system call.

use std::time::{SystemTime, UNIX_EPOCH};

use fielato_wireguard::Path;

use crate::tap::{Direction, Tap};
use crate::udp::{PAYLOAD_MAX, Pair, SEGMENTS_MAX, Transmit};

/// Room for a few superpackets' worth of messages.
const ROOM: usize = 256 << 10;

/// Transmits given to the socket at once.
const AT_ONCE: usize = 64;

/// Messages in the order in which they are to go out, and where. Neighbours of one length and one way become a run, which
/// the kernel takes in one piece and cuts itself (`UDP_SEGMENT`).
pub(super) struct SendBatch {
    bytes: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
}

struct Run {
    path: Path,
    tos: u8,
    start: usize,
    end: usize,
    /// The length of each message but the last.
    segment: usize,
    /// Whether the last message was shorter, so that none can follow.
    closed: bool,
}

impl SendBatch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; ROOM].into_boxed_slice(),
            used: 0,
            runs: Vec::new(),
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Room for a message of up to `len` bytes; nothing is sent until [`SendBatch::commit`]. `None` when the batch has to be
    /// sent first.
    pub(super) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.used..self.used + len)
    }

    /// Adds a message that is ready, and sends what waits first when there is no room; returns how many datagrams that lost.
    pub(super) fn add(&mut self, message: &[u8], path: &Path, tos: u8, sockets: &Pair) -> usize {
        let lost = match self.room(message.len()) {
            Some(_) => 0,
            None => self.flush(sockets),
        };
        let Some(room) = self.room(message.len()) else {
            return lost + 1;
        };
        room.copy_from_slice(message);
        self.commit(message.len(), path, tos);
        lost
    }

    /// Makes the first `len` bytes of the last room a message.
    pub(super) fn commit(&mut self, len: usize, path: &Path, tos: u8) {
        let (start, end) = (self.used, self.used + len);
        self.used = end;
        if let Some(run) = self.runs.last_mut()
            && !run.closed
            && len <= run.segment
            && run.tos == tos
            && end - run.start <= PAYLOAD_MAX
            && end - run.start <= SEGMENTS_MAX * run.segment
            && run.path == *path
        {
            run.end = end;
            run.closed = len < run.segment;
            return;
        }
        self.runs.push(Run {
            path: *path,
            tos,
            start,
            end,
            segment: len,
            closed: false,
        });
    }

    /// Shows what waits to who looks.
    pub(super) fn show(&self, tap: &Tap, port: u16) {
        if !tap.is_on() {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for run in &self.runs {
            let messages = self.bytes[run.start..run.end].chunks(run.segment.max(1));
            messages.for_each(|message| tap.show_datagram(Direction::Outbound, at, &run.path, run.tos, port, message));
        }
    }

    /// Sends everything; returns how many datagrams were lost.
    pub(super) fn flush(&mut self, sockets: &Pair) -> usize {
        let mut lost = 0;
        for runs in self.runs.chunks(AT_ONCE) {
            let Some(first) = runs.first() else { continue };
            let mut transmits = [self.transmit(first); AT_ONCE];
            for (transmit, run) in transmits.iter_mut().zip(runs) {
                *transmit = self.transmit(run);
            }
            lost += sockets.send(&transmits[..runs.len()]);
        }
        self.runs.clear();
        self.used = 0;
        lost
    }

    fn transmit(&self, run: &Run) -> Transmit<'_> {
        Transmit {
            to: run.path,
            tos: run.tos,
            segment: u16::try_from(run.segment).ok(),
            bytes: &self.bytes[run.start..run.end],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn equal_neighbours_become_a_run() {
        let path = |port| Path::from(SocketAddr::from(([127, 0, 0, 1], port)));
        let mut batch = SendBatch::new();
        let mut add = |len: usize, port, tos| {
            assert_eq!(batch.room(len).unwrap().len(), len);
            batch.commit(len, &path(port), tos);
        };
        for _ in 0..70 {
            add(100, 1, 0);
        }
        add(90, 1, 0);
        add(100, 1, 0);
        add(100, 2, 0);
        add(100, 2, 1);
        add(120, 2, 1);
        (0..50).for_each(|_| add(1452, 3, 0));
        let runs: Vec<(usize, usize)> = batch.runs.iter().map(|run| (run.end - run.start, run.segment)).collect();
        let expected = [
            (6400, 100),
            (690, 100),
            (100, 100),
            (100, 100),
            (100, 100),
            (120, 120),
            (45 * 1452, 1452),
            (5 * 1452, 1452),
        ];
        assert_eq!(runs, expected);
    }

    #[test]
    fn a_full_batch_says_so() {
        let mut batch = SendBatch::new();
        let path = Path::from(SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut messages = 0;
        while batch.room(1452).is_some() {
            batch.commit(1452, &path, 0);
            messages += 1;
        }
        assert_eq!((messages, batch.len()), (ROOM / 1452, ROOM / 1452 * 1452));
    }
}
