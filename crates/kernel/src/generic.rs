//! Generic netlink: families are found by name, and their messages carry a command and a version.

use std::collections::HashMap;

use netlink_packet_core::{Emitable as _, NlasIterator};
use netlink_packet_generic::GenlHeader;
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::netlink::{Netlink, NetlinkError};

/// `GENL_ID_CTRL` (linux/genetlink.h): the family that knows the others.
const CONTROLLER: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Length of `struct genlmsghdr`.
const GENERIC_HEADER_LEN: usize = 4;

/// A generic netlink socket that remembers the families it has resolved.
pub struct Generic {
    netlink: Netlink,
    families: HashMap<String, u16>,
}

impl Generic {
    /// A socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            netlink: Netlink::open_protocol(NETLINK_GENERIC)?,
            families: HashMap::new(),
        })
    }

    /// The number that the kernel gave to a family. Asking makes the kernel load the family's module if it can.
    ///
    /// # Errors
    /// [`NetlinkError::NoFamily`] when the kernel doesn't know the name, else any other.
    pub fn family(&mut self, name: &str) -> Result<u16, NetlinkError> {
        if let Some(&id) = self.families.get(name) {
            return Ok(id);
        }
        let mut body = header(CTRL_CMD_GETFAMILY, 1);
        let value = name.len() + 1;
        let length = u16::try_from(4 + value).map_err(|_| NetlinkError::NoFamily(name.to_owned()))?;
        body.extend_from_slice(&length.to_ne_bytes());
        body.extend_from_slice(&CTRL_ATTR_FAMILY_NAME.to_ne_bytes());
        body.extend_from_slice(name.as_bytes());
        body.resize(GENERIC_HEADER_LEN + 4 + value.next_multiple_of(4), 0);
        let replies = match self.netlink.request_raw(CONTROLLER, 0, &body) {
            Err(error) if error.errno() == Some(libc::ENOENT) => return Err(NetlinkError::NoFamily(name.to_owned())),
            result => result?,
        };
        let id = replies.iter().find_map(|(_, reply)| family_id(reply));
        let id = id.ok_or_else(|| NetlinkError::Malformed(format!("no id for generic netlink family {name:?}")))?;
        self.families.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Sends a command to a family and returns the attributes of each reply, without their headers.
    ///
    /// # Errors
    /// Any [`NetlinkError`].
    pub fn request(
        &mut self,
        family: &str,
        command: u8,
        version: u8,
        flags: u16,
        attributes: &[u8],
    ) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let id = self.family(family)?;
        let mut body = header(command, version);
        body.extend_from_slice(attributes);
        let replies = self.netlink.request_raw(id, flags, &body)?;
        Ok(replies
            .into_iter()
            .map(|(_, mut reply)| reply.split_off(GENERIC_HEADER_LEN.min(reply.len())))
            .collect())
    }
}

fn header(cmd: u8, version: u8) -> Vec<u8> {
    let mut bytes = vec![0; GENERIC_HEADER_LEN];
    GenlHeader { cmd, version }.emit(&mut bytes);
    bytes
}

fn family_id(reply: &[u8]) -> Option<u16> {
    NlasIterator::new(reply.get(GENERIC_HEADER_LEN..)?)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID)
        .and_then(|attribute| attribute.value().try_into().ok())
        .map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_knows_itself_and_not_an_invented_family() {
        let mut generic = Generic::open().unwrap();
        assert_eq!(generic.family("nlctrl").unwrap(), CONTROLLER);
        let error = generic.family("no_such_family").unwrap_err();
        assert!(
            matches!(&error, NetlinkError::NoFamily(name) if name == "no_such_family"),
            "{error}"
        );
    }
}
