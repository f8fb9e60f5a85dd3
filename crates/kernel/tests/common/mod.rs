//! What the tests on real namespaces share.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;

/// A new namespace of a unique name, removed with the guard; `None`, with a note, where the test may not make one.
pub fn namespace(test: &str) -> Option<NetnsGuard> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !rustix::process::geteuid().is_root() {
        fielato_testkit::skip(test, "needs root to make a network namespace");
        return None;
    }
    let name = format!("fk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Some(NetnsGuard::create(&name).unwrap())
}

/// A netlink socket in a namespace.
pub fn netlink(netns: &NetnsGuard) -> Netlink {
    netns.run_in(|| Netlink::open().unwrap()).unwrap()
}
