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
/// `NFPROTO_INET`: tables of both families (linux/netfilter.h).
pub const INET: u8 = 1;
/// `NFPROTO_IPV4`.
pub const IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
pub const IPV6: u8 = 10;

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

/// A rule of nftables that counts, by the numbers of linux/netfilter/nf_tables.h.
#[derive(Clone, Debug)]
pub struct CountedRule {
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// What was written beside it.
    pub comment: Option<String>,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far.
    pub bytes: u64,
}

impl CountedRule {
    /// Reads the attributes of a rule; nothing when it counts nothing.
    pub fn read(message: &[u8]) -> Option<Self> {
        let find = |bytes: &[u8], wanted: u16| {
            attributes(bytes)
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, value)| value.to_vec())
        };
        let name = |value: &[u8]| String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
        let long = |value: Vec<u8>| value.first_chunk().map(|value| u64::from_be_bytes(*value));
        let expressions = find(message, 4)?; // NFTA_RULE_EXPRESSIONS
        let counter = attributes(&expressions).find_map(|(_, expression)| {
            // NFTA_EXPR_NAME and NFTA_EXPR_DATA
            (find(expression, 1)? == b"counter\0").then(|| find(expression, 2))?
        })?;
        // NFTA_RULE_USERDATA, in nft's own words: a byte for the kind (0 is a comment), one for the length, the text.
        let comment = find(message, 7).and_then(|data| match data.as_slice() {
            [0, length, text @ ..] => text.get(..usize::from(*length)).map(name),
            _ => None,
        });
        Some(Self {
            table: name(&find(message, 1)?),
            chain: name(&find(message, 2)?),
            comment,
            packets: long(find(&counter, 2)?)?, // NFTA_COUNTER_PACKETS
            bytes: long(find(&counter, 1)?)?,   // NFTA_COUNTER_BYTES
        })
    }
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
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.request(CONNECTIONS_DELETE, ACK, ANY_FAMILY, 0, &[], |_| ())
    }

    /// Gives the attributes of every connection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn list(&mut self, each: impl FnMut(&[u8])) -> Result<(), Error> {
        self.request(CONNECTIONS_GET, DUMP, ANY_FAMILY, 0, &[], each)
    }

    /// Gives the attributes of every nftables rule of a family (`NFPROTO_…`), each chain's in order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rules(&mut self, family: u8, each: impl FnMut(&[u8])) -> Result<(), Error> {
        self.request(RULES_GET, DUMP, family, 0, &[], each)
    }

    /// Binds this socket to a log group: every packet logged there is sent here whole and at once.
    ///
    /// # Errors
    /// When the kernel refuses.
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
    ///
    /// # Errors
    /// When the socket can't be read.
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
