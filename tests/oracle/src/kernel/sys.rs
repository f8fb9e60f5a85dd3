//! The calls that no crate at hand wraps: leaving for a namespace of one's own, making a TUN, reading a table.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a network namespace of its own, which ends with the thread and the descriptors opened in it.
pub(super) fn leave_namespace() -> io::Result<()> {
    // SAFETY: only the network namespace of this thread changes; file descriptors and memory stay shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Makes the TUN `name` in the calling thread's network namespace. Reading it doesn't wait.
pub(super) fn tun(name: &str) -> io::Result<OwnedFd> {
    let fd = rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
        0.. => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `getsockopt` with `value` as what is asked and what is answered. Returns the answer's length.
pub(super) fn socket_option(socket: impl AsFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes at most `length` bytes of `value`, which lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    match result {
        0.. => Ok(length as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `bpf(2)`: attributes in words of 8 bytes, in the host's order.
fn bpf(command: libc::c_long, attributes: &mut [u64]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `attributes`, whose length goes with it, and the programs that they point to, which live through the
    // call; it writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    match i32::try_from(result) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// From now on the checksums of what comes in by `device` are taken for right. It ends with the link that is returned.
///
/// The program is `bpf_csum_level(skb, BPF_CSUM_LEVEL_INC); return TCX_NEXT;` on the way in: a packet without a verdict gets
/// `CHECKSUM_UNNECESSARY`. (TUN passes over `VIRTIO_NET_HDR_F_DATA_VALID`.)
pub(super) fn vouch_checksums(device: u32) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    const LINK_CREATE: libc::c_long = 28;
    const SCHED_CLS: u64 = 3;
    const TCX_INGRESS: u64 = 46;
    // struct bpf_insn: code, registers, offset, immediate.
    const fn instruction(code: u64, registers: u64, immediate: i32) -> u64 {
        code | registers << 8 | (immediate as u32 as u64) << 32
    }
    let program = [
        instruction(0xb7, 2, 1),   // r2 = BPF_CSUM_LEVEL_INC
        instruction(0x85, 0, 135), // call bpf_csum_level
        instruction(0xb7, 0, -1),  // r0 = TCX_NEXT
        instruction(0x95, 0, 0),   // exit
    ];
    let license = c"GPL";
    // union bpf_attr: prog_type, insn_cnt; insns; license; log_level …
    let mut load = [
        SCHED_CLS | (program.len() as u64) << 32,
        program.as_ptr() as u64,
        license.as_ptr() as u64,
        0,
        0,
        0,
    ];
    let loaded = bpf(PROG_LOAD, &mut load)?;
    // link_create: prog_fd, target_ifindex; attach_type, flags.
    let mut link = [loaded.as_raw_fd() as u64 | u64::from(device) << 32, TCX_INGRESS, 0, 0];
    bpf(LINK_CREATE, &mut link)
}
