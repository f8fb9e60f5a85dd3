//! The configuration that `fielato init` writes: it parses, and explains itself.

use crate::edit::{string, strings};
use crate::facts::MachineFacts;

/// A commented file for a machine. Without members nobody has access yet.
pub fn template(facts: &MachineFacts) -> String {
    let MachineFacts {
        interface,
        endpoint: _,
        listen_port,
        uplink,
        addresses,
        source,
    } = facts;
    let source = if source.is_empty() {
        "# source = [\"203.0.113.7\"]".to_owned()
    } else {
        format!("source = {}", strings(source))
    };
    let first = addresses
        .first()
        .and_then(|net| net.hosts().find(|host| *host != net.addr() && *host != net.network()));
    let instance = first.map_or_else(|| "192.168.4.2".to_owned(), |address| address.to_string());
    format!(
        r#"# The hub's configuration. Check a change with `fielato render hub`, apply it with `fielato reload`.
# Secrets do not belong here: they are files under /etc/fielato/keys/.

[hub]
interface = {interface}
# Where members reach this machine.
endpoint = {endpoint}
listen_port = {listen_port}
# The hub's own addresses in the overlay, with the overlay's prefix lengths.
addresses = {addresses}
# The interface towards the protected hosts and the outside.
uplink = {uplink}
# This machine's addresses as protected hosts see them: what strategy "source" lets in.
{source}
# What leaves the VPN for elsewhere takes the hub's address. Without it the hosts need a route back to the overlay.
masquerade = true
# Name servers for members, and networks behind the hub that route = "lab" takes through the tunnel:
# dns = ["192.168.4.1"]
# lab = ["10.0.123.0/24"]

# Who judges and moves packets: the kernel (nftables, tc, XDP), one process of ours, or whichever can do all of this file.
# engine = "auto"                       # or "kernel", or "userspace"
# exit = "proxy"                        # how the process reaches what lies behind: by sockets, or by an interface ("packet")

# The guard drops banned addresses before the network stack sees their packets, and counts by source.
[hub.guard]
enabled = true
# uplink = true      # also on the uplink, for outer addresses
# sources = 65536    # sources counted at once, per family

# A member is a machine or person with a WireGuard key: `fielato member add alice --group staff` writes this.
# [member.alice]
# addresses = ["{instance}"]
# public_key = "44 characters of base64, as wg pubkey prints them"
# groups = ["staff"]
# route = "lab"                         # or "all", or a list of networks
# keepalive = 25                        # seconds, for members behind NAT
# expires = 2027-01-31T18:00:00Z        # no access from then on
# disabled = true

# A protected host lets only the VPN reach its services.
# strategy "source": it lets in the hub's address. strategy "member": it is a member of the same name itself, and
# lets in what comes out of its tunnel; safer, since an address can be forged and an interface cannot.
# [host.server]
# address = "10.0.123.4"
# strategy = "source"

# [service.web]
# host = "server"
# ports = ["tcp/443", "udp/5000-5010"]

# Rules, in order: the first that matches decides; what none matches is dropped.
# from and to name members, groups, hosts, services (in to), addresses, or any, members, hub, internet.
# [[rule]]
# from = "staff"
# to = ["web", "hub"]
# action = "accept"                     # or "drop", or "reject"

# Shaping, in tc's own words: what follows `tc qdisc add dev DEV` and `tc class add dev DEV`.
# [[shape]]
# qdisc = "root handle 1: htb default 30"
# [[shape]]
# class = "parent 1: classid 1:10 htb rate 10mbit"
# for = ["staff"]

# Bans from the first moment on; `fielato ban` makes others while the hub runs.
# [[ban]]
# address = "203.0.113.0/24"
# until = 2027-01-31T18:00:00Z
"#,
        interface = string(interface),
        endpoint = string(&facts.endpoint_with_port(*listen_port)),
        addresses = strings(addresses),
        uplink = string(uplink),
    )
}
