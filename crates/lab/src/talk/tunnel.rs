//! Step 1.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::ping::Ping;
use super::{StepSpec, Talk};
use crate::gateway::{Gateway, Starter};
use crate::topology::{Family, Node, TUNNEL};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Tunnel",
    claim: "A stock client with the file the hub printed reaches the hub, and the other member through it.",
    needs_tunnel: false,
    run,
};

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let gateway = Gateway::configure(talk.lab, talk.interrupt)?;
    gateway.start_hub()?;
    let starter = gateway.start_client_a()?;
    gateway.start_client_b()?;
    talk.state.gateway = Some(gateway);
    talk.state.starter = Some(starter);
    talk.recorder.note(match starter {
        Starter::WgQuick => "client-a: wireguard-go, by `wg-quick up` on the printed file; client-b: fielato device",
        Starter::ByHand => "client-a: wireguard-go, with what `wg-quick up` does to the printed file (wg-quick itself would take the kernel's WireGuard); client-b: fielato device",
    })?;
    for (from, to) in [
        (Node::ClientA, Node::VpnCore),
        (Node::ClientB, Node::VpnCore),
        (Node::ClientA, Node::ClientB),
    ] {
        for family in Family::BOTH {
            let pong = Ping::A_FEW.send(talk.lab.machine(from), to.overlay(family), talk.interrupt)?;
            let what = format!("ping {from} → {to}, {family}");
            talk.recorder.check(what, "3 of 3 answered", pong.to_string(), pong.all())?;
        }
    }
    shown_in_hub(talk)
}

/// Debian's `wg` on the hub, whoever encrypts there.
fn shown_in_hub(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let hub = talk.lab.machine(Node::VpnCore);
    let handshakes = hub
        .call("wg", ["show", TUNNEL, "latest-handshakes"])
        .succeed(talk.interrupt)?;
    for member in [Node::ClientA, Node::ClientB] {
        let key = talk
            .lab
            .machine(member)
            .call("wg", ["show", TUNNEL, "public-key"])
            .succeed(talk.interrupt)?;
        let when = handshakes
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(peer, _)| *peer == key.trim())
            .and_then(|(_, seconds)| seconds.parse::<u64>().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (measured, passed) = match when {
            None => ("not listed".to_owned(), false),
            Some(0) => ("listed, no handshake".to_owned(), false),
            Some(when) => (
                format!("listed, handshake {} s ago", now.saturating_sub(when)),
                now.saturating_sub(when) < 60,
            ),
        };
        let what = format!("`wg show {TUNNEL}` on the hub: {member}");
        talk.recorder
            .check(what, "listed, with a handshake less than a minute ago", measured, passed)?;
    }
    Ok(())
}
