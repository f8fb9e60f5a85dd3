//! Plans as shell scripts that do by hand what the engine does: to read, to compare, to run where nothing is installed.

use std::fmt::Write as _;

use fielato_qdisc::Item;

use super::nft;
use crate::plan::Plan;

pub use super::host_script::host;

/// What `up` does on the hub. `key_path` is the file of the hub's private key, which the script names and never shows.
pub fn hub(plan: &Plan, key_path: &str) -> String {
    let Plan {
        interface,
        uplink: _,
        listen_port,
        mtu,
        addresses,
        peers,
        firewall,
        shaping,
        bans,
        guard: _,
        next_change: _,
    } = plan;
    let mut out = String::from("#!/bin/sh\n# Makes this machine the hub, as `fielato up` does. Run as root.\nset -eu\n\n");
    let _ = writeln!(
        out,
        "# 1. The rules, before there is anything to pass them.\nnft -f - <<'RULES'\n{}RULES\n",
        nft::hub(firewall)
    );
    let (v4, v6) = (
        addresses.iter().any(|net| net.addr().is_ipv4()),
        addresses.iter().any(|net| net.addr().is_ipv6()),
    );
    out.push_str("# 2. Forwarding, in the families of the overlay.\n");
    if v4 {
        out.push_str("sysctl -q -w net.ipv4.ip_forward=1\n");
    }
    if v6 {
        out.push_str("sysctl -q -w net.ipv6.conf.all.forwarding=1\n");
    }
    let _ = writeln!(out, "\n# 3. The interface, with its key from a file that only root reads.");
    let _ = writeln!(out, "ip link add dev {interface} type wireguard");
    let _ = writeln!(
        out,
        "wg set {interface} listen-port {listen_port} private-key {}",
        quoted(key_path)
    );
    for peer in peers {
        let allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "# {}", peer.name);
        let _ = writeln!(
            out,
            "wg set {interface} peer {} allowed-ips {}",
            peer.public_key,
            allowed.join(",")
        );
    }
    out.push_str("# A member with a pre-shared key needs besides: wg set … peer … preshared-key FILE\n");
    for address in addresses {
        let _ = writeln!(out, "ip address add {address} dev {interface}");
    }
    let _ = writeln!(out, "ip link set dev {interface} mtu {mtu} up");
    if !shaping.is_empty() {
        out.push_str("\n# 4. Shaping. Who goes into which class is a map in the rules.\n");
    }
    for shaping in shaping {
        let dev = &shaping.dev;
        let (object, words) = match &shaping.item {
            Item::Qdisc(qdisc) => ("qdisc", qdisc.to_string()),
            Item::Class(class) => ("class", class.to_string()),
            Item::Filter(filter) => ("filter", filter.to_string()),
        };
        let _ = writeln!(out, "tc {object} add dev {dev} {words}");
    }
    if !bans.is_empty() {
        out.push_str("\n# Bans are kept by the guard, an XDP program that this script does not load:\n");
        for ban in bans {
            let _ = writeln!(out, "#   {}", ban.network);
        }
    }
    out
}

/// What puts a member's file in its place and brings the tunnel up. The file is read from standard input, so that no
/// secret stands in a script.
pub fn member(name: &str, interface: &str) -> String {
    format!(
        "#!/bin/sh\n# Joins this machine to the VPN as {name}: fielato member config {name} | ssh MACHINE sh ./this-script\n# Run as root.\nset -eu\n\n\
         umask 077\ncat > /etc/wireguard/{interface}.conf\nwg-quick up {interface}\n"
    )
}

/// In single quotes for sh.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
