//! Those who forward: the kernel under one kind of rules, and the engine.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use fielato_iptables::{BuiltinNames, Registry, restore};
use fielato_netfilter::conntrack::{Config, Direction, Tracking};
use fielato_netfilter::engine::Ended;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_netfilter::{Interface, Netfilter, Now, Packet};
use fielato_oracle::kernel::Gateway;
use fielato_oracle::network;
use fielato_oracle::subject::Port;
use fielato_wire::build::Ip;
use fielato_wire::{Addr, Family, Headers};

use crate::rules::Rules;

/// Why a measurement can't go on; it may cross threads.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Most packets that are sent in one go: a TUN holds them until they are read, which isn't timed.
pub const CHUNK: usize = 256;
const _: () = assert!(CHUNK <= Gateway::QUEUE);

/// Every kind of subject, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel without rules and without tables.
    Bare,
    /// The kernel, by `iptables-legacy-restore`.
    Legacy,
    /// The kernel, by `nft -f`, a rule for each.
    NftLinear,
    /// The kernel, by `nft -f`, a set or a verdict map.
    NftSet,
    /// The engine.
    Engine,
    /// The engine without its flow cache.
    Uncached,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Bare,
        Kind::Legacy,
        Kind::NftLinear,
        Kind::NftSet,
        Kind::Engine,
        Kind::Uncached,
    ];

    /// At the head of a column, and in the result's file.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare",
            Kind::Legacy => "legacy",
            Kind::NftLinear => "nft_linear",
            Kind::NftSet => "nft_set",
            Kind::Engine => "engine",
            Kind::Uncached => "engine_uncached",
        }
    }

    pub const fn is_kernel(self) -> bool {
        !matches!(self, Kind::Engine | Kind::Uncached)
    }
}

/// One subject with its rules of both families.
pub enum Subject {
    Kernel(Box<Gateway>),
    Engine(Box<Engine>),
}

impl Subject {
    /// Makes one.
    pub fn create(kind: Kind, rules: &Rules) -> Result<Self, Failure> {
        if !kind.is_kernel() {
            let mut engine = Engine::new();
            engine.execute(Command::UseFlowCache(kind == Kind::Engine))?;
            for family in [Family::V4, Family::V6] {
                engine.load(family, &rules.iptables(family))?;
            }
            return Ok(Self::Engine(Box::new(engine)));
        }
        let gateway = Gateway::create()?;
        for family in [Family::V4, Family::V6] {
            load(&gateway, kind, family, rules)?;
        }
        Ok(Self::Kernel(Box::new(gateway)))
    }

    /// Makes the flow of `packet` one that both sides have been heard of.
    pub fn establish(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let mut out = Vec::new();
        self.forward(Direction::Original, &[packet.to_vec()], |packet| out.push(answer(packet)))?;
        let mut back = 0;
        self.forward(Direction::Reply, &out, |_| back += 1)?;
        if back == 1 {
            Ok(())
        } else {
            Err("the answer was lost".into())
        }
    }

    /// Forwards up to [`CHUNK`] packets and returns how long that took. Each has to come out.
    pub fn pass(&mut self, packets: &[Vec<u8>]) -> Result<Duration, Failure> {
        let mut passed = 0;
        let time = self.forward(Direction::Original, packets, |_| passed += 1)?;
        if passed == packets.len() {
            Ok(time)
        } else {
            Err(format!("{passed} of {} packets came out", packets.len()).into())
        }
    }

    /// Forgets every connection.
    pub fn flush_connections(&mut self) -> Result<(), Failure> {
        match self {
            Self::Kernel(gateway) => Ok(gateway.flush_connections()?),
            Self::Engine(engine) => Ok(engine.execute(Command::FlushConnections)?),
        }
    }

    fn forward(&mut self, direction: Direction, packets: &[Vec<u8>], mut each: impl FnMut(&[u8])) -> Result<Duration, Failure> {
        match self {
            Self::Kernel(gateway) => {
                let time = gateway.send(direction, packets)?;
                gateway.drain(direction, each)?;
                Ok(time)
            }
            Self::Engine(engine) => {
                let start = Instant::now();
                for packet in packets {
                    each(engine.forward(direction, packet)?);
                }
                Ok(start.elapsed())
            }
        }
    }
}

/// Loads rules into the kernel, by the program of their kind.
pub fn load(gateway: &Gateway, kind: Kind, family: Family, rules: &Rules) -> Result<(), fielato_oracle::error::Error> {
    let legacy = match family {
        Family::V4 => "iptables-legacy-restore",
        Family::V6 => "ip6tables-legacy-restore",
    };
    match kind {
        Kind::Legacy => gateway.run(legacy, &[], rules.iptables(family)),
        Kind::NftLinear => gateway.run("nft", &["-f", "-"], rules.nft_linear(family)),
        Kind::NftSet => gateway.run("nft", &["-f", "-"], rules.nft_set(family)),
        Kind::Bare | Kind::Engine | Kind::Uncached => Ok(()),
    }
}

/// The same datagram the other way.
fn answer(packet: &[u8]) -> Vec<u8> {
    let Ok(headers) = Headers::parse(packet) else {
        return Vec::new();
    };
    Ip::new(headers.family, headers.dst, headers.src).udp(headers.dport, headers.sport, b"answer")
}

/// The engine, its clock, and the buffer that goes round.
pub struct Engine {
    netfilter: Netfilter,
    router: Router,
    now: Now,
    buffer: Vec<u8>,
}

impl Engine {
    /// One without rules, with the kernel's defaults: connections aren't tracked until a rule needs it, and not counted.
    pub fn new() -> Self {
        let config = Config {
            tracking: Tracking::WhenNeeded,
            acct: false,
            ..Config::default()
        };
        Self {
            netfilter: Netfilter::new(config, 1),
            router: Router,
            now: Now::from_secs(1),
            buffer: Vec::with_capacity(2048),
        }
    }

    /// Parses and compiles a save file.
    pub fn load(&mut self, family: Family, text: &str) -> Result<(), Failure> {
        let ruleset =
            restore::parse(text, family, &Registry::builtin(), &BuiltinNames).map_err(|error| error.error.to_string())?;
        let generation = None;
        self.execute(Command::Replace { ruleset, generation })
    }

    fn execute(&mut self, command: Command) -> Result<(), Failure> {
        self.netfilter.execute(Caller::Admin, command, self.now)?;
        Ok(())
    }

    /// The whole way of a packet: copied in, parsed, forwarded. Returns what came out.
    fn forward(&mut self, direction: Direction, packet: &[u8]) -> Result<&[u8], Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.now = self.now.plus(1_000);
        let way_in = interface(match direction {
            Direction::Original => Port::Inside,
            Direction::Reply => Port::Outside,
        });
        let mut packet = Packet::received(buffer, way_in).map_err(|malformed| format!("{malformed:?}"))?;
        match self.netfilter.receive_in_place(&mut packet, &mut self.router, self.now) {
            Ended::Transmit => self.buffer = std::mem::take(&mut black_box(packet).data),
            other => return Err(format!("{other:?}").into()),
        }
        Ok(&self.buffer)
    }
}

/// The kernel's routes, as a [`Host`].
struct Router;

fn interface(port: Port) -> Interface {
    // The names are short enough.
    Interface::new(port as u32 + 1, port.name()).unwrap_or_default()
}

impl Host for Router {
    fn route(&mut self, key: &RouteKey) -> Route {
        match network::route(key.family, key.dst) {
            Port::Host => Route::Local,
            port => Route::Out {
                interface: interface(port),
                mtu: 1500,
                realm: 0,
            },
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, _: Option<Interface>) -> AddressType {
        match network::route(family, address) {
            Port::Host => AddressType::Local,
            _ => AddressType::Unicast,
        }
    }

    fn interface_address(&mut self, family: Family, outgoing: Interface, _: Addr) -> Option<Addr> {
        let own = network::local(family);
        Some(own[usize::from(outgoing == interface(Port::Outside))])
    }
}
