//! `fielato trace`

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use fielato_control::bans::Bans;
use fielato_control::undo::Undo;
use fielato_control::{Paths, client, forwarding, protocol, source};
use fielato_policy::config::Ban;
use fielato_policy::trace::{self, IpVersion, Question, QuestionError, State};
use fielato_policy::{Circumstances, Config, Plan};
use fielato_wire::pcap::{self, Captured, PcapError};
use fielato_wire::pcapng::{self, Block, Direction, LinkType, PcapngError};
use jiff::Timestamp;

use crate::cli::{Trace, TraceState};
use crate::output;

/// It would be stopped.
pub(super) const STOPPED: u8 = 1;
/// The question has no sense with this configuration.
pub(super) const WRONG_USAGE: u8 = 2;

/// `fielato trace`: asks the configuration and the recorded bans alone; nothing is sent.
pub fn run(paths: &Paths, args: &Trace) -> Result<ExitCode> {
    let config = source::load(paths)?;
    let now = Timestamp::now();
    let plan = plan(paths, &config, now)?;
    let traced = match &args.packet {
        Some(file) => trace::packets(&config, &plan, now, &captured(file)?, args.reply),
        None => trace::trace(&config, &plan, now, &question(args)),
    };
    let traces = match traced {
        Ok(traces) => traces,
        Err(refused) => {
            refuse(&refused);
            return Ok(ExitCode::from(WRONG_USAGE));
        }
    };
    let passes = traces.iter().all(trace::Trace::passes);
    let file = paths.config().display().to_string();
    if args.json {
        output::json(&serde_json::json!({
            "version": protocol::VERSION,
            "passes": passes,
            "config": file,
            "traces": traces,
        }))?;
    } else if args.explain {
        print!("{}", trace::explain(&traces, &file));
    } else {
        print!("{}", trace::text(&traces, &file));
    }
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
}

/// Says why a question can't be asked.
pub(super) fn refuse(refused: &QuestionError) {
    eprintln!("fielato: {refused}");
}

fn question(args: &Trace) -> Question {
    let version = match (args.ipv4, args.ipv6) {
        (true, _) => Some(IpVersion::V4),
        (_, true) => Some(IpVersion::V6),
        _ => None,
    };
    // clap lets neither be absent without --packet.
    let said = |name: &Option<String>| name.clone().unwrap_or_default();
    Question {
        source: args.source,
        by: args.by.clone(),
        source_port: args.sport,
        version,
        state: match args.state {
            TraceState::New => State::New,
            TraceState::Established => State::Established,
        },
        reply: args.reply,
        ..Question::new(said(&args.from), said(&args.to))
    }
}

/// As the running hub was compiled, or as it would be now, with grants and the bans that `fielato ban` made.
pub(super) fn plan(paths: &Paths, config: &Config, now: Timestamp) -> Result<Plan> {
    let undo = match Undo::load(paths)? {
        Some(undo) => undo,
        None => Undo::new(&config.hub.interface)?,
    };
    let standing = client::standing(paths)?;
    let circumstances = Circumstances {
        now,
        forwarding_before: forwarding::before(&undo)?,
        grants: &standing.grants,
        over_quota: &standing.over_quota,
    };
    let mut plan = Plan::compile(config, &circumstances);
    let mut bans = Bans::load(paths)?;
    bans.expire(now);
    plan.bans.extend(bans.iter().map(|(network, until)| Ban { network, until }));
    Ok(plan)
}

/// The packets of a capture in either format, as they came in.
fn captured(file: &Path) -> Result<Vec<Captured>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let packets = match pcap::read(&bytes) {
        Err(PcapError::Magic(_)) => clear_packets(&bytes).context("neither a pcap nor a pcapng file"),
        read => read.map_err(Into::into),
    };
    packets.with_context(|| file.display().to_string())
}

/// The packets of a pcapng file, but for what went out (it came in before) and what `fielato capture` noted in cipher.
fn clear_packets(bytes: &[u8]) -> Result<Vec<Captured>, PcapngError> {
    let (mut packets, mut interfaces) = (Vec::new(), Vec::new());
    for block in pcapng::blocks(bytes) {
        match block? {
            Block::Section { .. } => interfaces.clear(),
            Block::Interface(interface) => interfaces.push(interface),
            Block::Packet(packet) if packet.direction != Some(Direction::Outbound) => {
                let interface = interfaces.get(packet.interface as usize);
                let bytes = match interface.map(|interface| (interface.link, interface.name.ends_with("(cipher)"))) {
                    Some((LinkType::Raw, false)) => Some(packet.bytes),
                    Some((LinkType::Ethernet, false)) => pcap::within_ethernet(packet.bytes),
                    _ => None,
                };
                packets.extend(bytes.map(|bytes| Captured {
                    at: packet.at,
                    packet: bytes.to_vec(),
                }));
            }
            Block::Packet(_) | Block::Statistics(_) | Block::Other(_) => {}
        }
    }
    Ok(packets)
}
