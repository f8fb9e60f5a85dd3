//! An hour's sums in one value: a hundred bytes a member become about twenty-five, and reading a year is reading 8,784 values.
//!
//! For each member the length of the name, the name, and the four numbers of [`Counters::to_numbers`], all as LEB128.

use std::collections::BTreeMap;

use super::Counters;

pub(super) fn pack(sums: &BTreeMap<String, Counters>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (member, counters) in sums {
        write(&mut bytes, member.len() as u64);
        bytes.extend(member.as_bytes());
        for number in counters.to_numbers() {
            write(&mut bytes, number);
        }
    }
    bytes
}

/// The same, read; none when it is not what was packed.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<BTreeMap<String, Counters>> {
    let mut sums = BTreeMap::new();
    while !bytes.is_empty() {
        let length = usize::try_from(read(&mut bytes)?).ok()?;
        let (member, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = read(&mut bytes)?;
        }
        sums.insert(str::from_utf8(member).ok()?.to_owned(), Counters::from_numbers(numbers)?);
    }
    Some(sums)
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        // What does not fit is no number that was written.
        if low.checked_shl(shift)? >> shift != low {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Packets;
    use super::*;

    #[test]
    fn round_trip_and_no_panic_on_any_bytes() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut sums = BTreeMap::new();
            for number in 0..random.usize(0..5) {
                let counted = random.bool();
                let mut any = || random.u64(..) >> random.u8(1..64);
                let counters = Counters {
                    rx_bytes: any(),
                    tx_bytes: any(),
                    packets: counted.then(|| Packets { rx: any(), tx: any() }),
                };
                sums.insert("ü".repeat(number * 40), counters);
            }
            let mut bytes = pack(&sums);
            assert_eq!(unpack(&bytes).as_ref(), Some(&sums));
            if bytes.is_empty() {
                continue;
            }
            assert_ne!(unpack(&bytes[..random.usize(0..bytes.len())]), Some(sums));
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
            unpack(&bytes);
        }
        assert_eq!(unpack(&[0; 4]), None, "a counter is missing");
        assert_eq!(read(&mut &[0xff; 10][..]), None, "more than 64 bits");
    }
}
