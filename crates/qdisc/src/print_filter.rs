//! Filters written in tc's words.

use std::fmt::{Display, Formatter, Result};

use crate::spec::{Filter, FilterKind, FilterProtocol, Flower, U32Field, U32Key};

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "parent {}", self.parent)?;
        if self.protocol != FilterProtocol::All {
            write!(f, " protocol {}", self.protocol)?;
        }
        if let Some(prio) = self.prio {
            write!(f, " prio {prio}")?;
        }
        match &self.kind {
            FilterKind::U32(keys) => {
                f.write_str(" u32")?;
                for key in keys {
                    write!(f, " match {key}")?;
                }
            }
            FilterKind::Fw(mark) => {
                if let Some((value, mask)) = mark {
                    write!(f, " handle 0x{value:x}")?;
                    if *mask != u32::MAX {
                        write!(f, "/0x{mask:x}")?;
                    }
                }
                f.write_str(" fw")?;
            }
            FilterKind::Matchall => f.write_str(" matchall")?,
            FilterKind::Flower(flower) => write!(f, " flower{flower}")?,
        }
        match self.classid {
            Some(class) => write!(f, " classid {class}"),
            None => Ok(()),
        }
    }
}

impl Display for FilterProtocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            FilterProtocol::All => "all",
            FilterProtocol::Ip => "ip",
            FilterProtocol::Ipv6 => "ipv6",
        })
    }
}

impl Display for U32Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let U32Key { field, value, mask } = self;
        match field {
            U32Field::At(offset) => write!(f, "u32 0x{value:08x} 0x{mask:08x} at {offset}"),
            U32Field::Nexthdr(offset) => write!(f, "u32 0x{value:08x} 0x{mask:08x} at nexthdr+{offset}"),
            U32Field::Mark => write!(f, "mark 0x{value:x} 0x{mask:x}"),
        }
    }
}

/// Begins with a space unless there is nothing to say.
impl Display for Flower {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Flower {
            src_ip,
            dst_ip,
            ip_proto,
            src_port,
            dst_port,
            ip_tos,
        } = self;
        if let Some(net) = src_ip {
            write!(f, " src_ip {net}")?;
        }
        if let Some(net) = dst_ip {
            write!(f, " dst_ip {net}")?;
        }
        if let Some(protocol) = ip_proto {
            write!(f, " ip_proto {protocol}")?;
        }
        for (name, ports) in [("src_port", src_port), ("dst_port", dst_port)] {
            match ports {
                Some((first, last)) if first == last => write!(f, " {name} {first}")?,
                Some((first, last)) => write!(f, " {name} {first}-{last}")?,
                None => {}
            }
        }
        match ip_tos {
            Some((value, mask)) => write!(f, " ip_tos 0x{value:x}/0x{mask:x}"),
            None => Ok(()),
        }
    }
}
