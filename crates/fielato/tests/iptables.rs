//! `fielato iptables` and its kin as processes: same words as the real program, files, locks, engines, namespaces.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

use fielato_iptables::iptc::Memory;
use fielato_iptables::remote::{Request, serve};
use fielato_iptables::{BuiltinNames, Registry};
use tempfile::TempDir;

const FIELATO: &str = env!("CARGO_BIN_EXE_fielato");

/// Commands after one another on the same rules, with what iptables says to wrong ones.
const COMMANDS: &str = include_str!("iptables-commands.txt");

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Our program on the rules in `file`.
fn ours(file: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(FIELATO);
    command
        .args(words)
        .env("FIELATO_RULESET", file)
        .env_remove("XTABLES_LOCKFILE");
    command.output().expect("fielato runs")
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with `program` under the names of iptables.
fn named(program: &Path) -> TempDir {
    let folder = folder();
    for name in [
        "iptables",
        "iptables-save",
        "iptables-restore",
        "ip6tables",
        "ip6tables-save",
        "ip6tables-restore",
    ] {
        std::os::unix::fs::symlink(program, folder.path().join(name)).expect("a link");
    }
    folder
}

/// Runs all commands and gives for each its exit code and what it printed.
fn transcript(program: &Path, isolate: bool, rules: &Path) -> Vec<String> {
    let names = named(program);
    let scratch = folder();
    let mut script = format!("cd {}\n", scratch.path().display());
    for command in COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        script += &format!("{command} >out 2>err </dev/null; echo \"exit $?\"; cat out; echo ---; cat err; echo ======\n");
    }
    let mut shell = match isolate {
        true => {
            let mut shell = Command::new("unshare");
            shell.args(["-n", "sh"]);
            shell
        }
        false => Command::new("sh"),
    };
    let path = format!("{}:{}", names.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = shell
        .args(["-c", &script])
        .env("PATH", path)
        .env("FIELATO_RULESET", rules)
        .output();
    let text = String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned();
    let answers = text.split("======\n").map(without_dates);
    answers.filter(|answer| !answer.is_empty()).collect()
}

/// Dates of save files are not compared.
fn without_dates(answer: &str) -> String {
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(comment) => format!("# {}\n", comment.split(" on ").next().unwrap_or("")),
        None => format!("{line}\n"),
    };
    answer.lines().map(line).collect()
}

#[test]
fn the_real_programs_words() {
    let test = "the_real_programs_words";
    let Some(real) = ["/usr/sbin/xtables-legacy-multi", "/sbin/xtables-legacy-multi"]
        .iter()
        .find(|path| Path::new(path).exists())
    else {
        return fielato_testkit::skip(test, "no xtables-legacy-multi here");
    };
    if !fielato_testkit::root(test) {
        return;
    }
    let rules = folder();
    let theirs = transcript(Path::new(real), true, &rules.path().join("unused"));
    let ours = transcript(Path::new(FIELATO), false, &rules.path().join("rules"));
    let commands = COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(commands.clone().count(), theirs.len());
    let differing = commands.zip(theirs).zip(ours).filter(|((_, theirs), ours)| ours != theirs);
    let differing = differing.map(|((command, theirs), ours)| format!("{command}\nours: {ours}\ntheirs: {theirs}"));
    assert_eq!(differing.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn by_word_by_name_and_by_multi_name() {
    let folder = folder();
    let rules = folder.path().join("rules");
    let names = named(Path::new(FIELATO));
    let multi = names.path().join("xtables-legacy-multi");
    std::os::unix::fs::symlink(FIELATO, &multi).expect("a link");
    out(&ours(&rules, &["iptables", "-A", "INPUT", "-s", "10.0.0.1", "-j", "ACCEPT"]));
    let mut by_name = Command::new(names.path().join("iptables"));
    let by_name = by_name
        .args(["-A", "INPUT", "-s", "10.0.0.2", "-j", "DROP"])
        .env("FIELATO_RULESET", &rules);
    out(&by_name.output().expect("a program"));
    let mut by_multi = Command::new(multi);
    let listed = by_multi.args(["iptables", "-S", "INPUT"]).env("FIELATO_RULESET", &rules);
    let listed = out(&listed.output().expect("a program"));
    assert_eq!(
        listed,
        "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.1/32 -j ACCEPT\n-A INPUT -s 10.0.0.2/32 -j DROP\n"
    );
    assert_eq!(out(&ours(&rules, &["ip6tables", "-S", "INPUT"])), "-P INPUT ACCEPT\n");
    // Behind the options of fielato itself.
    let listed_again = ours(&rules, &["--root", "/nonexistent", "iptables", "-S", "INPUT"]);
    assert_eq!(out(&listed_again), listed);
}

#[test]
fn save_files_go_round() {
    let folder = folder();
    let (rules, file) = (folder.path().join("rules"), folder.path().join("saved"));
    let text = "*filter\n:INPUT DROP [5:6]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:a - [0:0]\n\
                [1:2] -A INPUT -i lo -j a\n[3:4] -A a -s 192.168.4.0/24 ! -o wg0 -j ACCEPT\nCOMMIT\n";
    std::fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    out(&ours(&rules, &["iptables-restore", "-c", &file]));
    let saved = out(&ours(&rules, &["iptables-save", "-c", "-t", "filter"]));
    let lines: String = saved
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(lines, text);
    assert!(saved.starts_with("# Generated by iptables-save v1.8.9 on "));
    // A bad file changes nothing.
    std::fs::write(&file, text.replace("-j ACCEPT", "-j NOWHERE")).expect("a file");
    let refused = ours(&rules, &["iptables-restore", &file]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        out(&ours(&rules, &["iptables-save", "-c", "-t", "filter"])).lines().nth(1),
        saved.lines().nth(1)
    );
    assert!(out(&ours(&rules, &["iptables", "-S", "a"])).contains("-j ACCEPT"));
}

#[test]
fn writers_wait_for_one_another() {
    let folder = folder();
    let rules = folder.path().join("rules");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let rules = &rules;
            scope.spawn(move || {
                for number in 0..5 {
                    let source = format!("10.0.{writer}.{number}");
                    out(&ours(rules, &["iptables", "-w", "-A", "INPUT", "-s", &source]));
                }
            });
        }
    });
    assert_eq!(out(&ours(&rules, &["iptables", "-S", "INPUT"])).lines().count(), 21);
}

#[test]
fn a_held_lock_is_waited_for_no_longer_than_said() {
    let folder = folder();
    let rules = folder.path().join("rules");
    let lock = std::fs::File::create(folder.path().join("rules.lock")).expect("a file");
    lock.lock().expect("a lock");
    let output = ours(&rules, &["iptables", "-w", "1", "-L"]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("Another app is currently holding the xtables lock. Stopped waiting after 1s."),
        "{said}"
    );
}

#[test]
fn each_namespace_has_its_own_rules() {
    let test = "each_namespace_has_its_own_rules";
    if !fielato_testkit::root(test) {
        return;
    }
    let root = folder();
    let script =
        format!("{FIELATO} iptables -P INPUT DROP && {FIELATO} iptables -S INPUT && unshare -n {FIELATO} iptables -S INPUT");
    let mut shell = Command::new("unshare");
    let shell = shell
        .args(["-n", "sh", "-c", &script])
        .env("FIELATO_ROOT", root.path())
        .env_remove("FIELATO_RULESET");
    assert_eq!(out(&shell.output().expect("a shell")), "-P INPUT DROP\n-P INPUT ACCEPT\n");
}

/// Answers requests on one connection until it ends.
fn answer(mut stream: UnixStream, engine: &mut Memory) {
    let registry = Registry::builtin();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length) = stream.read(&mut chunk) {
        if length == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..length]);
        while let Some((request, length)) = Request::decode(&bytes).expect("a request") {
            bytes.drain(..length);
            let response = serve(&request, engine, &registry, &BuiltinNames);
            stream.write_all(response.encode().as_bytes()).expect("a peer");
        }
    }
}

#[test]
fn a_running_engine_is_asked() {
    let folder = folder();
    let socket = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let engine = std::thread::spawn(move || {
        let mut engine = Memory::default();
        for stream in listener.incoming().take(5) {
            answer(stream.expect("a connection"), &mut engine);
        }
        engine
    });
    let ask = |words: &[&str]| {
        let mut command = Command::new(FIELATO);
        command
            .args(words)
            .env("FIELATO_ENGINE", &socket)
            .output()
            .expect("fielato runs")
    };
    out(&ask(&["ip6tables", "-N", "z"]));
    out(&ask(&["ip6tables", "-A", "z", "-s", "2001:db8::/32", "-j", "DROP"]));
    assert_eq!(out(&ask(&["ip6tables", "-S", "z"])), "-N z\n-A z -s 2001:db8::/32 -j DROP\n");
    assert!(out(&ask(&["ip6tables-save"])).contains(":z - [0:0]\n"));
    let looping = ask(&["ip6tables", "-X", "z"]);
    assert_eq!(
        (looping.status.code(), &*String::from_utf8_lossy(&looping.stderr)),
        (Some(1), "ip6tables: Directory not empty.\n")
    );
    let engine = engine.join().expect("the engine's thread");
    assert_eq!(engine.v6.table("filter").map(|table| table.chains.len()), Some(4));
    // Nobody there.
    let alone = ask(&["iptables", "-L"]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("can't talk with the engine"));
}
