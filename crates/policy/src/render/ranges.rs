//! Networks with classes as ranges that don't overlap, which is all that nft's interval maps take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_qdisc::Handle;
use ipnet::IpNet;

/// A network that is being walked: what of it is not yet written.
struct Open {
    /// First address not yet written; `None` behind the last address of all.
    next: Option<u128>,
    last: u128,
    class: Handle,
}

/// Each address of one family's networks in exactly one range, with the class of the innermost network around it.
/// Networks contain each other or have nothing in common, so a stack of the open ones is enough.
pub fn disjoint<'n>(nets: impl Iterator<Item = (&'n IpNet, &'n Handle)>) -> Vec<(String, Handle)> {
    let mut sorted: Vec<(u128, u128, Handle, bool)> = nets
        .map(|(net, class)| (bits(net.network()), bits(net.broadcast()), *class, net.addr().is_ipv4()))
        .collect();
    let v4 = sorted.first().is_some_and(|(_, _, _, v4)| *v4);
    // Of those that begin at the same address the outermost first.
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut ranges = Vec::new();
    let mut write = |first: u128, last: u128, class: Handle| {
        let key = if first == last {
            text(first, v4)
        } else {
            format!("{}-{}", text(first, v4), text(last, v4))
        };
        ranges.push((key, class));
    };
    let mut stack: Vec<Open> = Vec::new();
    for (first, last, class, _) in sorted {
        while let Some(done) = stack.pop_if(|open| open.last < first) {
            close(&done, &mut stack, &mut write);
        }
        if let Some(outer) = stack.last()
            && let Some(next) = outer.next.filter(|next| *next < first)
        {
            write(next, first - 1, outer.class);
        }
        stack.push(Open {
            next: Some(first),
            last,
            class,
        });
    }
    while let Some(done) = stack.pop() {
        close(&done, &mut stack, &mut write);
    }
    ranges
}

/// Writes the rest of a network; what remains of the one around it begins behind.
fn close(done: &Open, stack: &mut [Open], write: &mut impl FnMut(u128, u128, Handle)) {
    if let Some(next) = done.next.filter(|next| *next <= done.last) {
        write(next, done.last, done.class);
    }
    if let Some(outer) = stack.last_mut() {
        outer.next = done.last.checked_add(1);
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn text(bits: u128, v4: bool) -> String {
    match u32::try_from(bits) {
        Ok(bits) if v4 => Ipv4Addr::from_bits(bits).to_string(),
        _ => Ipv6Addr::from_bits(bits).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(nets: &[(&str, u16)]) -> Vec<String> {
        let nets: Vec<(IpNet, Handle)> = nets
            .iter()
            .map(|(net, minor)| (net.parse().unwrap(), Handle { major: 1, minor: *minor }))
            .collect();
        let ranges = disjoint(nets.iter().map(|(net, class)| (net, class)));
        ranges.into_iter().map(|(range, class)| format!("{range} {class}")).collect()
    }

    #[test]
    fn inner_networks_are_cut_out() {
        assert_eq!(
            ranges(&[("10.0.0.0/24", 1), ("10.0.0.0/28", 2), ("10.0.0.3/32", 3), ("10.0.1.9/32", 4)]),
            [
                "10.0.0.0-10.0.0.2 1:2",
                "10.0.0.3 1:3",
                "10.0.0.4-10.0.0.15 1:2",
                "10.0.0.16-10.0.0.255 1:1",
                "10.0.1.9 1:4"
            ]
        );
    }

    #[test]
    fn the_last_address_of_all_ends_every_range_around_it() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(
            ranges(&[("::/0", 1), ("8000::/1", 2), (&format!("{last}/128"), 3)]),
            [
                "::-7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 1:1".to_owned(),
                "8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 1:2".to_owned(),
                format!("{last} 1:3"),
            ]
        );
        assert_eq!(
            ranges(&[("255.255.255.255/32", 2), ("0.0.0.0/0", 1)]),
            ["0.0.0.0-255.255.255.254 1:1", "255.255.255.255 1:2"]
        );
    }
}
