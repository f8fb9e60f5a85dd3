//! A network namespace with the [`crate::network`] in it, without a name: it ends with this value, and with the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::nfnetlink::Nfnetlink;
use super::sys;
use crate::error::Error;
use crate::network;
use crate::subject::Setup;

/// The group under which delivered packets are logged.
const LOG_GROUP: u16 = 5;

/// Conntrack is lazy per namespace: it works once a rule needs it. This rule does, and stays.
const TRACKING: &str = "table inet oracle { chain hold { type filter hook output priority 2147483647; ct state new accept; }; }";
/// Behind everything else in INPUT, behind the confirmation of new connections too, which has the last priority
/// (`NF_IP_PRI_CONNTRACK_CONFIRM`). Of equal ones the later registered comes first (`nf_hook_entries_grow`), so this has to be
/// there before tracking is. What comes here would be given to a socket. It is shown to us
/// and dropped, so that the kernel's own stack never answers.
const DELIVERY: &str = "table inet oracle { chain delivery { type filter hook input priority 2147483647; log group 5; drop; }; }";
/// Before everything else in OUTPUT: what the kernel says unasked about its neighbourhood (multicast listener reports, router
/// and neighbour discovery), which rules must not count.
const QUIET: &str = "table inet oracle { chain quiet { type filter hook output priority -2147483648; \
    icmpv6 type 130-137 drop; icmpv6 type 143 drop; }; }";

/// What is opened inside the namespace and works from anywhere.
pub(super) struct Opened {
    pub(super) tuns: [OwnedFd; 2],
    pub(super) raw_v4: OwnedFd,
    pub(super) raw_v6: OwnedFd,
    pub(super) log: Nfnetlink,
    pub(super) tracking: Nfnetlink,
    settings: Option<[File; 3]>,
}

/// A command to be run inside: program, arguments, standard input, and where its output goes.
struct Job {
    program: &'static str,
    arguments: &'static [&'static str],
    input: String,
    answer: Sender<Result<String, Error>>,
}

/// The namespace, and a thread that lives in it to start programs there.
pub(super) struct Namespace {
    pub(super) opened: Opened,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes one; with `tracking`, connections are tracked in it.
    pub(super) fn create(tracking: bool) -> Result<Self, Error> {
        let (jobs, inbox) = channel::<Job>();
        let (ready, opened) = channel();
        let thread = thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || live(tracking, &ready, &inbox))
            .map_err(Error::system("start a thread"))?;
        let opened = opened.recv().unwrap_or_else(|_| {
            Err(Error::Reply {
                what: "the namespace",
                why: "its thread is gone".to_owned(),
            })
        })?;
        Ok(Self {
            opened,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs a program inside and returns what it printed.
    pub(super) fn run(&self, program: &'static str, arguments: &'static [&'static str], input: String) -> Result<String, Error> {
        let (answer, output) = channel();
        let job = Job {
            program,
            arguments,
            input,
            answer,
        };
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_ok()
            && let Ok(result) = output.recv()
        {
            return result;
        }
        Err(Error::Program {
            program: program.to_owned(),
            output: "the namespace's thread is gone".to_owned(),
        })
    }

    /// Sets what differs between cases.
    pub(super) fn set(&self, setup: &Setup) -> Result<(), Error> {
        let Some(files) = &self.opened.settings else {
            return Ok(());
        };
        let values = [setup.tcp_loose, setup.tcp_liberal, setup.checksum];
        for (file, value) in files.iter().zip(values) {
            file.write_all_at(if value { b"1\n" } else { b"0\n" }, 0)
                .map_err(Error::system("write a setting of conntrack"))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panicked, which was reported where it was asked for something.
            let _ = thread.join();
        }
    }
}

fn live(tracking: bool, ready: &Sender<Result<Opened, Error>>, inbox: &Receiver<Job>) {
    if ready.send(prepare(tracking)).is_err() {
        return;
    }
    while let Ok(job) = inbox.recv() {
        // Whoever asked may have gone.
        let _ = job.answer.send(run(job.program, job.arguments, &job.input));
    }
}

fn prepare(tracking: bool) -> Result<Opened, Error> {
    sys::leave_namespace().map_err(Error::system("make a network namespace (this needs root)"))?;
    let tun = |name| sys::tun(name).map_err(Error::system(format!("make {name}")));
    let tuns = [tun("tun0")?, tun("tun1")?];
    for (name, value) in network::SETTINGS {
        // Conntrack's settings are there once the module is; without tracking they don't matter.
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).map_err(Error::system(format!("write {path}")))?;
    }
    run("ip", &["-batch", "-"], network::COMMANDS)?;
    run("nft", &["-f", "-"], DELIVERY)?;
    run("nft", &["-f", "-"], QUIET)?;
    let mut settings = None;
    if tracking {
        run("nft", &["-f", "-"], TRACKING)?;
        let open = |name: &str| {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(Error::system(format!("open {path}")))
        };
        settings = Some([open("tcp_loose")?, open("tcp_be_liberal")?, open("checksum")?]);
    }
    let mut log = Nfnetlink::open()?;
    log.bind_log(LOG_GROUP)?;
    Ok(Opened {
        tuns,
        raw_v4: raw(AddressFamily::INET)?,
        raw_v6: raw(AddressFamily::INET6)?,
        log,
        tracking: Nfnetlink::open()?,
        settings,
    })
}

/// A socket whose packets bring their own IP header (man 7 raw: `IPPROTO_RAW` implies it).
fn raw(family: AddressFamily) -> Result<OwnedFd, Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol: Option<Protocol> = Some(ipproto::RAW);
    socket_with(family, SocketType::RAW, flags, protocol).map_err(Error::system("open a raw socket"))
}

fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let failed = |error: io::Error| Error::Program {
        program: program.to_owned(),
        output: error.to_string(),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that refuses the first lines may close its input before the last are written; its message tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Program {
        program: program.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
