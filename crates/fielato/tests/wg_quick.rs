//! `wg-quick` with our device, where the kernel has no WireGuard.
//!
//! ```text
//!   client: 10.8.0.1, fd08::1, everything by the tunnel       server: 10.8.0.2, fd08::2; beyond it 192.0.2.7, 2001:db8::7
//!   v0: 10.9.0.1, fd09::1  ───────────── veth ──────────────  v0: 10.9.0.2, fd09::2
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fielato_kernel::netns::NetnsGuard;
use fielato_testkit::unique;
use fielato_wireguard::{PresharedKey, PrivateKey};
use tempfile::TempDir;

const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");

/// A machine with one tunnel.
struct Machine {
    namespace: NetnsGuard,
    interface: String,
    files: TempDir,
    /// What makes the device.
    implementation: &'static str,
}

impl Machine {
    fn new(implementation: &'static str) -> Self {
        let machine = Self {
            namespace: NetnsGuard::create(&unique("quick")).unwrap(),
            interface: unique("q"),
            files: TempDir::new().unwrap(),
            implementation,
        };
        machine.sh("ip link set lo up");
        machine
    }

    fn output(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", self.implementation)
            .env_remove("JOURNAL_STREAM")
            .current_dir(self.files.path());
        self.namespace.command(command, &[]).unwrap().output().unwrap()
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let output = self.output(script);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}{err}");
        out
    }

    fn file(&self) -> PathBuf {
        self.files.path().join(format!("{}.conf", self.interface))
    }

    #[track_caller]
    fn quick(&self, verb: &str) -> String {
        self.sh(&format!("wg-quick {verb} {}", self.file().display()))
    }

    /// The process that serves the interface.
    #[track_caller]
    fn daemon(&self) -> String {
        let found = self.sh(&format!("pgrep -f '^{FIELATO} device --mtu 1420 -- {}$'", self.interface));
        found.trim().to_owned()
    }

    fn socket(&self) -> PathBuf {
        fielato_io::socket_path(&self.interface)
    }
}

impl Drop for Machine {
    /// A device whose interface is gone ends by itself.
    fn drop(&mut self) {
        self.output(&format!("ip link delete {}", self.interface));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether wg-quick would take a user-space device here.
fn can_run(test: &str) -> bool {
    if !fielato_testkit::can_run(test, &["wg", "wg-quick", "nft", "ping"]) {
        return false;
    }
    let machine = Machine::new(FIELATO);
    let kernel = machine.output("ip link add probe type wireguard").status.success();
    if kernel {
        fielato_testkit::skip(test, "the kernel has WireGuard, which wg-quick prefers");
    }
    !kernel
}

/// A client that sends everything to a server, over IPv4 or IPv6; files written, nothing up yet.
fn pair(server_implementation: &'static str, v6: bool) -> (Machine, Machine) {
    let (client, server) = (Machine::new(FIELATO), Machine::new(server_implementation));
    client.sh(&format!(
        "ip link add v0 type veth peer name v0 netns {}",
        server.namespace.name()
    ));
    for (machine, host) in [(&client, 1), (&server, 2)] {
        machine.sh(&format!(
            "ip addr add 10.9.0.{host}/24 dev v0; ip addr add fd09::{host}/64 dev v0 nodad; ip link set v0 up"
        ));
    }
    server.sh("ip addr add 192.0.2.7/32 dev lo; ip addr add 2001:db8::7/128 dev lo nodad");
    let (client_key, server_key) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let preshared = PresharedKey::generate().unwrap().to_base64();
    let endpoint = if v6 { "[fd09::2]:51820" } else { "10.9.0.2:51820" };
    let write = |machine: &Machine, text: String| {
        fs::write(machine.file(), text).unwrap();
        machine.sh("chmod 600 *.conf");
    };
    write(
        &client,
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51821\nAddress = 10.8.0.1/24, fd08::1/64\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {preshared}\nEndpoint = {endpoint}\n\
             AllowedIPs = 0.0.0.0/0, ::/0\nPersistentKeepalive = 25\n",
            client_key.to_base64(),
            server_key.public_key(),
        ),
    );
    write(
        &server,
        format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\nAddress = 10.8.0.2/24, fd08::2/64\nMTU = 1380\n\
             [Peer]\nPublicKey = {}\nPresharedKey = {preshared}\nAllowedIPs = 10.8.0.1/32, fd08::1/128\n",
            server_key.to_base64(),
            client_key.public_key(),
        ),
    );
    (client, server)
}

#[test]
fn up_with_a_default_route_save_strip_and_down() {
    if !can_run("up_with_a_default_route_save_strip_and_down") {
        return;
    }
    for (server_implementation, v6) in [(FIELATO, true), ("wireguard-go", false)] {
        eprintln!("server: {server_implementation}, outer IPv6: {v6}");
        let (client, server) = pair(server_implementation, v6);
        let before = client.sh("ip -4 rule; ip -6 rule; ip -o link | cut -d: -f2");
        server.quick("up");
        client.quick("up");
        let name = &client.interface;
        // The mark keeps the tunnel's own packets out of the tunnel.
        assert_eq!(client.sh(&format!("wg show {name} fwmark")).trim(), "0xca6c");
        assert!(client.sh("ip -4 rule").contains("not from all fwmark 0xca6c lookup 51820"));
        for address in ["10.8.0.2", "fd08::2", "192.0.2.7", "2001:db8::7"] {
            client.sh(&format!("ping -c 1 -W 5 {address}"));
        }
        server.sh("ping -c 1 -W 5 10.8.0.1 && ping -c 1 -W 5 fd08::1");

        // What was changed by hand is in the file after `save`; `strip` leaves what `wg` understands.
        client.sh(&format!("wg set {name} listen-port 51899"));
        client.sh("ping -c 1 -W 5 192.0.2.7");
        client.quick("save");
        let saved = fs::read_to_string(client.file()).unwrap();
        for line in [
            "Address = 10.8.0.1/24",
            "ListenPort = 51899",
            "AllowedIPs = 0.0.0.0/0, ::/0",
            "FwMark = 0xca6c",
        ] {
            assert!(saved.contains(line), "{line}: {saved}");
        }
        let stripped = client.quick("strip");
        assert!(
            !stripped.contains("Address") && stripped.contains("PresharedKey"),
            "{stripped}"
        );
        // The peer that stays keeps its session.
        let handshake = || client.sh(&format!("wg show {name} latest-handshakes"));
        let last = handshake();
        fs::write(client.files.path().join("stripped"), stripped).unwrap();
        client.sh(&format!("wg syncconf {name} stripped"));
        client.sh("ping -c 1 -W 5 192.0.2.7");
        assert_eq!(handshake(), last);

        // Down, and up again at once: the port must be free.
        for _ in 0..2 {
            client.quick("down");
            assert_eq!(client.sh("ip -4 rule; ip -6 rule; ip -o link | cut -d: -f2"), before);
            eventually("the socket goes", || !client.socket().exists());
            client.quick("up");
            client.sh("ping -c 3 -W 5 192.0.2.7");
        }
        client.quick("down");
        server.quick("down");
    }
}

#[test]
fn a_device_in_the_background_is_ready_when_the_command_returns() {
    if !can_run("a_device_in_the_background_is_ready_when_the_command_returns") {
        return;
    }
    let machine = Machine::new(FIELATO);
    let name = &machine.interface;
    let link = machine.files.path().join("wireguard-fielato");
    std::os::unix::fs::symlink(FIELATO, &link).unwrap();
    let commands = [
        format!("{FIELATO} device --background {name}"),
        format!("{FIELATO} {name}"),
        format!("env -u WG_QUICK_USERSPACE_IMPLEMENTATION {} {name}", link.display()),
    ];
    for command in commands {
        // A pipe on its output is closed when it returns, or `output` would wait for the device's end.
        machine.sh(&format!("{command} && wg show {name} listen-port"));
        let daemon = machine.daemon();
        let session = machine.sh(&format!("ps -o sid= -p {daemon}"));
        assert_eq!(session.trim(), daemon, "{command}: a session of its own");

        // Once more of the same name: refused, by its own message and code, and the first one lives.
        let output = machine.output(&command);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(
            text(&output.stderr).contains("a running program serves"),
            "{}",
            text(&output.stderr)
        );
        machine.sh(&format!("wg show {name} listen-port"));

        // Removing the socket ends it (wireguard.com/xplatform).
        fs::remove_file(machine.socket()).unwrap();
        eventually("the device ends", || {
            !machine.output(&format!("ip link show {name}")).status.success()
        });
    }
    machine.sh(&format!("ip link add {name} type veth peer name other"));
    let output = machine.output(&format!("{FIELATO} {name}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("an interface of that name exists"),
        "{}",
        text(&output.stderr)
    );
    assert!(!machine.socket().exists());
}

#[test]
fn a_signal_or_the_interfaces_end_is_the_devices() {
    if !can_run("a_signal_or_the_interfaces_end_is_the_devices") {
        return;
    }
    let machine = Machine::new(FIELATO);
    let name = &machine.interface;
    for by_signal in [true, false] {
        machine.sh(&format!("{FIELATO} {name}"));
        let daemon = machine.daemon();
        match by_signal {
            true => machine.sh(&format!("kill -TERM {daemon}")),
            false => machine.sh(&format!("ip link delete {name}")),
        };
        eventually("interface, socket and process are gone", || {
            !machine.socket().exists()
                && !machine.output(&format!("ip link show {name}")).status.success()
                && !Path::new(&format!("/proc/{daemon}")).exists()
        });
    }
}
