//! A packet's whole way: out of the sender's machine, through the gateway, into the receiver's.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fielato_gateway::trace::{self as seen, TraceFilter};
use fielato_gateway::{Buffer, DropReason, Gateway, Now, PortId};
use fielato_qdisc::{Class, Handle, Item, Parent};
use fielato_wire::Headers;
use ipnet::IpNet;
use jiff::Timestamp;

use super::advice::Stopped;
use super::cipher::{Cipher, endpoint};
use super::far_end::{FarEnd, Met};
use super::observe;
use super::packet::{Shown, acknowledgement, answer};
use super::proxy::{Proxy, UNCARRIED};
use super::question::{Case, QuestionError, Sender};
use super::station::{End, MemberState, Place, Reason, Role, Station, Step, Trace};
use crate::config::{Config, Member, Route};
use crate::gateway::{self, Exit, HOST, Rules, TUNNEL, UPLINK, Uplink};
use crate::plan::{HostPlan, Plan};
use crate::render::wg_quick::allowed_ips;

/// The machines as the configuration has them, and the time on them.
pub(crate) struct Walk<'a> {
    config: &'a Config,
    plan: &'a Plan,
    /// Judges. It has no disciplines: their losses and delays are not the policy's.
    gateway: Gateway,
    /// The same with disciplines, to tell in which class a packet waits; none without any, and where some are the kernel's alone.
    shaped: Option<Gateway>,
    rules: Rules,
    /// The sockets of `exit = "proxy"`.
    proxy: Option<Proxy>,
    /// Protected hosts that a packet has met.
    hosts: BTreeMap<String, FarEnd>,
    /// What goes into the tunnel by the routes that a packet has met.
    routes: HashMap<&'a Route, Arc<[IpNet]>>,
    /// The hub's addresses on the uplink.
    own: Vec<IpNet>,
    begin: Timestamp,
    now: Now,
}

/// One packet on its way.
pub(crate) struct Journey {
    from: Sender,
    role: Role,
    packet: Shown,
    /// As it is now.
    pub bytes: Vec<u8>,
    pub stations: Vec<Station>,
}

/// Where a packet arrived, and its bytes as they were then.
type Arrived = (Place, Vec<u8>);

/// Where a packet is when its way is over, and what it is then.
pub(crate) enum Gone {
    Arrived(Place),
    Stopped(Place, Reason),
}

/// After it the slowest limit, `1/day`, lets another packet pass.
const PAUSE: u64 = 86_401 * Now::SECOND;

/// By which a machine hears itself.
const LOOPBACK: &str = "lo";

/// Packets and questions are the same each time; the seed keys tables that nobody attacks.
const SEED: u64 = 1;

impl<'a> Walk<'a> {
    pub fn new(config: &'a Config, plan: &'a Plan, now: Timestamp) -> Result<Walk<'a>, QuestionError> {
        let mut walk = Walk::unshaped(config, plan, now)?;
        if !plan.shaping.is_empty() {
            let made = gateway::config(plan, &Uplink::supposed(config));
            walk.shaped = Gateway::new(made, SEED, walk.now).ok();
        }
        Ok(walk)
    }

    /// The same without a twin that has disciplines, for many questions.
    pub fn unshaped(config: &'a Config, plan: &'a Plan, now: Timestamp) -> Result<Walk<'a>, QuestionError> {
        Walk::on_machine(config, plan, now, &[])
    }

    /// The same on a machine that has these addresses beside those that the configuration names.
    pub fn on_machine(config: &'a Config, plan: &'a Plan, now: Timestamp, own: &[IpAddr]) -> Result<Walk<'a>, QuestionError> {
        let mut uplink = Uplink::supposed(config);
        let overlay = |address: &IpAddr| config.hub.addresses.iter().any(|net| net.contains(address));
        let unknown = own.iter().filter(|address| !overlay(address));
        let unknown = unknown.filter(|address| !uplink.addresses.iter().any(|net| net.addr() == **address));
        let unknown: Vec<IpNet> = unknown.copied().map(IpNet::from).collect();
        uplink.addresses.extend(unknown);
        let wall = u64::try_from(now.as_nanosecond()).unwrap_or(0);
        let moment = Now { mono: wall, wall };
        let unshaped = fielato_gateway::Config {
            shaping: Vec::new(),
            ..gateway::config(plan, &uplink)
        };
        let gateway = Gateway::new(unshaped, SEED, moment);
        Ok(Walk {
            config,
            plan,
            gateway: gateway.map_err(|error| QuestionError::Gateway(error.to_string()))?,
            shaped: None,
            rules: gateway::rules(plan, &uplink),
            proxy: (uplink.exit == Exit::Proxy).then(Proxy::default),
            hosts: BTreeMap::new(),
            routes: HashMap::new(),
            own: uplink.addresses,
            begin: now,
            now: moment,
        })
    }

    /// As if no packet had been seen.
    pub fn forget(&mut self) {
        self.gateway.forget_connections();
        if let Some(shaped) = &mut self.shaped {
            shaped.forget_connections();
        }
        if let Some(proxy) = &mut self.proxy {
            *proxy = Proxy::default();
        }
        self.hosts.values_mut().for_each(FarEnd::forget);
        // The limits of rules are what they are after a pause; the time of day, which ends bans, stays.
        self.now.mono = self.now.mono.saturating_add(PAUSE);
    }

    /// Some time after the beginning.
    pub fn is(&mut self, after: Duration) {
        let begin = u64::try_from(self.begin.as_nanosecond()).unwrap_or(0);
        let passed = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let moment = begin.saturating_add(passed).max(self.now.mono);
        self.now = Now {
            mono: moment,
            wall: moment,
        };
        self.gateway.handle_timeout(self.now);
        if let Some(shaped) = &mut self.shaped {
            shaped.handle_timeout(self.now);
        }
    }

    /// Lets the case's connection begin and be answered. The trace of the packet that was stopped, if one was.
    pub fn open(&mut self, case: &Case) -> Result<Option<Trace>, QuestionError> {
        let first = case.packet(0)?;
        let (there, arrived) = self.carry(Role::Opening, case.sender.clone(), first.clone())?;
        let Some((place, bytes)) = arrived else {
            return Ok(Some(there));
        };
        let Some(reply) = answer(&bytes) else {
            return Ok(None);
        };
        let (back, arrived) = self.carry(Role::Opening, self.who_answers(&place, &reply), reply)?;
        if arrived.is_none() {
            return Ok(Some(back));
        }
        if let Some(third) = acknowledgement(&first) {
            self.carry(Role::Opening, case.sender.clone(), third)?;
        }
        Ok(None)
    }

    /// The packet's trace, and the answer's if it is asked for and there is one.
    pub fn there_and_back(&mut self, from: Sender, packet: Vec<u8>, reply: bool) -> Result<Vec<Trace>, QuestionError> {
        let (there, arrived) = self.carry(Role::Asked, from, packet)?;
        let mut traces = vec![there];
        if reply
            && let Some((place, bytes)) = arrived
            && let Some(reply) = answer(&bytes)
        {
            let (back, _) = self.carry(Role::Answer, self.who_answers(&place, &reply), reply)?;
            traces.push(back);
        }
        Ok(traces)
    }

    /// Who answers there. A protected host that is a member, too, answers through its tunnel whom that leads to, also when it was
    /// reached at its own network's address.
    pub fn who_answers(&self, place: &Place, answer: &[u8]) -> Sender {
        let Place::Host(name) = place else {
            return sender_at(place);
        };
        let tunnelled = |member: &Member| match &member.route {
            // It knows ways to networks around it that say more than that, which the file does not know.
            Route::All => self.is_inside(answer),
            route => {
                let destination = Shown::of(answer).map(|shown| shown.destination);
                destination.is_some_and(|to| longest(&allowed_ips(self.config, route), to).is_some())
            }
        };
        match self.config.members.get(name).is_some_and(tunnelled) {
            true => Sender::Member(name.clone()),
            false => sender_at(place),
        }
    }

    /// One packet's trace; where it arrived and what it was then.
    fn carry(&mut self, role: Role, from: Sender, bytes: Vec<u8>) -> Result<(Trace, Option<Arrived>), QuestionError> {
        let (journey, gone) = self.travel(role, from, bytes)?;
        let Journey {
            from,
            role,
            packet,
            bytes,
            stations,
        } = journey;
        let now = Shown::of(&bytes).unwrap_or_else(|| packet.clone());
        let (end, arrived) = match gone {
            Gone::Arrived(at) => (
                End::Arrived {
                    at: at.clone(),
                    packet: now,
                },
                Some((at, bytes)),
            ),
            Gone::Stopped(at, reason) => {
                let stopped = Stopped {
                    config: self.config,
                    from: &from,
                    at: &at,
                    packet: &now,
                    reason: &reason,
                    absent: self.absent(now.destination),
                };
                let advice = stopped.advice();
                (End::Stopped { at, reason, advice }, None)
            }
        };
        let trace = Trace {
            packet,
            from,
            role,
            stations,
            end,
        };
        Ok((trace, arrived))
    }

    /// One packet's way, and how it ended.
    pub fn travel(&mut self, role: Role, from: Sender, bytes: Vec<u8>) -> Result<(Journey, Gone), QuestionError> {
        let packet = Shown::of(&bytes).ok_or_else(|| QuestionError::Packet {
            number: 1,
            problem: "not an IP packet".to_owned(),
        })?;
        let mut journey = Journey {
            from,
            role,
            packet,
            bytes,
            stations: Vec::new(),
        };
        let gone = self.go(&mut journey)?;
        Ok((journey, gone))
    }

    fn go(&mut self, journey: &mut Journey) -> Result<Gone, QuestionError> {
        let port = match journey.from.clone() {
            Sender::Member(name) => {
                let now = self.now;
                if let Some(host) = self.host(&name)? {
                    host.send(&journey.bytes, now);
                }
                let destination = Shown::of(&journey.bytes).map(|shown| shown.destination);
                if destination.is_some_and(|to| self.is_its_own(&name, to)) {
                    return self.stay(journey, &name);
                }
                if let Some(gone) = self.leave_member(journey, &name) {
                    return Ok(gone);
                }
                TUNNEL
            }
            Sender::Hub => {
                if self.proxy.is_some() && !self.is_inside(&journey.bytes) {
                    // Its own stack sends this without us.
                    let interface = Some(self.plan.uplink.clone());
                    journey.add(&Place::Hub, Step::Route { interface, via: None });
                    return self.enter_network(journey);
                }
                HOST
            }
            Sender::Outside(_) => {
                let interface = self.plan.uplink.clone();
                journey.add(&Place::Hub, Step::Arrive { interface });
                if let Some(gone) = self.come_back(journey) {
                    return Ok(gone);
                }
                UPLINK
            }
        };
        match self.cross(journey, port) {
            Err(reason) => Ok(Gone::Stopped(Place::Hub, reason)),
            Ok(port) if port == TUNNEL => self.enter_member(journey),
            Ok(port) if port == UPLINK => match self.go_on(journey) {
                Some(gone) => Ok(gone),
                None => self.enter_network(journey),
            },
            Ok(_) => Ok(Gone::Arrived(Place::Hub)),
        }
    }

    /// Whether an address is of the member's own machine.
    pub fn is_its_own(&self, name: &str, address: IpAddr) -> bool {
        let member = self.config.members.get(name).into_iter().flat_map(|member| &member.addresses);
        let host = self.config.hosts.get(name).into_iter().flat_map(|host| &host.addresses);
        member.chain(host).any(|own| *own == address)
    }

    /// What a machine sends to itself stays there, and meets its own rules if it is protected.
    fn stay(&mut self, journey: &mut Journey, name: &str) -> Result<Gone, QuestionError> {
        let place = Place::Member(name.to_owned());
        journey.add(
            &place,
            Step::Route {
                interface: None,
                via: None,
            },
        );
        let gone = self.take_in(journey, name, Some(LOOPBACK), place.clone())?;
        Ok(gone.unwrap_or(Gone::Arrived(place)))
    }

    /// From a member's socket to the hub's side of the tunnel.
    fn leave_member(&mut self, journey: &mut Journey, name: &str) -> Option<Gone> {
        let place = Place::Member(name.to_owned());
        let Shown { source, destination, .. } = Shown::of(&journey.bytes)?;
        let member = self.config.members.get(name)?;
        let networks = self.tunnelled(&member.route);
        let network = longest(&networks, destination);
        journey.add(
            &place,
            Step::MemberRoute {
                route: route_word(&member.route),
                network,
            },
        );
        if network.is_none() {
            return Some(Gone::Stopped(place, Reason::NotTunnelled));
        }
        if let Some(state) = self.state(member) {
            return Some(self.unknown(journey, Place::Hub, name, state));
        }
        journey.add(
            &place,
            self.encrypt("the hub", name.to_owned(), self.hub_endpoint(), journey.bytes.len()),
        );
        let allowed: Vec<IpNet> = member.addresses.iter().copied().map(IpNet::from).collect();
        let own = member.addresses.contains(&source);
        let from = name.to_owned();
        journey.add(&Place::Hub, Step::Decrypt { from, source, allowed });
        (!own).then_some(Gone::Stopped(Place::Hub, Reason::ForeignSource))
    }

    fn tunnelled(&mut self, route: &'a Route) -> Arc<[IpNet]> {
        let config = self.config;
        let made = || allowed_ips(config, route).into();
        Arc::clone(self.routes.entry(route).or_insert_with(made))
    }

    /// From the hub's side of the tunnel to a member's socket.
    fn enter_member(&mut self, journey: &mut Journey) -> Result<Gone, QuestionError> {
        let Some(Shown { source, destination, .. }) = Shown::of(&journey.bytes) else {
            return Ok(Gone::Stopped(Place::Hub, Reason::NobodysAddress));
        };
        let mut members = self.config.members.iter();
        let Some((name, member)) = members.find(|(_, member)| member.addresses.contains(&destination)) else {
            return Ok(Gone::Stopped(Place::Hub, Reason::NobodysAddress));
        };
        if let Some(state) = self.state(member) {
            return Ok(self.unknown(journey, Place::Hub, name, state));
        }
        journey.add(
            &Place::Hub,
            self.encrypt(name, self.hub_endpoint(), name.to_owned(), journey.bytes.len()),
        );
        let name = name.clone();
        let place = Place::Member(name.clone());
        let networks = self.tunnelled(&member.route);
        let may = longest(&networks, source).is_some();
        let from = "the hub".to_owned();
        let allowed = networks.to_vec();
        journey.add(&place, Step::Decrypt { from, source, allowed });
        if !may {
            return Ok(Gone::Stopped(place, Reason::ForeignSource));
        }
        let tunnel = Some(self.config.hub.interface.as_str());
        self.take_in(journey, &name, tunnel, place.clone())
            .map(|gone| gone.unwrap_or(Gone::Arrived(place)))
    }

    /// Out of the uplink.
    fn enter_network(&mut self, journey: &mut Journey) -> Result<Gone, QuestionError> {
        let destination = Shown::of(&journey.bytes).map(|shown| shown.destination);
        let mut hosts = self.config.hosts.iter();
        let known = hosts.find(|(_, host)| destination.is_some_and(|to| host.addresses.contains(&to)));
        let Some((name, _)) = known else {
            return Ok(Gone::Arrived(Place::Outside));
        };
        let place = Place::Host(name.clone());
        self.take_in(journey, name, None, place.clone())
            .map(|gone| gone.unwrap_or(Gone::Arrived(place)))
    }

    /// A protected host; `None` when there is none of that name.
    fn host(&mut self, name: &str) -> Result<Option<&mut FarEnd>, QuestionError> {
        if !self.hosts.contains_key(name) {
            let Some(plan) = HostPlan::of(self.config, self.plan, name) else {
                return Ok(None);
            };
            self.hosts.insert(name.to_owned(), FarEnd::new(&plan, self.now)?);
        }
        Ok(self.hosts.get_mut(name))
    }

    /// What a machine's own stack and, on a host, its rules do; `None` when they let the packet in.
    fn take_in(
        &mut self,
        journey: &mut Journey,
        name: &str,
        by: Option<&str>,
        place: Place,
    ) -> Result<Option<Gone>, QuestionError> {
        // Linux takes no IPv4 packet from outside with a source of its own (`fib_validate_source`), before any rule of ours; of IPv6
        // it does not ask.
        let source = Headers::parse(&journey.bytes).map(|headers| headers.src.to_ip(headers.family));
        let source = source.ok().filter(IpAddr::is_ipv4);
        if by != Some(LOOPBACK) && source.is_some_and(|source| self.is_its_own(name, source)) {
            let name = DropReason::Martian.name().to_owned();
            return Ok(Some(Gone::Stopped(place, Reason::Gateway { name })));
        }
        let now = self.now;
        let Some(host) = self.host(name)? else {
            return Ok(None);
        };
        let Met { steps, reason, told } = host.meet(by, &journey.bytes, now);
        for step in steps {
            journey.add(&place, step);
        }
        for bytes in told {
            if let Some(packet) = Shown::of(&bytes) {
                let lost = self.lost(&place, by, bytes)?;
                journey.add(&place, Step::Tell { packet, lost });
            }
        }
        Ok(reason.map(|reason| Gone::Stopped(place, reason)))
    }

    /// Where what a host tells the sender is stopped on its way back. A socket of `exit = "proxy"` says itself what it hears.
    fn lost(&mut self, place: &Place, by: Option<&str>, told: Vec<u8>) -> Result<Option<(Place, Reason)>, QuestionError> {
        if by == Some(LOOPBACK) || by.is_none() && self.proxy.is_some() {
            return Ok(None);
        }
        let (_, gone) = self.travel(Role::Answer, self.who_answers(place, &told), told)?;
        Ok(match gone {
            Gone::Arrived(_) => None,
            Gone::Stopped(at, reason) => Some((at, reason)),
        })
    }

    /// With `exit = "proxy"`, out of a socket of the hub's.
    fn go_on(&mut self, journey: &mut Journey) -> Option<Gone> {
        let proxy = self.proxy.as_mut()?;
        let Some((bytes, step)) = proxy.go_on(&journey.bytes, &self.own) else {
            return Some(unproxied());
        };
        journey.bytes = bytes;
        journey.add(&Place::Hub, step);
        None
    }

    /// With `exit = "proxy"`, into the socket that waits for it. What none waits for is the machine's own affair.
    fn come_back(&mut self, journey: &mut Journey) -> Option<Gone> {
        match self.proxy.as_ref()?.come_back(&journey.bytes) {
            Some((bytes, step)) => {
                journey.bytes = bytes;
                journey.add(&Place::Hub, step);
                None
            }
            None => {
                let destination = Shown::of(&journey.bytes)?.destination;
                let own = self.own.iter().any(|net| net.addr() == destination);
                Some(if own { Gone::Arrived(Place::Hub) } else { unproxied() })
            }
        }
    }

    /// Whether the packet goes to the overlay.
    fn is_inside(&self, bytes: &[u8]) -> bool {
        let destination = Shown::of(bytes).map(|shown| shown.destination);
        let overlay = &self.config.hub.addresses;
        destination.is_some_and(|to| overlay.iter().any(|net| net.contains(&to)))
    }

    /// Through the gateway; by which port it left.
    fn cross(&mut self, journey: &mut Journey, port: PortId) -> Result<PortId, Reason> {
        let sent = journey.bytes.clone();
        let traced = observed(&mut self.gateway, port, &sent, self.now);
        let left = self.collect(&sent);
        let shaped = self.shaped.as_mut().map(|shaped| {
            let traced = observed(shaped, port, &sent, self.now);
            while shaped.transmit(self.now).is_some() {}
            observe::queue(&traced)
        });
        let steps = observe::steps(&traced, &self.rules);
        let reason = observe::reason(&traced, &steps);
        for step in steps {
            let step = match step {
                // How it came was said.
                Step::Arrive { .. } => continue,
                Step::Queue { interface, .. } => {
                    let received = left.as_ref().map_or(&sent, |(_, bytes)| bytes);
                    let path = shaped
                        .clone()
                        .unwrap_or_else(|| self.planned_queue(&interface, &sent, received));
                    Step::Queue { interface, path }
                }
                step => step,
            };
            journey.add(&Place::Hub, step);
        }
        match (reason, left) {
            (Some(reason), _) => Err(reason),
            (None, Some((port, bytes))) => {
                journey.bytes = bytes;
                Ok(port)
            }
            (None, None) => Err(Reason::Gateway {
                name: "no-port".to_owned(),
            }),
        }
    }

    /// The root discipline and the classes that the plan gives a packet, where only the kernel has the disciplines: by the source as it
    /// was sent, or on the tunnel by the destination as it is received.
    fn planned_queue(&self, interface: &str, sent: &[u8], received: &[u8]) -> Vec<String> {
        let roots = self.plan.shaping.iter().filter_map(|shaping| match &shaping.item {
            Item::Qdisc(qdisc) if shaping.dev == interface && qdisc.parent == Parent::Root => qdisc.handle,
            _ => None,
        });
        let address = match interface == self.plan.interface {
            true => Shown::of(received).map(|shown| shown.destination),
            false => Shown::of(sent).map(|shown| shown.source),
        };
        let classes = self.plan.firewall.classes.get(interface);
        let class = address.zip(classes).and_then(|(address, classes)| {
            let holding = classes.iter().filter(|(net, _)| net.contains(&address));
            holding.max_by_key(|(net, _)| net.prefix_len()).map(|(_, class)| *class)
        });
        let mut path: Vec<String> = roots.map(|handle| handle.to_string()).collect();
        let begin = path.len();
        let mut around = class;
        // No class lies deeper (TC_HTB_MAXDEPTH).
        for _ in 0..8 {
            let Some(class) = around.and_then(|handle| self.planned_class(interface, handle)) else {
                break;
            };
            path.insert(begin, class.classid.to_string());
            around = Some(class.parent);
        }
        path
    }

    fn planned_class(&self, interface: &str, handle: Handle) -> Option<&Class> {
        self.plan.shaping.iter().find_map(|shaping| match &shaping.item {
            Item::Class(class) if shaping.dev == interface && class.classid == handle => Some(class),
            _ => None,
        })
    }

    /// What leaves the gateway: the packet itself, and perhaps answers about it, which are not followed.
    fn collect(&mut self, sent: &[u8]) -> Option<(PortId, Vec<u8>)> {
        let protocol = Headers::parse(sent).map(|headers| headers.protocol);
        let mut found = None;
        while let Some((port, buffer)) = self.gateway.transmit(self.now) {
            let is_it = Headers::parse(&buffer.data).map(|headers| headers.protocol) == protocol;
            if found.is_none() && is_it {
                found = Some((port, buffer.data));
            }
        }
        found
    }

    fn unknown(&self, journey: &mut Journey, place: Place, name: &str, state: MemberState) -> Gone {
        let member = name.to_owned();
        journey.add(
            &place,
            Step::NoPeer {
                member: member.clone(),
                state,
            },
        );
        Gone::Stopped(place, Reason::NoPeer { member, state })
    }

    /// Why a member is no peer.
    fn state(&self, member: &Member) -> Option<MemberState> {
        let expired = member.expires.filter(|end| *end <= self.begin);
        match member.disabled {
            true => Some(MemberState::Disabled),
            false => expired.map(MemberState::Expired),
        }
    }

    /// The member that has this address, when it is no peer.
    fn absent(&self, address: IpAddr) -> Option<(&'a str, MemberState)> {
        let mut members = self.config.members.iter();
        let (name, member) = members.find(|(_, member)| member.addresses.contains(&address))?;
        self.state(member).map(|state| (name.as_str(), state))
    }

    fn encrypt(&self, to: &str, from_end: String, to_end: String, length: usize) -> Step {
        let outer_v6 = self.config.hub.endpoint.host.contains(':');
        Step::Encrypt {
            to: to.to_owned(),
            cipher: Cipher::of(length, self.plan.mtu, outer_v6, from_end, to_end),
        }
    }

    fn hub_endpoint(&self) -> String {
        let hub = &self.config.hub;
        endpoint(&hub.endpoint.host, hub.endpoint.port)
    }
}

/// What a gateway sees of a packet.
fn observed(gateway: &mut Gateway, port: PortId, bytes: &[u8], now: Now) -> Vec<seen::Station> {
    gateway.start_trace(TraceFilter::default(), 1);
    gateway.receive(port, Buffer::from(bytes.to_vec()), now);
    let first = gateway.drain_events().into_iter().next();
    first.map_or_else(Vec::new, |traced| traced.stations)
}

impl Journey {
    fn add(&mut self, place: &Place, step: Step) {
        self.stations.push(Station {
            place: place.clone(),
            step,
        });
    }
}

fn unproxied() -> Gone {
    let name = UNCARRIED.to_owned();
    Gone::Stopped(Place::Hub, Reason::Gateway { name })
}

/// Who is there.
fn sender_at(place: &Place) -> Sender {
    match place {
        Place::Member(name) => Sender::Member(name.clone()),
        Place::Hub => Sender::Hub,
        Place::Host(name) => Sender::Outside(Some(name.clone())),
        Place::Outside => Sender::Outside(None),
    }
}

/// The network that says most about the address.
fn longest(networks: &[IpNet], address: IpAddr) -> Option<IpNet> {
    let holding = networks.iter().filter(|net| net.contains(&address));
    holding.max_by_key(|net| net.prefix_len()).copied()
}

/// As the file has it.
fn route_word(route: &Route) -> String {
    match route {
        Route::All => "\"all\"".to_owned(),
        Route::Lab => "\"lab\"".to_owned(),
        Route::Prefixes(networks) => {
            let networks: Vec<String> = networks.iter().map(|net| format!("\"{net}\"")).collect();
            format!("[{}]", networks.join(", "))
        }
    }
}
