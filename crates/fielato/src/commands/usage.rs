//! `fielato usage`

use anyhow::{Context as _, Result, bail};
use fielato_control::Paths;
use fielato_control::protocol::{self, Request, Response, Usage};
use jiff::Timestamp;

use crate::cli::{By, Since, UsageArgs};
use crate::output::{self, bytes, or_dash, table};

/// `fielato usage`
pub fn run(paths: &Paths, args: &UsageArgs) -> Result<()> {
    let since = match args.since {
        Since::At(moment) => moment,
        Since::Before(time) => Timestamp::now().checked_sub(time).context("that is before all times")?,
    };
    let by = match args.by {
        By::Member => protocol::By::Member,
        By::Group => protocol::By::Group,
    };
    let Response::Usage(usage) = super::ask(paths, &Request::Usage { since, by })?.response else {
        bail!("the daemon answered something else")
    };
    match (args.json.json, args.csv) {
        (true, _) => output::json(&usage)?,
        (_, true) => print!("{}", csv(&usage)),
        _ => print!("{}", text(&usage, args.by)),
    }
    Ok(())
}

fn csv(usage: &Usage) -> String {
    let mut text = "name,rx_bytes,tx_bytes,rx_packets,tx_packets\n".to_owned();
    for of in &usage.usage {
        let counters = &of.counters;
        let counted = counters.packets.as_ref();
        // Nothing stands where nobody counted. Names have letters, digits, `_`, `-` and `.`: nothing to quote.
        let packets = counted.map_or(",".into(), |packets| format!("{},{}", packets.rx, packets.tx));
        text += &format!("{},{},{},{packets}\n", of.name, counters.rx_bytes, counters.tx_bytes);
    }
    text
}

fn text(usage: &Usage, by: By) -> String {
    if usage.usage.is_empty() {
        return format!("nothing was sent or received since {}\n", usage.since);
    }
    let mut rows: Vec<_> = usage.usage.iter().collect();
    rows.sort_by_key(|of| std::cmp::Reverse(of.counters.bytes()));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|of| {
            let counted = of.counters.packets.as_ref();
            vec![
                of.name.clone(),
                bytes(of.counters.rx_bytes),
                bytes(of.counters.tx_bytes),
                bytes(of.counters.bytes()),
                or_dash(counted.map(|packets| packets.rx)),
                or_dash(counted.map(|packets| packets.tx)),
            ]
        })
        .collect();
    let first = match by {
        By::Member => "member",
        By::Group => "group",
    };
    table(
        &[first, " received", " sent", " together", " packets received", " packets sent"],
        &rows,
    )
}
