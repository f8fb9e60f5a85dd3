//! Which packets are lost: at random, or as a chain of states has it.

use super::random::{Chance, fraction};
use crate::spec;

/// Probabilities as fractions of all 32 bits, and the state that a chain is in.
#[derive(Debug)]
pub(super) enum Loss {
    Random(Chance),
    /// The general and intuitive model with four states (`loss_4state`).
    State {
        p13: u32,
        p31: u32,
        p32: u32,
        p23: u32,
        p14: u32,
        state: State,
    },
    /// Gilbert and Elliott (`loss_gilb_ell`).
    Gilbert {
        p: u32,
        r: u32,
        /// Packets *passed* in the bad state: the kernel is told H, though tc's word is 1-H.
        h: u32,
        good: u32,
        bad_state: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// 1
    Passing,
    /// 2
    PassingInBurst,
    /// 3
    LosingInBurst,
    /// 4
    LosingOne,
}

impl Loss {
    pub fn new(loss: &spec::Loss, rng: &mut fastrand::Rng) -> Self {
        match *loss {
            spec::Loss::Random { percent, correlation } => Loss::Random(Chance::new(percent, correlation, rng)),
            spec::Loss::State { p13, p31, p32, p23, p14 } => Loss::State {
                p13: fraction(p13),
                p31: fraction(p31),
                p32: fraction(p32),
                p23: fraction(p23),
                p14: fraction(p14),
                state: State::Passing,
            },
            spec::Loss::Gilbert { p, r, bad, good } => Loss::Gilbert {
                p: fraction(p),
                r: fraction(r),
                h: u32::MAX - fraction(bad),
                good: fraction(good),
                bad_state: false,
            },
        }
    }

    /// Whether the next packet is lost.
    pub fn loses(&mut self, rng: &mut fastrand::Rng) -> bool {
        match self {
            Loss::Random(chance) => chance.happens(rng),
            Loss::State {
                p13,
                p31,
                p32,
                p23,
                p14,
                state,
            } => {
                let random = rng.u32(..);
                let below = |first: u32, second: u32| u64::from(random) < u64::from(first) + u64::from(second);
                *state = match *state {
                    State::Passing if random < *p14 => State::LosingOne,
                    State::Passing if below(*p14, *p13) => State::LosingInBurst,
                    State::PassingInBurst if random < *p23 => State::LosingInBurst,
                    State::PassingInBurst => State::PassingInBurst,
                    State::LosingInBurst if random < *p32 => State::PassingInBurst,
                    State::LosingInBurst if below(*p32, *p31) => State::Passing,
                    State::LosingInBurst => State::LosingInBurst,
                    State::Passing | State::LosingOne => State::Passing,
                };
                matches!(state, State::LosingInBurst | State::LosingOne)
            }
            Loss::Gilbert {
                p,
                r,
                h,
                good,
                bad_state,
            } => {
                // The packet is judged by the state that it finds.
                let was_bad = *bad_state;
                let leaves = rng.u32(..) < if was_bad { *r } else { *p };
                *bad_state = was_bad != leaves;
                match was_bad {
                    true => rng.u32(..) > *h,
                    false => rng.u32(..) < *good,
                }
            }
        }
    }
}
