//! Disciplines and classes of a device with their statistics, and the text that `tc -s` prints for them.

use std::fmt;

use serde::Serialize;

use super::attributes::{find, find_u64, u32_at, u64_at};
use super::error::TcError;
use super::message::{HEADER_LEN, ROOT, TCA_KIND, TCA_OPTIONS, classes, qdiscs};
use super::psched::Psched;
use super::text;
use crate::netlink::Netlink;

/// A discipline or a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Object {
    Qdisc,
    Class,
}

/// A discipline or class of a device, as the kernel tells it. `Display` gives the text of `tc -s qdisc show dev DEV` and
/// `tc -s class show dev DEV`, without the last line feed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Which of the two.
    pub object: Object,
    /// The discipline's name.
    pub kind: String,
    /// `1:` or `1:10`.
    pub handle: String,
    /// `1:1`; nothing at the root.
    pub parent: Option<String>,
    /// A class's own discipline, `10:`.
    pub leaf: Option<String>,
    /// How many refer to the discipline.
    #[serde(skip)]
    pub references: u32,
    /// Parameters in tc's words; empty for kinds not known here.
    pub options: String,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets dropped.
    pub dropped: u32,
    /// How often a packet had to wait for the rate.
    pub overlimits: u32,
    /// How often the device gave a packet back.
    pub requeues: u32,
    /// Bytes that wait.
    pub backlog_bytes: u32,
    /// Packets that wait.
    pub backlog_packets: u32,
    /// Measured rate, where the kernel estimates it.
    pub estimate: Option<Estimate>,
    /// What only an HTB class has.
    pub htb: Option<HtbStatistics>,
}

/// A rate measured by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Bytes per second.
    pub bytes: u64,
    /// Packets per second.
    pub packets: u32,
}

/// Statistics of an HTB class (`struct tc_htb_xstats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HtbStatistics {
    /// Packets sent within the class's own rate.
    pub lended: u32,
    /// Packets sent with a parent's bandwidth.
    pub borrowed: u32,
    /// Packets larger than the rate tables reach.
    pub giants: u32,
    /// What is left of the burst, in the scheduler's ticks.
    pub tokens: i32,
    /// What is left of the burst at ceil.
    pub ctokens: i32,
}

/// The disciplines, then the classes of a device.
///
/// # Errors
/// When the scheduler's clock can't be read or the kernel refuses the dump.
pub fn show(netlink: &mut Netlink, ifindex: u32) -> Result<Vec<Shown>, TcError> {
    let psched = Psched::read().map_err(TcError::Psched)?;
    let mut shown = Vec::new();
    shown.extend(
        qdiscs(netlink, ifindex)?
            .iter()
            .map(|body| decode(Object::Qdisc, body, &psched)),
    );
    shown.extend(
        classes(netlink, ifindex)?
            .iter()
            .filter(|body| has_statistics(body))
            .map(|body| decode(Object::Class, body, &psched)),
    );
    Ok(shown)
}

/// Classless disciplines such as tbf dump a class in name only.
fn has_statistics(body: &[u8]) -> bool {
    find(&body[HEADER_LEN..], TCA_STATS2).is_some_and(|statistics| find(statistics, TCA_STATS_BASIC).is_some())
}

const TCA_XSTATS: u16 = 4;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_RATE_EST: u16 = 2;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_RATE_EST64: u16 = 5;
const TCA_STATS_PKT64: u16 = 8;

fn decode(object: Object, body: &[u8], psched: &Psched) -> Shown {
    let (header, attributes) = body.split_at(HEADER_LEN);
    let word = |offset| u32_at(header, offset).unwrap_or(0);
    let (handle, parent, info) = (word(8), word(12), word(16));
    let kind = String::from_utf8_lossy(find(attributes, TCA_KIND).unwrap_or_default())
        .trim_end_matches('\0')
        .to_owned();
    let options = find(attributes, TCA_OPTIONS).unwrap_or_default();
    let statistics = find(attributes, TCA_STATS2).unwrap_or_default();
    let basic = find(statistics, TCA_STATS_BASIC).unwrap_or_default();
    let queue = find(statistics, TCA_STATS_QUEUE).unwrap_or_default();
    let queue = |offset| u32_at(queue, offset).unwrap_or(0);
    Shown {
        object,
        handle: text::handle(handle),
        parent: (parent != ROOT).then(|| text::handle(parent)),
        leaf: (object == Object::Class && info != 0).then(|| text::handle(info)),
        references: if object == Object::Qdisc { info } else { 0 },
        options: match object {
            Object::Qdisc => text::qdisc(&kind, options, psched),
            Object::Class => text::class(&kind, options, psched),
        }
        .unwrap_or_default(),
        bytes: u64_at(basic, 0).unwrap_or(0),
        packets: find_u64(statistics, TCA_STATS_PKT64).unwrap_or_else(|| u32_at(basic, 8).unwrap_or(0).into()),
        backlog_packets: queue(0),
        backlog_bytes: queue(4),
        dropped: queue(8),
        requeues: queue(12),
        overlimits: queue(16),
        estimate: estimate(statistics),
        htb: (object == Object::Class && kind == "htb")
            .then(|| htb(find(attributes, TCA_XSTATS)?))
            .flatten(),
        kind,
    }
}

fn estimate(statistics: &[u8]) -> Option<Estimate> {
    if let Some(wide) = find(statistics, TCA_STATS_RATE_EST64) {
        return Some(Estimate {
            bytes: u64_at(wide, 0)?,
            packets: u32::try_from(u64_at(wide, 8)?).unwrap_or(u32::MAX),
        });
    }
    let narrow = find(statistics, TCA_STATS_RATE_EST)?;
    Some(Estimate {
        bytes: u32_at(narrow, 0)?.into(),
        packets: u32_at(narrow, 4)?,
    })
}

fn htb(xstats: &[u8]) -> Option<HtbStatistics> {
    Some(HtbStatistics {
        lended: u32_at(xstats, 0)?,
        borrowed: u32_at(xstats, 4)?,
        giants: u32_at(xstats, 8)?,
        tokens: u32_at(xstats, 12)?.cast_signed(),
        ctokens: u32_at(xstats, 16)?.cast_signed(),
    })
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = match self.object {
            Object::Qdisc => "qdisc",
            Object::Class => "class",
        };
        write!(f, "{object} {} {} ", self.kind, self.handle)?;
        match &self.parent {
            Some(parent) => write!(f, "parent {parent} ")?,
            None => f.write_str("root ")?,
        }
        if let Some(leaf) = &self.leaf {
            write!(f, "leaf {leaf} ")?;
        }
        // tc leaves out a single reference.
        if self.references > 1 {
            write!(f, "refcnt {} ", self.references)?;
        }
        writeln!(f, "{}", self.options)?;
        writeln!(
            f,
            " Sent {} bytes {} pkt (dropped {}, overlimits {} requeues {}) ",
            self.bytes, self.packets, self.dropped, self.overlimits, self.requeues
        )?;
        if let Some(estimate) = self.estimate.filter(|estimate| estimate.bytes != 0 || estimate.packets != 0) {
            write!(f, " rate {} {}pps", text::rate(estimate.bytes), estimate.packets)?;
        }
        write!(
            f,
            " backlog {} {}p requeues {}",
            text::size(self.backlog_bytes),
            self.backlog_packets,
            self.requeues
        )?;
        if let Some(htb) = &self.htb {
            write!(
                f,
                "\n lended: {} borrowed: {} giants: {}",
                htb.lended, htb.borrowed, htb.giants
            )?;
            write!(f, "\n tokens: {} ctokens: {}\n", htb.tokens, htb.ctokens)?;
        }
        Ok(())
    }
}
