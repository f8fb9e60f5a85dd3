//! A member with a stock device of its own, through the tunnel and the gateway to a server and back.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use fielato_gateway::{Buffer, Hub, Moment, Output};
use fielato_wireguard::aead::Ring;
use fielato_wireguard::{Destination, Device, DeviceConfig, Outbox, Path, PeerConfig, PrivateKey};

use crate::net::*;

const HUB: &str = "203.0.113.1:51820";
const MEMBER: &str = "198.51.100.77:4000";

fn device(own: u8, peer: u8, allowed: &[&str], endpoint: Option<&str>, at: Moment) -> Device {
    let key = |number: u8| PrivateKey([number; 32]);
    let mut device = Device::new(1420, Box::new(Ring), [own; 32], at.instant, at.wall);
    let config = DeviceConfig {
        private_key: key(own),
        listen_port: 51820,
        fwmark: 0,
        peers: vec![PeerConfig {
            public_key: key(peer).public_key(),
            preshared_key: None,
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            persistent_keepalive: None,
            allowed_ips: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        }],
    };
    device.with_control(|control| control.set(&config, at.instant, &mut Outbox::new()));
    device
}

fn path(address: &str) -> Path {
    Path::from(address.parse::<SocketAddr>().unwrap())
}

/// The member's machine and the hub, with nothing between them.
struct Pair {
    hub: Hub,
    member: Device,
    at: Moment,
    /// What came out of the member's tunnel.
    inbox: Vec<Vec<u8>>,
    /// What left the hub elsewhere.
    outside: Vec<(fielato_gateway::PortId, Vec<u8>)>,
}

impl Pair {
    fn new() -> Pair {
        let at = Moment {
            instant: Instant::now() + Duration::from_secs(10),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let epoch = at.instant - Duration::from_secs(10);
        let gateway = fielato_gateway::Gateway::new(config(), 7, Hub::now(epoch, at)).unwrap();
        let members = ["10.8.0.7/32", "fd08::7/128"];
        Pair {
            hub: Hub::new(device(1, 2, &members, None, at), gateway, TUNNEL, epoch),
            member: device(2, 1, &["0.0.0.0/0", "::/0"], Some(HUB), at),
            at,
            inbox: Vec::new(),
            outside: Vec::new(),
        }
    }

    fn say(&mut self, packet: &[u8]) {
        let mut out = Outbox::new();
        self.member.handle_tun(packet, self.at.instant, &mut out);
        self.exchange(out);
    }

    fn exchange(&mut self, mut out: Outbox) {
        loop {
            for (destination, data) in out.iter() {
                let Destination::Network { tos, .. } = destination else {
                    continue;
                };
                self.hub.handle_udp(&mut data.to_vec(), &path(MEMBER), tos, self.at);
            }
            out.clear();
            while let Some(output) = self.hub.poll(self.at) {
                match output {
                    Output::Datagram { tos, mut data, path: to } => {
                        assert_eq!(to.remote.to_string(), MEMBER);
                        let inner = self.member.handle_udp(&mut data, &path(HUB), tos, self.at.instant, &mut out);
                        self.inbox.extend(inner.map(|inner| data[inner.range].to_vec()));
                    }
                    Output::Packet { port, packet } => self.outside.push((port, packet.data)),
                }
            }
            if out.is_empty() {
                return;
            }
        }
    }
}

#[test]
fn a_member_reaches_a_server_and_is_answered() {
    for family in FAMILIES {
        let mut pair = Pair::new();
        let [member, hub, server, _] = places(family);
        pair.say(&ip(member, server).udp(1000, 53, b"question"));
        assert_eq!(
            pair.outside,
            [(UPLINK, ip(member, server).ttl(63).udp(1000, 53, b"question"))]
        );
        let answer = Buffer::from(ip(server, member).udp(53, 1000, b"answer"));
        pair.hub.handle_packet(UPLINK, answer, pair.at);
        pair.exchange(Outbox::new());
        assert_eq!(pair.inbox, [ip(server, member).ttl(63).udp(53, 1000, b"answer")]);

        // Nobody has this address: the device says so, and the gateway sends it on.
        let nobody = if family == fielato_wire::Family::V4 {
            "10.8.0.99"
        } else {
            "fd08::99"
        };
        pair.inbox.clear();
        pair.say(&ip(member, nobody).udp(1, 2, b"x"));
        assert_eq!(pair.inbox.len(), 1);
        pair.inbox.clear();
        pair.say(&ip(member, hub).echo_request(7, 1, b"hello"));
        assert_eq!(pair.outside.last().unwrap().0, HOST);

        // Time passes without anything going wrong, and connections end.
        for _ in 0..5_000 {
            let Some(due) = pair.hub.poll_timeout() else { break };
            let passed = due.saturating_duration_since(pair.at.instant).max(Duration::from_millis(1));
            pair.at = Moment {
                instant: pair.at.instant + passed,
                wall: pair.at.wall + passed,
            };
            pair.hub.handle_timeout(pair.at);
            while pair.hub.poll(pair.at).is_some() {}
        }
        assert_eq!(pair.hub.gateway().usage().connections, 0);
    }
}
