//! Network interfaces: list, create, change, delete, and the mark by which our own are known.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{Emitable as _, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};

use crate::netlink::{Netlink, NetlinkError};

/// How the alias of every interface of ours begins (`ip link show` prints it).
pub const ALIAS: &str = "fielato";

/// Name of an interface between its creation and the moment when it carries our alias and its own name.
const NASCENT: &str = "fielato-new";

/// `IFNAMSIZ - 1` (linux/if.h).
const NAME_MAX: usize = 15;

// linux/if_link.h. Attributes are read one by one, so that one of a kind that nobody here asks for can't spoil the rest.
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_CARRIER: u16 = 33;
const IFLA_INFO_KIND: u16 = 1;
/// Length of `struct ifinfomsg`.
const LINK_HEADER_LEN: usize = 16;

/// Why something could not be done to an interface.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name can't be an interface's.
    #[error(
        "{0:?} can't be an interface's name: it has 1 to {NAME_MAX} characters, no space, `/` or `:`, and is not `.` or `..`"
    )]
    Name(String),
    /// An interface has the name already.
    #[error("cannot create interface {0}: an interface of that name exists already; remove it or choose another name")]
    Exists(String),
    /// No interface has the name.
    #[error("there is no interface {0}")]
    Missing(String),
    /// The kernel doesn't know interfaces of that kind.
    #[error(
        "cannot create interface {name}: this kernel has no interfaces of kind {kind}; load the module {kind:?} if there is one"
    )]
    NoKind {
        /// The interface asked for.
        name: String,
        /// Its kind, which is also the name of the module.
        kind: &'static str,
    },
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    Netlink {
        /// What was asked for.
        doing: String,
        /// What came back.
        source: NetlinkError,
    },
}

fn failed(doing: String) -> impl FnOnce(NetlinkError) -> LinkError {
    move |source| LinkError::Netlink { doing, source }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it, never used twice in a namespace's life but by wish.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is ("wireguard", "veth", "tun", …); none for hardware and the loopback.
    pub kind: Option<String>,
    /// Free text beside the name.
    pub alias: Option<String>,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it could carry packets now.
    pub carrier: bool,
    /// Hardware type (linux/if_arp.h): 1 is Ethernet, 65534 has no link layer.
    pub arphrd: u16,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
}

impl Link {
    /// Whether the interface carries our mark.
    pub fn is_ours(&self) -> bool {
        self.alias.as_deref().is_some_and(|alias| alias.starts_with(ALIAS))
    }

    /// Reads the body of an `RTM_NEWLINK` message.
    fn parse(body: &[u8]) -> Option<Self> {
        let (header, attributes) = body.split_at_checked(LINK_HEADER_LEN)?;
        let flags = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let mut link = Self {
            index: u32::from_ne_bytes(header[4..8].try_into().ok()?),
            name: String::new(),
            kind: None,
            alias: None,
            up: flags & LinkFlags::Up.bits() != 0,
            carrier: false,
            arphrd: u16::from_ne_bytes(header[2..4].try_into().ok()?),
            mtu: 0,
            master: None,
        };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute.ok()?;
            let value = attribute.value();
            match attribute.kind() {
                IFLA_IFNAME => link.name = text(value),
                IFLA_IFALIAS => link.alias = Some(text(value)),
                IFLA_MTU => link.mtu = number(value)?,
                IFLA_MASTER => link.master = Some(number(value)?),
                IFLA_CARRIER => link.carrier = value.first().is_some_and(|&carrier| carrier != 0),
                IFLA_LINKINFO => {
                    let mut info = NlasIterator::new(value).filter_map(Result::ok);
                    link.kind = info.find(|info| info.kind() == IFLA_INFO_KIND).map(|kind| text(kind.value()));
                }
                _ => {}
            }
        }
        Some(link)
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

fn ask(netlink: &mut Netlink, message: LinkMessage, flags: u16) -> Result<Vec<Link>, NetlinkError> {
    let message = RouteNetlinkMessage::GetLink(message);
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    let replies = netlink.request_raw(message.message_type(), flags, &body)?;
    let unreadable = || NetlinkError::Malformed("a link's description is cut off".to_owned());
    replies
        .iter()
        .map(|(_, body)| Link::parse(body).ok_or_else(unreadable))
        .collect()
}

/// All interfaces of the namespace.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn list(netlink: &mut Netlink) -> Result<Vec<Link>, LinkError> {
    ask(netlink, LinkMessage::default(), NLM_F_DUMP).map_err(failed("list the interfaces".to_owned()))
}

/// The interface of that name, if there is one.
///
/// # Errors
/// [`LinkError::Name`] and [`LinkError::Netlink`].
pub fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, LinkError> {
    check_name(name)?;
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match ask(netlink, message, 0) {
        Ok(links) => Ok(links.into_iter().next()),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(failed(format!("look up interface {name}"))(error)),
    }
}

/// The interface of that name.
///
/// # Errors
/// [`LinkError::Missing`] when there is none, else as [`find`].
pub fn get(netlink: &mut Netlink, name: &str) -> Result<Link, LinkError> {
    find(netlink, name)?.ok_or_else(|| LinkError::Missing(name.to_owned()))
}

/// Creates an interface of the kernel's WireGuard.
///
/// # Errors
/// [`LinkError::NoKind`] when this kernel has no WireGuard, [`LinkError::Exists`] when the name is taken, or others.
pub fn create_wireguard(netlink: &mut Netlink, name: &str) -> Result<Link, LinkError> {
    create(netlink, name, "wireguard", vec![LinkInfo::Kind(InfoKind::Wireguard)])
}

/// Creates an interface of the kernel's WireGuard that carries our mark from the moment when it has its name.
///
/// The kernel takes no alias while it creates an interface. So the interface is born under a name of ours, marked, and
/// then renamed: whoever looks finds either no interface of the name or one that is known as ours.
///
/// # Errors
/// As [`create_wireguard`].
pub fn create_owned_wireguard(netlink: &mut Netlink, name: &str) -> Result<Link, LinkError> {
    if find(netlink, name)?.is_some() {
        return Err(LinkError::Exists(name.to_owned()));
    }
    remove_leftovers(netlink)?;
    let nascent = create_wireguard(netlink, NASCENT).map_err(|error| match error {
        LinkError::NoKind { kind, .. } => LinkError::NoKind {
            name: name.to_owned(),
            kind,
        },
        error => error,
    })?;
    let finished = set_alias(netlink, &nascent, ALIAS).and_then(|()| rename(netlink, &nascent, name));
    if let Err(error) = finished {
        delete(netlink, &nascent)?;
        return Err(error);
    }
    get(netlink, name)
}

/// Deletes what an interrupted [`create_owned_wireguard`] may have left. Returns whether there was something.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn remove_leftovers(netlink: &mut Netlink) -> Result<bool, LinkError> {
    match find(netlink, NASCENT)? {
        Some(link) => delete(netlink, &link).map(|()| true),
        None => Ok(false),
    }
}

/// Creates a pair of Ethernet interfaces joined by a cable; `peer` is born in the namespace `peer_netns` when one is given.
/// Returns the end that is here.
///
/// # Errors
/// [`LinkError::Exists`] when a name is taken, or others.
pub fn create_veth(netlink: &mut Netlink, name: &str, peer: &str, peer_netns: Option<BorrowedFd<'_>>) -> Result<Link, LinkError> {
    check_name(peer)?;
    let mut other = LinkMessage::default();
    other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
    if let Some(netns) = peer_netns {
        other.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
    }
    let info = vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
    ];
    create(netlink, name, "veth", info)
}

/// Creates a bridge.
///
/// # Errors
/// [`LinkError::Exists`] when the name is taken, or others.
pub fn create_bridge(netlink: &mut Netlink, name: &str) -> Result<Link, LinkError> {
    create(netlink, name, "bridge", vec![LinkInfo::Kind(InfoKind::Bridge)])
}

fn create(netlink: &mut Netlink, name: &str, kind: &'static str, info: Vec<LinkInfo>) -> Result<Link, LinkError> {
    check_name(name)?;
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(info)];
    let result = netlink.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
    match result {
        Ok(_) => get(netlink, name),
        // For a veth it may be the peer's name that is taken, in a namespace that can't be seen from here.
        Err(error) if error.errno() == Some(libc::EEXIST) && find(netlink, name)?.is_some() => {
            Err(LinkError::Exists(name.to_owned()))
        }
        Err(error) if error.errno() == Some(libc::EOPNOTSUPP) => Err(LinkError::NoKind {
            name: name.to_owned(),
            kind,
        }),
        Err(error) => Err(failed(format!("create interface {name} of kind {kind}"))(error)),
    }
}

/// Gives an interface another name; it must be down.
///
/// # Errors
/// [`LinkError::Exists`] when the name is taken, or others.
pub fn rename(netlink: &mut Netlink, link: &Link, name: &str) -> Result<(), LinkError> {
    check_name(name)?;
    match change(
        netlink,
        link,
        LinkFlags::empty(),
        LinkFlags::empty(),
        LinkAttribute::IfName(name.to_owned()),
    ) {
        Err(error) if error.errno() == Some(libc::EEXIST) => Err(LinkError::Exists(name.to_owned())),
        result => result.map_err(failed(format!("rename interface {} to {name}", link.name))),
    }
}

/// Sets the text beside the name.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn set_alias(netlink: &mut Netlink, link: &Link, alias: &str) -> Result<(), LinkError> {
    let attribute = LinkAttribute::IfAlias(alias.to_owned());
    change(netlink, link, LinkFlags::empty(), LinkFlags::empty(), attribute)
        .map_err(failed(format!("set the alias of interface {} to {alias:?}", link.name)))
}

/// Switches an interface on or off.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn set_up(netlink: &mut Netlink, link: &Link, up: bool) -> Result<(), LinkError> {
    let flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    let doing = format!("switch interface {} {}", link.name, if up { "on" } else { "off" });
    change(netlink, link, flags, LinkFlags::Up, None).map_err(failed(doing))
}

/// Lets an interface send to groups, or not. Without, the kernel joins no group on it by itself and reports none.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn set_multicast(netlink: &mut Netlink, link: &Link, multicast: bool) -> Result<(), LinkError> {
    let flags = if multicast { LinkFlags::Multicast } else { LinkFlags::empty() };
    let doing = format!(
        "switch multicast {} on interface {}",
        if multicast { "on" } else { "off" },
        link.name
    );
    change(netlink, link, flags, LinkFlags::Multicast, None).map_err(failed(doing))
}

/// Sets the size of the largest packet, in bytes.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn set_mtu(netlink: &mut Netlink, link: &Link, mtu: u32) -> Result<(), LinkError> {
    change(netlink, link, LinkFlags::empty(), LinkFlags::empty(), LinkAttribute::Mtu(mtu))
        .map_err(failed(format!("set the MTU of interface {} to {mtu}", link.name)))
}

/// Makes an interface a port of a bridge, or of none.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn set_master(netlink: &mut Netlink, link: &Link, master: Option<&Link>) -> Result<(), LinkError> {
    let index = master.map_or(0, |master| master.index);
    let doing = match master {
        Some(master) => format!("make interface {} a port of {}", link.name, master.name),
        None => format!("take interface {} out of its bridge", link.name),
    };
    change(
        netlink,
        link,
        LinkFlags::empty(),
        LinkFlags::empty(),
        LinkAttribute::Controller(index),
    )
    .map_err(failed(doing))
}

/// Moves an interface to another network namespace. It loses its addresses and is switched off by that.
///
/// # Errors
/// [`LinkError::Netlink`].
pub fn move_to_netns(netlink: &mut Netlink, link: &Link, netns: BorrowedFd<'_>) -> Result<(), LinkError> {
    change(
        netlink,
        link,
        LinkFlags::empty(),
        LinkFlags::empty(),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
    )
    .map_err(failed(format!("move interface {} to another network namespace", link.name)))
}

/// Deletes an interface.
///
/// # Errors
/// [`LinkError::Missing`] when it is gone already, or [`LinkError::Netlink`].
pub fn delete(netlink: &mut Netlink, link: &Link) -> Result<(), LinkError> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    match netlink.request(RouteNetlinkMessage::DelLink(message), 0) {
        Ok(_) => Ok(()),
        Err(error) if error.errno() == Some(libc::ENODEV) => Err(LinkError::Missing(link.name.clone())),
        Err(error) => Err(failed(format!("delete interface {}", link.name))(error)),
    }
}

fn change(
    netlink: &mut Netlink,
    link: &Link,
    flags: LinkFlags,
    change_mask: LinkFlags,
    attribute: impl Into<Option<LinkAttribute>>,
) -> Result<(), NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = flags;
    message.header.change_mask = change_mask;
    message.attributes.extend(attribute.into());
    netlink.request(RouteNetlinkMessage::SetLink(message), 0).map(|_| ())
}

/// `dev_valid_name` (net/core/dev.c). The kernel's own complaint about a long name doesn't say which name.
fn check_name(name: &str) -> Result<(), LinkError> {
    let bad = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() > NAME_MAX || name == "." || name == ".." || name.contains(bad) {
        return Err(LinkError::Name(name.to_owned()));
    }
    Ok(())
}
