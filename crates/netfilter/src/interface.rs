//! Interfaces as packets and rules name them.

use std::fmt;

/// Longest name: IFNAMSIZ less the closing zero.
pub const MAX_NAME: usize = 15;

/// An interface's name, or the empty name. Compared as one number, under a mask for names that end in `+`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName([u8; 16]);

impl InterfaceName {
    /// No name.
    pub const NONE: InterfaceName = InterfaceName([0; 16]);

    /// The loopback's name.
    pub const LOOPBACK: InterfaceName = InterfaceName([b'l', b'o', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// A name of at most [`MAX_NAME`] bytes, without a zero byte.
    pub fn new(name: &str) -> Option<InterfaceName> {
        if name.len() > MAX_NAME || name.contains('\0') {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(InterfaceName(bytes))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(16);
        // Made from a str and cut at a zero byte: it is valid UTF-8.
        std::str::from_utf8(&self.0[..end]).unwrap_or("")
    }

    /// Whether the name is empty.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    /// As a number, for comparisons under a mask.
    pub const fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// An interface that a packet came in by or goes out by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interface {
    /// The embedder's number for it; 0 is none.
    pub index: u32,
    /// Its name.
    pub name: InterfaceName,
}

impl Interface {
    /// No interface.
    pub const NONE: Interface = Interface {
        index: 0,
        name: InterfaceName::NONE,
    };

    /// An interface by number and name; `None` when the name is too long.
    pub fn new(index: u32, name: &str) -> Option<Interface> {
        InterfaceName::new(name).map(|name| Interface { index, name })
    }
}
