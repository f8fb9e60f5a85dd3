//! `-m bpf --bytecode` (`xt_bpf.c`): classic BPF programs (`linux/filter.h`), checked once and run on the packet from its IP
//! header. A program never loops: jumps go forward only.

use crate::Packet;
use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::edit::{read16, read32};
use crate::packet::PacketType;

/// `-m bpf`: holds when the program answers anything but 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bpf {
    /// The program.
    pub program: Box<[Instruction]>,
}

/// An instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

// Classes, the low three bits.
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const MISC: u16 = 7;
/// The operand is X, not the constant.
const X: u16 = 0x08;
/// RET: the answer is the accumulator.
const A: u16 = 0x10;
/// Words of scratch memory.
const MEMORY: usize = 16;
/// Offsets from here on are not the packet's (`SKF_AD_OFF`), or count from the network header (`SKF_NET_OFF`).
const ANCILLARY: u32 = -0x1000_i32 as u32;
const NETWORK: u32 = -0x10_0000_i32 as u32;

impl Bpf {
    /// Most instructions (`XT_BPF_MAX_NUM_INSTR`).
    pub const MAX: usize = 64;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let len = self.program.len();
        if len == 0 || len > Bpf::MAX {
            return Err(CheckError("bpf: a program has 1 to 64 instructions".to_owned()));
        }
        for (at, instruction) in self.program.iter().enumerate() {
            if !instruction.is_sound(len - at - 1) {
                return Err(CheckError(format!("bpf: instruction {at} can't be: {instruction:?}")));
            }
        }
        match self.program.last() {
            Some(last) if last.code & 7 == RET => Ok(()),
            _ => Err(CheckError("bpf: the last instruction must be a return".to_owned())),
        }
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let random = || cx.rng.u32(..);
        run(&self.program, cx.packet, random) != 0
    }
}

impl Instruction {
    /// What `bpf_check_classic` asks, with `after` instructions behind this one.
    fn is_sound(&self, after: usize) -> bool {
        let k = self.k as usize;
        match self.code & 7 {
            LD => matches!(self.code, 0x00 | 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 | 0x80) || self.code == 0x60 && k < MEMORY,
            LDX => matches!(self.code, 0x01 | 0x81 | 0xb1) || self.code == 0x61 && k < MEMORY,
            ST | STX => self.code & !7 == 0 && k < MEMORY,
            ALU => match (self.code >> 4, self.code & X) {
                (0x3 | 0x9, 0) => self.k != 0,
                (0x6 | 0x7, 0) => self.k < 32,
                (0x8, operand) => operand == 0,
                (operation, _) => operation <= 0xa,
            },
            JMP => match self.code >> 4 {
                0 => k < after,
                1..=4 => usize::from(self.jt) < after && usize::from(self.jf) < after,
                _ => false,
            },
            RET => matches!(self.code, 0x06 | 0x16),
            _ => matches!(self.code, 0x07 | 0x87),
        }
    }
}

/// Runs a checked program; a load beyond the packet or a division by zero answers 0.
fn run(program: &[Instruction], packet: &Packet, mut random: impl FnMut() -> u32) -> u32 {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
    let mut at = 0;
    while let Some(&Instruction { code, jt, jf, k }) = program.get(at) {
        at += 1;
        let place = (k as usize).min(MEMORY - 1);
        match code & 7 {
            LD => {
                let loaded = match code & 0xe0 {
                    0x00 => Some(k),
                    0x20 => load(packet, code, k, &mut random),
                    0x40 => load(packet, code, k.wrapping_add(x), &mut random),
                    0x60 => memory.get(place).copied(),
                    _ => Some(packet.data.len() as u32),
                };
                let Some(loaded) = loaded else { return 0 };
                a = loaded;
            }
            LDX => {
                x = match code & 0xe0 {
                    0x00 => k,
                    0x60 => memory[place],
                    0x80 => packet.data.len() as u32,
                    // The length of an IPv4 header: 4 * (byte & 15).
                    _ => match load(packet, 0x30, k, &mut random) {
                        Some(byte) => (byte & 15) * 4,
                        None => return 0,
                    },
                };
            }
            ST => memory[place] = a,
            STX => memory[place] = x,
            ALU => {
                let operand = if code & X != 0 { x } else { k };
                let Some(result) = compute(code >> 4, a, operand) else {
                    return 0;
                };
                a = result;
            }
            JMP => {
                let operand = if code & X != 0 { x } else { k };
                let holds = match code >> 4 {
                    0 => {
                        at = at.saturating_add(k as usize);
                        continue;
                    }
                    1 => a == operand,
                    2 => a > operand,
                    3 => a >= operand,
                    _ => a & operand != 0,
                };
                at += usize::from(if holds { jt } else { jf });
            }
            RET => return if code & A != 0 { a } else { k },
            MISC if code & 0x80 != 0 => a = x,
            _ => x = a,
        }
    }
    0
}

fn compute(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x0 => a.wrapping_add(operand),
        0x1 => a.wrapping_sub(operand),
        0x2 => a.wrapping_mul(operand),
        0x3 => a.checked_div(operand)?,
        0x4 => a | operand,
        0x5 => a & operand,
        0x6 => a.wrapping_shl(operand),
        0x7 => a.wrapping_shr(operand),
        0x8 => a.wrapping_neg(),
        0x9 => a.checked_rem(operand)?,
        _ => a ^ operand,
    })
}

fn load(packet: &Packet, code: u16, offset: u32, random: &mut impl FnMut() -> u32) -> Option<u32> {
    if offset >= ANCILLARY {
        return ancillary(packet, offset.wrapping_sub(ANCILLARY), random);
    }
    let offset = if offset >= NETWORK {
        offset.wrapping_sub(NETWORK)
    } else {
        offset
    } as usize;
    match code & 0x18 {
        0x00 => read32(&packet.data, offset),
        0x08 => read16(&packet.data, offset).map(u32::from),
        _ => packet.data.get(offset).copied().map(u32::from),
    }
}

/// What the kernel knows about the packet beside its bytes, as far as it is known here (`SKF_AD_*`).
fn ancillary(packet: &Packet, what: u32, random: &mut impl FnMut() -> u32) -> Option<u32> {
    Some(match what {
        0 => match packet.headers.family {
            fielato_wire::Family::V4 => 0x0800,
            fielato_wire::Family::V6 => 0x86dd,
        },
        4 => match packet.packet_type {
            PacketType::Unicast => 0,
            PacketType::Broadcast => 1,
            PacketType::Multicast => 2,
        },
        8 => packet.in_interface.index,
        20 => packet.mark,
        56 => random(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{both, udp, v4};
    use fielato_wire::number;

    fn program(text: &str) -> Bpf {
        let instruction = |line: &str| {
            let numbers: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
            Instruction {
                code: numbers[0] as u16,
                jt: numbers[1] as u8,
                jf: numbers[2] as u8,
                k: numbers[3],
            }
        };
        Bpf {
            program: text.split(',').map(instruction).collect(),
        }
    }

    #[test]
    fn runs_what_nfbpf_compile_makes() {
        // "ip proto 6" and "udp port 53" over raw IPv4.
        let tcp = program("48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0");
        let dns = program("48 0 0 9,21 0 4 17,177 0 0 0,72 0 0 2,21 0 1 53,6 0 0 1,6 0 0 0");
        let packet = v4(number::UDP, &udp(1000, 53, &[]));
        assert_eq!(run(&tcp.program, &packet, || 0), 0);
        assert_eq!(run(&dns.program, &packet, || 0), 1);
        for packet in both(number::UDP, &udp(1, 2, &[])) {
            let version = program("48 0 0 0,116 0 0 4,22 0 0 0");
            assert_eq!(run(&version.program, &packet, || 0), u32::from(packet.data[0] >> 4));
            let beyond = program("32 0 0 5000,6 0 0 1");
            assert_eq!(run(&beyond.program, &packet, || 0), 0);
        }
    }

    #[test]
    fn refuses_what_could_go_astray() {
        for (instruction, after, sound) in [
            ("5 0 0 1", 1, false),
            ("5 0 0 0", 1, true),
            ("21 0 1 6", 1, false),
            ("21 0 1 6", 2, true),
            ("52 0 0 0", 1, false),
            ("100 0 0 32", 1, false),
            ("96 0 0 16", 1, false),
            ("255 0 0 0", 1, false),
            ("6 0 0 7", 0, true),
        ] {
            assert_eq!(program(instruction).program[0].is_sound(after), sound, "{instruction}");
        }
    }
}
