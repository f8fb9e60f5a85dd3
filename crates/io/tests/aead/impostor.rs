//! Libraries of the right name that must be refused.
//!
//! A library stays open until the process ends, so each is met in a process of its own: this test, run once more.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use fielato_io::aead::{IpsecMb, VARIABLE, best};

/// Says that this process is the one that meets the library.
const MEETS: &str = "FIELATO_TEST_MEETS_IMPOSTOR";
const TEST: &str = "impostor::are_refused_and_ring_is_used";

/// `CASE` in impostor.c, and words of the reason.
const CASES: [(u8, &str); 7] = [
    (1, "this program was built for"),
    (2, "has no function alloc_mb_mgr"),
    (3, "could not allocate its memory"),
    (4, "did not choose its AVX-512 code"),
    (5, "did not choose its AVX-512 code"),
    (6, "gives wrong results"),
    (7, "gives wrong results"),
];

#[test]
fn are_refused_and_ring_is_used() {
    if env::var_os(MEETS).is_some() {
        // What the parent reads.
        match best() {
            Ok(cipher) => println!("cipher: {}", cipher.name()),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    if let Err(reason) = IpsecMb::new() {
        fielato_testkit::skip(TEST, &reason.to_string());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (case, reason) in CASES {
        build(folder.path(), case);
        let forced = meet(folder.path(), "ipsec-mb");
        assert!(
            forced.contains("refused: FIELATO_CIPHER=ipsec-mb: ") && forced.contains(reason),
            "case {case}: {forced}"
        );
        assert!(meet(folder.path(), "").contains("cipher: ring\n"), "case {case}");
    }
}

/// Puts the library into `folder`, under every major version's name that it could be looked for.
fn build(folder: &Path, case: u8) {
    let library = folder.join("impostor.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aead/impostor.c");
    let status = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", &format!("-DCASE={case}"), source, "-o"])
        .arg(&library)
        .status();
    assert!(status.unwrap().success(), "gcc {source}");
    for major in 1..=9 {
        fs::copy(&library, folder.join(format!("libIPSec_MB.so.{major}"))).unwrap();
    }
}

/// What the process says that meets it.
fn meet(folder: &Path, forced: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env("LD_LIBRARY_PATH", folder)
        .env(MEETS, "1")
        .env(VARIABLE, forced)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
