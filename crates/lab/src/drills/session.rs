//! The administrator's session: a connection on which numbers go out all the time, and come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;
use crate::machine::Machine;

/// Between one number and the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// Between two looks at what does not block.
const POLL: Duration = Duration::from_millis(5);
/// How long the connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(10);

/// The hub's end: what comes in goes back. It lives as long as this value.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(machine: &Machine, port: u16) -> Result<Self> {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = machine
            .within(|| Ok(TcpListener::bind(everywhere)?))
            .with_context(|| format!("{}: port {port} is not free", machine.node()))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let its_stop = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || serve(&listener, &its_stop)));
        Ok(Self { stop, thread })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there has been printed; there is nothing to add.
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool) {
    let mut connections: Vec<TcpStream> = Vec::new();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((stream, _)) = listener.accept()
            && stream.set_nonblocking(true).is_ok()
            && stream.set_nodelay(true).is_ok()
        {
            connections.push(stream);
        }
        connections.retain_mut(|stream| match stream.read(&mut buffer) {
            Ok(0) => false,
            // What a connection that is stopped can't take is little: it fits the socket's buffer.
            Ok(length) => buffer.get(..length).is_some_and(|heard| stream.write_all(heard).is_ok()),
            Err(error) => is_nothing_yet(&error),
        });
        std::thread::sleep(POLL);
    }
}

/// One connection, from the moment it was made; it is never made again.
pub(super) struct Session {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    /// Numbers sent, and of these come back.
    said: AtomicU64,
    heard: AtomicU64,
    /// Why the connection is no more.
    lost: Mutex<Option<String>>,
}

impl Session {
    pub(super) fn start(machine: &Machine, to: SocketAddr) -> Result<Self> {
        let stream = machine
            .within(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?))
            .with_context(|| format!("{}: no connection to {to}", machine.node()))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let state = Arc::new(State::default());
        let its_state = Arc::clone(&state);
        let thread = Some(std::thread::spawn(move || talk(stream, &its_state)));
        Ok(Self { state, thread })
    }

    /// Waits until a number that is said from now on has come back. Returns how long that took; or, in words, why it did not.
    pub(super) fn goes_on(&self, patience: Duration, interrupt: &Interrupt) -> Result<Result<Duration, String>> {
        let (began, last) = (Instant::now(), self.state.said.load(Ordering::SeqCst));
        let heard = interrupt.wait(patience, || {
            let heard = self.state.heard.load(Ordering::SeqCst) > last;
            Ok(match (heard, self.lost()) {
                (true, _) => Some(Ok(began.elapsed())),
                (false, Some(why)) => Some(Err(format!("it broke: {why}"))),
                (false, None) => None,
            })
        })?;
        Ok(heard.unwrap_or_else(|| Err(format!("silent for {} s", patience.as_secs()))))
    }

    /// Whether nothing that is said from now on comes back within a time.
    pub(super) fn is_cut(&self, during: Duration, interrupt: &Interrupt) -> Result<bool> {
        Ok(self.goes_on(during, interrupt)?.is_err() && self.lost().is_none())
    }

    fn lost(&self) -> Option<String> {
        self.state.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn talk(mut stream: TcpStream, state: &State) {
    let why = loop {
        if state.stop.load(Ordering::Relaxed) {
            return;
        }
        if let Err(why) = exchange(&mut stream, state) {
            break why;
        }
        std::thread::sleep(INTERVAL);
    };
    *state.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
}

/// Says the next number, and listens to what has come back. TCP keeps order, so counting is enough.
fn exchange(stream: &mut TcpStream, state: &State) -> Result<(), String> {
    let next = state.said.load(Ordering::SeqCst) + 1;
    match stream.write(&[0]) {
        Ok(_) => state.said.store(next, Ordering::SeqCst),
        Err(error) if is_nothing_yet(&error) => {}
        Err(error) => return Err(error.to_string()),
    }
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the hub closed it".to_owned()),
            Ok(length) => drop(state.heard.fetch_add(length as u64, Ordering::SeqCst)),
            Err(error) if is_nothing_yet(&error) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn is_nothing_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
