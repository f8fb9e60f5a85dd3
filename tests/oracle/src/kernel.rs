//! Linux's netfilter in a network namespace.
//!
//! Writing to a TUN runs the receive path before the call returns, so all that a packet brings about can be read at once.

mod connection;
mod gateway;
mod namespace;
mod nfnetlink;
mod nft;
mod sys;
mod table;

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fielato_wire::{Family, Headers, number};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::error::Error;
use crate::sets;
use crate::subject::{Connection, Counter, Output, Port, Setup, Subject};
pub use gateway::Gateway;
use namespace::Namespace;

/// `NFULA_PAYLOAD` (linux/netfilter/nfnetlink_log.h).
const LOG_PAYLOAD: u16 = 9;
/// A namespace is left after so many cases, so that nothing can pile up.
const CASES_PER_NAMESPACE: u32 = 100;

/// A little more than two ticks of the usual clock (`CONFIG_HZ=250`): younger connections that `connlimit` noted on another
/// processor count even when they never came to be (`find_or_evict`).
const TICKS: Duration = Duration::from_millis(9);

/// A namespace in use, and the one after it.
#[derive(Default)]
struct Place {
    namespace: Option<Namespace>,
    /// Cases it has seen.
    cases: u32,
    /// Incomplete datagrams may wait in it, which nothing but time removes: the next case gets another namespace.
    spoiled: bool,
    /// That other one, on its way: making it takes a few round trips of RCU, in which the case goes on.
    next: Option<JoinHandle<Result<Namespace, Error>>>,
}

impl Place {
    fn prepare(&mut self, tracking: bool) {
        self.spoiled = true;
        self.next
            .get_or_insert_with(|| thread::spawn(move || Namespace::create(tracking)));
    }

    fn enter(&mut self, tracking: bool) -> Result<(), Error> {
        self.cases += 1;
        if self.namespace.is_none() || self.spoiled || self.cases > CASES_PER_NAMESPACE {
            self.namespace = None;
            let next = match self.next.take().map(JoinHandle::join) {
                Some(Ok(next)) => next,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => Namespace::create(tracking),
            };
            (self.namespace, self.cases, self.spoiled) = (Some(next?), 1, false);
        }
        Ok(())
    }
}

/// What rules are loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// `iptables-restore`, into the kernel's own tables for it.
    Iptables,
    /// `nft`, after our renderer made nftables text of them.
    Nft,
}

/// The kernel as a [`Subject`].
pub struct Kernel {
    language: Language,
    /// Without and with connection tracking.
    places: [Place; 2],
    current: usize,
    paced: bool,
    buffer: Vec<u8>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// A kernel without a namespace yet; [`Subject::load`] makes it.
    pub fn new() -> Self {
        Self {
            language: Language::Iptables,
            places: Default::default(),
            current: 0,
            paced: false,
            buffer: vec![0; 65_536],
        }
    }

    /// One whose rules are loaded as the nftables text that our renderer makes of them.
    ///
    /// What `fielato_iptables::nft` names as different for every rule is kept out of the comparison ([`Subject::takes`]).
    pub fn nft() -> Self {
        Self {
            language: Language::Nft,
            ..Self::new()
        }
    }

    fn namespace(&mut self) -> Result<&mut Namespace, Error> {
        match &mut self.places[self.current].namespace {
            Some(namespace) => Ok(namespace),
            None => Err(Error::Rules {
                subject: "kernel",
                reason: "none were loaded".to_owned(),
            }),
        }
    }

    fn load_iptables(&mut self, setup: &Setup) -> Result<(), Error> {
        let namespace = self.namespace()?;
        let refused = |error| match error {
            Error::Program { output, .. } => Error::Rules {
                subject: "kernel",
                reason: output,
            },
            other => other,
        };
        if [Family::V4, Family::V6]
            .iter()
            .any(|family| sets::are_named(setup.rules(*family)))
        {
            namespace
                .run("ipset", &["restore", "-exist"], sets::commands())
                .map_err(refused)?;
        }
        for (program, family) in [
            ("iptables-legacy-restore", Family::V4),
            ("ip6tables-legacy-restore", Family::V6),
        ] {
            let rules = setup.rules(family);
            // New rules are made before the old ones go, and would find lists of the same name in use.
            let named = |rules: &str| rules.contains("-m hashlimit") || rules.contains("-m recent");
            let text = match named(rules) {
                true => format!("{}{rules}", without_rules(rules)),
                false => rules.to_owned(),
            };
            namespace.run(program, &["-c"], text).map_err(refused)?;
        }
        Ok(())
    }

    /// Everything that came out since the last call.
    fn outputs(&mut self) -> Result<Vec<Output>, Error> {
        let Some(namespace) = &mut self.places[self.current].namespace else {
            return Ok(Vec::new());
        };
        let opened = &mut namespace.opened;
        let mut outputs = Vec::new();
        for (tun, port) in opened.tuns.iter().zip([Port::Inside, Port::Outside]) {
            loop {
                match rustix::io::read(tun, &mut self.buffer) {
                    Ok(length) => outputs.push(Output {
                        port,
                        packet: self.buffer[..length].to_vec(),
                    }),
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(Error::system(format!("read {}", port.name()))(error)),
                }
            }
        }
        while let Some(message) = opened.log.logged()? {
            if let Some((_, packet)) = nfnetlink::attributes(message).find(|(kind, _)| *kind == LOG_PAYLOAD) {
                outputs.push(Output {
                    port: Port::Host,
                    packet: packet.to_vec(),
                });
            }
        }
        outputs.retain(|output| !is_chatter(&output.packet));
        if self.language == Language::Nft {
            outputs.iter_mut().for_each(|output| nft::settle_sum(&mut output.packet));
        }
        Ok(outputs)
    }
}

/// Whether the kernel said this unasked: multicast listener reports and neighbour discovery, which no case contains.
fn is_chatter(packet: &[u8]) -> bool {
    Headers::parse(packet).is_ok_and(|headers| headers.protocol == number::ICMPV6 && matches!(headers.icmp_type, 130..=137 | 143))
}

/// The tables of a rule set, empty.
fn without_rules(rules: &str) -> String {
    let kept = rules
        .lines()
        .filter(|line| !line.contains("-A ") && !line.ends_with(" - [0:0]"));
    kept.map(|line| format!("{line}\n")).collect()
}

impl Subject for Kernel {
    fn prune(&mut self, setup: &mut Setup) -> Vec<(String, String)> {
        self.current = usize::from(setup.tracking);
        let place = &mut self.places[self.current];
        match (self.language, place.enter(setup.tracking), &place.namespace) {
            (Language::Nft, Ok(()), Some(namespace)) => nft::prune(namespace, setup),
            _ => Vec::new(),
        }
    }

    fn takes(&self, packet: &[u8]) -> bool {
        self.language == Language::Iptables || nft::is_comparable(packet)
    }

    fn counts_policies(&self) -> bool {
        self.language == Language::Iptables
    }

    fn load(&mut self, setup: &Setup) -> Result<(), Error> {
        (self.current, self.paced) = (usize::from(setup.tracking), setup.paced);
        self.places[self.current].enter(setup.tracking)?;
        let namespace = self.namespace()?;
        namespace.opened.tracking.flush()?;
        namespace.set(setup)?;
        match self.language {
            Language::Iptables => self.load_iptables(setup)?,
            Language::Nft => nft::load(self.namespace()?, setup)?,
        }
        self.outputs().map(drop)
    }

    fn inject(&mut self, _at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        if self.paced {
            thread::sleep(TICKS);
        }
        if Headers::parse(packet).is_ok_and(|headers| headers.is_fragment()) {
            let tracking = self.current == 1;
            self.places[self.current].prepare(tracking);
        }
        let opened = &self.namespace()?.opened;
        match port {
            // EINVAL: not even a version of IP that TUN knows.
            Port::Inside | Port::Outside => match rustix::io::write(&opened.tuns[port as usize], packet) {
                Ok(_) | Err(Errno::INVAL) => {}
                Err(error) => {
                    return Err(Error::system(format!("write {} bytes to {}", packet.len(), port.name()))(
                        error,
                    ));
                }
            },
            Port::Host => {
                let Ok(headers) = Headers::parse(packet) else {
                    return Ok(Vec::new());
                };
                let (socket, to) = match headers.dst.to_ip(headers.family) {
                    std::net::IpAddr::V4(to) => (&opened.raw_v4, SocketAddr::V4(SocketAddrV4::new(to, 0))),
                    std::net::IpAddr::V6(to) => (&opened.raw_v6, SocketAddr::V6(SocketAddrV6::new(to, 0, 0, 0))),
                };
                // The call fails with EPERM when a rule drops the packet, and with others when there is no route:
                // either way nothing comes out, which is what is compared.
                let _ = rustix::net::sendto(socket, packet, SendFlags::empty(), &to);
            }
        }
        self.outputs()
    }

    fn counters(&mut self) -> Result<Vec<Counter>, Error> {
        // Connections are tracked where the nat table is.
        let nat = self.current == 1;
        if self.language == Language::Nft {
            return nft::counters(&mut self.namespace()?.opened.tracking);
        }
        let opened = &self.namespace()?.opened;
        let mut all = Vec::new();
        for (socket, v6) in [(&opened.raw_v4, false), (&opened.raw_v6, true)] {
            for name in ["filter", "mangle", "nat", "raw", "security"] {
                if nat || name != "nat" {
                    all.extend(table::counters(socket, v6, name)?);
                }
            }
        }
        all.sort();
        Ok(all)
    }

    fn connections(&mut self, _at: Duration) -> Result<Vec<Connection>, Error> {
        let mut all = Vec::new();
        self.namespace()?
            .opened
            .tracking
            .list(|message| all.extend(connection::read(message)))?;
        all.sort();
        Ok(all)
    }
}
