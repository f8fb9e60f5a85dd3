//! Where packets go: ports, addresses, routes and routing rules, and with them the answers that netfilter asks of its host.

mod address;
mod host;
mod table;

use std::net::IpAddr;

use fielato_netfilter::host::{AddressType, RouteKey};
use fielato_netfilter::{Interface, InterfaceName, Now};
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use crate::config::{Config, ConfigError, MAIN_TABLE, Port, PortId, PortKind, RouteKind, RpFilter};
use crate::drops::DropReason;
use crate::icmp_limit::IcmpLimits;
use crate::prefix::family_of;
use address::Addresses;
pub(crate) use table::Entry;
use table::Tables;

/// The loopback's number; the ports' are those of their identifiers and one.
const LOOPBACK: u32 = u32::MAX;

/// The loopback's MTU.
const LOOPBACK_MTU: u32 = 65_536;

/// The number that a port has as an interface.
pub(crate) const fn interface_number(port: PortId) -> u32 {
    port.0 as u32 + 1
}

/// The port that an interface is.
pub(crate) fn port_of(interface: Interface) -> Option<PortId> {
    u16::try_from(interface.index.checked_sub(1)?).ok().map(PortId)
}

/// A port as routing needs it.
#[derive(Debug, Clone)]
struct Way {
    interface: Interface,
    kind: PortKind,
    mtu: u32,
    rp_filter: RpFilter,
    addresses: Vec<IpNet>,
}

/// A routing rule, ready to be asked.
#[derive(Debug, Clone)]
struct Rule {
    from: Option<IpNet>,
    to: Option<IpNet>,
    iif: Option<InterfaceName>,
    mark: Option<(u32, u32)>,
    table: u32,
}

/// A routing decision, for who traces a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The way: none for the hub itself, or nowhere.
    pub(crate) port: Option<PortId>,
    pub(crate) table: Option<u32>,
    pub(crate) via: Option<IpAddr>,
    pub(crate) kind: DecisionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecisionKind {
    Local,
    Forward,
    Refused(DropReason),
}

/// Routes and addresses.
#[derive(Debug)]
pub(crate) struct Router {
    ways: Vec<Way>,
    addresses: Addresses,
    tables: Tables,
    /// By family, in the order in which they are asked.
    rules: [Vec<Rule>; 2],
    generation: u64,
    pub(crate) limits: IcmpLimits,
    /// The moment of the packet at hand.
    pub(crate) now: u64,
    /// Why the packet at hand has no route.
    pub(crate) refusal: Option<DropReason>,
    /// Where the next packet made here goes, whatever its destination (TEE).
    pub(crate) gateway: Option<Addr>,
    /// Decisions about the packet at hand, when somebody traces it.
    pub(crate) decisions: Option<Vec<Decision>>,
}

impl Router {
    pub(crate) fn new(config: &Config, seed: u64) -> Result<Router, ConfigError> {
        let ways = ways(config)?;
        let addresses = Addresses::new(&config.ports);
        let tables = Tables::new(config)?;
        let mut rules: Vec<(u32, Rule)> = Vec::new();
        for rule in &config.rules {
            let name = |iif: &String| InterfaceName::new(iif).unwrap_or(InterfaceName::NONE);
            if let (Some(from), Some(to)) = (rule.from, rule.to)
                && family_of(from.addr()) != family_of(to.addr())
            {
                return Err(ConfigError::Family(format!("routing rule {}", rule.priority)));
            }
            let ready = Rule {
                from: rule.from,
                to: rule.to,
                iif: rule.iif.as_ref().map(name),
                mark: rule.mark,
                table: rule.table,
            };
            rules.push((rule.priority, ready));
        }
        // The rule that is always there.
        let main = Rule {
            from: None,
            to: None,
            iif: None,
            mark: None,
            table: MAIN_TABLE,
        };
        rules.push((32_766, main));
        rules.sort_by_key(|(priority, _)| *priority);
        let of_family = |family| {
            let fits = |net: &Option<IpNet>| net.is_none_or(|net| family_of(net.addr()) == family);
            let fitting = rules.iter().filter(|(_, rule)| fits(&rule.from) && fits(&rule.to));
            fitting.map(|(_, rule)| rule.clone()).collect()
        };
        Ok(Router {
            ways,
            addresses,
            tables,
            rules: [of_family(Family::V4), of_family(Family::V6)],
            generation: 0,
            limits: IcmpLimits::new(config.settings.icmp, seed),
            now: 0,
            refusal: None,
            gateway: None,
            decisions: None,
        })
    }

    /// Takes the place of `old`: what was sent lately stays known, and cached routes die.
    pub(crate) fn succeed(&mut self, old: Router, config: &Config) {
        self.generation = old.generation + 1;
        self.limits = old.limits;
        self.limits.set(config.settings.icmp);
    }

    fn way(&self, index: u32) -> Option<&Way> {
        self.ways.iter().find(|way| way.interface.index == index)
    }

    /// Whether an address is the gateway's own.
    pub(crate) fn is_own(&self, family: Family, address: Addr) -> bool {
        self.addresses.is_own(family, address)
    }

    /// What kind of address it is.
    pub(crate) fn kind(&self, family: Family, address: Addr) -> AddressType {
        self.addresses.kind(family, address)
    }

    /// The route that rules and tables give; which table it is from, and how long its prefix is.
    pub(crate) fn lookup(&self, key: &RouteKey, dst: Addr) -> Option<(u32, u8, &Entry)> {
        let within = |net: &Option<IpNet>, address: Addr| net.is_none_or(|net| net.contains(&address.to_ip(key.family)));
        self.rules[key.family as usize].iter().find_map(|rule| {
            let iif = rule.iif.is_none_or(|iif| iif == key.in_interface.name);
            let mark = rule.mark.is_none_or(|(mark, mask)| key.mark & mask == mark & mask);
            let fits = iif && mark && within(&rule.from, key.src) && within(&rule.to, dst);
            let (length, entry) = fits.then(|| self.tables.find(rule.table, key.family, dst)).flatten()?;
            Some((rule.table, length, entry))
        })
    }

    /// The neighbour to give a packet to that leaves by `port`.
    pub(crate) fn next_hop(&self, key: &RouteKey, port: PortId) -> Addr {
        let entry = self.lookup(key, key.dst).map(|(_, _, entry)| entry);
        let via = entry.filter(|entry| entry.port == port).and_then(|entry| entry.via);
        via.map_or(key.dst, Addr::from)
    }

    fn note(&mut self, decision: Decision) {
        if let Some(decisions) = &mut self.decisions {
            decisions.push(decision);
        }
    }

    fn refuse(&mut self, reason: DropReason) {
        // The first is the packet's own; what follows is about answers to it.
        self.refusal.get_or_insert(reason);
        self.note(Decision {
            port: None,
            table: None,
            via: None,
            kind: DecisionKind::Refused(reason),
        });
    }
}

fn ways(config: &Config) -> Result<Vec<Way>, ConfigError> {
    let mut ways: Vec<Way> = Vec::new();
    let mut has_host = false;
    for port in &config.ports {
        let Port {
            id,
            name,
            kind,
            mtu,
            addresses,
            link: _,
            rp_filter,
        } = port;
        let bad_name = || ConfigError::PortName {
            port: *id,
            name: name.clone(),
        };
        let interface = port.interface().ok_or_else(bad_name)?;
        if ways.iter().any(|way| way.interface.index == interface.index) {
            return Err(ConfigError::DuplicatePort(*id));
        }
        // The hub's stack may be connected by an interface of the tunnel's name; no rule ever sees the host's port.
        let is_twin = |way: &&Way| way.interface.name == interface.name && PortKind::Host != way.kind && PortKind::Host != *kind;
        if ways.iter().any(|way| is_twin(&way)) || interface.name == InterfaceName::LOOPBACK {
            return Err(bad_name());
        }
        if *kind == PortKind::Host && std::mem::replace(&mut has_host, true) {
            return Err(ConfigError::SecondHost(*id));
        }
        ways.push(Way {
            interface,
            kind: *kind,
            mtu: *mtu,
            rp_filter: *rp_filter,
            addresses: addresses.clone(),
        });
    }
    Ok(ways)
}

/// What a source of an IPv4 packet is checked for, in the input route (`fib_validate_source`).
impl Router {
    fn validate_source(&self, key: &RouteKey) -> Result<(), DropReason> {
        // An address of one's own can't come from outside.
        if self.is_own(Family::V4, key.src) {
            return Err(DropReason::Martian);
        }
        let way = self.way(key.in_interface.index);
        let rp_filter = way.map_or(RpFilter::Off, |way| way.rp_filter);
        if rp_filter == RpFilter::Off || key.src == Addr::ZERO {
            return Ok(());
        }
        // The table `local` has a route of type broadcast for it.
        if matches!(self.kind(Family::V4, key.src), AddressType::Broadcast) {
            return Err(DropReason::Martian);
        }
        let back = RouteKey {
            src: key.dst,
            dst: key.src,
            in_interface: Interface::NONE,
            // `src_valid_mark` is off.
            mark: 0,
            ..*key
        };
        match self.lookup(&back, key.src) {
            Some((_, _, entry)) if entry.kind != RouteKind::Unicast => Err(DropReason::Martian),
            Some((_, _, entry)) if interface_number(entry.port) == key.in_interface.index => Ok(()),
            // What has no address there can't answer from there (`no_addr`).
            Some(_) if rp_filter == RpFilter::Loose && way.is_some_and(|way| way.addresses.iter().any(is_v4)) => Ok(()),
            _ => Err(DropReason::ReversePath),
        }
    }
}

const fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

impl Router {
    /// Lets time pass, for the limits.
    pub(crate) fn at(&mut self, now: Now) {
        self.now = now.mono;
        self.refusal = None;
    }
}
