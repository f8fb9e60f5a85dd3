//! Which flow a packet belongs to.

use fielato_wire::{Addr, Family, Headers};

/// What packets of one flow have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IP version.
    pub family: Family,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Transport protocol.
    pub protocol: u8,
    /// Source port; 0 where there is none.
    pub sport: u16,
    /// Destination port; 0 where there is none.
    pub dport: u16,
}

impl FlowKey {
    /// The flow of a packet with these headers. No fragment's ports count, so that all fragments of a datagram are one flow
    /// (the kernel's flow dissector stops at fragments, too).
    pub fn of(headers: &Headers) -> FlowKey {
        let (sport, dport) = match headers.is_fragment() {
            true => (0, 0),
            false => (headers.sport, headers.dport),
        };
        FlowKey {
            family: headers.family,
            src: headers.src,
            dst: headers.dst,
            protocol: headers.protocol,
            sport,
            dport,
        }
    }

    /// A number for the flow that can't be foretold without `seed`.
    pub fn hash(&self, seed: u64) -> u64 {
        let ports = u64::from(self.sport) << 32 | u64::from(self.dport) << 16 | u64::from(self.protocol);
        let hash = mix(seed ^ self.src.lo, self.dst.lo ^ 0x9e37_79b9_7f4a_7c15);
        let hash = mix(hash ^ self.src.hi, self.dst.hi ^ 0xd1b5_4a32_d192_ed03);
        mix(hash ^ ports, seed ^ 0x8ebc_6af0_9c88_c6e3)
    }
}

/// A number for one address, as for fairness between hosts.
pub fn host_hash(address: Addr, seed: u64) -> u64 {
    mix(
        mix(seed ^ address.lo, address.hi ^ 0x9e37_79b9_7f4a_7c15),
        seed ^ 0x8ebc_6af0_9c88_c6e3,
    )
}

/// A multiplication to twice the width, folded: every bit of the inputs reaches every bit of the result.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b | 1);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The place of `hash` among `count`, without a division.
pub fn bucket(hash: u64, count: u32) -> u32 {
    (((hash >> 32) * u64::from(count)) >> 32) as u32
}
