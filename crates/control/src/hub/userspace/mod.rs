//! The user-space engine: one process that decrypts, judges, shapes and forwards. Of the machine's kernel it wants a TUN for what
//! is the hub's own, and without root not even that.
//!
//! Up: the gateway with its rules, bans and disciplines; behind it the interface (down) with its peers, addresses, interface up.
//! Down: the interface; the rest goes with the process, as everything does when it is killed.

mod uplink;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use fielato_gateway::{Config, Egress, Gateway, Now, PortId};
use fielato_io::device::{Crossing, Middle, WayOut};
use fielato_io::tap::Tap;
use fielato_io::{Device, proxy};
use fielato_kernel::link;
use fielato_policy::Plan;
use fielato_policy::config::{self, Exit};
use fielato_policy::gateway::{self as compiled, HOST, TUNNEL, UPLINK, Uplink};
use fielato_wireguard::{DeviceConfig, DeviceStatus, PeerChange};
use ipnet::IpNet;

use super::{Counted, Machine, Missing, Step, banned, shape_device};
use crate::bans::Bans;
use crate::protocol::{Changes, DropCount, GuardStatus, RulesChange, ShapeDevice};
use crate::{forwarding, tunnel};

/// How many connections are looked at between two packets after a change of the rules: for a few tenths of a millisecond.
const CONNECTIONS_AT_ONCE: u32 = 256;

/// The process's own parts, made like the plan.
pub(super) struct Userspace {
    /// `None` for an ordinary user, who has no interface.
    machine: Option<Machine>,
    device: Device,
    uplink: Uplink,
    /// The interface of `[hub.packet]`, where that is the way out.
    packet_interface: Option<String>,
    banned: BTreeSet<IpNet>,
    /// Why it is not the kernel engine.
    pub(super) missing: Vec<Missing>,
}

impl Userspace {
    /// Makes gateway and device like the plan, and the interface on the machine, if there is one to make it on.
    ///
    /// # Errors
    /// The first thing that could not be done; everything is then as before.
    pub(super) fn up(
        machine: Option<Machine>,
        hub: &config::Hub,
        plan: &Plan,
        device: &DeviceConfig,
        bans: &Bans,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        if plan.guard.enabled && plan.guard.uplink && hub.exit == Exit::Proxy {
            bail!(
                "[hub.guard] uplink = true: with exit = \"proxy\" no packets from outside come to the user-space engine; \
                 take `uplink` out, set exit = \"packet\" or engine = \"kernel\""
            );
        }
        // What an earlier process left of the kernel engine goes: nobody would keep it.
        let mut machine = machine.map(Machine::cleared).transpose()?;
        let (uplink, way_out) = match (&hub.exit, &mut machine) {
            (Exit::Packet(packet), _) => {
                let (uplink, port) = uplink::by_packets(packet)?;
                (uplink, WayOut::Packet(port))
            }
            (Exit::Proxy, Some(machine)) => {
                let uplink = uplink::by_sockets(&mut machine.netlink, &plan.uplink)?;
                (uplink, WayOut::Proxy(proxy_options(plan, true)?))
            }
            (Exit::Proxy, None) => (uplink::by_any_sockets(), WayOut::Proxy(proxy_options(plan, false)?)),
        };
        let left = match (&mut machine, &hub.exit) {
            (Some(machine), Exit::Packet(packet)) => machine.leave_to_gateway(&packet.interface),
            _ => Ok(()),
        };
        match left.and_then(|()| bring_up(&mut machine, way_out, &uplink, plan, device, bans, progress)) {
            Ok(device) => Ok(Self {
                machine,
                device,
                uplink,
                packet_interface: match &hub.exit {
                    Exit::Packet(packet) => Some(packet.interface.clone()),
                    Exit::Proxy => None,
                },
                banned: banned(plan, bans)?,
                missing: Vec::new(),
            }),
            Err(error) => {
                if let Some(mut machine) = machine {
                    machine
                        .clear()
                        .with_context(|| format!("{error:#}; and then the machine could not be put back"))?;
                }
                Err(error)
            }
        }
    }

    /// Leads from one plan to another: the gateway as a whole between two packets, then the peers.
    pub(super) fn change(&mut self, step: &Step<'_>) -> Result<Changes> {
        let Step {
            old,
            new,
            peers,
            device,
            bans,
        } = *step;
        let banned = banned(new, bans)?;
        let mut changes = Changes {
            shaping: new.shaping != old.shaping || new.firewall.classes != old.firewall.classes,
            rules: match new.firewall == old.firewall {
                true => RulesChange::None,
                false => RulesChange::Whole,
            },
            bans: banned.symmetric_difference(&self.banned).count(),
            interface: device.is_some() || new.mtu != old.mtu || new.addresses != old.addresses,
            ..Changes::default()
        };
        let uplink = match (&mut self.machine, &self.uplink.exit) {
            (Some(machine), compiled::Exit::Proxy) => uplink::by_sockets(&mut machine.netlink, &new.uplink)?,
            _ => self.uplink.clone(),
        };
        changes.connections_cut = self.swap(gateway_config(new, &uplink, &banned))?;
        if let Some(device) = device
            && let Err(error) = self.device.set(device)
        {
            self.swap(gateway_config(old, &self.uplink, &self.banned))
                .context("cannot put the rules back")?;
            return Err(error.into());
        }
        self.device.apply(peers);
        changes.peers_removed = peers.iter().filter(|step| matches!(step, PeerChange::Remove(_))).count();
        changes.peers_set = peers.len() - changes.peers_removed;
        if changes.interface
            && let Some(machine) = &mut self.machine
        {
            let link = link::get(&mut machine.netlink, &new.interface)?;
            link::set_mtu(&mut machine.netlink, &link, new.mtu)?;
            machine.sync_addresses(link.index, &new.addresses)?;
        }
        (self.uplink, self.banned) = (uplink, banned);
        Ok(changes)
    }

    /// Returns how many connections ended with it.
    fn swap(&self, config: Config) -> Result<usize> {
        let swapped = self.gateway(|gateway, now| gateway.swap(config, now))?;
        swapped.context("the gateway refuses the plan")?;
        loop {
            if let Some(cut) = self.gateway(|gateway, now| gateway.judge_some(CONNECTIONS_AT_ONCE, now))? {
                return Ok(cut);
            }
            // Who waits for the gateway gets it before this does again.
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn gateway<T>(&self, work: impl FnOnce(&mut Gateway, Now) -> T) -> Result<T> {
        self.device.with_gateway(work).context("the device has no gateway")
    }

    /// Makes the bans in force those of the file and of the list. Returns how many were added or removed.
    pub(super) fn set_bans(&mut self, plan: &Plan, bans: &Bans) -> Result<usize> {
        let wanted = banned(plan, bans)?;
        let added: Vec<IpNet> = wanted.difference(&self.banned).copied().collect();
        let removed: Vec<IpNet> = self.banned.difference(&wanted).copied().collect();
        self.gateway(|gateway, _| -> Result<()> {
            for (place, &network) in added.iter().enumerate() {
                if let Err(error) = gateway.ban(network, None) {
                    for &network in &added[..place] {
                        gateway.unban(network);
                    }
                    return Err(error.into());
                }
            }
            for &network in &removed {
                gateway.unban(network);
            }
            Ok(())
        })??;
        self.banned = wanted;
        Ok(added.len() + removed.len())
    }

    /// Takes everything down; the machine is then as it was. Returns what the device reported at the end.
    pub(super) fn down(self) -> Result<Option<DeviceStatus>> {
        let last = self.device.stop();
        if let Some(mut machine) = self.machine {
            machine.clear()?;
        }
        Ok(Some(last))
    }

    /// Notices when the interface was taken away, or the device could not go on. Keeps what is the gateway's from the kernel: who
    /// writes `ip_forward` writes it for every interface.
    pub(super) fn check(&mut self, plan: &Plan) -> Result<()> {
        if let Some(interface) = &self.packet_interface
            && forwarding::refuse_on(interface)?
        {
            log::warn!("somebody turned the kernel's forwarding on for {interface}, which is the hub's own; it is off again");
        }
        match self.device.wait(Duration::ZERO) {
            Some(fielato_io::Exit::InterfaceRemoved) => bail!("interface {} was removed by somebody else", plan.interface),
            Some(_) => bail!("the device ended; the log says why"),
            None => Ok(()),
        }
    }

    /// What the WireGuard device reports.
    pub(super) fn device(&self) -> Result<DeviceStatus> {
        Ok(self.device.status())
    }

    /// Where packets can be looked at.
    pub(super) fn tap(&self) -> &Tap {
        self.device.tap()
    }

    /// What device and gateway dropped.
    pub(super) fn drops(&self) -> Result<Vec<DropCount>> {
        let mut drops = tunnel::device_drops(&self.device);
        let gateway = self.gateway(|gateway, _| gateway.drops().collect::<Vec<_>>())?;
        drops.extend(
            gateway
                .into_iter()
                .filter(|(_, packets)| *packets > 0)
                .map(|(reason, packets)| DropCount {
                    by: "gateway".into(),
                    reason: reason.into(),
                    packets,
                }),
        );
        Ok(drops)
    }

    /// Connections that are tracked.
    pub(super) fn flows(&self) -> Result<u64> {
        self.gateway(|gateway, _| gateway.netfilter().conntrack().count().into())
    }

    /// `"proxy"` or `"packet"`.
    pub(super) fn exit(&self) -> &'static str {
        match self.uplink.exit {
            compiled::Exit::Proxy => "proxy",
            compiled::Exit::Ip | compiled::Exit::Ethernet { .. } => "packet",
        }
    }

    /// Where the guard is.
    pub(super) fn guard(&self, plan: &Plan) -> Vec<GuardStatus> {
        let interfaces = std::iter::once(&plan.interface)
            .chain(self.guarded_beside(plan))
            .filter(|_| plan.guard.enabled);
        let status = |interface: &String| GuardStatus {
            interface: interface.clone(),
            mode: "gateway".into(),
            pinned: false,
        };
        interfaces.map(status).collect()
    }

    /// The interface beside the tunnel at which the guard stands.
    fn guarded_beside(&self, plan: &Plan) -> Option<&String> {
        self.packet_interface.as_ref().filter(|_| plan.guard.uplink)
    }

    /// What the guard has seen of each source. Members' addresses come through the tunnel, and others can't.
    pub(super) fn sources(&self, plan: &Plan) -> Result<Vec<Counted>> {
        let sources = self.gateway(|gateway, _| gateway.top(usize::MAX))?;
        let members: BTreeSet<IpNet> = plan.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
        let interface = |address: IpAddr| match self.guarded_beside(plan) {
            Some(packet) if !members.contains(&IpNet::from(address)) => packet,
            _ => &plan.interface,
        };
        let counted = sources.into_iter().map(|count| Counted {
            address: count.address,
            interface: interface(count.address).clone(),
            packets: count.packets,
            bytes: count.bytes,
        });
        Ok(counted.collect())
    }

    /// The disciplines and classes with their statistics.
    pub(super) fn shape(&mut self, plan: &Plan) -> Result<Vec<ShapeDevice>> {
        let device = |(port, name): (PortId, &String)| {
            let stats = self.gateway(|gateway, _| gateway.egress(port).map(Egress::stats))?;
            shape_device(name, &stats.unwrap_or_default())
        };
        [(TUNNEL, &plan.interface), (UPLINK, &plan.uplink)]
            .into_iter()
            .map(device)
            .collect()
    }

    /// What each ban has stopped: packets and bytes.
    pub(super) fn ban_counts(&self) -> Result<BTreeMap<IpNet, (u64, u64)>> {
        let bans = self.gateway(|gateway, _| gateway.bans())?;
        Ok(bans
            .into_iter()
            .map(|ban| (ban.network.trunc(), (ban.packets, ban.bytes)))
            .collect())
    }
}

fn gateway_config(plan: &Plan, uplink: &Uplink, banned: &BTreeSet<IpNet>) -> Config {
    let mut config = compiled::config(plan, uplink);
    // The hub ends bans by its own clock, those of the file and those of commands alike.
    config.guard.bans = banned.iter().map(|network| (*network, None)).collect();
    config
}

fn bring_up(
    machine: &mut Option<Machine>,
    way_out: WayOut,
    uplink: &Uplink,
    plan: &Plan,
    device: &DeviceConfig,
    bans: &Bans,
    progress: &mut dyn FnMut(&str),
) -> Result<Device> {
    progress("rules");
    let config = gateway_config(plan, uplink, &banned(plan, bans)?);
    let seed = seed()?;
    let gateway = Gateway::new(config, seed, now()).context("the gateway refuses the plan")?;
    progress("interface and peers");
    let options = fielato_io::Options {
        interface: machine.is_some(),
        ..fielato_io::Options::new(mtu(plan)?)
    };
    if let Some(machine) = machine {
        machine.undo.save(&machine.paths)?;
        tunnel::refuse_foreign(&mut machine.netlink, &plan.interface)?;
        // The TUN of a killed process may still be there while the kernel takes that process apart.
        tunnel::remove_link(&mut machine.netlink, &plan.interface)?;
    }
    let crossing = Crossing {
        gateway,
        tunnel: TUNNEL,
        host: HOST,
        exit: Some((UPLINK, way_out)),
    };
    let device = Device::create_between(&plan.interface, &options, device, Middle::Gateway(Box::new(crossing)))?;
    if let Some(machine) = machine {
        tunnel::mark(&mut machine.netlink, &plan.interface)?;
        let link = link::get(&mut machine.netlink, &plan.interface)?;
        machine.sync_addresses(link.index, &plan.addresses)?;
        progress("interface up");
        link::set_up(&mut machine.netlink, &link, true).with_context(|| format!("cannot bring up {}", plan.interface))?;
    }
    Ok(device)
}

fn proxy_options(plan: &Plan, has_interface: bool) -> Result<proxy::Options> {
    Ok(proxy::Options {
        superpackets: true,
        // What is for the hub itself goes by the interface, if there is one.
        local: match has_interface {
            true => proxy::Local::None,
            false => proxy::Local::Addresses(plan.addresses.iter().map(|net| net.addr()).collect()),
        },
        overlay: plan.addresses.iter().map(|net| net.trunc()).collect(),
        interface: has_interface.then(|| plan.interface.clone()),
        ..proxy::Options::new(mtu(plan)?)
    })
}

fn mtu(plan: &Plan) -> Result<u16> {
    u16::try_from(plan.mtu).context("an MTU is at most 65535")
}

/// Keys hash tables and chooses ports, so nobody may guess it.
fn seed() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the system has no randomness to give")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The clocks that the device's threads read, too.
fn now() -> Now {
    let mono = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanoseconds =
        |seconds: i64, rest: i64| u64::try_from(seconds).unwrap_or(0) * 1_000_000_000 + u64::try_from(rest).unwrap_or(0);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        mono: nanoseconds(mono.tv_sec, mono.tv_nsec),
        wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
    }
}
