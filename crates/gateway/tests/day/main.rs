//! A day in the life of a hub, on a virtual clock: members come, roam and go, flows of every kind begin and end or are left alone,
//! rules change, sources are banned, and every limit is run into. In the end nothing is left of it.
//!
//! ```text
//! members (a WireGuard device each) ── tunnel ── Hub ── Ethernet ── servers 192.0.2.0/24, 2001:db8::/64
//! ```
//!
//! By itself it takes a small hub through an hour or two. `FIELATO_DAY=full` is 1,000 members and 24 hours, in a release build.

mod limits;
mod servers;
mod world;

use std::time::Duration;

use world::{Size, World};

#[test]
fn nothing_is_left_of_a_day() {
    let full = std::env::var("FIELATO_DAY").is_ok_and(|value| value == "full");
    let size = match full {
        true => Size {
            members: 1000,
            hours: 24,
            flow_every: Duration::from_secs(600),
        },
        false => Size {
            members: 60,
            hours: 2,
            flow_every: Duration::from_secs(300),
        },
    };
    let mut world = World::new(size, 7);
    world.live(size.hours / 2);
    limits::run_into_all(&mut world);
    let first = world.end_of_flows();
    world.live(size.hours - size.hours / 2);
    limits::run_into_all(&mut world);
    let second = world.end_of_flows();
    println!("{:?}\nafter half the time {first:?}\nin the end {second:?}", world.tally);

    for usage in [first, second] {
        assert_eq!((usage.connections, usage.waiting, usage.neighbours_waiting), (0, 0, 0));
        assert!(usage.sources <= 2 * world::SOURCES && usage.neighbours <= world::NEIGHBOURS);
    }
    // Tables grow to what the day asks for, once.
    assert!(
        second.connection_memory <= first.connection_memory * 5 / 4,
        "{first:?} {second:?}"
    );
    let tally = &world.tally;
    assert!(tally.flows > 100 && tally.answers > tally.flows, "{tally:?}");
    assert!(
        tally.handshakes > size.members as u64 && tally.roamed > 0 && tally.swaps > 0 && tally.cut > 0 && tally.bans > 0,
        "{tally:?}"
    );
}
