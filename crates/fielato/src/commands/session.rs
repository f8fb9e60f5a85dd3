//! Who runs the command, over which connection, and who else is logged in.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use fielato_policy::lockout::{Login, Logins, SSH};

/// What sshd tells a login, and its children inherit.
const VARIABLE: &str = "SSH_CONNECTION";
/// What the daemons are called that let people log in.
const DAEMONS: [&str; 2] = ["sshd", "dropbear"];
/// More ancestors than any shell has.
const ANCESTORS: usize = 64;

/// The established TCP connections of this network namespace, in each family (`man 5 proc`).
const CONNECTIONS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// Who is logged in on this machine; `admin` is where who runs the command says that he comes from.
pub fn logins(admin: Option<IpAddr>) -> Logins {
    let own = own();
    // Where a family is switched off there is no such file.
    let texts: Vec<String> = CONNECTIONS.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let sockets = sockets_of_daemons(Path::new("/proc"));
    let listening = texts.iter().flat_map(|text| Login::listening(text, &sockets));
    let known = own.iter().map(|own| own.hub.port()).chain([SSH]);
    let ports: Vec<u16> = known.chain(listening).collect();
    let found: BTreeSet<Login> = texts.iter().flat_map(|text| Login::established(text, &ports)).collect();
    Logins {
        own,
        admin,
        found: found.into_iter().collect(),
    }
}

/// The sockets, by inode, of the processes that let people log in. Only root sees those of others.
fn sockets_of_daemons(proc: &Path) -> BTreeSet<u64> {
    let mut sockets = BTreeSet::new();
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let process = process.path();
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if !DAEMONS.contains(&name.trim_end()) {
            continue;
        }
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        sockets.extend(links.filter_map(|link| {
            link.to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse::<u64>()
                .ok()
        }));
    }
    sockets
}

/// The connection over which somebody is logged in, when this command is run over one. sudo takes the variable away, so that of its
/// ancestors is looked at too.
fn own() -> Option<Login> {
    let said = std::env::var(VARIABLE).ok();
    said.and_then(|text| Login::of_ssh(&text))
        .or_else(|| inherited(Path::new("/proc")))
}

fn inherited(proc: &Path) -> Option<Login> {
    let mut process = std::process::id();
    for _ in 0..ANCESTORS {
        process = parent(proc, process)?;
        let Ok(environment) = fs::read(proc.join(process.to_string()).join("environ")) else {
            continue;
        };
        let mut variables = environment
            .split(|byte| *byte == 0)
            .filter_map(|part| std::str::from_utf8(part).ok());
        let value = variables.find_map(|part| part.strip_prefix(VARIABLE)?.strip_prefix('='));
        if let Some(session) = value.and_then(Login::of_ssh) {
            return Some(session);
        }
    }
    None
}

/// The fourth field of `stat` (man 5 proc), behind the name in brackets, which may hold anything; `None` above the first process.
fn parent(proc: &Path, process: u32) -> Option<u32> {
    let stat = fs::read_to_string(proc.join(process.to_string()).join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let parent: u32 = fields.split_whitespace().nth(1)?.parse().ok()?;
    (parent > 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ancestor_with_a_login() {
        let dir = tempfile::TempDir::new().unwrap();
        let process = |id: u32, parent: u32, environment: &str| {
            let path = dir.path().join(id.to_string());
            fs::create_dir(&path).unwrap();
            fs::write(path.join("stat"), format!("{id} (a ) b) S {parent} 1 1 0")).unwrap();
            fs::write(path.join("environ"), environment).unwrap();
        };
        process(std::process::id(), 9_000_001, "");
        process(9_000_001, 9_000_002, "HOME=/root\0");
        process(
            9_000_002,
            9_000_003,
            "A=B\0SSH_CONNECTION=203.0.113.7 5 198.51.100.9 22\0C=D\0",
        );
        process(9_000_003, 0, "");
        let session = inherited(dir.path()).unwrap();
        assert_eq!(session.peer.to_string(), "203.0.113.7");
        fs::write(dir.path().join("9000002/environ"), "SSH_CONNECTION=nonsense\0").unwrap();
        assert_eq!(inherited(dir.path()), None);
    }

    #[test]
    fn sockets_of_those_who_let_people_log_in() {
        let dir = tempfile::TempDir::new().unwrap();
        for (id, name, opened) in [
            ("7", "sshd\n", &["socket:[11]", "/dev/null", "socket:[12]"][..]),
            ("8", "nginx\n", &["socket:[13]"]),
            ("self", "sshd", &[]),
        ] {
            let files = dir.path().join(id).join("fd");
            fs::create_dir_all(&files).unwrap();
            fs::write(dir.path().join(id).join("comm"), name).unwrap();
            for (number, target) in opened.iter().enumerate() {
                std::os::unix::fs::symlink(target, files.join(number.to_string())).unwrap();
            }
        }
        assert_eq!(sockets_of_daemons(dir.path()), [11, 12].into());
    }
}
