//! The hub: brought up, changed and taken down in an order that is never open, by one engine or the other.
//!
//! What both have in common is here: the configuration and its secrets, members and bans that expire, reloads that are
//! carried out whole or not at all. How the machine is made like a plan is the engine's: [`kernel`] or [`userspace`]; which one
//! it is, [`start`] decides. What was changed on the machine is in the [undo record](crate::undo) before it is changed; [`Machine::clear`] reads only that record, so it also
//! cleans up after a process that was killed.

mod apply;
mod audited;
mod begin;
mod engine;
mod enrol;
mod grants;
mod judged;
mod kernel;
mod machine;
mod report;
mod start;
mod usage;
mod userspace;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fielato_kernel::memory;
use fielato_policy::lockout::Logins;
use fielato_policy::plan::{Peer, Shaping};
use fielato_policy::{Circumstances, Plan, config};
use fielato_qdisc::tc::Command;
use fielato_qdisc::{Parent, Stats};
use fielato_wireguard::config::{changes, differing};
use fielato_wireguard::{DeviceConfig, PeerChange, PeerConfig, PresharedKey, PrivateKey};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::accounting::Lives;
use crate::bans::Bans;
use crate::fleet::Hosts;
use crate::kept::Kept;
use crate::live::serve::Watching;
use crate::lock::Lock;
use crate::protocol::{Changes, Request, Response, ShapeDevice, ShapeItem, Standing, Watch};
use crate::revisions::Origin;
use crate::secrets::{self, PskStore, Replaced};
use crate::source::Source;
use crate::tc;
use crate::tunnel::Choice;
use crate::{Paths, who};

use apply::{How, Pending};
use engine::{Counted, Engine, Step};
use kernel::Missing;
pub(crate) use machine::{ELEMENTS_MAX, element_change};
pub use machine::{Machine, TABLE};
use start::Start;

/// What can be chosen when the hub comes up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who judges and moves packets; what the configuration says when `None`.
    pub engine: Option<config::Engine>,
    /// Who encrypts, with the kernel engine.
    pub wireguard: Choice,
    /// As an ordinary user: no interface, no socket for `wg`, nothing changed on the machine.
    pub rootless: bool,
    /// With the last policy that was confirmed, whatever the file says now.
    pub applied: bool,
    /// The command line, without the program, that brings this hub up again in the background.
    pub again: Vec<OsString>,
}

/// A hub that is up.
pub struct Hub {
    paths: Paths,
    source: Source,
    plan: Plan,
    private_key: PrivateKey,
    psks: PskStore,
    bans: Bans,
    engine: Engine,
    /// What `fielato tc` has made of the file's shaping since it was last loaded.
    shaping_by_command: Option<Vec<Shaping>>,
    /// Protected hosts with an agent.
    hosts: Hosts,
    /// Engine and exit as the file had them when the hub came up.
    chosen: (config::Engine, config::Exit),
    /// What must not be forgotten.
    kept: Kept,
    /// A policy that waits to be confirmed.
    pending: Option<Pending>,
    lock: Arc<Lock>,
    again: Vec<OsString>,
    accounted: Instant,
    /// Names this life of the interface, for the accounts.
    lives: Lives,
    since: Timestamp,
}

impl Hub {
    /// Makes the machine like the configuration file says. `progress` is told each part before it is done.
    ///
    /// # Errors
    /// The first thing that could not be done; everything is then as before.
    pub fn up(paths: &Paths, options: &Options, lock: Arc<Lock>, now: Timestamp, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        progress("configuration");
        if !paths.store().exists() {
            // There is nothing to go back to: a file that is no policy is refused before anything is made.
            Source::load(paths)?;
        }
        let mut kept = Kept::open(paths)?;
        kept.expire(now)?;
        let begin = begin::choose(paths, &mut kept, options.applied)?;
        let config = &begin.source.config;
        kept.judge_quotas(config, now)?;
        let key = secrets::hub_key(paths, &config.hub.interface)?;
        let mut hosts = Hosts::load(paths)?;
        let mut psks = PskStore::default();
        psks.refresh(paths)?;
        let mut bans = Bans::load(paths)?;
        bans.expire(now);

        let start = Start {
            paths,
            options,
            config,
            key: &key,
            psks: &psks,
            bans: &bans,
            kept: &kept,
            now,
        };
        let (mut engine, plan) = start.bring_up(progress)?;
        let lives = begin
            .record(&kept, &who::own_name(), now)
            .and_then(|()| engine.lives(&plan, now));
        let lives = match lives {
            Ok(lives) => lives,
            Err(error) => {
                let undone = engine.down();
                undone.with_context(|| format!("{error:#}; and then the machine could not be put back"))?;
                return Err(error);
            }
        };
        hosts.follow(config, &plan);
        Ok(Self {
            paths: paths.clone(),
            chosen: (config.hub.engine, config.hub.exit.clone()),
            source: begin.source,
            kept,
            pending: None,
            lock,
            again: options.again.clone(),
            accounted: Instant::now(),
            lives,
            plan,
            private_key: key,
            psks,
            bans,
            engine,
            shaping_by_command: None,
            hosts,
            since: now,
        })
    }

    /// Reads the file again and changes only what changed.
    ///
    /// # Errors
    /// Why it was refused; the hub then runs as before.
    pub fn reload(&mut self, author: &str, now: Timestamp) -> Result<Changes> {
        let how = How {
            origin: Origin::Reload,
            author,
            message: None,
            confirm: None,
            logins: &Logins::default(),
            force: false,
        };
        Ok(self.apply(how, now)?.changes)
    }

    fn change_to_source(&mut self, now: Timestamp) -> Result<Changes> {
        let config = &self.source.config;
        if (&config.hub.engine, &config.hub.exit) != (&self.chosen.0, &self.chosen.1) {
            bail!("another engine or exit needs a restart: `fielato down`, then `fielato up`");
        }
        let key = secrets::hub_key(&self.paths, &config.hub.interface)?;
        let replaced = self.psks.refresh(&self.paths)?;
        let plan = self.plan_at(now)?;
        let changes = self.change_to(plan, key, &replaced);
        match &changes {
            Ok(_) => self.shaping_by_command = None,
            Err(_) => self.psks.restore(replaced),
        }
        changes
    }

    /// What the hub is to be now, by the configuration as it was last loaded.
    fn plan_at(&self, now: Timestamp) -> Result<Plan> {
        let circumstances = Circumstances {
            now,
            forwarding_before: self.engine.forwarded_before()?,
            grants: self.kept.granted(),
            over_quota: self.kept.over_quota(),
        };
        Ok(Plan::compile(&self.source.config, &circumstances))
    }

    /// The same policy under other circumstances: the time, grants, quotas. The clock must not bring in edits that nobody has asked
    /// to load.
    fn change_to_circumstances(&mut self, now: Timestamp) -> Result<Changes> {
        let mut plan = self.plan_at(now)?;
        plan.shaping = self.shaping_by_command.clone().unwrap_or(plan.shaping);
        self.change_to(plan, self.private_key.clone(), &Replaced::default())
    }

    /// Gives back what [`Hub::up`] or a change took for a moment: reading the file takes many times what is kept of it.
    pub fn settle(&self) {
        memory::give_back();
    }

    /// `replaced` are the pre-shared keys that changed together with the plan.
    fn change_to(&mut self, plan: Plan, key: PrivateKey, replaced: &Replaced) -> Result<Changes> {
        if (&plan.interface, &plan.uplink) != (&self.plan.interface, &self.plan.uplink) {
            bail!("another interface or uplink needs a restart: `fielato down`, then `fielato up`");
        }
        if plan.guard != self.plan.guard {
            bail!("a change under [hub.guard] needs a restart: `fielato down`, then `fielato up`");
        }
        let peers = self.peer_changes(&plan, replaced);
        let removed: Vec<[u8; 32]> = peers
            .iter()
            .filter_map(|change| match change {
                PeerChange::Remove(key) => Some(key.0),
                PeerChange::Set(_) => None,
            })
            .collect();
        if !removed.is_empty() {
            // Their counters go with them.
            self.account(Timestamp::now());
        }
        let port_or_key = (plan.listen_port, &key) != (self.plan.listen_port, &self.private_key);
        let device = port_or_key.then(|| device_config(&plan, key.clone(), &self.psks));
        let changes = self.engine.change(&Step {
            old: &self.plan,
            new: &plan,
            peers: &peers,
            device: device.as_ref(),
            bans: &self.bans,
        })?;
        removed.iter().for_each(|key| self.kept.accounting.forget(key));
        self.plan = plan;
        self.private_key = key;
        self.hosts.follow(&self.source.config, &self.plan);
        Ok(changes)
    }

    fn peer_changes(&self, plan: &Plan, replaced: &Replaced) -> Vec<PeerChange> {
        let same = |a: &Peer, b: &Peer| a == b && !replaced.contains(&a.name);
        let (old, new) = differing(&self.plan.peers, &plan.peers, same);
        let old = old
            .iter()
            .map(|peer| peer_config(peer, self.psks.get_before(replaced, &peer.name)));
        let new = new.iter().map(|peer| peer_config(peer, self.psks.get(&peer.name)));
        changes(&old.collect::<Vec<_>>(), &new.collect::<Vec<_>>())
    }

    /// Takes everything down; the machine is then as it was before [`Hub::up`].
    ///
    /// # Errors
    /// The first thing that could not be taken down; the record stays for another try.
    pub fn down(mut self) -> Result<()> {
        self.hosts.stop();
        let now = Timestamp::now();
        self.account(now);
        self.kept.flush_now(now);
        if let Some(pending) = self.pending.take() {
            self.undone(pending, "the hub was taken down before it was confirmed");
        }
        // What came since.
        if let Some(last) = self.engine.down()? {
            let now = Timestamp::now();
            self.kept.account(&self.lives, &last, &names(&self.plan), now);
            self.kept.flush_now(now);
        }
        Ok(())
    }

    /// When [`Hub::handle_time`] has something to do next.
    pub fn next_event(&self) -> Option<Timestamp> {
        let pending = self.pending_until().map(|(_, until)| until);
        let ends = [self.plan.next_change, self.bans.next_end(), pending, self.hosts.next_event()];
        ends.into_iter().flatten().min()
    }

    /// Becomes readable when the agents of protected hosts have something for [`Hub::handle_hosts`].
    pub fn hosts_news(&self) -> Option<BorrowedFd<'_>> {
        self.hosts.news()
    }

    /// Becomes readable when somebody changes what is ours on the machine: [`Hub::handle_watched`] looks at what it was.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.engine.watched()
    }

    /// Puts back what somebody took away, as `nft flush ruleset` does.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn handle_watched(&mut self) -> Result<()> {
        self.engine.handle_watched(&self.plan)
    }

    /// Ends what the clock ends: bans and memberships. Notices when the interface was taken away.
    ///
    /// # Errors
    /// When the interface has gone, or what has ended cannot be removed.
    pub fn handle_time(&mut self, now: Timestamp) -> Result<()> {
        let ended = self.bans.expire(now);
        if !ended.is_empty() {
            self.engine.set_bans(&self.plan, &self.bans)?;
            self.bans.save(&self.paths)?;
            log::info!("bans ended: {ended:?}");
        }
        self.expire_pending(now);
        let quotas = self.is_time_to_account() && {
            self.account(now);
            self.judge_quotas(now)?
        };
        if quotas || self.plan.next_change.is_some_and(|change| change <= now) {
            let ended = self.kept.expire(now)?;
            for grant in &ended {
                log::info!("ended: {} may no longer reach {}", grant.member, grant.service);
            }
            let changes = self.change_to_circumstances(now)?;
            log::info!("the time has come: {}", serde_json::to_string(&changes).unwrap_or_default());
        }
        self.engine.check(&self.plan)
    }

    /// Answers a command of a user called `author`.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn handle(&mut self, request: Request, author: &str, now: Timestamp) -> Result<Response> {
        Ok(match request {
            Request::Status => Response::Status(Box::new(self.status()?)),
            Request::Reload => Response::Reloaded(self.reload(author, now)?),
            Request::Apply {
                message,
                confirm,
                rollback_of,
                logins,
                force,
            } => {
                let how = How {
                    origin: rollback_of.map_or(Origin::Apply, Origin::Rollback),
                    author,
                    message: message.as_deref(),
                    confirm: confirm.map(Duration::from_secs),
                    logins: &logins,
                    force,
                };
                Response::Applied(self.apply(how, now)?)
            }
            Request::Confirm => Response::Confirmed {
                revision: self.confirm()?,
            },
            Request::TakeBack => match self.take_back("it was taken back by command", now)? {
                Some((revision, in_force)) => Response::TakenBack { revision, in_force },
                None => Response::Done,
            },
            Request::Revisions { limit } => Response::Revisions(self.kept.revisions.log(limit)),
            Request::Revision { number } => Response::Revision(Box::new(self.revision(number)?)),
            Request::Grant(grant) => Response::Granted(self.grant(grant, author, now)?),
            Request::Revoke { member, service } => Response::Revoked(self.revoke(&member, &service, now)?),
            Request::Grants => Response::Grants(self.kept.granted().to_vec()),
            Request::Standing => Response::Standing(Standing {
                grants: self.kept.granted().to_vec(),
                over_quota: self.kept.over_quota().clone(),
            }),
            Request::Usage { since, by } => Response::Usage(self.usage(since, by, now)?),
            Request::Ban { network, until } => {
                let mut bans = self.bans.clone();
                bans.insert(network, until);
                self.set_bans(bans)?;
                Response::Done
            }
            Request::Unban { network } => {
                let network = network.trunc();
                if self.plan.bans.iter().any(|ban| ban.network.trunc() == network) {
                    bail!("the ban of {network} stands in the configuration file; remove its [[ban]], then `fielato reload`");
                }
                let mut bans = self.bans.clone();
                let removed = bans.remove(network);
                self.set_bans(bans)?;
                Response::Unbanned(removed)
            }
            Request::EnrolHost { host } => Response::Token(Box::new(self.make_token(&host, now)?)),
            Request::Bans => Response::Bans(self.ban_list()?),
            Request::Top => Response::Top(self.top()?),
            Request::Shape => Response::Shape(self.shape()?),
            Request::Tc { words } => Response::Tc { text: self.tc(&words)? },
            Request::Stop | Request::Watch(_) => bail!("that is the daemon's own to answer"),
        })
    }

    /// Begins to look at the gateway's packets.
    ///
    /// # Errors
    /// With the kernel engine, whose packets are not this process's; a filter that is none; too many who look.
    pub(crate) fn watch(&mut self, watch: &Watch) -> Result<Watching> {
        let status = self.status()?;
        let Some(tap) = self.engine.tap() else {
            bail!("the kernel engine's packets don't come to this process: nftables is to be asked");
        };
        Watching::begin(tap, &self.source.config, &status, watch)
    }

    /// A tc command: shows, or changes until the next reload.
    fn tc(&mut self, words: &[String]) -> Result<String> {
        let (dev, edit) = match tc::parse(words)? {
            Command::Show(show) => return self.tc_show(&show),
            Command::Edit { dev, edit } => (dev, edit),
        };
        if ![&self.plan.interface, &self.plan.uplink].contains(&&dev) {
            bail!(
                "{dev} is not the hub's; it shapes {} and {}",
                self.plan.interface,
                self.plan.uplink
            );
        }
        let mut plan = self.plan.clone();
        plan.shaping = tc::apply(&self.plan.shaping, &dev, &edit)?;
        let shaping = plan.shaping.clone();
        self.change_to(plan, self.private_key.clone(), &Replaced::default())?;
        self.shaping_by_command = Some(shaping);
        Ok(String::new())
    }

    /// In force first, then on the disk; when the disk refuses, neither.
    fn set_bans(&mut self, bans: Bans) -> Result<()> {
        self.engine.set_bans(&self.plan, &bans)?;
        if let Err(error) = bans.save(&self.paths) {
            self.engine.set_bans(&self.plan, &self.bans)?;
            return Err(error);
        }
        self.bans = bans;
        Ok(())
    }
}

/// Members' names by their keys.
fn names(plan: &Plan) -> BTreeMap<[u8; 32], String> {
    let peers = plan.peers.iter();
    peers.map(|peer| (peer.public_key.0, peer.name.clone())).collect()
}

/// The bans of the file and of the list.
///
/// # Errors
/// When there are some that nobody would enforce.
fn banned(plan: &Plan, bans: &Bans) -> Result<BTreeSet<IpNet>> {
    let of_file = plan.bans.iter().map(|ban| ban.network.trunc());
    let banned: BTreeSet<IpNet> = of_file.chain(bans.iter().map(|(network, _)| network)).collect();
    match banned.is_empty() || plan.guard.enabled {
        true => Ok(banned),
        false => bail!("bans need the guard, which [hub.guard] enabled = false turns off"),
    }
}

fn device_config(plan: &Plan, private_key: PrivateKey, psks: &PskStore) -> DeviceConfig {
    let peers = plan.peers.iter().map(|peer| peer_config(peer, psks.get(&peer.name)));
    DeviceConfig {
        private_key,
        listen_port: plan.listen_port,
        fwmark: 0,
        peers: peers.collect(),
    }
}

fn peer_config(peer: &Peer, preshared_key: Option<&PresharedKey>) -> PeerConfig {
    PeerConfig {
        public_key: peer.public_key,
        preshared_key: preshared_key.cloned(),
        endpoint: None,
        persistent_keepalive: None,
        allowed_ips: peer.allowed_ips.clone(),
    }
}

/// The disciplines of our own on a device. tc does not show the queue that a class has by itself.
fn shape_device(name: &str, stats: &[Stats]) -> Result<ShapeDevice> {
    let item = |stats: &Stats| {
        Ok(ShapeItem {
            text: stats.to_string(),
            detail: serde_json::to_value(stats)?,
        })
    };
    Ok(ShapeDevice {
        dev: name.to_owned(),
        items: stats
            .iter()
            .filter(|stats| !stats.is_default() || stats.parent == Parent::Root)
            .map(item)
            .collect::<Result<_>>()?,
    })
}
