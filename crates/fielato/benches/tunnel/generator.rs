//! A thousand peers in one program: it speaks WireGuard for all of them and sends faster than a hub receives.
//!
//! Packets are sealed before the time that is measured, so that sending them costs a system call for each burst and nothing
//! more. Every peer has an address of its own, as in life: none of the hub's receive offload can join what two peers sent.
//! It sends only as much as the hub can have in hand, told by the counters of the hub's interface, so that the hub is busy all
//! the time and next to nothing is lost.
//!
//! The protocol is boringtun's core: a second opinion on the handshake, and independent of what is measured.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use boringtun::noise::{Tunn, TunnResult};
use fielato_lab::Interrupt;
use fielato_wire::Family;
use fielato_wire::build::Ip;
use fielato_wireguard::{PrivateKey, PublicKey};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use x25519_dalek::StaticSecret;

use crate::implementation::Counters;

/// Inner packets, IPv4's and UDP's headers included.
pub const PACKET: usize = 1_400;
const HEADERS: usize = 28;
/// Sealed: padded to 16, 16 bytes of header and 16 of tag (WireGuard paper, section 5.4.6).
const SEALED: usize = PACKET.next_multiple_of(16) + 32;
/// Largest message that is not data.
const HANDSHAKE: usize = 148;
/// Packets on their way to the hub and in it, at first; halved when some are lost.
const WINDOW: usize = 1_024;
const LEAST_WINDOW: usize = 64;
/// After so long without a packet that arrives, what is out is lost.
const STALL: Duration = Duration::from_millis(20);
/// How long the thousand may take for their handshakes.
const HANDSHAKES: Duration = Duration::from_secs(40);

/// Peers with their sessions, and their socket.
pub struct Generator {
    socket: UdpSocket,
    state: UdpSocketState,
    hub: SocketAddr,
    peers: Vec<Peer>,
    window: usize,
}

struct Peer {
    core: Tunn,
    address: IpAddr,
    packet: Vec<u8>,
    ready: bool,
}

/// Who one of the peers is.
pub struct Identity {
    pub key: PrivateKey,
    /// Outside of the tunnel.
    pub address: Ipv4Addr,
    /// Inside.
    pub inner: Ipv4Addr,
}

/// Sealed packets in the order of their sending.
pub struct Sealed {
    bytes: Vec<u8>,
    burst: usize,
}

/// What became of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    pub delivered: u64,
    pub lost: u64,
    pub time: Duration,
    /// The part of it in which the hub had its hands full and nothing could be sent.
    pub waited: Duration,
}

impl Generator {
    /// Peers of the hub with this key, which send to `target` inside the tunnel.
    pub fn new(socket: UdpSocket, hub: SocketAddr, key: PublicKey, identities: &[Identity], target: Ipv4Addr) -> Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let peers = identities.iter().enumerate().map(|(number, identity)| {
            let secret = StaticSecret::from(identity.key.0);
            let index = u32::try_from(number)?;
            let payload = [0x5a; PACKET - HEADERS];
            let mut packet = Ip::new(Family::V4, identity.inner.into(), target.into()).udp(20_000, 20_000, &payload);
            packet.resize(packet.len().next_multiple_of(16), 0);
            Ok(Peer {
                core: Tunn::new(secret, key.0.into(), None, None, index, None),
                address: identity.address.into(),
                packet,
                ready: false,
            })
        });
        Ok(Self {
            state,
            socket,
            hub,
            peers: peers.collect::<Result<_>>()?,
            window: WINDOW,
        })
    }

    /// Makes a session for every peer.
    pub fn connect(&mut self, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + HANDSHAKES;
        let mut buffer = [0; HANDSHAKE];
        while self.peers.iter().any(|peer| !peer.ready) {
            for number in 0..self.peers.len() {
                let peer = &mut self.peers[number];
                if peer.ready {
                    continue;
                }
                if let TunnResult::WriteToNetwork(message) = peer.core.format_handshake_initiation(&mut buffer, true) {
                    send(&self.state, &self.socket, self.hub, peer.address, message, None)?;
                }
                // Answering one takes the hub about a quarter of a millisecond.
                interrupt.sleep(Duration::from_micros(500))?;
                self.receive()?;
            }
            // Some were told to come again with a cookie, or got no answer; a hub takes one initiation of a peer in 50 ms.
            interrupt.sleep(Duration::from_millis(200))?;
            self.receive()?;
            if Instant::now() > deadline {
                let ready = self.peers.iter().filter(|peer| peer.ready).count();
                bail!("{ready} of {} handshakes succeeded within {HANDSHAKES:?}", self.peers.len());
            }
        }
        Ok(())
    }

    /// Handles what has come.
    fn receive(&mut self) -> Result<()> {
        let mut bytes = vec![0; 65_536];
        loop {
            let mut meta = [RecvMeta::default()];
            let mut buffers = [io::IoSliceMut::new(&mut bytes)];
            match self.state.recv((&self.socket).into(), &mut buffers, &mut meta) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            for message in bytes[..meta[0].len].chunks(meta[0].stride.max(1)) {
                self.handle(message)?;
            }
        }
    }

    fn handle(&mut self, message: &[u8]) -> Result<()> {
        // Response: type, sender, receiver. Cookie reply and data: type, receiver (WireGuard paper, section 5.4).
        let at = if message.first() == Some(&2) { 8 } else { 4 };
        let index = message
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes);
        let Some(peer) = index.and_then(|index| self.peers.get_mut(index as usize >> 8)) else {
            return Ok(());
        };
        let mut buffer = [0; HANDSHAKE];
        if let TunnResult::WriteToNetwork(answer) = peer.core.decapsulate(None, message, &mut buffer) {
            peer.ready = true;
            send(&self.state, &self.socket, self.hub, peer.address, answer, None)?;
        }
        Ok(())
    }

    /// Seals `count` packets, `burst` of one peer, then as many of the next.
    pub fn seal(&mut self, count: usize, burst: usize) -> Result<Sealed> {
        let mut bytes = vec![0; count.next_multiple_of(burst) * SEALED];
        for (number, chunk) in bytes.chunks_mut(burst * SEALED).enumerate() {
            let place = number % self.peers.len();
            let peer = &mut self.peers[place];
            for packet in chunk.chunks_mut(SEALED) {
                match peer.core.encapsulate(&peer.packet, packet) {
                    TunnResult::WriteToNetwork(sealed) if sealed.len() == SEALED => {}
                    other => bail!("a peer without a session: {other:?}"),
                }
            }
        }
        Ok(Sealed { bytes, burst })
    }

    /// Sends them all, as fast as the hub takes them.
    pub fn send(&mut self, sealed: &Sealed, arrivals: &Arrivals, interrupt: &Interrupt) -> Result<Outcome> {
        let base = arrivals.read()?;
        let mut flight = Flight::new();
        let begun = Instant::now();
        let mut waited = Duration::ZERO;
        for (number, burst) in sealed.bytes.chunks(sealed.burst * SEALED).enumerate() {
            if flight.out() + sealed.burst > self.window {
                interrupt.check()?;
                let from = Instant::now();
                // Down to half of the window, so that not every burst asks for the counters.
                while flight.out() + sealed.burst > self.window / 2 {
                    if flight.arrived(arrivals.read()? - base) {
                        self.window = (self.window / 2).max(LEAST_WINDOW).max(2 * sealed.burst);
                    }
                    thread::sleep(Duration::from_micros(10));
                }
                waited += from.elapsed();
            }
            let peer = &self.peers[number % self.peers.len()];
            let segment = (sealed.burst > 1).then_some(SEALED);
            send(&self.state, &self.socket, self.hub, peer.address, burst, segment)?;
            flight.sent += sealed.burst as u64;
        }
        while flight.out() > 0 && !flight.arrived(arrivals.read()? - base) {
            thread::sleep(Duration::from_micros(50));
        }
        Ok(Outcome {
            delivered: flight.seen,
            lost: flight.sent - flight.seen,
            time: flight.progress - begun,
            waited,
        })
    }
}

/// Packets that were sent, and what is known of them.
struct Flight {
    sent: u64,
    seen: u64,
    lost: u64,
    /// When the last one was seen to arrive.
    progress: Instant,
}

impl Flight {
    fn new() -> Self {
        Self {
            sent: 0,
            seen: 0,
            lost: 0,
            progress: Instant::now(),
        }
    }

    fn out(&self) -> usize {
        self.sent.saturating_sub(self.seen + self.lost) as usize
    }

    /// Notes how many arrived; true when the rest must be lost.
    fn arrived(&mut self, seen: u64) -> bool {
        if seen > self.seen {
            (self.seen, self.progress) = (seen, Instant::now());
        } else if self.progress.elapsed() > STALL {
            self.lost = self.sent - self.seen;
            return true;
        }
        false
    }
}

/// How many packets came out of the tunnel.
pub struct Arrivals {
    file: File,
    interface: String,
}

impl Arrivals {
    /// From `/proc/…/net/dev`.
    pub fn open(path: &str, interface: &str) -> Result<Self> {
        Ok(Self {
            file: File::open(path).with_context(|| format!("cannot open {path}"))?,
            interface: interface.to_owned(),
        })
    }

    fn read(&self) -> Result<u64> {
        let mut buffer = [0; 4_096];
        let len = self.file.read_at(&mut buffer, 0)?;
        let text = str::from_utf8(&buffer[..len])?;
        let counters = Counters::read(text, &self.interface)?;
        // Packets that came as one have one pair of headers among them.
        let payload = counters.received_bytes - counters.received_packets * HEADERS as u64;
        Ok(payload / (PACKET - HEADERS) as u64)
    }
}

fn send(
    state: &UdpSocketState,
    socket: &UdpSocket,
    destination: SocketAddr,
    from: IpAddr,
    contents: &[u8],
    segment_size: Option<usize>,
) -> Result<()> {
    let transmit = Transmit {
        destination,
        ecn: None,
        contents,
        segment_size,
        src_ip: Some(from),
    };
    loop {
        match state.try_send(socket.into(), &transmit) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => return Err(error).with_context(|| format!("cannot send from {from}")),
        }
    }
}
