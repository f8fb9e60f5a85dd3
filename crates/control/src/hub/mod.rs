//! The hub: brought up, changed and taken down in an order that is never open.
//!
//! Up: rules, forwarding, interface (down) with its peers, addresses, disciplines, guard with its bans, interface up.
//! Down: interface, guard, disciplines, forwarding, rules. What was changed is in the [undo record](crate::undo) before it
//! is changed; [`Machine::clear`] reads only that record, so it also cleans up after a process that was killed.

mod guards;
mod machine;
mod report;

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use fielato_kernel::{link, memory, nft};
use fielato_policy::Plan;
use fielato_policy::plan::Peer;
use fielato_wireguard::{DeviceConfig, PeerChange, PeerConfig, PresharedKey, PrivateKey, config};
use jiff::Timestamp;

use crate::bans::Bans;
use crate::protocol::{Changes, Request, Response};
use crate::secrets::{self, PskStore, Replaced};
use crate::source::Source;
use crate::tunnel::{self, Choice, Tunnel};
use crate::{Paths, forwarding};

use guards::Guards;
pub use machine::Machine;

/// What can be chosen when the hub comes up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Who encrypts.
    pub wireguard: Choice,
}

/// A hub that is up.
pub struct Hub {
    machine: Machine,
    source: Source,
    plan: Plan,
    private_key: PrivateKey,
    psks: PskStore,
    tunnel: Tunnel,
    guards: Guards,
    bans: Bans,
    /// Our table as it stood after we last changed it, and news of anybody changing tables.
    rules: Option<nft::Table>,
    watch: nft::Watch,
    since: Timestamp,
}

impl Hub {
    /// Makes the machine like the configuration file says. `progress` is told each part before it is done.
    ///
    /// # Errors
    /// The first thing that could not be done; everything is then as before.
    pub fn up(paths: &Paths, options: &Options, now: Timestamp, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        progress("configuration");
        let source = Source::load(paths)?;
        let config = &source.config;
        let key = secrets::hub_key(paths, &config.hub.interface)?;
        let mut psks = PskStore::default();
        psks.refresh(paths)?;
        let mut bans = Bans::load(paths)?;
        bans.expire(now);

        let mut machine = Machine::open(paths, &config.hub.interface)?;
        tunnel::refuse_foreign(&mut machine.netlink, &config.hub.interface)?;
        if link::find(&mut machine.netlink, &config.hub.uplink)?.is_none() {
            bail!("[hub] uplink: there is no interface {}; see `ip link`", config.hub.uplink);
        }
        // Before anything is recorded: without it nothing could be put back either.
        nft::check()?;
        let plan = Plan::compile(config, now, forwarding::before(&machine.undo)?);
        let device = device_config(&plan, key.clone(), &psks);
        let (tunnel, guards) = match bring_up(&mut machine, options, &plan, &device, &bans, progress) {
            Ok(parts) => parts,
            Err(error) => {
                machine
                    .clear()
                    .with_context(|| format!("{error:#}; and then the machine could not be put back"))?;
                return Err(error);
            }
        };
        drop(device);
        let watch = nft::Watch::open().context("cannot watch the rules")?;
        let rules = machine::standing_rules()?;
        Ok(Self {
            machine,
            source,
            plan,
            private_key: key,
            psks,
            tunnel,
            guards,
            bans,
            rules,
            watch,
            since: now,
        })
    }

    /// Reads the file again and changes only what changed.
    ///
    /// # Errors
    /// Why it was refused; the hub then runs as before.
    pub fn reload(&mut self, now: Timestamp) -> Result<Changes> {
        let before = self.source.refresh(&self.machine.paths)?;
        let changes = self.change_to_source(now);
        match &changes {
            Ok(_) => drop(before),
            Err(_) => self.source.restore(before),
        }
        changes
    }

    fn change_to_source(&mut self, now: Timestamp) -> Result<Changes> {
        let config = &self.source.config;
        let key = secrets::hub_key(&self.machine.paths, &config.hub.interface)?;
        let before = forwarding::before(&self.machine.undo)?;
        let replaced = self.psks.refresh(&self.machine.paths)?;
        let plan = Plan::compile(config, now, before);
        let changes = self.change_to(plan, key, &replaced);
        if changes.is_err() {
            self.psks.restore(replaced);
        }
        changes
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
        let mut changes = Changes::default();
        let steps = self.peer_changes(&plan, replaced);

        // What can be refused comes first, and is taken back when something later is refused.
        let machine = &mut self.machine;
        if plan.shaping != self.plan.shaping {
            machine.shape(&self.plan.shaping, &plan.shaping)?;
            changes.shaping = true;
        }
        // The rules of a plan without IPv6 leave IPv6 to others: forwarding that only we turned on must be off by then.
        if plan.addresses != self.plan.addresses {
            machine.release_forwarding(&plan)?;
        }
        match machine::change_rules(&self.plan, &plan) {
            Ok(change) => changes.rules = change,
            Err(error) => {
                machine.enable_forwarding(&self.plan)?;
                machine
                    .shape(&plan.shaping, &self.plan.shaping)
                    .context("cannot put the disciplines back")?;
                return Err(error);
            }
        }
        let port_or_key = (plan.listen_port, &key) != (self.plan.listen_port, &self.private_key);
        if port_or_key && let Err(error) = self.tunnel.set_interface(&device_config(&plan, key.clone(), &self.psks)) {
            machine::change_rules(&plan, &self.plan).context("cannot put the rules back")?;
            machine.enable_forwarding(&self.plan)?;
            machine
                .shape(&plan.shaping, &self.plan.shaping)
                .context("cannot put the disciplines back")?;
            return Err(error);
        }

        changes.peers_removed = steps.iter().filter(|step| matches!(step, PeerChange::Remove(_))).count();
        changes.peers_set = steps.len() - changes.peers_removed;
        self.tunnel.apply(&steps)?;

        changes.interface = port_or_key || plan.mtu != self.plan.mtu || plan.addresses != self.plan.addresses;
        if changes.interface {
            let link = link::get(&mut machine.netlink, &plan.interface)?;
            link::set_mtu(&mut machine.netlink, &link, plan.mtu)?;
            machine.sync_addresses(link.index, &plan.addresses)?;
            machine.enable_forwarding(&plan)?;
        }
        changes.bans = self.guards.sync(&plan, &self.bans)?;
        self.rules = machine::standing_rules()?;
        self.plan = plan;
        self.private_key = key;
        Ok(changes)
    }

    fn peer_changes(&self, plan: &Plan, replaced: &Replaced) -> Vec<PeerChange> {
        let same = |a: &Peer, b: &Peer| a == b && !replaced.contains(&a.name);
        let (old, new) = config::differing(&self.plan.peers, &plan.peers, same);
        let old = old
            .iter()
            .map(|peer| peer_config(peer, self.psks.get_before(replaced, &peer.name)));
        let new = new.iter().map(|peer| peer_config(peer, self.psks.get(&peer.name)));
        config::changes(&old.collect::<Vec<_>>(), &new.collect::<Vec<_>>())
    }

    /// Takes everything down; the machine is then as it was before [`Hub::up`].
    ///
    /// # Errors
    /// The first thing that could not be taken down; the record stays for another try.
    pub fn down(self) -> Result<()> {
        let Self {
            mut machine,
            tunnel,
            guards,
            ..
        } = self;
        tunnel.remove(&mut machine.netlink)?;
        drop(guards);
        machine.clear()
    }

    /// When [`Hub::handle_time`] has something to do next.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.plan.next_change.into_iter().chain(self.bans.next_end()).min()
    }

    /// Becomes readable when somebody changes nftables: [`Hub::handle_rules`] looks at what it was.
    pub fn rules_changed(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Puts our rules back when somebody took them away, as `nft flush ruleset` does.
    ///
    /// # Errors
    /// When they cannot be put back.
    pub fn handle_rules(&mut self) -> Result<()> {
        self.watch.drain();
        if machine::standing_rules()? == self.rules {
            return Ok(());
        }
        log::warn!("somebody removed or changed our nftables table; putting it back");
        self.machine.set_rules(&self.plan)?;
        self.rules = machine::standing_rules()?;
        Ok(())
    }

    /// Ends what the clock ends: bans and memberships. Notices when the interface was taken away.
    ///
    /// # Errors
    /// When the interface has gone, or what has ended cannot be removed.
    pub fn handle_time(&mut self, now: Timestamp) -> Result<()> {
        let ended = self.bans.expire(now);
        if !ended.is_empty() {
            self.guards.sync(&self.plan, &self.bans)?;
            self.bans.save(&self.machine.paths)?;
            log::info!("bans ended: {ended:?}");
        }
        if self.plan.next_change.is_some_and(|change| change <= now) {
            // The configuration as it was last loaded: the clock must not bring in edits that nobody has asked to load.
            let plan = Plan::compile(&self.source.config, now, forwarding::before(&self.machine.undo)?);
            let changes = self.change_to(plan, self.private_key.clone(), &Replaced::default())?;
            log::info!("expired: {} members, {} bans", changes.peers_removed, changes.bans);
        }
        if link::find(&mut self.machine.netlink, &self.plan.interface)?.is_none() {
            bail!("interface {} was removed by somebody else", self.plan.interface);
        }
        Ok(())
    }

    /// Answers a command.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn handle(&mut self, request: Request, now: Timestamp) -> Result<Response> {
        Ok(match request {
            Request::Status => Response::Status(self.status()?),
            Request::Reload => Response::Reloaded(self.reload(now)?),
            Request::Ban { network, until } => {
                self.guards.require()?;
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
            Request::Bans => Response::Bans(self.ban_list()?),
            Request::Top => Response::Top(self.top()?),
            Request::Shape => Response::Shape(self.shape()?),
            Request::Stop => bail!("a stop is the daemon's own to answer"),
        })
    }

    /// In force first, then on the disk; when the disk refuses, neither.
    fn set_bans(&mut self, bans: Bans) -> Result<()> {
        self.guards.sync(&self.plan, &bans)?;
        if let Err(error) = bans.save(&self.machine.paths) {
            self.guards.sync(&self.plan, &self.bans)?;
            return Err(error);
        }
        self.bans = bans;
        Ok(())
    }
}

fn bring_up(
    machine: &mut Machine,
    options: &Options,
    plan: &Plan,
    device: &DeviceConfig,
    bans: &Bans,
    progress: &mut dyn FnMut(&str),
) -> Result<(Tunnel, Guards)> {
    progress("rules");
    machine.release_forwarding(plan)?;
    machine.set_rules(plan)?;
    progress("forwarding");
    machine.enable_forwarding(plan)?;
    progress("interface and peers");
    let tunnel = Tunnel::create(&mut machine.netlink, options.wireguard, &plan.interface, plan.mtu, device)?;
    let link = link::get(&mut machine.netlink, &plan.interface)?;
    machine.sync_addresses(link.index, &plan.addresses)?;
    progress("queueing disciplines");
    machine.shape(&[], &plan.shaping)?;
    progress("guard");
    let guards = Guards::attach(machine, plan, bans)?;
    progress("interface up");
    link::set_up(&mut machine.netlink, &link, true).with_context(|| {
        format!(
            "cannot bring up {} (is UDP port {} taken? see `ss -ulpn`)",
            plan.interface, plan.listen_port
        )
    })?;
    Ok((tunnel, guards))
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
