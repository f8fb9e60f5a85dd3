//! Packets that begin a connection, as products of sets: sources, destinations, protocols with their ports.

use std::borrow::Cow;

use fielato_netfilter::classify::{Bounds, Key};
use fielato_wire::Addr;

use super::ranges::{Range, Ranges};

/// One packet: source, destination, and its service (the protocol's number, then 16 bits of destination port).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub src: u128,
    pub dst: u128,
    pub service: u128,
}

/// Every protocol with every port.
pub(super) const ANY_SERVICE: Range = (0, 0xff_ffff);

impl Point {
    pub fn protocol(self) -> u8 {
        (self.service >> 16) as u8
    }

    pub fn port(self) -> u16 {
        self.service as u16
    }

    pub fn key(self) -> Key {
        Key {
            src: Addr::from_bits(self.src),
            dst: Addr::from_bits(self.dst),
            protocol: self.protocol(),
            sport: 0,
            dport: self.port(),
            in_interface: 0,
            out_interface: 0,
        }
    }
}

/// Packets from any of these to any of those by any of these services.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub src: Ranges,
    pub dst: Ranges,
    pub service: Ranges,
}

impl Region {
    pub fn is_empty(&self) -> bool {
        self.src.is_empty() || self.dst.is_empty() || self.service.is_empty()
    }

    pub fn contains(&self, point: Point) -> bool {
        self.src.contains(point.src) && self.dst.contains(point.dst) && self.service.contains(point.service)
    }

    pub fn is_within(&self, other: &Region) -> bool {
        self.dst.is_within(&other.dst) && self.src.is_within(&other.src) && self.service.is_within(&other.service)
    }

    pub fn and(&self, other: &Region) -> Region {
        Region {
            src: self.src.and(&other.src),
            dst: self.dst.and(&other.dst),
            service: self.service.and(&other.service),
        }
    }

    pub fn touches(&self, other: &Region) -> bool {
        self.dst.touches(&other.dst) && self.src.touches(&other.src) && self.service.touches(&other.service)
    }

    /// What of it is not in `other`: up to three regions that share no packet.
    pub fn without(&self, other: &Region) -> Vec<Region> {
        let parts = [
            Region {
                src: self.src.without(&other.src),
                ..self.clone()
            },
            Region {
                src: self.src.and(&other.src),
                dst: self.dst.without(&other.dst),
                service: self.service.clone(),
            },
            Region {
                src: self.src.and(&other.src),
                dst: self.dst.and(&other.dst),
                service: self.service.without(&other.service),
            },
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect()
    }

    /// Its first packet.
    pub fn point(&self) -> Option<Point> {
        Some(Point {
            src: self.src.first()?,
            dst: self.dst.first()?,
            service: self.service.first()?,
        })
    }

    /// The packets at its corners, the first one first.
    pub fn corners(&self) -> impl Iterator<Item = Point> {
        let ends = |ranges: &Ranges| ranges.around();
        let corners = ends(&self.src).zip(ends(&self.dst)).zip(ends(&self.service));
        corners.into_iter().flat_map(|((src, dst), service)| {
            (0..8u8).map(move |corner| {
                let end = |bit: u8, range: Range| if corner & bit == 0 { range.0 } else { range.1 };
                Point {
                    src: end(1, src),
                    dst: end(2, dst),
                    service: end(4, service),
                }
            })
        })
    }
}

/// Adds boxes that hold the product of these, few of them; whether they hold nothing else.
pub(super) fn add_boxes(src: &Ranges, dst: &Ranges, service: &Ranges, boxes: &mut Vec<Bounds>) -> bool {
    let mut sides = [src, dst, service].map(Ranges::as_slice).map(Cow::Borrowed);
    let mut exact = true;
    // What is in most pieces is drawn together first.
    while sides.iter().map(|side| side.len()).product::<usize>() > BOXES {
        let others: usize = {
            let mut lengths = sides.each_ref().map(|side| side.len());
            lengths.sort_unstable();
            lengths.iter().take(2).product()
        };
        let Some(most) = sides.iter_mut().max_by_key(|side| side.len()) else {
            break;
        };
        *most = Cow::Owned(drawn_together(most, (BOXES / others).max(1)));
        exact = false;
    }
    let [src, dst, services] = sides;
    for service in services.iter() {
        let Some((protocol, dport)) = service_bounds(*service) else {
            exact = false;
            boxes.extend(product(&src, &dst, None, (0, u16::MAX)));
            continue;
        };
        boxes.extend(product(&src, &dst, protocol, dport));
    }
    exact
}

/// At most so many ranges around these: the smallest gaps are closed.
fn drawn_together(ranges: &[Range], most: usize) -> Vec<Range> {
    let gap = |pair: &[Range]| match pair {
        [before, after] => after.0.saturating_sub(before.1),
        _ => 0,
    };
    let mut gaps: Vec<(u128, usize)> = (1..).zip(ranges.windows(2)).map(|(place, pair)| (gap(pair), place)).collect();
    gaps.sort_unstable_by(|one, other| other.cmp(one));
    let mut kept: Vec<usize> = gaps
        .into_iter()
        .take(most.saturating_sub(1))
        .map(|(_, place)| place)
        .collect();
    kept.sort_unstable();
    let ends = kept.iter().copied().chain([ranges.len()]);
    let begins = [0].into_iter().chain(kept.iter().copied());
    let parts = begins.zip(ends).filter_map(|(begin, end)| ranges.get(begin..end));
    parts.filter_map(|part| Some((part.first()?.0, part.last()?.1))).collect()
}

/// A region is given to the classifier as no more boxes than this.
const BOXES: usize = 8;

fn product(src: &[Range], dst: &[Range], protocol: Option<u8>, dport: (u16, u16)) -> impl Iterator<Item = Bounds> {
    let addresses = |(first, last): Range| (Addr::from_bits(first), Addr::from_bits(last));
    let pairs = src.iter().flat_map(move |src| dst.iter().map(move |dst| (*src, *dst)));
    pairs.map(move |(src, dst)| Bounds {
        src: addresses(src),
        dst: addresses(dst),
        protocol,
        dport,
        ..Bounds::ANY
    })
}

/// As the classifier asks it: any protocol, or ports of one.
fn service_bounds((first, last): Range) -> Option<(Option<u8>, (u16, u16))> {
    if (first, last) == ANY_SERVICE {
        return Some((None, (0, u16::MAX)));
    }
    let same = first >> 16 == last >> 16;
    same.then_some((Some((first >> 16) as u8), (first as u16, last as u16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rng: &mut fastrand::Rng) -> Region {
        let mut side = |most: u128| {
            let ranges = (0..rng.usize(1..4)).map(|_| {
                let first = rng.u128(..most);
                (first, (first + rng.u128(..3)).min(most - 1))
            });
            Ranges::new(ranges.collect())
        };
        Region {
            src: side(6),
            dst: side(6),
            service: side(5),
        }
    }

    #[test]
    fn the_smallest_gaps_are_closed() {
        let ranges = [(1, 2), (4, 5), (20, 20), (23, 30), (90, 90)];
        assert_eq!(drawn_together(&ranges, 3), [(1, 5), (20, 30), (90, 90)]);
        assert_eq!(drawn_together(&ranges, 1), [(1, 90)]);
        assert_eq!(drawn_together(&ranges, 9), ranges);
    }

    fn all() -> impl Iterator<Item = Point> {
        (0..6).flat_map(|src| (0..6).flat_map(move |dst| (0..5).map(move |service| Point { src, dst, service })))
    }

    #[test]
    fn packet_by_packet() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..2000 {
            let (a, b) = (random(&mut rng), random(&mut rng));
            let (both, rest) = (a.and(&b), a.without(&b));
            for point in all() {
                let (x, y) = (a.contains(point), b.contains(point));
                assert_eq!(both.contains(point), x && y);
                let parts = rest.iter().filter(|part| part.contains(point)).count();
                assert_eq!(parts, usize::from(x && !y), "{a:?} {b:?} {point:?}");
            }
            assert_eq!(a.touches(&b), !both.is_empty());
            assert_eq!(a.is_within(&b), rest.is_empty());
            assert!(a.corners().all(|corner| a.contains(corner)));
            let mut boxes = Vec::new();
            let exact = add_boxes(&a.src, &a.dst, &a.service, &mut boxes);
            assert!(boxes.len() <= BOXES);
            for point in all() {
                let held = boxes.iter().any(|bounds| bounds.holds(&point.key()));
                assert!(held || !a.contains(point));
                assert!(!exact || held == a.contains(point), "{a:?} {point:?}");
            }
        }
    }
}
