//! What two lists have in common, in order.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How a list became another one. Places count from 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matching {
    /// What stayed: places in the old and in the new list, both rising.
    pub stayed: Vec<(usize, usize)>,
    /// What went past something that stayed.
    pub moved: Vec<(usize, usize)>,
    /// Places in the old list of what is gone.
    pub removed: Vec<usize>,
    /// Places in the new list of what is new.
    pub added: Vec<usize>,
}

/// Pairs equal items, the first with the first, and lets as many stay as can. In time `n log n`, for any lists: it finds a way
/// from one to the other, seldom not the shortest, when items occur more than once.
pub(super) fn matching<T: Eq + Hash>(old: &[T], new: &[T]) -> Matching {
    let begin = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - begin;
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);

    let mut places: HashMap<&T, VecDeque<usize>> = HashMap::new();
    for (place, item) in old.iter().enumerate().take(old_end).skip(begin) {
        places.entry(item).or_default().push_back(place);
    }
    let mut matching = Matching::default();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (place, item) in new.iter().enumerate().take(new_end).skip(begin) {
        match places.get_mut(item).and_then(VecDeque::pop_front) {
            Some(before) => pairs.push((before, place)),
            None => matching.added.push(place),
        }
    }
    matching.removed = places.into_values().flatten().collect();
    matching.removed.sort_unstable();
    let stays = longest_rising(&pairs);
    matching.stayed.extend((0..begin).map(|place| (place, place)));
    for (pair, stays) in pairs.into_iter().zip(stays) {
        match stays {
            true => matching.stayed.push(pair),
            false => matching.moved.push(pair),
        }
    }
    matching.stayed.extend((old_end..old.len()).zip(new_end..new.len()));
    matching
}

/// Which of the pairs, that rise in their second number, are part of a longest selection that rises in both.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<bool> {
    // Of the selections of each length, the one that ends lowest; and what each pair follows.
    let mut ends: Vec<usize> = Vec::new();
    let mut follows: Vec<Option<usize>> = vec![None; pairs.len()];
    let value = |place: usize| pairs.get(place).map_or(0, |pair| pair.0);
    for place in 0..pairs.len() {
        let length = ends.partition_point(|end| value(*end) < value(place));
        if let Some(follow) = follows.get_mut(place) {
            *follow = length.checked_sub(1).and_then(|before| ends.get(before)).copied();
        }
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut chosen = vec![false; pairs.len()];
    let mut next = ends.last().copied();
    while let Some(place) = next {
        if let Some(chosen) = chosen.get_mut(place) {
            *chosen = true;
        }
        next = follows.get(place).copied().flatten();
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_and_what_moves() {
        let found = matching(&["a", "b", "c", "d", "e"], &["a", "d", "b", "x", "e"]);
        assert_eq!(found.stayed, [(0, 0), (1, 2), (4, 4)]);
        assert_eq!(found.moved, [(3, 1)]);
        assert_eq!((found.removed, found.added), (vec![2], vec![3]));
        assert_eq!(matching::<u8>(&[], &[]), Matching::default());
        assert_eq!(matching(&[1, 1], &[1]).removed, [1]);
    }

    #[test]
    fn every_item_is_told_once_and_leads_to_the_new_list() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let mut list = || (0..rng.usize(..9)).map(|_| rng.u8(..6)).collect::<Vec<u8>>();
            let (old, new) = (list(), list());
            let Matching {
                stayed,
                moved,
                removed,
                added,
            } = matching(&old, &new);
            assert!(stayed.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
            let pairs = || stayed.iter().chain(&moved);
            assert!(pairs().all(|(a, b)| old[*a] == new[*b]));
            let mut olds: Vec<usize> = pairs().map(|pair| pair.0).chain(removed).collect();
            let mut news: Vec<usize> = pairs().map(|pair| pair.1).chain(added).collect();
            olds.sort_unstable();
            news.sort_unstable();
            assert_eq!(olds, (0..old.len()).collect::<Vec<_>>());
            assert_eq!(news, (0..new.len()).collect::<Vec<_>>());
        }
    }
}
