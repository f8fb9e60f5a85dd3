//! Connections of the kernel under changed rules: those that would not be let begin now are ended.
//!
//! Rules let packets of known connections pass first; without this a connection outlived the rule that admitted it. The gateway's
//! own netfilter judges, as it does in the user-space engine. Connections that have nothing to do with the VPN are left alone.

use anyhow::{Context as _, Result};
use fielato_gateway::{Gateway, Now};
use fielato_kernel::conntrack::{self, Connection};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::{address, link};
use fielato_policy::Plan;
use fielato_policy::gateway::{self, Exit, Uplink};
use fielato_wire::{Addr, Family};
use ipnet::IpNet;
use jiff::Timestamp;

/// Ends the connections that the plan would not let begin. Returns how many there were.
pub(super) fn cut(netlink: &mut Netlink, plan: &Plan) -> Result<usize> {
    let mut ours = Vec::new();
    for family in [Family::V4, Family::V6] {
        let listed = conntrack::list(family).context("cannot list the tracked connections")?;
        ours.extend(listed.into_iter().filter(|connection| is_ours(connection, plan)));
    }
    if ours.is_empty() {
        return Ok(0);
    }
    let mut config = gateway::config(plan, &uplink(netlink, plan)?);
    // What waits where is not asked.
    config.shaping.clear();
    let wall = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0);
    let now = Now { mono: wall, wall };
    // Nobody sends to this one: its tables are keyed against no one.
    let mut judge = Gateway::new(config, 0, now).context("the tracked connections can't be judged")?;
    let forbidden = ours.iter().filter(|connection| !judge.would_admit(connection.to_conn(), now));
    conntrack::delete(forbidden).context("cannot end the connections that are forbidden now")
}

/// Whether one of its ends is in the overlay, or it goes to a port that we publish.
fn is_ours(connection: &Connection, plan: &Plan) -> bool {
    let of = |address: Addr| {
        let address = address.to_ip(connection.original.family);
        plan.firewall.overlay.iter().any(|net| net.contains(&address))
    };
    let tuples = [connection.original, connection.reply];
    tuples.iter().any(|tuple| of(tuple.src) || of(tuple.dst))
}

/// The machine's own addresses: on the uplink with their networks, others alone.
fn uplink(netlink: &mut Netlink, plan: &Plan) -> Result<Uplink> {
    let uplink = link::find(netlink, &plan.uplink)?;
    let index = uplink.as_ref().map(|link| link.index);
    let overlay = link::find(netlink, &plan.interface)?.map(|link| link.index);
    let all = address::list(netlink)?.into_iter();
    let own = all.filter(|found| found.global && found.usable && Some(found.index) != overlay);
    let addresses = own.map(|found| match Some(found.index) == index {
        true => found.address,
        false => IpNet::from(found.address.addr()),
    });
    Ok(Uplink {
        addresses: addresses.collect(),
        gateways: Vec::new(),
        mtu: uplink.map_or(Uplink::MTU, |link| link.mtu),
        exit: Exit::Ip,
    })
}
