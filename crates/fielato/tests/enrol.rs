//! A host enrols: from a token to rules that follow the hub's, through a real tunnel.
//!
//! ```text
//!  hub: fielato up ── eth0 ── eth0 ── host: fielato agent
//! ```

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{FIELATO, Finished, Process, finish, ready, shell, wait_until};
use fielato_kernel::netns::NetnsGuard;
use fielato_kernel::nft;
use fielato_testkit::unique;
use tempfile::TempDir;

struct World {
    hub: NetnsGuard,
    host: NetnsGuard,
    root: TempDir,
    interface: String,
}

impl World {
    fn new() -> Self {
        let space = |role: &str| NetnsGuard::create(&format!("{}-{role}", unique("enrol"))).unwrap();
        let (hub, host) = (space("hub"), space("host"));
        for machine in [&hub, &host] {
            shell(
                machine,
                "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; ip link set lo up",
            );
        }
        shell(
            &hub,
            &format!("ip link add eth0 type veth peer name eth0 netns {}", host.name()),
        );
        shell(&hub, "ip addr add 10.89.0.1/24 dev eth0; ip link set eth0 up");
        shell(&host, "ip addr add 10.89.0.2/24 dev eth0; ip link set eth0 up");
        let root = tempfile::Builder::new().prefix("fielato-enrol-").tempdir().unwrap();
        for folder in ["hub/etc/fielato", "host", "sockets"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let world = Self {
            hub,
            host,
            root,
            interface: unique("enr"),
        };
        world.configure("");
        let key = fielato_wireguard::PrivateKey::generate().unwrap();
        let path = world.file(&format!("hub/etc/fielato/keys/{}.key", world.interface));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, key.to_base64()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        world
    }

    fn configure(&self, more: &str) {
        let path = self.file("hub/etc/fielato/fielato.toml");
        let text = format!(
            r#"# The owner's comment.
[hub]
interface = "{}"
endpoint = "10.89.0.1:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"

[host.storage]
address = "10.89.0.2"
strategy = "source"

[service.files]
host = "storage"
ports = ["tcp/1234"]
{more}"#,
            self.interface
        );
        fs::write(path, text).unwrap();
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn on_hub(&self, arguments: &[&str]) -> Finished {
        let mut command = self.hub.command(Command::new(FIELATO), &[]).unwrap();
        command
            .args(arguments)
            .env("FIELATO_ROOT", self.file("hub"))
            .env_remove("FIELATO_CONFIG");
        finish(&mut command)
    }

    /// Both machines are this one, and the sockets of user-space devices go by the interface's name: the host has a folder of its own.
    fn host_command(&self, arguments: &[&str]) -> Command {
        fs::create_dir_all("/var/run/wireguard").unwrap();
        let binds = [(self.file("sockets"), fs::canonicalize("/var/run/wireguard").unwrap())];
        let mut command = self.host.command(Command::new(FIELATO), &binds).unwrap();
        command
            .args(arguments)
            .env("FIELATO_ROOT", self.file("host"))
            .env_remove("FIELATO_CONFIG");
        command
    }

    fn status(&self) -> serde_json::Value {
        let finished = self.on_hub(&["status", "--json"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        serde_json::from_str(&finished.out).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let down = self.on_hub(&["down"]);
        if down.code != Some(0) {
            eprintln!("the last `down`: {down:?}");
        }
    }
}

#[test]
fn from_a_token_to_rules_that_follow() {
    if !ready("from_a_token_to_rules_that_follow") {
        return;
    }
    let world = World::new();
    let up = world.on_hub(&["up"]);
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(
        world.status()["hosts"],
        serde_json::json!([]),
        "nobody is served before a host enrols"
    );

    let unknown = world.on_hub(&["host", "enrol", "nobody"]);
    assert!(
        unknown.code == Some(1) && unknown.err.contains("no host is called nobody"),
        "{unknown:?}"
    );

    // The token, for root only; the hub waits for the host, and only for its key.
    let token = world.file("token");
    let made = world.on_hub(&["host", "enrol", "storage", "-o", token.to_str().unwrap()]);
    assert_eq!((made.code, made.out.as_str()), (Some(0), ""), "{made:?}");
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    let status = world.status();
    assert!(status["hosts"][0]["enrolling_until"].is_string(), "{status}");
    let key = |status: &serde_json::Value| status["members"][0]["public_key"].as_str().unwrap().to_owned();
    let first_key = key(&status);
    let text = fs::read_to_string(world.file("hub/etc/fielato/fielato.toml")).unwrap();
    assert!(
        text.starts_with("# The owner's comment.") && text.contains("agent = true"),
        "{text}"
    );

    let enrolled = finish(&mut world.host_command(&["agent", "enrol", token.to_str().unwrap()]));
    assert_eq!(enrolled.code, Some(0), "{enrolled:?}");
    wait_until("the key is the host's own", Duration::from_secs(10), || {
        key(&world.status()) != first_key
    });
    let own_key = key(&world.status());
    let text = fs::read_to_string(world.file("hub/etc/fielato/fielato.toml")).unwrap();
    assert!(text.contains(&own_key) && !text.contains(&first_key), "{text}");
    let kept = world.file("host/etc/fielato/keys/agent.key");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // Once used, the token opens nothing: its key is nobody's.
    let again = finish(&mut world.host_command(&["agent", "enrol", token.to_str().unwrap()]));
    assert!(
        again.code == Some(1) && again.err.contains("the hub does not answer"),
        "{again:?}"
    );
    assert_eq!(key(&world.status()), own_key);

    let child = world.host_command(&["agent", "run"]).spawn().unwrap();
    let agent = Process(child);
    let at = |lag: u64| {
        let host = &world.status()["hosts"][0];
        host["lag"] == lag && host["connected"].is_string() && host["revision"].is_u64()
    };
    wait_until("the host enforces the plan", Duration::from_secs(30), || at(0));
    let before = world.status()["hosts"][0]["revision"].as_u64().unwrap();

    // A change of the policy, made as people make it; now that the host is a member, it can be guarded as one.
    let text = fs::read_to_string(world.file("hub/etc/fielato/fielato.toml")).unwrap();
    fs::write(
        world.file("hub/etc/fielato/fielato.toml"),
        text.replace("tcp/1234", "tcp/1235"),
    )
    .unwrap();
    let reloaded = world.on_hub(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    wait_until("the host follows", Duration::from_secs(10), || {
        at(0) && world.status()["hosts"][0]["revision"].as_u64() > Some(before)
    });
    let rules = world.host.run_in(nft::list_rules).unwrap().unwrap();
    assert!(rules.contains("tcp dport 1235") && !rules.contains("1234"), "{rules}");
    let shown = world.on_hub(&["status"]);
    assert!(
        shown.out.contains("storage") && shown.out.contains("connected"),
        "{}",
        shown.out
    );

    // Back to the policy from before there was a token: the host is who it is all the same.
    let back = world.on_hub(&["rollback", "1"]);
    assert!(
        back.code == Some(0) && back.out.contains("with the keys of hosts that have enrolled since: storage"),
        "{back:?}"
    );
    assert_eq!(key(&world.status()), own_key);
    fs::write(
        world.file("hub/etc/fielato/fielato.toml"),
        text.replace("tcp/1234", "tcp/1235"),
    )
    .unwrap();
    assert_eq!(world.on_hub(&["reload"]).code, Some(0));
    wait_until("the host follows again", Duration::from_secs(10), || at(0));

    // The hub restarts; the host comes back by itself and needs nothing new.
    assert_eq!(world.on_hub(&["down"]).code, Some(0));
    assert!(
        world
            .host
            .run_in(nft::list_rules)
            .unwrap()
            .unwrap()
            .contains("tcp dport 1235")
    );
    assert_eq!(world.on_hub(&["up"]).code, Some(0));
    wait_until("the host is back", Duration::from_secs(60), || at(0));
    drop(agent);
}
