//! The shell scripts of `iptables/tests/shell`, each in a fresh namespace with our programs first on PATH.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Shim, real_is_here};

/// A script ends within this, or it is ended.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs all scripts; tells whether we pass all that the real program passes.
pub fn run(suite: &Path) -> bool {
    if !real_is_here() {
        println!("conformance: the shell scripts need root and xtables-legacy-multi: not run");
        return true;
    }
    let folder = suite.join("iptables/tests/shell/testcases");
    let shim = Shim::new();
    let (mut total, mut ours, mut theirs, mut open) = (0, 0, 0, Vec::new());
    for script in scripts(&folder) {
        let Some(wanted) = exit_code(&script) else { continue };
        let name = script.strip_prefix(&folder).unwrap_or(&script).display().to_string();
        let root = tempfile::tempdir().expect("a temporary folder");
        // The scripts run ours as root and as nobody.
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        std::fs::set_permissions(shim.0.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let we = {
            let mut command = timed(&script);
            command
                .env("XT_MULTI", shim.program("xtables-legacy-multi"))
                .env("PATH", shim.path())
                .env("FIELATO_ROOT", root.path());
            command
        };
        let mut they = timed(&script);
        they.env("XT_MULTI", "xtables-legacy-multi");
        let (we, they) = (code(we), code(they));
        let (passed, real) = (we == Some(wanted), they == Some(wanted));
        total += 1;
        ours += usize::from(passed);
        theirs += usize::from(real);
        if !passed {
            let excuse = if real { "" } else { " (so does iptables-legacy here)" };
            println!("  {name}: expected {wanted}, got {we:?}{excuse}");
            if real {
                open.push(name);
            }
        }
    }
    println!("conformance: {ours} of {total} shell scripts pass; iptables-legacy passes {theirs}");
    println!(
        "conformance: {} scripts missed that it passes: {}",
        open.len(),
        open.join(" ")
    );
    open.is_empty()
}

fn timed(script: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg(LIMIT.as_secs().to_string()).args(["unshare", "-n"]).arg(script);
    command
}

fn code(mut command: Command) -> Option<i32> {
    command.output().ok()?.status.code()
}

/// `NAME_CODE`
fn exit_code(script: &Path) -> Option<i32> {
    script.file_name()?.to_str()?.rsplit_once('_')?.1.parse().ok()
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if metadata.permissions().mode() & 0o111 != 0 => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
