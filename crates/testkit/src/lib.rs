//! What tests and benchmarks share: skipping with a reason, unique names, programs, clean-up. Used as a development dependency only.
//!
//! Cargo hides the output of tests that pass and counts a test that returned early as passed. So a test that cannot
//! run here says so with [`skip`], which also writes to the file named in `FIELATO_SKIPPED`; `tools/test.sh` sets
//! that, and moves those tests from "passed" to "skipped" in its closing line.
//!
//! ```
//! fn forwards_between_namespaces() {
//!     if !fielato_testkit::can_run("forwards_between_namespaces", &["nft"]) {
//!         return;
//!     }
//!     let namespace = fielato_testkit::unique("fwd");
//!     let _cleanup = fielato_testkit::Cleanup::new(move || drop(namespace));
//! }
//! # forwards_between_namespaces();
//! ```

pub mod bench;
mod disk;
pub mod suite;

pub use disk::small_disk;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Name of the environment variable that names the file of skipped tests.
pub const SKIPPED: &str = "FIELATO_SKIPPED";

/// Notes that a test did not run, and why. The test returns after this.
///
/// One line per test: `skipped: TEST: REASON`, on standard error and appended to the file named in [`SKIPPED`].
///
/// # Panics
/// When that file cannot be written: a skipped test must not be counted as passed.
pub fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {}\n", reason.replace('\n', " "));
    eprint!("{line}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        append(Path::new(&path), &line).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// One write of one line in append mode, so that tests of several processes don't mix their lines.
fn append(path: &Path, line: &str) -> io::Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(line.as_bytes())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // The owner of /proc/self is the process's effective user (man 5 proc).
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether `test` may go on because it runs as root; notes it as skipped otherwise.
pub fn root(test: &str) -> bool {
    let root = is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Whether `test` may go on because `program` is on `PATH`; notes it as skipped otherwise.
pub fn need(test: &str, program: &str) -> bool {
    let found = on_path(program);
    if !found {
        skip(test, &format!("needs the program {program}"));
    }
    found
}

/// Whether `test` may go on: as root, and with these programs on `PATH`; notes it as skipped otherwise.
pub fn can_run(test: &str, programs: &[&str]) -> bool {
    root(test) && programs.iter().all(|program| need(test, program))
}

fn on_path(program: &str) -> bool {
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| executable(&folder.join(program))))
}

/// Whether the kernel has WireGuard itself, so that `fielato up --engine kernel` takes it.
#[must_use]
pub fn is_kernel_wireguard() -> bool {
    let probe = "ip link add probe type wireguard";
    run("unshare", &["-n", "sh", "-c", probe], "").status.success()
}

/// Runs a program to its end with this text as its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that refuses what it has read may close its input before the rest is written; its message tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// A name that no other test of this run has: `prefix`, the process's number, a counter.
/// Short enough for an interface (15 bytes) when `prefix` has 5 bytes or fewer.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Linux gives process numbers up to 4,194,304: seven digits.
    format!(
        "{prefix}{}{:03}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed) % 1000
    )
}

/// Runs what it was given when it is dropped, on a panic too; the last given runs first.
#[derive(Default)]
#[must_use = "a guard that is not kept cleans up at once"]
pub struct Cleanup {
    actions: Vec<Box<dyn FnOnce()>>,
}

impl Cleanup {
    /// A guard that runs `action`.
    pub fn new(action: impl FnOnce() + 'static) -> Self {
        let mut cleanup = Self::default();
        cleanup.add(action);
        cleanup
    }

    /// Also runs `action`, before those given so far.
    pub fn add(&mut self, action: impl FnOnce() + 'static) {
        self.actions.push(Box::new(action));
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        while let Some(action) = self.actions.pop() {
            action();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn unique_names_differ_and_fit_an_interface() {
        let (first, second) = (unique("abcde"), unique("abcde"));
        assert_ne!(first, second);
        assert!(first.len() <= 15, "{first}");
    }

    #[test]
    fn cleanup_runs_last_first_and_on_a_panic() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let (one, two) = (Rc::clone(&seen), Rc::clone(&seen));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut cleanup = Cleanup::new(move || one.borrow_mut().push(1));
            cleanup.add(move || two.borrow_mut().push(2));
            std::panic::resume_unwind(Box::new("the test failed"));
        }));
        assert!(result.is_err());
        assert_eq!(*seen.borrow(), [2, 1]);
    }

    #[test]
    fn programs_are_found_on_the_path_only() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-fielato"));
    }

    #[test]
    fn programs_read_and_answer() {
        let output = run("sh", &["-c", "cat; exit 3"], "text");
        assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"text"[..]));
        assert!(run("true", &[], &"x".repeat(1 << 20)).status.success());
    }

    #[test]
    fn lines_are_appended() {
        let path = std::env::temp_dir().join(unique("fielato-testkit"));
        let removed = path.clone();
        let _cleanup = Cleanup::new(move || drop(std::fs::remove_file(removed)));
        append(&path, "skipped: first: needs root\n").unwrap();
        append(&path, "skipped: second: needs root\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "skipped: first: needs root\nskipped: second: needs root\n"
        );
    }
}
