//! The guard on every interface that the plan names, with one list of bans for all.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use fielato_kernel::guard::{self, Guard};
use fielato_kernel::link;
use fielato_policy::Plan;
use ipnet::IpNet;

use crate::bans::Bans;
use crate::hub::{Machine, banned};

/// The attached guards; none when the configuration turns the guard off.
pub(super) struct Guards {
    pub(super) attached: Vec<Attached>,
    banned: BTreeSet<IpNet>,
}

pub(super) struct Attached {
    pub(super) interface: String,
    pub(super) guard: Guard,
}

impl Guards {
    /// Attaches the guards that the plan wants, with the bans in force from the first packet on.
    pub(super) fn attach(machine: &mut Machine, plan: &Plan, bans: &Bans) -> Result<Self> {
        let mut guards = Self {
            attached: Vec::new(),
            banned: banned(plan, bans)?,
        };
        let interfaces = match (plan.guard.enabled, plan.guard.uplink) {
            (true, true) => vec![&plan.interface, &plan.uplink],
            (true, false) => vec![&plan.interface],
            (false, _) => vec![],
        };
        machine.unguard_but(&interfaces)?;
        for &interface in &interfaces {
            machine.undo.guarded.insert(interface.clone(), machine.paths.pin(interface));
        }
        machine.undo.save(&machine.paths)?;
        let banned: Vec<IpNet> = guards.banned.iter().copied().collect();
        for interface in interfaces {
            let link = link::get(&mut machine.netlink, interface)?;
            let options = guard::Options {
                sources: plan.guard.sources,
                pin: Some(machine.paths.pin(interface)),
            };
            let guard = Guard::attach_with(link.index, link.arphrd, &options, &banned)
                .with_context(|| format!("cannot guard {interface} (to do without: `enabled = false` under [hub.guard])"))?;
            guards.attached.push(Attached {
                interface: interface.clone(),
                guard,
            });
        }
        Ok(guards)
    }

    /// Makes the bans in force those of the file and of the list. Returns how many were added or removed.
    pub(super) fn sync(&mut self, plan: &Plan, bans: &Bans) -> Result<usize> {
        let wanted = banned(plan, bans)?;
        let added: Vec<IpNet> = wanted.difference(&self.banned).copied().collect();
        let removed: Vec<IpNet> = self.banned.difference(&wanted).copied().collect();
        for Attached { guard, .. } in &mut self.attached {
            guard.ban_all(&added)?;
            for &network in &removed {
                guard.unban(network)?;
            }
        }
        self.banned = wanted;
        Ok(added.len() + removed.len())
    }
}
