//! Compiles the guard, the counting of peers' packets, and the two programs that only its benchmark loads.

use std::process::ExitCode;

#[path = "../../bpf/compile.rs"]
mod compile;

fn main() -> ExitCode {
    compile::compile_all(&["guard", "packets", "bench/talk", "bench/pass"])
}
