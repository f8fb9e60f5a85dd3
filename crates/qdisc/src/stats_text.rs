//! Statistics as `tc -s … show` prints them, and as `tc -s -j … show` does.

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::shown;
use crate::spec::{HostFairness, Parent, QdiscKind};
use crate::stats::{Extra, Shape, Stats};

/// A parameter: its name, what is printed, and what stands in JSON.
struct Shown {
    name: &'static str,
    text: String,
    value: Value,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Number(u64),
    Text(String),
    Flag(bool),
    List(Vec<u8>),
}

fn number(name: &'static str, value: u64) -> Shown {
    text(name, value.to_string(), value)
}

fn text(name: &'static str, text: String, value: u64) -> Shown {
    Shown {
        name,
        text,
        value: Value::Number(value),
    }
}

fn microseconds(name: &'static str, time: std::time::Duration) -> Shown {
    let value = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    text(name, shown::time(value as f64), value)
}

impl Stats {
    /// The parameters in the order in which tc prints them.
    fn parameters(&self) -> Vec<Shown> {
        match &self.shape {
            Shape::Qdisc { kind, direct_qlen, .. } => self.qdisc_parameters(kind, *direct_qlen),
            Shape::HtbClass { class, level } => {
                let mut shown = Vec::new();
                // Only leaves have a priority.
                if *level == 0 {
                    shown.push(number("prio", class.prio.into()));
                }
                shown.push(text("rate", shown::rate(class.rate), class.rate));
                shown.push(text("ceil", shown::rate(class.ceil), class.ceil));
                for (name, burst) in [("burst", class.burst), ("cburst", class.cburst)] {
                    let burst = burst.unwrap_or(0);
                    shown.push(text(name, shown::size(burst), burst.into()));
                }
                shown
            }
            Shape::Class(_) => Vec::new(),
        }
    }

    fn qdisc_parameters(&self, kind: &QdiscKind, direct_qlen: u32) -> Vec<Shown> {
        let given = |value: Option<u32>| u64::from(value.unwrap_or(0));
        match kind {
            QdiscKind::Pfifo { limit } => vec![text("limit", format!("{}p", given(*limit)), given(*limit))],
            QdiscKind::Bfifo { limit } => vec![text("limit", shown::size(limit.unwrap_or(0)), given(*limit))],
            QdiscKind::Htb { default, r2q } => {
                let default = if *default == 0 {
                    "0".to_owned()
                } else {
                    format!("{default:#x}")
                };
                let direct = match &self.extra {
                    Extra::HtbDirect(direct) => direct.direct_packets_stat,
                    _ => 0,
                };
                vec![
                    number("r2q", (*r2q).into()),
                    Shown {
                        name: "default",
                        text: default.clone(),
                        value: Value::Text(default),
                    },
                    number("direct_packets_stat", direct),
                    number("direct_qlen", direct_qlen.into()),
                ]
            }
            QdiscKind::Tbf(tbf) => {
                let mut shown = vec![
                    text("rate", shown::rate(tbf.rate), tbf.rate),
                    text("burst", shown::size(tbf.burst), tbf.burst.into()),
                ];
                let wait = |rate: u64, bucket: u32| 1e6 * (f64::from(tbf.limit) - f64::from(bucket)) / rate as f64;
                let mut latency = wait(tbf.rate, tbf.burst);
                if let Some((peakrate, mtu)) = tbf.peakrate.zip(tbf.mtu) {
                    shown.push(text("peakrate", shown::rate(peakrate), peakrate));
                    shown.push(text("minburst", shown::size(mtu), mtu.into()));
                    latency = latency.max(wait(peakrate, mtu));
                }
                shown.push(match latency >= 0.0 {
                    true => text("lat", shown::time(latency), latency as u64),
                    false => text("limit", shown::size(tbf.limit), tbf.limit.into()),
                });
                shown
            }
            QdiscKind::Prio(prio) => vec![
                number("bands", prio.bands.into()),
                Shown {
                    name: "priomap",
                    text: prio.priomap.map(|band| band.to_string()).join(" "),
                    value: Value::List(prio.priomap.to_vec()),
                },
            ],
            QdiscKind::Sfq(sfq) => {
                let mut shown = vec![
                    text("limit", format!("{}p", given(sfq.limit)), given(sfq.limit)),
                    text("quantum", shown::size(sfq.quantum.unwrap_or(0)), given(sfq.quantum)),
                    number("depth", given(sfq.depth)),
                ];
                if sfq.headdrop {
                    shown.push(flag("headdrop"));
                }
                shown.push(number("divisor", given(sfq.divisor)));
                if let Some(period) = sfq.perturb {
                    shown.push(text("perturb", format!("{}sec", period.as_secs()), period.as_secs()));
                }
                shown
            }
            QdiscKind::Codel(codel) => {
                let mut shown = vec![text("limit", format!("{}p", given(codel.limit)), given(codel.limit))];
                for (name, time) in [
                    ("target", codel.target),
                    ("ce_threshold", codel.ce_threshold),
                    ("interval", codel.interval),
                ] {
                    shown.extend(time.map(|time| microseconds(name, time)));
                }
                if codel.ecn == Some(true) {
                    shown.push(flag("ecn"));
                }
                shown
            }
            QdiscKind::FqCodel(fq_codel) => {
                let mut shown = vec![
                    text("limit", format!("{}p", given(fq_codel.limit)), given(fq_codel.limit)),
                    number("flows", given(fq_codel.flows)),
                    number("quantum", given(fq_codel.quantum)),
                ];
                for (name, time) in [
                    ("target", fq_codel.target),
                    ("ce_threshold", fq_codel.ce_threshold),
                    ("interval", fq_codel.interval),
                ] {
                    shown.extend(time.map(|time| microseconds(name, time)));
                }
                if let Some(memory) = fq_codel.memory_limit {
                    shown.push(text("memory_limit", shown::size(memory), memory.into()));
                }
                if fq_codel.ecn != Some(false) {
                    shown.push(flag("ecn"));
                }
                let hosts = HostFairness::WORDS
                    .into_iter()
                    .find(|(_, mode)| fq_codel.hosts == Some(*mode));
                shown.extend(hosts.map(|(word, _)| Shown {
                    name: "hosts",
                    text: word.to_owned(),
                    value: Value::Text(word.to_owned()),
                }));
                shown
            }
            // Their own words say it best.
            QdiscKind::Netem(_) | QdiscKind::Cake(_) => {
                let words = kind.to_string();
                let words = words.split_once(' ').map_or("", |(_, words)| words).to_owned();
                vec![Shown {
                    name: "",
                    text: words.clone(),
                    value: Value::Text(words),
                }]
            }
        }
    }
}

fn flag(name: &'static str) -> Shown {
    Shown {
        name,
        text: String::new(),
        value: Value::Flag(true),
    }
}

impl fmt::Display for Stats {
    /// Several lines, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = if self.is_class() { "class" } else { "qdisc" };
        let handle = match self.is_default() {
            true => "0:".to_owned(),
            false => self.handle.to_string(),
        };
        write!(f, "{object} {} {handle}", self.kind())?;
        match self.parent {
            Parent::Root => f.write_str(" root")?,
            // A class right below its discipline hangs at its root.
            Parent::Class(parent) if self.is_class() && parent.minor == 0 && self.kind() == "htb" => f.write_str(" root")?,
            Parent::Class(parent) => write!(f, " parent {parent}")?,
        }
        if let Some(leaf) = self.leaf {
            write!(f, " leaf {leaf}")?;
        }
        for Shown { name, text, .. } in self.parameters() {
            for word in [name, text.as_str()] {
                if !word.is_empty() {
                    write!(f, " {word}")?;
                }
            }
        }
        if let Shape::Qdisc { stab: Some(stab), .. } = &self.shape {
            write!(f, " stab {stab}")?;
        }
        let Stats {
            sent,
            backlog,
            dropped,
            overlimits,
            ..
        } = self;
        write!(
            f,
            "\n Sent {} bytes {} pkt (dropped {dropped}, overlimits {overlimits} requeues 0) ",
            sent.bytes, sent.packets
        )?;
        let waiting = shown::size(u32::try_from(backlog.bytes).unwrap_or(u32::MAX));
        write!(f, "\n backlog {waiting} {}p requeues 0", backlog.packets)?;
        if !self.reasons.is_empty() {
            f.write_str("\n dropped by reason:")?;
            for (reason, count) in &self.reasons {
                write!(f, " {} {count}", reason.name())?;
            }
        }
        write!(f, "{}", self.extra)
    }
}

/// Lines of their own, each after a newline.
impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // htb's stands among its parameters.
            Extra::None | Extra::HtbDirect(_) => Ok(()),
            Extra::Htb(htb) => write!(
                f,
                "\n lended: {} borrowed: {} giants: {}\n tokens: {} ctokens: {}",
                htb.lended, htb.borrowed, htb.giants, htb.tokens, htb.ctokens
            ),
            Extra::Codel(codel) => {
                write!(
                    f,
                    "\n  count {} lastcount {} ldelay {}",
                    codel.count,
                    codel.lastcount,
                    shown::time(codel.ldelay as f64)
                )?;
                if codel.dropping {
                    f.write_str(" dropping")?;
                }
                write!(
                    f,
                    "\n  maxpacket {} ecn_mark {} drop_overlimit {}",
                    codel.max_packet, codel.ecn_mark, codel.drop_overlimit
                )?;
                if codel.ce_mark > 0 {
                    write!(f, " ce_mark {}", codel.ce_mark)?;
                }
                Ok(())
            }
            Extra::FqCodel(fq_codel) => {
                write!(
                    f,
                    "\n  maxpacket {} drop_overlimit {} new_flow_count {} ecn_mark {}",
                    fq_codel.max_packet, fq_codel.drop_overlimit, fq_codel.new_flow_count, fq_codel.ecn_mark
                )?;
                for (name, count) in [
                    ("ce_mark", fq_codel.ce_mark),
                    ("memory_used", fq_codel.memory_used),
                    ("drop_overmemory", fq_codel.drop_overmemory),
                ] {
                    if count > 0 {
                        write!(f, " {name} {count}")?;
                    }
                }
                write!(
                    f,
                    "\n  new_flows_len {} old_flows_len {}",
                    fq_codel.new_flows_len, fq_codel.old_flows_len
                )
            }
            Extra::Netem(netem) => write!(
                f,
                "\n  ecn_mark {} duplicated {} corrupted {} reordered {}",
                netem.ecn_mark, netem.duplicated, netem.corrupted, netem.reordered
            ),
        }
    }
}

/// Parameters as an object.
struct Parameters(Vec<Shown>);

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for Shown { name, value, .. } in &self.0 {
            map.serialize_entry(if name.is_empty() { "words" } else { name }, value)?;
        }
        map.end()
    }
}

/// The flat object that tc writes, with the reasons of drops besides.
#[derive(Serialize)]
struct Flat<'a> {
    #[serde(rename = "class", skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    handle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    options: Parameters,
    bytes: u64,
    packets: u64,
    drops: u64,
    overlimits: u64,
    requeues: u64,
    backlog: u64,
    qlen: u64,
    drop_reasons: Reasons<'a>,
    #[serde(flatten)]
    extra: &'a Extra,
}

struct Reasons<'a>(&'a Stats);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.reasons.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (is_class, kind) = (self.is_class(), self.kind());
        Flat {
            class: is_class.then_some(kind),
            kind: (!is_class).then_some(kind),
            handle: if self.is_default() {
                "0:".to_owned()
            } else {
                self.handle.to_string()
            },
            root: (self.parent == Parent::Root).then_some(true),
            parent: match self.parent {
                Parent::Root => None,
                Parent::Class(parent) => Some(parent.to_string()),
            },
            leaf: self.leaf.map(|leaf| leaf.to_string()),
            options: Parameters(self.parameters()),
            bytes: self.sent.bytes,
            packets: self.sent.packets,
            drops: self.dropped,
            overlimits: self.overlimits,
            requeues: 0,
            backlog: self.backlog.bytes,
            qlen: self.backlog.packets,
            drop_reasons: Reasons(self),
            extra: &self.extra,
        }
        .serialize(serializer)
    }
}
