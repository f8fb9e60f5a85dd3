//! The few words of nfnetlink that are needed: listing and flushing connections, and hearing of logged packets.

use std::io;

use netlink_sys::{Socket, SocketAddr};

use crate::error::Error;

/// `NETLINK_NETFILTER` (linux/netlink.h).
const PROTOCOL: isize = 12;
/// Lengths of `struct nlmsghdr`, and of it with `struct nfgenmsg`.
const HEADER: usize = 16;
const BODY: usize = HEADER + 4;
/// linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
/// `NLA_TYPE_MASK`: without the bits for nesting and byte order.
const TYPE_MASK: u16 = 0x3fff;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET` and `…_DELETE` (nfnetlink.h, nfnetlink_conntrack.h).
const CONNECTIONS_GET: u16 = 1 << 8 | 1;
const CONNECTIONS_DELETE: u16 = 1 << 8 | 2;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE` (nf_tables.h).
const RULES_GET: u16 = 10 << 8 | 7;
/// `NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG` and `…_PACKET` (nfnetlink_log.h).
const LOG_CONFIG: u16 = 4 << 8 | 1;
const LOG_PACKET: u16 = 4 << 8;

/// `NFPROTO_UNSPEC`.
const ANY_FAMILY: u8 = 0;

/// Attributes of one level: type without flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// A socket to the netfilter of the namespace it was opened in.
pub struct Nfnetlink {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Nfnetlink {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(PROTOCOL).map_err(Error::system("open a netfilter socket"))?;
        socket
            .bind(&SocketAddr::new(0, 0))
            .map_err(Error::system("bind a netfilter socket"))?;
        Ok(Self {
            socket,
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Forgets every connection.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.request(CONNECTIONS_DELETE, ACK, ANY_FAMILY, 0, &[], |_| ())
    }

    /// Gives the attributes of every connection.
    pub fn list(&mut self, each: impl FnMut(&[u8])) -> Result<(), Error> {
        self.request(CONNECTIONS_GET, DUMP, ANY_FAMILY, 0, &[], each)
    }

    /// Gives the attributes of every nftables rule of a family, each chain's in order.
    pub fn rules(&mut self, v6: bool, each: impl FnMut(&[u8])) -> Result<(), Error> {
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        self.request(RULES_GET, DUMP, family as u8, 0, &[], each)
    }

    /// Binds this socket to a log group: every packet logged there is sent here whole and at once.
    pub fn bind_log(&mut self, group: u16) -> Result<(), Error> {
        // NFULA_CFG_CMD = NFULNL_CFG_CMD_BIND; NFULA_CFG_MODE = whole packets; NFULA_CFG_QTHRESH = 1 packet.
        for attribute in [
            &[5, 0, 1, 0, 1, 0, 0, 0][..],
            &[10, 0, 2, 0, 0, 0, 0xff, 0xff, 2, 0, 0, 0],
            &[8, 0, 5, 0, 0, 0, 0, 1],
        ] {
            self.request(LOG_CONFIG, ACK, ANY_FAMILY, group, attribute, |_| ())?;
        }
        self.socket
            .set_non_blocking(true)
            .map_err(Error::system("set up the log socket"))
    }

    /// The next logged packet, when there is one: its attributes.
    pub fn logged(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            let mut room = &mut self.buffer[..];
            let length = match self.socket.recv_from(&mut room, 0) {
                Ok((length, _)) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Error::system("read the log socket")(error)),
            };
            let message = &self.buffer[..length];
            if message.len() >= BODY && u16::from_ne_bytes([message[4], message[5]]) == LOG_PACKET {
                let end = message_length(message)?;
                return Ok(Some(&self.buffer[BODY..end]));
            }
        }
    }

    fn request(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        attributes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut message = Vec::with_capacity(BODY + attributes.len());
        message.extend_from_slice(&((BODY + attributes.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        message.extend_from_slice(&[0; 8]); // sequence and port: one request at a time
        message.extend_from_slice(&[family, 0]); // and version 0
        message.extend_from_slice(&resource.to_be_bytes());
        message.extend_from_slice(attributes);
        self.socket
            .send_to(&message, &SocketAddr::new(0, 0), 0)
            .map_err(Error::system("ask netfilter"))?;
        loop {
            let mut room = &mut self.buffer[..];
            let (length, _) = self
                .socket
                .recv_from(&mut room, 0)
                .map_err(Error::system("read netfilter's answer"))?;
            let mut rest = &self.buffer[..length];
            while rest.len() >= HEADER {
                let end = message_length(rest)?;
                let message = &rest[..end];
                match u16::from_ne_bytes([message[4], message[5]]) {
                    DONE => return Ok(()),
                    ERROR => {
                        let code = message
                            .get(HEADER..HEADER + 4)
                            .map_or(0, |code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]));
                        return match code {
                            0 => Ok(()),
                            _ => Err(Error::system("have netfilter do it")(io::Error::from_raw_os_error(-code))),
                        };
                    }
                    _ => each(message.get(BODY..).unwrap_or(&[])),
                }
                rest = rest.get(end.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    }
}

fn message_length(message: &[u8]) -> Result<usize, Error> {
    let length = u32::from_ne_bytes([message[0], message[1], message[2], message[3]]) as usize;
    if length < HEADER || length > message.len() {
        return Err(Error::Reply {
            what: "a netfilter message",
            why: format!("length {length} of {} bytes", message.len()),
        });
    }
    Ok(length)
}
