//! SCTP (`nf_conntrack_proto_sctp.c`; RFC 9260).

use super::{ProtoPacket, ProtoState, ProtoVerdict, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn, Direction, Status};

/// State of an association as an observer sees it (`enum sctp_conntrack`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SctpState {
    /// Nothing seen.
    #[default]
    None,
    /// An INIT in the original direction, or the end of the association.
    Closed,
    /// An INIT ACK.
    CookieWait,
    /// A COOKIE ECHO.
    CookieEchoed,
    /// A COOKIE ACK.
    Established,
    /// A SHUTDOWN in the original direction.
    ShutdownSent,
    /// A SHUTDOWN in the reply direction.
    ShutdownRecd,
    /// A SHUTDOWN ACK.
    ShutdownAckSent,
    /// A HEARTBEAT on a new path.
    HeartbeatSent,
}

impl SctpState {
    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            SctpState::None => "NONE",
            SctpState::Closed => "CLOSED",
            SctpState::CookieWait => "COOKIE_WAIT",
            SctpState::CookieEchoed => "COOKIE_ECHOED",
            SctpState::Established => "ESTABLISHED",
            SctpState::ShutdownSent => "SHUTDOWN_SENT",
            SctpState::ShutdownRecd => "SHUTDOWN_RECD",
            SctpState::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            SctpState::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    /// Whether the entry may go first when the table is nearly full (`sctp_can_early_drop`).
    pub const fn is_ending(self) -> bool {
        matches!(
            self,
            SctpState::ShutdownSent | SctpState::ShutdownRecd | SctpState::ShutdownAckSent
        )
    }
}

/// What an SCTP association remembers (`struct ip_ct_sctp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// State.
    pub state: SctpState,
    /// The verification tag that packets of each direction carry.
    pub tags: [u32; 2],
    /// An INIT was seen in this direction and no COOKIE ACK since.
    pub init: [bool; 2],
    /// The last HEARTBEAT carried another tag than the association's: the peer may have restarted.
    pub heartbeat_failed: bool,
    /// Its direction.
    pub last_direction: Direction,
}

/// Length of the common header.
pub(super) const HEADER: usize = 12;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// A packet whose chunks have passed the first checks.
struct Packet<'a> {
    bytes: &'a [u8],
    tag: u32,
    /// Which of the chunk types below 64 are there.
    kinds: u64,
}

struct Chunk<'a> {
    kind: u8,
    flags: u8,
    /// What follows the chunk's header, to the packet's end.
    rest: &'a [u8],
}

impl Chunk<'_> {
    /// The tag in an INIT or INIT ACK; `None` when its fixed part is cut off.
    fn init_tag(&self) -> Option<u32> {
        let fixed = self.rest.first_chunk::<16>()?;
        Some(u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]))
    }
}

impl<'a> Packet<'a> {
    /// The packet, if the order of its chunks can be (`do_basic_checks`): INIT, INIT ACK and SHUTDOWN COMPLETE stand alone,
    /// COOKIE ECHO and COOKIE ACK first (RFC 9260 §6.10).
    fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let header = bytes.first_chunk::<HEADER>()?;
        let mut packet = Packet {
            bytes,
            tag: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            kinds: 0,
        };
        let mut alone = false;
        let mut at = HEADER;
        let mut first = true;
        while let Some(&[kind, _, high, low]) = bytes.get(at..at + 4) {
            alone |= matches!(kind, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
            let misplaced = !first && (alone || matches!(kind, COOKIE_ACK | COOKIE_ECHO));
            let len = u16::from_be_bytes([high, low]);
            if misplaced || len == 0 {
                return None;
            }
            packet.kinds |= 1u64.checked_shl(u32::from(kind)).unwrap_or(0);
            at += usize::from(len).next_multiple_of(4);
            first = false;
        }
        (!first).then_some(packet)
    }

    const fn has(&self, kind: u8) -> bool {
        self.kinds & 1 << kind != 0
    }

    fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER;
        std::iter::from_fn(move || {
            let (&[kind, flags, high, low], rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
            // Lengths were found not to be zero.
            at += usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4).max(4);
            Some(Chunk { kind, flags, rest })
        })
    }
}

/// Every packet of an association (`nf_conntrack_sctp_packet`).
pub(super) fn packet(conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let Some(content) = Packet::parse(packet.transport) else {
        return ProtoVerdict::Invalid;
    };
    let known = match conn.proto {
        _ if fresh => Sctp::begin(&content),
        ProtoState::Sctp(sctp) => Some(sctp),
        _ => None,
    };
    let Some(mut sctp) = known else {
        return ProtoVerdict::Invalid;
    };
    let judged = sctp.judge(&content, packet.direction, fresh, &mut conn.status);
    conn.proto = ProtoState::Sctp(sctp);
    match judged {
        Judged::Invalid => ProtoVerdict::Invalid,
        Judged::Keep => ProtoVerdict::Ignore,
        Judged::Refresh(state) => {
            refresh(conn, timeout(conn, state, config), now);
            ProtoVerdict::Accept
        }
    }
}

enum Judged {
    Invalid,
    /// It passes; the timeout stays.
    Keep,
    /// It passes; the timeout is this state's.
    Refresh(SctpState),
}

impl Sctp {
    /// The first packet (`sctp_new`). ABORT, SHUTDOWN COMPLETE and COOKIE ACK can't begin anything (RFC 9260 §8.4).
    fn begin(packet: &Packet<'_>) -> Option<Sctp> {
        if packet.has(ABORT) || packet.has(SHUTDOWN_COMPLETE) || packet.has(COOKIE_ACK) {
            return None;
        }
        let mut sctp = Sctp {
            state: SctpState::None,
            tags: [0; 2],
            init: [false; 2],
            heartbeat_failed: false,
            last_direction: Direction::Original,
        };
        for chunk in packet.chunks() {
            match step(Direction::Original, chunk.kind, SctpState::None) {
                None | Some(SctpState::None) => return None,
                Some(_) => {}
            }
            match chunk.kind {
                // RFC 9260 §8.5.1 (A).
                INIT if packet.tag != 0 => return None,
                INIT => sctp.tags[Direction::Reply.index()] = chunk.init_tag()?,
                HEARTBEAT => sctp.tags[Direction::Original.index()] = packet.tag,
                SHUTDOWN_ACK => sctp.tags[Direction::Reply.index()] = packet.tag,
                _ => {}
            }
        }
        Some(sctp)
    }

    fn judge(&mut self, packet: &Packet<'_>, direction: Direction, fresh: bool, status: &mut Status) -> Judged {
        let (here, there) = (direction.index(), direction.reverse().index());
        let tag = packet.tag;
        // RFC 9260 §8.5: these have rules of their own.
        const OWN_RULES: u64 = 1 << INIT
            | 1 << SHUTDOWN_COMPLETE
            | 1 << COOKIE_ECHO
            | 1 << ABORT
            | 1 << SHUTDOWN_ACK
            | 1 << HEARTBEAT
            | 1 << HEARTBEAT_ACK;
        if packet.kinds & OWN_RULES == 0 && tag != self.tags[here] {
            return Judged::Invalid;
        }
        let mut keep = false;
        let mut last = SctpState::None;
        for chunk in packet.chunks() {
            match chunk.kind {
                INIT if tag != 0 => return Judged::Invalid,
                // §8.5.1 (B), (C): the T bit says that the tag is the other end's.
                ABORT | SHUTDOWN_COMPLETE => {
                    let expected = if chunk.flags & 1 == 0 {
                        self.tags[here]
                    } else {
                        self.tags[there]
                    };
                    if tag != expected {
                        return Judged::Invalid;
                    }
                }
                COOKIE_ECHO if tag != self.tags[here] => return Judged::Invalid,
                COOKIE_ACK => self.init = [false; 2],
                HEARTBEAT | HEARTBEAT_ACK if self.tags[here] == 0 => self.tags[here] = tag,
                HEARTBEAT | HEARTBEAT_ACK if tag == self.tags[here] => self.heartbeat_failed = false,
                HEARTBEAT | HEARTBEAT_ACK if packet.has(DATA) || keep => return Judged::Invalid,
                HEARTBEAT => {
                    self.heartbeat_failed = true;
                    self.last_direction = direction;
                    keep = true;
                    continue;
                }
                HEARTBEAT_ACK => {
                    if !self.heartbeat_failed || self.last_direction == direction {
                        return Judged::Invalid;
                    }
                    self.heartbeat_failed = false;
                    self.tags[here] = tag;
                    self.tags[there] = 0;
                }
                _ => {}
            }
            let old = self.state;
            let Some(new) = step(direction, chunk.kind, old) else {
                return Judged::Invalid;
            };
            last = new;
            if matches!(chunk.kind, INIT | INIT_ACK) {
                let Some(init_tag) = chunk.init_tag() else {
                    return Judged::Invalid;
                };
                if chunk.kind == INIT {
                    self.note_init(direction, old, init_tag);
                    // A repeated INIT does not keep an entry alive: the port may be in use by another.
                    keep |= new == SctpState::Closed && old == SctpState::Closed && !fresh;
                } else if !self.accepts_init_ack(direction, init_tag) {
                    return Judged::Invalid;
                }
                self.tags[there] = init_tag;
            }
            self.state = new;
            if old != new && new == SctpState::Established {
                status.set(Status::ASSURED);
            }
        }
        if keep { Judged::Keep } else { Judged::Refresh(last) }
    }

    /// Notes an INIT, unless it repeats the one that is known.
    fn note_init(&mut self, direction: Direction, old: SctpState, init_tag: u32) {
        let (here, there) = (direction.index(), direction.reverse().index());
        if old == SctpState::None || self.tags[there] != init_tag {
            if self.init[here] && self.init[there] {
                self.init[there] = false;
            }
            self.init[here] = true;
        }
    }

    /// Whether an INIT ACK may set the tag: it answers an INIT, and when both ends sent one it names the same tag.
    const fn accepts_init_ack(&self, direction: Direction, init_tag: u32) -> bool {
        let (here, there) = (direction.index(), direction.reverse().index());
        let known = self.tags[there];
        let unasked = !self.init[there] && known != 0 && known != init_tag;
        let collision = self.init[here] && self.init[there] && known != init_tag;
        !unasked && !collision
    }
}

fn timeout(conn: &Conn, state: SctpState, config: &Config) -> u32 {
    let all = &config.timeouts;
    let (index, default) = match state {
        SctpState::None => return 0,
        SctpState::Closed => (0, all.sctp_closed),
        SctpState::CookieWait => (1, all.sctp_cookie_wait),
        SctpState::CookieEchoed => (2, all.sctp_cookie_echoed),
        SctpState::Established => (3, all.sctp_established),
        SctpState::ShutdownSent => (4, all.sctp_shutdown_sent),
        SctpState::ShutdownRecd => (5, all.sctp_shutdown_recd),
        SctpState::ShutdownAckSent => (6, all.sctp_shutdown_ack_sent),
        SctpState::HeartbeatSent => (7, all.sctp_heartbeat_sent),
    };
    override_of(conn, index).unwrap_or(default)
}

/// Where a chunk leads from a state; `None` when it can't be there (`sctp_new_state`).
const fn step(direction: Direction, chunk: u8, state: SctpState) -> Option<SctpState> {
    let row = match chunk {
        INIT => 0,
        INIT_ACK => 1,
        ABORT => 2,
        SHUTDOWN => 3,
        SHUTDOWN_ACK => 4,
        ERROR => 5,
        COOKIE_ECHO => 6,
        COOKIE_ACK => 7,
        SHUTDOWN_COMPLETE => 8,
        HEARTBEAT => 9,
        HEARTBEAT_ACK => 10,
        _ => return Some(state), // DATA, SACK and others change nothing.
    };
    TABLE[direction.index()][row][state as usize]
}

const CL: Option<SctpState> = Some(SctpState::Closed);
const CW: Option<SctpState> = Some(SctpState::CookieWait);
const CE: Option<SctpState> = Some(SctpState::CookieEchoed);
const ES: Option<SctpState> = Some(SctpState::Established);
const SS: Option<SctpState> = Some(SctpState::ShutdownSent);
const SR: Option<SctpState> = Some(SctpState::ShutdownRecd);
const SA: Option<SctpState> = Some(SctpState::ShutdownAckSent);
const HS: Option<SctpState> = Some(SctpState::HeartbeatSent);
const IV: Option<SctpState> = None;

/// By direction, chunk and state (`sctp_conntracks`). Columns: NONE, CLOSED, COOKIE_WAIT, COOKIE_ECHOED, ESTABLISHED,
/// SHUTDOWN_SENT, SHUTDOWN_RECD, SHUTDOWN_ACK_SENT, HEARTBEAT_SENT.
#[rustfmt::skip]
const TABLE: [[[Option<SctpState>; 9]; 11]; 2] = [
    [
        /* INIT              */ [CL, CL, CW, CE, ES, CL, CL, SA, CW],
        /* INIT ACK          */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
        /* ABORT             */ [CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* SHUTDOWN          */ [CL, CL, CW, CE, SS, SS, SR, SA, CL],
        /* SHUTDOWN ACK      */ [SA, CL, CW, CE, ES, SA, SA, SA, SA],
        /* ERROR             */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
        /* COOKIE ECHO       */ [CL, CL, CE, CE, ES, SS, SR, SA, CL],
        /* COOKIE ACK        */ [CL, CL, CW, ES, ES, SS, SR, SA, CL],
        /* SHUTDOWN COMPLETE */ [CL, CL, CW, CE, ES, SS, SR, CL, CL],
        /* HEARTBEAT         */ [HS, CL, CW, CE, ES, SS, SR, SA, HS],
        /* HEARTBEAT ACK     */ [CL, CL, CW, CE, ES, SS, SR, SA, HS],
    ],
    [
        /* INIT              */ [IV, CL, CW, CE, ES, SS, SR, SA, IV],
        /* INIT ACK          */ [IV, CW, CW, CE, ES, SS, SR, SA, IV],
        /* ABORT             */ [IV, CL, CL, CL, CL, CL, CL, CL, IV],
        /* SHUTDOWN          */ [IV, CL, CW, CE, SR, SS, SR, SA, IV],
        /* SHUTDOWN ACK      */ [IV, CL, CW, CE, ES, SA, SA, SA, IV],
        /* ERROR             */ [IV, CL, CW, CL, ES, SS, SR, SA, IV],
        /* COOKIE ECHO       */ [IV, CL, CE, CE, ES, SS, SR, SA, IV],
        /* COOKIE ACK        */ [IV, CL, CW, ES, ES, SS, SR, SA, IV],
        /* SHUTDOWN COMPLETE */ [IV, CL, CW, CE, ES, SS, SR, CL, IV],
        /* HEARTBEAT         */ [IV, CL, CW, CE, ES, SS, SR, SA, HS],
        /* HEARTBEAT ACK     */ [IV, CL, CW, CE, ES, SS, SR, SA, ES],
    ],
];
