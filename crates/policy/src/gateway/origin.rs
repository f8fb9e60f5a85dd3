//! What a rule of the gateway was made from.

use serde::Serialize;

/// What a rule of the gateway, or of a protected host, was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A `[[rule]]` of the file.
    Rule {
        /// Its place among the file's rules, 1-based.
        number: usize,
        /// Its line in the file.
        line: usize,
    },
    /// An overlay source that did not come out of the tunnel.
    ForgedSource,
    /// What neither comes from the VPN nor goes to it: `transit` in `[hub]`.
    Transit,
    /// Part of a connection that was accepted.
    Established,
    /// Part of no connection, and unable to begin one.
    Invalid,
    /// To the hub, over its loopback.
    Loopback,
    /// To the hub, from elsewhere than the VPN: others' rules judge that.
    NotOurs,
    /// The end of a chain: no rule of the file let it in.
    NoRule,
    /// What leaves the VPN takes the hub's address: `masquerade` in `[hub]`.
    Masquerade,
    /// A protected host's: the port is open to the VPN alone.
    Protected,
}

impl Origin {
    /// The rule's comment, the same as in the nft text where that has one.
    pub fn comment(self) -> String {
        match self {
            Origin::Rule { number, line: _ } => return format!("rule {number}"),
            Origin::ForgedSource => "forged source",
            Origin::Transit => "transit",
            Origin::Established => "established",
            Origin::Invalid => "invalid",
            Origin::Loopback => "loopback",
            Origin::NotOurs => "not from the VPN",
            Origin::NoRule => "no rule",
            Origin::Masquerade => "masquerade",
            Origin::Protected => "protected port",
        }
        .to_owned()
    }
}
