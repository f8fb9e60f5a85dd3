//! What hangs on a device, one after the other.

use crate::spec::{Class, Filter, Qdisc};

/// A discipline, a class or a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `tc qdisc add dev DEV …`
    Qdisc(Qdisc),
    /// `tc class add dev DEV …`
    Class(Class),
    /// `tc filter add dev DEV …`
    Filter(Filter),
}
