//! Receiving many datagrams with one system call (`recvmmsg`, `UDP_GRO`), by means of quinn-udp.

use std::io::{self, IoSliceMut};
use std::slice::ChunksMut;

use fielato_wireguard::Path;
use quinn_udp::{RecvMeta, UdpSockRef};

use super::Udp;

/// Messages taken from the system at once, each of up to 64 datagrams.
const BATCH: usize = 8;

/// Room for the largest message, a multiple of a page. The system hands out memory when it is first written to, so
/// that a batch whose messages are small stays small.
const ROOM: usize = 1 << 16;

/// Reusable buffers of received messages. One serves any number of sockets in turn.
pub(crate) struct ReceiveBatch {
    buffers: Box<[u8]>,
    meta: [RecvMeta; BATCH],
    used: usize,
}

/// Datagrams that came the same way, one behind the other.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) data: &'a mut [u8],
    /// The size of each datagram but the last, which may be shorter. Never 0.
    pub(crate) stride: usize,
    pub(crate) from: Path,
    /// The outer header's ECN bits: the low two.
    pub(crate) ecn: u8,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * ROOM].into_boxed_slice(),
            meta: [RecvMeta::default(); BATCH],
            used: 0,
        }
    }

    /// What was received last, in order.
    pub(crate) fn messages_mut(&mut self) -> impl Iterator<Item = Message<'_>> {
        let used = self.buffers.chunks_exact_mut(ROOM).zip(&self.meta).take(self.used);
        used.filter_map(|(buffer, meta)| {
            Some(Message {
                data: buffer.get_mut(..meta.len)?,
                stride: meta.stride.max(1),
                from: Path {
                    remote: meta.addr,
                    local: meta.dst_ip,
                },
                ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
            })
        })
    }
}

impl<'a> Message<'a> {
    /// The datagrams, in order. An empty one is left out.
    pub(crate) fn datagrams(&mut self) -> ChunksMut<'_, u8> {
        self.data.chunks_mut(self.stride)
    }
}

impl Udp {
    /// Fills the batch with what waits: how many messages. Never waits itself.
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.used = 0;
        let mut buffers = batch.buffers.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        batch.used = self.state.recv(UdpSockRef::from(self), &mut slices, &mut batch.meta)?;
        Ok(batch.used)
    }
}
