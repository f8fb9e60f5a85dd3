//! Queue handlers in another thread (Rust) and in another process (Python) decide about packets.

use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use fielato_io::queue::{QueueClient, QueueServer};
use fielato_netfilter::conntrack::Config;
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::host::{AddressType, Route, RouteKey};
use fielato_netfilter::queue::{QueueAnswer, QueueVerdict};
use fielato_netfilter::rule::{Rule, Target};
use fielato_netfilter::targets::nfqueue::Nfqueue;
use fielato_netfilter::{Host, Interface, Netfilter, Now, Packet, Ruleset, Table};
use fielato_wire::build::Ip;
use fielato_wire::{Addr, Family};

/// Everything is forwarded by eth1.
struct Wire;

impl Host for Wire {
    fn route(&mut self, _: &RouteKey) -> Route {
        Route::Out {
            interface: Interface::new(2, "eth1").unwrap(),
            mtu: 1500,
            realm: 0,
        }
    }

    fn address_type(&mut self, _: Family, _: Addr, _: Option<Interface>) -> AddressType {
        AddressType::Unicast
    }

    fn interface_address(&mut self, _: Family, _: Interface, _: Addr) -> Option<Addr> {
        None
    }
}

struct Lab {
    engine: Netfilter,
    server: QueueServer,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// An engine whose FORWARD chain puts everything into a queue.
    fn new(nfqueue: Nfqueue) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sock");
        let mut engine = Netfilter::new(Config::default(), 3);
        for family in [Family::V4, Family::V6] {
            let mut ruleset = Ruleset::new(family);
            let mut filter = Table::standard("filter").unwrap();
            filter.chain_mut("FORWARD").unwrap().rules.push(Rule {
                target: Target::Nfqueue(nfqueue.clone()),
                ..Rule::default()
            });
            ruleset.tables.push(filter);
            let command = Command::Replace {
                ruleset,
                generation: None,
            };
            engine.execute(Caller::Admin, command, Now::default()).unwrap();
        }
        Lab {
            engine,
            server: QueueServer::listen(&path).unwrap(),
            path,
            _folder: folder,
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Fate {
        let packet = Packet::received(bytes.to_vec(), Interface::new(1, "eth0").unwrap()).unwrap();
        self.engine.receive(packet, &mut Wire, Now::from_secs(1))
    }

    /// Serves until `enough` fates are known, or for five seconds.
    fn serve(&mut self, enough: usize) -> Vec<Fate> {
        let mut fates = Vec::new();
        self.serve_until(|_| false, |fate| fates.push(fate), enough);
        fates
    }

    fn serve_until(&mut self, done: impl Fn(&Netfilter) -> bool, mut each: impl FnMut(Fate), enough: usize) {
        let end = Instant::now() + Duration::from_secs(5);
        let mut seen = 0;
        while Instant::now() < end && !done(&self.engine) && (enough == 0 || seen < enough) {
            self.server.serve(&mut self.engine, &mut Wire, Now::from_secs(1), |fate| {
                seen += 1;
                each(fate);
            });
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_bound(&mut self, queue: u16) {
        self.serve_until(|engine| engine.queues().statistics(queue).is_some(), drop, 0);
        assert!(self.engine.queues().statistics(queue).is_some(), "the handler did not bind");
    }
}

fn packets() -> [Vec<u8>; 2] {
    let v6 = Ip::v6(
        "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap(),
        "2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap(),
    );
    [
        Ip::v4([10, 0, 0, 1], [10, 0, 1, 1]).udp(1, 2, b"hello"),
        v6.udp(1, 2, b"hello"),
    ]
}

#[test]
fn without_handler_a_packet_is_dropped_or_passes() {
    for packet in packets() {
        let queue = |bypass| Nfqueue {
            queue: 9,
            bypass,
            ..Nfqueue::default()
        };
        let mut lab = Lab::new(queue(false));
        assert!(matches!(lab.receive(&packet), Fate::Dropped(_)));
        assert_eq!(lab.engine.queues().unhandled(), 1);
        let mut lab = Lab::new(queue(true));
        assert!(matches!(lab.receive(&packet), Fate::Transmit(_)));
        assert_eq!(lab.engine.queues().unhandled(), 1);
    }
}

#[test]
fn a_handler_accepts_drops_marks_and_rewrites() {
    let mut lab = Lab::new(Nfqueue::default());
    let path = lab.path.clone();
    let handler = std::thread::spawn(move || {
        let mut client = QueueClient::connect(&path).unwrap();
        client.bind(0, 0, 0).unwrap();
        client
            .run(|packet| match packet.data.last() {
                Some(b'd') => QueueAnswer::plain(QueueVerdict::Drop),
                Some(b'r') => {
                    let mut data = packet.data.clone();
                    *data.last_mut().unwrap() = b'R';
                    QueueAnswer {
                        verdict: QueueVerdict::Accept,
                        mark: Some(77),
                        data: Some(data),
                    }
                }
                _ => QueueAnswer::plain(QueueVerdict::Accept),
            })
            .unwrap();
    });
    lab.wait_bound(0);
    let packet = |tail: &[u8]| Ip::v4([10, 0, 0, 1], [10, 0, 1, 1]).udp(1, 2, tail);
    for tail in [b"accepted.", b"dropped-d", b"rewrite-r"] {
        assert!(matches!(lab.receive(&packet(tail)), Fate::Queued));
    }
    let fates = lab.serve(3);
    let Ok([Fate::Transmit(accepted), Fate::Dropped(reason), Fate::Transmit(rewritten)]) = <[Fate; 3]>::try_from(fates) else {
        panic!("not the verdicts that were given");
    };
    assert!(accepted.data.ends_with(b"accepted."));
    assert_eq!(accepted.mark, 0);
    assert_eq!(reason.name(), "queue-verdict");
    assert!(rewritten.data.ends_with(b"rewrite-R"));
    assert_eq!(rewritten.mark, 77);
    drop(lab);
    handler.join().unwrap();
}

#[test]
fn a_full_queue_drops_and_counts() {
    let mut lab = Lab::new(Nfqueue::default());
    let mut client = None;
    let path = lab.path.clone();
    let binding = std::thread::spawn(move || {
        let mut client = QueueClient::connect(&path).unwrap();
        client.bind(0, 2, 20).unwrap();
        client
    });
    lab.wait_bound(0);
    client.replace(binding.join().unwrap());
    let packet = &packets()[0];
    assert!(matches!(lab.receive(packet), Fate::Queued));
    assert!(matches!(lab.receive(packet), Fate::Queued));
    assert!(matches!(lab.receive(packet), Fate::Dropped(_)));
    let statistics = lab.engine.queues().statistics(0).unwrap();
    assert_eq!((statistics.queued, statistics.full, statistics.waiting), (2, 1, 2));

    // Only as many bytes as were asked for come, with the whole length.
    lab.server.serve(&mut lab.engine, &mut Wire, Now::from_secs(1), drop);
    let seen = client.as_mut().unwrap().next_packet().unwrap().unwrap();
    assert_eq!((seen.data.len(), seen.length as usize), (20, packet.len()));

    // A queue has one handler.
    let path = lab.path.clone();
    let second = std::thread::spawn(move || QueueClient::connect(&path).unwrap().bind(0, 0, 0));
    lab.serve_until(|_| second.is_finished(), drop, 0);
    let refused = second.join().unwrap().unwrap_err().to_string();
    assert!(refused.contains("has a handler"), "{refused}");

    // When the handler goes, so does the queue.
    drop(client);
    lab.serve_until(|engine| engine.queues().statistics(0).is_none(), drop, 0);
    assert!(lab.engine.queues().statistics(0).is_none());
}

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_python_handler_judges() {
    if !fielato_testkit::need("a_python_handler_judges", "python3") {
        return;
    }
    let mut lab = Lab::new(Nfqueue {
        queue: 5,
        ..Nfqueue::default()
    });
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/python");
    let script = "
import sys
from fielato_queue import Queue, ACCEPT, DROP
with Queue(sys.argv[1]) as queue:
    queue.bind(5)
    queue.run(lambda p: DROP if p.data.endswith(b'secret') else {'verdict': ACCEPT, 'mark': len(p.data)})
";
    let _python = Python(
        Process::new("python3")
            .args(["-c", script])
            .arg(&lab.path)
            .env("PYTHONPATH", clients)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    lab.wait_bound(5);
    let [v4, v6] = packets();
    let secret = Ip::v4([10, 0, 0, 1], [10, 0, 1, 1]).udp(1, 2, b"secret");
    for packet in [&v4, &secret, &v6] {
        assert!(matches!(lab.receive(packet), Fate::Queued));
    }
    let Ok([Fate::Transmit(first), Fate::Dropped(_), Fate::Transmit(third)]) = <[Fate; 3]>::try_from(lab.serve(3)) else {
        panic!("not the verdicts that were given");
    };
    assert_eq!(first.mark as usize, v4.len());
    assert_eq!(third.mark as usize, v6.len());
}
