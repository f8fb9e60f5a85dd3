//! Whatever is done to a policy, in whatever order: a host that follows the differences ends where one ends that is told everything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fastrand::Rng;
use fielato_fleet::{Delta, DeltaError, HostState, canonical};
use fielato_policy::circumstances::{Circumstances, Grant};
use fielato_policy::config::{Action, Ban, Config, Group, Member, Party, PortSpec, Protocol, Route, Rule, Service, Strategy};
use fielato_policy::plan::PerFamily;
use fielato_policy::{HostPlan, Plan};
use fielato_wireguard::PublicKey;
use jiff::{SignedDuration, Timestamp};

const START: &str = "2026-06-01T12:00:00Z";
const MEMBERS: u8 = 40;
const GROUPS: u8 = 5;
const HOSTS: [&str; 3] = ["storage", "compute", "gate"];
const SERVICES: [&str; 4] = ["files", "shell", "web", "queue"];

fn base() -> Config {
    let text = r#"
[hub]
interface = "wg0"
endpoint = "192.0.2.1:51820"
addresses = ["192.168.4.1/24", "fd00:4::1/64"]
uplink = "eth0"
lab = ["10.9.0.0/16"]

[member.gate]
addresses = ["192.168.4.250", "fd00:4::fa"]
public_key = "/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v4="

[member.compute]
addresses = ["192.168.4.251", "fd00:4::fb"]
public_key = "/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f0="

[host.storage]
address = ["192.0.2.9", "2001:db8::9"]
strategy = "source"

[host.compute]
address = "192.0.2.10"
strategy = "member"

[host.gate]
address = ["192.0.2.11", "2001:db8::11"]
strategy = "member"

[service.files]
host = "storage"
ports = ["tcp/2049"]
"#;
    Config::parse(text).unwrap_or_else(|faults| panic!("{}", faults.display("x", text)))
}

/// A policy that somebody keeps editing.
struct Editor {
    random: Rng,
    config: Config,
    grants: Vec<Grant>,
    now: Timestamp,
}

impl Editor {
    fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            config: base(),
            grants: Vec::new(),
            now: START.parse().unwrap(),
        }
    }

    fn plan(&self) -> Plan {
        let circumstances = Circumstances {
            grants: &self.grants,
            ..Circumstances::at(self.now, PerFamily::default())
        };
        Plan::compile(&self.config, &circumstances)
    }

    /// Each host's plan, in canonical form.
    fn plans(&self) -> BTreeMap<&'static str, HostPlan> {
        let hub = self.plan();
        let plan = |name: &'static str| Some((name, canonical(HostPlan::of(&self.config, &hub, name)?)));
        HOSTS.into_iter().filter_map(plan).collect()
    }

    fn soon(&mut self) -> Timestamp {
        self.now + SignedDuration::from_secs(self.random.i64(1..20_000))
    }

    fn group(&mut self) -> String {
        format!("group-{}", self.random.u8(..GROUPS))
    }

    fn groups(&mut self) -> Vec<String> {
        let wanted: Vec<u8> = (0..GROUPS).filter(|_| self.random.u8(..3) == 0).collect();
        wanted.into_iter().map(|number| format!("group-{number}")).collect()
    }

    fn some_member(&mut self) -> Option<String> {
        let known: Vec<&String> = self.config.members.keys().collect();
        self.random.choice(known).cloned()
    }

    fn party(&mut self) -> Party {
        let member = self.some_member();
        match self.random.u8(..8) {
            0 => Party::Any,
            1 => Party::Members,
            2 => member.map_or(Party::Any, Party::Member),
            3 | 4 => Party::Group(self.group()),
            5 => Party::Host(HOSTS[self.random.usize(..HOSTS.len())].to_owned()),
            6 => Party::Service(SERVICES[self.random.usize(..SERVICES.len())].to_owned()),
            _ => Party::Prefix(
                ["192.0.2.8/29", "2001:db8::/64", "192.168.4.128/25"][self.random.usize(..3)]
                    .parse()
                    .unwrap(),
            ),
        }
    }

    fn rule(&mut self) -> Rule {
        let mut side = |destination: bool| -> Vec<Party> {
            let some = (0..self.random.u8(1..4)).map(|_| self.party());
            some.filter(|party| destination || !matches!(party, Party::Service(_)))
                .collect()
        };
        let (from, to) = (side(false), side(true));
        let until = self.random.bool().then(|| self.soon());
        Rule {
            name: None,
            from,
            to,
            action: [Action::Accept, Action::Drop, Action::Reject][self.random.usize(..3)].clone(),
            when: Vec::new(),
            until,
            file: None,
            line: self.random.usize(1..1000),
        }
    }

    fn ports(&mut self) -> Vec<PortSpec> {
        let mut port = || {
            let first = self.random.u16(1..2000);
            PortSpec {
                protocol: if self.random.bool() { Protocol::Tcp } else { Protocol::Udp },
                first,
                last: first + self.random.u16(..3),
            }
        };
        (0..3).map(|_| port()).collect()
    }

    fn edit(&mut self) {
        match self.random.u8(..13) {
            0 | 1 => self.add_member(),
            2 => {
                if let Some(name) = self.some_member().filter(|name| !HOSTS.contains(&name.as_str())) {
                    self.config.members.remove(&name);
                }
            }
            3 => {
                let (name, groups, end) = (self.some_member(), self.groups(), self.soon());
                let random = &mut self.random;
                if let Some(member) = name.and_then(|name| self.config.members.get_mut(&name)) {
                    match random.u8(..3) {
                        0 => member.groups = groups,
                        1 => member.disabled = !member.disabled,
                        _ => member.expires = Some(end),
                    }
                }
            }
            4 => {
                // Groups contain those with greater numbers only, so that none contains itself.
                let number = self.random.u8(..GROUPS);
                let groups = (number + 1..GROUPS)
                    .filter(|_| self.random.bool())
                    .map(|inner| format!("group-{inner}"))
                    .collect();
                let members = self.some_member().into_iter().collect();
                let group = Group {
                    groups,
                    members,
                    hosts: self.random.bool().then(|| HOSTS[1].to_owned()).into_iter().collect(),
                    ..Group::default()
                };
                self.config.groups.insert(format!("group-{number}"), group);
            }
            5 | 6 => {
                let (rule, at) = (self.rule(), self.random.usize(..=self.config.rules.len()));
                self.config.rules.insert(at, rule);
            }
            7 if !self.config.rules.is_empty() => {
                let at = self.random.usize(..self.config.rules.len());
                self.config.rules.remove(at);
            }
            8 if self.config.rules.len() > 1 => {
                let at = self.random.usize(1..self.config.rules.len());
                self.config.rules.swap(at - 1, at);
            }
            9 => {
                let until = Some(self.soon());
                let network = IpAddr::from([203, 0, 113, self.random.u8(..)]).into();
                self.config.bans.push(Ban { network, until });
            }
            10 => {
                let (member, until) = (self.some_member(), self.soon());
                let service = SERVICES[self.random.usize(..SERVICES.len())].to_owned();
                self.grants.extend(
                    member
                        .filter(|_| self.config.services.contains_key(&service))
                        .map(|member| Grant {
                            member,
                            service,
                            until,
                            reason: None,
                            by: None,
                        }),
                );
            }
            11 => {
                let service = Service {
                    hosts: vec![HOSTS[self.random.usize(..HOSTS.len())].to_owned()],
                    ports: self.ports(),
                };
                self.config
                    .services
                    .insert(SERVICES[self.random.usize(..SERVICES.len())].to_owned(), service);
            }
            _ => {
                // Time ends members, rules, bans and grants; and now and then a host changes its strategy.
                self.now += SignedDuration::from_secs(self.random.i64(0..5000));
                let (now, other) = (self.now, self.random.u8(..4) == 0);
                self.grants.retain(|grant| grant.until > now);
                if let Some(host) = self.config.hosts.get_mut("gate").filter(|_| other) {
                    host.strategy = match host.strategy {
                        Strategy::Source => Strategy::Member,
                        Strategy::Member => Strategy::Source,
                    };
                }
            }
        }
    }

    fn add_member(&mut self) {
        let number = self.random.u8(2..MEMBERS);
        let member = Member {
            addresses: match self.random.u8(..3) {
                0 => vec![[192, 168, 4, number].into()],
                1 => vec![IpAddr::from([0xfd00, 4, 0, 0, 0, 0, 0, u16::from(number)])],
                _ => vec![
                    [192, 168, 4, number].into(),
                    IpAddr::from([0xfd00, 4, 0, 0, 0, 0, 0, u16::from(number)]),
                ],
            },
            public_key: PublicKey([number; 32]),
            groups: self.groups(),
            route: Route::Lab,
            keepalive: None,
            expires: None,
            disabled: false,
            limits: Default::default(),
        };
        self.config.members.insert(format!("member-{number}"), member);
    }
}

/// The difference as it goes over the wire.
fn sent(delta: &Delta) -> Delta {
    serde_json::from_slice(&serde_json::to_vec(delta).unwrap()).unwrap()
}

#[test]
fn differences_lead_where_recomputing_leads() {
    let (mut changed, mut set_elements_alone) = (0, 0);
    for seed in 0..30 {
        let mut editor = Editor::new(seed);
        let mut followed: BTreeMap<&str, HostState> = BTreeMap::new();
        let mut past: Vec<BTreeMap<&str, HostPlan>> = Vec::new();
        for revision in 1..80 {
            for _ in 0..editor.random.u8(1..4) {
                editor.edit();
            }
            let plans = editor.plans();
            for (name, plan) in &plans {
                let whole = HostState {
                    revision,
                    plan: plan.clone(),
                };
                let Some(state) = followed.get_mut(name) else {
                    followed.insert(name, whole);
                    continue;
                };
                let delta = sent(&Delta::between(&state.plan, plan));
                assert_eq!(
                    delta.is_empty(),
                    state.plan == *plan,
                    "seed {seed}, revision {revision}, {name}"
                );
                changed += usize::from(!delta.is_empty());
                let parts = serde_json::to_value(&delta).unwrap();
                set_elements_alone += usize::from(
                    parts["tunnel"]["parts"]
                        .as_object()
                        .is_some_and(|parts| parts.keys().eq(["sets"])),
                );
                *state = delta
                    .lead(state, revision, &whole.digest())
                    .unwrap_or_else(|error| panic!("seed {seed}, revision {revision}, {name}: {error}"));
                assert_eq!(*state, whole, "seed {seed}, revision {revision}, {name}");
            }
            // Also from a plan further back, as for a host that was away.
            if let Some(old) = editor.random.choice(&past) {
                for (name, plan) in &plans {
                    let delta = sent(&Delta::between(&old[name], plan));
                    assert_eq!(delta.apply(&old[name]), *plan, "seed {seed}, revision {revision}, {name}");
                }
            }
            past.push(plans);
        }
    }
    assert!(
        changed > 1500 && set_elements_alone > 60,
        "{changed} changes, {set_elements_alone} of elements alone"
    );
}

#[test]
fn a_plan_survives_the_wire() {
    for seed in 0..20 {
        let mut editor = Editor::new(seed);
        (0..60).for_each(|_| editor.edit());
        for (name, plan) in editor.plans() {
            let read: HostPlan = serde_json::from_slice(&serde_json::to_vec(&plan).unwrap()).unwrap();
            assert_eq!(read, plan, "seed {seed}, {name}");
        }
    }
}

#[test]
fn a_difference_from_something_else_is_noticed() {
    let mut editor = Editor::new(7);
    (0..100).for_each(|_| editor.edit());
    let old = editor.plans();
    (0..100).for_each(|_| editor.edit());
    let new = editor.plans();
    let (old, new) = (&old["compute"], &new["compute"]);
    let delta = Delta::between(old, new);
    let digest = HostState {
        revision: 2,
        plan: new.clone(),
    }
    .digest();
    let mut other = old.clone();
    other.ports.insert(PortSpec {
        protocol: Protocol::Tcp,
        first: 9,
        last: 9,
    });
    if let Some(tunnel) = &mut other.tunnel {
        tunnel.hub.push("192.168.4.99".parse().unwrap());
    }
    let state = HostState {
        revision: 1,
        plan: other,
    };
    assert!(matches!(delta.lead(&state, 2, &digest), Err(DeltaError::Digest { .. })));
}

#[test]
fn what_moves_in_the_file_alone_changes_nothing_for_a_host() {
    let mut editor = Editor::new(3);
    (0..60).for_each(|_| editor.edit());
    let before = editor.plans();
    for rule in &mut editor.config.rules {
        rule.line += 17;
    }
    assert_eq!(editor.plans(), before);
}
