//! TCP's states as an observer in the middle sees them, and the table that moves between them.

use fielato_wire::TcpFlags;

use crate::conntrack::Direction;

/// State of a connection (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Nothing seen.
    #[default]
    None,
    /// A SYN.
    SynSent,
    /// A SYN/ACK.
    SynRecv,
    /// An ACK after it, or a connection picked up in the middle.
    Established,
    /// A FIN.
    FinWait,
    /// An ACK after it.
    CloseWait,
    /// A FIN from the other end too.
    LastAck,
    /// The last ACK.
    TimeWait,
    /// A RST.
    Close,
    /// A SYN from either end: simultaneous open.
    SynSent2,
}

impl TcpState {
    /// The name in listings (`tcp_conntrack_names`).
    pub const fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// Whether the entry may go first when the table is nearly full (`tcp_can_early_drop`).
    pub const fn is_ending(self) -> bool {
        matches!(
            self,
            TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck | TcpState::TimeWait | TcpState::Close
        )
    }
}

/// What a segment is by its flags (`get_conntrack_index`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Segment {
    /// SYN.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// FIN.
    Fin,
    /// ACK.
    Ack,
    /// RST.
    Rst,
    /// None of them.
    #[default]
    Bare,
}

impl Segment {
    /// The class of these flags: RST counts before SYN, SYN before FIN, FIN before ACK.
    pub const fn of(flags: TcpFlags) -> Segment {
        if flags.has(TcpFlags::RST) {
            Segment::Rst
        } else if flags.has(TcpFlags::SYN) {
            if flags.has(TcpFlags::ACK) {
                Segment::SynAck
            } else {
                Segment::Syn
            }
        } else if flags.has(TcpFlags::FIN) {
            Segment::Fin
        } else if flags.has(TcpFlags::ACK) {
            Segment::Ack
        } else {
            Segment::Bare
        }
    }
}

/// Where the table leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To this state.
    To(TcpState),
    /// It may or may not belong here: let it pass and see what the other end answers.
    Ignore,
    /// It can't belong here.
    Invalid,
}

/// Where a segment leads from a state.
pub const fn step(direction: Direction, segment: Segment, state: TcpState) -> Step {
    TABLE[direction.index()][segment as usize][state as usize]
}

/// Whether a set of flags makes sense; PSH, ECE and CWR always do (`tcp_valid_flags`).
pub const fn is_possible(flags: TcpFlags) -> bool {
    const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const SYN_URG: u8 = TcpFlags::SYN | TcpFlags::URG;
    const ACK_URG: u8 = TcpFlags::ACK | TcpFlags::URG;
    const FIN_ACK_URG: u8 = FIN_ACK | TcpFlags::URG;
    matches!(
        flags.0 & !(TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR),
        TcpFlags::SYN | SYN_URG | SYN_ACK | TcpFlags::RST | RST_ACK | FIN_ACK | FIN_ACK_URG | TcpFlags::ACK | ACK_URG
    )
}

const SS: Step = Step::To(TcpState::SynSent);
const SR: Step = Step::To(TcpState::SynRecv);
const ES: Step = Step::To(TcpState::Established);
const FW: Step = Step::To(TcpState::FinWait);
const CW: Step = Step::To(TcpState::CloseWait);
const LA: Step = Step::To(TcpState::LastAck);
const TW: Step = Step::To(TcpState::TimeWait);
const CL: Step = Step::To(TcpState::Close);
const S2: Step = Step::To(TcpState::SynSent2);
const IG: Step = Step::Ignore;
const IV: Step = Step::Invalid;

/// By direction, class of segment and state (`tcp_conntracks`). Columns: NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT,
/// CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2.
#[rustfmt::skip]
const TABLE: [[[Step; 10]; 6]; 2] = [
    [
        /* SYN     */ [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
        /* SYN/ACK */ [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
        /* FIN     */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        /* ACK     */ [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
        /* RST     */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* none    */ [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
    [
        // A SYN from the server reopens TIME_WAIT: the ends may have changed roles.
        /* SYN     */ [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
        /* SYN/ACK */ [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
        /* FIN     */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
        /* ACK     */ [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
        /* RST     */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* none    */ [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
    ],
];
