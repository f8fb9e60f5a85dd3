//! The user-space engine between the taps, in a machine with two interfaces on which nobody listens.

mod machine;
mod store;

use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fielato_iptables::remote::{self, Request, Response};
use fielato_iptables::{BuiltinNames, Registry};
use fielato_netfilter::conntrack::defrag::fragment;
use fielato_netfilter::conntrack::{Config, Tracking};
use fielato_netfilter::engine::Fate;
use fielato_netfilter::{Effect, Netfilter, Now, Packet};

use super::backend::Backend;
use machine::Machine;
use store::EngineStore;

/// Connections looked at for expiry with each packet.
const EXPIRE_BUDGET: usize = 256;

/// The engine and the machine around it.
pub struct Userspace {
    engine: Netfilter,
    machine: Machine,
    registry: Registry,
    began: Instant,
    sent: Vec<(usize, Vec<u8>)>,
}

impl Userspace {
    /// Without rules and connections.
    pub fn new() -> anyhow::Result<Userspace> {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let config = Config {
            // As the kernel does.
            tracking: Tracking::WhenNeeded,
            ..Config::default()
        };
        Ok(Userspace {
            engine: Netfilter::new(config, seed),
            machine: Machine::new().context("the machine's addresses")?,
            registry: Registry::builtin(),
            began: Instant::now(),
            sent: Vec::new(),
        })
    }

    fn now(&self, now: Instant) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            // Not zero, which a clock says only once.
            mono: now.duration_since(self.began).as_nanos() as u64 + Now::SECOND,
            wall: wall.as_nanos() as u64,
        }
    }

    /// Sends a packet of the machine's own.
    fn send(&mut self, packet: Vec<u8>, now: Now) {
        if let Ok(packet) = Packet::local(packet)
            && let Fate::Transmit(packet) = self.engine.send_local(packet, &mut self.machine, now)
        {
            self.transmit(&packet);
        }
    }

    /// Puts a packet on its way out, in pieces if it must be.
    fn transmit(&mut self, packet: &Packet) {
        if let Some(tap) = machine::tap_of(packet.out_interface) {
            let pieces = fragment(packet, packet.mtu).unwrap_or_default();
            self.sent.extend(pieces.into_iter().map(|piece| (tap, piece)));
        }
    }

    /// Carries out what packets caused beside their fate.
    fn carry_out(&mut self) {
        let effects: Vec<Effect> = self.engine.drain_effects().collect();
        for effect in effects {
            match effect {
                Effect::Transmit(packet) => self.transmit(&packet),
                Effect::Copy { gateway, packet } => {
                    if let Some(tap) = self.machine.tap_towards(packet.headers.family, gateway) {
                        self.sent.push((tap, packet.data));
                    }
                }
                // Nobody reads logs here; a log rule's counter tells that it was met.
                Effect::Log { .. } | Effect::NfLog { .. } | Effect::Trace { .. } | Effect::Audit { .. } | Effect::Send(_) => {}
            }
        }
    }
}

impl Backend for Userspace {
    fn inject(&mut self, tap: usize, packet: &[u8], now: Instant) -> io::Result<()> {
        let now = self.now(now);
        self.engine.expire(now, EXPIRE_BUDGET);
        // What is no packet reaches no hook.
        let Ok(received) = Packet::received(packet.to_vec(), self.machine.interface(tap)) else {
            return Ok(());
        };
        match self.engine.receive(received, &mut self.machine, now) {
            Fate::Transmit(packet) => self.transmit(&packet),
            Fate::Deliver(packet) => {
                if let Some(answer) = self.machine.answer(&packet) {
                    self.send(answer, now);
                }
            }
            Fate::Dropped(_) | Fate::Stolen | Fate::Fragment | Fate::Queued => {}
        }
        self.carry_out();
        Ok(())
    }

    fn send_local(&mut self, packet: &[u8], now: Instant) -> io::Result<()> {
        let now = self.now(now);
        self.send(packet.to_vec(), now);
        self.carry_out();
        Ok(())
    }

    fn outputs(&mut self) -> io::Result<Vec<(usize, Vec<u8>)>> {
        Ok(std::mem::take(&mut self.sent))
    }

    fn rules(&mut self, request: &Request, now: Instant) -> Response {
        let now = self.now(now);
        let mut store = EngineStore {
            engine: &mut self.engine,
            now,
        };
        remote::serve(request, &mut store, &self.registry, &BuiltinNames)
    }
}
