//! Random packets that make sense together: each answers, continues, repeats or spoils one that was seen before.
//!
//! Hosts are reactive: what one sends next follows from the packet it received, numbers and all, so that conversations go on
//! through any translation without the generator knowing the rules.

mod ftp;
mod reply;
mod spoil;
mod start;

use std::collections::VecDeque;

use fielato_wire::{Family, Headers};

use crate::network::Surroundings;
use crate::random::Random;
use crate::subject::{Output, Port, Setup};

/// A packet about to be injected, and where.
pub type Input = (Port, Vec<u8>);

/// How many packets are remembered to be answered, repeated or quoted.
const MEMORY: usize = 24;

/// The hosts around the router.
pub struct Traffic {
    random: Random,
    around: Surroundings,
    /// Whether packets come in fragments in this case.
    fragments: bool,
    /// Whether connections are tracked.
    tracking: bool,
    /// Whether IPv6 prefixes are translated.
    translates_prefixes: bool,
    /// What came out and nobody answered yet.
    unanswered: VecDeque<Output>,
    /// What came out lately.
    seen: VecDeque<Output>,
    /// What was injected lately.
    sent: VecDeque<Input>,
    /// What hosts are about to send.
    planned: VecDeque<Input>,
    /// The other fragments of a packet, which come next.
    pieces: VecDeque<Input>,
    /// Identification of the next packet, so that fragments of different datagrams never meet.
    id: u16,
}

impl Traffic {
    /// Hosts that do what `seed` says, in a case of these rules and settings.
    pub fn new(seed: u64, setup: &Setup) -> Self {
        // The kernel can't send the fragments of what is copied (TEE) as they came.
        let copies = [&setup.rules_v4, &setup.rules_v6]
            .iter()
            .any(|rules| rules.contains("-j TEE"));
        Self {
            tracking: setup.tracking,
            translates_prefixes: setup.rules_v6.contains("-pfx "),
            ..Self::among(seed, Surroundings::default(), !copies)
        }
    }

    /// Hosts that do what `seed` says, around a router that tracks connections and translates no prefixes; some of their packets
    /// come in fragments only if `fragments`.
    pub fn among(seed: u64, around: Surroundings, fragments: bool) -> Self {
        let mut random = Random::new(seed);
        let id = random.bits() as u16;
        let fragments = random.chance(40) && fragments;
        Self {
            random,
            around,
            fragments,
            tracking: true,
            translates_prefixes: false,
            unanswered: VecDeque::new(),
            seen: VecDeque::new(),
            sent: VecDeque::new(),
            planned: VecDeque::new(),
            pieces: VecDeque::new(),
            id,
        }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Input {
        let input = match self.pieces.pop_front() {
            Some(input) => input,
            None => self.invent(),
        };
        remember(&mut self.sent, input.clone());
        input
    }

    /// A host is about to send this; it may be spoilt or cut like any other packet.
    pub fn plan(&mut self, input: Input) {
        self.planned.push_back(input);
    }

    /// Hosts receive what came out.
    pub fn observe(&mut self, outputs: &[Output]) {
        for output in outputs {
            remember(&mut self.seen, output.clone());
            remember(&mut self.unanswered, output.clone());
        }
    }

    fn invent(&mut self) -> Input {
        let mut input = loop {
            if let Some(input) = self.planned.pop_front() {
                break input;
            }
            let input = match self.random.weighted(&[48, 22, 6, 8, 6, 6]) {
                0 => self.answer(),
                1 => Some(self.start()),
                2 => self.repeat(),
                3 => self.go_on(),
                4 => self.complain(),
                _ => self.start_here(),
            };
            if let Some(input) = input {
                break input;
            }
        };
        // The kernel gives its own packets an identification when they have none.
        self.id = self.id.checked_add(1).unwrap_or(1);
        set_id(&mut input.1, self.id);
        if self.random.chance(13) {
            self.spoil(&mut input);
        }
        // The machine's own socket cuts what it sends by itself.
        if self.fragments && input.0 != Port::Host && self.random.chance(9) && !self.is_put_together_late(&input.1) {
            return self.cut(input);
        }
        input
    }

    /// Without tracking, IPv4 puts fragments for the router itself together between PRE_ROUTING and LOCAL_IN
    /// (`ip_local_deliver`), which is no part of netfilter.
    fn is_put_together_late(&self, packet: &[u8]) -> bool {
        let to_router = |headers: Headers| {
            let nobody = headers.dst.lo & 0xff == 0xff || headers.dst.lo >= 0xe000_0000;
            headers.family == Family::V4 && (nobody || self.around.v4.local.contains(&headers.dst))
        };
        !self.tracking && Headers::parse(packet).is_ok_and(to_router)
    }

    /// Whoever received one of the last packets answers it.
    fn answer(&mut self) -> Option<Input> {
        let index = if self.random.chance(75) {
            self.unanswered.len().checked_sub(1)?
        } else {
            self.random.below(self.unanswered.len())
        };
        let output = self.unanswered.remove(index)?;
        self.reply(&output)
    }

    /// Sends one of the last packets again, as it was.
    fn repeat(&mut self) -> Option<Input> {
        let index = self.random.below(self.sent.len());
        self.sent.get(index).cloned()
    }

    /// A host sends more on what it sent or received before.
    fn go_on(&mut self) -> Option<Input> {
        let index = self.random.below(self.seen.len());
        let output = self.seen.get(index)?.clone();
        self.reply(&output)
    }

    /// Somebody on the way or at the end sends an ICMP error about a packet.
    fn complain(&mut self) -> Option<Input> {
        let index = self.random.below(self.seen.len());
        let output = self.seen.get(index)?.clone();
        self.icmp_error(&output)
    }
}

fn remember<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(item);
}

/// IPv4's identification; in IPv6 the flow label, which is as good to tell packets apart.
fn set_id(packet: &mut [u8], id: u16) {
    let Ok(headers) = Headers::parse(packet) else {
        return;
    };
    match headers.family {
        Family::V4 => {
            packet[4..6].copy_from_slice(&id.to_be_bytes());
            sum_v4(packet, &headers);
        }
        Family::V6 => packet[2..4].copy_from_slice(&id.to_be_bytes()),
    }
}

/// Makes IPv4's header checksum right.
fn sum_v4(packet: &mut [u8], headers: &Headers) {
    if headers.family == Family::V4 {
        packet[10..12].fill(0);
        let check = fielato_wire::checksum::checksum(&packet[..headers.ip_header_len()]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }
}
