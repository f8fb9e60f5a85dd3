//! One alarm for each of a fixed number of things, in a heap that knows where each stands.
//!
//! HTB's classes move their alarms with almost every packet, some to a minute away. In a timing wheel the moved ones would stay
//! behind until their time; here an alarm is moved in place, and there are never more of them than classes.

const NOWHERE: u32 = u32::MAX;

/// Alarms of the things 0 to n-1.
#[derive(Default)]
pub(crate) struct Alarms {
    /// A binary heap of times and things.
    heap: Vec<(u64, u32)>,
    /// Where each thing stands in the heap.
    place: Vec<u32>,
}

impl Alarms {
    /// For `count` things; none is set.
    pub fn new(count: usize) -> Alarms {
        Alarms {
            heap: Vec::with_capacity(count),
            place: vec![NOWHERE; count],
        }
    }

    /// The earliest alarm.
    pub fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().copied()
    }

    /// Sets or moves an alarm.
    pub fn set(&mut self, thing: u32, time: u64) {
        let Some(&place) = self.place.get(thing as usize) else {
            return;
        };
        let at = match place {
            NOWHERE => {
                self.heap.push((time, thing));
                self.heap.len() - 1
            }
            place => {
                self.heap[place as usize].0 = time;
                place as usize
            }
        };
        let at = self.rise(at);
        self.sink(at);
    }

    /// Takes an alarm away, if it is set.
    pub fn cancel(&mut self, thing: u32) {
        let Some(place) = self.place.get_mut(thing as usize) else {
            return;
        };
        let at = std::mem::replace(place, NOWHERE);
        if at == NOWHERE {
            return;
        }
        let at = at as usize;
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            let at = self.rise(at);
            self.sink(at);
        }
    }

    fn rise(&mut self, mut at: usize) -> usize {
        let item = self.heap[at];
        while at > 0 {
            let above = (at - 1) / 2;
            if self.heap[above] <= item {
                break;
            }
            self.put(at, self.heap[above]);
            at = above;
        }
        self.put(at, item);
        at
    }

    fn sink(&mut self, mut at: usize) {
        let item = self.heap[at];
        loop {
            let mut below = 2 * at + 1;
            if below >= self.heap.len() {
                break;
            }
            if below + 1 < self.heap.len() && self.heap[below + 1] < self.heap[below] {
                below += 1;
            }
            if item <= self.heap[below] {
                break;
            }
            self.put(at, self.heap[below]);
            at = below;
        }
        self.put(at, item);
    }

    fn put(&mut self, at: usize, item: (u64, u32)) {
        self.heap[at] = item;
        self.place[item.1 as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_agrees_with_an_ordered_set() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut alarms, mut model, mut times) = (Alarms::new(50), BTreeSet::new(), vec![None; 50]);
        for _ in 0..20_000 {
            let thing = rng.u32(0..50);
            if let Some(old) = times[thing as usize].take() {
                model.remove(&(old, thing));
            }
            if rng.u32(0..3) == 0 {
                alarms.cancel(thing);
            } else {
                let time = rng.u64(0..1000);
                alarms.set(thing, time);
                model.insert((time, thing));
                times[thing as usize] = Some(time);
            }
            assert_eq!(alarms.first(), model.first().copied());
        }
    }
}
