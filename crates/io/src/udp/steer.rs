//! Which socket of a `SO_REUSEPORT` group gets a datagram (`man 7 socket`, kernel file net/core/sock_reuseport.c).
//!
//! A classic BPF program reads the message's type and receiver index, of which the low byte is the worker. It needs no
//! privilege. Its data begins at the UDP payload, and a load from beyond the end makes it return 0.
//!
//! It decides for a whole batch that the system coalesced, by the first datagram: a worker may find a datagram of
//! another's behind its own, though never one with another TOS (kernel file net/ipv4/af_inet.c, `inet_gro_receive`).
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Types of messages, in their first byte (kernel file drivers/net/wireguard/messages.h).
const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;

/// Where the receiver index is: behind the sender index in a response, first in other messages. Little-endian, so this
/// is its low byte.
const INDEX_IN_RESPONSE: u32 = 8;
const INDEX: u32 = 4;

/// A worker's number is a byte.
pub(super) const WORKERS_MAX: usize = 256;

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_NOT_BELOW: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN_LOADED: u32 = libc::BPF_RET | libc::BPF_A;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Initiations to the socket behind the workers', other messages to their worker's, the rest to the first.
fn program(workers: u32) -> [libc::sock_filter; 10] {
    let operation = |code: u32, k: u32| jump(code, k, 0, 0);
    [
        operation(LOAD_BYTE, 0),
        jump(JUMP_EQUAL, INITIATION, 7, 0),
        jump(JUMP_EQUAL, RESPONSE, 2, 0),
        operation(LOAD_BYTE, INDEX),
        jump(JUMP_NOT_BELOW, workers, 3, 2),
        operation(LOAD_BYTE, INDEX_IN_RESPONSE),
        jump(JUMP_NOT_BELOW, workers, 1, 0),
        operation(RETURN_LOADED, 0),
        operation(RETURN, 0),
        operation(RETURN, workers),
    ]
}

/// `then` and `or` count the operations to skip.
fn jump(code: u32, k: u32, then: u8, or: u8) -> libc::sock_filter {
    libc::sock_filter {
        // Every code is below 256.
        code: code as u16,
        jt: then,
        jf: or,
        k,
    }
}

/// Steers what comes to the group of `socket`. A group begins when its second socket is bound.
pub(super) fn attach(socket: &Socket, workers: usize) -> io::Result<()> {
    let workers = u32::try_from(workers).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut operations = program(workers);
    let program = libc::sock_fprog {
        len: operations.len() as u16,
        filter: operations.as_mut_ptr(),
    };
    let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: the kernel copies `len` operations from `filter`; both live through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
