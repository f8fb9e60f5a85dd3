//! `fielato grant`, `revoke`, `grants`.

use anyhow::{Context as _, Result, bail};
use fielato_control::protocol::{NewGrant, Request, Response, VERSION};
use fielato_control::{Paths, client};
use jiff::Timestamp;

use crate::cli::{GrantArgs, Revoke};
use crate::output::{self, from_now, or_dash, table};

/// `fielato grant`
pub fn grant(paths: &Paths, args: GrantArgs) -> Result<()> {
    let until = Timestamp::now()
        .checked_add(args.duration)
        .context("a grant cannot last that long")?;
    let new = NewGrant {
        member: args.member,
        service: args.service,
        until,
        reason: args.reason,
    };
    match client::request(paths, &Request::Grant(new))? {
        Response::Granted(grant) => println!(
            "{} may reach {} until {} UTC; `fielato revoke {0} {1}` ends it before",
            grant.member,
            grant.service,
            grant.until.strftime("%F %T")
        ),
        _ => bail!("the daemon answered something else"),
    }
    Ok(())
}

/// `fielato revoke`
pub fn revoke(paths: &Paths, args: Revoke) -> Result<()> {
    let Revoke { member, service } = args;
    let request = Request::Revoke {
        member: member.clone(),
        service: service.clone(),
    };
    match client::request(paths, &request)? {
        Response::Revoked(true) => println!("{member} may no longer reach {service} by grant"),
        Response::Revoked(false) => bail!("{member} has no grant for {service}; `fielato grants` lists them"),
        _ => bail!("the daemon answered something else"),
    }
    Ok(())
}

/// `fielato grants`
pub fn list(paths: &Paths, json: bool) -> Result<()> {
    let Response::Grants(grants) = super::ask(paths, &Request::Grants)?.response else {
        bail!("the daemon answered something else")
    };
    if json {
        return output::json(&serde_json::json!({ "version": VERSION, "grants": grants }));
    }
    if grants.is_empty() {
        println!("no grants");
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = grants
        .iter()
        .map(|grant| {
            vec![
                grant.member.clone(),
                grant.service.clone(),
                from_now(grant.until, now),
                or_dash(grant.by.as_ref()),
                grant.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    print!("{}", table(&["member", "service", "ends", "by", "reason"], &rows));
    Ok(())
}
