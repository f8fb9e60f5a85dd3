//! A disk that is soon full.

use std::path::PathBuf;
use std::process::Command;

const FOLDER: &str = "FIELATO_SMALL_DISK";

/// Runs a test a second time, in a process with mounts of its own, where a folder is a disk of `bytes`. Returns the folder
/// there; none in the first process, whose test returns when the second has passed, or could not be run here.
///
/// `path` is the test's name as the test program lists it, with its modules.
///
/// # Panics
/// When the test fails in the second process.
pub fn small_disk(path: &str, bytes: u64) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let test = path.rsplit("::").next().unwrap_or(path);
    if !crate::can_run(test, &["unshare", "mount"]) {
        return None;
    }
    let folder = std::env::temp_dir().join(crate::unique("fielato-disk"));
    std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let removed = folder.clone();
    let _cleanup = crate::Cleanup::new(move || drop(std::fs::remove_dir(removed)));
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program: {error}"));
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        .arg(r#"mount -t tmpfs -o "size=$1" fielato-test "$2"; shift 2; exec "$@""#)
        .arg("sh")
        .arg(bytes.to_string())
        .arg(&folder)
        .arg(program)
        .args(["--exact", path, "--nocapture"])
        .env(FOLDER, &folder)
        .output()
        .unwrap_or_else(|error| panic!("unshare: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "on the small disk: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    None
}
