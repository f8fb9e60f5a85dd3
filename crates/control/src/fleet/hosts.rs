//! The protected hosts of a hub that is up: which there are, what each is to enforce, which are about to enrol.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use anyhow::{Context as _, Result};
use fielato_fleet::Digest;
use fielato_fleet::hub::{Event, Happening, HostStatus};
use fielato_policy::{Config, HostPlan, Plan};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EnrolRequest, Fleet, Listen};
use crate::{Paths, files};

/// The hosts, and the thread that serves their agents while there are some.
#[derive(Debug)]
pub struct Hosts {
    paths: Paths,
    kept: Kept,
    serving: Option<(Listen, Fleet)>,
    published: BTreeMap<String, HostPlan>,
    trouble: Option<String>,
    /// When a key that a host has sent is to be put in force.
    switch_at: Option<Timestamp>,
    /// When tokens whose time is over are looked at again.
    try_again_at: Option<Timestamp>,
}

/// What outlives the process.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Of what the hosts were told last. It never goes back.
    revision: u64,
    /// Tokens that were made and not used, by host.
    enrolments: BTreeMap<String, Enrolment>,
}

/// A token that can be used once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Digest of its secret.
    pub secret: Digest,
    /// Of the key that comes with it.
    pub public_key: PublicKey,
    /// Not usable from then on.
    pub until: Timestamp,
}

impl Hosts {
    /// What was kept; nobody is served yet.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn load(paths: &Paths) -> Result<Self> {
        let path = paths.fleet();
        let kept = match files::read_if_exists(&path)? {
            Some(text) => serde_json::from_str(&text).with_context(|| {
                format!(
                    "{} is damaged; without it, tokens that were made for hosts are void: remove it",
                    path.display()
                )
            })?,
            None => Kept::default(),
        };
        Ok(Self {
            paths: paths.clone(),
            kept,
            serving: None,
            published: BTreeMap::new(),
            trouble: None,
            switch_at: None,
            try_again_at: None,
        })
    }

    /// Serves the hosts of this configuration, and tells them what has become of their plans. The hub's own rules, which let them in,
    /// stand already.
    pub fn follow(&mut self, config: &Config, plan: &Plan) {
        let agents = agents(config, plan);
        if agents.is_empty() {
            self.serving = None;
            self.trouble = None;
            return;
        }
        match self.serve(config, plan, &agents) {
            Ok(()) => self.trouble = None,
            Err(error) => {
                let trouble = format!("protected hosts are not served, and enforce what they have: {error:#}");
                log::error!("{trouble}");
                self.trouble = Some(trouble);
            }
        }
    }

    fn serve(&mut self, config: &Config, plan: &Plan, agents: &BTreeMap<String, Vec<IpAddr>>) -> Result<()> {
        let listen = Listen {
            interface: plan.interface.clone(),
            addresses: plan.addresses.iter().map(IpNet::addr).collect(),
            port: config.hub.control_port,
        };
        let fleet = match self.serving.take() {
            Some((same, fleet)) if same == listen => {
                fleet.set_hosts(agents);
                fleet
            }
            other => {
                // Its sockets must be closed before the new ones are opened.
                drop(other);
                self.published = BTreeMap::new();
                Fleet::start(&listen, agents)?
            }
        };
        let (_, fleet) = self.serving.insert((listen, fleet));
        for (host, enrolment) in &self.kept.enrolments {
            fleet.expect_enrolment(host, enrolment.secret.clone(), enrolment.until);
        }
        let plans = agents
            .keys()
            .filter_map(|name| Some((name.clone(), HostPlan::of(config, plan, name)?)));
        let plans: BTreeMap<String, HostPlan> = plans.collect();
        if plans == self.published {
            return Ok(());
        }
        self.kept.revision += 1;
        self.save()?;
        if let Some((_, fleet)) = &self.serving {
            fleet.publish(self.kept.revision, plans.clone());
        }
        self.published = plans;
        Ok(())
    }

    /// Says goodbye, while there is still a tunnel to say it through.
    pub fn stop(&mut self) {
        self.serving = None;
    }

    /// Every host that has an agent.
    pub fn status(&self) -> Vec<HostStatus> {
        self.serving.as_ref().map_or_else(Vec::new, |(_, fleet)| fleet.status())
    }

    /// A host's new key is kept, and to be put in force then.
    pub fn switch_at(&mut self, at: Timestamp) {
        self.switch_at = Some(at);
    }

    /// When something is to be done for hosts that enrol.
    pub fn next_event(&self) -> Option<Timestamp> {
        let ends = self.kept.enrolments.values().map(|enrolment| enrolment.until);
        let ends = ends.map(|end| self.try_again_at.map_or(end, |again| end.max(again)));
        self.switch_at.into_iter().chain(ends).min()
    }

    /// Whether a host's new key is to be put in force now; says so once.
    pub fn is_time_to_switch(&mut self, now: Timestamp) -> bool {
        self.switch_at.take_if(|at| *at <= now).is_some()
    }

    /// Why hosts are not served.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Becomes readable when there is something for [`Hosts::events`] and the others.
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.serving.as_ref().map(|(_, fleet)| fleet.news())
    }

    /// What has happened since the last call, for the audit log; it is in the log already.
    pub fn events(&mut self) -> Vec<Event> {
        let Some((_, fleet)) = &self.serving else { return Vec::new() };
        fleet.heard();
        let events = fleet.events();
        for event in &events {
            let Event {
                at: _,
                host,
                from,
                what,
                lost,
            } = event;
            let host = host.as_deref().unwrap_or("nobody's");
            let level = match what {
                Happening::Refused(_) | Happening::Drift(_) | Happening::Failed { .. } => log::Level::Warn,
                _ => log::Level::Info,
            };
            log::log!(level, "host {host} ({from}): {what}");
            if *lost > 0 {
                log::warn!("{lost} events of hosts were not kept");
            }
        }
        events
    }

    /// Who has asked for a key since the last call. Each is to be [answered](Hosts::answer).
    pub fn enrol_requests(&self) -> Vec<EnrolRequest> {
        self.serving
            .as_ref()
            .map_or_else(Vec::new, |(_, fleet)| fleet.enrol_requests())
    }

    /// The key is kept, and will soon be in force; or why it is not.
    pub fn answer(&self, request: &EnrolRequest, result: Result<(), String>) {
        if let Some((_, fleet)) = &self.serving {
            fleet.answer(request.connection, result);
        }
    }

    /// Hosts whose token was not used in time, with the token, until it is [forgotten](Hosts::forget).
    pub fn enrolments_over(&mut self, now: Timestamp) -> Vec<(String, Enrolment)> {
        if self.try_again_at.is_some_and(|at| at > now) {
            return Vec::new();
        }
        let over = self.kept.enrolments.iter().filter(|(_, enrolment)| enrolment.until <= now);
        over.map(|(host, enrolment)| (host.clone(), enrolment.clone())).collect()
    }

    /// What is over could not be ended, and is to be told of again then.
    pub fn try_again(&mut self, at: Timestamp) {
        self.try_again_at = Some(at);
    }

    /// Writes down that a token was made; its host is waited for after the next [`Hosts::follow`].
    ///
    /// # Errors
    /// When it cannot be written; then it is void.
    pub fn expect(&mut self, host: &str, enrolment: Enrolment) -> Result<()> {
        let before = self.kept.enrolments.insert(host.to_owned(), enrolment);
        self.save().inspect_err(|_| {
            self.kept.enrolments.remove(host);
            self.kept.enrolments.extend(before.map(|before| (host.to_owned(), before)));
        })
    }

    /// Forgets a token that was used or whose time is over.
    ///
    /// # Errors
    /// When it cannot be written; it is not forgotten then.
    pub fn forget(&mut self, host: &str) -> Result<()> {
        let Some(before) = self.kept.enrolments.remove(host) else {
            return Ok(());
        };
        self.save().inspect_err(|_| {
            self.kept.enrolments.insert(host.to_owned(), before);
        })
    }

    fn save(&self) -> Result<()> {
        files::ensure_dir(&self.paths.state())?;
        files::replace(&self.paths.fleet(), &serde_json::to_vec(&self.kept)?, 0o600)
    }
}

/// Hosts with an agent whose member is a peer now, with its overlay addresses.
fn agents(config: &Config, plan: &Plan) -> BTreeMap<String, Vec<IpAddr>> {
    let peers = plan
        .peers
        .iter()
        .filter(|peer| config.hosts.get(&peer.name).is_some_and(|host| host.agent));
    let named = peers.map(|peer| (peer.name.clone(), peer.allowed_ips.iter().map(IpNet::addr).collect()));
    named.collect()
}
