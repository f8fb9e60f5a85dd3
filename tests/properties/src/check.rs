//! The properties, one function of bytes each. The names are those of the fuzz targets.

mod conntrack;
mod fleet;
mod ftp;
mod language;
mod packet;
mod policy;
mod restore;
mod superpacket;
mod wireguard;

pub use conntrack::conntrack;
pub use fleet::fleet;
pub use ftp::ftp;
pub use language::language;
pub use packet::packet;
pub use policy::policy;
pub use restore::restore;
pub use superpacket::superpacket;
pub use wireguard::wireguard;

/// A property.
pub type Check = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Check); 9] = [
    ("packet", packet),
    ("language", language),
    ("restore", restore),
    ("conntrack", conntrack),
    ("ftp", ftp),
    ("superpacket", superpacket),
    ("wireguard", wireguard),
    ("policy", policy),
    ("fleet", fleet),
];
