//! Comparisons that matches write out (`--ttl-lt`).

/// How a packet's number is compared with the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
}

impl Comparison {
    /// Whether it holds between the packet's number and the rule's.
    pub(crate) const fn holds(self, packet: u8, rule: u8) -> bool {
        match self {
            Comparison::Equal => packet == rule,
            Comparison::NotEqual => packet != rule,
            Comparison::Less => packet < rule,
            Comparison::Greater => packet > rule,
        }
    }
}
