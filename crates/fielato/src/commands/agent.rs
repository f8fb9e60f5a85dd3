//! `fielato agent`

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use fielato_control::agent::{self, CONTROL_PORT, Report, Settings};
use fielato_control::protocol::VERSION;
use fielato_control::{Paths, logging};
use jiff::Timestamp;

use crate::cli::{Agent, AgentRun};
use crate::output;

/// `fielato agent …`
pub fn run(paths: &Paths, command: Agent) -> Result<ExitCode> {
    match command {
        Agent::Run(args) => {
            logging::init();
            agent::run(paths, &settings(paths, args)?)?;
        }
        Agent::Enrol { token } => {
            let text = match token.as_os_str() == "-" {
                true => std::io::read_to_string(std::io::stdin()).context("cannot read the token")?,
                false => std::fs::read_to_string(&token).with_context(|| format!("cannot read {}", token.display()))?,
            };
            let settings = agent::enrol(paths, &text)?;
            println!(
                "{} is enrolled; the token is used up and can be deleted; next: `systemctl enable --now fielato-agent`",
                output::or_dash(settings.host)
            );
        }
        Agent::Status(args) => status(paths, args.json)?,
        Agent::Remove => {
            agent::remove(paths)?;
            println!("the rules are gone; this host is protected by others' rules only");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As enrolled, but for what the command line says.
fn settings(paths: &Paths, args: AgentRun) -> Result<Settings> {
    let AgentRun { hub, interface, name } = args;
    let kept = Settings::load(paths)?;
    let hub = hub.iter().map(|text| address(text)).collect::<Result<Vec<_>>>()?;
    let kept = kept.unwrap_or_else(|| Settings {
        version: VERSION,
        host: None,
        interface: "wg0".to_owned(),
        hub: Vec::new(),
        tunnel: None,
    });
    Ok(Settings {
        // Another way to the hub has a tunnel of its own.
        tunnel: kept.tunnel.filter(|_| interface.is_none()),
        host: name.or(kept.host),
        interface: interface.unwrap_or(kept.interface),
        hub: if hub.is_empty() { kept.hub } else { hub },
        ..kept
    })
}

/// `192.168.4.1`, `192.168.4.1:51821`, `fd00:4::1`, `[fd00:4::1]:51821`
fn address(text: &str) -> Result<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, CONTROL_PORT));
    }
    text.parse()
        .with_context(|| format!("--hub {text}: write an address, or an address and a port as in [fd00:4::1]:51821"))
}

fn status(paths: &Paths, json: bool) -> Result<()> {
    let Some(report) = Report::load(paths)? else {
        bail!("no agent has run here since the machine was started; see `fielato agent run --help`")
    };
    if json {
        return output::json(&report);
    }
    let Report {
        version: _,
        host,
        revision,
        digest: _,
        since,
        connected,
        drift,
        last_drift,
        trouble,
        running,
    } = report;
    let now = Timestamp::now();
    let ago = |at: Option<Timestamp>| at.map(|at| output::ago(at, now));
    println!("host:      {}", output::or_dash(host));
    println!(
        "agent:     {}",
        if running {
            "running"
        } else {
            "not running; the rules stand, and nobody renews or repairs them"
        }
    );
    println!("hub:       {}", if connected { "connected" } else { "away" });
    println!(
        "revision:  {}",
        revision.map_or("none".to_owned(), |revision| format!(
            "{revision}, since {}",
            output::or_dash(ago(since))
        ))
    );
    println!(
        "drift:     {}",
        match ago(last_drift) {
            Some(ago) => format!("{drift} times, last {ago}"),
            None => "none".to_owned(),
        }
    );
    if let Some(trouble) = trouble {
        println!("trouble:   {trouble}");
    }
    Ok(())
}
