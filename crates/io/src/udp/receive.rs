//! Receiving many datagrams with one system call (`recvmmsg`, `UDP_GRO`), by means of quinn-udp.

use std::io::{self, IoSliceMut};
use std::ops::Range;

use fielato_wireguard::{Origin, Path};
use quinn_udp::{RecvMeta, UdpSockRef};

use super::Udp;

/// Messages taken from the system at once, each of up to 64 datagrams: as many as fit a core's cache when they are long…
const LONG: usize = 8;

/// … and, when they are short, as quinn-udp takes at most.
const SHORT: usize = quinn_udp::BATCH_SIZE;

/// Bytes of a short message: one packet.
const SHORT_LEN: usize = 2_048;

/// Room for the largest message, a multiple of a page. The system hands out memory when it is first written to, so
/// that a batch whose messages are small stays small.
const ROOM: usize = 1 << 16;

/// Reusable buffers of received messages. One serves any number of sockets in turn.
pub(crate) struct ReceiveBatch {
    buffers: Box<[u8]>,
    meta: [RecvMeta; SHORT],
    used: usize,
    /// Messages that the next call takes.
    next: usize,
}

/// Datagrams that came the same way, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Where in the batch's memory they stand.
    pub(crate) range: Range<usize>,
    /// The size of each datagram but the last, which may be shorter. Never 0.
    pub(crate) stride: usize,
    pub(crate) origin: Origin,
}

impl Arrival {
    /// Where each datagram stands, in order. An empty one is one, too.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.range;
        let stride = self.stride;
        let count = (end - start).div_ceil(stride).max(1);
        (0..count).map(move |at| start + at * stride..end.min(start + (at + 1) * stride))
    }
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; SHORT * ROOM].into_boxed_slice(),
            meta: [RecvMeta::default(); SHORT],
            used: 0,
            next: LONG,
        }
    }

    /// What was received last, in order: the memory, and what stands where in it.
    pub(crate) fn arrivals(&mut self) -> (&mut [u8], impl Iterator<Item = Arrival> + '_) {
        let used = self.meta.iter().take(self.used).enumerate();
        let arrivals = used.map(|(at, meta)| Arrival {
            range: at * ROOM..at * ROOM + meta.len.min(ROOM),
            stride: meta.stride.max(1),
            origin: Origin {
                path: Path {
                    remote: meta.addr,
                    local: meta.dst_ip,
                },
                tos: meta.ecn.map_or(0, |ecn| ecn as u8),
            },
        });
        (&mut self.buffers, arrivals)
    }
}

impl Udp {
    /// Fills the batch with what waits: how many messages. Never waits itself.
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.used = 0;
        let mut buffers = batch.buffers.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; SHORT] = std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        batch.used = self
            .state
            .recv(UdpSockRef::from(self), &mut slices[..batch.next], &mut batch.meta)?;
        let many = batch.used >= LONG;
        let short = batch.meta[..batch.used].iter().all(|meta| meta.len <= SHORT_LEN);
        batch.next = if many && short { SHORT } else { LONG };
        Ok(batch.used)
    }
}
