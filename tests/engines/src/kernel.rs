//! The kernel engine: the rules, disciplines and guard of a plan in a network namespace, loaded as the hub loads them.

mod iptables;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use fielato_kernel::guard::{self, Guard, GuardError};
use fielato_kernel::link;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::tc::{self, Previous};
use fielato_oracle::error::Error as OracleError;
use fielato_oracle::kernel::connection;
use fielato_oracle::kernel::namespace::{Blueprint, Namespace};
use fielato_oracle::kernel::nfnetlink::{CountedRule, INET};
use fielato_oracle::kernel::place::Place;
use fielato_oracle::network::SETTINGS;
use fielato_oracle::subject::{Connection, Output, Port};
use fielato_policy::{Plan, render};
use fielato_qdisc::Item;
use ipnet::IpNet;

use crate::error::Error;
use crate::network::{INTERFACE, UPLINK, UPLINK_NAME};
use crate::scene::Scene;
use crate::subject::{Subject, Tallies};

/// What the rules are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// nft, as the hub loads them.
    Nft,
    /// iptables, as `fielato render` writes them for people.
    Iptables,
}

/// The kernel as a [`Subject`].
pub struct Kernel {
    language: Language,
    place: Place,
    dress: Dress,
}

/// What the interfaces of a namespace wear.
#[derive(Default)]
struct Dress {
    /// Which namespace ([`Place::generation`]).
    generation: u64,
    /// Guards by interface.
    guards: BTreeMap<&'static str, Guarded>,
    /// Disciplines by interface.
    shaping: BTreeMap<&'static str, Vec<Item>>,
}

struct Guarded {
    guard: Guard,
    bans: Vec<IpNet>,
}

impl Kernel {
    /// A kernel without a namespace yet; [`Subject::load`] makes it.
    pub fn new() -> Self {
        Self::speaking(Language::Nft)
    }

    /// One that has the rules as iptables commands, without classes, which those don't know.
    pub fn iptables() -> Self {
        Self::speaking(Language::Iptables)
    }

    fn speaking(language: Language) -> Self {
        Self {
            language,
            place: Place::new(blueprint()),
            dress: Dress::default(),
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

/// The oracle's settings for these interfaces; the uplink; the default route out of it.
fn blueprint() -> Blueprint {
    let settings = SETTINGS.iter().map(|(name, value)| {
        let name = name.replace("tun0", INTERFACE).replace("tun1", UPLINK_NAME);
        (name, (*value).to_owned())
    });
    let mut commands = format!("link set lo up\nlink set {INTERFACE} multicast off\nlink set {UPLINK_NAME} multicast off\n");
    commands += &format!("link set {INTERFACE} up\nlink set {UPLINK_NAME} up\n");
    for net in UPLINK {
        let nodad = if net.contains(':') { " nodad" } else { "" };
        commands += &format!("addr add {net} dev {UPLINK_NAME}{nodad}\n");
    }
    commands += &format!("route add default dev {UPLINK_NAME}\nroute add ::/0 dev {UPLINK_NAME}\n");
    Blueprint {
        tuns: [INTERFACE, UPLINK_NAME].map(str::to_owned),
        settings: settings.collect(),
        commands,
        tracking: true,
        sealed: true,
    }
}

/// What the last case left is taken away, and the interface made as the plan wants it.
fn commands(plan: &Plan) -> String {
    let mut commands = format!("addr flush dev {INTERFACE}\nlink set {INTERFACE} mtu {}\n", plan.mtu);
    for net in &plan.addresses {
        let nodad = if net.addr().is_ipv6() { " nodad" } else { "" };
        commands += &format!("addr add {net} dev {INTERFACE}{nodad}\n");
    }
    commands
}

fn own_v6(plan: &Plan) -> Vec<Ipv6Addr> {
    let of_family = |net: &IpNet| match net.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    };
    plan.addresses.iter().filter_map(of_family).collect()
}

/// Waits until packets to these addresses are delivered: the kernel adds those routes in a queue of its own
/// (`addrconf_dad_begin`), also for addresses that it doesn't check.
pub(crate) fn await_routes(own: &[Ipv6Addr]) -> Result<(), OracleError> {
    /// `RTF_LOCAL` (linux/ipv6_route.h).
    const LOCAL: u32 = 0x8000_0000;
    let until = Instant::now() + Duration::from_secs(5);
    for address in own {
        let wanted = format!("{:032x} 80 ", address.to_bits());
        let path = "/proc/thread-self/net/ipv6_route";
        loop {
            let routes = std::fs::read_to_string(path).map_err(OracleError::system(format!("read {path}")))?;
            let flags = |line: &str| {
                line.split_whitespace()
                    .nth(8)
                    .and_then(|flags| u32::from_str_radix(flags, 16).ok())
            };
            let mut to_it = routes.lines().filter(|line| line.starts_with(&wanted));
            if to_it.any(|line| flags(line).is_some_and(|flags| flags & LOCAL != 0)) {
                break;
            }
            if Instant::now() > until {
                return Err(OracleError::Reply {
                    what: "the routes",
                    why: format!("none to {address} after five seconds"),
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn items(plan: &Plan, device: &str) -> Vec<Item> {
    let of_device = plan.shaping.iter().filter(|shaping| shaping.dev == device);
    of_device
        .filter_map(|shaping| match &shaping.item {
            item @ (Item::Qdisc(_) | Item::Class(_)) => Some(item.clone()),
            Item::Filter(_) => None,
        })
        .collect()
}

impl Dress {
    /// Disciplines and guards as the plan wants them, changed inside of the namespace as a reload changes them.
    fn change(mut self, plan: &Plan) -> Result<Self, Error> {
        let mut netlink = Netlink::open()?;
        let is_guarded = |device| plan.guard.enabled && (device == INTERFACE || plan.guard.uplink);
        let bans: Vec<IpNet> = plan.bans.iter().map(|ban| ban.network.trunc()).collect();
        for device in [INTERFACE, UPLINK_NAME] {
            let link = link::get(&mut netlink, device)?;
            let items = items(plan, device);
            if let Some(before) = self.shaping.get(device) {
                tc::clear(&mut netlink, link.index, Previous::Attempted(before))?;
            }
            tc::replace(&mut netlink, link.index, Previous::Nothing, &items)?;
            self.shaping.insert(device, items);
            let guarded = match self.guards.remove(device) {
                _ if !is_guarded(device) => continue,
                // Loading the program takes longer than all the rest of a case.
                Some(Guarded { mut guard, bans: before }) => {
                    for network in before {
                        guard.unban(network)?;
                    }
                    guard.ban_all(&bans)?;
                    guard
                }
                None => {
                    let options = guard::Options {
                        sources: plan.guard.sources,
                        pin: None,
                    };
                    attach(link.index, link.arphrd, &options, &bans)?
                }
            };
            let guarded = Guarded {
                guard: guarded,
                bans: bans.clone(),
            };
            self.guards.insert(device, guarded);
        }
        Ok(self)
    }
}

/// A program that another thread starts has all descriptors until it is itself: a guard that was let go of may still be there for a
/// moment.
fn attach(ifindex: u32, arphrd: u16, options: &guard::Options, bans: &[IpNet]) -> Result<Guard, GuardError> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match Guard::attach_with(ifindex, arphrd, options, bans) {
            Err(GuardError::Occupied { .. }) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
            attached => return attached,
        }
    }
}

/// Packets in HTB's classes, by interface and class.
fn classes() -> Result<Tallies, Error> {
    let mut netlink = Netlink::open()?;
    let mut tallies = Tallies::new();
    for device in [INTERFACE, UPLINK_NAME] {
        let link = link::get(&mut netlink, device)?;
        for shown in tc::show(&mut netlink, link.index)? {
            if shown.object == tc::Object::Class && shown.packets > 0 {
                tallies.insert(format!("class {device} {}", shown.handle), (shown.packets, shown.bytes));
            }
        }
    }
    Ok(tallies)
}

fn load_rules(language: Language, namespace: &Namespace, scene: &Scene) -> Result<(), Error> {
    match language {
        Language::Nft => drop(namespace.run("nft", &["-f", "-"], scene.nft.clone())?),
        Language::Iptables => {
            let commands = render::iptables::hub(&scene.plan.firewall);
            for (program, name) in [
                ("iptables-legacy-restore", "iptables"),
                ("ip6tables-legacy-restore", "ip6tables"),
            ] {
                namespace.run(program, &[], iptables::save_file(&commands, name))?;
            }
        }
    }
    Ok(())
}

impl Subject for Kernel {
    fn takes(&self, scene: &Scene, packet: &[u8]) -> bool {
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        self.language == Language::Nft || scene.plan.addresses.iter().any(|net| net.addr().is_ipv6() == v6)
    }

    fn load(&mut self, scene: &Scene) -> Result<(), Error> {
        // Where iptables' nat table was once, it judges ICMP errors, rules or not.
        if self.language == Language::Iptables {
            self.place.leave();
        }
        self.place.enter()?;
        let mut dress = std::mem::take(&mut self.dress);
        if dress.generation != self.place.generation() {
            dress = Dress {
                generation: self.place.generation(),
                ..Dress::default()
            };
        }
        let namespace = self.place.namespace()?;
        let setup = &scene.setup;
        namespace.opened.tracking.flush()?;
        namespace.set_tracking([setup.tcp_loose, setup.tcp_liberal, setup.checksum])?;
        namespace.run("ip", &["-batch", "-"], commands(&scene.plan))?;
        let rp_filter = setup.rp_filter;
        namespace.within(move || {
            [INTERFACE, UPLINK_NAME].into_iter().try_for_each(|device| {
                let path = format!("/proc/sys/net/ipv4/conf/{device}/rp_filter");
                std::fs::write(&path, rp_filter.to_string()).map_err(OracleError::system(format!("write {path}")))
            })
        })??;
        let own = own_v6(&scene.plan);
        namespace.within(move || await_routes(&own))??;
        load_rules(self.language, namespace, scene)?;
        let plan = scene.plan.clone();
        self.dress = namespace.within(move || dress.change(&plan))??;
        namespace.outputs()?;
        Ok(())
    }

    fn forget(&mut self) -> Result<(), Error> {
        Ok(self.place.namespace()?.opened.tracking.flush()?)
    }

    fn inject(&mut self, _at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error> {
        self.place.inject(port, packet)?;
        Ok(self.place.namespace()?.outputs()?)
    }

    fn counts(&self, name: &str) -> bool {
        self.language == Language::Nft || name.starts_with("ban ")
    }

    fn tallies(&mut self) -> Result<Tallies, Error> {
        let namespace = self.place.namespace()?;
        let mut tallies = match self.language {
            Language::Nft => namespace.within(classes)??,
            Language::Iptables => Tallies::new(),
        };
        let rules = &mut namespace.opened.tracking;
        if self.language == Language::Nft {
            rules.rules(INET, |message| {
                if let Some(rule) = CountedRule::read(message)
                    && rule.table == "fielato"
                    && rule.packets > 0
                    && !rule.chain.ends_with("_nat")
                {
                    let comment = rule.comment.unwrap_or_default();
                    let sum = tallies.entry(format!("{}: {comment}", rule.chain)).or_default();
                    *sum = (sum.0 + rule.packets, sum.1 + rule.bytes);
                }
            })?;
        }
        for Guarded { guard, .. } in self.dress.guards.values() {
            for ban in guard.bans()? {
                if ban.packets > 0 {
                    let sum = tallies.entry(format!("ban {}", ban.network)).or_default();
                    *sum = (sum.0 + ban.packets, sum.1 + ban.bytes);
                }
            }
        }
        Ok(tallies)
    }

    fn connections(&mut self, _at: Duration) -> Result<Vec<Connection>, Error> {
        let mut all = Vec::new();
        let namespace = self.place.namespace()?;
        namespace
            .opened
            .tracking
            .list(|message| all.extend(connection::read(message)))?;
        all.sort();
        Ok(all)
    }
}
