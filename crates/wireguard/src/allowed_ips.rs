//! Which peer owns which addresses: longest-prefix match over IPv4 and IPv6.
//!
//! A path-compressed binary trie per family, its nodes in one vector. A lookup visits a node wherever prefixes along the
//! address's way part: about 14 among 10,000 scattered ones, 17 among 100,000. [`Recent`] spares most packets the walk.

mod recent;

use std::net::IpAddr;

use ipnet::IpNet;

pub use recent::Recent;

/// Number of a peer within its device.
pub type Slot = u32;

/// The owners of all prefixes of a device. A prefix has one owner at most.
#[derive(Debug)]
pub struct AllowedIps {
    v4: Trie<u32>,
    v6: Trie<u128>,
    /// Another after each change; never 0.
    version: u64,
}

impl Default for AllowedIps {
    fn default() -> Self {
        Self {
            v4: Trie::default(),
            v6: Trie::default(),
            version: 1,
        }
    }
}

impl AllowedIps {
    /// No prefixes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `prefix` (host bits ignored) to `owner`; returns who had it before.
    pub fn insert(&mut self, prefix: IpNet, owner: Slot) -> Option<Slot> {
        self.version += 1;
        match prefix {
            IpNet::V4(net) => self.v4.insert(u32::from(net.network()), net.prefix_len(), owner),
            IpNet::V6(net) => self.v6.insert(u128::from(net.network()), net.prefix_len(), owner),
        }
    }

    /// Takes exactly `prefix` out; returns who had it.
    pub fn remove(&mut self, prefix: IpNet) -> Option<Slot> {
        self.version += 1;
        match prefix {
            IpNet::V4(net) => self.v4.remove(u32::from(net.network()), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(u128::from(net.network()), net.prefix_len()),
        }
    }

    /// The owner of the longest prefix that holds `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<Slot> {
        match address {
            IpAddr::V4(address) => self.v4.lookup(u32::from(address)),
            IpAddr::V6(address) => self.v6.lookup(u128::from(address)),
        }
    }
}

/// An address as a row of bits, the first one the most significant.
trait Bits: Copy {
    const WIDTH: u8;
    fn bit(self, index: u8) -> usize;
    fn common(self, other: Self) -> u8;
    fn truncated(self, len: u8) -> Self;
}

macro_rules! impl_bits {
    ($int:ty, $word:expr) => {
        impl Bits for $int {
            const WIDTH: u8 = <$int>::BITS as u8;

            #[inline]
            fn bit(self, index: u8) -> usize {
                // The word first: a shift over two words is slow, and a lookup waits for one at each node.
                let word = $word(self, index);
                (word >> (63 - (index & 63))) as usize & 1
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn truncated(self, len: u8) -> Self {
                // A shift by the full width is an overflow: length 0 keeps no bit.
                self & <$int>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }
        }
    };
}

impl_bits!(u32, |bits: u32, _| u64::from(bits) << 32);
impl_bits!(u128, |bits: u128, index: u8| if index < 64 {
    (bits >> 64) as u64
} else {
    bits as u64
});

/// Index of no node, and owner of a node that only branches.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Node<K> {
    key: K,
    children: [u32; 2],
    owner: Slot,
    len: u8,
}

#[derive(Debug)]
struct Trie<K> {
    nodes: Vec<Node<K>>,
    free: Vec<u32>,
    root: u32,
}

impl<K> Default for Trie<K> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NONE,
        }
    }
}

/// Where a node hangs: at the root, or at one side of another node.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Child(u32, usize),
}

impl<K: Bits> Trie<K> {
    fn lookup(&self, key: K) -> Option<Slot> {
        let mut best = NONE;
        let mut at = self.root;
        while at != NONE {
            let node = &self.nodes[at as usize];
            if node.key.common(key) < node.len {
                break;
            }
            if node.owner != NONE {
                best = node.owner;
            }
            if node.len == K::WIDTH {
                break;
            }
            at = node.children[key.bit(node.len)];
        }
        (best != NONE).then_some(best)
    }

    fn insert(&mut self, key: K, len: u8, owner: Slot) -> Option<Slot> {
        let mut link = Link::Root;
        loop {
            let at = self.follow(link);
            if at == NONE {
                let leaf = self.allocate(key, len, owner, [NONE; 2]);
                self.relink(link, leaf);
                return None;
            }
            let node = &mut self.nodes[at as usize];
            let shared = node.key.common(key).min(node.len).min(len);
            if shared == node.len && shared == len {
                let before = std::mem::replace(&mut node.owner, owner);
                return (before != NONE).then_some(before);
            }
            if shared == node.len {
                link = Link::Child(at, key.bit(shared));
                continue;
            }
            let side = node.key.bit(shared);
            let mut children = [NONE; 2];
            children[side] = at;
            let above = if shared == len {
                self.allocate(key, len, owner, children)
            } else {
                children[1 - side] = self.allocate(key, len, owner, [NONE; 2]);
                self.allocate(key.truncated(shared), shared, NONE, children)
            };
            self.relink(link, above);
            return None;
        }
    }

    fn remove(&mut self, key: K, len: u8) -> Option<Slot> {
        let mut parent = None;
        let mut link = Link::Root;
        let at = loop {
            let at = self.follow(link);
            if at == NONE {
                return None;
            }
            let node = &self.nodes[at as usize];
            if node.len > len || node.key.common(key) < node.len {
                return None;
            }
            if node.len == len {
                break at;
            }
            parent = Some((link, at));
            link = Link::Child(at, key.bit(node.len));
        };
        let owner = std::mem::replace(&mut self.nodes[at as usize].owner, NONE);
        if owner == NONE {
            return None;
        }
        self.splice(link, at);
        if let Some((link, at)) = parent {
            self.splice(link, at);
        }
        Some(owner)
    }

    /// Takes a node that neither owns nor branches out of the tree.
    fn splice(&mut self, link: Link, at: u32) {
        let Node { owner, children, .. } = self.nodes[at as usize];
        let rest = match (owner, children) {
            (NONE, [NONE, other] | [other, NONE]) => other,
            _ => return,
        };
        self.relink(link, rest);
        self.free.push(at);
    }

    fn follow(&self, link: Link) -> u32 {
        match link {
            Link::Root => self.root,
            Link::Child(at, side) => self.nodes[at as usize].children[side],
        }
    }

    fn relink(&mut self, link: Link, to: u32) {
        match link {
            Link::Root => self.root = to,
            Link::Child(at, side) => self.nodes[at as usize].children[side] = to,
        }
    }

    fn allocate(&mut self, key: K, len: u8, owner: Slot, children: [u32; 2]) -> u32 {
        let node = Node {
            key,
            children,
            owner,
            len,
        };
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A small generator, so that a failure repeats.
    struct Seeded(u64);

    impl Seeded {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    /// The same questions, answered by looking at every prefix.
    #[derive(Default)]
    struct Naive(BTreeMap<IpNet, Slot>);

    impl Naive {
        fn lookup(&self, address: IpAddr) -> Option<Slot> {
            let holding = self.0.iter().filter(|(net, _)| net.contains(&address));
            holding.max_by_key(|(net, _)| net.prefix_len()).map(|(_, owner)| *owner)
        }
    }

    fn random_address(random: &mut Seeded, v6: bool) -> IpAddr {
        // Few distinct bits at both ends, so that prefixes nest and addresses hit.
        let bits = random.next();
        if v6 {
            let high = u128::from(bits & 0x7) << 125;
            IpAddr::V6((high | u128::from((bits >> 8) & 0x1f)).into())
        } else {
            let high = ((bits & 0x7) as u32) << 29;
            IpAddr::V4((high | ((bits >> 8) & 0x1f) as u32).into())
        }
    }

    #[test]
    fn agrees_with_a_naive_model() {
        for v6 in [false, true] {
            let mut random = Seeded(0x5eed_0001 + u64::from(v6));
            let mut naive = Naive::default();
            let mut ips = AllowedIps::new();
            for step in 0..20_000_u32 {
                let width = if v6 { 128 } else { 32 };
                let len = match random.next() % 4 {
                    0 => random.next() % 6,
                    1 => width,
                    2 => width - random.next() % 6,
                    _ => random.next() % (width + 1),
                };
                let net = IpNet::new(random_address(&mut random, v6), len as u8).unwrap().trunc();
                if random.next().is_multiple_of(3) {
                    assert_eq!(ips.remove(net), naive.0.remove(&net), "step {step}: remove {net}");
                } else {
                    assert_eq!(
                        ips.insert(net, step % 50),
                        naive.0.insert(net, step % 50),
                        "step {step}: insert {net}"
                    );
                }
                let address = random_address(&mut random, v6);
                assert_eq!(ips.lookup(address), naive.lookup(address), "step {step}: lookup {address}");
            }
            for net in naive.0.keys() {
                assert!(ips.remove(*net).is_some());
            }
            assert_eq!((ips.v4.root, ips.v6.root), (NONE, NONE));
            assert_eq!(ips.v4.nodes.len() + ips.v6.nodes.len(), ips.v4.free.len() + ips.v6.free.len());
        }
    }

    #[test]
    fn default_routes_hold_everything_of_their_family() {
        let mut ips = AllowedIps::new();
        ips.insert("0.0.0.0/0".parse().unwrap(), 1);
        assert_eq!(ips.lookup("203.0.113.9".parse().unwrap()), Some(1));
        assert_eq!(ips.lookup("2001:db8::1".parse().unwrap()), None);
        ips.insert("::/0".parse().unwrap(), 2);
        ips.insert("2001:db8::/32".parse().unwrap(), 3);
        assert_eq!(ips.lookup("2001:db8::1".parse().unwrap()), Some(3));
        assert_eq!(ips.lookup("2001:db9::1".parse().unwrap()), Some(2));
    }
}
