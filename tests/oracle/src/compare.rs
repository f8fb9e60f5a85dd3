//! Whether two subjects made the same of a case.

use std::collections::BTreeMap;
use std::fmt;

use fielato_wire::{Family, Headers, build, checksum, number};

use crate::case::Step;
use crate::rename::{Learned, Naming, Renames, fragment_header, is_error};
use crate::subject::{Connection, Counter, Output, Port};

/// Seconds by which timeouts may differ: the kernel's clock goes on while a case runs and while connections are listed.
const TIMEOUT_TOLERANCE: u32 = 3;

/// Most outputs of a packet that are printed.
const SHOWN: usize = 8;

/// Where two subjects differ.
#[derive(Clone, Debug)]
pub enum Mismatch {
    /// What came out of a packet.
    Outputs {
        /// Index of the packet.
        step: usize,
        /// What should have come out.
        expected: Vec<Output>,
        /// What did, in the same naming of ports.
        got: Vec<Output>,
    },
    /// A rule's or policy's counter.
    Counter {
        /// As it should be.
        expected: Counter,
        /// As it is.
        got: Counter,
    },
    /// Not even the same rules.
    Rules {
        /// The first that differs.
        expected: Option<Counter>,
        /// What is in its place.
        got: Option<Counter>,
    },
    /// A connection that is missing, surplus or different.
    Connection {
        /// As it should be.
        expected: Option<Box<Connection>>,
        /// As it is.
        got: Option<Box<Connection>>,
    },
}

impl Mismatch {
    /// The packet after which it showed; the greatest number for what is compared at the end.
    pub fn step(&self) -> usize {
        match self {
            Mismatch::Outputs { step, .. } => *step,
            Mismatch::Counter { .. } | Mismatch::Rules { .. } | Mismatch::Connection { .. } => usize::MAX,
        }
    }

    /// A word for the kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Mismatch::Outputs { .. } => "outputs",
            Mismatch::Counter { .. } => "counter",
            Mismatch::Rules { .. } => "rules",
            Mismatch::Connection { .. } => "connection",
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Outputs { step, expected, got } => {
                writeln!(f, "packet {step}:")?;
                for (word, outputs) in [("expected", expected), ("got     ", got)] {
                    for output in outputs.iter().take(SHOWN) {
                        writeln!(f, "  {word} {output:?}")?;
                    }
                    if outputs.len() > SHOWN {
                        writeln!(f, "  {word} {} more", outputs.len() - SHOWN)?;
                    }
                }
                Ok(())
            }
            Mismatch::Counter { expected, got } => writeln!(
                f,
                "counter of {} {} {} {}: expected {}:{}, got {}:{}",
                if expected.v6 { "IPv6" } else { "IPv4" },
                expected.table,
                expected.chain,
                expected
                    .rule
                    .map_or_else(|| "policy".to_owned(), |rule| format!("rule {}", rule + 1)),
                expected.packets,
                expected.bytes,
                got.packets,
                got.bytes
            ),
            Mismatch::Rules { expected, got } => writeln!(f, "rules: expected {expected:?}, got {got:?}"),
            Mismatch::Connection { expected, got } => {
                for (word, connection) in [("expected", expected), ("got     ", got)] {
                    match connection {
                        Some(connection) => writeln!(f, "connection {word} {connection}")?,
                        None => writeln!(f, "connection {word} none")?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// What became of a step.
pub enum Judged {
    /// The same.
    Same,
    /// Both chose a port by chance, and the choice may have met other conversations.
    Ambiguous,
    /// Not the same.
    Differs(Box<Mismatch>),
}

/// Compares what came out of `step` with what should have, and learns the names of ports chosen by chance.
pub fn outputs(index: usize, step: &Step, tracking: bool, got: &[Output], renames: &mut Renames) -> Judged {
    let expected: Vec<Output> = settle(step, tracking, &step.outputs);
    let mut named = settle(step, tracking, &renames.outputs(got, Naming::Reference));
    if expected.len() == named.len() {
        // The names are learned from the packets as they are: a port of another conversation may have lent its name.
        let own = settle(step, tracking, got);
        let differ = expected
            .iter()
            .zip(&named)
            .zip(&own)
            .filter(|((expected, named), _)| expected != named);
        let learned: Vec<Learned> = differ
            .filter(|((expected, _), own)| expected.port == own.port)
            .map(|((expected, _), own)| renames.learn(&expected.packet, &own.packet))
            .collect();
        if learned.contains(&Learned::Ambiguous) {
            return Judged::Ambiguous;
        }
        if learned.contains(&Learned::Pair) {
            named = settle(step, tracking, &renames.outputs(got, Naming::Reference));
        }
    }
    let got = named;
    if expected == got {
        return Judged::Same;
    }
    if is_moved_error(&expected, &got) {
        return Judged::Same;
    }
    // Translating an ICMP error needs the header it quotes in one piece; that changes where the kernel cuts it afterwards.
    if let (Some(expected), Some(got)) = (joined(&expected), joined(&got))
        && expected == got
    {
        return Judged::Same;
    }
    Judged::Differs(Box::new(Mismatch::Outputs {
        step: index,
        expected,
        got,
    }))
}

/// The datagram that a packet's outputs are the fragments of, when it is an ICMP error; and where it came out.
fn joined(outputs: &[Output]) -> Option<Output> {
    let port = outputs.first()?.port;
    let pieces: Vec<&[u8]> = outputs
        .iter()
        .filter(|output| output.port == port)
        .map(|output| &output.packet[..])
        .collect();
    let packet = build::reassemble(&pieces).filter(|_| pieces.len() == outputs.len())?;
    is_error(&Headers::parse(&packet).ok()?).then_some(Output { port, packet })
}

/// Puts outputs in order by port (each port's own order stays) and takes out what is random by design:
///
/// - the identification of ICMP errors the machine itself made (`ip_select_ident`), told by the input being none;
/// - the identification of IPv6 fragments the machine itself made (`ipv6_select_ident`): all, where datagrams are put together
///   for tracking;
/// - checksums that the kernel leaves to the network card, on what never meets one.
fn settle(step: &Step, tracking: bool, outputs: &[Output]) -> Vec<Output> {
    let input = Headers::parse(&step.packet).ok();
    let passes_error = input.is_some_and(|headers| is_error(&headers));
    let mut outputs = outputs.to_vec();
    outputs.sort_by_key(|output| output.port);
    for output in &mut outputs {
        let Ok(headers) = Headers::parse(&output.packet) else {
            continue;
        };
        if output.port == Port::Host {
            complete(&mut output.packet, &headers);
        }
        if is_error(&headers) && !passes_error && !headers.is_fragment() {
            complete_quoted(&mut output.packet, &headers);
        }
        match headers.family {
            Family::V4 if is_error(&headers) && !passes_error => {
                output.packet[4..6].fill(0);
                output.packet[10..12].fill(0);
                let check = checksum::checksum(&output.packet[..headers.ip_header_len()]);
                output.packet[10..12].copy_from_slice(&check.to_be_bytes());
            }
            Family::V6 if tracking => {
                if let Some(at) = fragment_header(&output.packet) {
                    output.packet[at + 4..at + 8].fill(0);
                }
            }
            _ => {}
        }
    }
    outputs
}

/// Makes a TCP checksum whole that covers the pseudo header only (`CHECKSUM_PARTIAL`).
fn complete(packet: &mut [u8], headers: &Headers) {
    let bytes = headers.transport_mut(packet);
    if headers.protocol != number::TCP || headers.is_fragment() || bytes.len() < 20 {
        return;
    }
    let pseudo = checksum::pseudo(headers.src, headers.dst, number::TCP, bytes.len() as u32);
    if bytes[16..18] == checksum::fold(pseudo).to_be_bytes() {
        bytes[16..18].fill(0);
        let check = checksum::transport(headers.src, headers.dst, number::TCP, bytes);
        bytes[16..18].copy_from_slice(&check.to_be_bytes());
    }
}

/// The same for what an ICMP error that was made here quotes: an answer by REJECT that another REJECT answers
/// (`nf_reject_ip_tcphdr_put`).
fn complete_quoted(packet: &mut [u8], headers: &Headers) {
    let Some((head, quoted)) = headers.transport_mut(packet).split_at_mut_checked(8) else {
        return;
    };
    let Ok(inner) = Headers::parse(quoted) else {
        return;
    };
    let before = checksum::fold(checksum::sum(quoted));
    complete(quoted, &inner);
    let after = checksum::fold(checksum::sum(quoted));
    let check = checksum::update16(u16::from_be_bytes([head[2], head[3]]), before, after);
    head[2..4].copy_from_slice(&check.to_be_bytes());
}

/// Whether the packets differ only where `nf_confirm` in the kernel moves "sequence numbers" of an ICMP error, taken for a
/// segment of the TCP connection it is about (when a helper changed lengths there). The kernel spoils such errors; we don't.
fn is_moved_error(expected: &[Output], got: &[Output]) -> bool {
    let ([expected], [got]) = (expected, got) else {
        return false;
    };
    let Ok(headers) = Headers::parse(&expected.packet) else {
        return false;
    };
    let at = headers.ip_header_len();
    let moved = |index: usize| matches!(index.wrapping_sub(at), 4..12 | 16..18);
    let differ = expected
        .packet
        .iter()
        .zip(&got.packet)
        .enumerate()
        .filter(|(_, (a, b))| a != b);
    is_error(&headers)
        && (expected.port, expected.packet.len()) == (got.port, got.packet.len())
        && differ.map(|(index, _)| index).all(moved)
}

/// Compares counters.
pub fn counters(expected: &[Counter], got: &[Counter]) -> Option<Mismatch> {
    for index in 0..expected.len().max(got.len()) {
        let (expected, got) = (expected.get(index), got.get(index));
        match (expected, got) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if (a.v6, &a.table, &a.chain, a.rule) == (b.v6, &b.table, &b.chain, b.rule) => {
                return Some(Mismatch::Counter {
                    expected: a.clone(),
                    got: b.clone(),
                });
            }
            _ => {
                return Some(Mismatch::Rules {
                    expected: expected.cloned(),
                    got: got.cloned(),
                });
            }
        }
    }
    None
}

/// Compares connections, `got` in its own naming of ports.
pub fn connections(expected: &[Connection], got: Vec<Connection>, renames: &Renames) -> Option<Mismatch> {
    let key = |connection: &Connection| (connection.v6, connection.protocol, connection.original, connection.zones);
    let mut others: BTreeMap<_, _> = got
        .into_iter()
        .map(|mut connection| {
            renames.rename_connection(&mut connection);
            (key(&connection), connection)
        })
        .collect();
    for connection in expected {
        let got = others.remove(&key(connection));
        let same = got.as_ref().is_some_and(|got| {
            let mut got = got.clone();
            if got.timeout.abs_diff(connection.timeout) <= TIMEOUT_TOLERANCE {
                got.timeout = connection.timeout;
            }
            got == *connection
        });
        if !same {
            return Some(Mismatch::Connection {
                expected: Some(Box::new(connection.clone())),
                got: got.map(Box::new),
            });
        }
    }
    others.into_values().next().map(|surplus| Mismatch::Connection {
        expected: None,
        got: Some(Box::new(surplus)),
    })
}
