//! Who belongs to a device: its own key, its peers' keys, and which addresses are whose. Read on every packet, changed by
//! the administrator; what changes with the traffic is in the shards.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::allowed_ips::{AllowedIps, Slot};
use crate::key::PublicKey;
use crate::noise::StaticKeys;
use crate::uapi::AllowedIpChange;

/// Keys and addresses of a device.
#[derive(Default)]
pub struct Roster {
    pub(crate) own: Option<Arc<StaticKeys>>,
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    by_key: HashMap<PublicKey, Slot>,
    allowed_ips: AllowedIps,
    /// Changes of `allowed_ips`, kept only where somebody asked for them.
    changes: Option<Vec<AllowedIpMove>>,
}

/// A prefix and whose it is now; `None` for nobody's.
pub type AllowedIpMove = (IpNet, Option<Slot>);

struct Entry {
    key: PublicKey,
    /// In order. Most peers have one or two, for which a tree's node would take five times the room.
    allowed_ips: Vec<IpNet>,
}

impl Roster {
    /// The peer of this key.
    pub fn find(&self, key: &PublicKey) -> Option<Slot> {
        self.by_key.get(key).copied()
    }

    /// Which addresses are whose.
    pub fn allowed_ips(&self) -> &AllowedIps {
        &self.allowed_ips
    }

    /// From now on keeps the changes of allowed IPs for [`Roster::take_changes`].
    pub fn keep_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// How allowed IPs changed since this was last asked, oldest first.
    pub fn take_changes(&mut self) -> Vec<AllowedIpMove> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn note(&mut self, net: IpNet, owner: Option<Slot>) {
        if let Some(changes) = &mut self.changes {
            changes.push((net, owner));
        }
    }

    /// The port as last told.
    pub fn listen_port(&self) -> u16 {
        self.listen_port
    }

    /// Tells the device which port its sockets have.
    pub fn set_listen_port(&mut self, port: u16) {
        self.listen_port = port;
    }

    /// The mark as last told.
    pub fn fwmark(&self) -> u32 {
        self.fwmark
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.by_key.keys().copied()
    }

    /// Every peer with its allowed IPs.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (Slot, &PublicKey, &[IpNet])> + '_ {
        let entries = (0..).zip(&self.entries);
        entries.filter_map(|(slot, entry)| entry.as_ref().map(|entry| (slot, &entry.key, entry.allowed_ips.as_slice())))
    }

    /// The peer of this key, made when there is none; whether it was made.
    pub(crate) fn insert(&mut self, key: PublicKey) -> (Slot, bool) {
        if let Some(slot) = self.find(&key) {
            return (slot, false);
        }
        let entry = Some(Entry {
            key,
            allowed_ips: Vec::new(),
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Slot
            }
        };
        self.by_key.insert(key, slot);
        (slot, true)
    }

    pub(crate) fn remove(&mut self, key: &PublicKey) -> Option<Slot> {
        let slot = self.by_key.remove(key)?;
        self.clear_allowed_ips(slot);
        self.entries[slot as usize] = None;
        self.free.push(slot);
        Some(slot)
    }

    fn clear_allowed_ips(&mut self, slot: Slot) {
        let entry = self.entries[slot as usize].as_mut();
        let nets = entry.map(|entry| std::mem::take(&mut entry.allowed_ips)).unwrap_or_default();
        for net in nets {
            self.allowed_ips.remove(net);
            self.note(net, None);
        }
    }

    pub(crate) fn change_allowed_ips(&mut self, slot: Slot, replace: bool, changes: &[AllowedIpChange]) {
        if replace {
            self.clear_allowed_ips(slot);
        }
        for change in changes {
            match change {
                AllowedIpChange::Add(net) => self.allow(slot, net.trunc()),
                AllowedIpChange::Remove(net) => {
                    if self.disallow(slot, &net.trunc()) {
                        self.allowed_ips.remove(net.trunc());
                        self.note(net.trunc(), None);
                    }
                }
            }
        }
    }

    /// Gives the prefix to the peer, whoever had it.
    fn allow(&mut self, slot: Slot, net: IpNet) {
        match self.allowed_ips.insert(net, slot) {
            Some(before) if before != slot => drop(self.disallow(before, &net)),
            _ => {}
        }
        self.note(net, Some(slot));
        let Some(entry) = &mut self.entries[slot as usize] else {
            return;
        };
        if let Err(at) = entry.allowed_ips.binary_search(&net) {
            // Grown by exactly one where few are to be expected: doubling would begin with four.
            if entry.allowed_ips.len() < 4 {
                entry.allowed_ips.reserve_exact(1);
            }
            entry.allowed_ips.insert(at, net);
        }
    }

    /// False when it was not allowed before.
    fn disallow(&mut self, slot: Slot, net: &IpNet) -> bool {
        let Some(entry) = &mut self.entries[slot as usize] else {
            return false;
        };
        let found = entry.allowed_ips.binary_search(net);
        found.map(|at| entry.allowed_ips.remove(at)).is_ok()
    }
}
