//! The file's rules for packets that cross the hub, or come to it, and which of them a packet meets first: asked of the
//! netfilter library's classifier.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use fielato_netfilter::classify::{Bounds, Classifier};
use fielato_wire::Family;
use ipnet::IpNet;

use super::classes::{Side, everything_but};
use super::ranges::{Range, Ranges};
use super::region::{ANY_SERVICE, Point, Region, add_boxes};
use crate::config::{Action, PortSpec};
use crate::plan::{Addresses, Destination, FilterRule, Firewall, Origin};

/// What a rule does with the packets that it matches first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Lets them pass.
    Accept,
    /// Lets as many pass as its rate allows.
    Limit,
    /// Stops them, told or untold.
    Stop,
    /// Leaves them to the next rule.
    Pass,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Line {
    /// Its place among the file's rules, 1-based; 0 for what was granted.
    pub number: usize,
    pub effect: Effect,
    /// The clock decides whether it is there.
    pub conditional: bool,
    /// What it matches: any of these.
    pub regions: Vec<Region>,
    /// Of each region the sources as the classifier knows them: two have any in common only where the regions have.
    pub sources: Vec<Ranges>,
}

/// The rules of one chain in one family.
pub(super) struct Chain<'a> {
    pub family: Family,
    pub lines: Vec<Line>,
    /// The packets that come to these rules at all.
    pub universe: Vec<Region>,
    classifier: Classifier,
    /// What the classifier is asked for an address.
    src: Side<'a>,
    dst: Side<'a>,
    /// Of each of the classifier's boxes: the line, its region, and whether the box holds nothing else.
    places: Vec<(usize, usize, bool)>,
    /// Boxes that may still be looked at, in all searches together.
    work: Cell<u64>,
}

/// Which rule a packet meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// This line, by this one of its regions.
    Line(usize, usize),
    /// None of those that were asked for.
    None,
    /// It took too long to find out.
    Unknown,
}

/// Whether any packet of a region comes past certain rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    /// This one.
    By(Point),
    /// None: these lines take them all.
    Never(BTreeSet<usize>),
    /// It took too long to find out.
    Unknown,
}

/// Look-ups for one region before it is given up.
const LOOK_UPS: usize = 256;
/// Boxes that one look-up looks at.
const CANDIDATES: usize = 4096;
/// Boxes that all look-ups in a chain look at.
const WORK: u64 = 20_000_000;

impl<'a> Chain<'a> {
    /// The rules that cross the hub.
    pub fn forward(firewall: &'a Firewall, family: Family, conditional: &[bool], sets: &mut Sets<'a>) -> Chain<'a> {
        let overlay = nets(&firewall.overlay, family);
        let all = everything(family);
        let from_vpn = Region {
            src: overlay.clone(),
            dst: all.clone(),
            service: any_service(),
        };
        // Overlay sources from elsewhere are forged, and dropped before the rules.
        let to_vpn = Region {
            src: all.without(&overlay),
            dst: overlay,
            service: any_service(),
        };
        Chain::new(firewall, &firewall.forward, family, vec![from_vpn, to_vpn], conditional, sets)
    }

    /// The rules for what comes from the VPN to the hub itself, of which `others` are not addresses.
    pub fn input(
        firewall: &'a Firewall,
        others: &[IpNet],
        family: Family,
        conditional: &[bool],
        sets: &mut Sets<'a>,
    ) -> Chain<'a> {
        let from_vpn = Region {
            src: nets(&firewall.overlay, family),
            dst: everything(family).without(&nets(others, family)),
            service: any_service(),
        };
        Chain::new(firewall, &firewall.input, family, vec![from_vpn], conditional, sets)
    }

    fn new(
        firewall: &'a Firewall,
        rules: &'a [FilterRule],
        family: Family,
        universe: Vec<Region>,
        conditional: &[bool],
        sets: &mut Sets<'a>,
    ) -> Chain<'a> {
        let src = Side::of(firewall, rules.iter().flat_map(|rule| &rule.from), family);
        let destinations = rules.iter().flat_map(|rule| &rule.to);
        let dst = Side::of(firewall, destinations.map(|to| &to.addresses), family);
        let mut bounds: Vec<Bounds> = Vec::with_capacity(rules.len());
        let mut places = Vec::with_capacity(rules.len());
        let mut lines = Vec::with_capacity(rules.len());
        for (line, rule) in rules.iter().enumerate() {
            let number = match &rule.origin {
                Origin::Rule { number, .. } => *number,
                _ => 0,
            };
            let effect = match &rule.action {
                Action::Accept => Effect::Accept,
                Action::Limit(_) => Effect::Limit,
                Action::Drop | Action::Reject => Effect::Stop,
                Action::Log { .. } => Effect::Pass,
            };
            let mut made = Line {
                number,
                effect,
                conditional: true,
                regions: Vec::new(),
                sources: Vec::new(),
            };
            let from = addresses(firewall, rule.from.iter(), family, sets);
            let sources = src.numbers(&from, rule.from.iter(), family);
            let mut add = |ports: &[PortSpec], to: &[&'a Addresses]| {
                let region = Region {
                    src: from.clone(),
                    dst: addresses(firewall, to.iter().copied(), family, sets),
                    service: services(ports),
                };
                if region.is_empty() {
                    return;
                }
                if effect != Effect::Pass {
                    let destinations = dst.numbers(&region.dst, to.iter().copied(), family);
                    let exact = add_boxes(&sources, &destinations, &region.service, &mut bounds);
                    places.resize(bounds.len(), (line, made.regions.len(), exact));
                }
                made.regions.push(region);
                made.sources.push(sources.clone());
            };
            match rule.to.as_slice() {
                _ if from.is_empty() => {}
                [Destination { addresses, ports }] => add(ports, &[addresses]),
                several => by_ports(several).into_iter().for_each(|(ports, to)| add(ports, &to)),
            }
            let place = number.checked_sub(1);
            made.conditional = place.and_then(|place| conditional.get(place)).copied().unwrap_or(true);
            lines.push(made);
        }
        Chain {
            family,
            lines,
            universe: universe.into_iter().filter(|region| !region.is_empty()).collect(),
            classifier: Classifier::build(family, &bounds),
            src,
            dst,
            places,
            work: Cell::new(WORK),
        }
    }

    /// The first line before `below` that decides over a packet. Rules that the clock takes away count on demand.
    pub fn first(&self, point: Point, below: usize, conditional: bool) -> First {
        let asked = Point {
            src: self.src.number(point.src),
            dst: self.dst.number(point.dst),
            service: point.service,
        };
        let key = asked.key();
        for (candidates, found) in self.classifier.matches(&key, 0).enumerate() {
            let Some(&(line, place, exact)) = self.places.get(found as usize) else {
                return First::None;
            };
            if line >= below {
                return First::None;
            }
            let Some(left) = self.work.get().checked_sub(1) else {
                return First::Unknown;
            };
            self.work.set(left);
            if candidates >= CANDIDATES {
                return First::Unknown;
            }
            let Some(known) = self.lines.get(line) else { continue };
            let holds = exact || known.regions.get(place).is_some_and(|region| region.contains(point));
            if holds && (conditional || !known.conditional) {
                return First::Line(line, place);
            }
        }
        First::None
    }

    /// Whether any packet of `region` that comes to the rules at all comes past all lines before `below`.
    ///
    /// Corners first: mostly one of them does, or meets a line that takes the whole part. Else what the line takes that a packet met
    /// is cut away, and a packet of what is left is asked about, until one comes past or nothing is left.
    pub fn reached(&self, region: &Region, below: usize, conditional: bool) -> Reached {
        let mut takers = BTreeSet::new();
        let mut left: Vec<Region> = Vec::new();
        for all in &self.universe {
            let part = all.and(region);
            if part.is_empty() {
                continue;
            }
            let mut whole = false;
            for corner in part.corners() {
                match self.first(corner, below, conditional) {
                    First::None => return Reached::By(corner),
                    First::Unknown => return Reached::Unknown,
                    First::Line(line, place) => {
                        if self.region(line, place).is_some_and(|taken| part.is_within(taken)) {
                            takers.insert(line);
                            whole = true;
                            break;
                        }
                    }
                }
            }
            if !whole {
                left.push(part);
            }
        }
        for _ in 0..LOOK_UPS {
            let Some(part) = left.pop() else {
                return Reached::Never(takers);
            };
            let Some(point) = part.point() else { continue };
            match self.first(point, below, conditional) {
                First::None => return Reached::By(point),
                First::Unknown => return Reached::Unknown,
                First::Line(line, place) => {
                    takers.insert(line);
                    if let Some(taken) = self.region(line, place) {
                        left.extend(part.without(taken));
                    }
                }
            }
        }
        if left.is_empty() {
            Reached::Never(takers)
        } else {
            Reached::Unknown
        }
    }

    fn region(&self, line: usize, place: usize) -> Option<&Region> {
        self.lines.get(line)?.regions.get(place)
    }
}

/// The plan's named sets, as ranges of each family.
#[derive(Default)]
pub(super) struct Sets<'a> {
    named: HashMap<(&'a str, Family), Ranges>,
    /// The last set that all others were, which mostly is the only one.
    except: HashMap<Family, (&'a [IpNet], Ranges)>,
}

impl<'a> Sets<'a> {
    fn named(&mut self, firewall: &Firewall, name: &'a str, family: Family) -> Ranges {
        let made = || nets(firewall.sets.get(name).map_or(&[][..], Vec::as_slice), family);
        self.named.entry((name, family)).or_insert_with(made).clone()
    }

    fn except(&mut self, some: &'a [IpNet], family: Family) -> Ranges {
        match self.except.get(&family) {
            Some((known, ranges)) if *known == some => ranges.clone(),
            _ => {
                let ranges = everything_but(some, family);
                self.except.insert(family, (some, ranges.clone()));
                ranges
            }
        }
    }
}

/// A rule's destinations that have the same ports.
fn by_ports(to: &[Destination]) -> Vec<(&[PortSpec], Vec<&Addresses>)> {
    let mut grouped: Vec<(&[PortSpec], Vec<&Addresses>)> = Vec::new();
    for Destination { addresses, ports } in to {
        match grouped.iter_mut().find(|(known, _)| known == ports) {
            Some((_, all)) => all.push(addresses),
            None => grouped.push((ports, vec![addresses])),
        }
    }
    grouped
}

fn addresses<'a>(
    firewall: &Firewall,
    all: impl ExactSizeIterator<Item = &'a Addresses>,
    family: Family,
    sets: &mut Sets<'a>,
) -> Ranges {
    let alone = all.len() == 1;
    let mut ranges: Vec<Range> = Vec::new();
    for one in all {
        let one = match one {
            Addresses::Any => return everything(family),
            Addresses::Nets(some) => nets(some, family),
            Addresses::Except(some) => sets.except(some, family),
            Addresses::Set(name) => sets.named(firewall, name, family),
        };
        if alone {
            return one;
        }
        ranges.extend(one.as_slice());
    }
    Ranges::new(ranges)
}

/// The addresses of one family.
pub(super) fn nets(nets: &[IpNet], family: Family) -> Ranges {
    let same = |net: &IpNet| net.addr().is_ipv4() == (family == Family::V4);
    match nets {
        [one] if same(one) => Ranges::One(range(one)),
        [_] => Ranges::none(),
        _ => Ranges::new(nets.iter().filter(|net| same(net)).map(range).collect()),
    }
}

/// First and last address.
pub(super) fn range(net: &IpNet) -> Range {
    match net {
        IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

pub(super) fn everything(family: Family) -> Ranges {
    Ranges::One(match family {
        Family::V4 => (0, u32::MAX.into()),
        Family::V6 => (0, u128::MAX),
    })
}

fn any_service() -> Ranges {
    Ranges::One(ANY_SERVICE)
}

/// Ports; every protocol when there are none.
pub(super) fn services(ports: &[PortSpec]) -> Ranges {
    if ports.is_empty() {
        return any_service();
    }
    let range = |port: &PortSpec| {
        let protocol = u128::from(port.protocol.number());
        (
            protocol << 16 | u128::from(port.first),
            protocol << 16 | u128::from(port.last),
        )
    };
    Ranges::new(ports.iter().map(range).collect())
}
