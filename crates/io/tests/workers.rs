//! A hub of several workers, its peers spread over them.

mod common;

use common::devices::dropped;
use common::star::{HUB, star};
use common::transfers::{small_transfer, transfer};
use common::{can_run, ping};
use fielato_io::Options;
use fielato_io::device::Middle;
use fielato_wireguard::DropReason;

fn carries_everything(options: &Options) {
    let star = star(options, Middle::None);
    for (client, _) in &star.clients {
        assert!(ping(client, &format!("10.8.0.{HUB}")) && ping(client, &format!("fd08::{HUB}")));
    }
    // From every peer to the next one, whose worker is another, all at once and in both families.
    std::thread::scope(|scope| {
        for from in 0..star.clients.len() {
            let to = (from + 1) % star.clients.len();
            let (from, to_namespace) = (&star.clients[from].0, &star.clients[to].0);
            let address = format!("10.8.0.{}", to + 1).parse().unwrap();
            scope.spawn(move || transfer(from, to_namespace, address, small_transfer()));
        }
    });
    for (from, to) in [(0, 1), (2, 4)] {
        let address = format!("fd08::{}", to + 1).parse().unwrap();
        transfer(&star.clients[from].0, &star.clients[to].0, address, small_transfer());
    }
    // What only leaves, and nothing comes back of: the kernel learns no flow from it.
    star.hub.run("ping -q -c 3 -i 0.2 10.8.0.3");
    for reason in [
        DropReason::UnknownIndex,
        DropReason::NoSession,
        DropReason::Replayed,
        DropReason::QueueFull,
    ] {
        assert_eq!(dropped(&star.hub_device, reason), 0, "{reason}");
    }
    let status = star.hub_device.status();
    assert!(
        status
            .peers
            .iter()
            .all(|peer| peer.rx_bytes > small_transfer() && peer.latest_handshake.is_some())
    );
}

#[test]
fn peers_of_several_workers_reach_each_other() {
    if !can_run("peers_of_several_workers_reach_each_other") {
        return;
    }
    carries_everything(&Options {
        workers: Some(3),
        ..Options::new(1420)
    });
}

#[test]
fn one_worker_reads_for_all_where_the_kernel_does_not_steer() {
    if !can_run("one_worker_reads_for_all_where_the_kernel_does_not_steer") {
        return;
    }
    carries_everything(&Options {
        workers: Some(3),
        steering: false,
        ..Options::new(1420)
    });
}

#[test]
fn a_plain_interface_carries_everything() {
    if !can_run("a_plain_interface_carries_everything") {
        return;
    }
    carries_everything(&Options {
        workers: Some(2),
        offloads: false,
        ..Options::new(1420)
    });
}
