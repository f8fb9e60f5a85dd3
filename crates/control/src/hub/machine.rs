//! The parts of the machine that the hub changes, and the record by which they are put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, bail};
use fielato_kernel::guard::Guard;
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link, nft, tc};
use fielato_policy::plan::{PerFamily, Shaping, ShapingItem};
use fielato_policy::{Plan, render};
use ipnet::IpNet;

use crate::protocol::RulesChange;
use crate::undo::Undo;
use crate::{Paths, forwarding, tunnel};

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

    /// The machine as an earlier process left it, or `None` when nothing of ours is on it.
    ///
    /// # Errors
    /// When the record is damaged or the kernel does not answer.
    pub fn left_behind(paths: &Paths) -> Result<Option<Self>> {
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
        tunnel::remove_link(&mut self.netlink, &self.undo.interface)?;
        link::remove_leftovers(&mut self.netlink)?;
        for (device, pin) in &self.undo.guarded {
            Guard::remove_pin(pin).with_context(|| format!("cannot detach the guard from {device}"))?;
            // Ours only when it is empty now; a folder with more in it is another hub's too.
            pin.parent().map(fs::remove_dir);
        }
        for device in &self.undo.shaped {
            if let Some(link) = link::find(&mut self.netlink, device)? {
                tc::clear(&mut self.netlink, link.index)?;
            }
        }
        forwarding::restore(&self.undo)?;
        nft::delete_table("inet", TABLE)?;
        Undo::forget(&self.paths)
    }

    /// Puts the whole rule set in place, in one transaction.
    pub(super) fn set_rules(&mut self, plan: &Plan) -> Result<()> {
        self.undo.save(&self.paths)?;
        Ok(nft::apply(&render::nft::hub(&plan.firewall))?)
    }

    pub(super) fn record_forwarding(&mut self, plan: &Plan) -> Result<()> {
        forwarding::record(&mut self.undo, families(&plan.addresses), &plan.uplink)?;
        self.undo.save(&self.paths)
    }

    pub(super) fn enable_forwarding(&mut self, plan: &Plan) -> Result<()> {
        forwarding::enable(families(&plan.addresses), &plan.uplink)
    }

    /// Gives the interface exactly these addresses; link-local ones are the kernel's.
    pub(super) fn sync_addresses(&mut self, index: u32, wanted: &[IpNet]) -> Result<()> {
        let present = address::list(&mut self.netlink, index)?;
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

    /// Makes the disciplines of all devices of `old` and `new` like `new`. When one cannot be had, all are as in `old`.
    pub(super) fn shape(&mut self, old: &[Shaping], new: &[Shaping]) -> Result<()> {
        let (old, new) = (by_device(old), by_device(new));
        self.undo.shaped.extend(new.keys().map(|device| device.to_string()));
        self.undo.save(&self.paths)?;
        let devices: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        let none = Vec::new();
        let mut done = Vec::new();
        for device in devices {
            let (before, after) = (old.get(device).unwrap_or(&none), new.get(device).unwrap_or(&none));
            let Some(link) = link::find(&mut self.netlink, device)? else {
                bail!("[[shape]]: there is no interface {device}; see `ip link`");
            };
            if let Err(error) = tc::replace(&mut self.netlink, link.index, before, after) {
                for (index, before, after) in done {
                    tc::replace(&mut self.netlink, index, after, before).context("cannot put the disciplines back")?;
                }
                return Err(error).with_context(|| format!("[[shape]] on {device}"));
            }
            done.push((link.index, before, after));
        }
        Ok(())
    }
}

/// Leads from the rules of `old` to those of `new`: elements only where that is enough, else the whole table at once.
pub(super) fn change_rules(old: &Plan, new: &Plan) -> Result<RulesChange> {
    if old.firewall == new.firewall {
        return Ok(RulesChange::None);
    }
    if let Some(elements) = render::nft::update(&old.firewall, &new.firewall) {
        nft::apply(&elements)?;
        return Ok(RulesChange::Elements);
    }
    nft::apply(&render::nft::hub(&new.firewall))?;
    Ok(RulesChange::Whole)
}

fn by_device(shaping: &[Shaping]) -> BTreeMap<&str, Vec<tc::Item>> {
    let mut devices: BTreeMap<&str, Vec<tc::Item>> = BTreeMap::new();
    for Shaping { dev, item } in shaping {
        devices.entry(dev).or_default().push(match item {
            ShapingItem::Qdisc(qdisc) => tc::Item::Qdisc(qdisc.clone()),
            ShapingItem::Class(class) => tc::Item::Class(class.clone()),
        });
    }
    devices
}

fn families(addresses: &[IpNet]) -> PerFamily<bool> {
    PerFamily {
        v4: addresses.iter().any(|net| net.addr().is_ipv4()),
        v6: addresses.iter().any(|net| net.addr().is_ipv6()),
    }
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}
