//! A WireGuard interface in user space, in the foreground, to be configured by `wg`:
//! `device IFACE` is what `wireguard-go -f IFACE` is.

use std::process::ExitCode;
use std::time::Duration;

use fielato_io::{Device, Exit};

/// What `wg-quick` uses as well: 1500 less 80 for the outermost headers over IPv6.
const MTU: u16 = 1420;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: device IFACE");
        return ExitCode::from(2);
    };
    let device = match Device::create_unconfigured(&name, MTU) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match device.wait(Duration::from_secs(3600)) {
            None => {}
            Some(Exit::Failed) => return ExitCode::FAILURE,
            Some(Exit::InterfaceRemoved | Exit::Stopped) => return ExitCode::SUCCESS,
        }
    }
}
