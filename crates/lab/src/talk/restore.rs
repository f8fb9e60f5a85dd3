//! Step 8: everything is as it was.

use anyhow::Result;

use super::snapshot::Snapshot;
use super::{StepSpec, Talk};
use crate::interrupt::Interrupt;
use crate::lab::Lab;
use crate::topology::{Node, OUTER};

pub(super) const STEP: StepSpec = StepSpec {
    title: "Down",
    claim: "After `down`, every machine is as it was before `up`; what belongs to others was never touched.",
    needs_tunnel: true,
    takes_down: true,
    run,
};

/// Someone else's rule set and discipline on the hub, so that there is something that could be lost.
pub(super) fn put_foreign_things(lab: &Lab, interrupt: &Interrupt) -> Result<()> {
    let hub = lab.machine(Node::VpnCore);
    let rules = "table inet admin {\n set watched {\n  type ipv4_addr\n  elements = { 198.51.100.7 }\n }\n chain input {\n  type filter hook input priority 10; policy accept;\n  ip saddr @watched drop\n }\n}\n";
    hub.call("nft", ["-f", "-"]).input(rules).succeed(interrupt)?;
    hub.call("tc", ["qdisc", "add", "dev", OUTER, "root", "pfifo", "limit", "777"])
        .succeed(interrupt)
        .map(drop)
}

fn run(talk: &mut Talk<'_, '_, '_>) -> Result<()> {
    let during = Snapshot::all(talk.lab, talk.interrupt)?;
    if let Some(starter) = talk.state.starter.take() {
        talk.gateway()?.stop(starter)?;
    }
    let after = Snapshot::all(talk.lab, talk.interrupt)?;
    for (index, before) in talk.state.before.iter().enumerate() {
        let (while_up, now) = (before.compare(&during[index]), before.compare(&after[index]));
        for (while_up, now) in while_up.iter().zip(now) {
            let what = format!("{}: {}", before.node, now.kind);
            // How much there was to put back says whether this check could have failed.
            let measured = match (now.differences.as_slice(), while_up.differences.len()) {
                ([], 0) => format!("as before ({})", now.items),
                ([], changed) => format!("as before ({}; while up {changed} differed)", now.items),
                (some, _) => some.join("\n"),
            };
            talk.recorder.check(what, "as before", measured, now.differences.is_empty())?;
        }
    }
    Ok(())
}
