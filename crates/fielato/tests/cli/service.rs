//! As a service manager runs it: notifications, signals, and the privileges of the unit only.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use fielato_testkit::need;
use rustix::process::Signal;

use crate::common::{FIELATO, Hub, PATIENCE, Pair, Running, can_run, eventually};

/// The unit's own words.
const UNIT: &str = include_str!("../../../../packaging/fielato.service");

/// A daemon in the foreground, and what it tells its service manager.
struct Service {
    manager: UnixDatagram,
    daemon: Running,
}

impl Service {
    fn start(hub: &Hub, command: Command) -> Self {
        Self::start_with(hub, command, "userspace")
    }

    fn start_with(hub: &Hub, mut command: Command, wireguard: &str) -> Self {
        let path = hub.root().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = fs::File::create(hub.root().join("log")).unwrap();
        command
            .args(["up", "--foreground", "--wireguard", wireguard])
            .env("NOTIFY_SOCKET", &path)
            .stdout(Stdio::null())
            .stderr(log);
        Self {
            manager,
            daemon: hub.spawn(command),
        }
    }

    /// The next thing that the daemon tells.
    #[track_caller]
    fn told(&self, hub: &Hub) -> String {
        let mut buffer = [0; 4096];
        match self.manager.recv(&mut buffer) {
            Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(error) => panic!("{error}: {}", log(hub)),
        }
    }
}

fn log(hub: &Hub) -> String {
    fs::read_to_string(hub.root().join("log")).unwrap()
}

#[test]
fn a_service_manager_is_told() {
    if !can_run("service::a_service_manager_is_told") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    let mut service = Service::start(&hub, hub.command(FIELATO));
    assert_eq!(service.told(&hub).trim(), "READY=1");
    assert_eq!(hub.fielato("status --json").json()["members"], serde_json::json!([]));

    hub.fielato("member add alice").ok();
    service.daemon.signal(Signal::HUP);
    let reloading = service.told(&hub);
    assert!(
        reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(service.told(&hub).trim(), "READY=1");
    assert_eq!(hub.fielato("status --json").json()["members"][0]["name"], "alice");

    // A refused file: reloaded to what it was, and it says why.
    let good = hub.config();
    hub.write_config(&good.replace("uplink =", "uplnik ="));
    service.daemon.signal(Signal::HUP);
    assert!(service.told(&hub).contains("RELOADING=1"));
    assert_eq!(service.told(&hub).trim(), "READY=1");
    assert!(log(&hub).contains("unknown key uplnik"), "{}", log(&hub));
    assert_eq!(hub.fielato("status --json").json()["members"][0]["name"], "alice");
    hub.write_config(&good);

    service.daemon.signal(Signal::TERM);
    assert_eq!(service.told(&hub).trim(), "STOPPING=1");
    assert_eq!(service.daemon.end(), 0);
    assert_eq!(hub.sh("nft list ruleset").ok(), "");
}

#[test]
fn a_refused_file_ends_with_2() {
    if !can_run("service::a_refused_file_ends_with_2") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    hub.write_config(&hub.config().replace("uplink =", "uplnik ="));
    let mut service = Service::start(&hub, hub.command(FIELATO));
    assert_eq!(service.daemon.end(), 2, "{}", log(&hub));
    assert!(UNIT.contains("RestartPreventExitStatus=2"));
}

#[test]
fn the_units_capabilities_are_enough() {
    let test = "service::the_units_capabilities_are_enough";
    if !can_run(test) || !need(test, "setpriv") {
        return;
    }
    let Pair { hub, outside: _outside } = Pair::new();
    hub.fielato("member add alice --group staff").ok();
    let plain = hub.config();
    let shaped = |rate: &str| {
        format!(
            "{plain}\n[[shape]]\nqdisc = \"root handle 1: htb default 30\"\n\
             [[shape]]\nclass = \"parent 1: classid 1:10 htb rate {rate}\"\nfor = [\"staff\"]\n\
             [[shape]]\nclass = \"parent 1: classid 1:30 htb rate 1mbit\"\n"
        )
    };
    hub.write_config(&shaped("10mbit"));

    let capabilities = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .unwrap()
        .split(' ')
        .map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let set = capabilities.fold("-all".to_owned(), |set, name| format!("{set},+{name}"));
    let mut command = hub.command("setpriv");
    command.args(["--bounding-set", &set, "--inh-caps", &set, "--no-new-privs", "--", FIELATO]);
    // With the kernel's own there is a program more to be loaded.
    let wireguard = if fielato_testkit::is_kernel_wireguard() {
        "kernel"
    } else {
        "userspace"
    };
    let mut service = Service::start_with(&hub, command, wireguard);
    assert_eq!(service.told(&hub).trim(), "READY=1", "{}", log(&hub));
    let status = hub.fielato("status --json").json();
    assert_eq!(status["guard"][0]["interface"], hub.interface.as_str(), "{status}");
    assert_eq!(status["warnings"], serde_json::json!([]), "{status}");
    let effective = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap();
    assert!(
        effective.contains("CapEff:\t0000008000003400"),
        "net_admin, net_bind_service, net_raw, bpf and no more: {effective}"
    );
    let classes = || hub.sh(&format!("tc class show dev {}", hub.interface)).ok();
    assert!(classes().contains("rate 10Mbit"), "{}", classes());

    hub.write_config(&shaped("12mbit"));
    hub.fielato("member add bob").ok();
    hub.fielato("reload").ok();
    assert!(classes().contains("rate 12Mbit"), "{}", classes());

    // Without a namespace to try it in, a discipline that does not exist is still named, and the tree put back. No kernel
    // has all of these; one that has them all proves nothing here.
    for (kind, words) in [("cake", "bandwidth 1mbit"), ("netem", "delay 1ms"), ("fq_codel", "")] {
        let leaf = format!("[[shape]]\nqdisc = \"parent 1:10 handle 10: {kind} {words}\"\n");
        let good = hub.config();
        hub.write_config(&format!("{good}\n{leaf}"));
        let said = hub.fielato("reload");
        hub.write_config(&good);
        if said.code == 0 {
            hub.fielato("reload").ok();
            continue;
        }
        let told = said.fails(1);
        assert!(told.contains(&format!("this kernel lacks sch_{kind}")), "{told}");
        assert!(
            classes().contains("rate 12Mbit") && classes().contains("rate 1Mbit"),
            "{}",
            classes()
        );
    }

    hub.fielato("ban 192.168.4.3 --for 1s").ok();
    eventually("the ban ends", || {
        hub.fielato("bans --json").json()["bans"] == serde_json::json!([])
    });
    service.daemon.signal(Signal::TERM);
    assert_eq!(service.told(&hub).trim(), "STOPPING=1");
    assert_eq!(service.daemon.end(), 0, "{}", log(&hub));
    assert_eq!(hub.sh("nft list ruleset").ok(), "");
    assert_eq!(hub.sh(&format!("ip link show {}", hub.interface)).code, 1);
}
