//! Packets that leave in bursts, as on a radio link (`get_slot_next`).

use super::random::spread;
use super::signed;
use crate::spec;

/// When packets may leave, and how many still.
pub(super) struct Slots {
    slot: spec::Slot,
    /// When the next slot opens, or the present one opened.
    pub open: u64,
    packets_left: u64,
    bytes_left: i64,
}

impl Slots {
    /// The first slot is open; nothing when slots are no time apart.
    pub fn new(slot: &spec::Slot, now: u64) -> Option<Self> {
        let apart = match &slot.wait {
            spec::SlotWait::Between(_, most) => !most.is_zero(),
            spec::SlotWait::Spread { jitter, .. } => !jitter.is_zero(),
        };
        apart.then(|| {
            let mut slots = Slots {
                slot: slot.clone(),
                open: now,
                packets_left: 0,
                bytes_left: 0,
            };
            slots.fill();
            slots
        })
    }

    fn fill(&mut self) {
        let or_any = |limit: u32| if limit == 0 { i32::MAX.cast_unsigned() } else { limit };
        self.packets_left = or_any(self.slot.packets).into();
        self.bytes_left = or_any(self.slot.bytes).into();
    }

    /// Closes the present slot.
    pub fn close(&mut self, now: u64, rng: &mut fastrand::Rng) {
        let random = rng.u32(..);
        let wait = match &self.slot.wait {
            spec::SlotWait::Between(least, most) => {
                let range = signed(*most).saturating_sub(signed(*least)).max(0);
                signed(*least).saturating_add(((i128::from(random) * i128::from(range)) >> 32) as i64)
            }
            spec::SlotWait::Spread {
                distribution,
                delay,
                jitter,
            } => spread(signed(*delay), signed(*jitter), distribution, random),
        };
        self.open = now.saturating_add_signed(wait);
        self.fill();
    }

    /// A packet left in the present slot.
    pub fn sent(&mut self, bytes: u32, now: u64, rng: &mut fastrand::Rng) {
        self.packets_left = self.packets_left.saturating_sub(1);
        self.bytes_left -= i64::from(bytes);
        if self.packets_left == 0 || self.bytes_left <= 0 {
            self.close(now, rng);
        }
    }
}
