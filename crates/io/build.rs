//! Compiles the BPF program that steers packets to the TUN queues; and the shim over Intel's Multi-Buffer Crypto library, where
//! its header is installed, which it says with `cfg(ipsec_mb)`.
//!
//! That library itself is opened at run time and never linked (`src/aead/ipsec_mb.rs`): the header is needed for the layout of
//! its structures only.

use std::env;
use std::process::ExitCode;

#[path = "../../bpf/compile.rs"]
mod compile;

const SHIM: &str = "shim/ipsec_mb.c";
const HEADER: &str = "/usr/include/intel-ipsec-mb.h";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    compile_shim();
    compile::compile_all(&["steer"])
}

fn compile_shim() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-env-changed=CPATH");
    // A file that does not exist would be taken as changed at every build.
    if std::fs::exists(HEADER).unwrap_or(false) {
        println!("cargo::rerun-if-changed={HEADER}");
    }
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("ARCH") != "x86_64" || target("OS") != "linux" || target("POINTER_WIDTH") != "64" {
        return;
    }

    let mut shim = cc::Build::new();
    shim.file(SHIM).opt_level(2).extra_warnings(true);
    // Preprocessing alone fails for one reason: there is no header (or no compiler, which the linker will say as well).
    if shim.clone().cargo_warnings(false).try_expand().is_err() {
        println!(
            "cargo::warning=intel-ipsec-mb.h is missing: built without Intel's AVX-512 cipher, ring's is used \
             (Debian: apt install libipsec-mb-dev, then cargo clean -p fielato-io)"
        );
        return;
    }
    shim.compile("fielato_ipsec_mb");
    println!("cargo::rustc-cfg=ipsec_mb");
}
