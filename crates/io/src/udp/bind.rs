//! Making the sockets.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Pair, Udp, steer};

/// Room in a worker's socket, asked for in both directions: some milliseconds of traffic at full speed. The kernel
/// doubles it and counts its own overhead against it.
const BUFFER: libc::c_int = 7 << 20;

/// Room for initiations that wait: more than a second's worth of handshakes would come out too late.
const INITIATION_BUFFER: libc::c_int = 1 << 20;

/// Attempts to find one port that is free in both families.
const PORT_ATTEMPTS: usize = 16;

/// All sockets of a device, on one port.
pub(crate) struct Sockets {
    pub(crate) port: u16,
    /// What the receiver index says is a worker's; and, in the first, what belongs to nobody.
    pub(crate) workers: Vec<Pair>,
    /// Handshake initiations.
    pub(crate) initiations: Pair,
}

impl Sockets {
    /// Binds `port`, or the same free one in both families when it is 0, for 1 to 256 workers.
    ///
    /// A port that another socket has is refused, whatever options that one has: the first socket of each family is
    /// bound without `SO_REUSEPORT`, which is set afterwards to let the others join. From then on a program of the
    /// same user can bind the port too if it sets that option, but it gets nothing: the steering program never names
    /// its place in the group.
    pub(crate) fn bind(port: u16, fwmark: u32, workers: usize) -> io::Result<Self> {
        if workers == 0 || workers > steer::WORKERS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{workers} workers: a device has 1 to {}", steer::WORKERS_MAX),
            ));
        }
        let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_once(port, fwmark, workers) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, fwmark: u32, workers: usize) -> io::Result<Self> {
        let v4 = Udp::open(Domain::IPV4, fwmark, BUFFER)?;
        v4.socket.bind(&any(Domain::IPV4, port).into())?;
        let port = v4.socket.local_addr()?.as_socket().map_or(0, |address| address.port());
        let v6 = Udp::open(Domain::IPV6, fwmark, BUFFER).and_then(|v6| {
            v6.socket.bind(&any(Domain::IPV6, port).into())?;
            Ok(v6)
        });
        let v6 = match v6 {
            Ok(v6) => Some(v6),
            Err(error) if no_ipv6(&error) => None,
            Err(error) => return Err(error),
        };
        let v4 = Group::of(v4, Domain::IPV4, port, fwmark, workers)?;
        let v6 = v6.map(|v6| Group::of(v6, Domain::IPV6, port, fwmark, workers)).transpose()?;
        let (v6_workers, v6_initiations) = v6.map_or_else(Default::default, |group| (group.workers, Some(group.initiations)));
        let mut v6_workers = v6_workers.into_iter();
        let pair = |v4| Pair {
            v4,
            v6: v6_workers.next(),
        };
        Ok(Self {
            port,
            workers: v4.workers.into_iter().map(pair).collect(),
            initiations: Pair {
                v4: v4.initiations,
                v6: v6_initiations,
            },
        })
    }

    /// Marks what all sockets send from now on.
    pub(crate) fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        let pairs = self.workers.iter().chain([&self.initiations]);
        pairs.flat_map(Pair::iter).try_for_each(|udp| udp.socket.set_mark(fwmark))
    }
}

fn any(domain: Domain, port: u16) -> SocketAddr {
    if domain == Domain::IPV6 {
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// The sockets of one family. Their places in the system's group are the order in which they were bound.
struct Group {
    workers: Vec<Udp>,
    initiations: Udp,
}

impl Group {
    /// `first` is bound, and alone on the port.
    fn of(first: Udp, domain: Domain, port: u16, fwmark: u32, workers: usize) -> io::Result<Self> {
        let join = |buffer| -> io::Result<Udp> {
            let udp = Udp::open(domain, fwmark, buffer)?;
            udp.socket.set_reuse_port(true)?;
            udp.socket.bind(&any(domain, port).into())?;
            Ok(udp)
        };
        first.socket.set_reuse_port(true)?;
        let mut group = vec![first];
        for _ in 1..workers {
            group.push(join(BUFFER)?);
        }
        let initiations = join(INITIATION_BUFFER)?;
        // What comes before this is spread over the sockets at random, and is no worse than lost.
        steer::attach(&initiations.socket, workers)?;
        Ok(Self {
            workers: group,
            initiations,
        })
    }
}

impl Udp {
    fn open(domain: Domain, fwmark: u32, buffer: libc::c_int) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        let v6 = domain == Domain::IPV6;
        if v6 {
            socket.set_only_v6(true)?;
        }
        if fwmark != 0 {
            socket.set_mark(fwmark)?;
        }
        // Sets what receiving needs: UDP_GRO, packet information, TOS; and what we don't want of it below.
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // A time stamp costs cycles, and over IPv6 leaves no room in quinn-udp's buffer for the traffic class.
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)?;
        // Outer packets may be fragmented, as the Linux driver's are: losing them would be worse.
        if v6 {
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
        }
        for (force, plain) in [
            (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            // Forcing needs a privilege that is not needed otherwise; the plain request is cut to the system's limit.
            if set_option(&socket, libc::SOL_SOCKET, force, buffer).is_err() {
                set_option(&socket, libc::SOL_SOCKET, plain, buffer)?;
            }
        }
        Ok(Self {
            segmentation: AtomicBool::new(state.max_gso_segments() > 1),
            socket,
            state,
        })
    }
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from `value`, which lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
