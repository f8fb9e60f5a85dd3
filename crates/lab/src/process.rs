//! The processes in a machine, found by the namespace they are in: a program that went to the background by itself is found too.

use std::collections::BTreeMap;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fielato_kernel::netns::Netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long the kernel may take to end one.
const KILL_PATIENCE: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(5);

/// Which network namespace: what `/run/netns/NAME` and `/proc/PID/ns/net` have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    pub(crate) fn of(namespace: &Netns) -> Result<Self> {
        let stat = fstat(namespace).with_context(|| format!("cannot look at network namespace {}", namespace.name()))?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Processes other than this one in a network namespace: identifier and command line.
pub(crate) fn processes_in(namespace: NamespaceId) -> Result<BTreeMap<i32, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if id.cast_unsigned() != std::process::id() && is_in(id, namespace) {
            found.insert(id, command_line(id));
        }
    }
    Ok(found)
}

/// Ends all processes in a network namespace: asks first, then insists.
///
/// # Errors
/// When some are still there after that.
pub(crate) fn end_all(namespace: NamespaceId) -> Result<()> {
    for (signal, patience) in [(Signal::TERM, PATIENCE), (Signal::KILL, KILL_PATIENCE)] {
        let end = Instant::now() + patience;
        let mut asked = BTreeMap::new();
        loop {
            let left = processes_in(namespace)?;
            if left.is_empty() {
                return Ok(());
            }
            // A process may start others while it ends.
            for &id in left.keys() {
                if let std::collections::btree_map::Entry::Vacant(entry) = asked.entry(id)
                    && let Some(process) = hold(id, namespace)
                {
                    // It may have ended by itself in between.
                    let _ = pidfd_send_signal(&process, signal);
                    entry.insert(process);
                }
            }
            if Instant::now() >= end {
                break;
            }
            std::thread::sleep(POLL);
        }
    }
    let left: Vec<String> = processes_in(namespace)?
        .iter()
        .map(|(id, command)| format!("{id} ({command})"))
        .collect();
    if left.is_empty() {
        Ok(())
    } else {
        bail!("these processes did not end: {}", left.join(", "))
    }
}

/// Kills a process in a network namespace, and waits until the kernel has taken it apart.
///
/// # Errors
/// When there is no such process, or it does not end.
pub(crate) fn kill(id: i32, namespace: NamespaceId) -> Result<()> {
    let process = hold(id, namespace).with_context(|| format!("there is no process {id}"))?;
    pidfd_send_signal(&process, Signal::KILL).with_context(|| format!("cannot kill process {id}"))?;
    // pidfd_open(2): readable once the process has ended with all its threads, whether or not its parent has asked for it.
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let patience = Timespec::try_from(KILL_PATIENCE).context("too long a time")?;
    if poll(&mut ended, Some(&patience))? == 0 {
        bail!(
            "process {id} did not end in {} s after it was killed",
            KILL_PATIENCE.as_secs()
        );
    }
    Ok(())
}

/// A descriptor that stands for this very process, whoever gets its identifier later.
fn hold(id: i32, namespace: NamespaceId) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok()?;
    is_in(id, namespace).then_some(process)
}

fn is_in(id: i32, namespace: NamespaceId) -> bool {
    // One that has just ended has none.
    fs::metadata(format!("/proc/{id}/ns/net")).is_ok_and(|its| {
        NamespaceId {
            device: its.st_dev(),
            inode: its.st_ino(),
        } == namespace
    })
}

fn command_line(id: i32) -> String {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ")
}
