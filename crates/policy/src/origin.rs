//! What a rule was made from.

use serde::{Deserialize, Serialize};

use crate::config::RawRule;

/// What a rule of the hub, or of a protected host, was made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A `[[rule]]` of the file.
    Rule {
        /// Its place among the file's rules, 1-based. Unlike the line it stays when a member is added above.
        number: usize,
        /// The included file it stands in; `None` for the main one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Its line in the file.
        line: usize,
    },
    /// Temporary access.
    Grant {
        /// Whose.
        member: String,
        /// To what.
        service: String,
    },
    /// From or to a member that has used up its quota.
    OverQuota,
    /// A `[[nat.publish]]` of the file.
    Publish {
        /// Its place among the file's, 1-based.
        number: usize,
        /// The included file it stands in; `None` for the main one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Its line in the file.
        line: usize,
    },
    /// A rule in iptables' words, in `[raw]` of the file.
    Raw {
        /// Its place among the file's, 1-based.
        number: usize,
        /// The included file it stands in; `None` for the main one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
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
    /// To the hub's control port: protected hosts' agents alone.
    ControlChannel,
    /// The hub's own, within a TCP connection that connection tracking does not know: the other end is to be judged first.
    MidConnection,
    /// What was translated: the rules of published ports are asked.
    Translated,
    /// The end of a chain: no rule of the file let it in.
    NoRule,
    /// What leaves the VPN takes the hub's address: `masquerade` in `[hub]`.
    Masquerade,
    /// A protected host's: the port is open to the VPN alone.
    Protected,
    /// A protected host's: the hub's own packets.
    FromHub,
}

/// A comment holds 128 bytes with its closing zero (`NFTNL_UDATA_COMMENT_MAXLEN`); a grant's two names may have 126.
const COMMENT_MAX: usize = 120;

impl Origin {
    /// Of a rule in `[raw]`.
    pub(crate) fn of_raw(rule: &RawRule) -> Origin {
        Origin::Raw {
            number: rule.number,
            file: rule.file.clone(),
            line: rule.line,
        }
    }

    /// The rule's comment, the same as in the nft text where that has one.
    pub fn comment(&self) -> String {
        match self {
            Origin::Rule { number, .. } => return format!("rule {number}"),
            Origin::Grant { member, service } => {
                let mut text = format!("grant {member} {service}");
                text.truncate(COMMENT_MAX);
                return text;
            }
            Origin::Publish { number, .. } => return format!("publish {number}"),
            Origin::Raw { number, .. } => return format!("raw {number}"),
            Origin::OverQuota => "over quota",
            Origin::ForgedSource => "forged source",
            Origin::Transit => "transit",
            Origin::Established => "established",
            Origin::Invalid => "invalid",
            Origin::Loopback => "loopback",
            Origin::NotOurs => "not from the VPN",
            Origin::ControlChannel => "control channel",
            Origin::MidConnection => "mid-connection",
            Origin::Translated => "translated",
            Origin::NoRule => "no rule",
            Origin::Masquerade => "masquerade",
            Origin::Protected => "protected port",
            Origin::FromHub => "from the hub",
        }
        .to_owned()
    }

    /// Whether both were made from the same part of the file, wherever that stands now.
    pub fn is_same(&self, other: &Origin) -> bool {
        match (self, other) {
            (Origin::Rule { number: a, .. }, Origin::Rule { number: b, .. })
            | (Origin::Publish { number: a, .. }, Origin::Publish { number: b, .. })
            | (Origin::Raw { number: a, .. }, Origin::Raw { number: b, .. }) => a == b,
            _ => self == other,
        }
    }
}
