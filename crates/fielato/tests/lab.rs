//! `fielato lab` as a user calls it: the whole talk, a lab that stays, and Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fielato_testkit as testkit;
use rustix::process::{Pid, Signal, kill_process};

const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");

/// The talk measures rates and times: nothing else of ours runs beside it.
static ALONE: Mutex<()> = Mutex::new(());

fn can_run(test: &str) -> bool {
    let programs = [
        "ip",
        "ping",
        "nft",
        "iptables",
        "tc",
        "tcpdump",
        "wg",
        "wg-quick",
        "wireguard-go",
    ];
    testkit::can_run(test, &programs)
}

fn fielato(arguments: &[&str]) -> Output {
    Command::new(FIELATO).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Namespaces, mounts and processes of the talk that the process with this number ran.
fn traces(id: u32) -> Vec<String> {
    let name = format!("fielato-talk-{id}");
    let mut found: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    for directory in ["/run/netns", "/run/fielato-lab", "/tmp"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        found.push(format!(
            "{}: {}",
            entry.path().display(),
            String::from_utf8_lossy(&environment)
        ));
    }
    found.retain(|line| line.contains(&name));
    found
}

#[test]
fn the_talk_holds_with_the_kernel_engine() {
    if can_run("the_talk_holds_with_the_kernel_engine") {
        talk_holds("kernel");
    }
}

#[test]
fn the_talk_holds_with_the_user_space_engine() {
    if can_run("the_talk_holds_with_the_user_space_engine") {
        talk_holds("userspace");
    }
}

fn talk_holds(engine: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = fielato(&["lab", "talk", "--engine", engine, "--json"]);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let checks: Vec<&serde_json::Value> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| step["checks"].as_array().unwrap())
        .collect();
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(report["engine"], engine);
    assert_eq!(
        (&report["version"], report["steps"].as_array().unwrap().len()),
        (&1.into(), 8)
    );
    // Netem alone may be missing, and only where the kernel encrypts and shapes alone.
    for check in checks.iter().filter(|check| check["outcome"] == "skipped") {
        assert!(engine == "kernel" && fielato_testkit::is_kernel_wireguard(), "{check}");
        assert!(check["what"].as_str().unwrap().contains("netem"), "{check}");
    }
    for file in report["kept"].as_array().unwrap() {
        let file = Path::new(file.as_str().unwrap());
        fs::remove_file(file).unwrap();
        let _ = fs::remove_dir(file.parent().unwrap());
    }
}

#[test]
fn ctrl_c_leaves_nothing() {
    if !can_run("ctrl_c_leaves_nothing") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // While the machines are made, while a member joins, with captures written, in the middle of a measurement.
    for (moment, signal) in [
        ("", Signal::INT),
        ("1. ", Signal::TERM),
        ("3. ", Signal::INT),
        ("6. ", Signal::INT),
    ] {
        let mut child = Command::new(FIELATO)
            .args(["lab", "talk"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if moment.is_empty() {
            while traces(id).is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            assert!(
                lines.any(|line| line.unwrap().starts_with(moment)),
                "step {moment} was not reached"
            );
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let asked = Instant::now();
        lines.for_each(|line| drop(line.unwrap()));
        let status = child.wait().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(130), "{moment}: {said}");
        assert!(said.contains("interrupted"), "{moment}: {said}");
        assert!(
            asked.elapsed() < Duration::from_secs(15),
            "{moment}: took {:?}",
            asked.elapsed()
        );
        assert_eq!(traces(id), Vec::<String>::new(), "{moment}");
    }
}

#[test]
fn a_lab_that_stays() {
    if !can_run("a_lab_that_stays") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _down = testkit::Cleanup::new(|| drop(fielato(&["lab", "down"])));
    let up = fielato(&["lab", "up"]);
    assert!(up.status.success(), "{}", text(&up));
    let again = fielato(&["lab", "up"]);
    assert!(
        !again.status.success() && text(&again).contains("is up already"),
        "{}",
        text(&again)
    );
    let ping = fielato(&["lab", "exec", "client-a", "--", "ping", "-c", "1", "-W", "5", "192.168.4.3"]);
    assert!(ping.status.success(), "{}", text(&ping));
    // By its name alone, and at its own place.
    let status = fielato(&["lab", "exec", "vpn-core", "--", "fielato", "status", "--json"]);
    let status: serde_json::Value =
        serde_json::from_slice(&status.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&status)));
    assert_eq!(status["members"].as_array().unwrap().len(), 2);
    assert_eq!(
        fielato(&["lab", "exec", "client-b", "--", "sh", "-c", "exit 9"])
            .status
            .code(),
        Some(9)
    );
    let nobody = fielato(&["lab", "exec", "client-c", "--", "true"]);
    assert!(
        !nobody.status.success() && text(&nobody).contains("client-c"),
        "{}",
        text(&nobody)
    );
    let down = fielato(&["lab", "down"]);
    assert!(down.status.success(), "{}", text(&down));
    assert!(!Path::new("/run/fielato-lab/fielato").exists());
    let gone = fielato(&["lab", "exec", "client-a", "--", "true"]);
    assert!(
        !gone.status.success() && text(&gone).contains("fielato lab up"),
        "{}",
        text(&gone)
    );
}
