//! What is compared: anything that takes a policy and packets, and tells what became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use fielato_oracle::subject::{Connection, Output, Port};

use crate::error::Error;
use crate::scene::Scene;

/// Packets and bytes by what they met: `forward: rule 3`, `class wg0 1:10`, `ban 198.51.100.0/24`. What nothing met is not in it.
pub type Tallies = BTreeMap<String, (u64, u64)>;

/// A packet filter with a [`Scene`] in it.
///
/// Its ports are the oracle's: [`Port::Inside`] is the tunnel, [`Port::Outside`] the uplink.
pub trait Subject {
    /// Whether what it makes of a packet is to be compared under this policy. [`Kernel::iptables`](crate::kernel::Kernel::iptables)
    /// has no rules for a family without an overlay.
    fn takes(&self, scene: &Scene, packet: &[u8]) -> bool {
        let _ = (scene, packet);
        true
    }

    /// Forgets every connection, then takes on policy and settings.
    ///
    /// # Errors
    /// When it refuses them.
    fn load(&mut self, scene: &Scene) -> Result<(), Error>;

    /// Forgets every connection, and nothing else.
    ///
    /// # Errors
    /// When it can't.
    fn forget(&mut self) -> Result<(), Error>;

    /// Gives it a packet that arrives at `port`, `at` after the case began, and returns all that comes out because of it.
    ///
    /// # Errors
    /// When the packet can't be handed over.
    fn inject(&mut self, at: Duration, port: Port, packet: &[u8]) -> Result<Vec<Output>, Error>;

    /// Whether [`Subject::tallies`] has those of this name.
    fn counts(&self, name: &str) -> bool {
        let _ = name;
        true
    }

    /// What packets met so far.
    ///
    /// # Errors
    /// When it can't be read.
    fn tallies(&mut self) -> Result<Tallies, Error>;

    /// Every tracked connection, in order.
    ///
    /// # Errors
    /// When they can't be read.
    fn connections(&mut self, at: Duration) -> Result<Vec<Connection>, Error>;
}
