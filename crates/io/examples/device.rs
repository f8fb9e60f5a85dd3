//! A WireGuard interface in user space, in the foreground, to be configured by `wg`:
//! `device IFACE [WORKERS]` is what `wireguard-go -f IFACE` is.

use std::process::ExitCode;
use std::time::Duration;

use fielato_io::{Device, Exit, Options};

/// What `wg-quick` uses as well: 1500 less 80 for the outermost headers over IPv6.
const MTU: u16 = 1420;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: device IFACE [WORKERS]");
        return ExitCode::from(2);
    };
    let mut options = Options::new(MTU);
    options.workers = std::env::args().nth(2).and_then(|workers| workers.parse().ok());
    let device = match Device::create_unconfigured(&name, options) {
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
