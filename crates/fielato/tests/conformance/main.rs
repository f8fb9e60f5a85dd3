//! `make conformance`: iptables' own tests, run through our program and through iptables-legacy on this kernel.
//!
//! `FIELATO_SUITE` names the suite. What iptables-legacy itself doesn't pass here is excused, and said so.

mod lines;
mod scripts;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // This same program, in a network namespace of its own, for one file.
    if let [word, file] = &arguments[..]
        && word == "--file"
    {
        lines::run_file(Path::new(file));
        return ExitCode::SUCCESS;
    }
    let Some(suite) = std::env::var_os("FIELATO_SUITE").map(PathBuf::from) else {
        eprintln!("conformance: FIELATO_SUITE names no suite; run tools/conformance.sh");
        return ExitCode::FAILURE;
    };
    let lines = lines::run(&suite);
    let scripts = scripts::run(&suite);
    match lines && scripts {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A folder with our program under all of its names, gone when dropped.
struct Shim(tempfile::TempDir);

impl Shim {
    fn new() -> Shim {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in [
            "xtables-legacy-multi",
            "iptables",
            "iptables-save",
            "iptables-restore",
            "iptables-xml",
            "ip6tables",
            "ip6tables-save",
            "ip6tables-restore",
        ] {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fielato"), folder.path().join(name)).expect("a link");
        }
        Shim(folder)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// PATH with the shim before everything else.
    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.0.path().display())
    }
}

/// Whether the real program can run here: as root, with namespaces.
fn real_is_here() -> bool {
    let tried = Command::new("unshare")
        .args(["-n", "xtables-legacy-multi", "iptables", "-S"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}
