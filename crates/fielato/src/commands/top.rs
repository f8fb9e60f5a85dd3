//! `fielato top`

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};
use fielato_control::protocol::{Request, Response, Source};
use fielato_control::{Paths, client, protocol};
use jiff::Timestamp;

use super::ban;
use crate::cli::Top;
use crate::output::{bytes, or_dash, table};

const REFRESH: Duration = Duration::from_secs(1);

/// `fielato top`
pub fn run(paths: &Paths, args: Top) -> Result<()> {
    let mut before: Option<protocol::Top> = None;
    loop {
        let Response::Top(top) = client::request(paths, &Request::Top)? else {
            bail!("the daemon answered something else")
        };
        let mut out = std::io::stdout().lock();
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&top)?)?;
        } else {
            if !args.once && out.is_terminal() {
                write!(out, "\x1b[H\x1b[2J")?;
            }
            write!(out, "{}", text(&top, before.as_ref()))?;
        }
        out.flush()?;
        if args.once {
            return Ok(());
        }
        drop(out);
        before = Some(top);
        std::thread::sleep(REFRESH);
    }
}

fn text(top: &protocol::Top, before: Option<&protocol::Top>) -> String {
    let key = |source: &Source| (source.address, source.interface.clone());
    let earlier: HashMap<_, _> = before
        .iter()
        .flat_map(|top| &top.sources)
        .map(|source| (key(source), source))
        .collect();
    let rate = |source: &Source, count: fn(&Source) -> u64| match (before, earlier.get(&key(source))) {
        (None, _) => None,
        (_, earlier) => Some(count(source).saturating_sub(earlier.map_or(0, |earlier| count(earlier)))),
    };
    let rows: Vec<Vec<String>> = top
        .sources
        .iter()
        .map(|source| {
            vec![
                source.address.to_string(),
                or_dash(source.member.as_ref()),
                source.interface.clone(),
                source.packets.to_string(),
                bytes(source.bytes),
                or_dash(rate(source, |source| source.packets)),
                or_dash(rate(source, |source| source.bytes).map(bytes)),
            ]
        })
        .collect();
    let sources = table(
        &["source", "member", "on", " packets", " bytes", " packets/s", " bytes/s"],
        &rows,
    );
    format!("{sources}\n{}", ban::text(&top.bans, Timestamp::now()))
}
