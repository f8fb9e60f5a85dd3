//! Everything as a user without any right.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use fielato_gateway::Buffer;
use fielato_io::proxy::Proxy;
use fielato_wire::Headers;
use fielato_wire::build::Ip;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use smoltcp::socket::tcp::State;

use super::common::can_run;
use super::member::{World, options};

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

#[test]
fn nobody_can_run_it() {
    if !can_run("nobody_can_run_it") {
        return;
    }
    // The proxy's thread inherits what the thread that starts it has given up.
    let world = World::with(|sink| {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        assert!(TcpListener::bind("127.0.0.1:1").is_err(), "there are rights left");
        Proxy::start(options(), Arc::clone(sink) as _).unwrap()
    });
    let listener = world.outside.within(|| TcpListener::bind("[::]:0")).unwrap();
    let udp = world.outside.within(|| UdpSocket::bind("[::]:0")).unwrap();
    for (member, outside) in [("10.8.0.2", "10.9.0.2"), ("fd08::2", "fd09::2")] {
        let ip = Ip::between(member.parse().unwrap(), outside.parse().unwrap()).unwrap();
        let (mut end, port) = (world.member(), listener.local_addr().unwrap().port());
        let host = if outside.contains(':') {
            format!("[{outside}]")
        } else {
            outside.to_owned()
        };
        let handle = end.connect(&format!("{host}:{port}"), 65_536);
        end.until("the connection", |end| end.tcp(handle).can_send());
        listener.accept().unwrap().0.write_all(b"a file").unwrap();
        end.until("the file", |end| end.state(handle) == State::CloseWait);
        assert_eq!(end.tcp(handle).recv_queue(), 6);
        end.tcp(handle).close();
        end.until("the end", |end| end.state(handle) == State::Closed);

        let mut room = [0; 10];
        world
            .proxy
            .send(Buffer::from(ip.udp(1000, udp.local_addr().unwrap().port(), b"udp")));
        let (len, from) = udp.recv_from(&mut room).unwrap();
        udp.send_to(&room[..len], from).unwrap();
        assert!(world.inbox.next().ends_with(b"udp"));

        world.proxy.send(Buffer::from(ip.echo_request(1, 2, b"ping")));
        let reply = world.inbox.next();
        assert!(reply.ends_with(b"ping") && matches!(Headers::receive(&reply).unwrap().icmp_type, 0 | 129));
    }
}
