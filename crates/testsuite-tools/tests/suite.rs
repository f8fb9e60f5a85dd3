//! The packet test suite, `testsuite/` of the workspace, against each engine.

use std::path::Path;
use std::process::Command;

/// Runs every script against an engine.
fn suite(test: &str, engine: &str) {
    if !fielato_testkit::can_run(test, &["bash", "unshare", "xtables-legacy-multi"]) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testsuite/test.sh");
    let output = Command::new(&script)
        .args(["--engine", engine])
        .env("TESTSUITE_TOOLS", env!("CARGO_BIN_EXE_testsuite-tools"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "the suite failed: {}",
        text.lines().last().unwrap_or_default()
    );
    // A suite that finds no scripts must not pass.
    let ok = text.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(ok >= 60, "only {ok} scripts ran");
}

#[test]
fn scripts_agree_with_the_kernel() {
    suite("scripts_agree_with_the_kernel", "kernel");
}

#[test]
fn scripts_agree_with_the_user_space_engine() {
    suite("scripts_agree_with_the_user_space_engine", "userspace");
}
