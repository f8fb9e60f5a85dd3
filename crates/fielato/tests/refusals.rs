//! What `up`, `reload` and `down` refuse: they say why, and leave the machine as it was.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::prober::Prober;
use common::snapshot::Snapshot;
use common::{Finished, PORT, Started, World, finish, ready, shell};
use fielato_testkit::Cleanup;

/// Runs the program and asserts how it ends, what it says, and that nothing changed.
fn refused(world: &World, command: &mut Command, code: i32, words: &[&str]) {
    let before = Snapshot::take(world);
    let finished = finish(command);
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for word in words {
        assert!(finished.err.contains(word), "{word:?} is missing: {finished:?}");
    }
    assert_eq!(before.differences(&Snapshot::take(world)), "", "{finished:?}");
}

fn up_refused(world: &World, code: i32, words: &[&str]) {
    refused(world, &mut world.fielato(&["up"]), code, words);
}

/// With the kernel engine; left to itself, `up` would take the other one.
fn kernel_up_refused(world: &World, words: &[&str]) {
    refused(world, &mut world.fielato(&["up", "--engine", "kernel"]), 1, words);
}

fn done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// The first configuration with a part replaced.
fn configure(world: &World, from: &str, to: &str) {
    let text = world.config(0);
    assert!(text.contains(from), "{from:?} is not in {text}");
    world.write_config(&text.replacen(from, to, 1));
}

/// The first configuration with more at its end.
fn configure_also(world: &World, more: &str) {
    world.write_config(&(world.config(0) + more));
}

#[test]
fn up_is_refused_for_what_others_have() {
    if !ready("up_is_refused_for_what_others_have") {
        return;
    }
    let world = World::new();

    // The interface's name.
    let name = &world.interface;
    shell(
        &world.hub,
        &format!("ip tuntap add dev {name} mode tun; ip link set {name} up"),
    );
    up_refused(&world, 1, &[name, "is not fielato's", "choose another name"]);
    shell(&world.hub, &format!("ip link del {name}"));

    // The port, in either family.
    for address in ["0.0.0.0", "[::1]"] {
        let holder = world
            .hub
            .run_in(|| UdpSocket::bind(format!("{address}:{PORT}")))
            .unwrap()
            .unwrap();
        up_refused(&world, 1, &[&PORT.to_string(), "ss -ulpn"]);
        drop(holder);
    }

    // The root discipline of a device that is to be shaped: eth1 carries somebody's tbf.
    configure_also(
        &world,
        "[[shape]]\ndev = \"eth1\"\nqdisc = \"root handle 8: tbf rate 200mbit burst 64kb latency 50ms\"\n",
    );
    let text = fs::read_to_string(world.file("etc/fielato/fielato.toml")).unwrap();
    world.write_config(&text.replacen("uplink = \"eth0\"", "uplink = \"eth1\"", 1));
    kernel_up_refused(&world, &["eth1", "tbf", "77:"]);

    // The place for an XDP program: eth1 carries somebody's.
    let text = world.config(0).replacen("uplink = \"eth0\"", "uplink = \"eth1\"", 1);
    world.write_config(&(text + "[hub.guard]\nuplink = true\n"));
    kernel_up_refused(&world, &["eth1", "program"]);

    world.configure(0);
    done(&world.run(&["up"]));
}

#[test]
fn up_is_refused_for_what_is_missing_or_damaged() {
    if !ready("up_is_refused_for_what_is_missing_or_damaged") {
        return;
    }
    let world = World::new();

    configure(&world, "uplink = \"eth0\"", "uplink = \"eth9\"");
    up_refused(&world, 1, &["uplink", "eth9", "ip link"]);
    configure(&world, "uplink = \"eth0\"", "uplnk = \"eth0\"");
    up_refused(&world, 2, &["fielato.toml:", "uplnk", "did you mean uplink?"]);
    world.configure(0);

    let key = world.file(&format!("etc/fielato/keys/{}.key", world.interface));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    up_refused(&world, 1, &["mode 0644", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = fs::read_to_string(&key).unwrap();
    fs::write(&key, &secret[..20]).unwrap();
    up_refused(&world, 1, &[&*key.display().to_string()]);
    fs::write(&key, &secret).unwrap();

    fs::create_dir_all(world.file("var/lib/fielato")).unwrap();
    for (name, damage) in [("undo.json", "{"), ("bans.json", "[]")] {
        let file = world.file("var/lib/fielato").join(name);
        fs::write(&file, damage).unwrap();
        up_refused(&world, 1, &[name, "is damaged", "remove"]);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            damage,
            "what a person may want to mend is kept"
        );
        fs::remove_file(file).unwrap();
    }

    refused(
        &world,
        world.fielato(&["up", "--engine", "kernel"]).env("PATH", "/nonexistent"),
        1,
        &["nft", "nftables"],
    );

    world.configure(0);
    done(&world.run(&["up"]));
}

#[test]
fn up_is_refused_when_the_disk_is_full() {
    if !ready("up_is_refused_when_the_disk_is_full") {
        return;
    }
    let world = World::new();
    for folder in ["var/lib/fielato", "run/fielato"] {
        let folder = world.file(folder);
        fs::create_dir_all(&folder).unwrap();
        let full = full_disk(folder);
        up_refused(&world, 1, &["o space "]);
        // Whoever notices the message and makes room goes on from there.
        drop(full);
        done(&world.run(&["up"]));
        done(&world.run(&["down"]));
    }
}

#[test]
fn a_full_disk_refuses_changes_and_the_hub_goes_on() {
    if !ready("a_full_disk_refuses_changes_and_the_hub_goes_on") {
        return;
    }
    let world = World::new();
    let state = world.file("var/lib/fielato");
    fs::create_dir_all(&state).unwrap();
    let place = state.display().to_string();
    done(&finish(Command::new("mount").args([
        "-t",
        "tmpfs",
        "-o",
        "size=16m",
        "fielato-test",
        &place,
    ])));
    let _mounted = Cleanup::new(move || drop(finish(Command::new("umount").args(["-l", &place]))));
    world.configure(0);
    done(&world.run(&["up"]));
    let prober = Prober::start(&world);
    world.renew_session();
    prober.wait_for_allowed(true, Duration::from_secs(12)).unwrap();
    let filler = state.join("filler");
    for block in [1 << 16, 4096] {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &vec![0; block]).is_ok() {}
    }
    world.configure(3);
    // What cannot be remembered is not done.
    refused(&world, &mut world.fielato(&["apply"]), 1, &["no space is left"]);
    prober.wait_for_allowed(true, Duration::from_secs(12)).unwrap();
    assert_eq!(prober.leaks(&world), BTreeMap::new());

    fs::remove_file(filler).unwrap();
    done(&world.run(&["apply"]));
    done(&world.run(&["down"]));
}

/// A file system without a free byte, until dropped.
fn full_disk(at: PathBuf) -> Cleanup {
    let place = at.display().to_string();
    let mounted = finish(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8k", "fielato-test", &place]));
    done(&mounted);
    let full = Cleanup::new(move || drop(finish(Command::new("umount").arg(place))));
    for name in ["1", "2", "3"] {
        fs::write(at.join(name), [0; 4096]).ok();
    }
    full
}

#[test]
fn a_discipline_that_the_kernel_lacks() {
    const TEST: &str = "a_discipline_that_the_kernel_lacks";
    if !ready(TEST) {
        return;
    }
    let world = World::new();
    // Debian's kernel has all of them, this program's words include them all: one that is missing here is looked for.
    let kinds = [
        ("netem", "netem delay 10ms"),
        ("cake", "cake bandwidth 10mbit"),
        ("fq_codel", "fq_codel"),
    ];
    let lacks = |kind: &str| {
        let scratch = fielato_kernel::netns::NetnsGuard::create(&fielato_testkit::unique("scratch")).unwrap();
        let mut tc = scratch.command(Command::new("tc"), &[]).unwrap();
        finish(tc.args(["qdisc", "add", "dev", "lo", "root", kind]))
            .err
            .contains("kind is unknown")
    };
    let Some((kind, words)) = kinds.into_iter().find(|(kind, _)| lacks(kind)) else {
        fielato_testkit::skip(TEST, "this kernel lacks none of netem, cake, fq_codel");
        return;
    };
    let module = format!("sch_{kind}");
    let shape = format!(
        "[[shape]]\ndev = \"eth0\"\nqdisc = \"root handle 1: htb default 10\"
[[shape]]\ndev = \"eth0\"\nclass = \"parent 1: classid 1:10 htb rate 10mbit\"
[[shape]]\ndev = \"eth0\"\nqdisc = \"parent 1:10 handle 10: {words}\"\n"
    );
    configure_also(&world, &shape);
    kernel_up_refused(&world, &[&module]);

    // The same by `reload`: the hub goes on as it was, and takes the next change.
    world.configure(2);
    done(&world.run(&["up", "--engine", "kernel"]));
    configure_also(&world, &shape);
    refused(&world, &mut world.fielato(&["reload"]), 1, &[&module]);
    world.configure(1);
    done(&world.run(&["reload"]));
}

#[test]
fn reload_is_refused_and_changes_nothing() {
    if !ready("reload_is_refused_and_changes_nothing") {
        return;
    }
    let world = World::new();
    let reload_refused = |code, words: &[&str]| refused(&world, &mut world.fielato(&["reload"]), code, words);
    reload_refused(4, &["is not running", "fielato up"]);
    done(&world.run(&["up"]));

    // Everything that could be changed first is wanted as well, and must be taken back.
    let changed = world.config(2);
    let holder = world.hub.run_in(|| UdpSocket::bind("0.0.0.0:51999")).unwrap().unwrap();
    world.write_config(&changed.replacen(&format!("listen_port = {PORT}"), "listen_port = 51999", 1));
    reload_refused(1, &["51999"]);
    drop(holder);
    world.write_config(&changed.replacen("action = \"accept\"", "action = \"alow\"", 1));
    reload_refused(2, &["fielato.toml:", "alow"]);
    world.write_config(&changed.replace("\"eth0\"", "\"eth1\""));
    reload_refused(1, &["uplink", "fielato down"]);
    world.write_config(&changed.replacen("dev = \"eth0\"\nqdisc", "dev = \"eth9\"\nqdisc", 1));
    reload_refused(2, &["eth9"]);

    world.write_config(&changed);
    done(&world.run(&["reload"]));
}

#[test]
fn two_at_the_same_time() {
    if !ready("two_at_the_same_time") {
        return;
    }
    let world = World::new();
    let initial = Snapshot::take(&world);
    for _ in 0..10 {
        let both = [
            Started::new(&mut world.fielato(&["up"])),
            Started::new(&mut world.fielato(&["up"])),
        ];
        let ended = both.map(Started::finish);
        let mut codes = ended.each_ref().map(|finished| finished.code);
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(1)], "{ended:?}");
        let loser = ended.iter().find(|finished| finished.code == Some(1)).unwrap();
        assert!(loser.err.contains("fielato runs already (process "), "{loser:?}");
        up_refused(&world, 1, &["fielato runs already (process ", "fielato down"]);

        // Of two who take it down at the same time, both find it down.
        let both = [
            Started::new(&mut world.fielato(&["down"])),
            Started::new(&mut world.fielato(&["down"])),
        ];
        for finished in both.map(Started::finish) {
            done(&finished);
        }
        assert_eq!(initial.differences(&Snapshot::take(&world)), "");
    }
    // Nothing runs: that is no error, and nothing is done.
    refused(&world, &mut world.fielato(&["down"]), 0, &[]);
    refused(&world, &mut world.fielato(&["status"]), 4, &["is not running"]);
    // Down while it is coming up: it comes up first, and then goes.
    for _ in 0..5 {
        let up = Started::new(&mut world.fielato(&["up"]));
        let down = Started::new(&mut world.fielato(&["down"]));
        let (up, down) = (up.finish(), down.finish());
        done(&down);
        done(&up);
        done(&world.run(&["down"]));
        assert_eq!(initial.differences(&Snapshot::take(&world)), "");
    }
}
