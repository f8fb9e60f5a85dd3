//! `fielato device IFACE`: our WireGuard device without the hub, for machines whose kernel has none.

use anyhow::Result;
use fielato_wireguard::{DeviceConfig, PrivateKey};

use crate::cli::Device;

/// Runs until a signal comes or the interface is deleted.
pub fn run(args: Device) -> Result<()> {
    fielato_control::logging::init();
    // A key that `wg setconf` replaces: a device without one is not of use to anybody.
    let config = DeviceConfig { private_key: PrivateKey::generate()?, listen_port: 0, fwmark: 0, peers: Vec::new() };
    let device = fielato_io::Device::create(&args.interface, args.mtu, &config)?;
    fielato_control::daemon::wait_for_stop(|| device.is_running())?;
    device.stop();
    Ok(())
}
