//! The hub's side of the control channel: a thread that serves the agents of protected hosts on the hub's overlay addresses.
//!
//! What is said is [`fielato_fleet::Hub`]'s to decide; here are its sockets. They are bound to the hub's interface, so that nobody is
//! heard whom WireGuard has not proven.

mod hosts;
mod serve;
mod token;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fielato_fleet::hub::{ConnectionId, Event, Hub, Limits};
use fielato_fleet::{Digest, Now};
use fielato_policy::HostPlan;
use fielato_wireguard::PublicKey;
use jiff::Timestamp;
use rustix::event::{EventfdFlags, eventfd};
use socket2::{Domain, Protocol, Socket, Type};

pub use fielato_fleet::hub::HostStatus;
pub use hosts::{Enrolment, Hosts};
pub use token::Token;

/// Where agents are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The hub's interface; connections by another are not heard.
    pub interface: String,
    /// The hub's overlay addresses.
    pub addresses: Vec<IpAddr>,
    /// TCP port; 0 for any.
    pub port: u16,
}

/// Somebody with a host's token asks that the host's member gets another key.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrolRequest {
    /// For [`Fleet::answer`].
    pub connection: ConnectionId,
    /// The host.
    pub host: String,
    /// Its own key.
    pub public_key: PublicKey,
}

/// The control channel of the protected hosts. Agents are served until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    bound: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    wake: OwnedFd,
    /// Readable when there is something for the daemon to fetch.
    news: OwnedFd,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    requests: Vec<EnrolRequest>,
    stop: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere does not make the hosts' state worse than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        signal(&self.wake);
    }
}

fn signal(event: &OwnedFd) {
    // It can only fail when 2^64 - 2 calls have not been heard.
    rustix::io::write(event, &1u64.to_ne_bytes()).ok();
}

fn drain(event: &OwnedFd) {
    rustix::io::read(event, &mut [0; 8]).ok();
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        clock: Timestamp::now(),
    }
}

impl Fleet {
    /// Begins to serve `hosts`, each known by its overlay addresses. They are told nothing before the first
    /// [`Fleet::publish`].
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn start(listen: &Listen, hosts: &BTreeMap<String, Vec<IpAddr>>) -> Result<Self> {
        Self::start_with(listen, hosts, Limits::default())
    }

    fn start_with(listen: &Listen, hosts: &BTreeMap<String, Vec<IpAddr>>, limits: Limits) -> Result<Self> {
        let listeners = listen.addresses.iter().map(|address| self::listen(listen, *address));
        let listeners: Vec<Socket> = listeners.collect::<Result<_>>()?;
        let bound = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok()?.as_socket());
        let bound = bound.collect();
        let mut hub = Hub::new(limits);
        hub.set_hosts(hosts, now());
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                hub,
                requests: Vec::new(),
                stop: false,
            }),
            wake: eventfd(0, flags)?,
            news: eventfd(0, flags)?,
        });
        let server = serve::Server::new(Arc::clone(&shared), listeners)?;
        let thread = std::thread::Builder::new().name("fleet".to_owned()).spawn(move || {
            if let Err(error) = server.run() {
                log::error!("the protected hosts are not served any more; they enforce what they have: {error:#}");
            }
        })?;
        Ok(Self {
            shared,
            bound,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// The hosts that there are now.
    pub fn set_hosts(&self, hosts: &BTreeMap<String, Vec<IpAddr>>) {
        self.shared.state().hub.set_hosts(hosts, now());
        self.shared.wake();
    }

    /// A new revision, with the plan of every host. Returns at once; what becomes of it, [`Fleet::status`] tells.
    pub fn publish(&self, revision: u64, plans: BTreeMap<String, HostPlan>) {
        self.shared.state().hub.publish(revision, plans, now());
        self.shared.wake();
    }

    /// Every host as it is now.
    pub fn status(&self) -> Vec<HostStatus> {
        self.shared.state().hub.status(now())
    }

    /// What has happened since the last call, for the audit log.
    pub fn events(&self) -> Vec<Event> {
        let mut state = self.shared.state();
        std::iter::from_fn(|| state.hub.poll_event()).collect()
    }

    /// Lets `host` take a key of its own once, with the token whose secret has this digest, until then.
    pub fn expect_enrolment(&self, host: &str, secret: Digest, until: Timestamp) {
        self.shared.state().hub.expect_enrolment(host, secret, until);
        self.shared.wake();
    }

    /// Who has asked for a key since the last call. Each is to be [answered](Fleet::answer).
    pub fn enrol_requests(&self) -> Vec<EnrolRequest> {
        std::mem::take(&mut self.shared.state().requests)
    }

    /// The key is in force, or why it is not.
    pub fn answer(&self, connection: ConnectionId, result: Result<(), String>) {
        self.shared.state().hub.handle_enrolled(connection, result, now());
        self.shared.wake();
    }

    /// Becomes readable when there are new events or requests; [`Fleet::heard`] makes it unreadable.
    pub fn news(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// To be called before the news are fetched.
    pub fn heard(&self) {
        drain(&self.shared.news);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn listen(listen: &Listen, address: IpAddr) -> Result<Socket> {
    let at = SocketAddr::new(address, listen.port);
    let open = || {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind_device(Some(listen.interface.as_bytes()))?;
        socket.bind(&at.into())?;
        // All hosts come at once when the hub is back; the kernel bounds this by net.core.somaxconn.
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket)
    };
    open().with_context(|| {
        format!(
            "cannot listen on {at} of {} for the agents of protected hosts",
            listen.interface
        )
    })
}
