//! Compiles BPF programs with clang: a part of the build scripts of the crates that load them. The objects land in `OUT_DIR` and
//! are embedded with `include_bytes_aligned!`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// Compiles `bpf/NAME.bpf.c` for each name, of which only the last part is the object's.
pub fn compile_all(names: &[&str]) -> ExitCode {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-changed={}", sources.join("prefixes.h").display());
    for name in names {
        let source = sources.join(format!("{name}.bpf.c"));
        println!("cargo::rerun-if-changed={}", source.display());
        if let Err(message) = compile(&source, &out) {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compile(source: &Path, out: &Path) -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let name = source.file_stem().expect("a file name").to_string_lossy();
    let object = out.join(format!("{name}.o"));
    let mut command = Command::new(&clang);
    // v3: 32-bit arithmetic and jumps, in kernels since 5.1. -g: the BTF that describes the maps.
    command.args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"]);
    command.arg("-Wno-unused-parameter");
    // For the bpf target clang does not search Debian's per-architecture directory, where asm/types.h is.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target's architecture");
    let include = format!("/usr/include/{arch}-linux-gnu");
    if fs::exists(&include).unwrap_or(false) {
        command.arg("-I").arg(include);
    }
    command.arg("-c").arg(source).arg("-o").arg(object);

    let output = command.output().map_err(|error| {
        format!(
            "cannot run `{clang}` to build {}: {error}\n\
             install clang and libbpf's headers (Debian: apt install clang libbpf-dev), or name another clang in CLANG",
            source.display()
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let hint = if said.contains("file not found") {
        "\na header is missing (Debian: apt install libbpf-dev linux-libc-dev)"
    } else {
        ""
    };
    Err(format!("{clang} could not build {}:\n{said}{hint}", source.display()))
}
