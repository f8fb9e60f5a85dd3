//! One device in several shards, as several threads run it.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use fielato_wireguard::aead::Ring;
use fielato_wireguard::device::Control;
use fielato_wireguard::message::Message;
use fielato_wireguard::shard::NoSender;
use fielato_wireguard::uapi::SetDevice;
use fielato_wireguard::{
    Destination, Device, DeviceConfig, DropReason, Front, Outbox, Path, PeerChange, PeerConfig, PrivateKey, PublicKey, Roster,
    Shard,
};

use crate::net::MTU;

const SHARDS: u8 = 3;
const PEERS: u8 = 20;

/// A device of three shards, and twenty peers of it.
struct Hub {
    now: Instant,
    roster: Roster,
    front: Front,
    shards: Vec<Shard>,
    key: PrivateKey,
    peers: Vec<(PrivateKey, Device)>,
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51820))
}

fn config(key: PublicKey, number: u8) -> PeerConfig {
    PeerConfig {
        public_key: key,
        preshared_key: None,
        endpoint: Some(address(number)),
        persistent_keepalive: None,
        allowed_ips: vec![format!("10.0.0.{number}/32").parse().unwrap()],
    }
}

impl Hub {
    fn new() -> Self {
        let (now, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let shard = |worker| Shard::new(worker, SHARDS.into(), MTU, Box::new(Ring), [worker; 32], now, wall);
        let key = PrivateKey([7; 32]);
        let mut hub = Self {
            now,
            roster: Roster::default(),
            front: Front::new([9; 32]),
            shards: (0..SHARDS).map(shard).collect(),
            peers: vec![],
            key,
        };
        for number in 1..=PEERS {
            let key = PrivateKey([number + 100; 32]);
            let mut device = Device::new(MTU, Box::new(Ring), [number + 50; 32], now, wall);
            let own = DeviceConfig {
                private_key: key.clone(),
                listen_port: 51820,
                fwmark: 0,
                peers: vec![config(hub.key.public_key(), 200)],
            };
            device.with_control(|control| control.set(&own, now, &mut Outbox::new()));
            hub.peers.push((key, device));
        }
        let all = DeviceConfig {
            private_key: hub.key.clone(),
            listen_port: 51820,
            fwmark: 0,
            peers: (1..)
                .zip(&hub.peers)
                .map(|(number, (key, _))| config(key.public_key(), number))
                .collect(),
        };
        hub.with_control(|control| control.set(&all, now, &mut Outbox::new()));
        hub
    }

    fn with_control<T>(&mut self, work: impl FnOnce(&mut Control<'_, &mut Shard>) -> T) -> T {
        work(&mut Control {
            roster: &mut self.roster,
            front: &mut self.front,
            shards: &mut self.shards.iter_mut().collect::<Vec<_>>(),
        })
    }

    fn slot(&self, peer: usize) -> u32 {
        self.roster.find(&self.peers[peer].0.public_key()).unwrap()
    }

    /// Gives a datagram of a peer to the part that it is for, as the workers do; returns what goes back.
    fn receive(&mut self, peer: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        let (from, mut out) = (Path::from(address(peer as u8 + 1)), Outbox::new());
        match Message::parse(datagram).unwrap() {
            Message::Initiation(message) => {
                let claim = self.front.claim(message, &from, self.now, &mut out).unwrap();
                let slot = self.roster.find(&claim.peer).unwrap();
                let shard = &mut self.shards[slot as usize % usize::from(SHARDS)];
                shard.handle_initiation(slot, claim, &from, self.now, &mut out);
            }
            Message::Response(message) => {
                let worker = Message::Response(message).receiver().unwrap() & 0xff;
                self.shards[worker as usize].handle_response(message, &from, self.now, &mut out);
            }
            other => panic!("{other:?}"),
        }
        out.iter().map(|(_, bytes)| bytes.to_vec()).collect()
    }

    fn at_peer(&mut self, peer: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Outbox::new();
        let device = &mut self.peers[peer].1;
        device.handle_udp(&mut datagram.to_vec(), &Path::from(address(200)), 0, self.now, &mut out);
        out.iter().map(|(_, bytes)| bytes.to_vec()).collect()
    }
}

#[test]
fn peers_are_shared_out_and_their_numbers_say_where() {
    let mut hub = Hub::new();
    for peer in 0..usize::from(PEERS) {
        let slot = hub.slot(peer);
        let owner = (slot % u32::from(SHARDS)) as usize;
        for shard in 0..usize::from(SHARDS) {
            assert_eq!(hub.shards[shard].has(slot), shard == owner);
            let mut out = Outbox::new();
            let sender = hub.shards[shard].sender(slot, hub.now, &mut out);
            if shard != owner {
                assert!(
                    matches!(sender.err(), Some(NoSender::Unreachable(_))),
                    "another's peers are none"
                );
                assert!(out.is_empty());
            } else {
                assert_eq!(sender.err(), Some(NoSender::NoSession));
                let sent: Vec<_> = out.iter().map(|(destination, bytes)| (destination, bytes.to_vec())).collect();
                assert!(matches!(sent[0].0, Destination::Network { path, .. } if path.remote == address(peer as u8 + 1)));
                assert_eq!(usize::from(sent[0].1[4]), owner, "the low byte of the number is the shard");
                let response = hub.at_peer(peer, &sent[0].1);
                assert_eq!(usize::from(response[0][8]), owner);
                assert_eq!(hub.receive(peer, &response[0]).len(), 1, "a keepalive");
                let mut out = Outbox::new();
                assert!(hub.shards[shard].sender(slot, hub.now, &mut out).is_ok());
            }
        }
    }
    let used: Vec<usize> = hub.shards.iter().map(|shard| shard.usage().tunnels).collect();
    assert_eq!(used, [7, 7, 6]);
    let (now, wall) = (hub.now, SystemTime::UNIX_EPOCH);
    let status = hub.with_control(|control| control.status(now, wall));
    assert!(status.peers.iter().all(|peer| peer.latest_handshake.is_some()));
}

#[test]
fn initiations_find_their_peers_shard() {
    let mut hub = Hub::new();
    for peer in 0..usize::from(PEERS) {
        let mut out = Outbox::new();
        let now = hub.now;
        let packet = crate::net::packet(&format!("10.0.0.{}", peer + 1), "10.0.0.200", b"body");
        let (key, device) = &mut hub.peers[peer];
        let _ = key;
        device.with_control(|control| {
            let change = PeerConfig {
                allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
                ..config(PrivateKey([7; 32]).public_key(), 200)
            };
            control.apply(&[PeerChange::Set(change)], now, &mut Outbox::new());
        });
        device.handle_tun(&packet, now, &mut out);
        let initiation = out.iter().next().unwrap().1.to_vec();
        let response = hub.receive(peer, &initiation);
        let owner = hub.slot(peer) % u32::from(SHARDS);
        assert_eq!(u32::from(response[0][4]), owner);
        // What waited arrives at that shard and at no other.
        let data = hub.at_peer(peer, &response[0]);
        let receiver = Message::parse(&data[0]).unwrap().receiver().unwrap();
        let origin = fielato_wireguard::outbox::Origin {
            path: Path::from(address(peer as u8 + 1)),
            tos: 0,
        };
        for shard in 0..u32::from(SHARDS) {
            let (allowed_ips, mut out) = (hub.roster.allowed_ips(), Outbox::new());
            let shard_of = &mut hub.shards[shard as usize];
            let result = shard_of.handle_data(&mut data[0].clone(), receiver, &origin, allowed_ips, now, &mut out);
            match result {
                Ok(inner) if shard == owner => assert_eq!(inner.unwrap().range, 16..16 + packet.len()),
                other => assert_eq!((other, shard == owner), (Err(DropReason::UnknownIndex), false)),
            }
        }
    }
    let drops = hub.with_control(|control| control.drops());
    assert_eq!(
        drops.get(DropReason::UnknownIndex),
        2 * u64::from(PEERS),
        "counted over all shards"
    );
}

#[test]
fn slots_are_used_again_in_their_shard() {
    let mut hub = Hub::new();
    let now = hub.now;
    let gone = [3, 4, 8, 17];
    let slots: Vec<u32> = gone.iter().map(|peer| hub.slot(*peer)).collect();
    for peer in gone {
        let key = hub.peers[peer].0.public_key();
        hub.with_control(|control| control.apply(&[PeerChange::Remove(key)], now, &mut Outbox::new()));
    }
    assert_eq!(
        hub.with_control(|control| control.status(now, SystemTime::UNIX_EPOCH))
            .peers
            .len(),
        16
    );
    let mut again = vec![];
    for number in 0..4 {
        let key = PublicKey([number + 1; 32]);
        let peer = config(key, 100 + number);
        hub.with_control(|control| control.apply(&[PeerChange::Set(peer)], now, &mut Outbox::new()));
        let slot = hub.roster.find(&key).unwrap();
        let mut out = Outbox::new();
        let shard = &mut hub.shards[slot as usize % 3];
        assert_eq!(shard.sender(slot, now, &mut out).err(), Some(NoSender::NoSession));
        again.push(slot);
    }
    again.sort_unstable();
    assert_eq!(again, slots);
    // All at once, and no shard has anything left.
    let nothing = SetDevice {
        replace_peers: true,
        ..SetDevice::default()
    };
    hub.with_control(|control| control.configure(&nothing, now, &mut Outbox::new()));
    assert!(hub.shards.iter().all(|shard| shard.usage() == Default::default()));
}
