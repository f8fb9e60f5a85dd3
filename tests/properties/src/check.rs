//! The properties, one function of bytes each. The names are those of the fuzz targets.

mod conntrack;
mod ftp;
mod language;
mod packet;
mod restore;

pub use conntrack::conntrack;
pub use ftp::ftp;
pub use language::language;
pub use packet::packet;
pub use restore::restore;

/// A property.
pub type Check = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Check); 5] = [
    ("packet", packet),
    ("language", language),
    ("restore", restore),
    ("conntrack", conntrack),
    ("ftp", ftp),
];
