//! Step 1.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::ping::Ping;
use super::{StepSpec, Talk};
use crate::gateway::{Gateway, Starter};
use crate::topology::{Family, HUB_PORT, Node, TUNNEL};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Tunnel",
    claim: "A stock client with the file the hub printed reaches the hub, and the other member through it.",
    needs_tunnel: false,
    takes_down: false,
    run,
};

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let gateway = Gateway::configure(talk.lab, Some(talk.engine), talk.interrupt)?;
    gateway.start_hub()?;
    let starter = gateway.start_client_a()?;
    gateway.start_client_b()?;
    gateway.wait_for_members()?;
    talk.state.gateway = Some(gateway);
    talk.state.starter = Some(starter);
    who_encrypts(talk, starter)?;
    let pairs = [
        (Node::ClientA, Node::VpnCore),
        (Node::ClientB, Node::VpnCore),
        (Node::ClientA, Node::ClientB),
    ];
    talk.expect_answers("", &pairs)?;
    shown_in_hub(talk)?;
    over_ipv6(talk)
}

fn who_encrypts(talk: &mut Talk<'_, '_, '_>, starter: Starter) -> Result<()> {
    let status = talk.status()?;
    let hub = status["wireguard"]
        .as_str()
        .context("`fielato status --json` does not say whose WireGuard")?;
    let engine = status["engine"]
        .as_str()
        .context("`fielato status --json` does not say which engine")?;
    talk.recorder.note(&format!("vpn-core: {engine} engine, {hub} WireGuard"))?;
    if engine != talk.engine.name() {
        bail!("the hub took the {engine} engine");
    }
    talk.recorder.note(match starter {
        Starter::WgQuick => "client-a: wireguard-go, by `wg-quick up` on the file that `member config` printed",
        Starter::ByHand => {
            "client-a: wireguard-go, with what `wg-quick up` does to the file that `member config` printed (wg-quick itself would take the kernel's WireGuard)"
        }
    })?;
    talk.recorder.note("client-b: fielato device, by `wg setconf`")
}

/// client-b moves to the hub's IPv6 address, and stays there.
fn over_ipv6(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let client_b = talk.lab.machine(Node::ClientB);
    let hub_key = client_b.call("wg", ["show", TUNNEL, "peers"]).succeed(talk.interrupt)?;
    let endpoint = format!("[{}]:{HUB_PORT}", Node::VpnCore.outer_v6());
    client_b
        .call("wg", ["set", TUNNEL, "peer", hub_key.trim(), "endpoint", &endpoint])
        .succeed(talk.interrupt)?;
    let pong = Ping::A_FEW.send(client_b, Node::VpnCore.overlay(Family::V4), talk.interrupt)?;
    let endpoints = talk
        .lab
        .machine(Node::VpnCore)
        .call("wg", ["show", TUNNEL, "endpoints"])
        .succeed(talk.interrupt)?;
    let moved = endpoints.contains(&format!("[{}]:", Node::ClientB.outer_v6()));
    let measured = format!(
        "{pong}, {}",
        if moved {
            "seen at its IPv6 address"
        } else {
            "not seen at its IPv6 address"
        }
    );
    let expected = "3 of 3 answered, seen at its IPv6 address";
    talk.recorder.check(
        "client-b's tunnel over IPv6: ping client-b → vpn-core",
        expected,
        measured,
        pong.all() && moved,
    )
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
