//! A search tree's edges: what stands behind one value of a cut.

/// Where a search goes next. Eight bytes, since tables of slots are what random packets miss the caches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Slot {
    /// No rule.
    #[default]
    Empty,
    /// A few rows, in the order of their indexes.
    Leaf { tag: Tag, rows: u16, at: u32 },
    /// More rows than a leaf's.
    Pile { tag: Tag, at: u32 },
    /// A further cut, with its slots.
    Node { tag: Tag, cut: Cut, at: u32 },
}

const _: () = assert!(size_of::<Slot>() == 8);

impl Slot {
    /// The slot, reached only by values that have the tag.
    pub(super) fn tagged(self, new: Tag) -> Self {
        match self {
            Slot::Empty => Slot::Empty,
            Slot::Leaf { rows, at, .. } => Slot::Leaf { tag: new, rows, at },
            Slot::Pile { at, .. } => Slot::Pile { tag: new, at },
            Slot::Node { cut, at, .. } => Slot::Node { tag: new, cut, at },
        }
    }

    /// The slot for a value, `Empty` when its tag shows that no rule behind it has the value.
    #[inline]
    pub(super) fn admit(self, hash: Hash) -> Self {
        let tag = match self {
            Slot::Empty => return Slot::Empty,
            Slot::Leaf { tag, .. } | Slot::Pile { tag, .. } | Slot::Node { tag, .. } => tag,
        };
        if tag == Tag::ANY || tag == hash.tag() {
            self
        } else {
            Slot::Empty
        }
    }
}

/// Eight bits of the hash of the one value a slot is for. Most packets that fall on another value's slot are turned away by
/// it, and spared the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u8);

impl Tag {
    /// The slot serves several values.
    pub(super) const ANY: Tag = Tag(0);
}

/// How a node cuts: by a lane without its low bits, hashed to one of a power of two of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut(u16);

impl Cut {
    /// Slots of a node: two to this at most.
    pub(super) const MAX_BITS: u32 = 24;

    /// A cut of lane `lane` (below 16) without its `shift` (below 32) low bits, into two to the `bits` slots.
    pub(super) fn new(lane: usize, shift: u32, bits: u32) -> Self {
        let bits = bits.clamp(1, Self::MAX_BITS);
        Self((lane & 15) as u16 | ((shift & 31) as u16) << 4 | (bits as u16) << 9)
    }

    #[inline]
    pub(super) fn lane(self) -> usize {
        usize::from(self.0 & 15)
    }

    #[inline]
    pub(super) fn shift(self) -> u32 {
        u32::from(self.0 >> 4 & 31)
    }

    /// How many slots there are.
    pub(super) fn slots(self) -> usize {
        1 << (self.0 >> 9)
    }

    /// Which slot a value has.
    #[inline]
    pub(super) fn slot(self, hash: Hash) -> usize {
        (hash.0 >> ((64 - (self.0 >> 9)) & 63)) as usize
    }
}

/// A lane's value, spread over 64 bits. Whoever writes the rules picks the values that may collide, so that no secret is needed:
/// a packet can do no worse than fall on the slot with most rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(u64);

impl Hash {
    /// Of a value whose low bits were shifted out.
    #[inline]
    pub(super) fn of(value: u32) -> Self {
        // Knuth's multiplicative hashing: two to the 64 over the golden ratio, whose high bits spread runs of values evenly.
        Hash(u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Bits that no table's slot number is made of.
    #[inline]
    pub(super) fn tag(self) -> Tag {
        Tag(((self.0 >> 32) as u8).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_its_parts() {
        for (lane, shift, bits) in [(0, 0, 1), (15, 31, 24), (7, 16, 17)] {
            let cut = Cut::new(lane, shift, bits);
            assert_eq!((cut.lane(), cut.shift(), cut.slots()), (lane, shift, 1 << bits));
            for value in [0, 1, 0x8000_0000, u32::MAX] {
                assert!(cut.slot(Hash::of(value)) < cut.slots());
            }
        }
    }

    #[test]
    fn a_tag_admits_its_own_value() {
        let slot = Slot::Leaf {
            tag: Tag::ANY,
            rows: 3,
            at: 9,
        };
        let own = slot.tagged(Hash::of(443).tag());
        assert_eq!(slot.admit(Hash::of(80)), slot);
        assert_eq!(own.admit(Hash::of(443)), own);
        assert_eq!(own.admit(Hash::of(80)), Slot::Empty);
    }
}
