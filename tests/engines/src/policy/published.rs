//! `[[nat.publish]]`s: ports of the hub that lead to hosts and members.

use std::fmt::Write as _;

use fielato_oracle::random::Random;
use fielato_oracle::rules::SERVICES;

use super::{Draft, list, rules};
use crate::network::UPLINK;

pub(super) fn published(random: &mut Random, draft: &Draft, text: &mut String) {
    let machines: Vec<&str> = draft
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .chain(draft.members.iter().map(|member| member.name.as_str()))
        .collect();
    let mut ports = SERVICES.to_vec();
    for _ in 0..random.weighted(&[60, 25, 10, 5]) {
        if machines.is_empty() || ports.is_empty() {
            return;
        }
        // No port twice.
        let port = ports.swap_remove(random.below(ports.len()));
        let protocol = random.pick(&["tcp", "udp"]);
        let to = random.pick(&machines);
        let _ = write!(text, "\n[[nat.publish]]\nport = \"{protocol}/{port}\"\nto = \"{to}\"\n");
        if random.chance(40) {
            let _ = writeln!(text, "to_port = {}", random.pick(&SERVICES));
        }
        if random.chance(40) {
            let from: Vec<String> = (0..random.between(1, 2))
                .map(|_| rules::prefix(random, draft).to_string())
                .collect();
            let _ = writeln!(text, "from = {}", list(&from));
        }
        if random.chance(30) {
            let own: Vec<String> = UPLINK
                .iter()
                .map(|net| net.split('/').next().unwrap_or_default().to_owned())
                .filter(|_| random.chance(70))
                .collect();
            if !own.is_empty() {
                let _ = writeln!(text, "address = {}", list(&own));
            }
        }
    }
}
