//! The hub as an ordinary user runs it: no privilege, no interface, one UDP port.
//!
//! ```text
//!   client eth0 10.9.0.2, fd09::2 ─── eth0 10.9.0.1, fd09::1  hub  eth1 10.8.0.1, fd08::1 ─── eth0 10.8.0.2, fd08::2 server
//! ```

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::{Client, FIELATO, Machine, Said, can_run, eventually, overlay_of, wire};

/// Nobody's number on Debian.
const USER: u32 = 65534;
/// What is fetched is larger than every buffer on its way.
const FILE: usize = 3_000_000;
const OPEN: u16 = 8000;
const SHUT: u16 = 8001;
const SERVER: [&str; 2] = ["10.8.0.2", "fd08::2"];

/// A machine on which an ordinary user has a home.
struct Home(Machine);

impl Home {
    fn new() -> Self {
        let machine = Machine::with_namespace();
        for folder in ["home", "run"] {
            let folder = machine.root().join(folder);
            fs::create_dir(&folder).unwrap();
            std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).unwrap();
        }
        // The folder of the test is root's alone; what is below it, the user must reach.
        machine.sh(&format!("chmod 0711 {}", machine.root().display())).ok();
        Self(machine)
    }

    /// A program as the user, who can do nothing that others can't.
    fn command(&self, program: &str) -> Command {
        let mut command = self.0.command("setpriv");
        command
            .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
            .args([
                "--clear-groups",
                "--bounding-set=-all",
                "--inh-caps=-all",
                "--no-new-privs",
                program,
            ])
            .env_remove("FIELATO_ROOT")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env("HOME", self.0.root().join("home"))
            .env("XDG_RUNTIME_DIR", self.0.root().join("run"));
        command
    }

    fn fielato(&self, arguments: &str) -> Said {
        let output = self.command(FIELATO).args(arguments.split_whitespace()).output().unwrap();
        Said::new(format!("fielato {arguments}"), output)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.root().join("home/.config/fielato/fielato.toml")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.fielato("down");
    }
}

/// Sends the file to whoever connects, until its process ends.
fn serve(server: &Machine, port: u16) {
    let listener = server.within(|| TcpListener::bind(("::", port)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(&vec![0x5a; FILE]).ok();
        }
    });
}

/// How much of the file arrives.
fn fetch(client: &Machine, from: IpAddr, port: u16) -> usize {
    client.within(|| {
        let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::new(from, port), Duration::from_secs(3)) else {
            return 0;
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut file = Vec::new();
        stream.read_to_end(&mut file).ok();
        file.iter().filter(|byte| **byte == 0x5a).count()
    })
}

/// The configuration that `init` wrote, with the server behind the hub and these ports of it for members.
fn policy(base: &str, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(|port| format!("\"tcp/{port}\"")).collect();
    format!(
        "{base}\n[host.server]\naddress = [\"{}\", \"{}\"]\nstrategy = \"source\"\n[service.files]\nhost = \"server\"\nports = [{}]\n
[[rule]]\nfrom = \"members\"\nto = [\"hub\", \"files\"]\naction = \"accept\"\n",
        SERVER[0],
        SERVER[1],
        ports.join(", ")
    )
}

#[test]
fn a_stock_client_behind_a_hub_without_root() {
    if !can_run("rootless::a_stock_client_behind_a_hub_without_root") {
        return;
    }
    let (home, client, server) = (Home::new(), Machine::with_namespace(), Machine::with_namespace());
    wire(&home.0, "eth0", &client, 9);
    wire(&home.0, "eth1", &server, 8);
    let before = home
        .0
        .sh("ip -br link | cut -d' ' -f1; nft list ruleset; sysctl -n net.ipv4.ip_forward")
        .ok();

    home.fielato("init --rootless --endpoint 10.9.0.1:51820 --uplink eth1").ok();
    home.fielato("member add ada").ok();
    let base = home.config();
    fs::write(home.path(), policy(&base, &[OPEN, SHUT])).unwrap();
    home.fielato("up --rootless").ok();

    let status = home.fielato("status --json").json();
    assert_eq!(
        (&status["engine"], &status["exit"], &status["listen_port"]),
        (&"userspace".into(), &"proxy".into(), &51820.into())
    );
    let listening = home.0.sh("ss -Hln -u -t | awk '{print $1, $5}' | sort -u").ok();
    assert!(
        listening
            .lines()
            .all(|line| line.starts_with("udp ") && line.ends_with(":51820")),
        "{listening}"
    );
    let now = home
        .0
        .sh("ip -br link | cut -d' ' -f1; nft list ruleset; sysctl -n net.ipv4.ip_forward")
        .ok();
    assert_eq!(before, now, "nothing on the machine is changed");

    for port in [OPEN, SHUT] {
        serve(&server, port);
    }
    let member = Client::with_config(&client, &home.fielato("member config ada").ok());
    for address in overlay_of(&status) {
        assert!(member.ping(&address), "ping the hub at {address}");
    }
    let servers = SERVER.map(|address| address.parse::<IpAddr>().unwrap());
    for server in servers {
        for port in [OPEN, SHUT] {
            assert_eq!(fetch(&client, server, port), FILE, "{server} port {port}: open");
        }
    }

    fs::write(home.path(), policy(&base, &[OPEN])).unwrap();
    let reload = home.fielato("reload --json").json();
    assert_eq!(reload["changes"]["rules"], "whole", "{reload}");
    for server in servers {
        assert_eq!(fetch(&client, server, SHUT), 0, "{server}: shut");
        assert_eq!(fetch(&client, server, OPEN), FILE, "{server}: still open");
    }

    let address = home.fielato("status --json").json()["members"][0]["addresses"][0].clone();
    let address = address.as_str().unwrap().split('/').next().unwrap().to_owned();
    let counted = home.fielato("top --once --json").json()["sources"].to_string();
    assert!(counted.contains(&format!("\"{address}\"")), "{counted}");
    home.fielato(&format!("ban {address}")).ok();
    assert_eq!(fetch(&client, servers[0], OPEN), 0, "banned");
    assert!(home.fielato("bans --json").json()["bans"][0]["packets"].as_u64() > Some(0));
    home.fielato(&format!("unban {address}")).ok();
    assert_eq!(fetch(&client, servers[0], OPEN), FILE, "unbanned");

    home.fielato("down").ok();
    eventually("the port is free", || home.0.sh("ss -Hln -u").ok().is_empty());
    assert_eq!(home.fielato("status").fails(4).lines().count(), 1);
}

#[test]
fn what_needs_root_is_refused_and_said() {
    if !can_run("rootless::what_needs_root_is_refused_and_said") {
        return;
    }
    let (home, client) = (Home::new(), Machine::with_namespace());
    wire(&home.0, "eth0", &client, 9);
    home.fielato("init --rootless --endpoint 10.9.0.1:51820 --uplink eth0").ok();
    for (options, reason) in [
        ("--engine kernel", "no kernel engine"),
        ("--wireguard kernel", "no kernel WireGuard"),
    ] {
        let said = home.fielato(&format!("up --rootless {options}")).fails(1);
        assert!(said.contains(reason), "{said}");
    }
    let base = home.config();
    let with = |hub: &str| base.replace("[hub]\n", &format!("[hub]\n{hub}\n"));
    let packet = "[hub.packet]\ninterface = \"eth7\"\naddresses = [\"10.7.0.1/24\"]\n";
    for (text, reason) in [
        (with("exit = \"packet\"") + packet, "set exit = \"proxy\""),
        (
            with("").replace("enabled = true", "enabled = true\nuplink = true"),
            "[hub.guard] uplink",
        ),
        (with("").replace("listen_port = 51820", "listen_port = 51"), "UDP port 51"),
    ] {
        assert_ne!(text, base);
        fs::write(home.path(), &text).unwrap();
        let said = home.fielato("up --rootless").fails(1);
        assert!(said.contains(reason), "{said}");
    }
    // Without the word, what needs root is tried, and the way without it is told.
    fs::write(home.path(), &base).unwrap();
    let said = home.fielato("up").fails(1);
    assert!(said.contains("--rootless"), "{said}");
    home.fielato("up --rootless").ok();
}
