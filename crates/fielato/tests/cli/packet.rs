//! The hub in one process, with an interface of its own towards the services: `exit = "packet"`.
//!
//! ```text
//!   ada eth0 10.9.0.2, fd09::2 ─── eth0 10.9.0.1, fd09::1  hub  out0 (no address) ─── eth0 10.8.0.2, fd08::2 server
//!   bob eth0 10.7.0.2, fd07::2 ─── eth1 10.7.0.1, fd07::1       the hub's: 10.8.0.9, fd08::9
//! ```

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fielato_testkit::unique;
use serde_json::json;

use crate::common::{Client, Hub, Machine, can_run, overlay, values, wire};

/// What is fetched is larger than every buffer on its way.
const FILE: usize = 2_000_000;
const PORT: u16 = 8000;
const SERVER: [&str; 2] = ["10.8.0.2", "fd08::2"];
const HUB: [&str; 2] = ["10.8.0.9", "fd08::9"];

/// Tells everybody who connects the address that is seen of them, and sends the file, until its process ends.
fn serve(server: &Machine) {
    let listener = server.within(|| TcpListener::bind(("::", PORT)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, Ok(peer)) = (&stream, stream.peer_addr()) else {
                continue;
            };
            let peer = peer.ip().to_canonical();
            stream.write_all(format!("{peer}\n").as_bytes()).ok();
            stream.write_all(&vec![0x5a; FILE]).ok();
        }
    });
}

/// Whom the server saw, if all of the file came.
fn fetch(client: &Machine, from: IpAddr) -> Option<IpAddr> {
    let received = client.within(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(from, PORT), Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).ok()?;
        Some(received)
    })?;
    let end = received.iter().position(|byte| *byte == b'\n')?;
    let (seen, file) = received.split_at(end);
    assert_eq!(file.len(), FILE + 1, "{from}: the file");
    assert!(file[1..].iter().all(|byte| *byte == 0x5a), "{from}: the file's content");
    Some(std::str::from_utf8(seen).unwrap().parse().unwrap())
}

#[test]
fn members_reach_a_server_by_an_interface_of_the_hubs_own() {
    if !can_run("packet::members_reach_a_server_by_an_interface_of_the_hubs_own") {
        return;
    }
    let [machine, ada, bob, server] = std::array::from_fn(|_| Machine::with_namespace());
    wire(&machine, "eth0", &ada, 9);
    wire(&machine, "eth1", &bob, 7);
    machine
        .sh(&format!(
            "ip link add out0 type veth peer name eth0 netns {} && sysctl -qw net.ipv6.conf.out0.disable_ipv6=1 && ip link set out0 up",
            server.netns()
        ))
        .ok();
    server
        .sh("ip addr add 10.8.0.2/24 dev eth0 && ip addr add fd08::2/64 dev eth0 nodad && ip link set eth0 up")
        .ok();
    bob.sh("ip route add 10.9.0.1 via 10.7.0.1").ok();
    // A machine that forwards for others must not forward what is the hub's: by its default route that would come to ada.
    machine
        .sh("sysctl -qw net.ipv4.ip_forward=1 && ip route add default via 10.9.0.2")
        .ok();
    ada.sh("nft 'table ip strays { chain in { type filter hook prerouting priority -300; iifname eth0 ip daddr 10.8.0.0/24 counter; }; }'")
        .ok();
    let hub = Hub {
        machine,
        interface: unique("c"),
    };
    let init = format!("init --interface {} --endpoint 10.9.0.1:51820 --uplink eth0", hub.interface);
    hub.fielato(&init).ok();
    hub.fielato("member add ada --group staff").ok();
    hub.fielato("member add bob").ok();
    let more = format!(
        "\n[hub.packet]\ninterface = \"out0\"\naddresses = [\"{}/24\", \"{}/64\"]\n
[host.server]\naddress = [\"{}\", \"{}\"]\nstrategy = \"source\"\n[service.files]\nhost = \"server\"\nports = [\"tcp/{PORT}\"]\n
[[rule]]\nfrom = \"staff\"\nto = [\"hub\", \"files\"]\naction = \"accept\"\n",
        HUB[0], HUB[1], SERVER[0], SERVER[1]
    );
    // What `init` found on the uplink is not what the server sees.
    let init = hub
        .config()
        .replace("\nsource = ", "\n# source = ")
        .replace("\nenabled = true\n", "\nenabled = true\nuplink = true\n");
    let base = init.replacen("[hub]\n", "[hub]\nengine = \"userspace\"\nexit = \"packet\"\n", 1) + &more;
    let masquerading = |masquerade: bool| {
        let text = base.replace("masquerade = true", &format!("masquerade = {masquerade}"));
        assert_eq!(text == base, masquerade);
        hub.write_config(&text);
    };
    masquerading(true);
    let (guarded, proxied) = (hub.config(), base.replace("exit = \"packet\"", "exit = \"proxy\""));
    hub.write_config(&proxied);
    assert!(
        hub.fielato("up").fails(1).contains("set exit = \"packet\""),
        "nothing to guard"
    );
    hub.write_config(&guarded);
    hub.fielato("up --engine userspace").ok();
    let status = hub.fielato("status --json").json();
    assert_eq!(
        (&status["engine"], &status["exit"]),
        (&json!("userspace"), &json!("packet")),
        "{status}"
    );
    assert!(hub.sh("ip -br addr show out0; nft list ruleset").ok().lines().count() == 1);

    serve(&server);
    let file = hub.quietly("member config ada").ok();
    let member = Client::with_config(&ada, &file);
    let other = Client::with_config(&bob, &hub.quietly("member config bob").ok());
    let hubs = overlay(&hub);
    for address in &hubs {
        assert!(member.ping(address), "ping the hub at {address}");
    }
    let servers = SERVER.map(|address| address.parse::<IpAddr>().unwrap());
    let seen = |client: &Machine| servers.map(|server| fetch(client, server).map(|seen| seen.to_string()));
    let own: Vec<String> = values(&file, "Address")
        .iter()
        .map(|net| net.split('/').next().unwrap().to_owned())
        .collect();

    assert_eq!(seen(&ada), HUB.map(|address| Some(address.to_owned())), "masqueraded");
    assert_eq!(seen(&bob), [None, None], "no rule lets bob pass");
    assert!(
        !other.latest_handshake().trim_end().ends_with("\t0"),
        "bob is a member all the same"
    );
    let status = hub.fielato("status --json").json();
    assert!(status["flows"].as_u64() > Some(0), "{status}");

    // What the file alone says of it is what happens.
    let trace = |member: &str, server: &str| {
        let said = hub.fielato(&format!("trace --from {member} --to {}:{PORT}/tcp", at(server)));
        (said.code, said.out)
    };
    for (server, hub) in SERVER.into_iter().zip(HUB) {
        let (code, text) = trace("ada", server);
        assert!(code == 0 && text.contains(&format!("-> {}:", at(hub))), "{text}");
        assert_eq!(trace("bob", server).0, 1);
    }

    // The server answers members themselves once it knows the way.
    for (address, hub) in own.iter().zip(HUB) {
        server.sh(&format!("ip route add {address} via {hub}")).ok();
    }
    masquerading(false);
    hub.fielato("reload").ok();
    let [v4, v6] = own.as_slice() else { panic!("{own:?}") };
    assert_eq!(seen(&ada), [Some(v4.clone()), Some(v6.clone())], "as they are");
    assert_eq!(seen(&bob), [None, None], "no rule lets bob pass");
    for server in SERVER {
        // The hub lets it out as it is; a host that admits the hub alone (this test's has no rules) would not let it in.
        let (code, text) = trace("ada", server);
        assert!(
            code == 1 && !text.contains("nat  ") && text.contains("stopped at host server"),
            "{text}"
        );
    }
    let strays = ada.sh("nft list table ip strays").ok();
    assert!(strays.contains("counter packets 0 "), "{strays}");

    // The guard stands at both interfaces.
    let guard = &hub.fielato("status --json").json()["guard"];
    let at: Vec<&str> = guard
        .as_array()
        .unwrap()
        .iter()
        .map(|guard| guard["interface"].as_str().unwrap())
        .collect();
    assert_eq!(at, [hub.interface.as_str(), "out0"]);
    let top = hub.fielato("top --once --json").json()["sources"].clone();
    let seen_at = |address: &str| {
        let found = top.as_array().unwrap().iter().find(|source| source["address"] == address);
        found.unwrap_or_else(|| panic!("{address}: {top}"))["interface"].clone()
    };
    assert_eq!([seen_at(v4), seen_at(SERVER[1])], [json!(hub.interface), json!("out0")]);
    hub.fielato(&format!("ban {}", SERVER[0])).ok();
    assert_eq!(seen(&ada), [None, Some(v6.clone())], "the server's IPv4 address is banned");
    hub.fielato(&format!("unban {}", SERVER[0])).ok();

    masquerading(true);
    hub.fielato("reload").ok();
    assert_eq!(seen(&ada), HUB.map(|address| Some(address.to_owned())), "masqueraded again");

    hub.fielato("down").ok();
    assert_eq!(hub.sh("cat /proc/sys/net/ipv4/conf/out0/forwarding").ok(), "1\n", "as it was");
}

fn at(address: &str) -> String {
    match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    }
}
