//! Many agents in one process, each with an address of its own on the loopback; what they are told to apply, they only note.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fielato_fleet::Now;
use fielato_fleet::agent::{Agent, Output, Patience};
use fielato_policy::circumstances::Circumstances;
use fielato_policy::plan::PerFamily;
use fielato_policy::{Config, HostPlan, Plan};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

/// When each host applied which revision.
pub type Applied = Arc<Mutex<BTreeMap<(String, u64), Instant>>>;

/// Agents that run until dropped.
pub struct Agents {
    pub applied: Applied,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct One {
    name: String,
    address: IpAddr,
    agent: Agent,
    stream: Option<TcpStream>,
}

pub fn name(number: usize) -> String {
    format!("host-{number}")
}

/// 127.1.x.y
pub fn address(number: usize) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    IpAddr::from([127, 1, high, low])
}

pub fn now() -> Now {
    Now {
        instant: Instant::now(),
        clock: Timestamp::now(),
    }
}

impl Agents {
    pub fn start(count: usize, hub: SocketAddr) -> Self {
        let applied = Applied::default();
        let stop = Arc::new(AtomicBool::new(false));
        let agents = (0..count).map(|number| One {
            name: name(number),
            address: address(number),
            agent: Agent::new(Some(name(number)), None, Patience::default(), number as u64, now()),
            stream: None,
        });
        let mut agents: Vec<One> = agents.collect();
        let (told, stopped) = (Arc::clone(&applied), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn(&mut agents, hub, &told);
            }
        });
        Self {
            applied,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Waits for something to come, or a moment, and does what follows.
fn turn(agents: &mut [One], hub: SocketAddr, applied: &Applied) {
    for one in agents.iter_mut() {
        one.agent.handle_time(now());
        one.carry_out(hub, applied);
    }
    let connected: Vec<usize> = (0..agents.len()).filter(|index| agents[*index].stream.is_some()).collect();
    let mut fds: Vec<PollFd<'_>> = connected
        .iter()
        .filter_map(|index| Some(PollFd::new(agents[*index].stream.as_ref()?, PollFlags::IN)))
        .collect();
    let wait = Timespec::try_from(Duration::from_millis(50)).ok();
    if poll(&mut fds, wait.as_ref()).is_err() {
        return;
    }
    let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    drop(fds);
    for (index, _) in connected.into_iter().zip(ready).filter(|(_, ready)| *ready) {
        agents[index].read();
        agents[index].carry_out(hub, applied);
    }
}

impl One {
    fn read(&mut self) {
        let mut bytes = [0; 64 * 1024];
        let Some(stream) = &mut self.stream else { return };
        match stream.read(&mut bytes) {
            Ok(len @ 1..) => self.agent.handle_bytes(&bytes[..len], now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => {
                self.stream = None;
                self.agent.handle_disconnected("closed".to_owned(), now());
            }
        }
    }

    fn carry_out(&mut self, hub: SocketAddr, applied: &Applied) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Connect => match self.connect(hub) {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.agent.handle_connected(now());
                    }
                    Err(error) => self.agent.handle_disconnected(error.to_string(), now()),
                },
                Output::Send(bytes) => {
                    if let Some(stream) = &mut self.stream {
                        // Shorter than the socket's buffer.
                        stream.write_all(&bytes).ok();
                    }
                }
                Output::Disconnect => self.stream = None,
                Output::Apply(application) => {
                    let mut applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
                    applied.insert((self.name.clone(), application.state.revision), Instant::now());
                    drop(applied);
                    self.agent.handle_applied(Ok(()), now());
                }
                Output::Repair(_) | Output::Note(_) => {}
            }
        }
    }

    fn connect(&self, hub: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.address, 0).into())?;
        socket.connect_timeout(&hub.into(), Duration::from_secs(5))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    }
}

/// A laboratory: hosts that are members, the first of them with a service; users in ten groups, which may reach a tenth of the services
/// each.
pub struct Laboratory {
    config: Config,
    hosts: usize,
    users: usize,
}

impl Laboratory {
    pub fn new(hosts: usize, users: usize, services: usize) -> Self {
        let mut text = String::from(
            "[hub]\ninterface = \"wg0\"\nendpoint = \"192.0.2.1:51820\"\naddresses = [\"10.64.0.1/10\"]\nuplink = \"eth0\"\n",
        );
        let key = |number: usize| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            fielato_wireguard::PublicKey(bytes)
        };
        let overlay = |number: usize| format!("10.{}.{}.{}", 65 + (number >> 16), (number >> 8) & 255, number & 255);
        for number in 0..hosts {
            let (name, group) = (name(number), number % 10);
            text += &format!(
                "[member.{name}]\naddresses = [\"{}\"]\npublic_key = \"{}\"\n",
                overlay(number + 2),
                key(number)
            );
            text += &format!(
                "[host.{name}]\naddress = \"172.16.{}.{}\"\nstrategy = \"member\"\nagent = true\n",
                number >> 8,
                number & 255
            );
            if number >= services {
                continue;
            }
            text += &format!("[service.s{number}]\nhost = \"{name}\"\nports = [\"tcp/443\"]\n");
            text += &format!("[[rule]]\nfrom = \"group-{group}\"\nto = \"s{number}\"\naction = \"accept\"\n");
        }
        for number in 0..users {
            text += &format!(
                "[member.user-{number}]\naddresses = [\"{}\"]\npublic_key = \"{}\"\ngroups = [\"group-{}\"]\n",
                overlay(hosts + number + 2),
                key(hosts + number),
                number % 10
            );
        }
        let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{}", faults.display("laboratory", &text)));
        Self { config, hosts, users }
    }

    /// Somebody leaves, or comes back: one group's hosts get other sets.
    pub fn edit(&mut self, round: usize) {
        let name = format!("user-{}", round % self.users);
        if let Some(member) = self.config.members.get_mut(&name) {
            member.disabled = !member.disabled;
        }
    }

    /// What each host is to enforce.
    pub fn plans(&self) -> BTreeMap<String, HostPlan> {
        let circumstances = Circumstances::at(Timestamp::now(), PerFamily::default());
        let hub = Plan::compile(&self.config, &circumstances);
        let plan = |number| Some((name(number), HostPlan::of(&self.config, &hub, &name(number))?));
        (0..self.hosts).filter_map(plan).collect()
    }

    pub fn hosts(&self) -> BTreeMap<String, Vec<IpAddr>> {
        (0..self.hosts).map(|number| (name(number), vec![address(number)])).collect()
    }
}
