//! A hub and agents on a wire of memory, with a clock that tests turn.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use fielato_fleet::agent::{self, Agent, Patience};
use fielato_fleet::hub::{ConnectionId, Event, Happening, Hub, Limits, Output, Refusal};
use fielato_fleet::{HostState, Now, ToHub, line};
use fielato_policy::HostPlan;
use fielato_policy::config::{PortSpec, Protocol};
use fielato_policy::plan::Admit;

pub fn start() -> Now {
    Now {
        instant: Instant::now(),
        clock: "2026-06-01T12:00:00Z".parse().unwrap(),
    }
}

pub fn later(now: Now, by: Duration) -> Now {
    Now {
        instant: now.instant + by,
        clock: now.clock + jiff::SignedDuration::try_from(by).unwrap(),
    }
}

/// The plan of a host of either family's hub address that guards one port.
pub fn plan(name: &str, port: u16) -> HostPlan {
    HostPlan {
        name: name.to_owned(),
        admit: Admit::Sources(vec!["10.0.123.2".parse().unwrap(), "2001:db8::2".parse().unwrap()]),
        ports: BTreeSet::from([PortSpec {
            protocol: Protocol::Tcp,
            first: port,
            last: port,
        }]),
        tunnel: None,
    }
}

/// `host-0` at 192.168.4.10 and fd00:4::10, and so on.
pub fn addresses(number: u8) -> Vec<IpAddr> {
    vec![
        IpAddr::from([192, 168, 4, 10 + number]),
        IpAddr::from([0xfd00, 4, 0, 0, 0, 0, 0, 0x10 + u16::from(number)]),
    ]
}

pub fn name(number: u8) -> String {
    format!("host-{number}")
}

pub fn hub(hosts: u8, limits: Limits, now: Now) -> Hub {
    let mut hub = Hub::new(limits);
    let named: BTreeMap<String, Vec<IpAddr>> = (0..hosts).map(|number| (name(number), addresses(number))).collect();
    hub.set_hosts(&named, now);
    hub.publish(1, plans(hosts, 1), now);
    hub
}

/// Each host with another port.
pub fn plans(hosts: u8, port: u16) -> BTreeMap<String, HostPlan> {
    (0..hosts)
        .map(|number| (name(number), plan(&name(number), port + u16::from(number))))
        .collect()
}

/// What the hub orders to be done, all of it.
pub fn outputs(hub: &mut Hub) -> Vec<Output> {
    std::iter::from_fn(|| hub.poll_output()).collect()
}

pub fn events(hub: &mut Hub) -> Vec<Event> {
    std::iter::from_fn(|| hub.poll_event()).collect()
}

/// The refusals among the events, with the host each was of.
pub fn refusals(hub: &mut Hub) -> Vec<(Option<String>, Refusal)> {
    let refusal = |event: Event| match event.what {
        Happening::Refused(refusal) => Some((event.host, refusal)),
        _ => None,
    };
    events(hub).into_iter().filter_map(refusal).collect()
}

/// Says something on a connection, as whoever has written a client of his own.
pub fn say(hub: &mut Hub, id: ConnectionId, message: &ToHub, now: Now) {
    hub.handle_bytes(id, &line(message), now);
}

/// Takes what the hub has to say on a connection.
pub fn heard(hub: &mut Hub, id: ConnectionId, now: Now) -> String {
    let text = String::from_utf8(hub.outgoing(id).to_vec()).unwrap();
    hub.handle_sent(id, text.len(), now);
    text
}

/// An agent with what it would have done to its machine.
pub struct Machine {
    pub agent: Agent,
    pub connection: Option<ConnectionId>,
    pub address: IpAddr,
    /// What is applied.
    pub enforced: Option<HostState>,
    /// How often, and how often only the difference.
    pub applied: (usize, usize),
    /// Whether applying works.
    pub able: bool,
    pub notes: Vec<String>,
}

/// Agents and the hub.
pub struct World {
    pub hub: Hub,
    pub machines: Vec<Machine>,
    pub now: Now,
    /// Whether the hub can be reached.
    pub reachable: bool,
    next: u64,
}

impl World {
    pub fn new(hosts: u8) -> Self {
        let now = start();
        let machine = |number: u8| Machine {
            agent: Agent::new(Some(name(number)), None, Patience::default(), u64::from(number), now),
            connection: None,
            address: addresses(number)[usize::from(number % 2)],
            enforced: None,
            applied: (0, 0),
            able: true,
            notes: Vec::new(),
        };
        Self {
            hub: hub(hosts, Limits::default(), now),
            machines: (0..hosts).map(machine).collect(),
            now,
            reachable: true,
            next: 1,
        }
    }

    /// Lets time pass, in steps of a tenth of a second.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.now = later(self.now, Duration::from_millis(100));
            self.hub.handle_time(self.now);
            for machine in &mut self.machines {
                machine.agent.handle_time(self.now);
            }
            self.settle();
        }
    }

    /// Carries out orders until there are none.
    pub fn settle(&mut self) {
        loop {
            let mut idle = true;
            for index in 0..self.machines.len() {
                while let Some(output) = self.machines[index].agent.poll_output() {
                    idle = false;
                    self.agent_output(index, output);
                }
            }
            while let Some(output) = self.hub.poll_output() {
                idle = false;
                self.hub_output(output);
            }
            if idle {
                return;
            }
        }
    }

    /// Breaks every connection.
    pub fn cut(&mut self) {
        for machine in &mut self.machines {
            if let Some(id) = machine.connection.take() {
                self.hub.handle_closed(id, self.now);
                machine.agent.handle_disconnected("cut".to_owned(), self.now);
            }
        }
    }

    fn agent_output(&mut self, index: usize, output: agent::Output) {
        let (now, machine) = (self.now, &mut self.machines[index]);
        match output {
            agent::Output::Connect if self.reachable => {
                let id = ConnectionId(self.next);
                self.next += 1;
                machine.connection = Some(id);
                self.hub.handle_open(id, machine.address, now);
                machine.agent.handle_connected(now);
            }
            agent::Output::Connect => machine.agent.handle_disconnected("no route".to_owned(), now),
            agent::Output::Send(bytes) => {
                if let Some(id) = machine.connection {
                    self.hub.handle_bytes(id, &bytes, now);
                }
            }
            agent::Output::Disconnect => {
                if let Some(id) = machine.connection.take() {
                    self.hub.handle_closed(id, now);
                }
            }
            agent::Output::Apply(application) => {
                let result = match machine.able {
                    true => {
                        machine.applied.0 += 1;
                        machine.applied.1 += usize::from(application.before.is_some());
                        machine.enforced = Some(application.state);
                        Ok(())
                    }
                    false => Err("nft refused".to_owned()),
                };
                machine.agent.handle_applied(result, now);
            }
            agent::Output::Repair(state) => machine.enforced = Some(*state),
            agent::Output::Note(note) => machine.notes.push(note.to_string()),
        }
    }

    fn hub_output(&mut self, output: Output) {
        match output {
            Output::Write(id) => {
                let bytes = self.hub.outgoing(id).to_vec();
                self.hub.handle_sent(id, bytes.len(), self.now);
                self.deliver(id, &bytes);
            }
            Output::Close(id, last) => {
                self.deliver(id, &last);
                if let Some(machine) = self.machines.iter_mut().find(|machine| machine.connection == Some(id)) {
                    machine.connection = None;
                    machine.agent.handle_disconnected("closed".to_owned(), self.now);
                }
            }
            Output::Enrol { .. } | Output::EnrolmentOver(_) => panic!("nobody enrols here"),
        }
    }

    fn deliver(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(machine) = self.machines.iter_mut().find(|machine| machine.connection == Some(id)) {
            machine.agent.handle_bytes(bytes, self.now);
        }
    }
}
