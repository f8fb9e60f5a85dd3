//! The kernel engine: rules by nftables, shaping by tc, the guard by XDP; WireGuard by the kernel or by our own device.
//!
//! Up: rules, forwarding, interface (down) with its peers, addresses, disciplines, guard with its bans, interface up.
//! Down: interface, guard, disciplines, forwarding, rules.

mod counting;
mod flows;
mod guards;
mod probe;
mod shaper;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context as _, Result, bail};
use fielato_kernel::guard::{BanCount, Mode};
use fielato_kernel::peer_packets::PeerCounting;
use fielato_kernel::{address, link, nft, tc};
use fielato_policy::Plan;
use fielato_policy::plan::PerFamily;
use fielato_wireguard::{DeviceConfig, DeviceStatus, PeerChange};
use ipnet::IpNet;

use super::machine::{self, Machine};
use super::{Counted, Step};
use crate::bans::Bans;
use crate::forwarding;
use crate::protocol::{Changes, DropCount, GuardStatus, RulesChange, ShapeDevice, ShapeItem};
use crate::tunnel::{Choice, Tunnel};

use counting::Counting;
use guards::{Attached, Guards};
pub(super) use probe::{Missing, missing};
use shaper::Shaper;

/// The kernel's parts, made like the plan.
pub(super) struct Kernel {
    machine: Machine,
    tunnel: Tunnel,
    shaper: Shaper,
    guards: Guards,
    counting: Counting,
    /// Our table as it stood after we last changed it, and news of anybody changing tables.
    rules: Option<nft::Table>,
    watch: nft::Watch,
}

impl Kernel {
    /// Makes the machine like the plan.
    ///
    /// # Errors
    /// The first thing that could not be done; everything is then as before.
    pub(super) fn up(
        mut machine: Machine,
        choice: Choice,
        plan: &Plan,
        device: &DeviceConfig,
        bans: &Bans,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        if link::find(&mut machine.netlink, &plan.uplink)?.is_none() {
            bail!("[hub] uplink: there is no interface {}; see `ip link`", plan.uplink);
        }
        // Before anything is recorded: without it nothing could be put back either.
        nft::check()?;
        let (tunnel, shaper, guards, counting) = match bring_up(&mut machine, choice, plan, device, bans, progress) {
            Ok(parts) => parts,
            Err(error) => {
                machine
                    .clear()
                    .with_context(|| format!("{error:#}; and then the machine could not be put back"))?;
                return Err(error);
            }
        };
        let watch = nft::Watch::open().context("cannot watch the rules")?;
        let rules = machine::standing_rules()?;
        Ok(Self {
            machine,
            tunnel,
            shaper,
            guards,
            counting,
            rules,
            watch,
        })
    }

    /// In which families the machine forwarded before us.
    pub(super) fn forwarded_before(&self) -> Result<PerFamily<bool>> {
        forwarding::before(&self.machine.undo)
    }

    /// Leads from one plan to another. What can be refused comes first, and is taken back when something later is refused.
    pub(super) fn change(&mut self, step: &Step<'_>) -> Result<Changes> {
        let Step {
            old,
            new,
            peers,
            device,
            bans,
        } = *step;
        let mut changes = Changes::default();
        let (machine, own) = (&mut self.machine, self.tunnel.own());
        let who_changed = self.shaper.has_own() && new.firewall.classes != old.firewall.classes;
        if new.shaping != old.shaping || who_changed {
            self.shaper.apply(machine, own, new)?;
            changes.shaping = new.shaping != old.shaping;
        }
        // The rules of a plan without IPv6 leave IPv6 to others: forwarding that only we turned on must be off by then.
        if new.addresses != old.addresses {
            machine.release_forwarding(new)?;
        }
        match machine::change_rules(old, new) {
            Ok(change) => changes.rules = change,
            Err(error) => {
                machine.enable_forwarding(old)?;
                let back = self.shaper.apply(machine, own, old);
                back.context("cannot put the disciplines back")?;
                return Err(error);
            }
        }
        if let Some(device) = device
            && let Err(error) = self.tunnel.set_interface(device)
        {
            machine::change_rules(new, old).context("cannot put the rules back")?;
            machine.enable_forwarding(old)?;
            let back = self.shaper.apply(machine, self.tunnel.own(), old);
            back.context("cannot put the disciplines back")?;
            return Err(error);
        }

        self.counting.extend(new);
        self.tunnel.apply(peers)?;
        self.counting.retain(new);
        changes.peers_removed = peers.iter().filter(|step| matches!(step, PeerChange::Remove(_))).count();
        changes.peers_set = peers.len() - changes.peers_removed;

        changes.interface = device.is_some() || new.mtu != old.mtu || new.addresses != old.addresses;
        if changes.interface {
            let link = link::get(&mut machine.netlink, &new.interface)?;
            link::set_mtu(&mut machine.netlink, &link, new.mtu)?;
            machine.sync_addresses(link.index, &new.addresses)?;
            machine.enable_forwarding(new)?;
        }
        changes.bans = self.guards.sync(new, bans)?;
        self.rules = machine::standing_rules()?;
        if changes.rules != RulesChange::None {
            changes.connections_cut = self.cut(new);
        }
        Ok(changes)
    }

    /// The rules stand already: when connections can't be ended, that is said, and nothing is taken back.
    fn cut(&mut self, plan: &Plan) -> usize {
        flows::cut(&mut self.machine.netlink, plan).unwrap_or_else(|error| {
            log::error!("connections that are forbidden now may go on until they end by themselves: {error:#}");
            0
        })
    }

    /// Makes the bans in force those of the file and of the list. Returns how many were added or removed.
    pub(super) fn set_bans(&mut self, plan: &Plan, bans: &Bans) -> Result<usize> {
        self.guards.sync(plan, bans)
    }

    /// Takes everything down; the machine is then as it was. Returns what the device reported at the end.
    pub(super) fn down(self) -> Result<Option<DeviceStatus>> {
        let Self {
            mut machine,
            tunnel,
            guards,
            counting,
            ..
        } = self;
        let mut last = tunnel.remove_with_counters(&mut machine.netlink)?;
        last.iter_mut().for_each(|status| counting.complete(status));
        drop(guards);
        machine.clear()?;
        Ok(last)
    }

    /// Becomes readable when somebody changes nftables.
    pub(super) fn watched(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Puts our rules back when somebody took them away, as `nft flush ruleset` does.
    pub(super) fn handle_watched(&mut self, plan: &Plan) -> Result<()> {
        self.watch.drain();
        if machine::standing_rules()? == self.rules {
            return Ok(());
        }
        log::warn!("somebody removed or changed our nftables table; putting it back");
        self.machine.set_rules(plan)?;
        self.rules = machine::standing_rules()?;
        Ok(())
    }

    /// Looks whether rules, interface and addresses are as the plan says.
    pub(super) fn verify(&mut self, plan: &Plan) -> Result<()> {
        if self.rules.is_none() || machine::standing_rules()? != self.rules {
            bail!("the nftables table {} is not as it was loaded", machine::TABLE);
        }
        let netlink = &mut self.machine.netlink;
        let link = link::get(netlink, &plan.interface)?;
        if !link.up {
            bail!("interface {} is down", plan.interface);
        }
        let listed = address::list(netlink)?;
        let missing = plan.addresses.iter().find(|wanted| {
            let has = |known: &&address::Address| known.index == link.index && known.address == **wanted;
            !listed.iter().any(|known| has(&known))
        });
        match missing {
            Some(address) => bail!("interface {} lacks the address {address}", plan.interface),
            None => Ok(()),
        }
    }

    /// The interface's number, which no other one gets.
    pub(super) fn index(&mut self, plan: &Plan) -> Result<u32> {
        Ok(link::get(&mut self.machine.netlink, &plan.interface)?.index)
    }

    /// Notices when the interface was taken away.
    pub(super) fn check(&mut self, plan: &Plan) -> Result<()> {
        match link::find(&mut self.machine.netlink, &plan.interface)? {
            Some(_) => Ok(()),
            None => bail!("interface {} was removed by somebody else", plan.interface),
        }
    }

    /// `"kernel"` or `"userspace"`: who encrypts.
    pub(super) fn wireguard(&self) -> &'static str {
        self.tunnel.kind()
    }

    /// What the WireGuard device reports.
    pub(super) fn device(&mut self) -> Result<DeviceStatus> {
        let mut status = self.tunnel.status()?;
        self.counting.complete(&mut status);
        Ok(status)
    }

    /// Names one life of what counts packets apart from the device, among all of this boot.
    pub(super) fn counting(&self) -> Option<u32> {
        self.counting.filter().map(PeerCounting::life)
    }

    /// What our own device dropped.
    pub(super) fn drops(&self) -> Vec<DropCount> {
        self.tunnel.drops()
    }

    /// Where the guard is attached.
    pub(super) fn guard(&self) -> Vec<GuardStatus> {
        self.guards.attached.iter().map(guard_status).collect()
    }

    /// What an administrator should look at.
    pub(super) fn warnings(&self) -> Vec<String> {
        let is_kept = |attached: &Attached| attached.guard.pinned().is_some();
        let unkept = (!self.guards.attached.iter().all(is_kept))
            .then(|| "no BPF file system at /sys/fs/bpf: should the daemon be killed, bans end with it".into());
        unkept.into_iter().chain(self.counting.warning()).collect()
    }

    /// What came from each source, with the interface where it was counted.
    pub(super) fn sources(&self) -> Result<Vec<Counted>> {
        let mut sources = Vec::new();
        for Attached { interface, guard } in &self.guards.attached {
            sources.extend(guard.sources()?.into_iter().map(|count| Counted {
                address: count.address,
                interface: interface.clone(),
                packets: count.packets,
                bytes: count.bytes,
            }));
        }
        Ok(sources)
    }

    /// What each ban has stopped: packets and bytes.
    pub(super) fn ban_counts(&self) -> Result<BTreeMap<IpNet, (u64, u64)>> {
        let mut counts: BTreeMap<IpNet, (u64, u64)> = BTreeMap::new();
        for Attached { guard, .. } in &self.guards.attached {
            for BanCount { network, packets, bytes } in guard.bans()? {
                let count = counts.entry(network).or_default();
                count.0 += packets;
                count.1 += bytes;
            }
        }
        Ok(counts)
    }

    /// The disciplines and classes with their statistics.
    pub(super) fn shape(&mut self, plan: &Plan) -> Result<Vec<ShapeDevice>> {
        let mut devices = Vec::new();
        for name in [&plan.interface, &plan.uplink] {
            // An uplink may be unplugged; the other interface is still worth showing.
            let Some(link) = link::find(&mut self.machine.netlink, name)? else {
                continue;
            };
            let items = tc::show(&mut self.machine.netlink, link.index)?.into_iter();
            // It shapes nothing: it is where packets are counted.
            let is_ours = |item: &tc::Shown| *name == plan.interface && item.kind == "clsact" && self.counting.filter().is_some();
            let items = items.filter(|item| !is_ours(item)).map(|item| {
                Ok(ShapeItem {
                    text: item.to_string(),
                    detail: serde_json::to_value(&item)?,
                })
            });
            devices.push(ShapeDevice {
                dev: name.clone(),
                items: items.collect::<Result<_>>()?,
            });
        }
        // What hangs on the interface in the kernel then is the kernel's own, and shapes nothing.
        if let Some(own) = self.shaper.show(self.tunnel.own(), plan)? {
            devices.retain(|device| device.dev != own.dev);
            devices.insert(0, own);
        }
        Ok(devices)
    }
}

fn bring_up(
    machine: &mut Machine,
    choice: Choice,
    plan: &Plan,
    device: &DeviceConfig,
    bans: &Bans,
    progress: &mut dyn FnMut(&str),
) -> Result<(Tunnel, Shaper, Guards, Counting)> {
    progress("rules");
    machine.release_forwarding(plan)?;
    machine.set_rules(plan)?;
    progress("forwarding");
    machine.enable_forwarding(plan)?;
    progress("interface and peers");
    let tunnel = Tunnel::create(&mut machine.netlink, choice, &plan.interface, plan.mtu, device)?;
    let link = link::get(&mut machine.netlink, &plan.interface)?;
    machine.sync_addresses(link.index, &plan.addresses)?;
    progress("queueing disciplines");
    let mut shaper = Shaper::default();
    shaper.apply(machine, tunnel.own(), plan)?;
    let counting = match tunnel.own() {
        Some(_) => Counting::Device,
        None => Counting::begin(machine, plan)?,
    };
    progress("guard");
    let guards = Guards::attach(machine, plan, bans)?;
    progress("interface up");
    link::set_up(&mut machine.netlink, &link, true).with_context(|| {
        format!(
            "cannot bring up {} (is UDP port {} taken? see `ss -ulpn`)",
            plan.interface, plan.listen_port
        )
    })?;
    Ok((tunnel, shaper, guards, counting))
}

fn guard_status(attached: &Attached) -> GuardStatus {
    let mode = match attached.guard.mode() {
        Mode::Native => "native",
        Mode::Generic => "generic",
    };
    GuardStatus {
        interface: attached.interface.clone(),
        mode: mode.into(),
        pinned: attached.guard.pinned().is_some(),
    }
}
