//! Holds the two taps for one script: what is written into one is received by the engine, what the engine sends out of one can be
//! read from it.

mod backend;
pub mod client;
mod control;
mod kernel;
mod tap;
mod userspace;

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use backend::Backend;
use tap::Tap;

use crate::frame::Frame;

/// Names of the taps.
pub const TAPS: [&str; 2] = ["tap0", "tap1"];
/// What stands before the host part of the addresses on them, for each family. The machine between them is 1.
const NETS: [(&str, &str); 2] = [("10.0.0", "fd00:a0"), ("10.0.1", "fd00:a1")];
/// The environment variable that names the control socket.
pub const SOCKET: &str = "TAPD";
/// The same for fielato's iptables, when the rules are in here.
const ENGINE_SOCKET: &str = "FIELATO_ENGINE";
/// Exit code when the script took too long.
const TOO_LONG: u8 = 124;

/// `tapd ENGINE FOLDER SECONDS COMMAND…`: the taps and the socket stand in the folder while the command runs; its exit code is
/// given on.
pub fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    let [engine, folder, seconds, program, arguments @ ..] = words else {
        bail!("give ENGINE FOLDER SECONDS COMMAND…, ENGINE being kernel or userspace");
    };
    let seconds = seconds
        .parse()
        .with_context(|| format!("`{seconds}` is no number of seconds"))?;
    let mut backend: Box<dyn Backend> = match engine.as_str() {
        "kernel" => Box::new(kernel::Kernel::new()?),
        "userspace" => Box::new(userspace::Userspace::new()?),
        other => bail!("`{other}` is no engine: give kernel or userspace"),
    };
    let folder = Path::new(folder);
    let mut taps = Vec::new();
    for name in TAPS {
        taps.push(Tap::open(&folder.join(name)).with_context(|| format!("open {name}"))?);
    }
    let socket = folder.join("control");
    let listener = UnixListener::bind(&socket).with_context(|| format!("listen at {}", socket.display()))?;
    listener.set_nonblocking(true)?;

    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("TAPS", folder)
        .env(SOCKET, &socket)
        .process_group(0);
    if engine == "userspace" {
        command.env(ENGINE_SOCKET, &socket);
    }
    for (number, name) in TAPS.iter().enumerate() {
        let (v4, v6) = NETS[number];
        command.env(format!("TAP{number}"), name);
        command.env(format!("TAP{number}NET"), v4).env(format!("TAP{number}NET6"), v6);
    }
    let child = command.spawn().with_context(|| format!("start {program}"))?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let result = serve(&mut *backend, &mut taps, &listener, child, deadline);
    for name in TAPS.iter().chain(&["control"]) {
        fs::remove_file(folder.join(name)).with_context(|| format!("remove {name}"))?;
    }
    result
}

/// Until the child ends.
fn serve(
    backend: &mut dyn Backend,
    taps: &mut [Tap],
    listener: &UnixListener,
    mut child: Child,
    deadline: Instant,
) -> anyhow::Result<ExitCode> {
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).context("watch the script")?;
    loop {
        let timeout = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        let ready = {
            let mut fds = vec![PollFd::new(&ended, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
            for tap in taps.iter() {
                fds.push(PollFd::new(tap, tap.interest()));
            }
            for fd in backend.wakes() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
            poll(&mut fds, Some(&timeout)).context("wait")?;
            fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>()
        };
        let now = Instant::now();
        if ready.get(1) == Some(&true) {
            control::serve(listener, backend, now)?;
            deliver(backend, taps)?;
        }
        for number in 0..taps.len() {
            for frame in taps[number]
                .receive()
                .with_context(|| format!("read from {}", TAPS[number]))?
            {
                match frame {
                    Frame::Packet { packet, .. } => backend.inject(number, &packet, now).context("inject a packet")?,
                    Frame::Fence(bits) => fence(taps, bits),
                }
                deliver(backend, taps)?;
            }
        }
        deliver(backend, taps)?;
        if ready.first() == Some(&true) {
            let status = child.wait().context("wait for the script")?;
            let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        if now >= deadline {
            eprintln!("tapd: the script took too long");
            kill_process_group(pid, Signal::KILL).context("end the script")?;
            child.wait().context("wait for the script")?;
            return Ok(ExitCode::from(TOO_LONG));
        }
    }
}

/// Queues what came out of the engine at the taps.
fn deliver(backend: &mut dyn Backend, taps: &mut [Tap]) -> anyhow::Result<()> {
    for (number, packet) in backend.outputs().context("take what came out")? {
        if let Some(tap) = taps.get_mut(number) {
            tap.send(&Frame::Packet { mac: None, packet });
        }
    }
    for tap in taps {
        tap.flush()?;
    }
    Ok(())
}

fn fence(taps: &mut [Tap], bits: u8) {
    for (number, tap) in taps.iter_mut().enumerate() {
        if bits >> number & 1 != 0 {
            tap.send(&Frame::Fence(bits));
        }
    }
}
