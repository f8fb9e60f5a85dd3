//! Linux's own parts, as the gateway uses them: the XDP guard.

pub mod guard;
