//! The parts of the machine that the hub changes, and the record by which they are put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use fielato_kernel::guard::Guard;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::nft::element;
use fielato_kernel::peer_packets::PeerCounting;
use fielato_kernel::tc::{self, Previous};
use fielato_kernel::{address, link, nft};
use fielato_policy::plan::{PerFamily, Shaping};
use fielato_policy::{Plan, render};
use fielato_qdisc::Item;
use ipnet::IpNet;

use crate::protocol::RulesChange;
use crate::undo::Undo;
use crate::{Paths, files, forwarding, tunnel};

/// The nftables table of ours, in family `inet`.
pub const TABLE: &str = "fielato";

/// The machine, with the record of what was changed on it.
pub struct Machine {
    /// Where files stand.
    pub paths: Paths,
    /// The record.
    pub undo: Undo,
    /// A connection to the kernel.
    pub netlink: Netlink,
}

impl Machine {
    /// Opens the machine for a hub on `interface`. What an earlier process left for another interface is cleared.
    ///
    /// # Errors
    /// When the record is damaged or the kernel does not answer.
    pub fn open(paths: &Paths, interface: &str) -> Result<Self> {
        files::remove_unfinished(&paths.state())?;
        let netlink = Netlink::open()?;
        match Undo::load(paths)? {
            Some(undo) if undo.interface == interface => Ok(Self {
                paths: paths.clone(),
                undo,
                netlink,
            }),
            Some(undo) => {
                let mut earlier = Self {
                    paths: paths.clone(),
                    undo,
                    netlink,
                };
                earlier.clear()?;
                Ok(Self {
                    undo: Undo::new(interface)?,
                    ..earlier
                })
            }
            None => Ok(Self {
                paths: paths.clone(),
                undo: Undo::new(interface)?,
                netlink,
            }),
        }
    }

    /// Takes away what an earlier process left, for an engine that does not go on from there.
    ///
    /// # Errors
    /// As [`Machine::clear`].
    pub(super) fn cleared(mut self) -> Result<Self> {
        if Undo::load(&self.paths)?.is_some() {
            self.clear()?;
        }
        let undo = Undo::new(&self.undo.interface)?;
        Ok(Self { undo, ..self })
    }

    /// The machine as an earlier process left it, or `None` when nothing of ours is on it.
    ///
    /// # Errors
    /// When the record is damaged or the kernel does not answer.
    pub fn left_behind(paths: &Paths) -> Result<Option<Self>> {
        files::remove_unfinished(&paths.state())?;
        let Some(undo) = Undo::load(paths)? else { return Ok(None) };
        Ok(Some(Self {
            paths: paths.clone(),
            undo,
            netlink: Netlink::open()?,
        }))
    }

    /// Takes away what is ours and puts back what was, in the order that is never open. Can be repeated.
    ///
    /// # Errors
    /// The first thing that could not be done; the record stays, so that it can be tried again.
    pub fn clear(&mut self) -> Result<()> {
        tunnel::remove_leftovers(&mut self.netlink, &self.undo.interface)?;
        self.unguard_but(&[])?;
        if let Some(pin) = &self.undo.packets {
            PeerCounting::remove_pin(pin)?;
            // As with the guards' pins.
            pin.parent().map(fs::remove_dir);
        }
        for (device, words) in &self.undo.shaped {
            if let Some(link) = link::find(&mut self.netlink, device)? {
                let items = crate::tc::recorded(words)?;
                tc::clear(&mut self.netlink, link.index, Previous::Attempted(&items))
                    .with_context(|| format!("cannot clear the disciplines of {device}"))?;
            }
        }
        forwarding::restore(&self.undo)?;
        if self.undo.rules {
            nft::delete_table(nft::Family::Inet, TABLE)?;
        }
        Undo::forget(&self.paths)
    }

    /// Detaches the guards that the record names, but not from `interfaces`.
    pub(super) fn unguard_but(&mut self, interfaces: &[&String]) -> Result<()> {
        for (device, pin) in &self.undo.guarded {
            if interfaces.contains(&device) {
                continue;
            }
            Guard::remove_pin(pin).with_context(|| format!("cannot detach the guard from {device}"))?;
            // Ours only when it is empty now; a folder with more in it is another hub's too.
            pin.parent().map(fs::remove_dir);
        }
        self.undo.guarded.retain(|device, _| interfaces.contains(&device));
        Ok(())
    }

    /// Puts the whole rule set in place, in one transaction.
    pub(super) fn set_rules(&mut self, plan: &Plan) -> Result<()> {
        self.undo.rules = true;
        self.undo.save(&self.paths)?;
        Ok(nft::apply(&render::nft::hub(&plan.firewall))?)
    }

    /// Puts forwarding back where only an earlier plan needs it. For use before that plan's rules go.
    pub(super) fn release_forwarding(&mut self, plan: &Plan) -> Result<()> {
        forwarding::release(&mut self.undo, families(&plan.addresses), &plan.uplink)?;
        self.undo.save(&self.paths)
    }

    /// Turns forwarding on where the plan needs it; how it was is in the record before. For use after the plan's rules stand.
    pub(super) fn enable_forwarding(&mut self, plan: &Plan) -> Result<()> {
        forwarding::record(&mut self.undo, families(&plan.addresses), &plan.uplink)?;
        self.undo.save(&self.paths)?;
        forwarding::enable(families(&plan.addresses), &plan.uplink)
    }

    /// Leaves what comes in by `interface` to the gateway alone; how it was is in the record before.
    pub(super) fn leave_to_gateway(&mut self, interface: &str) -> Result<()> {
        forwarding::record_interface(&mut self.undo, interface)?;
        self.undo.save(&self.paths)?;
        forwarding::refuse_on(interface)
            .map(drop)
            .with_context(|| format!("[hub.packet] interface: cannot stop the kernel's forwarding from {interface}"))
    }

    /// Gives the interface exactly these addresses; link-local ones are the kernel's.
    pub(super) fn sync_addresses(&mut self, index: u32, wanted: &[IpNet]) -> Result<()> {
        let listed = address::list(&mut self.netlink)?;
        let present: Vec<IpNet> = listed
            .iter()
            .filter(|known| known.index == index)
            .map(|known| known.address)
            .collect();
        for &address in present
            .iter()
            .filter(|address| !wanted.contains(address) && !is_link_local(address))
        {
            address::remove(&mut self.netlink, index, address)?;
        }
        for &address in wanted.iter().filter(|address| !present.contains(address)) {
            address::add(&mut self.netlink, index, address)?;
        }
        Ok(())
    }

    /// Makes the disciplines of all devices like `new`. What stands is the record's if an earlier process left it, else `old`.
    /// When one cannot be had, all are as in `old`.
    pub(super) fn shape(&mut self, old: &[Shaping], new: &[Shaping]) -> Result<()> {
        let (old, new) = (by_device(old), by_device(new));
        // Those of the record too: what a killed process set up may no longer be wanted.
        let recorded: Vec<String> = self.undo.shaped.keys().cloned().collect();
        let devices: BTreeSet<&str> = old
            .keys()
            .chain(new.keys())
            .copied()
            .chain(recorded.iter().map(String::as_str))
            .collect();
        let mut done: Vec<&str> = Vec::new();
        for device in devices {
            if let Err(error) = self.shape_device(device, items(&old, device), items(&new, device)) {
                for device in done {
                    self.shape_device(device, items(&new, device), items(&old, device))
                        .context("cannot put the disciplines back")?;
                }
                return Err(error);
            }
            done.push(device);
        }
        Ok(())
    }

    fn shape_device(&mut self, device: &str, old: &[Item], new: &[Item]) -> Result<()> {
        let Some(link) = link::find(&mut self.netlink, device)? else {
            if new.is_empty() {
                // The device has gone, and what was on it too.
                self.undo.shaped.remove(device);
                return self.undo.save(&self.paths);
            }
            bail!("[[shape]]: there is no interface {device}; see `ip link`");
        };
        // While it is being changed the record names both, since a root of either is ours.
        let recorded = self.undo.shaped.get(device).cloned().unwrap_or_default();
        let left = crate::tc::recorded(&recorded)?;
        let words = |items: &[Item]| -> Vec<String> { items.iter().map(ToString::to_string).collect() };
        let mut both = recorded.clone();
        both.extend(words(new).into_iter().filter(|words| !recorded.contains(words)));
        self.undo.shaped.insert(device.into(), both);
        self.undo.save(&self.paths)?;
        let previous = match (old.is_empty(), left.is_empty()) {
            (false, _) => Previous::Applied(old),
            (true, false) => Previous::Attempted(&left),
            (true, true) => Previous::Nothing,
        };
        let result = tc::replace(&mut self.netlink, link.index, previous, new).with_context(|| format!("[[shape]] on {device}"));
        match (&result, new.is_empty()) {
            (Ok(()), true) => self.undo.shaped.remove(device),
            (Ok(()), false) => self.undo.shaped.insert(device.into(), words(new)),
            (Err(_), _) if recorded.is_empty() => self.undo.shaped.remove(device),
            (Err(_), _) => self.undo.shaped.insert(device.into(), recorded),
        };
        self.undo.save(&self.paths)?;
        result
    }
}

fn items<'a>(devices: &'a BTreeMap<&str, Vec<Item>>, device: &str) -> &'a [Item] {
    devices.get(device).map_or(&[], Vec::as_slice)
}

/// Our table as the kernel has it.
pub(super) fn standing_rules() -> Result<Option<nft::Table>> {
    Ok(nft::table(nft::Family::Inet, TABLE)?)
}

/// Leads from the rules of `old` to those of `new`: elements only where that is enough, else the whole table at once.
pub(super) fn change_rules(old: &Plan, new: &Plan) -> Result<RulesChange> {
    if old.firewall == new.firewall {
        return Ok(RulesChange::None);
    }
    match render::nft::update(&old.firewall, &new.firewall) {
        Some(steps) if steps.is_empty() => return Ok(RulesChange::None),
        Some(steps) if steps.len() <= ELEMENTS_MAX => {
            let steps: Vec<element::Change> = steps.iter().map(element_change).collect();
            match element::change(nft::Family::Inet, TABLE, &steps) {
                Ok(()) => return Ok(RulesChange::Elements),
                // Somebody else has changed the table. The whole text puts it right.
                Err(error) => log::warn!("{error}; loading all rules"),
            }
        }
        _ => {}
    }
    nft::apply(&render::nft::hub(&new.firewall))?;
    Ok(RulesChange::Whole)
}

/// Beyond this many the whole text is loaded: the kernel's answers to one transaction must fit the socket's buffer.
pub(crate) const ELEMENTS_MAX: usize = 100;

/// A step as the kernel takes it.
pub(crate) fn element_change(step: &render::nft::ElementChange) -> element::Change {
    element::Change {
        set: step.set.clone(),
        interval: false,
        action: if step.add {
            element::Action::Add
        } else {
            element::Action::Delete
        },
        element: step.address.into(),
        value: step.class.map(|class| u32::from(class.major) << 16 | u32::from(class.minor)),
    }
}

/// What hangs on each device.
pub(super) fn by_device(shaping: &[Shaping]) -> BTreeMap<&str, Vec<Item>> {
    let mut devices: BTreeMap<&str, Vec<Item>> = BTreeMap::new();
    for Shaping { dev, item } in shaping {
        devices.entry(dev).or_default().push(item.clone());
    }
    devices
}

/// Which families the addresses are of.
pub(super) fn families(addresses: &[IpNet]) -> PerFamily<bool> {
    PerFamily {
        v4: addresses.iter().any(|net| net.addr().is_ipv4()),
        v6: addresses.iter().any(|net| net.addr().is_ipv6()),
    }
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}
