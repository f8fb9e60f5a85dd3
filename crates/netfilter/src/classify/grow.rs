//! Growing the trees.

use super::choose::{Choice, Chooser, Terms, slot_bits, values};
use super::forest::{Forest, MAX_TREES, Tree};
use super::pile::Pile;
use super::row::Row;
use super::slot::{Cut, Hash, Slot, Tag};

/// So many rules or fewer are compared one after the other: one tree that is a leaf.
const LINEAR: usize = 16;
/// A slot with so many rows or fewer isn't cut further.
const SMALL: usize = 8;
/// Rows of a leaf at most; more make a pile.
const LEAF: usize = 24;
/// Cuts on one path at most.
const MAX_DEPTH: u32 = 8;
/// Copies of one rule behind one cut at most.
const MAX_COPIES: usize = 64;
/// Copies that a small set may make beside two of each rule: that takes little memory, and saves trees.
const SMALL_SET_COPIES: usize = 8192;
/// Bits that a tree's first cut must gain, since each search has a look at each tree. What it can't place costs nothing, as it may
/// gain as much in the next tree.
const ROOT: Terms = Terms { least: 0.25, aside: 0.0 };
/// Bits that further cuts must gain. What they put aside makes for more trees, which all searches pay for.
const BELOW: Terms = Terms { least: 1.0, aside: 5.0 };

/// Grows the forest of these rows, which stand in the order of their indexes.
pub(super) fn grow<const N: usize>(rows: &[Row<N>]) -> Forest<N> {
    let mut grower = Grower {
        rows,
        forest: Forest::default(),
        chooser: Chooser::new(rows.len()),
        spare: 2 * rows.len() + SMALL_SET_COPIES.min(8 * rows.len()),
        aside: Vec::new(),
    };
    let mut list: Vec<u32> = (0..rows.len() as u32).collect();
    while !list.is_empty() {
        list = grower.tree(list);
    }
    let mut forest = grower.forest;
    forest.trees.sort_by_key(|tree| tree.first);
    forest.slots.shrink_to_fit();
    forest.rows.shrink_to_fit();
    forest.piles.shrink_to_fit();
    forest
}

struct Grower<'a, const N: usize> {
    /// The rows, each once. Lists below are of positions in it.
    rows: &'a [Row<N>],
    forest: Forest<N>,
    chooser: Chooser,
    /// How many copies of rows may still be made, so that no rule set takes more than a few times its own size.
    spare: usize,
    /// What the tree that grows can't place.
    aside: Vec<u32>,
}

/// A rule behind a slot.
#[derive(Clone, Copy)]
struct Entry {
    slot: u32,
    rule: u32,
    tag: Tag,
}

impl<const N: usize> Grower<'_, N> {
    /// Adds a tree of the rules listed, and returns those that it doesn't hold.
    fn tree(&mut self, list: Vec<u32>) -> Vec<u32> {
        let last = list.len() <= LINEAR || self.forest.trees.len() + 1 >= MAX_TREES;
        let choice = if last { None } else { self.choose(&list, ROOT) };
        let root = match choice {
            Some(choice) => self.node(&list, choice, 0),
            None => self.end(&list),
        };
        let mut aside = std::mem::take(&mut self.aside);
        aside.sort_unstable();
        aside.dedup();
        // A rule put aside may still stand behind some slots of this tree, but is found in its later tree.
        let placed = list.iter().find(|rule| aside.binary_search(rule).is_err());
        let (root, first) = match placed {
            Some(first) => (root, first),
            // Each rule was put aside somewhere: cuts don't help.
            None => {
                aside.clear();
                (self.end(&list), list.first().unwrap_or(&0))
            }
        };
        let first = self.rows.get(*first as usize).map_or(0, Row::index);
        self.forest.trees.push(Tree { first, root });
        aside
    }

    /// A part of a tree; rules its cuts can't place are put aside.
    fn branch(&mut self, list: &[u32], depth: u32) -> Slot {
        if list.len() <= SMALL || depth >= MAX_DEPTH {
            return self.end(list);
        }
        match self.choose(list, BELOW) {
            Some(choice) => self.node(list, choice, depth),
            None => self.end(list),
        }
    }

    fn choose(&mut self, list: &[u32], terms: Terms) -> Option<Choice> {
        let copies = self.copies(list.len());
        self.chooser.choose(self.rows, list, copies, terms)
    }

    /// How often each of so many rules may be copied.
    fn copies(&self, rules: usize) -> u32 {
        (2 * self.spare / rules.max(1)).clamp(1, MAX_COPIES) as u32
    }

    /// Cuts, and goes on behind each slot.
    fn node(&mut self, list: &[u32], choice: Choice, depth: u32) -> Slot {
        let (cut, copies) = self.cut(list, choice);
        let entries = self.place(list, choice, cut, copies);
        let Ok(at) = u32::try_from(self.forest.slots.len()) else {
            return self.end(list);
        };
        self.forest.slots.resize(at as usize + cut.slots(), Slot::Empty);
        let mut behind = Vec::new();
        for group in entries.chunk_by(|a, b| a.slot == b.slot) {
            let Some(first) = group.first() else { continue };
            behind.clear();
            behind.extend(group.iter().map(|entry| entry.rule));
            // Two values of one rule may fall on the same slot.
            behind.dedup();
            let same = group.iter().all(|entry| entry.tag == first.tag);
            let tag = if same { first.tag } else { Tag::ANY };
            let slot = self.branch(&behind, depth + 1).tagged(tag);
            if let Some(place) = self.forest.slots.get_mut(at as usize + first.slot as usize) {
                *place = slot;
            }
        }
        let tag = Tag::ANY;
        Slot::Node { tag, cut, at }
    }

    /// The cut with as many slots as its values need, and how many copies of a rule it may make.
    fn cut(&self, list: &[u32], choice: Choice) -> (Cut, u32) {
        let Choice { lane, shift, .. } = choice;
        let mut copies = self.copies(list.len());
        loop {
            let probe = Cut::new(lane, shift, slot_bits(list.len()));
            let mut taken = vec![false; probe.slots()];
            let (mut distinct, mut total) = (0, 0);
            let placed = self.listed(list).filter_map(|(_, row)| values(row, lane, shift, copies));
            for value in placed.flatten() {
                total += 1;
                if let Some(taken) = taken.get_mut(probe.slot(Hash::of(value)))
                    && !std::mem::replace(taken, true)
                {
                    distinct += 1;
                }
            }
            if copies == 1 || total <= list.len() + self.spare {
                return (Cut::new(lane, shift, slot_bits(distinct)), copies);
            }
            copies /= 2;
        }
    }

    /// What stands behind each slot: in the order of slots, and in each in the order of rules. Rules that can't be placed are put
    /// aside.
    fn place(&mut self, list: &[u32], choice: Choice, cut: Cut, copies: u32) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(list.len());
        let mut unplaced = Vec::new();
        for (rule, row) in self.listed(list) {
            let Some(values) = values(row, choice.lane, choice.shift, copies) else {
                unplaced.push(rule);
                continue;
            };
            entries.extend(values.map(|value| {
                let hash = Hash::of(value);
                Entry {
                    slot: cut.slot(hash) as u32,
                    rule,
                    tag: hash.tag(),
                }
            }));
        }
        // Where there are few slots, an open rule may stand behind each.
        let mut placed = list.len();
        if cut.slots() <= copies as usize && entries.len() + unplaced.len() * cut.slots() <= list.len() + self.spare {
            let tag = Tag::ANY;
            for &rule in &unplaced {
                entries.extend((0..cut.slots() as u32).map(|slot| Entry { slot, rule, tag }));
            }
        } else {
            placed -= unplaced.len();
            self.aside.append(&mut unplaced);
        }
        self.spare = self.spare.saturating_sub(entries.len().saturating_sub(placed));
        entries.sort_unstable_by_key(|entry| (u64::from(entry.slot) << 32) | u64::from(entry.rule));
        entries
    }

    /// The end of a path: the rows themselves.
    fn end(&mut self, list: &[u32]) -> Slot {
        let tag = Tag::ANY;
        let all = self.rows;
        let rows = list.iter().filter_map(|rule| all.get(*rule as usize).copied());
        if list.is_empty() {
            return Slot::Empty;
        }
        if list.len() <= LEAF
            && let (Ok(count), Ok(at)) = (u16::try_from(list.len()), u32::try_from(self.forest.rows.len()))
        {
            self.forest.rows.extend(rows);
            return Slot::Leaf { tag, rows: count, at };
        }
        let at = self.forest.piles.len() as u32;
        let mut pile = Vec::with_capacity(list.len());
        pile.extend(rows);
        self.forest.piles.push(Pile::new(pile));
        Slot::Pile { tag, at }
    }

    fn listed<'list>(&self, list: &'list [u32]) -> impl Iterator<Item = (u32, &Row<N>)> + use<'_, 'list, N> {
        let rows = self.rows;
        list.iter().filter_map(move |&rule| Some((rule, rows.get(rule as usize)?)))
    }
}
