//! Our device with other people's: wireguard-go (this system's and the newest), boringtun-cli, and the kernel's where it has WireGuard (in the virtual machine
//! of `make test-vm`). Everything is configured by `wg setconf`, as people do.
//!
//! ```text
//!   namespace A                                  namespace B
//!   our device: 10.8.0.1, fd08::1                the other: 10.8.0.2, fd08::2
//!   v0: 10.9.0.1, fd09::1  ─────── veth ───────  v0: 10.9.0.2, fd09::2
//! ```
//!
//! `make interop` sets FIELATO_INTEROP_LONG: then 2 GB are transferred and sessions are renewed in real time, which takes minutes.

#[path = "../common/mod.rs"]
mod common;
mod end;
mod handshake;
mod lasting;
mod moving;

use end::Peer;

/// The test `$name` of module `$name` with every peer.
macro_rules! with_every_peer {
    ($($module:ident :: $test:ident),* $(,)?) => {$(
        mod $test {
            use super::{Peer, run, $module};

            #[test]
            fn wireguard_go() {
                run(concat!(stringify!($test), "::wireguard_go"), Peer::WireguardGo, $module::$test);
            }

            #[test]
            fn newest_wireguard_go() {
                let name = concat!(stringify!($test), "::newest_wireguard_go");
                run(name, Peer::NewestWireguardGo, $module::$test);
            }

            #[test]
            fn boringtun() {
                run(concat!(stringify!($test), "::boringtun"), Peer::Boringtun, $module::$test);
            }

            #[test]
            fn kernel() {
                run(concat!(stringify!($test), "::kernel"), Peer::Kernel, $module::$test);
            }

            #[test]
            fn ours() {
                run(concat!(stringify!($test), "::ours"), Peer::Ours, $module::$test);
            }
        }
    )*};
}

with_every_peer!(
    handshake::begun_by_either_side,
    handshake::a_preshared_key_must_agree,
    moving::we_move_in_the_middle_of_a_transfer,
    moving::the_peer_moves_in_the_middle_of_a_transfer,
    lasting::keepalives_without_traffic,
    lasting::either_side_starts_again,
    lasting::a_long_transfer,
);

fn run(test: &str, peer: Peer, body: fn(Peer)) {
    if common::can_run(test) && peer.can_run(test) {
        body(peer);
    }
}
