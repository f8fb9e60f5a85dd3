//! A line written down.

use std::fmt::{self, Display, Formatter};

use super::options::Options;
use super::{Body, DEFAULT_TTL, Line, default_window};
use crate::TcpFlags;

impl Display for Line {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        // All fields have their word; a new one must find its own.
        let Line {
            fragment,
            more_fragments,
            dont_fragment,
            mac,
            tos,
            ttl,
            id,
            bad_ip_sum,
            bad_sum,
            src,
            dst,
            length,
            protocol,
            body,
            data,
        } = self;
        if let Some((offset, length)) = fragment {
            write!(f, "FRAG={offset},{length} ")?;
        }
        flag(f, *more_fragments, "MF ")?;
        flag(f, *dont_fragment, "DF ")?;
        if let Some([a, b, c, d, e, g]) = mac {
            write!(f, "MAC={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} ")?;
        }
        if *tos != 0 {
            write!(f, "TOS={tos} ")?;
        }
        if *ttl != DEFAULT_TTL {
            write!(f, "TTL={ttl} ")?;
        }
        if *id != 0 {
            write!(f, "ID={id} ")?;
        }
        flag(f, *bad_ip_sum, "BADIPSUM ")?;
        flag(f, *bad_sum, "BADSUM ")?;
        write!(f, "{src} {dst} {length} {protocol}{body}")?;
        flag(f, *data, " DATA")
    }
}

fn flag(f: &mut Formatter, set: bool, word: &str) -> fmt::Result {
    if set { f.write_str(word) } else { Ok(()) }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Body::None => Ok(()),
            Body::Ports { sport, dport } => write!(f, " {sport} {dport}"),
            Body::Dccp { sport, dport, kind } => write!(f, " {sport} {dport} {kind}"),
            Body::Icmp {
                kind,
                code,
                echo,
                quoted,
            } => {
                write!(f, " {kind} {code}")?;
                if let Some((id, seq)) = echo {
                    write!(f, " {id} {seq}")?;
                }
                if let Some(quoted) = quoted {
                    write!(f, " [ {quoted} ]")?;
                }
                Ok(())
            }
            Body::Tcp(tcp) => {
                write!(f, " {} {} {}", tcp.sport, tcp.dport, Flags(tcp.flags))?;
                let options = Options(&tcp.options);
                if !options.is_empty() {
                    write!(f, " OPT={options}")?;
                }
                if tcp.seq != 0 {
                    write!(f, " SYN={}", tcp.seq)?;
                }
                if tcp.ack != 0 {
                    write!(f, " ACK={}", tcp.ack)?;
                }
                if tcp.window != default_window(tcp.flags) {
                    write!(f, " WIN={}", tcp.window)?;
                }
                Ok(())
            }
        }
    }
}

/// Flags in the order their names are usually said: `SYN/ACK`, `FIN/ACK`.
pub(super) const FLAGS: [(&str, u8); 8] = [
    ("SYN", TcpFlags::SYN),
    ("FIN", TcpFlags::FIN),
    ("RST", TcpFlags::RST),
    ("PSH", TcpFlags::PSH),
    ("ACK", TcpFlags::ACK),
    ("URG", TcpFlags::URG),
    ("ECE", TcpFlags::ECE),
    ("CWR", TcpFlags::CWR),
];

struct Flags(TcpFlags);

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        if self.0 == TcpFlags(0) {
            return f.write_str("NONE");
        }
        let mut slash = "";
        for (name, bit) in FLAGS {
            if self.0.has(bit) {
                write!(f, "{slash}{name}")?;
                slash = "/";
            }
        }
        Ok(())
    }
}
