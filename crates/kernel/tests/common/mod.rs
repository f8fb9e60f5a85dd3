//! What the tests on real namespaces share.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod stamped;

use fielato_kernel::netlink::Netlink;
use fielato_kernel::netns::NetnsGuard;

/// A new namespace of a unique name, removed with the guard; `None`, with a note, where the test may not make one.
pub fn namespace(test: &str) -> Option<NetnsGuard> {
    fielato_testkit::root(test).then(|| NetnsGuard::create(&fielato_testkit::unique("fk")).unwrap())
}

/// A netlink socket in a namespace.
pub fn netlink(netns: &NetnsGuard) -> Netlink {
    netns.run_in(|| Netlink::open().unwrap()).unwrap()
}
