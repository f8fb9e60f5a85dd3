//! Step 3, and the service itself: it tells its clients which address it sees.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{StepSpec, Talk};
use crate::machine::Machine;
use crate::topology::{Family, Node, OUTER, SERVICE_PORT};

pub(super) const STEP: StepSpec = StepSpec {
    title: "A service without rules",
    claim: "Before any rule is set, the service answers both ways: what fails later fails because of the rules.",
    needs_tunnel: true,
    takes_down: false,
    run,
};

/// A connection attempt is given up after this long where it should work.
const PATIENT: Duration = Duration::from_secs(5);
/// And after this long where it should not: one retransmission of the SYN (RFC 6298: after 1 s) is waited for.
const IMPATIENT: Duration = Duration::from_millis(1300);
/// Between two looks at the sockets.
const POLL: Duration = Duration::from_millis(5);

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let _service = Service::start(talk.lab.machine(Node::ClientB))?;
    for family in Family::BOTH {
        let host = Node::ClientB;
        talk.expect_seen(Way::Direct, host.outer(family), Node::ClientA.outer(family), "no rules")?;
        talk.expect_seen(Way::Routed, host.outer(family), Node::VpnCore.outer(family), "no rules")?;
        talk.expect_seen(Way::Routed, host.overlay(family), Node::ClientA.overlay(family), "no rules")?;
    }
    Ok(())
}

/// How client-a's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Past the tunnel: the socket is bound to the outer interface.
    Direct,
    /// As the routes say, which lead the protected host and the overlay through the tunnel.
    Routed,
}

impl Way {
    fn words(self) -> &'static str {
        match self {
            Self::Direct => "past the tunnel",
            Self::Routed => "through the hub",
        }
    }
}

impl Talk<'_, '_, '_> {
    /// From client-a: the service answers, and saw this client.
    pub(super) fn expect_seen(&mut self, way: Way, to: IpAddr, client: IpAddr, rules: &str) -> Result<()> {
        let reached = ask(self.lab.machine(Node::ClientA), way, to, "hello", PATIENT)?;
        let what = format!("{rules}: {} {}", SocketAddr::new(to, SERVICE_PORT), way.words());
        let passed = reached
            == Reached::Answered {
                client,
                text: "hello".into(),
            };
        self.recorder
            .check(what, format!("an answer, which saw {client}"), reached.to_string(), passed)
    }

    /// From client-a: no answer. All of them at once, since each takes its time.
    pub(super) fn expect_silence(&mut self, attempts: &[(Way, IpAddr)], rules: &str) -> Result<()> {
        let client_a = self.lab.machine(Node::ClientA);
        let reached: Vec<Result<Reached>> = std::thread::scope(|scope| {
            let asking: Vec<_> = attempts
                .iter()
                .map(|&(way, to)| scope.spawn(move || ask(client_a, way, to, "hello", IMPATIENT)))
                .collect();
            asking
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        for (&(way, to), reached) in attempts.iter().zip(reached) {
            let reached = reached?;
            let what = format!("{rules}: {} {}", SocketAddr::new(to, SERVICE_PORT), way.words());
            self.recorder.check(
                what,
                Reached::Silence.to_string(),
                reached.to_string(),
                reached == Reached::Silence,
            )?;
        }
        Ok(())
    }
}

/// What became of a connection attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    /// The service answered.
    Answered {
        /// The client's address as the service saw it.
        client: IpAddr,
        /// What was said, repeated.
        text: String,
    },
    /// Neither an answer nor a refusal.
    Silence,
    /// An error.
    Refused(String),
}

impl std::fmt::Display for Reached {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { client, .. } => write!(formatter, "answered, saw {client}"),
            Self::Silence => formatter.write_str("no answer"),
            Self::Refused(error) => write!(formatter, "refused: {error}"),
        }
    }
}

/// Asks the service over TCP.
pub(super) fn ask(from: &Machine, way: Way, to: IpAddr, text: &str, patience: Duration) -> Result<Reached> {
    let to = SocketAddr::new(to, SERVICE_PORT);
    let connected = from.within(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if way == Way::Direct {
            socket.bind_device(Some(OUTER.as_bytes()))?;
        }
        Ok(socket.connect_timeout(&to.into(), patience).map(|()| TcpStream::from(socket)))
    })?;
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(Reached::Silence),
        Err(error) => return Ok(Reached::Refused(error.to_string())),
    };
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{text}\n").as_bytes())?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(Reached::Silence),
        Err(error) => return Ok(Reached::Refused(error.to_string())),
    }
    let (client, text) = line
        .trim_end()
        .split_once(' ')
        .with_context(|| format!("the service said {line:?}"))?;
    Ok(Reached::Answered {
        client: client.parse()?,
        text: text.to_owned(),
    })
}

/// A datagram that the service received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) from: IpAddr,
    pub(super) payload: Vec<u8>,
}

/// The service: a line over TCP is answered with the client's address and the line; datagrams are taken down.
pub(super) struct Service {
    stop: Arc<AtomicBool>,
    datagrams: Arc<Mutex<Vec<Datagram>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(machine: &Machine) -> Result<Self> {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVICE_PORT));
        let (tcp, udp) = machine
            .within(|| Ok((TcpListener::bind(everywhere)?, UdpSocket::bind(everywhere)?)))
            .with_context(|| format!("the service can't use port {SERVICE_PORT}"))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        let mut service = Self {
            stop: Arc::new(AtomicBool::new(false)),
            datagrams: Arc::new(Mutex::new(Vec::new())),
            threads: Vec::new(),
        };
        let stop = Arc::clone(&service.stop);
        service.threads.push(std::thread::spawn(move || serve_tcp(&tcp, &stop)));
        let (stop, datagrams) = (Arc::clone(&service.stop), Arc::clone(&service.datagrams));
        service
            .threads
            .push(std::thread::spawn(move || serve_udp(&udp, &datagrams, &stop)));
        Ok(service)
    }

    /// The datagrams received so far.
    pub(super) fn datagrams(&self) -> Vec<Datagram> {
        self.datagrams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // The client finds out; the next one is served all the same.
            Ok((stream, from)) => drop(answer(stream, from)),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn answer(mut stream: TcpStream, from: SocketAddr) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IMPATIENT))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    // In one piece, so that it is one packet on the wire.
    stream.write_all(format!("{} {}\n", from.ip().to_canonical(), line.trim_end()).as_bytes())
}

fn serve_udp(socket: &UdpSocket, datagrams: &Mutex<Vec<Datagram>>, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                let datagram = Datagram {
                    from: from.ip().to_canonical(),
                    payload: buffer[..length].to_vec(),
                };
                datagrams.lock().unwrap_or_else(PoisonError::into_inner).push(datagram);
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
