//! What hangs on a device, one after the other.

use crate::spec::{Class, Qdisc};

/// A discipline or a class.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `tc qdisc add dev DEV …`
    Qdisc(Qdisc),
    /// `tc class add dev DEV …`
    Class(Class),
}
