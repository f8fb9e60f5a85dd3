//! Where strangers knock: handshake initiations, before anybody knows which peer they are from.
//!
//! What is forged is to cost little here, and nothing elsewhere: [`Gate`] refuses first, and only what it lets pass costs
//! a multiplication on the curve.

use std::sync::Arc;
use std::time::Instant;

use crate::drops::{DropReason, Drops};
use crate::gate::{Admission, Gate};
use crate::message::INITIATION;
use crate::noise::{Claim, StaticKeys};
use crate::outbox::{Destination, Outbox, Path};
use crate::random::Random;

/// The device's key, and the guard in front of it.
pub struct Front {
    own: Option<(Arc<StaticKeys>, Gate)>,
    random: Random,
    drops: Drops,
}

impl Front {
    /// Without a key: everything is refused.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            own: None,
            random: Random::new(seed),
            drops: Drops::default(),
        }
    }

    pub(crate) fn set_own(&mut self, own: Option<Arc<StaticKeys>>, now: Instant) {
        let random = &mut self.random;
        self.own = own.map(|own| {
            let gate = Gate::new(own.public(), random.fork(), now);
            (own, gate)
        });
    }

    /// Who sent this initiation, as far as the sender proves it knows our public key. Answers with a cookie instead when
    /// there are too many.
    pub fn claim(&mut self, message: &[u8; INITIATION], from: &Path, now: Instant, out: &mut Outbox) -> Option<Claim> {
        let result = self.admit(message, from, now, out);
        result.map_err(|reason| self.drops.count(reason)).ok()
    }

    fn admit(&mut self, message: &[u8; INITIATION], from: &Path, now: Instant, out: &mut Outbox) -> Result<Claim, DropReason> {
        let (own, gate) = self.own.as_mut().ok_or(DropReason::NoPrivateKey)?;
        match gate.check(message, from.remote, now) {
            Admission::Pass => Claim::read(own, message),
            Admission::Reply(cookie) => {
                let destination = Destination::Network { path: *from, tos: 0 };
                out.push(&cookie, destination);
                Err(DropReason::UnderLoad)
            }
            Admission::Drop(reason) => Err(reason),
        }
    }

    /// What was dropped, and why.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Counts datagrams that were dropped before they were initiations, or after, or not sent.
    pub fn count_drop(&mut self, reason: DropReason, datagrams: u64) {
        self.drops.add(reason, datagrams);
    }
}
