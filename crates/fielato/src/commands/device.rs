//! `fielato device IFACE`: our WireGuard device without the hub, for machines whose kernel has none.

use std::time::Duration;

use anyhow::Result;
use fielato_control::{daemon, logging};
use fielato_io::Device;

use crate::cli;

/// Runs until a signal comes or the interface is deleted.
pub fn run(args: cli::Device) -> Result<()> {
    logging::init();
    let device = Device::create_unconfigured(&args.interface, args.mtu)?;
    daemon::wait_for_stop(|| device.wait(Duration::ZERO).is_none())?;
    device.stop();
    Ok(())
}
