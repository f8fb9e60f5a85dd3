//! The hub's thread with 200 agents on real sockets.

#[path = "../benches/fleet/agents.rs"]
mod agents;

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use agents::{Agents, Laboratory};
use fielato_control::fleet::{Fleet, Listen};
use socket2::{Domain, Socket, Type};

fn listen() -> Listen {
    Listen {
        interface: "lo".to_owned(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        port: 0,
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn every_change_reaches_two_hundred_hosts() {
    let mut laboratory = Laboratory::new(200, 100, 200);
    let fleet = Fleet::start(&listen(), &laboratory.hosts()).unwrap();
    let agents = Agents::start(200, fleet.addresses()[0]);
    for revision in 1..6 {
        fleet.publish(revision, laboratory.plans());
        wait_until("all have acknowledged", || {
            fleet
                .status()
                .iter()
                .all(|host| host.revision == Some(revision) && host.lag == Some(0))
        });
        laboratory.edit(usize::try_from(revision).unwrap());
    }
    assert!(
        agents
            .applied
            .lock()
            .unwrap()
            .keys()
            .filter(|(_, revision)| *revision == 5)
            .count()
            == 200
    );
    // The hub begins anew, at the same place; every agent comes back by itself.
    let at = fleet.addresses()[0];
    drop(fleet);
    let again = Listen {
        port: at.port(),
        ..listen()
    };
    let fleet = Fleet::start(&again, &laboratory.hosts()).unwrap();
    fleet.publish(6, laboratory.plans());
    wait_until("all are back", || fleet.status().iter().all(|host| host.revision == Some(6)));
}

#[test]
fn one_that_does_not_read_or_floods_keeps_nobody_else_waiting() {
    let mut laboratory = Laboratory::new(20, 400, 20);
    let fleet = Fleet::start(&listen(), &laboratory.hosts()).unwrap();
    let at = fleet.addresses()[0];
    let connect = |number| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1024).unwrap();
        socket.bind(&SocketAddr::new(agents::address(number), 0).into()).unwrap();
        socket.connect(&at.into()).unwrap();
        TcpStream::from(socket)
    };
    // 18 says hello and never reads; 19 sends a line without end.
    let mut deaf = connect(18);
    deaf.write_all(b"{\"say\":\"hello\",\"version\":1}\n").unwrap();
    let mut flood = connect(19);
    let flooding = std::thread::spawn(move || {
        // The buffers of two sockets take megabytes before the hub has read one of them: only time ends the flood.
        let deadline = Instant::now() + Duration::from_secs(60);
        flood.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        loop {
            match flood.write(&[b'x'; 4096]) {
                Ok(_) if Instant::now() < deadline => {}
                Ok(_) => return false,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    });
    let agents = Agents::start(18, at);
    for revision in 1..4 {
        fleet.publish(revision, laboratory.plans());
        wait_until("the others have acknowledged", || {
            let status = fleet.status();
            status.iter().filter(|host| host.revision == Some(revision)).count() == 18
        });
        laboratory.edit(usize::try_from(revision).unwrap());
    }
    assert!(flooding.join().unwrap(), "the flood was cut off");
    let told = fleet.events();
    assert!(
        told.iter().any(|event| event.what.to_string().contains("too long")),
        "{told:?}"
    );
    drop(agents);
}
