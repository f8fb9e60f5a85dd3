//! Who shapes what leaves: the kernel as far as it can. What it lacks or refuses on the interface of our own device, the device
//! does itself, on the packets' way from the interface to the peers.

use anyhow::{Context as _, Result};
use fielato_gateway::Egress;
use fielato_io::Device;
use fielato_kernel::tc::TcError;
use fielato_policy::Plan;
use fielato_policy::plan::Shaping;

use crate::hub::{Machine, shape_device};
use crate::protocol::ShapeDevice;

/// The shaping that stands.
#[derive(Default)]
pub(super) struct Shaper {
    /// The kernel's part.
    kernels: Vec<Shaping>,
    /// Whether the rest is our device's.
    has_own: bool,
}

impl Shaper {
    /// Makes the disciplines of all devices like the plan's; `device` is ours, where it is the one that encrypts.
    ///
    /// # Errors
    /// Who refused what; everything is then as before.
    pub(super) fn apply(&mut self, machine: &mut Machine, device: Option<&Device>, plan: &Plan) -> Result<()> {
        let refused = match self.by_kernel(machine, &plan.shaping) {
            Ok(()) => return self.give_up_own(device, plan),
            Err(error) => error,
        };
        let (ours, kernels): (Vec<Shaping>, Vec<Shaping>) = plan
            .shaping
            .iter()
            .cloned()
            .partition(|shaping| shaping.dev == plan.interface);
        let is_about_ours = refused.chain().any(|cause| cause.is::<TcError>());
        let Some(device) = device.filter(|_| is_about_ours && !ours.is_empty()) else {
            return Err(refused);
        };
        let before = self.kernels.clone();
        self.by_kernel(machine, &kernels)?;
        if let Err(error) = make(device, plan, &ours) {
            self.by_kernel(machine, &before).context("cannot put the disciplines back")?;
            return Err(error.context(format!("{refused:#}; and our own device")));
        }
        self.has_own = true;
        Ok(())
    }

    /// The kernel's part alone.
    fn by_kernel(&mut self, machine: &mut Machine, wanted: &[Shaping]) -> Result<()> {
        machine.shape(&self.kernels, wanted)?;
        self.kernels = wanted.to_vec();
        Ok(())
    }

    fn give_up_own(&mut self, device: Option<&Device>, plan: &Plan) -> Result<()> {
        if let (true, Some(device)) = (self.has_own, device) {
            make(device, plan, &[])?;
            self.has_own = false;
        }
        Ok(())
    }

    /// Whether which class an address is in is our device's to know.
    pub(super) const fn has_own(&self) -> bool {
        self.has_own
    }

    /// What our device shapes, with statistics.
    pub(super) fn show(&self, device: Option<&Device>, plan: &Plan) -> Result<Option<ShapeDevice>> {
        let stats = device
            .filter(|_| self.has_own)
            .and_then(|device| device.with_egress(|egress, _| egress.stats()));
        stats.map(|stats| shape_device(&plan.interface, &stats)).transpose()
    }
}

/// Makes what the device shapes exactly `items`.
fn make(device: &Device, plan: &Plan, items: &[Shaping]) -> Result<()> {
    let items: Vec<_> = items.iter().map(|shaping| shaping.item.clone()).collect();
    let classes = plan.firewall.classes.get(&plan.interface).cloned().unwrap_or_default();
    let apply = |egress: &mut Egress, now| egress.apply(&items, &classes, now);
    device
        .with_egress(apply)
        .context("the device has no disciplines of its own")?
        .with_context(|| format!("[[shape]] on {}", plan.interface))
}
