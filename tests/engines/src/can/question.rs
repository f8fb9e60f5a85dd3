//! Questions as people ask them: from a name to a name.

use std::net::IpAddr;

use fielato_oracle::random::Random;
use fielato_oracle::rules::SERVICES;
use fielato_policy::Config;
use fielato_policy::config::{PortSpec, Protocol, Strategy};
use fielato_policy::trace::{IpVersion, Place, Question};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Headers, TcpFlags, number};

use crate::network;

/// The port that a traced packet comes from unless told otherwise.
const SOURCE_PORT: u16 = 40_000;

/// A question, and what it means by our own reading of the file.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who: a member, a host, `hub` or `internet`.
    pub from: String,
    /// What is asked about: perhaps a service with all its ports.
    pub to: String,
    /// Of a service, the host that this packet goes to; else what is asked about, without its port.
    pub machine: String,
    /// The port that this packet goes to; none: a ping.
    pub port: Option<(Protocol, u16)>,
    /// IPv4 or IPv6.
    pub version: IpVersion,
    /// Where it is sent.
    pub place: Place,
    /// The packet's ends.
    pub source: IpAddr,
    /// The packet's ends.
    pub destination: IpAddr,
}

impl Asked {
    /// A question about this policy; nothing when the chosen ends have no family in common.
    pub fn random(random: &mut Random, config: &Config) -> Option<Asked> {
        let version = *random.pick(&[IpVersion::V4, IpVersion::V6]);
        let members: Vec<&String> = config.members.keys().collect();
        let hosts: Vec<&String> = config.hosts.keys().collect();
        let from = match random.weighted(&[82, 6, 9, 3]) {
            0 if !members.is_empty() => (*random.pick(&members)).clone(),
            1 if !hosts.is_empty() => (*random.pick(&hosts)).clone(),
            2 => "internet".to_owned(),
            _ => "hub".to_owned(),
        };
        let (to, machine, port) = aim(random, config, &from)?;
        // From elsewhere to elsewhere nobody goes by the hub.
        let is_outside = |name: &str| !config.members.contains_key(name) && name != "hub";
        let published = network::uplink().iter().any(|net| net.addr().to_string() == machine);
        // What a machine sends to itself is soon told.
        if from == machine && random.chance(80) {
            return None;
        }
        let of_the_hub = from == "hub" && (published || machine == "hub");
        if is_outside(&from) && is_outside(&machine) && !published || of_the_hub {
            return None;
        }
        let destination = one(&reached_at(config, &machine), version)?;
        let inside = config.hub.addresses.iter().any(|net| net.contains(&destination));
        let source = one(&known_as(config, &from, inside), version)?;
        let place = match from.as_str() {
            "hub" => Place::Hub,
            "internet" => Place::Outside,
            name if config.members.contains_key(name) => Place::Member(from.clone()),
            _ => Place::Host(from.clone()),
        };
        Some(Asked {
            from,
            to,
            machine,
            port,
            version,
            place,
            source,
            destination,
        })
    }

    /// The same about this packet alone, as `trace` takes it.
    pub fn single(&self) -> Question {
        let to = spelled(&self.machine, self.port);
        Question {
            version: Some(self.version),
            reply: true,
            ..Question::new(self.from.clone(), to)
        }
    }

    /// The packet.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let ip = Ip::between(self.source, self.destination)?;
        Some(match self.port {
            Some((Protocol::Tcp, port)) => {
                let options = [2, 4, 5, 0x64, 4, 2, 1, 1];
                ip.tcp(&Tcp::new(SOURCE_PORT, port).syn().seq(1000).options(options))
            }
            Some((Protocol::Udp, port)) => ip.udp(SOURCE_PORT, port, &[b'x'; 100]),
            Some((Protocol::Sctp, port)) => ip.sctp(SOURCE_PORT, port, 0, &init(SCTP_INIT, SCTP_FIRST)),
            None => ip.echo_request(1, 1, &[b'x'; 56]),
        })
    }
}

/// RFC 9260 §3.2.
const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;
/// The tags of who begins and of who answers.
const SCTP_FIRST: u32 = 1;
const SCTP_SECOND: u32 = 2;

/// A chunk with a tag, a window, one stream each way and the first number (RFC 9260 §3.3.2).
const fn init(kind: u8, tag: u32) -> [u8; 20] {
    [kind, 0, 0, 20, 0, 0, 0, tag as u8, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
}

/// What the machine that a packet came to says to it.
pub fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(packet).ok()?;
    let to_ip = |address: fielato_wire::Addr| address.to_ip(headers.family);
    let ip = Ip::between(to_ip(headers.dst), to_ip(headers.src))?;
    let transport = headers.transport(packet);
    match headers.protocol {
        number::TCP if headers.tcp_flags.has(TcpFlags::SYN) => {
            let sequence = u32::from_be_bytes(*transport.get(4..)?.first_chunk()?);
            let tcp = Tcp::new(headers.dport, headers.sport).syn().seq(5000);
            Some(ip.tcp(&tcp.ack(sequence.wrapping_add(1))))
        }
        number::UDP => Some(ip.udp(headers.dport, headers.sport, &[b'y'; 100])),
        number::SCTP => Some(ip.sctp(headers.dport, headers.sport, SCTP_FIRST, &init(SCTP_INIT_ACK, SCTP_SECOND))),
        number::ICMP | number::ICMPV6 => {
            let word = |at: usize| Some(u16::from_be_bytes(*transport.get(at..)?.first_chunk()?));
            Some(ip.echo_reply(word(4)?, word(6)?, transport.get(8..)?))
        }
        _ => None,
    }
}

type Port = Option<(Protocol, u16)>;

/// What is asked about; the machine and the port that the packet goes to.
fn aim(random: &mut Random, config: &Config, from: &str) -> Option<(String, String, Port)> {
    let services: Vec<&String> = config.services.keys().collect();
    let hosts: Vec<&String> = config.hosts.keys().collect();
    let members: Vec<&String> = config.members.keys().collect();
    let from_outside = from == "internet" || !config.members.contains_key(from) && from != "hub";
    let some = |has: bool, weight: u32| if has { weight } else { 0 };
    let machine = match random.weighted(&[
        some(!services.is_empty(), 50),
        some(!hosts.is_empty(), 16),
        some(!members.is_empty(), 12),
        10,
        8,
        if from_outside { 60 } else { 6 },
    ]) {
        0 => {
            let to = (*random.pick(&services)).clone();
            let service = config.services.get(&to)?;
            let machine = random.pick(&service.hosts).clone();
            let spec = service.ports.get(random.below(service.ports.len()))?;
            return Some((to, machine, Some(within(random, config, spec))));
        }
        1 => (*random.pick(&hosts)).clone(),
        2 => (*random.pick(&members)).clone(),
        3 => "hub".to_owned(),
        4 => "internet".to_owned(),
        _ => {
            let machine = random.pick(&network::uplink()).addr().to_string();
            let ports: Vec<&PortSpec> = config.publish.iter().map(|publish| &publish.port).collect();
            if !ports.is_empty() && random.chance(70) {
                let spec = *random.pick(&ports);
                let port = Some(within(random, config, spec));
                return Some((spelled(&machine, port), machine, port));
            }
            machine
        }
    };
    let port = port(random, config);
    Some((spelled(&machine, port), machine, port))
}

/// A port of a range: most often one of its ends, or one that rules name.
fn within(random: &mut Random, config: &Config, spec: &PortSpec) -> (Protocol, u16) {
    let PortSpec { protocol, first, last } = *spec;
    let raw = config
        .raw
        .iter()
        .flat_map(|rule| rule.words.split(|c: char| !c.is_ascii_digit()));
    let raw = raw.filter_map(|word| word.parse().ok());
    let named: Vec<u16> = SERVICES
        .into_iter()
        .chain(raw)
        .filter(|port| (first..=last).contains(port))
        .collect();
    let port = match random.below(5) {
        0 => first,
        1 => last,
        2 | 3 if !named.is_empty() => *random.pick(&named),
        _ => random.between(u32::from(first), u32::from(last)) as u16,
    };
    (protocol, port)
}

/// Some port, or none for a ping: one of a service or just beside, a published one, the agents', any.
fn port(random: &mut Random, config: &Config) -> Port {
    let of_services: Vec<&PortSpec> = config.services.values().flat_map(|service| &service.ports).collect();
    let published: Vec<&PortSpec> = config.publish.iter().map(|publish| &publish.port).collect();
    let other = *random.pick(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    match random.below(8) {
        0 | 1 => None,
        2..=4 if !of_services.is_empty() => {
            let spec = *random.pick(&of_services);
            Some(within(random, config, spec))
        }
        5 if !of_services.is_empty() => {
            let spec = *random.pick(&of_services);
            Some((spec.protocol, spec.last.checked_add(1).unwrap_or(spec.first)))
        }
        6 if !published.is_empty() => {
            let spec = *random.pick(&published);
            Some(within(random, config, spec))
        }
        7 if random.chance(30) => Some((Protocol::Tcp, config.hub.control_port)),
        _ => Some((other, *random.pick(&SERVICES))),
    }
}

/// `NAME:80/tcp`, `[ADDRESS]:80/tcp`.
fn spelled(machine: &str, port: Port) -> String {
    match port {
        Some((protocol, port)) if machine.parse::<IpAddr>().is_ok() => format!("[{machine}]:{port}/{}", protocol.word()),
        Some((protocol, port)) => format!("{machine}:{port}/{}", protocol.word()),
        None => machine.to_owned(),
    }
}

/// `fielato trace` says where `internet` is; any address would do that nobody here has.
const INTERNET: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

fn internet() -> Vec<IpAddr> {
    INTERNET.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The addresses at which a machine is reached.
fn reached_at(config: &Config, name: &str) -> Vec<IpAddr> {
    if let Ok(address) = name.parse() {
        return vec![address];
    }
    let member = config.members.get(name).map(|member| member.addresses.clone());
    match (config.hosts.get(name), member) {
        (Some(host), Some(member)) if host.strategy == Strategy::Member => member,
        (Some(host), _) => host.addresses.clone(),
        (None, Some(member)) => member,
        (None, None) if name == "hub" => config.hub.addresses.iter().map(ipnet::IpNet::addr).collect(),
        (None, None) => internet(),
    }
}

/// The addresses from which it sends.
fn known_as(config: &Config, name: &str, into_overlay: bool) -> Vec<IpAddr> {
    let member = config.members.get(name).map(|member| member.addresses.clone());
    let host = config.hosts.get(name).map(|host| host.addresses.clone());
    match member.or(host) {
        Some(addresses) => addresses,
        None if name == "hub" && into_overlay => config.hub.addresses.iter().map(ipnet::IpNet::addr).collect(),
        None if name == "hub" => config.hub.source.clone(),
        None => internet(),
    }
}

fn one(addresses: &[IpAddr], version: IpVersion) -> Option<IpAddr> {
    let v4 = version == IpVersion::V4;
    addresses.iter().copied().find(|address| address.is_ipv4() == v4)
}
