//! Address resolution over IPv4 (RFC 826).

use std::net::Ipv4Addr;

use super::ethernet::Mac;

/// Length of a message about IPv4 on Ethernet.
const LENGTH: usize = 28;

/// Ethernet, IPv4, and the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What is asked or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Request,
    Reply,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arp {
    pub(super) operation: Operation,
    pub(super) sender: (Mac, Ipv4Addr),
    pub(super) target: (Mac, Ipv4Addr),
}

impl Arp {
    /// Reads a message, padding behind it ignored; none when it is about other kinds of addresses, or nonsense.
    pub(super) fn parse(bytes: &[u8]) -> Option<Arp> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
        if !bytes.starts_with(&KIND) {
            return None;
        }
        let operation = match bytes.get(6..8)? {
            [0, 1] => Operation::Request,
            [0, 2] => Operation::Reply,
            _ => return None,
        };
        let pair = |at: usize| {
            let mac: &Mac = bytes.get(at..)?.first_chunk()?;
            let address: &[u8; 4] = bytes.get(at + 6..)?.first_chunk()?;
            Some((*mac, Ipv4Addr::from(*address)))
        };
        Some(Arp {
            operation,
            sender: pair(8)?,
            target: pair(18)?,
        })
    }

    /// Its bytes.
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut bytes = KIND.to_vec();
        bytes.extend_from_slice(match self.operation {
            Operation::Request => &[0, 1],
            Operation::Reply => &[0, 2],
        });
        for (mac, address) in [self.sender, self.target] {
            bytes.extend_from_slice(&mac);
            bytes.extend_from_slice(&address.octets());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        for operation in [Operation::Request, Operation::Reply] {
            let arp = Arp {
                operation,
                sender: ([1; 6], Ipv4Addr::new(192, 0, 2, 1)),
                target: ([2; 6], Ipv4Addr::new(192, 0, 2, 2)),
            };
            let mut bytes = arp.emit();
            assert_eq!(bytes.len(), LENGTH);
            bytes.resize(46, 0);
            assert_eq!(Arp::parse(&bytes), Some(arp));
            for (at, value) in [(1, 6), (3, 1), (4, 8), (5, 16), (7, 3)] {
                let mut other = bytes.clone();
                other[at] = value;
                assert_eq!(Arp::parse(&other), None);
            }
            assert_eq!(Arp::parse(&bytes[..27]), None);
        }
    }
}
