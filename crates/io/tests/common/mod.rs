//! Network namespaces for tests: made with unique names, removed also when a test fails.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod devices;
pub mod programs;
pub mod proxy;
pub mod star;
pub mod transfers;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fielato_wireguard::{PrivateKey, PublicKey};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Whether namespaces can be made here; says so when not.
pub use fielato_testkit::root as can_run;
/// A name that nobody else has: for namespaces, and for interfaces, whose `wg` sockets are not per namespace.
pub use fielato_testkit::unique;

/// Runs a command to its end; panics when it fails.
pub fn run(command: &str) -> String {
    let output = attempt(command, "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Runs a command to its end, with a text on its standard input.
pub fn attempt(command: &str, input: &str) -> Output {
    let words: Vec<&str> = command.split_whitespace().collect();
    fielato_testkit::run(words[0], &words[1..], input)
}

/// A network namespace.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new() -> Self {
        let namespace = Self(unique("fdev"));
        run(&format!("ip netns add {}", namespace.0));
        namespace.run("ip link set lo up");
        namespace
    }

    pub fn run(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.0))
    }

    pub fn attempt(&self, command: &str) -> bool {
        attempt(&format!("ip netns exec {} {command}", self.0), "").status.success()
    }

    /// Does something in the namespace, on a thread of its own; threads that it starts stay there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let body = || {
                let file = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            };
            scope.spawn(body).join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Two namespaces joined by a cable: 10.9.0.1 and fd09::1 here, .2 there.
pub fn cable() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    run(&format!("ip -n {} link add v0 type veth peer name v0 netns {}", a.0, b.0));
    for (namespace, host) in [(&a, 1), (&b, 2)] {
        namespace.run(&format!("ip addr add 10.9.0.{host}/24 dev v0"));
        namespace.run(&format!("ip addr add fd09::{host}/64 dev v0 nodad"));
        namespace.run("ip link set v0 up");
    }
    (a, b)
}

/// Addresses of the overlay, and the interface up.
pub fn raise(namespace: &Namespace, interface: &str, host: u8) {
    namespace.run(&format!("ip addr add 10.8.0.{host}/24 dev {interface}"));
    namespace.run(&format!("ip addr add fd08::{host}/64 dev {interface} nodad"));
    namespace.run(&format!("ip link set {interface} up"));
}

/// Whether this machine is an emulated one, on which everything takes long: `make test-vm` says so.
pub fn is_slow() -> bool {
    std::env::var_os("FIELATO_SLOW_MACHINE").is_some()
}

/// Waits until something is so, ten seconds at most; a minute on a slow machine.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(if is_slow() { 60 } else { 10 });
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Echo requests until one is answered, as a first one may be lost to address resolution.
pub fn ping(from: &Namespace, to: &str) -> bool {
    (0..3).any(|_| from.attempt(&format!("ping -c 1 -W 2 -i 0.2 {to}")))
}

/// A key in a file that only we can read, for `wg set`.
pub fn key_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{text}").unwrap();
    file
}

/// A key pair.
pub fn keys() -> (PrivateKey, PublicKey) {
    let private = PrivateKey::generate().unwrap();
    let public = private.public_key();
    (private, public)
}
