//! `-m rateest` (`xt_rateest.c`).

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::shared::rateest::Rates;

/// `-m rateest`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rateest(pub Box<Parameters>);

/// How rates are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `--rateest-lt`
    Less,
    /// `--rateest-eq`
    Equal,
    /// `--rateest-gt`
    Greater,
}

/// The parameters of `-m rateest`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The estimator.
    pub first: Box<str>,
    /// Another one that it is compared with; else with numbers.
    pub second: Option<Box<str>>,
    /// `!`
    pub negated: bool,
    /// How.
    pub compare: Compare,
    /// `--rateest-delta`: not the rate, but how far it is below the first number.
    pub delta: bool,
    /// Bytes per second are compared, with these two numbers.
    pub bytes: Option<(u32, u32)>,
    /// Packets per second are compared, with these two numbers.
    pub packets: Option<(u32, u32)>,
}

impl Rateest {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.0.bytes.is_none() && self.0.packets.is_none() {
            return Err(CheckError("rateest: neither bytes nor packets are compared".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let p = &*self.0;
        let now = cx.now.mono;
        // An estimator that no packet met has seen no rate yet.
        let mut rates = |name: &str| cx.shared.rateest.rates(name, now).unwrap_or_default();
        let first = rates(&p.first);
        let second = p.second.as_ref().map(|name| rates(name));
        let holds = |numbers: Option<(u32, u32)>, of: fn(&Rates) -> u64| match numbers {
            None => true,
            Some((number1, number2)) => {
                let (number1, number2) = (u64::from(number1), u64::from(number2));
                let delta = |rate: u64, number: u64| if p.delta { number.saturating_sub(rate) } else { rate };
                let one = delta(of(&first), number1);
                let other = match &second {
                    Some(second) => delta(of(second), number2),
                    None => number2,
                };
                match p.compare {
                    Compare::Less => one < other,
                    Compare::Equal => one == other,
                    Compare::Greater => one > other,
                }
            }
        };
        let all = holds(p.bytes, |rates| rates.bytes) && holds(p.packets, |rates| rates.packets);
        all != p.negated
    }
}
