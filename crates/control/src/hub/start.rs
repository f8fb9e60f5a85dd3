//! Which engine it is to be, and how it is brought up.

use anyhow::{Result, bail};
use fielato_kernel::guard::GuardError;
use fielato_kernel::link::LinkError;
use fielato_kernel::nft::NftError;
use fielato_kernel::tc::TcError;
use fielato_policy::config::{self, Config, Exit};
use fielato_policy::plan::PerFamily;
use fielato_policy::{Circumstances, Plan};
use fielato_wireguard::{DeviceConfig, PrivateKey};
use jiff::Timestamp;
use rustix::thread::CapabilitySet;

use super::engine::Engine;
use super::kernel::{self, Kernel, Missing};
use super::userspace::Userspace;
use super::{Machine, Options, device_config};
use crate::bans::Bans;
use crate::kept::Kept;
use crate::secrets::PskStore;
use crate::tunnel::{self, Choice};
use crate::{Paths, forwarding};

/// What a hub is brought up from.
pub(super) struct Start<'a> {
    pub(super) paths: &'a Paths,
    pub(super) options: &'a Options,
    pub(super) config: &'a Config,
    pub(super) key: &'a PrivateKey,
    pub(super) psks: &'a PskStore,
    pub(super) bans: &'a Bans,
    pub(super) kept: &'a Kept,
    pub(super) now: Timestamp,
}

type Progress<'a> = &'a mut dyn FnMut(&str);

impl Start<'_> {
    /// Brings up the engine that is asked for, or the one that can.
    ///
    /// # Errors
    /// The first thing that could not be done; everything is then as before.
    pub(super) fn bring_up(&self, progress: Progress<'_>) -> Result<(Engine, Plan)> {
        if self.options.rootless {
            self.refuse_what_needs_root()?;
            return self.userspace(None, Vec::new(), progress);
        }
        // Unless the kernel has no capabilities at all, and then it says so itself.
        let may = rustix::thread::capabilities(None).map(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
        if !may.unwrap_or(true) {
            bail!("a hub with an interface needs root (or CAP_NET_ADMIN); as an ordinary user: `fielato up --rootless`");
        }
        let machine = self.machine()?;
        match self.options.engine.unwrap_or(self.config.hub.engine) {
            config::Engine::Kernel => self.kernel(machine, progress),
            config::Engine::Userspace => self.userspace(Some(machine), Vec::new(), progress),
            config::Engine::Auto => self.either(machine, progress),
        }
    }

    fn machine(&self) -> Result<Machine> {
        let interface = &self.config.hub.interface;
        let mut machine = Machine::open(self.paths, interface)?;
        tunnel::refuse_foreign(&mut machine.netlink, interface)?;
        Ok(machine)
    }

    fn plan(&self, forwarded_before: PerFamily<bool>) -> (Plan, DeviceConfig) {
        let circumstances = Circumstances {
            now: self.now,
            forwarding_before: forwarded_before,
            grants: self.kept.granted(),
            over_quota: self.kept.over_quota(),
        };
        let plan = Plan::compile(self.config, &circumstances);
        let device = device_config(&plan, self.key.clone(), self.psks);
        (plan, device)
    }

    fn kernel(&self, machine: Machine, progress: Progress<'_>) -> Result<(Engine, Plan)> {
        let (plan, device) = self.plan(forwarding::before(&machine.undo)?);
        let kernel = Kernel::up(machine, self.options.wireguard, &plan, &device, self.bans, progress)?;
        Ok((Engine::Kernel(Box::new(kernel)), plan))
    }

    fn userspace(&self, machine: Option<Machine>, missing: Vec<Missing>, progress: Progress<'_>) -> Result<(Engine, Plan)> {
        let (plan, device) = self.plan(PerFamily::default());
        let mut userspace = Userspace::up(machine, &self.config.hub, &plan, &device, self.bans, progress)?;
        userspace.missing = missing;
        Ok((Engine::Userspace(Box::new(userspace)), plan))
    }

    /// The kernel engine when it can do all that the plan asks for, else the other one, with the reasons said.
    fn either(&self, machine: Machine, progress: Progress<'_>) -> Result<(Engine, Plan)> {
        progress("what this kernel has");
        let (plan, _) = self.plan(forwarding::before(&machine.undo)?);
        let missing = kernel::missing(&plan, self.options.wireguard)?.unwrap_or_default();
        let (machine, missing) = match missing.is_empty() {
            false => (machine, missing),
            // A confined service has nowhere to try, and what others have on the devices shows only there: then the machine
            // itself is tried, and put back.
            true => match self.kernel(machine, progress) {
                Err(error) if is_about_a_part(&error) => (self.machine()?, vec![Missing::of(&error)]),
                result => return result,
            },
        };
        for part in &missing {
            log::warn!("the kernel engine lacks {part}");
        }
        log::warn!("taking the user-space engine, which can do all of this (`--engine kernel` insists)");
        self.userspace(Some(machine), missing, progress)
    }

    fn refuse_what_needs_root(&self) -> Result<()> {
        if self.options.engine == Some(config::Engine::Kernel) {
            bail!("--rootless has no kernel engine: rules, shaping and the guard of the kernel need root");
        }
        if self.options.wireguard == Choice::Kernel {
            bail!("--rootless has no kernel WireGuard: an interface needs root");
        }
        if let Exit::Packet(packet) = &self.config.hub.exit {
            bail!(
                "--rootless has no exit = \"packet\": sending packets on {} needs root; set exit = \"proxy\" under [hub]",
                packet.interface
            );
        }
        Ok(())
    }
}

/// Whether a part of the kernel is to blame, and not the plan or the machine.
fn is_about_a_part(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let missing_kind = matches!(cause.downcast_ref(), Some(LinkError::NoKind { .. }));
        missing_kind || cause.is::<NftError>() || cause.is::<TcError>() || cause.is::<GuardError>()
    })
}
