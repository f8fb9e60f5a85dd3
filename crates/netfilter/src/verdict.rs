//! What becomes of a packet.

/// A hook's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It ends here.
    Drop(DropReason),
    /// The hook keeps it.
    Stolen,
    /// It waits for a handler of this queue.
    Queue {
        /// Queue number.
        number: u16,
        /// Accept it when nobody handles the queue (`--queue-bypass`).
        bypass: bool,
    },
    /// This hook function is to be called again. Bounded: see [`DropReason::RepeatLimit`].
    Repeat,
}

/// Why a packet was dropped. Every reason has a counter and a name that a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A rule with target DROP (or REJECT, after its answer); the table's number and the rule's within it.
    Rule {
        /// Number of the table in the engine.
        table: u16,
        /// Number of the rule in the compiled table.
        rule: u32,
    },
    /// A built-in chain's policy.
    Policy {
        /// Number of the table in the engine.
        table: u16,
        /// The chain's hook.
        hook: crate::Hook,
    },
    /// A match found the packet malformed and asked for its drop (`hotdrop`).
    Hotdrop,
    /// Not an IP packet (see [`fielato_wire::Malformed`]).
    Malformed(fielato_wire::Malformed),
    /// A fragment could not be put together: overlap, too long, or too many waiting.
    Fragment,
    /// Connection tracking's table is full and nothing could be dropped early.
    TableFull,
    /// The tracker of its protocol asked for its drop.
    Protocol,
    /// The same connection was confirmed by another packet meanwhile.
    ConfirmClash,
    /// No free tuple for NAT.
    NatExhausted,
    /// NAT could not rewrite the packet (too short, or a broken ICMP error).
    NatMalformed,
    /// Its connection was given an interface's address (MASQUERADE), and now goes out by another interface.
    MasqueradeMoved,
    /// A helper could not do its work on the packet.
    Helper,
    /// No handler, or a full queue.
    Queue {
        /// Queue number.
        number: u16,
    },
    /// The handler's verdict.
    QueueVerdict {
        /// Queue number.
        number: u16,
    },
    /// A hook function asked to be repeated too often.
    RepeatLimit,
    /// No route.
    NoRoute,
    /// TTL or hop limit used up.
    TtlExceeded,
    /// A registered hook function or extension.
    Extension,
    /// Larger than the way out and not to be fragmented.
    TooBig,
}

impl DropReason {
    /// Whether rules alone decided it.
    pub const fn is_of_rules(self) -> bool {
        matches!(self, DropReason::Rule { .. } | DropReason::Policy { .. })
    }

    /// Its name, for counters and messages.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Rule { .. } => "rule",
            DropReason::Policy { .. } => "policy",
            DropReason::Hotdrop => "hotdrop",
            DropReason::Malformed(_) => "malformed",
            DropReason::Fragment => "fragment",
            DropReason::TableFull => "conntrack-full",
            DropReason::Protocol => "conntrack-protocol",
            DropReason::ConfirmClash => "conntrack-clash",
            DropReason::NatExhausted => "nat-exhausted",
            DropReason::NatMalformed => "nat-malformed",
            DropReason::MasqueradeMoved => "masquerade-moved",
            DropReason::Helper => "helper",
            DropReason::Queue { .. } => "queue",
            DropReason::QueueVerdict { .. } => "queue-verdict",
            DropReason::RepeatLimit => "repeat-limit",
            DropReason::NoRoute => "no-route",
            DropReason::TtlExceeded => "ttl-exceeded",
            DropReason::Extension => "extension",
            DropReason::TooBig => "too-big",
        }
    }
}

/// A target's answer, within a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetVerdict {
    /// The next rule (XT_CONTINUE).
    Continue,
    /// Out of this table, accepted.
    Accept,
    /// Dropped by this rule.
    Drop,
    /// Dropped for another reason than the rule itself.
    DropFor(DropReason),
    /// Back to the calling chain.
    Return,
    /// The target keeps the packet.
    Stolen,
    /// To a queue.
    Queue {
        /// Queue number.
        number: u16,
        /// Accept when nobody handles the queue.
        bypass: bool,
    },
}
