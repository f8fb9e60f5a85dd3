//! `ip_forward` and its IPv6 twin: turned on for the families of the overlay, and put back.
//!
//! Writing them is not innocent (kernel: `Documentation/networking/ip-sysctl.rst`): it sets the switch of every interface,
//! turns `accept_redirects` over, and a forwarding machine no longer takes router advertisements unless `accept_ra` is 2.
//! So all of these are recorded and restored.

use std::fs;

use anyhow::{Context as _, Result};
use fielato_kernel::sysctl::{self, SysctlError};
use fielato_policy::plan::PerFamily;

use crate::undo::Undo;

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";

/// Whether the machine forwarded before us, by the record or, where there is none, as it is now.
///
/// # Errors
/// When the settings cannot be read.
pub fn before(undo: &Undo) -> Result<PerFamily<bool>> {
    let was_on = |name: &str| -> Result<bool> {
        Ok(match undo.sysctl_before(name) {
            Some(value) => value != "0",
            None => read(name)?.is_some_and(|value| value != "0"),
        })
    };
    Ok(PerFamily {
        v4: was_on(V4)?,
        v6: was_on(V6)?,
    })
}

/// Writes into the record how the machine is, for `families`; what is recorded already stays.
///
/// # Errors
/// When the settings cannot be read.
pub fn record(undo: &mut Undo, families: PerFamily<bool>, uplink: &str) -> Result<()> {
    for name in names(families, uplink)? {
        if undo.sysctl_before(&name).is_none()
            && let Some(value) = read(&name)?
        {
            undo.sysctls.push((name, value));
        }
    }
    Ok(())
}

/// Puts back what is recorded and not needed for `families`: the configuration had another family or uplink before.
///
/// # Errors
/// When a setting cannot be written; the record is then unchanged.
pub fn release(undo: &mut Undo, families: PerFamily<bool>, uplink: &str) -> Result<()> {
    let needed = names(families, uplink)?;
    let (kept, released): (Vec<_>, Vec<_>) = undo.sysctls.iter().cloned().partition(|(name, _)| needed.contains(name));
    put_back(&released)?;
    undo.sysctls = kept;
    Ok(())
}

/// The settings that are changed for `families`, by our writing or by what the kernel does thereupon.
fn names(families: PerFamily<bool>, uplink: &str) -> Result<Vec<String>> {
    // The kernel's WireGuard turns redirects off for the whole machine when an interface of its comes up (wg_open in
    // drivers/net/wireguard/device.c), and never on again.
    let mut names = vec!["net/ipv4/conf/all/send_redirects".to_string()];
    if families.v4 {
        names.extend([V4.to_string(), "net/ipv4/conf/all/accept_redirects".into()]);
        names.extend(of_every_interface("ipv4", "forwarding")?);
    }
    if families.v6 {
        names.extend([V6.to_string(), format!("net/ipv6/conf/{uplink}/accept_ra")]);
        names.extend(of_every_interface("ipv6", "forwarding")?);
    }
    Ok(names)
}

/// Turns forwarding on for `families`.
///
/// # Errors
/// When a setting cannot be written, for instance because IPv6 is disabled on this machine.
pub fn enable(families: PerFamily<bool>, uplink: &str) -> Result<()> {
    if families.v4 {
        write_if_other(V4, "1")?;
    }
    if families.v6 {
        let accept_ra = format!("net/ipv6/conf/{uplink}/accept_ra");
        if read(&accept_ra)?.as_deref() == Some("1") {
            sysctl::write(&accept_ra, "2")?;
        }
        write_if_other(V6, "1")?;
    }
    Ok(())
}

/// The settings by which the machine's own kernel would forward what comes in by `interface`, which is the gateway's.
fn of_interface(interface: &str) -> [String; 2] {
    ["ipv4", "ipv6"].map(|family| format!("net/{family}/conf/{interface}/forwarding"))
}

/// Writes into the record how the machine forwards what comes in by `interface`.
///
/// # Errors
/// When the settings cannot be read.
pub fn record_interface(undo: &mut Undo, interface: &str) -> Result<()> {
    for name in of_interface(interface) {
        if undo.sysctl_before(&name).is_none()
            && let Some(value) = read(&name)?
        {
            undo.sysctls.push((name, value));
        }
    }
    Ok(())
}

/// Sees to it that the machine's own kernel forwards nothing that comes in by `interface`; true when that was to be changed.
/// The kernel sees every frame that a packet socket sees, and would send it on by its own routes.
///
/// # Errors
/// When a setting cannot be read or written.
pub fn refuse_on(interface: &str) -> Result<bool> {
    let mut changed = false;
    for name in of_interface(interface) {
        if read(&name)?.is_some_and(|value| value != "0") {
            sysctl::write(&name, "0")?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Puts every recorded setting back.
///
/// # Errors
/// When a setting cannot be written; the others have been tried.
pub fn restore(undo: &Undo) -> Result<()> {
    put_back(&undo.sysctls)
}

fn put_back(settings: &[(String, String)]) -> Result<()> {
    let mut result = Ok(());
    for (name, value) in settings {
        let restored = write_if_other(name, value);
        if result.is_ok() {
            result = restored;
        }
    }
    result
}

fn of_every_interface(family: &str, setting: &str) -> Result<Vec<String>> {
    let dir = format!("/proc/sys/net/{family}/conf");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {dir}"))? {
        if let Some(interface) = entry?.file_name().to_str() {
            names.push(format!("net/{family}/conf/{interface}/{setting}"));
        }
    }
    // "all" and "default" first: writing "all" writes the interfaces too, which then get their own values back.
    names.sort_by_key(|name| (!name.contains("/all/"), !name.contains("/default/"), name.clone()));
    Ok(names)
}

/// A setting's value; `None` when this machine has no such setting.
fn read(name: &str) -> Result<Option<String>> {
    match sysctl::read(name) {
        Ok(value) => Ok(Some(value)),
        Err(SysctlError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writing even the same value has side effects, so it is not done; an interface that has gone is no error.
fn write_if_other(name: &str, value: &str) -> Result<()> {
    match read(name)? {
        Some(current) if current != value => Ok(sysctl::write(name, value)?),
        Some(_) => Ok(()),
        None if name == V6 => {
            anyhow::bail!("this machine has no IPv6 ({name} is missing); remove the IPv6 address from [hub] addresses")
        }
        None => Ok(()),
    }
}
