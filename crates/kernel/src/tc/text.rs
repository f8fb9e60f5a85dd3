//! Parameters as tc prints them, decoded from `TCA_OPTIONS`. Kinds not known here have no text.

use std::fmt::Write as _;

pub use fielato_qdisc::shown::{general, rate, size, time};
use fielato_qdisc::spec::{CakeDiffserv, CakeFlowMode};

use super::attributes::{find, find_u32, find_u64, u32_at};
use super::netem;
use super::psched::Psched;

/// `1:`, `1:10`
pub fn handle(number: u32) -> String {
    match number & 0xffff {
        0 => format!("{:x}:", number >> 16),
        minor => format!("{:x}:{minor:x}", number >> 16),
    }
}

/// A discipline's parameters.
pub fn qdisc(kind: &str, options: &[u8], psched: &Psched) -> Option<String> {
    match kind {
        "pfifo" => Some(format!("limit {}p", u32_at(options, 0)?)),
        "bfifo" => Some(format!("limit {}", size(u32_at(options, 0)?))),
        "htb" => htb(options),
        "prio" => prio(options),
        "sfq" => sfq(options),
        "tbf" => tbf(options, psched),
        "netem" => netem::text(options, psched),
        "codel" => Some(codel(options)),
        "fq_codel" => Some(fq_codel(options)),
        "cake" => Some(cake(options)),
        _ => None,
    }
}

/// A class's parameters.
pub fn class(kind: &str, options: &[u8], psched: &Psched) -> Option<String> {
    if kind != "htb" {
        return None;
    }
    // struct tc_htb_opt: rate and ceil of 12 bytes each, then buffer, cbuffer, quantum, level, prio.
    let parameters = find(options, 1)?;
    let rate = find_u64(options, 6).unwrap_or(u32_at(parameters, 8)?.into());
    let ceil = find_u64(options, 7).unwrap_or(u32_at(parameters, 20)?.into());
    let (buffer, cbuffer) = (u32_at(parameters, 24)?, u32_at(parameters, 28)?);
    let (level, prio) = (u32_at(parameters, 36)?, u32_at(parameters, 40)?);
    // Only leaves have a priority.
    let prio = if level == 0 { format!("prio {prio} ") } else { String::new() };
    Some(format!(
        "{prio}rate {} ceil {} burst {} cburst {} ",
        self::rate(rate),
        self::rate(ceil),
        size(psched.transmit_size(rate, buffer)),
        size(psched.transmit_size(ceil, cbuffer))
    ))
}

fn htb(options: &[u8]) -> Option<String> {
    let global = find(options, 2)?;
    let default = match u32_at(global, 8)? {
        0 => "0".to_owned(),
        minor => format!("{minor:#x}"),
    };
    let mut text = format!(
        "r2q {} default {default} direct_packets_stat {}",
        u32_at(global, 4)?,
        u32_at(global, 16)?
    );
    if let Some(length) = find_u32(options, 5) {
        let _ = write!(text, " direct_qlen {length}");
    }
    Some(text)
}

fn prio(options: &[u8]) -> Option<String> {
    let map: Vec<String> = options.get(4..20)?.iter().map(ToString::to_string).collect();
    Some(format!("bands {} priomap {}", u32_at(options, 0)?, map.join(" ")))
}

fn sfq(options: &[u8]) -> Option<String> {
    // struct tc_sfq_qopt_v1: quantum, period, limit, divisor, flows, depth, headdrop.
    let number = |place: usize| u32_at(options, 4 * place);
    let mut text = format!("limit {}p quantum {} ", number(2)?, size(number(0)?));
    if let Some(depth) = number(5).filter(|depth| *depth != 0) {
        let _ = write!(text, "depth {depth} ");
    }
    if number(6).is_some_and(|headdrop| headdrop != 0) {
        text.push_str("headdrop ");
    }
    let _ = write!(text, "divisor {} ", number(3)?);
    if let Some(period) = number(1).filter(|period| *period != 0) {
        let _ = write!(text, "perturb {period}sec ");
    }
    Some(text)
}

fn tbf(options: &[u8], psched: &Psched) -> Option<String> {
    // struct tc_tbf_qopt: rate and peakrate of 12 bytes each, then limit, buffer, mtu.
    let parameters = find(options, 1)?;
    let rate = find_u64(options, 4).unwrap_or(u32_at(parameters, 8)?.into());
    let peakrate = find_u64(options, 5).unwrap_or(u32_at(parameters, 20)?.into());
    let (limit, buffer, mtu) = (u32_at(parameters, 24)?, u32_at(parameters, 28)?, u32_at(parameters, 32)?);
    let mut text = format!(
        "rate {} burst {} ",
        self::rate(rate),
        size(psched.transmit_size(rate, buffer))
    );
    let wait = |rate: u64, bucket: u32| 1e6 * (f64::from(limit) / rate as f64) - psched.microseconds(bucket);
    let mut latency = wait(rate, buffer);
    if peakrate != 0 {
        let _ = write!(text, "peakrate {} ", self::rate(peakrate));
        if mtu != 0 {
            let _ = write!(text, "minburst {} ", size(psched.transmit_size(peakrate, mtu)));
        }
        latency = latency.max(wait(peakrate, mtu));
    }
    let _ = match latency >= 0.0 {
        true => write!(text, "lat {} ", time(latency)),
        false => write!(text, "limit {} ", size(limit)),
    };
    Some(text)
}

fn codel(options: &[u8]) -> String {
    let mut text = String::new();
    if let Some(limit) = find_u32(options, 2) {
        let _ = write!(text, "limit {limit}p ");
    }
    for (name, kind) in [("target", 1), ("ce_threshold", 5), ("interval", 3)] {
        if let Some(microseconds) = find_u32(options, kind) {
            let _ = write!(text, "{name} {} ", time(microseconds.into()));
        }
    }
    if find_u32(options, 4).is_some_and(|ecn| ecn != 0) {
        text.push_str("ecn ");
    }
    text
}

fn fq_codel(options: &[u8]) -> String {
    let mut text = String::new();
    let time = |microseconds: u32| time(microseconds.into());
    for (name, kind, write) in [
        ("limit", 2, &(|limit| format!("{limit}p")) as &dyn Fn(u32) -> String),
        ("flows", 5, &|flows| flows.to_string()),
        ("quantum", 6, &|quantum| quantum.to_string()),
        ("target", 1, &time),
        ("ce_threshold", 7, &time),
        ("interval", 3, &time),
        ("memory_limit", 9, &size),
    ] {
        if let Some(value) = find_u32(options, kind) {
            let _ = write!(text, "{name} {} ", write(value));
        }
    }
    if find_u32(options, 4).is_some_and(|ecn| ecn != 0) {
        text.push_str("ecn ");
    }
    if let Some(batch) = find_u32(options, 8) {
        let _ = write!(text, "drop_batch {batch} ");
    }
    text
}

fn cake(options: &[u8]) -> String {
    let mut words = vec![match find_u64(options, 2) {
        Some(bandwidth) if bandwidth != 0 => format!("bandwidth {}", rate(bandwidth)),
        _ => "bandwidth unlimited".to_owned(),
    }];
    let number = |kind| find_u32(options, kind);
    let switch = |kind, on: &str, off: &str| number(kind).map(|state| if state != 0 { on } else { off }.to_owned());
    // The words stand in the order of the kernel's numbers.
    let diffserv = CakeDiffserv::WORDS.map(|(word, _)| word);
    words.extend(
        number(3)
            .and_then(|mode| diffserv.get(mode as usize))
            .map(|word| (*word).to_owned()),
    );
    let flow_mode = CakeFlowMode::WORDS.map(|(word, _)| word);
    words.extend(
        number(5)
            .and_then(|mode| flow_mode.get(mode as usize))
            .map(|word| (*word).to_owned()),
    );
    words.extend(switch(11, "nat", "nonat"));
    words.extend(switch(13, "wash", "nowash"));
    words.extend(switch(15, "ingress", "").filter(|word| !word.is_empty()));
    words.extend(number(16).map(|filter| match filter {
        0 => "no-ack-filter".to_owned(),
        1 => "ack-filter".to_owned(),
        _ => "ack-filter-aggressive".to_owned(),
    }));
    words.extend(switch(17, "split-gso", "no-split-gso"));
    words.extend(number(7).map(|rtt| format!("rtt {}", time(rtt.into()))));
    let raw = find(options, 12).is_some();
    words.extend(raw.then(|| "raw".to_owned()));
    words.extend(match number(4) {
        Some(1) => Some("atm".to_owned()),
        Some(2) => Some("ptm".to_owned()),
        _ => (!raw).then(|| "noatm".to_owned()),
    });
    words.extend(number(6).map(|overhead| format!("overhead {}", overhead.cast_signed())));
    words.extend(number(14).filter(|mpu| *mpu != 0).map(|mpu| format!("mpu {mpu}")));
    words.extend(
        number(10)
            .filter(|memory| *memory != 0)
            .map(|memory| format!("memlimit {}", size(memory))),
    );
    words.join(" ") + " "
}

/// A fraction of all 32 bits as tc prints it: `25%`.
pub(super) fn percent(probability: u32) -> String {
    format!("{}%", general(100.0 * f64::from(probability) / f64::from(u32::MAX), 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_look_like_tcs() {
        for (probability, text) in [
            (u32::MAX, "100%"),
            (0x4000_0000, "25%"),
            (42_949_673, "1%"),
            (4_294_967, "0.1%"),
        ] {
            assert_eq!(percent(probability), text);
        }
    }
}
