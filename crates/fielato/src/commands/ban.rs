//! `fielato ban`, `unban`, `bans`.

use anyhow::{Context as _, Result, bail};
use fielato_control::bans::Bans;
use fielato_control::client::{self, NotRunning};
use fielato_control::lock::Lock;
use fielato_control::protocol::{BanList, BanStatus, Request, Response, VERSION};
use fielato_control::{Paths, source};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::cli::Ban;
use crate::output::{self, bytes, from_now, table};

/// `fielato ban`
pub fn ban(paths: &Paths, args: Ban) -> Result<()> {
    let until = match args.duration {
        Some(duration) => Some(
            Timestamp::now()
                .checked_add(duration)
                .context("a ban cannot last that long")?,
        ),
        None => None,
    };
    let network = args.network;
    let ends = args.duration.map_or(String::new(), |duration| format!(" for {duration:#}"));
    match client::request(paths, &Request::Ban { network, until }) {
        Ok(_) => println!("banned {network}{ends}"),
        Err(error) if error.is::<NotRunning>() => {
            change_offline(paths, |bans| bans.insert(network, until))?;
            println!("noted; {network} is banned{ends} as soon as `fielato up` runs");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// `fielato unban`
pub fn unban(paths: &Paths, network: IpNet) -> Result<()> {
    let was_banned = match client::request(paths, &Request::Unban { network }) {
        Ok(Response::Unbanned(was_banned)) => was_banned,
        Ok(_) => bail!("the daemon answered something else"),
        Err(error) if error.is::<NotRunning>() => change_offline(paths, |bans| bans.remove(network))?,
        Err(error) => return Err(error),
    };
    match was_banned {
        true => println!("{network} is no longer banned"),
        false => bail!("{network} is not banned; `fielato bans` lists what is"),
    }
    Ok(())
}

/// Without a daemon the list on the disk is ours to change, under the lock that a daemon would hold.
fn change_offline<T>(paths: &Paths, change: impl FnOnce(&mut Bans) -> T) -> Result<T> {
    let _lock = Lock::take(paths)?;
    let mut bans = Bans::load(paths)?;
    bans.expire(Timestamp::now());
    let result = change(&mut bans);
    bans.save(paths)?;
    Ok(result)
}

/// `fielato bans`
pub fn list(paths: &Paths, json: bool) -> Result<()> {
    let list = match client::request(paths, &Request::Bans) {
        Ok(Response::Bans(list)) => list,
        Ok(_) => bail!("the daemon answered something else"),
        Err(error) if error.is::<NotRunning>() => offline_list(paths)?,
        Err(error) => return Err(error),
    };
    match json {
        true => output::json(&list)?,
        false => print!("{}", text(&list.bans, Timestamp::now())),
    }
    Ok(())
}

fn offline_list(paths: &Paths) -> Result<BanList> {
    let mut kept = Bans::load(paths)?;
    kept.expire(Timestamp::now());
    let configured = match paths.config().exists() {
        true => source::load(paths)?.bans,
        false => Vec::new(),
    };
    let configured = configured.into_iter().map(|ban| (ban.network, ban.until, true));
    let bans = configured
        .chain(kept.iter().map(|(network, until)| (network, until, false)))
        .map(|(network, until, configured)| BanStatus {
            network,
            until,
            configured,
            packets: 0,
            bytes: 0,
        })
        .collect();
    Ok(BanList { version: VERSION, bans })
}

/// The table of bans, also below `fielato top`.
pub fn text(bans: &[BanStatus], now: Timestamp) -> String {
    if bans.is_empty() {
        return "no bans\n".into();
    }
    let rows: Vec<Vec<String>> = bans
        .iter()
        .map(|ban| {
            let ends = ban.until.map_or("never".into(), |until| from_now(until, now));
            let origin = if ban.configured { "configuration" } else { "command" };
            vec![
                ban.network.to_string(),
                ends,
                origin.into(),
                ban.packets.to_string(),
                bytes(ban.bytes),
            ]
        })
        .collect();
    table(&["banned", "ends", "by", " packets dropped", " bytes dropped"], &rows)
}
