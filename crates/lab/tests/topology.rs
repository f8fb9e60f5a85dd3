//! The three machines without the gateway: made, used, and gone without a trace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fielato_lab::{Family, Interrupt, Interrupted, Lab, LabOptions, Node, TemporaryLab};
use fielato_testkit as testkit;

/// Whether labs can be made here; says so when they can't.
fn can_run(test: &str) -> bool {
    testkit::can_run(test, &["ip", "ping"])
}

fn options(test: &str) -> LabOptions {
    // No test here runs the binary.
    LabOptions {
        name: format!("topo{}-{test}", std::process::id()),
        fielato: PathBuf::from("/nonexistent/fielato"),
    }
}

/// What there is of a lab on this machine: names of namespaces, mounts, directories, processes.
fn traces(lab: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        found.insert(format!("namespace {}", entry.file_name().display()));
    }
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap().lines() {
        found.insert(format!("mount {line}"));
    }
    for entry in fs::read_dir("/run/fielato-lab").into_iter().flatten().flatten() {
        found.insert(format!("directory {}", entry.file_name().display()));
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(lab) {
            found.insert(format!("process {}", entry.file_name().display()));
        }
    }
    found.retain(|trace| trace.contains(lab) || trace.starts_with("process"));
    found
}

#[test]
fn machines_reach_each_other() {
    if !can_run("machines_reach_each_other") {
        return;
    }
    let interrupt = Interrupt::never();
    let lab = TemporaryLab::up(&options("ping"), &interrupt).unwrap();
    for from in Node::ALL {
        for to in Node::ALL {
            for family in Family::BOTH {
                let address = to.outer(family).to_string();
                let ping = lab
                    .machine(from)
                    .call("ping", ["-n", "-c", "1", "-W", "2", &address])
                    .run(&interrupt)
                    .unwrap();
                assert!(ping.status.success(), "{from} → {address}: {}{}", ping.stdout, ping.stderr);
            }
        }
    }
}

#[test]
fn machines_have_their_own_directories() {
    if !can_run("machines_have_their_own_directories") {
        return;
    }
    let interrupt = Interrupt::never();
    let lab = TemporaryLab::up(&options("dirs"), &interrupt).unwrap();
    let script = "touch /run/wireguard/mark && mkdir /sys/fs/bpf/mark && ls /sys/class/net >/dev/null && echo $FIELATO_ROOT";
    let root = lab
        .machine(Node::ClientA)
        .call("sh", ["-c", script])
        .succeed(&interrupt)
        .unwrap();
    assert_eq!(Path::new(root.trim()), lab.directory().join("client-a"));
    // A later command in the same machine sees them, another machine and the caller don't.
    let look = "ls /run/wireguard /sys/fs/bpf";
    let here = lab
        .machine(Node::ClientA)
        .call("sh", ["-c", look])
        .succeed(&interrupt)
        .unwrap();
    assert_eq!(here.matches("mark").count(), 2, "{here}");
    let there = lab
        .machine(Node::ClientB)
        .call("sh", ["-c", look])
        .succeed(&interrupt)
        .unwrap();
    assert!(!there.contains("mark"), "{there}");
    assert!(!Path::new("/run/wireguard/mark").exists());
    assert!(!Path::new("/sys/fs/bpf/mark").exists());
}

#[test]
fn exec_passes_the_exit_code_on() {
    if !can_run("exec_passes_the_exit_code_on") {
        return;
    }
    let interrupt = Interrupt::never();
    let lab = TemporaryLab::up(&options("exec"), &interrupt).unwrap();
    // As another process would: by name.
    let opened = Lab::open(lab.name()).unwrap();
    let shell = |script: &str| {
        opened
            .exec(Node::VpnCore, "sh".as_ref(), &["-c".into(), script.into()])
            .unwrap()
    };
    assert_eq!(shell("exit 0"), 0);
    assert_eq!(shell("exit 7"), 7);
    assert_eq!(shell("kill -TERM $$"), 128 + 15);
    assert_eq!(shell("ip -o address show eth0 | grep -q 10.0.123.2"), 0);
    let error = opened.exec(Node::VpnCore, "/nonexistent/program".as_ref(), &[]).unwrap_err();
    assert!(
        format!("{error:#}").contains("/nonexistent/program") || format!("{error:#}").contains("program"),
        "{error:#}"
    );
}

#[test]
fn a_second_up_says_so() {
    if !can_run("a_second_up_says_so") {
        return;
    }
    let interrupt = Interrupt::never();
    let options = options("twice");
    let lab = TemporaryLab::up(&options, &interrupt).unwrap();
    let error = Lab::up(&options, &interrupt).unwrap_err().to_string();
    assert!(error.contains("is up already"), "{error}");
    // The first is unharmed.
    let hub = Node::VpnCore.outer(Family::V4).to_string();
    assert!(
        lab.machine(Node::ClientA)
            .call("ping", ["-c", "1", "-W", "2", &hub])
            .run(&interrupt)
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn down_leaves_nothing() {
    if !can_run("down_leaves_nothing") {
        return;
    }
    let interrupt = Interrupt::never();
    let options = options("down");
    let lab = Lab::up(&options, &interrupt).unwrap();
    assert!(!traces(&options.name).is_empty(), "the test must see what it looks for");
    // A process in the background, and one that does not end when asked.
    let stubborn = "(sleep 600 &) ; (setsid sh -c 'trap \"\" TERM; sleep 600; sleep 600' &)";
    lab.machine(Node::ClientB)
        .call("sh", ["-c", stubborn])
        .succeed(&interrupt)
        .unwrap();
    Lab::down(&options.name).unwrap();
    assert_eq!(traces(&options.name), BTreeSet::new());
    let error = Lab::down(&options.name).unwrap_err().to_string();
    assert!(error.contains("no lab"), "{error}");
    assert!(Lab::open(&options.name).is_err());
}

#[test]
fn interrupted_work_leaves_nothing() {
    if !can_run("interrupted_work_leaves_nothing") {
        return;
    }
    let options = options("int");
    // While the machines are made: at the first program that runs in one. Later: in a command.
    for (moment, needle) in [("up", "ip\0"), ("command", "sleep\0")] {
        let interrupt = Interrupt::install().unwrap();
        let begun = Instant::now();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !traces(&options.name).iter().any(|trace| is_running(trace, needle)) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT).unwrap();
            });
            let lab = TemporaryLab::up(&options, &interrupt)?;
            lab.machine(Node::ClientA)
                .call("sleep", ["60"])
                .limit(Duration::from_secs(60))
                .run(&interrupt)
        });
        assert!(result.unwrap_err().is::<Interrupted>(), "{moment}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{moment}");
        assert_eq!(traces(&options.name), BTreeSet::new(), "{moment}");
    }
}

/// Whether a trace is a process whose command line begins so.
fn is_running(trace: &str, needle: &str) -> bool {
    let Some(process) = trace.strip_prefix("process ") else {
        return false;
    };
    fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.starts_with(needle.as_bytes()))
}

#[test]
fn names_that_are_paths_are_refused() {
    for name in ["", "../x", "a b", "-x", "a/b"] {
        assert!(
            Lab::open(name).unwrap_err().to_string().contains("can't be a lab's name"),
            "{name}"
        );
    }
}
