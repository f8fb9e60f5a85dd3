//! What the kernel engine would need and this machine lacks, found out where it does no harm: in a network namespace that
//! vanishes with the thread that looks.

use std::fmt;

use anyhow::{Context as _, Result};
use fielato_kernel::guard::{self, Guard};
use fielato_kernel::link::{self, Link, LinkError};
use fielato_kernel::netlink::Netlink;
use fielato_kernel::tc::{self, Previous};
use fielato_kernel::{netns, nft};
use fielato_policy::{Plan, render};

use crate::forwarding;
use crate::hub::machine;
use crate::tunnel::Choice;

/// A part that is missing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::hub) struct Missing {
    what: &'static str,
    why: String,
}

impl Missing {
    /// What was found out by trying all of it.
    pub(in crate::hub) fn of(error: &anyhow::Error) -> Self {
        Self {
            what: "what the plan asks for",
            why: format!("{error:#}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// The loopback's index in a namespace of its own.
const LOOPBACK: u32 = 1;
/// The MTU of what is made for a trial.
const MTU: u16 = 1420;

/// The parts of the plan that this kernel can't have. `None` when there is nowhere to try them: see [`netns::in_a_new_one`].
///
/// # Errors
/// When the kernel doesn't answer.
pub(in crate::hub) fn missing(plan: &Plan, choice: Choice) -> Result<Option<Vec<Missing>>> {
    netns::in_a_new_one(|| missing_here(plan, choice))?.transpose()
}

fn missing_here(plan: &Plan, choice: Choice) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    let mut note = |what, tried: Result<()>| match tried {
        Ok(()) => {}
        Err(error) => missing.push(Missing {
            what,
            why: format!("{error:#}"),
        }),
    };
    // Without their elements, of which there may be ten thousands, sets are the same rules.
    let mut firewall = plan.firewall.clone();
    firewall.sets.values_mut().for_each(Vec::clear);
    note("rules", nft::apply(&render::nft::hub(&firewall)).map_err(Into::into));
    note(
        "forwarding",
        forwarding::enable(machine::families(&plan.addresses), &plan.uplink),
    );
    let mut netlink = Netlink::open()?;
    let devices = machine::by_device(&plan.shaping);
    let tunnel = Trial::new(&mut netlink, plan, choice);
    match &tunnel {
        Ok(tunnel) => {
            let link = tunnel.link();
            // What the kernel can't do on the interface of our own device, the device does.
            if let (Trial::Kernel(_), Some(items)) = (tunnel, devices.get(plan.interface.as_str())) {
                let tried = tc::replace(&mut netlink, link.index, Previous::Nothing, items);
                note("shaping", tried.with_context(|| format!("[[shape]] on {}", plan.interface)));
            }
            if plan.guard.enabled {
                let options = guard::Options {
                    sources: plan.guard.sources,
                    pin: None,
                };
                note(
                    "guard",
                    Guard::attach(link.index, link.arphrd, &options).map(drop).map_err(Into::into),
                );
            }
        }
        Err(error) => note("WireGuard", Err(anyhow::anyhow!("{error:#}"))),
    }
    if let Some(items) = devices.get(plan.uplink.as_str()) {
        let tried = tc::replace(&mut netlink, LOOPBACK, Previous::Nothing, items);
        note("shaping", tried.with_context(|| format!("[[shape]] on {}", plan.uplink)));
    }
    Ok(missing)
}

/// The interface, as the plan would get it.
enum Trial {
    Kernel(Link),
    /// The TUN of our own device; it goes with the value.
    Userspace(Link, #[expect(dead_code, reason = "held")] fielato_io::Tun),
}

impl Trial {
    fn new(netlink: &mut Netlink, plan: &Plan, choice: Choice) -> Result<Self> {
        if choice != Choice::Userspace {
            match link::create_wireguard(netlink, &plan.interface) {
                Ok(link) => return Ok(Self::Kernel(link)),
                Err(LinkError::NoKind { .. }) if choice == Choice::Auto => {}
                Err(error) => return Err(error.into()),
            }
        }
        let tun = fielato_io::Tun::create(&plan.interface, MTU).context("our own device needs a TUN")?;
        Ok(Self::Userspace(link::get(netlink, &plan.interface)?, tun))
    }

    const fn link(&self) -> &Link {
        match self {
            Self::Kernel(link) | Self::Userspace(link, _) => link,
        }
    }
}
