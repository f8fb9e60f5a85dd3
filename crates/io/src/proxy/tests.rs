//! Deadlines, on a clock of our own: the engine without its thread, in a network namespace.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fielato_gateway::Buffer;
use fielato_testkit::{Cleanup, root, unique};
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Headers, TcpFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::counters::Counters;
use super::engine::Engine;
use super::{DropReason, Options, Sink};

#[derive(Default)]
struct Came(Mutex<Vec<Buffer>>);

impl Sink for Came {
    fn send(&self, packets: &mut Vec<Buffer>) {
        self.0.lock().unwrap().append(packets);
    }
}

/// An engine in this thread's namespace.
struct World {
    engine: Engine,
    counters: Arc<Counters>,
    came: Arc<Came>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (counters, came) = (Arc::new(Counters::default()), Arc::new(Came::default()));
        let engine = Engine::new(Options::new(1420), Arc::clone(&counters), Arc::clone(&came) as _).unwrap();
        Self {
            engine,
            counters,
            came,
            now: Instant::now(),
        }
    }

    /// A round with a packet of the member, and another with what the sockets say to it.
    fn send(&mut self, packet: Vec<u8>) {
        self.engine.handle(&mut vec![Buffer::from(packet)], &mut Vec::new(), self.now);
        self.events();
    }

    fn events(&mut self) {
        let mut events = Vec::new();
        self.engine
            .shared
            .events
            .wait(&mut events, Some(Duration::from_millis(200)))
            .unwrap();
        self.engine.handle(&mut Vec::new(), &mut events, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.engine.handle(&mut Vec::new(), &mut Vec::new(), self.now);
    }

    /// The newest packet for the member; waits for one when there is none.
    fn last(&mut self) -> (Vec<u8>, Headers) {
        for _ in 0..50 {
            if self.came.0.lock().unwrap().is_empty() {
                self.events();
            }
        }
        let packet = self.came.0.lock().unwrap().pop().unwrap().data;
        let headers = Headers::receive(&packet).unwrap();
        (packet, headers)
    }

    /// TCP connections, UDP and ping mappings.
    fn open(&self) -> [u64; 3] {
        let stats = self.counters.stats();
        [stats.tcp_open, stats.udp_open, stats.ping_open]
    }
}

/// Does something in a namespace that has 192.0.2.1 on a cable to another with 192.0.2.2, where these sockets are. What goes to
/// 192.0.2.3 gets lost.
fn isolated(work: impl FnOnce(UdpSocket, TcpListener) + Send) {
    let (here, there) = (unique("fprox"), unique("fproy"));
    let ip = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let output = fielato_testkit::run("ip", &words, "");
        assert!(
            output.status.success(),
            "ip {line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let names = [here.clone(), there.clone()];
    let _cleanup = Cleanup::new(move || {
        for name in names {
            fielato_testkit::run("ip", &["netns", "del", &name], "");
        }
    });
    for name in [&here, &there] {
        ip(&format!("netns add {name}"));
    }
    ip(&format!("-n {here} link add v0 type veth peer name v0 netns {there}"));
    for (name, host) in [(&here, 1), (&there, 2)] {
        ip(&format!("-n {name} addr add 192.0.2.{host}/24 dev v0"));
        ip(&format!("-n {name} link set v0 up"));
    }
    ip(&format!("-n {here} neigh add 192.0.2.3 lladdr 02:00:00:00:00:03 dev v0"));
    let enter = |name: &str| {
        let file = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    };
    std::thread::scope(|scope| {
        let outside = scope.spawn(|| {
            enter(&there);
            (
                UdpSocket::bind("192.0.2.2:0").unwrap(),
                TcpListener::bind("192.0.2.2:0").unwrap(),
            )
        });
        let (udp, tcp) = outside.join().unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let inside = scope.spawn(|| {
            enter(&here);
            work(udp, tcp);
        });
        inside.join().unwrap();
    });
}

fn to(host: u8) -> Ip {
    Ip::v4([10, 8, 0, 2], [192, 0, 2, host])
}

#[test]
fn mappings_live_as_long_as_they_are_used_and_half_a_minute_or_three_more() {
    if !root("mappings_live_as_long_as_they_are_used_and_half_a_minute_or_three_more") {
        return;
    }
    isolated(|udp, _| {
        let mut world = World::new();
        world.send(to(3).udp(1000, 53, b"nobody answers"));
        world.pass(29);
        world.send(to(3).udp(1000, 53, b"again"));
        world.pass(29);
        assert_eq!(world.open(), [0, 1, 0]);
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);

        world.send(to(2).udp(1000, udp.local_addr().unwrap().port(), b"question"));
        let (_, from) = udp.recv_from(&mut [0; 10]).unwrap();
        udp.send_to(b"answer", from).unwrap();
        assert!(world.last().0.ends_with(b"answer"));
        world.pass(179);
        assert_eq!(world.open(), [0, 1, 0]);
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);
    });
}

#[test]
fn ping_lives_half_a_minute() {
    if !root("ping_lives_half_a_minute") {
        return;
    }
    isolated(|_, _| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let mut world = World::new();
        world.send(to(2).echo_request(1, 1, b""));
        assert_eq!(world.last().1.icmp_type, 0);
        world.pass(29);
        assert_eq!(world.open(), [0, 0, 1]);
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);
    });
}

#[test]
fn who_does_not_answer_a_connection_is_given_up_after_a_minute() {
    if !root("who_does_not_answer_a_connection_is_given_up_after_a_minute") {
        return;
    }
    isolated(|_, _| {
        let mut world = World::new();
        let syn = to(3).tcp(&Tcp::new(1000, 80).syn());
        world.send(syn.clone());
        world.pass(59);
        world.send(syn);
        assert_eq!(world.open(), [1, 0, 0]);
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);
        let stats = world.counters.stats();
        assert_eq!((stats.dropped(DropReason::ConnectTimeout), stats.tcp_opened), (1, 0));

        // The member gives up first.
        world.send(to(3).tcp(&Tcp::new(1001, 80).syn().seq(7)));
        world.send(to(3).tcp(&Tcp::new(1001, 80).flags(TcpFlags::RST).seq(8)));
        assert_eq!(world.open(), [0, 0, 0]);
        assert_eq!(*world.came.0.lock().unwrap(), []);
    });
}

#[test]
fn idle_connections_live_two_hours_and_four_minutes_and_half_open_ones_four_minutes() {
    if !root("idle_connections_live_two_hours_and_four_minutes_and_half_open_ones_four_minutes") {
        return;
    }
    isolated(|_, tcp| {
        let mut world = World::new();
        let port = tcp.local_addr().unwrap().port();
        let open = |world: &mut World, sport| {
            world.send(to(2).tcp(&Tcp::new(sport, port).syn().seq(99)));
            let (packet, headers) = world.last();
            assert_eq!(headers.tcp_flags.0, TcpFlags::SYN | TcpFlags::ACK);
            let seq = u32::from_be_bytes(packet[24..28].try_into().unwrap());
            world.send(to(2).tcp(&Tcp::new(sport, port).seq(100).ack(seq.wrapping_add(1))));
            (tcp.accept().unwrap().0, seq.wrapping_add(1))
        };
        let (mut stream, seq) = open(&mut world, 1000);
        world.pass(7000);
        // Any segment is a sign of life: a keepalive asks for what was acknowledged.
        world.send(to(2).tcp(&Tcp::new(1000, port).seq(99).ack(seq)));
        world.pass(7439);
        assert_eq!(world.open(), [1, 0, 0]);
        world.came.0.lock().unwrap().clear();
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);
        assert!(world.last().1.tcp_flags.has(TcpFlags::RST));
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );

        let (mut stream, seq) = open(&mut world, 1001);
        let fin = Tcp::new(1001, port).flags(TcpFlags::FIN).seq(100).ack(seq);
        world.send(to(2).tcp(&fin));
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
        world.pass(239);
        assert_eq!(world.open(), [1, 0, 0]);
        world.pass(1);
        assert_eq!(world.open(), [0, 0, 0]);
    });
}

#[test]
fn a_member_that_acknowledges_nothing_is_given_up_after_five_minutes() {
    if !root("a_member_that_acknowledges_nothing_is_given_up_after_five_minutes") {
        return;
    }
    isolated(|_, tcp| {
        let mut world = World::new();
        let port = tcp.local_addr().unwrap().port();
        // It gets no further than SYN; it gets data.
        world.send(to(2).tcp(&Tcp::new(1000, port).syn().seq(99)));
        let _unanswered = tcp.accept().unwrap();
        world.send(to(2).tcp(&Tcp::new(1001, port).syn().seq(99)));
        let seq = u32::from_be_bytes(world.last().0[24..28].try_into().unwrap()).wrapping_add(1);
        world.send(to(2).tcp(&Tcp::new(1001, port).seq(100).ack(seq)));
        let (mut stream, _) = tcp.accept().unwrap();
        world.came.0.lock().unwrap().clear();
        stream.write_all(b"hello?").unwrap();
        assert!(world.last().0.ends_with(b"hello?"));
        for _ in 0..298 {
            world.pass(1);
        }
        assert_eq!(world.open(), [2, 0, 0]);
        // Sent again and again, more and more seldom (RFC 6298).
        let again = world.came.0.lock().unwrap().len();
        assert!((10..40).contains(&again), "{again}");
        for _ in 0..4 {
            world.pass(1);
        }
        assert_eq!(world.open(), [0, 0, 0]);
    });
}

#[test]
fn errors_of_our_own_are_limited() {
    if !root("errors_of_our_own_are_limited") {
        return;
    }
    isolated(|_, _| {
        let mut world = World::new();
        let nowhere = Ip::v4([10, 8, 0, 2], [198, 51, 100, 1]).udp(1000, 53, b"");
        for _ in 0..200 {
            world
                .engine
                .handle(&mut vec![nowhere.clone().into()], &mut Vec::new(), world.now);
        }
        assert_eq!(world.came.0.lock().unwrap().len(), 50);
        world.now += Duration::from_millis(10);
        for _ in 0..200 {
            world
                .engine
                .handle(&mut vec![nowhere.clone().into()], &mut Vec::new(), world.now);
        }
        assert_eq!(world.came.0.lock().unwrap().len(), 60);
        assert_eq!(world.counters.stats().dropped(DropReason::Unreachable), 400);
    });
}

#[test]
fn no_segment_upsets_it() {
    if !root("no_segment_upsets_it") {
        return;
    }
    isolated(|_, tcp| {
        let mut world = World::new();
        let port = tcp.local_addr().unwrap().port();
        let mut rng = 1_u64;
        let mut random = move |below: u32| {
            rng = rng
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (((rng >> 32) * u64::from(below)) >> 32) as u32
        };
        let mut sent = 0;
        for round in 0..40 {
            // A connection of a member that then says anything near what is right.
            let sport = 1000 + round;
            world.send(to(2).tcp(&Tcp::new(sport, port).syn().seq(100)));
            let (packet, _) = world.last();
            let seq = u32::from_be_bytes(packet[24..28].try_into().unwrap());
            for _ in 0..500 {
                let options: Vec<u8> = (0..random(3) * 4).map(|_| random(256) as u8).collect();
                let reset = if random(500) == 0 { TcpFlags::RST } else { 0 };
                let segment = Tcp {
                    window: random(65_536) as u16,
                    payload: vec![7; random(64) as usize],
                    ..Tcp::new(sport, port)
                        .flags(random(256) as u8 & !TcpFlags::RST | reset)
                        .seq(100_u32.wrapping_add(random(3000)).wrapping_sub(random(100)))
                        .options(options)
                };
                let acknowledged = seq.wrapping_add(random(40)).wrapping_sub(random(4));
                let bytes = to(2).tcp(&Tcp {
                    ack: acknowledged,
                    ..segment
                });
                world.now += Duration::from_millis(random(30).into());
                world
                    .engine
                    .handle(&mut vec![Buffer::from(bytes)], &mut Vec::new(), world.now);
                sent += 1;
            }
            // And bytes that are no packet, or hardly one.
            let mut bytes: Vec<u8> = (0..random(120)).map(|_| random(256) as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first = [0x45, 0x46, 0x60, 0x4f][random(4) as usize];
            }
            let mut offload = fielato_wire::Offload::VALID;
            offload.needs_csum = Some((random(100) as u16, random(100) as u16));
            let packet = Buffer { data: bytes, offload };
            world.engine.handle(&mut vec![packet], &mut Vec::new(), world.now);
            world.came.0.lock().unwrap().clear();
        }
        assert_eq!(sent, 20_000);
        // It still works.
        world.send(to(2).tcp(&Tcp::new(9, port).syn().seq(100)));
        assert_eq!(world.last().1.tcp_flags.0, TcpFlags::SYN | TcpFlags::ACK);
        world.pass(7440);
        world.pass(7440);
        assert_eq!(world.open(), [0, 0, 0]);
        assert_eq!(world.counters.stats().tcp_memory, 0);
    });
}
