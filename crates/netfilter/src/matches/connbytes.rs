//! `-m connbytes` (`net/netfilter/xt_connbytes.c`).

use crate::Counters;
use crate::check::{CheckContext, CheckError};
use crate::conntrack::Direction;
use crate::context::{Context, Slot};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnbytesMode {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Bytes per packet.
    Average,
}

/// `-m connbytes`: what passed over the packet's connection, this packet included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connbytes {
    /// What is counted.
    pub mode: ConnbytesMode,
    /// In which direction; `None` for both together.
    pub direction: Option<Direction>,
    /// At least.
    pub from: u64,
    /// At most. Below [`Connbytes::from`], the range between the two is what it does not hold for (`!`).
    pub to: u64,
}

impl Connbytes {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        cx.conntrack.of(cx.packet).is_some_and(|conn| self.holds(&conn.counters))
    }

    fn holds(&self, counters: &[Counters; 2]) -> bool {
        let mut counted = Counters::default();
        for direction in [Direction::Original, Direction::Reply] {
            if self.direction.is_none_or(|wanted| wanted == direction) {
                let Counters { packets, bytes } = counters[direction.index()];
                counted.add(packets, bytes);
            }
        }
        let value = match self.mode {
            ConnbytesMode::Packets => counted.packets,
            ConnbytesMode::Bytes => counted.bytes,
            ConnbytesMode::Average => counted.bytes.checked_div(counted.packets).unwrap_or(0),
        };
        if self.to >= self.from {
            (self.from..=self.to).contains(&value)
        } else {
            value < self.to || value > self.from
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_directions_and_negation() {
        use ConnbytesMode::{Average, Bytes, Packets};
        let counters = [
            Counters {
                packets: 10,
                bytes: 1000,
            },
            Counters {
                packets: 30,
                bytes: 9000,
            },
        ];
        let cases = [
            (Packets, Some(Direction::Original), 10, 10, true),
            (Packets, Some(Direction::Reply), 0, 29, false),
            (Packets, None, 40, 40, true),
            (Bytes, None, 10_000, u64::MAX, true),
            (Bytes, Some(Direction::Reply), 9001, u64::MAX, false),
            (Average, Some(Direction::Original), 100, 100, true),
            (Average, None, 250, 250, true),
            (Packets, None, 50, 30, false),
            (Packets, None, 39, 10, true),
        ];
        for (mode, direction, from, to, expected) in cases {
            let m = Connbytes {
                mode,
                direction,
                from,
                to,
            };
            assert_eq!(m.holds(&counters), expected, "{m:?}");
        }
        let average = Connbytes {
            mode: Average,
            direction: None,
            from: 0,
            to: 0,
        };
        assert!(average.holds(&[Counters::default(); 2]), "no packets, no division");
    }
}
