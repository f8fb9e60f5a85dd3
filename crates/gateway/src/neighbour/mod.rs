//! Neighbours on Ethernet ports: who has which address (ARP, RFC 826; NDP, RFC 4861).

/// Settings, with Linux's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Neighbours that are known at once (`gc_thresh3`).
    pub max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { max: 1024 }
    }
}
