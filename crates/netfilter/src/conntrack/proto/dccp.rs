//! DCCP (`nf_conntrack_proto_dccp.c` of Linux 6.1; RFC 4340). Newer kernels track it as a protocol without states.

use super::{ProtoPacket, ProtoState, ProtoVerdict, kill, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn, Direction, Status};

/// State of a connection (`enum ct_dccp_states`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DccpState {
    /// Nothing seen.
    #[default]
    None,
    /// A Request.
    Request,
    /// A Response.
    Respond,
    /// An Ack after it.
    PartOpen,
    /// Anything from the server after that.
    Open,
    /// A CloseReq.
    CloseReq,
    /// A Close.
    Closing,
    /// A Reset.
    TimeWait,
}

impl DccpState {
    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            DccpState::None => "NONE",
            DccpState::Request => "REQUEST",
            DccpState::Respond => "RESPOND",
            DccpState::PartOpen => "PARTOPEN",
            DccpState::Open => "OPEN",
            DccpState::CloseReq => "CLOSEREQ",
            DccpState::Closing => "CLOSING",
            DccpState::TimeWait => "TIMEWAIT",
        }
    }

    /// Whether the entry may go first when the table is nearly full (`dccp_can_early_drop`).
    pub const fn is_ending(self) -> bool {
        matches!(self, DccpState::CloseReq | DccpState::Closing | DccpState::TimeWait)
    }
}

/// Which end of a connection a sender is. A connection may be opened again the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DccpRole {
    /// It sent the Request.
    Client,
    /// It answers.
    Server,
}

/// What a DCCP connection remembers (`struct nf_ct_dccp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dccp {
    /// State.
    pub state: DccpState,
    /// The role of the sender in each direction.
    pub roles: [DccpRole; 2],
    /// Type of the last packet.
    pub last_type: u8,
    /// Its direction.
    pub last_direction: Direction,
    /// Sequence number of the Response.
    pub handshake_seq: u64,
}

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const DATA: u8 = 2;
const ACK: u8 = 3;
const DATA_ACK: u8 = 4;
const RESET: u8 = 7;
const SYNC_ACK: u8 = 9;

/// The generic header.
struct Header {
    kind: u8,
    seq: u64,
    /// Sequence number that is acknowledged, in packets that carry one.
    ack: Option<u64>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Header> {
        let fixed = bytes.first_chunk::<12>()?;
        let data_offset = usize::from(fixed[4]) * 4;
        let kind = fixed[8] >> 1 & 0x0f;
        let long = fixed[8] & 1 != 0;
        let short = u64::from(u16::from_be_bytes([fixed[10], fixed[11]]));
        // RFC 4340 §5.1: these carry 48-bit sequence numbers.
        let needs_long = !matches!(kind, DATA | ACK | DATA_ACK);
        if !(12..=bytes.len()).contains(&data_offset) || kind > SYNC_ACK || needs_long && !long {
            return None;
        }
        let (seq, basic) = if long {
            let low = u32::from_be_bytes(*bytes.get(12..16)?.first_chunk()?);
            (short << 32 | u64::from(low), 16)
        } else {
            (u64::from(fixed[9]) << 16 | short, 12)
        };
        let rest = match kind {
            DATA => 0,
            REQUEST => 4,
            RESPONSE | RESET => 12,
            _ => 8,
        };
        let subheader = bytes.get(basic..basic + rest)?;
        let ack = match (kind, subheader) {
            (REQUEST, _) => None,
            (_, &[_, _, a, b, c, d, e, f, ..]) => Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
            _ => None,
        };
        Some(Header { kind, seq, ack })
    }
}

/// Whether the header is whole and makes sense (`dccp_error`).
pub(super) fn is_sound(transport: &[u8]) -> bool {
    Header::parse(transport).is_some() && coverage(transport) <= transport.len()
}

/// How many bytes the checksum covers by the kernel's reading: from the start of the header.
pub(super) fn coverage(transport: &[u8]) -> usize {
    match transport.get(5).map_or(0, |byte| byte & 0x0f) {
        0 => transport.len(),
        coverage => usize::from(coverage - 1) * 4,
    }
}

/// Every packet of a connection (`nf_conntrack_dccp_packet`).
pub(super) fn packet(conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let Some(header) = Header::parse(packet.transport) else {
        return ProtoVerdict::Invalid;
    };
    let mut dccp = match conn.proto {
        _ if fresh && header.kind != REQUEST => return ProtoVerdict::Invalid,
        ProtoState::Dccp(dccp) if !fresh => dccp,
        _ => Dccp {
            state: DccpState::None,
            roles: [DccpRole::Client, DccpRole::Server],
            last_type: REQUEST,
            last_direction: Direction::Original,
            handshake_seq: 0,
        },
    };
    if header.kind == RESET && !conn.status.has(Status::SEEN_REPLY) {
        kill(conn); // The only answer is a Reset: there never was a connection.
        return ProtoVerdict::Accept;
    }
    let verdict = dccp.judge(conn, packet.direction, &header, config, now);
    conn.proto = ProtoState::Dccp(dccp);
    verdict
}

impl Dccp {
    fn judge(&mut self, conn: &mut Conn, direction: Direction, header: &Header, config: &Config, now: Now) -> ProtoVerdict {
        let (here, there) = (direction.index(), direction.reverse().index());
        let old = self.state;
        let mut step = TABLE[self.roles[here] as usize][usize::from(header.kind)][old as usize];
        let answers_request = self.last_direction != direction && self.last_type == REQUEST && header.kind == RESPONSE;
        if step == Step::Ignore && answers_request {
            // It answers a Request that was let through: both ends agree, so take it from them.
            self.roles[there] = DccpRole::Client;
            self.roles[here] = DccpRole::Server;
            self.handshake_seq = header.seq;
            step = RS;
        } else if step == RQ && old == DccpState::TimeWait && self.roles[here] == DccpRole::Server {
            self.roles[here] = DccpRole::Client; // Opened again the other way round.
            self.roles[there] = DccpRole::Server;
        } else if step == RS && old == DccpState::Request {
            self.handshake_seq = header.seq;
        } else if step == PO && old == DccpState::Respond && header.kind == ACK && header.ack == Some(self.handshake_seq) {
            conn.status.set(Status::ASSURED);
        }
        if step == Step::Invalid {
            return ProtoVerdict::Invalid;
        }
        self.last_direction = direction;
        self.last_type = header.kind;
        let Step::To(new) = step else {
            return ProtoVerdict::Ignore;
        };
        self.state = new;
        refresh(conn, timeout(conn, new, config), now);
        ProtoVerdict::Accept
    }
}

fn timeout(conn: &Conn, state: DccpState, config: &Config) -> u32 {
    let all = &config.timeouts;
    let (index, default) = match state {
        DccpState::None => return 0,
        DccpState::Request => (0, all.dccp_request),
        DccpState::Respond => (1, all.dccp_respond),
        DccpState::PartOpen => (2, all.dccp_partopen),
        DccpState::Open => (3, all.dccp_open),
        DccpState::CloseReq => (4, all.dccp_closereq),
        DccpState::Closing => (5, all.dccp_closing),
        DccpState::TimeWait => (6, all.dccp_timewait),
    };
    override_of(conn, index).unwrap_or(default)
}

/// Where the table leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    To(DccpState),
    /// It passes and changes nothing.
    Ignore,
    Invalid,
}

const RQ: Step = Step::To(DccpState::Request);
const RS: Step = Step::To(DccpState::Respond);
const PO: Step = Step::To(DccpState::PartOpen);
const OP: Step = Step::To(DccpState::Open);
const CR: Step = Step::To(DccpState::CloseReq);
const CG: Step = Step::To(DccpState::Closing);
const TW: Step = Step::To(DccpState::TimeWait);
const IG: Step = Step::Ignore;
const IV: Step = Step::Invalid;

/// By role of the sender, type and state (`dccp_state_table`). Columns: NONE, REQUEST, RESPOND, PARTOPEN, OPEN, CLOSEREQ,
/// CLOSING, TIMEWAIT.
#[rustfmt::skip]
static TABLE: [[[Step; 8]; 10]; 2] = [
    [
        /* Request  */ [RQ, RQ, RS, IG, IG, IG, IG, RQ],
        /* Response */ [IV, IG, IG, IG, IG, IG, IG, IV],
        /* Data     */ [IV, IV, IV, IV, OP, CR, CG, IV],
        /* Ack      */ [IV, IV, PO, PO, OP, CR, CG, IV],
        /* DataAck  */ [IV, IV, PO, PO, OP, CR, CG, IV],
        /* CloseReq */ [IV, IV, IV, IV, IV, IV, IV, IV],
        /* Close    */ [IV, IV, IV, CG, CG, CG, IV, IV],
        /* Reset    */ [IV, TW, TW, TW, TW, TW, TW, IG],
        /* Sync     */ [IV, IG, IG, IG, IG, IG, IG, IG],
        /* SyncAck  */ [IV, IG, IG, IG, IG, IG, IG, IG],
    ],
    [
        /* Request  */ [IV, IG, IG, IG, IG, IG, IG, RQ],
        /* Response */ [IV, RS, RS, IG, IG, IG, IG, IV],
        /* Data     */ [IV, IV, IV, OP, OP, IV, CG, IV],
        /* Ack      */ [IV, IV, IV, OP, OP, IV, CG, IV],
        /* DataAck  */ [IV, IV, IV, OP, OP, IV, CG, IV],
        /* CloseReq */ [IV, IV, IV, CR, CR, CR, CR, IV],
        /* Close    */ [IV, IV, IV, CG, CG, IV, CG, IV],
        /* Reset    */ [IV, TW, TW, TW, TW, TW, TW, TW],
        /* Sync     */ [IV, IG, IG, IG, IG, IG, IG, IG],
        /* SyncAck  */ [IV, IG, IG, IG, IG, IG, IG, IG],
    ],
];
