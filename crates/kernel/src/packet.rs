//! Packets as they pass an interface (man 7 packet): what tcpdump sees, without its library.
//!
//! Incoming packets are seen before netfilter's hooks, outgoing ones behind them. What an XDP program drops is not seen.

#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// Bytes that may wait in the kernel until they are read.
const SOCKET_BUFFER: libc::c_int = 16 * 1024 * 1024;
/// Room for a superpacket with its link header.
const PACKET_MAX: usize = 128 * 1024;
/// Where a classic BPF program finds the network header (linux/filter.h, `SKF_NET_OFF`): it is the same program on every link.
const NETWORK: u32 = -0x10_0000_i32 as u32;
/// Bytes that a program lets through: all.
const WHOLE: u32 = u32::MAX;

/// A packet that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// When, since 1970.
    pub at: Duration,
    /// Whether it was leaving.
    pub outbound: bool,
    /// With its link header, where the interface has one.
    pub bytes: &'a [u8],
    /// How long it was.
    pub len: usize,
}

/// A socket on one interface of the network namespace in which it was opened. Needs `CAP_NET_RAW`.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
    lost: u64,
}

impl PacketSocket {
    /// All packets of an interface.
    ///
    /// # Errors
    /// `EPERM` without the right, `ENODEV` without the interface, or another.
    pub fn open(index: u32) -> io::Result<Self> {
        Self::with_program(index, &[])
    }

    /// The UDP packets of an interface from or to a port.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn open_udp(index: u32, port: u16) -> io::Result<Self> {
        Self::with_program(index, &udp_port(port))
    }

    fn with_program(index: u32, program: &[libc::sock_filter]) -> io::Result<Self> {
        // Without a protocol it hears nothing until it is bound: by then it has its program and hears one interface.
        let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let socket = unsafe { libc::socket(libc::AF_PACKET, flags, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given it to us, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        if !program.is_empty() {
            let program = libc::sock_fprog {
                len: program.len() as libc::c_ushort,
                filter: program.as_ptr().cast_mut(),
            };
            set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        }
        set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1)?;
        // Beyond the system's limit only with CAP_NET_ADMIN; without it the limit must do.
        if set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &SOCKET_BUFFER).is_err() {
            set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &SOCKET_BUFFER)?;
        }
        // SAFETY: an address of zeros is one without protocol and interface.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the pointer and length are those of `address`, which outlives the call.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            socket,
            buffer: vec![0; PACKET_MAX],
            lost: 0,
        })
    }

    /// The next packet that waits, if any.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface went down or away, or another.
    pub fn receive(&mut self) -> io::Result<Option<Seen<'_>>> {
        // SAFETY: an address of zeros is a valid one.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        // As `u64`s, for the alignment of control messages.
        let mut control = [0_u64; 16];
        let mut part = libc::iovec {
            iov_base: self.buffer.as_mut_ptr().cast(),
            iov_len: self.buffer.len(),
        };
        // SAFETY: a header of zeros names no memory.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = size_of_val(&from) as libc::socklen_t;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let len = loop {
            // With MSG_TRUNC the packet's own length comes back.
            // SAFETY: the header names `from`, `part` with our buffer, and `control`, each with its length; all outlive the call.
            let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, libc::MSG_TRUNC) };
            if let Ok(len) = usize::try_from(len) {
                break len;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return Ok(None),
                _ => return Err(error),
            }
        };
        Ok(Some(Seen {
            at: timestamp(&header).unwrap_or_default(),
            outbound: from.sll_pkttype == libc::PACKET_OUTGOING,
            bytes: &self.buffer[..len.min(PACKET_MAX)],
            len,
        }))
    }

    /// How many packets were lost so far because nobody read them in time.
    pub fn lost(&mut self) -> u64 {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: pointer and length are those of `statistics`, which is plain numbers.
        let read = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        // The kernel begins to count anew each time it is asked.
        if read == 0 {
            self.lost += u64::from(statistics.tp_drops);
        }
        self.lost
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length are those of `value`; the kernel copies it, and the program that a `sock_fprog` names, before it
    // returns.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The time that the kernel noted, among a message's control data.
fn timestamp(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled the control data and set its length; the macros stay within it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: as above; the pointer is null or a whole header.
    while let Some(known) = unsafe { message.as_ref() } {
        if (known.cmsg_level, known.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: a message of this type holds a `timespec`; it need not be aligned.
            let at = unsafe { libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned() };
            return Some(Duration::new(u64::try_from(at.tv_sec).ok()?, u32::try_from(at.tv_nsec).ok()?));
        }
        // SAFETY: as above.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

/// A classic BPF program (man 4 bpf of the BSDs; linux/filter.h): UDP of either IP version, from or to `port`. Of fragments it takes
/// the first, which has the ports.
fn udp_port(port: u16) -> [libc::sock_filter; 23] {
    const ACCEPT: u8 = 21;
    const REFUSE: u8 = 22;
    // Jumps are told how many instructions they skip; here, where they lead.
    let jump = |at: u8, code: u32, k: u32, then: u8, or: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_K | code) as u16,
        jt: then - at - 1,
        jf: or - at - 1,
        k,
    };
    let step = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let byte = |offset: u32| step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, NETWORK.wrapping_add(offset));
    let half = |offset: u32| step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, NETWORK.wrapping_add(offset));
    let half_behind = |offset: u32| step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, NETWORK.wrapping_add(offset));
    let (port, udp) = (u32::from(port), libc::IPPROTO_UDP as u32);
    [
        byte(0),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xf0),
        jump(2, libc::BPF_JEQ, 0x40, 3, 15),
        // IPv4: UDP, no later fragment, ports behind the options.
        byte(9),
        jump(4, libc::BPF_JEQ, udp, 5, REFUSE),
        half(6),
        jump(6, libc::BPF_JSET, 0x1fff, REFUSE, 7),
        byte(0),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0x0f),
        step(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K, 2),
        step(libc::BPF_MISC | libc::BPF_TAX, 0),
        half_behind(0),
        jump(12, libc::BPF_JEQ, port, ACCEPT, 13),
        half_behind(2),
        jump(14, libc::BPF_JEQ, port, ACCEPT, REFUSE),
        // IPv6 without extension headers, as WireGuard's packets come.
        byte(6),
        jump(16, libc::BPF_JEQ, udp, 17, REFUSE),
        half(40),
        jump(18, libc::BPF_JEQ, port, ACCEPT, 19),
        half(42),
        jump(20, libc::BPF_JEQ, port, ACCEPT, REFUSE),
        step(libc::BPF_RET | libc::BPF_K, WHOLE),
        step(libc::BPF_RET | libc::BPF_K, 0),
    ]
}
