//! The hub and its agents together.

mod common;

use std::time::Duration;

use common::*;
use fielato_fleet::agent::{Agent, Output, Patience};
use fielato_fleet::{HostState, canonical};

#[test]
fn a_policy_reaches_every_host_and_afterwards_only_differences_do() {
    let mut world = World::new(8);
    world.pass(Duration::from_millis(100));
    for revision in 2..12 {
        // Every third revision changes nothing for the hosts; it has to be acknowledged all the same.
        let port = if revision % 3 == 0 { 100 } else { 100 * revision };
        world.hub.publish(u64::from(revision), plans(8, port), world.now);
        world.settle();
        for (number, machine) in (0..8).zip(&world.machines) {
            let plan = canonical(plan(&name(number), port + u16::from(number)));
            assert_eq!(
                machine.enforced,
                Some(HostState {
                    revision: u64::from(revision),
                    plan
                })
            );
        }
        for host in world.hub.status(world.now) {
            assert_eq!(
                (host.revision, host.lag, host.behind_ms),
                (Some(u64::from(revision)), Some(0), None)
            );
        }
    }
    for machine in &world.machines {
        assert_eq!(machine.applied, (11, 10), "one whole plan, then differences");
    }
}

#[test]
fn hosts_enforce_while_the_hub_is_away_and_catch_up() {
    let mut world = World::new(4);
    world.pass(Duration::from_millis(100));
    world.reachable = false;
    world.cut();
    world.hub.publish(2, plans(4, 2000), world.now);
    world.hub.publish(3, plans(4, 3000), world.now);
    world.pass(Duration::from_secs(90));
    for (host, machine) in world.hub.status(world.now).iter().zip(&world.machines) {
        assert_eq!((host.revision, host.lag, host.connected), (Some(1), Some(2), None));
        assert!(host.behind_ms >= Some(90_000), "{host:?}");
        assert_eq!(machine.enforced.as_ref().map(|state| state.revision), Some(1));
        // 0.5, 1, 2, … 30 s, each shortened by up to a half: not a flood, and no giving up.
        let tries = machine.notes.iter().filter(|note| note.contains("the hub is away")).count();
        assert!((7..=14).contains(&tries), "{tries} tries in 90 s");
        assert!(machine.notes.iter().any(|note| note.contains("still enforcing revision 1")));
    }
    world.reachable = true;
    world.pass(Duration::from_secs(31));
    for (host, machine) in world.hub.status(world.now).iter().zip(&world.machines) {
        assert_eq!((host.revision, host.lag, host.behind_ms), (Some(3), Some(0), None));
        assert_eq!(machine.applied, (2, 1), "from 1 to 3 by one difference");
    }
}

#[test]
fn a_host_further_behind_than_the_history_gets_the_whole_plan() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    world.reachable = false;
    world.cut();
    for revision in 2..60 {
        world
            .hub
            .publish(revision, plans(1, u16::try_from(revision).unwrap()), world.now);
    }
    world.reachable = true;
    world.pass(Duration::from_secs(2));
    let machine = &world.machines[0];
    assert_eq!(machine.applied, (2, 0));
    assert_eq!(machine.enforced.as_ref().map(|state| state.revision), Some(59));
}

#[test]
fn a_plan_that_cannot_be_applied_is_told_and_asked_for_again() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    world.machines[0].able = false;
    world.hub.publish(2, plans(1, 2000), world.now);
    world.settle();
    let status = world.hub.status(world.now).remove(0);
    assert_eq!((status.revision, status.failure.as_deref()), (Some(1), Some("nft refused")));
    assert_eq!(world.machines[0].enforced.as_ref().map(|state| state.revision), Some(1));
    world.machines[0].able = true;
    world.pass(Duration::from_secs(31));
    let status = world.hub.status(world.now).remove(0);
    assert_eq!((status.revision, status.lag), (Some(2), Some(0)));
}

#[test]
fn drift_is_repaired_and_counted() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    let good = world.machines[0].enforced.take();
    world.machines[0].agent.handle_drift("the table is gone".to_owned());
    world.settle();
    assert_eq!(world.machines[0].enforced, good, "also before the hub hears of it");
    assert_eq!(world.hub.status(world.now)[0].drift, 1);
    let told = events(&mut world.hub);
    assert!(
        told.iter().any(|event| event.what.to_string() == "drift: the table is gone"),
        "{told:?}"
    );
}

#[test]
fn a_silent_connection_is_given_up_at_both_ends() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    // Kept alive by the hub's questions, for as long as they are answered.
    world.pass(Duration::from_secs(200));
    assert_eq!(world.machines[0].notes.iter().filter(|note| note.contains("away")).count(), 0);
    // The wire is cut and neither end is told.
    let id = world.machines[0].connection.take();
    world.reachable = false;
    world.pass(Duration::from_secs(61));
    assert!(world.hub.status(world.now)[0].connected.is_none());
    assert!(!world.machines[0].agent.is_connected());
    assert!(id.is_some());
    world.reachable = true;
    world.pass(Duration::from_secs(31));
    assert!(world.hub.status(world.now)[0].connected.is_some());
}

#[test]
fn the_newer_connection_wins() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    // The agent notices that its connection is dead; the hub does not.
    let old = world.machines[0].connection.take().unwrap();
    world.machines[0].agent.handle_disconnected("reset".to_owned(), world.now);
    world.pass(Duration::from_secs(1));
    let new = world.machines[0].connection.unwrap();
    assert_ne!(old, new);
    world.hub.publish(2, plans(1, 2000), world.now);
    world.settle();
    assert_eq!(world.hub.status(world.now)[0].revision, Some(2));
    assert!(world.hub.outgoing(old).is_empty());
}

#[test]
fn the_last_good_plan_is_applied_before_the_network_is_tried() {
    let now = start();
    let state = HostState {
        revision: 7,
        plan: plan("host-0", 80),
    };
    let mut agent = Agent::new(None, Some(state.clone()), Patience::default(), 1, now);
    let first = agent.poll_output();
    let Some(Output::Apply(application)) = first else {
        panic!("{first:?}")
    };
    assert_eq!((application.state, application.before), (state.clone(), None));
    assert_eq!(agent.poll_output(), None);
    agent.handle_applied(Ok(()), now);
    assert_eq!(agent.state(), Some(&state));
    agent.handle_time(now);
    let rest: Vec<Output> = std::iter::from_fn(|| agent.poll_output()).collect();
    assert!(matches!(rest.as_slice(), [Output::Note(_), Output::Connect]), "{rest:?}");
}

#[test]
fn the_same_revision_of_another_policy_store_is_not_taken_for_known() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(100));
    world.cut();
    // Revision 1 is now something else.
    world.hub = hub(1, fielato_fleet::hub::Limits::default(), world.now);
    world.hub.publish(1, plans(1, 4000), world.now);
    world.pass(Duration::from_secs(1));
    let ports = world.machines[0].enforced.as_ref().map(|state| state.plan.ports.clone());
    assert_eq!(ports, Some(plan("host-0", 4000).ports));
}
