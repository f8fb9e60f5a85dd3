//! Real packets on their whole way: out of the sender's machine, through the hub, into the receiver's, and the answer back.
//!
//! Between the machines are the tunnels, of which only WireGuard's own choice is played: it sends to the peer that has the
//! destination, and takes from a peer what that may send. Members that are no protected hosts have no rules; they and everybody
//! outside take what comes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fielato_oracle::subject::{Output, Port};
use fielato_policy::judge::Verdict;
use fielato_policy::trace::Place;
use fielato_wire::{Headers, number};
use ipnet::IpNet;

use super::host::{self, Hosts, grown};
use super::question::{Asked, answer};
use super::said::Fate;
use crate::error::Error;
use crate::scene::Scene;
use crate::subject::{Subject, Tallies};

/// The machines on the way.
pub struct Way<'a, S> {
    scene: &'a Scene,
    hub: &'a mut S,
    hosts: &'a mut Hosts,
    /// What packets had met on the hub before.
    counted: &'a mut Tallies,
    began: Instant,
}

/// Where a packet is when its way is over.
enum Gone {
    Arrived(Place, Vec<u8>),
    /// Stopped there, and what that machine said about it: the packet, and by which of its ports.
    Stopped(Place, Option<(Port, Vec<u8>)>),
}

impl<'a, S: Subject> Way<'a, S> {
    /// The hub has to be loaded; `counted` is empty then, and handed over from one to the next.
    pub fn new(scene: &'a Scene, hub: &'a mut S, hosts: &'a mut Hosts, counted: &'a mut Tallies, began: Instant) -> Self {
        Self {
            scene,
            hub,
            hosts,
            counted,
            began,
        }
    }

    /// Sends the packet, and what the receiver answers.
    ///
    /// # Errors
    /// When a packet can't be handed over.
    pub fn play(&mut self, asked: &Asked) -> Result<Fate, Error> {
        self.hub.forget()?;
        self.hosts.forget()?;
        let packet = asked.packet().unwrap_or_default();
        let (verdict, at, is_answer) = self.there_and_back(&asked.place, packet)?;
        Ok(Fate {
            verdict,
            at,
            answer: is_answer,
            met: self.met()?,
        })
    }

    fn there_and_back(&mut self, from: &Place, packet: Vec<u8>) -> Result<(Verdict, Place, bool), Error> {
        let ends = (source(&packet), destination(&packet));
        let (at, bytes) = match self.carry(from, packet)? {
            Gone::Arrived(at, bytes) => (at, bytes),
            Gone::Stopped(at, said) => return Ok((self.told(&at, said, from)?, at, false)),
        };
        let Some(reply) = answer(&bytes) else {
            return Ok((Verdict::Accept, at, false));
        };
        Ok(match self.carry(&at, reply)? {
            // From whom the sender asked, whoever that was on the way.
            Gone::Arrived(back, bytes) if back == *from && ends == (destination(&bytes), source(&bytes)) => {
                (Verdict::Accept, at, false)
            }
            // Nobody there knows what that is.
            Gone::Arrived(elsewhere, _) => (Verdict::Drop, elsewhere, true),
            Gone::Stopped(there, said) => (self.told(&there, said, &at)?, there, true),
        })
    }

    /// Whether what the machine said about the packet that it stopped comes to who sent that.
    fn told(&mut self, at: &Place, said: Option<(Port, Vec<u8>)>, sender: &Place) -> Result<Verdict, Error> {
        let Some((port, bytes)) = said else {
            return Ok(Verdict::Drop);
        };
        let gone = match at {
            Place::Hub => self.leave_hub(port, bytes)?,
            Place::Member(name) | Place::Host(name) => {
                let name = name.clone();
                self.leave(&name, port, bytes)?
            }
            Place::Outside => return Ok(Verdict::Drop),
        };
        Ok(match gone {
            Gone::Arrived(place, _) if place == *sender => Verdict::Reject,
            Gone::Arrived(..) | Gone::Stopped(..) => Verdict::Drop,
        })
    }

    fn carry(&mut self, from: &Place, packet: Vec<u8>) -> Result<Gone, Error> {
        match from {
            Place::Hub => self.cross(Port::Host, packet),
            Place::Outside => self.cross(Port::Outside, packet),
            Place::Member(name) | Place::Host(name) => {
                let Some(machine) = self.hosts.machine(self.scene, name)? else {
                    let own = self.scene.config.members.get(name).map(|member| &member.addresses);
                    if own.is_some_and(|own| destination(&packet).is_some_and(|to| own.contains(&to))) {
                        return Ok(Gone::Arrived(from.clone(), packet));
                    }
                    return match holds(&host::allowed_ips(self.scene, name), destination(&packet)) {
                        true => self.enter_tunnel(name, packet),
                        false => Ok(Gone::Stopped(from.clone(), None)),
                    };
                };
                let outputs = machine.inject(Port::Host, &packet)?;
                match going_on(&packet, &outputs) {
                    Some(Output {
                        port: Port::Host,
                        packet,
                    }) => Ok(Gone::Arrived(from.clone(), packet.clone())),
                    // A member that is asked about sends through the tunnel alone.
                    Some(Output { port: Port::Outside, .. }) if *from == Place::Member(name.clone()) => {
                        Ok(Gone::Stopped(from.clone(), None))
                    }
                    Some(Output { port, packet }) => self.leave(name, *port, packet.clone()),
                    None => Ok(Gone::Stopped(from.clone(), None)),
                }
            }
        }
    }

    /// Out of a protected host.
    fn leave(&mut self, name: &str, port: Port, packet: Vec<u8>) -> Result<Gone, Error> {
        match port {
            Port::Inside => self.enter_tunnel(name, packet),
            Port::Outside => self.cross(Port::Outside, packet),
            Port::Host => Ok(Gone::Arrived(Place::Host(name.to_owned()), packet)),
        }
    }

    /// Into a member's tunnel, and out of it on the hub.
    fn enter_tunnel(&mut self, name: &str, packet: Vec<u8>) -> Result<Gone, Error> {
        let peer = self.scene.plan.peers.iter().find(|peer| peer.name == name);
        let may = peer.is_some_and(|peer| holds(&peer.allowed_ips, source(&packet)));
        match may {
            true => self.cross(Port::Inside, packet),
            false => Ok(Gone::Stopped(Place::Hub, None)),
        }
    }

    /// Through the hub.
    fn cross(&mut self, port: Port, packet: Vec<u8>) -> Result<Gone, Error> {
        let outputs = self.hub.inject(self.now(), port, &packet)?;
        match going_on(&packet, &outputs) {
            Some(Output { port, packet }) => self.leave_hub(*port, packet.clone()),
            None => Ok(Gone::Stopped(Place::Hub, said(&outputs))),
        }
    }

    fn leave_hub(&mut self, port: Port, packet: Vec<u8>) -> Result<Gone, Error> {
        match port {
            Port::Host => Ok(Gone::Arrived(Place::Hub, packet)),
            Port::Inside => {
                let to = destination(&packet);
                let mut peers = self.scene.plan.peers.iter();
                let Some(peer) = peers.find(|peer| holds(&peer.allowed_ips, to)) else {
                    return Ok(Gone::Stopped(Place::Hub, None));
                };
                let (name, place) = (peer.name.clone(), Place::Member(peer.name.clone()));
                match holds(&host::allowed_ips(self.scene, &name), source(&packet)) {
                    true => self.enter(&name, place, Port::Inside, packet),
                    false => Ok(Gone::Stopped(place, None)),
                }
            }
            Port::Outside => {
                let to = destination(&packet);
                let mut hosts = self.scene.config.hosts.iter();
                match hosts.find(|(_, host)| to.is_some_and(|to| host.addresses.contains(&to))) {
                    Some((name, _)) => self.enter(name, Place::Host(name.clone()), Port::Outside, packet),
                    None => Ok(Gone::Arrived(Place::Outside, packet)),
                }
            }
        }
    }

    /// Into a machine, past its own rules if it has some.
    fn enter(&mut self, name: &str, place: Place, port: Port, packet: Vec<u8>) -> Result<Gone, Error> {
        let Some(machine) = self.hosts.machine(self.scene, name)? else {
            return Ok(Gone::Arrived(place, packet));
        };
        let outputs = machine.inject(port, &packet)?;
        let delivered = outputs.iter().any(|output| output.port == Port::Host);
        Ok(match delivered {
            true => Gone::Arrived(place, packet),
            false => Gone::Stopped(place, said(&outputs)),
        })
    }

    fn met(&mut self) -> Result<BTreeSet<String>, Error> {
        let hub = self.hub.tallies()?;
        let of_hub = grown(self.counted, &hub)
            .into_iter()
            .filter(|name| !name.starts_with("class "));
        let mut met: BTreeSet<String> = of_hub.map(|name| format!("hub {name}")).collect();
        *self.counted = hub;
        met.extend(self.hosts.met()?);
        Ok(met)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The packet itself among what came out, and not an answer to it.
fn going_on<'o>(packet: &[u8], outputs: &'o [Output]) -> Option<&'o Output> {
    let what = |packet: &[u8]| {
        let headers = Headers::parse(packet).ok()?;
        let is_icmp = matches!(headers.protocol, number::ICMP | number::ICMPV6);
        Some((headers.protocol, is_icmp.then_some(headers.icmp_type), headers.tcp_flags))
    };
    let sent = what(packet);
    outputs.iter().find(|output| what(&output.packet) == sent)
}

/// What a machine that stopped a packet said.
fn said(outputs: &[Output]) -> Option<(Port, Vec<u8>)> {
    outputs.first().map(|output| (output.port, output.packet.clone()))
}

/// Whether WireGuard's AllowedIPs hold the address.
fn holds(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| networks.iter().any(|net| net.contains(&address)))
}

fn source(packet: &[u8]) -> Option<IpAddr> {
    let headers = Headers::parse(packet).ok()?;
    Some(headers.src.to_ip(headers.family))
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    let headers = Headers::parse(packet).ok()?;
    Some(headers.dst.to_ip(headers.family))
}
