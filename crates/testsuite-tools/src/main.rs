//! The tools of the packet test suite (`testsuite/` of the workspace), one program under several names:
//!
//! ```text
//! gen_ip WORD…                         writes the packet that the words say (see fielato_wire::text); DATA is read from standard input
//! rcv_ip SECONDS COUNT [DATA] [TTL]    reads packets and prints gen_ip's words for each; fails when fewer come
//! gen_err SOURCE TYPE CODE             reads a packet and writes the ICMP error about it
//! local_ip                             reads a packet and sends it as this machine
//! fence TAP…                           writes a mark that tapd repeats on these taps when all before it has been judged
//! tapd ENGINE FOLDER SECONDS COMMAND…  runs the command between two taps
//! ```
//!
//! The name is that of the program (`argv[0]`), or the first argument.

mod frame;
mod gen_err;
mod gen_ip;
mod rcv_ip;
mod tapd;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    let mut name = arguments.remove(0);
    if let Some((_, last)) = name.rsplit_once('/') {
        name = last.to_owned();
    }
    if name == "testsuite-tools" && !arguments.is_empty() {
        name = arguments.remove(0);
    }
    run(&name, &arguments).unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::from(2)
    })
}

fn run(name: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    match name {
        "gen_ip" => gen_ip::run(arguments)?,
        "rcv_ip" => return rcv_ip::run(arguments),
        "gen_err" => gen_err::run(arguments)?,
        "local_ip" => tapd::client::local_ip()?,
        "fence" => fence(arguments)?,
        "tapd" => return tapd::run(arguments),
        _ => bail!("no such tool: call it as gen_ip, rcv_ip, gen_err, local_ip, fence or tapd"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes one fence for the named taps.
fn fence(taps: &[String]) -> anyhow::Result<()> {
    let mut bits = 0;
    for name in taps {
        let number = tapd::TAPS.iter().position(|tap| tap == name);
        bits |= 1u8 << number.with_context(|| format!("`{name}` is no tap: give {}", tapd::TAPS.join(" or ")))?;
    }
    frame::write(&mut std::io::stdout().lock(), &frame::Frame::Fence(bits)).context("write the fence")
}
