//! What can go wrong around a comparison; a difference is a result and not an error.

use fielato_kernel::guard::GuardError;
use fielato_kernel::link::LinkError;
use fielato_kernel::netlink::NetlinkError;
use fielato_kernel::tc::TcError;

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's namespace, or a case file.
    #[error(transparent)]
    Oracle(#[from] fielato_oracle::error::Error),
    /// A policy that is refused.
    #[error("the policy is refused: {0}")]
    Policy(String),
    /// One of many policies.
    #[error("policy {seed}: {error}")]
    Of {
        /// Its seed.
        seed: u64,
        /// What happened.
        error: Box<Error>,
    },
    /// Trace can't answer.
    #[error("trace: {0}")]
    Trace(String),
    /// The user-space engine refuses what was made of the plan.
    #[error("the gateway: {0}")]
    Gateway(#[from] fielato_gateway::ConfigError),
    /// The kernel's guard.
    #[error("the guard in the kernel: {0}")]
    Guard(#[from] GuardError),
    /// An interface in the kernel.
    #[error("an interface in the kernel: {0}")]
    Link(#[from] LinkError),
    /// A netlink socket.
    #[error("netlink: {0}")]
    Netlink(#[from] NetlinkError),
    /// The kernel's queueing disciplines.
    #[error("queueing disciplines in the kernel: {0}")]
    Shaping(#[from] TcError),
}
