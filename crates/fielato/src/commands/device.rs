//! `fielato device IFACE`: our WireGuard device without the hub, for machines whose kernel has none; also as wg-quick starts it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;
use fielato_control::{daemon, logging};
use fielato_io::{Device, Options};

use crate::cli::{self, Cli};

/// wg-quick's variable for the program that makes a device: `man wg-quick` does not tell it, its script does.
const WG_QUICK_VARIABLE: &str = "WG_QUICK_USERSPACE_IMPLEMENTATION";
/// Called by this name, the program has the command line that every WireGuard device in user space has, and no other
/// (<https://www.wireguard.com/xplatform/>).
const LINK: &str = "wireguard-fielato";
/// Set for the process in the background.
const BACKGROUND_VARIABLE: &str = "FIELATO_BACKGROUND_DEVICE";
/// What that process says on its standard output once the device is there.
const READY: &str = "ready";

/// The device that is wanted, if this process was called as wg-quick does: `PROGRAM [-f|--foreground] INTERFACE`.
pub fn by_name() -> Option<cli::Device> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let commands = Cli::command();
    let is_command = |word: &str| word == "help" || commands.get_subcommands().any(|command| command.get_name() == word);
    wanted(&words, std::env::var_os(WG_QUICK_VARIABLE).as_deref(), is_command)
}

fn wanted(words: &[OsString], implementation: Option<&OsStr>, is_command: impl Fn(&str) -> bool) -> Option<cli::Device> {
    let (called, words) = words.split_first()?;
    let called = Path::new(called).file_name()?;
    let words: Vec<&str> = words.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let (background, interface) = match words[..] {
        ["-f" | "--foreground", interface] => (false, interface),
        [interface] => (true, interface),
        _ => return None,
    };
    // The variable may name another program while a person uses this one: what they mistype must not become an interface.
    let ours = implementation.is_some_and(|program| Path::new(program).file_name() == Some(called));
    let is_wanted = called == LINK || (ours && !is_command(interface));
    (is_wanted && !interface.starts_with('-')).then(|| cli::Device {
        interface: interface.to_owned(),
        mtu: cli::DEVICE_MTU,
        background,
        workers: None,
        no_offloads: false,
    })
}

/// Runs until a signal comes or the device is taken away; in the background, until it is ready.
pub fn run(args: &cli::Device) -> Result<ExitCode> {
    match args.background {
        true => background(args),
        false => foreground(args).map(|()| ExitCode::SUCCESS),
    }
}

fn foreground(args: &cli::Device) -> Result<()> {
    logging::init();
    let is_background = std::env::var_os(BACKGROUND_VARIABLE).is_some();
    if is_background {
        // A session of its own, so that it outlives the terminal; and no folder is kept busy.
        rustix::process::setsid().context("cannot leave the session")?;
        std::env::set_current_dir("/")?;
    }
    let options = Options {
        workers: args.workers.map(usize::from),
        offloads: !args.no_offloads,
        ..Options::new(args.mtu)
    };
    let device = Device::create_unconfigured(&args.interface, options)?;
    let (exit, exited) = mpsc::channel();
    device.notify_exit(exit);
    let (ended, end) = std::io::pipe()?;
    std::thread::Builder::new().name("exit".into()).spawn(move || {
        // Either way it is over; hanging up tells.
        let _ = exited.recv();
        drop(end);
    })?;
    if is_background {
        detach()?;
    }
    let socket = fielato_io::socket_path(&args.interface);
    daemon::wait_for_stop(ended.as_fd(), || device.wait(Duration::ZERO).is_none() && socket.exists())?;
    device.stop();
    Ok(())
}

/// Tells the waiting parent, and lets go of what the caller may wait for: a pipe that is held open would keep a reader waiting.
fn detach() -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    let nothing = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    if !logs_to_journal() {
        rustix::stdio::dup2_stderr(&nothing)?;
    }
    Ok(())
}

/// Whether standard error is the journal's own socket, as under `wg-quick@.service` (man 5 systemd.exec, `$JOURNAL_STREAM`).
fn logs_to_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let stat = rustix::fs::fstat(std::io::stderr()).ok();
    stream
        .zip(stat)
        .is_some_and(|(stream, stat)| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// This program again, with the same device; returns when that is ready, or with its failure.
fn background(args: &cli::Device) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.args(["device", "--mtu", &args.mtu.to_string()]);
    if let Some(workers) = args.workers {
        command.args(["--workers", &workers.to_string()]);
    }
    if args.no_offloads {
        command.arg("--no-offloads");
    }
    let mut child = command
        .args(["--", &args.interface])
        .env(BACKGROUND_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process in the background")?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    if line.trim() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    if let Some(signal) = status.signal() {
        bail!("the process in the background was ended by signal {signal}");
    }
    // It has said why on standard error, which is ours too.
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0);
    Ok(ExitCode::from(code.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wg_quick_starts() {
        let table = [
            // Called as, the variable, the interface and whether it goes to the background.
            ("fielato wg0", Some("fielato"), Some(("wg0", true))),
            ("/usr/bin/fielato wg0", Some("fielato"), Some(("wg0", true))),
            ("fielato wg0", Some("/opt/fielato"), Some(("wg0", true))),
            ("fielato -f wg0", Some("fielato"), Some(("wg0", false))),
            ("fielato --foreground wg0", Some("fielato"), Some(("wg0", false))),
            ("fielato wg0", None, None),
            ("fielato wg0", Some("wireguard-go"), None),
            ("fielato status", Some("fielato"), None),
            ("fielato help", Some("fielato"), None),
            ("fielato --help", Some("fielato"), None),
            ("fielato", Some("fielato"), None),
            ("fielato wg0 wg1", Some("fielato"), None),
            ("fielato -x wg0", Some("fielato"), None),
            ("/usr/bin/wireguard-fielato wg0", None, Some(("wg0", true))),
            ("wireguard-fielato -f status", None, Some(("status", false))),
            ("wireguard-fielato --help", None, None),
        ];
        for (line, variable, expected) in table {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = wanted(&words, variable.map(OsStr::new), |word| matches!(word, "status" | "help"));
            let found = found.as_ref().map(|args| (args.interface.as_str(), args.background));
            assert_eq!(found, expected, "{line} with {variable:?}");
        }
    }
}
