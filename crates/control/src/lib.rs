//! The daemon: makes the machine like the plan, keeps it so, and answers on its control socket.
//!
//! The order of things is the point of this crate. [`hub`] brings the parts up, changes them and takes them down such that
//! the rules stand before the interface and fall after it; [`undo`] writes down what was changed before it is changed,
//! so that whatever was killed half way, the next command ends in a known state.

pub mod accounting;
pub mod agent;
pub mod audit;
pub mod bans;
pub mod client;
pub mod daemon;
pub mod edit;
pub mod files;
pub mod fleet;
pub mod forwarding;
pub mod grants;
pub mod hub;
mod kept;
pub mod live;
pub mod lock;
pub mod logging;
pub mod offline;
pub mod paths;
pub mod protocol;
mod records;
pub mod revisions;
pub mod secrets;
pub mod source;
pub mod tc;
pub mod tunnel;
pub mod undo;
pub mod watchdog;
pub mod who;

pub use paths::Paths;
