//! `fielato render`

use anyhow::{Result, bail};
use fielato_control::undo::Undo;
use fielato_control::{Paths, forwarding, source};
use fielato_policy::plan::HostPlan;
use fielato_policy::{Circumstances, Config, Plan, render};
use jiff::Timestamp;

use super::member::wg_quick_file;
use crate::cli::{Format, Render};

/// `fielato render MACHINE`
pub fn run(paths: &Paths, args: Render) -> Result<()> {
    let config = source::load(paths)?;
    let text = match args.machine.as_str() {
        "hub" => hub(paths, &config, args.format.unwrap_or(Format::Nft))?,
        name if config.hosts.contains_key(name) && args.format != Some(Format::WgQuick) => host(&config, name, args.format)?,
        name if config.members.contains_key(name) => member(paths, &config, name, args.format)?,
        name => bail!(
            "there is no machine {name}: say `hub`, a host or a member of {}",
            paths.config().display()
        ),
    };
    print!("{text}");
    Ok(())
}

fn hub(paths: &Paths, config: &Config, format: Format) -> Result<String> {
    // As the running hub was compiled, or as it would be now.
    let undo = match Undo::load(paths)? {
        Some(undo) => undo,
        None => Undo::new(&config.hub.interface)?,
    };
    let plan = Plan::compile(config, &Circumstances::at(Timestamp::now(), forwarding::before(&undo)?));
    let key = paths.hub_key(&plan.interface).display().to_string();
    Ok(match format {
        Format::Nft => render::nft::hub(&plan.firewall),
        Format::Iptables => render::iptables::hub(&plan.firewall),
        Format::WgQuick => render::wg_quick::hub_config(&plan, &key).emit(),
        Format::Script => render::script::hub(&plan, &key),
    })
}

fn host(config: &Config, name: &str, format: Option<Format>) -> Result<String> {
    let Some(plan) = HostPlan::compile(config, name, &Circumstances::at(Timestamp::now(), Default::default())) else {
        bail!("there is no host {name}")
    };
    Ok(match format.unwrap_or(Format::Nft) {
        Format::Nft => render::nft::host(&plan),
        Format::Iptables => render::iptables::host(&plan),
        Format::Script => render::script::host(&plan),
        Format::WgQuick => {
            bail!("host {name} is no member, so it has no wg-quick file; its formats are nft, iptables and script")
        }
    })
}

fn member(paths: &Paths, config: &Config, name: &str, format: Option<Format>) -> Result<String> {
    match format.unwrap_or(Format::WgQuick) {
        Format::WgQuick => wg_quick_file(paths, config, name, false),
        Format::Script => Ok(render::script::member(name, &config.hub.interface)),
        Format::Nft | Format::Iptables => bail!("member {name} has no rules of its own; its formats are wg-quick and script"),
    }
}
