//! A network namespace with two TUNs and a network around them, without a name: it ends with this value, and with the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use fielato_wire::{Headers, number};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, socket_with};

use super::nfnetlink::{Nfnetlink, attributes};
use super::sys;
use crate::error::Error;
use crate::network;
use crate::subject::{Output, Port};

/// The group under which delivered packets are logged.
const LOG_GROUP: u16 = 5;

/// `NFULA_PAYLOAD` (linux/netfilter/nfnetlink_log.h).
const LOG_PAYLOAD: u16 = 9;

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
pub struct Opened {
    /// What is behind [`Blueprint::tuns`], in the same order.
    pub tuns: [OwnedFd; 2],
    /// For IPv4 packets that the machine itself sends, with their headers.
    pub raw_v4: OwnedFd,
    /// The same for IPv6.
    pub raw_v6: OwnedFd,
    /// Hears of delivered packets.
    pub log: Nfnetlink,
    /// Lists connections and rules.
    pub tracking: Nfnetlink,
    settings: Option<[File; 3]>,
    /// What vouches for checksums.
    _seal: Option<OwnedFd>,
}

/// What a namespace is made with.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Names of the two TUNs.
    pub tuns: [String; 2],
    /// Settings under `/proc/sys/net`, written before the interfaces are up.
    pub settings: Vec<(String, String)>,
    /// `ip -batch` lines.
    pub commands: String,
    /// Whether connections are tracked without a rule that asks for it.
    pub tracking: bool,
    /// Whether the checksums of what comes in by the first TUN are vouched for, as WireGuard's receiver does
    /// (`wg_packet_consume_data_done`).
    pub sealed: bool,
}

impl Blueprint {
    /// The [`crate::network`].
    pub fn oracle(tracking: bool) -> Self {
        Self {
            tuns: ["tun0", "tun1"].map(str::to_owned),
            settings: network::SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            commands: network::COMMANDS.to_owned(),
            tracking,
            sealed: false,
        }
    }
}

/// Something to be done inside.
type Job = Box<dyn FnOnce() + Send>;

/// The namespace, and a thread that lives in it to do there what has to be done there.
pub struct Namespace {
    /// Its devices and sockets.
    pub opened: Opened,
    buffer: Vec<u8>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// Without root, or when a part of the blueprint is refused.
    pub fn create(blueprint: Blueprint) -> Result<Self, Error> {
        let (jobs, inbox) = channel::<Job>();
        let (ready, opened) = channel();
        let thread = thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || live(&blueprint, &ready, &inbox))
            .map_err(Error::system("start a thread"))?;
        let opened = opened.recv().unwrap_or_else(|_| {
            Err(Error::Reply {
                what: "the namespace",
                why: "its thread is gone".to_owned(),
            })
        })?;
        Ok(Self {
            opened,
            buffer: vec![0; 65_536],
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Does something inside.
    ///
    /// # Errors
    /// When the namespace's thread is gone, because something that it was to do panicked.
    pub fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (answer, output) = channel();
        // Whoever asked may have gone.
        let job: Job = Box::new(move || drop(answer.send(job())));
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_ok()
            && let Ok(result) = output.recv()
        {
            return Ok(result);
        }
        Err(Error::Reply {
            what: "the namespace",
            why: "its thread is gone".to_owned(),
        })
    }

    /// Runs a program inside and returns what it printed.
    ///
    /// # Errors
    /// With what it wrote, when it fails.
    pub fn run(&self, program: &'static str, arguments: &'static [&'static str], input: String) -> Result<String, Error> {
        self.within(move || run(program, arguments, &input))?
    }

    /// Gives it a packet that arrives at `port`.
    ///
    /// # Errors
    /// When the packet can't be handed over.
    pub fn inject(&self, port: Port, packet: &[u8]) -> Result<(), Error> {
        let opened = &self.opened;
        match port {
            // EINVAL: not even a version of IP that TUN knows.
            Port::Inside | Port::Outside => match rustix::io::write(&opened.tuns[port as usize], packet) {
                Ok(_) | Err(Errno::INVAL) => Ok(()),
                Err(error) => Err(Error::system(format!("write {} bytes to {}", packet.len(), port.name()))(
                    error,
                )),
            },
            Port::Host => {
                let Ok(headers) = Headers::parse(packet) else {
                    return Ok(());
                };
                let (socket, to) = match headers.dst.to_ip(headers.family) {
                    IpAddr::V4(to) => (&opened.raw_v4, SocketAddr::V4(SocketAddrV4::new(to, 0))),
                    IpAddr::V6(to) => (&opened.raw_v6, SocketAddr::V6(SocketAddrV6::new(to, 0, 0, 0))),
                };
                // The call fails with EPERM when a rule drops the packet, and with others when there is no route:
                // either way nothing comes out, which is what is compared.
                let _ = rustix::net::sendto(socket, packet, SendFlags::empty(), &to);
                Ok(())
            }
        }
    }

    /// Everything that came out since the last call, but for what the kernel says unasked.
    ///
    /// # Errors
    /// When a device or the log can't be read.
    pub fn outputs(&mut self) -> Result<Vec<Output>, Error> {
        let mut outputs = Vec::new();
        for (tun, port) in self.opened.tuns.iter().zip([Port::Inside, Port::Outside]) {
            loop {
                match rustix::io::read(tun, &mut self.buffer) {
                    Ok(length) => outputs.push(Output {
                        port,
                        packet: self.buffer[..length].to_vec(),
                    }),
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(Error::system(format!("read {}", port.name()))(error)),
                }
            }
        }
        while let Some(message) = self.opened.log.logged()? {
            if let Some((_, packet)) = attributes(message).find(|(kind, _)| *kind == LOG_PAYLOAD) {
                outputs.push(Output {
                    port: Port::Host,
                    packet: packet.to_vec(),
                });
            }
        }
        outputs.retain(|output| !is_chatter(&output.packet));
        Ok(outputs)
    }

    /// Sets what differs between cases: `nf_conntrack_tcp_loose`, `…_tcp_be_liberal` and `…_checksum`. Nothing without
    /// [`Blueprint::tracking`].
    ///
    /// # Errors
    /// When a setting can't be written.
    pub fn set_tracking(&self, values: [bool; 3]) -> Result<(), Error> {
        let Some(files) = &self.opened.settings else {
            return Ok(());
        };
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

/// Whether the kernel said this unasked: multicast listener reports and neighbour discovery, which no case contains.
pub(super) fn is_chatter(packet: &[u8]) -> bool {
    Headers::parse(packet).is_ok_and(|headers| headers.protocol == number::ICMPV6 && matches!(headers.icmp_type, 130..=137 | 143))
}

fn live(blueprint: &Blueprint, ready: &Sender<Result<Opened, Error>>, inbox: &Receiver<Job>) {
    if ready.send(prepare(blueprint)).is_err() {
        return;
    }
    while let Ok(job) = inbox.recv() {
        job();
    }
}

fn prepare(blueprint: &Blueprint) -> Result<Opened, Error> {
    sys::leave_namespace().map_err(Error::system("make a network namespace (this needs root)"))?;
    let tun = |name: &str| sys::tun(name).map_err(Error::system(format!("make {name}")));
    let [inside, outside] = &blueprint.tuns;
    let tuns = [tun(inside)?, tun(outside)?];
    for (name, value) in &blueprint.settings {
        // Conntrack's settings are there once the module is; without tracking they don't matter.
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).map_err(Error::system(format!("write {path}")))?;
    }
    run("ip", &["-batch", "-"], &blueprint.commands)?;
    run("nft", &["-f", "-"], DELIVERY)?;
    run("nft", &["-f", "-"], QUIET)?;
    let mut settings = None;
    if blueprint.tracking {
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
    let raw_v4 = raw(AddressFamily::INET)?;
    let seal = match blueprint.sealed {
        true => Some(seal(inside, &raw_v4)?),
        false => None,
    };
    let mut log = Nfnetlink::open()?;
    log.bind_log(LOG_GROUP)?;
    Ok(Opened {
        tuns,
        raw_v4,
        raw_v6: raw(AddressFamily::INET6)?,
        log,
        tracking: Nfnetlink::open()?,
        settings,
        _seal: seal,
    })
}

fn seal(device: &str, socket: &OwnedFd) -> Result<OwnedFd, Error> {
    let failed = || format!("vouch for the checksums of {device}");
    let index = rustix::net::netdevice::name_to_index(socket, device).map_err(Error::system(failed()))?;
    sys::vouch_checksums(index).map_err(Error::system(failed()))
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
