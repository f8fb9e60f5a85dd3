//! Why a packet passes or not: a question about the configuration, answered by the gateway itself, and each station of the way
//! told with the line of the file that decided. Nothing is sent anywhere.

mod advice;
mod cipher;
mod explain;
mod far_end;
mod observe;
mod packet;
mod proxy;
mod question;
mod station;
mod text;
mod walk;

pub use cipher::Cipher;
pub use explain::explain;
pub use observe::steps;
pub use packet::{Layer, Shown};
pub(crate) use question::split_destination;
pub use question::{IpVersion, Question, QuestionError, Sender, State};
pub use station::{End, MemberState, PacketEnd, Place, Reason, Role, Station, Step, Trace};
pub use text::{named, text, why};

pub(crate) use packet::answer;
pub(crate) use question::{Case, outer, whose};
pub(crate) use walk::{Gone, Walk};

use fielato_wire::pcap::Captured;
use jiff::Timestamp;

use crate::{Config, Plan};

/// What happens to the packet of a question, then to its answer where that is asked for. When it is to be of an established
/// connection and none can be established, the trace is that of the packet which was stopped ([`Role::Opening`]).
///
/// `plan` is `config`'s at `now`; it may have more bans.
///
/// # Errors
/// The question has no sense with this configuration.
pub fn trace(config: &Config, plan: &Plan, now: Timestamp, question: &Question) -> Result<Vec<Trace>, QuestionError> {
    let case = Case::of(question, config)?;
    let mut walk = Walk::new(config, plan, now)?;
    let mut place = 0;
    if question.state == State::Established {
        if let Some(stopped) = walk.open(&case)? {
            return Ok(vec![stopped]);
        }
        place = 1;
    }
    let packet = case.packet(place)?;
    walk.there_and_back(case.sender, packet, question.reply)
}

/// What happens to captured packets, one after the other: connections that an earlier one began are known to the later ones.
///
/// # Errors
/// One of them is no IP packet.
pub fn packets(
    config: &Config,
    plan: &Plan,
    now: Timestamp,
    captured: &[Captured],
    reply: bool,
) -> Result<Vec<Trace>, QuestionError> {
    let mut walk = Walk::new(config, plan, now)?;
    let mut traces = Vec::new();
    let begin = captured.first().map(|first| first.at).unwrap_or_default();
    for (number, Captured { at, packet }) in (1..).zip(captured) {
        walk.is(at.saturating_sub(begin));
        let sender = question::sender_of(packet, config).ok_or_else(|| QuestionError::Packet {
            number,
            problem: "not an IP packet".to_owned(),
        })?;
        traces.extend(walk.there_and_back(sender, packet.clone(), reply)?);
    }
    Ok(traces)
}
