//! What no rule lets pass, sent all the time, and looked for where it must not arrive.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::interrupt::Interrupt;
use crate::lab::Lab;
use crate::topology::{Family, Node, SERVICE_PORT};

/// A port of the protected host that is no service.
const PORT: u16 = SERVICE_PORT + 1;
/// Between one packet of each family and the next.
const INTERVAL: Duration = Duration::from_millis(1);
/// How long a packet that may arrive may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// From client-a, through the hub, to the protected host.
pub(super) struct Forbidden {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    sent: AtomicU64,
    arrived: AtomicU64,
}

impl Forbidden {
    /// Begins, once a packet that does not go through the hub has arrived: else nothing ever could.
    pub(super) fn start(lab: &Lab, interrupt: &Interrupt) -> Result<Self> {
        let receiver = socket(lab, Node::ClientB, PORT)?;
        let neighbour = socket(lab, Node::VpnCore, 0)?;
        for family in Family::BOTH {
            let to = target(family);
            let arrived = interrupt.wait(PATIENCE, || {
                // The neighbour's address may have to be found first.
                neighbour.send_to(b"probe", mapped(to)).ok();
                Ok(receiver.recv_from(&mut [0; 16]).is_ok().then_some(()))
            })?;
            if arrived.is_none() {
                bail!("{to}: no packet of the hub's own arrived there");
            }
            while receiver.recv_from(&mut [0; 16]).is_ok() {}
        }
        // The last ones are not counted as the member's.
        interrupt.sleep(Duration::from_millis(100))?;
        while receiver.recv_from(&mut [0; 16]).is_ok() {}

        let sender = socket(lab, Node::ClientA, 0)?;
        let counts = Arc::new(Counts::default());
        let its_counts = Arc::clone(&counts);
        let thread = Some(std::thread::spawn(move || probe(&sender, &receiver, &its_counts)));
        Ok(Self { counts, thread })
    }

    /// Packets sent so far, and those of them that arrived.
    pub(super) fn counts(&self) -> (u64, u64) {
        let Counts { stop: _, sent, arrived } = &*self.counts;
        (sent.load(Ordering::SeqCst), arrived.load(Ordering::SeqCst))
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        // A panic there has been printed; there is nothing to add.
        self.thread.take().map(JoinHandle::join);
    }
}

fn target(family: Family) -> SocketAddr {
    SocketAddr::new(Node::ClientB.outer(family), PORT)
}

fn socket(lab: &Lab, node: Node, port: u16) -> Result<UdpSocket> {
    // A v6 socket takes v4 too (ipv6(7), IPV6_V6ONLY).
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let socket = lab
        .machine(node)
        .within(|| Ok(UdpSocket::bind(everywhere)?))
        .with_context(|| format!("{node}: port {port} is not free"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn probe(sender: &UdpSocket, receiver: &UdpSocket, counts: &Counts) {
    while !counts.stop.load(Ordering::Relaxed) {
        for family in Family::BOTH {
            // Refused at times: an answer to an earlier packet.
            let sent = sender.send_to(b"probe", mapped(target(family))).is_ok();
            counts.sent.fetch_add(sent.into(), Ordering::Relaxed);
        }
        while receiver.recv_from(&mut [0; 16]).is_ok() {
            counts.arrived.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// As a v6 socket wants to be told.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    }
}
