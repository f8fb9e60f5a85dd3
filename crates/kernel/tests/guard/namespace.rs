//! Network namespaces that live as long as a test's thread, and the devices in them.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::packet;

thread_local! {
    /// The second namespace of the test on this thread.
    static SECOND: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// True, after a word on stderr, when this isn't root.
pub fn needs_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        fielato_testkit::skip(test, "needs root, for BPF and namespaces");
    }
    !root
}

/// Runs a test on a thread with network and mount namespaces of its own; they and all in them end with the thread.
pub fn in_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let second = thread::spawn(fresh).join().unwrap();
            SECOND.set(Some(second));
            drop(fresh());
            // What is mounted here stays here.
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            ip(&["link", "set", "lo", "up"]);
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Puts this thread into fresh namespaces, of which the network one is given back.
fn fresh() -> File {
    // SAFETY: it changes the calling thread only, which shares no file system state with others that depends on it.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
    File::open("/proc/thread-self/ns/net").unwrap()
}

/// The path of the second namespace, for `ip link add … netns`.
pub fn second() -> String {
    let fd = SECOND.with_borrow(|second| second.as_ref().unwrap().as_raw_fd());
    format!("/proc/{}/fd/{fd}", std::process::id())
}

/// Runs something in the second namespace.
pub fn in_second(work: impl FnOnce() + Send) {
    let second = SECOND.with_borrow(|second| second.as_ref().unwrap().try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            rustix::thread::move_into_link_name_space(second.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work();
        });
    });
}

/// Runs `ip`, which has to succeed.
pub fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Whether `count` pings from the second namespace are all answered.
pub fn ping(to: &str, count: u32, size: u32) -> bool {
    let mut answered = false;
    in_second(|| {
        let (count, size) = (count.to_string(), size.to_string());
        let status = Command::new("ping")
            .args(["-n", "-q", "-i", "0.01", "-W", "1", "-c", &count, "-s", &size, to])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        answered = status.success();
    });
    answered
}

/// The index of an interface of this thread's namespace.
pub fn index(name: &str) -> u32 {
    let text = ip(&["-o", "link", "show", name]);
    text.split(':').next().unwrap().parse().unwrap()
}

/// A TUN device that is up, with the address 192.0.2.200.
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Makes it.
    pub fn tun(name: &str) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .unwrap();
        // SAFETY: all-zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        // SAFETY: TUNSETIFF reads and writes an ifreq, which lives through the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert_eq!(result, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
        ip(&["addr", "add", "192.0.2.200/24", "dev", name]);
        ip(&["link", "set", name, "up"]);
        Self { file, name: name.into() }
    }

    /// The interface's index.
    pub fn index(&self) -> u32 {
        index(&self.name)
    }

    /// Gives a packet to the kernel as received; the write returns after the stack has seen it.
    pub fn write(&mut self, packet: &[u8]) {
        self.file.write_all(packet).unwrap();
    }

    /// Whether a ping from a source of 192.0.2.0/24 is answered.
    pub fn passes(&mut self, source: &str) -> bool {
        let source: Ipv4Addr = source.parse().unwrap();
        self.write(&packet::echo(source));
        let mut answer = [0; 2_048];
        loop {
            match self.file.read(&mut answer) {
                // Protocol 1, type 0: an echo reply; other packets (neighbour discovery) are the kernel's own.
                Ok(length) if length >= 28 && answer[9] == 1 && answer[20] == 0 && answer[16..20] == source.octets() => {
                    return true;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("reading the TUN: {error}"),
            }
        }
    }
}

/// A bpffs, mounted for this thread only.
pub struct Bpffs(PathBuf);

impl Bpffs {
    /// Mounts it.
    pub fn mount() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fielato-bpffs-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        rustix::mount::mount("bpf", &path, "bpf", MountFlags::empty(), None).unwrap();
        Self(path)
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
