//! Save files: what is read, written and read again is the same, and what was read can be run.

use fielato_iptables::save::{self, SaveOptions};
use fielato_iptables::{BuiltinNames, nft, restore as file, xml};
use fielato_netfilter::engine::command::{Caller, Command};
use fielato_netfilter::{Netfilter, Now, Packet, Ruleset};
use fielato_wire::Family;

use crate::machine::{self, INSIDE, OUTSIDE, Router};
use crate::{packets, sums};

/// A save file of either family: read, compiled, saved and read again it is the same; and whatever its rules do to packets, packets
/// that were sound stay so.
pub fn restore(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for family in [Family::V4, Family::V6] {
        let Ok(rules) = file::parse(&text, family, machine::registry(), &BuiltinNames) else {
            continue;
        };
        same_again(&rules);
        let mut netfilter = Netfilter::new(Default::default(), 1);
        let replace = Command::Replace {
            ruleset: rules.clone(),
            generation: None,
        };
        let now = Now::from_secs(1);
        if let Err(error) = netfilter.execute(Caller::Admin, replace, now) {
            panic!("the file was taken, its rules are not: {error}\n{}", written(&rules));
        }
        assert_eq!(written(&netfilter.ruleset(family)), written(&rules), "read from the engine");
        probe(&mut netfilter, family, now);
        same_again(&netfilter.ruleset(family));
    }
}

/// Gives the engine packets of all kinds from both sides, and some of its own, while time passes.
fn probe(netfilter: &mut Netfilter, family: Family, mut now: Now) {
    for (number, packet) in packets::samples(family).iter().enumerate() {
        now = now.plus(u64::from(packet[packet.len() - 1]) * Now::SECOND);
        let fate = match (number % 4, Packet::local(packet.clone())) {
            (3, Ok(packet)) => Some(netfilter.send_local(packet, &mut Router, now)),
            (2, _) => machine::receive(netfilter, packet.clone(), OUTSIDE, now),
            _ => machine::receive(netfilter, packet.clone(), INSIDE, now),
        };
        let Some(fate) = fate else { continue };
        for packet in machine::outgoing(netfilter, fate) {
            sums::assert_sound(&packet);
        }
    }
}

fn written(rules: &Ruleset) -> String {
    let options = SaveOptions {
        counters: true,
        complete: true,
        ..SaveOptions::default()
    };
    save::ruleset(rules, machine::registry(), &BuiltinNames, options)
}

/// Saves `rules` and reads the text: they are the same rules, and are saved the same again.
///
/// # Panics
/// When the text is refused or says something else.
pub(super) fn same_again(rules: &Ruleset) {
    let first = written(rules);
    let again = match file::parse(&first, rules.family, machine::registry(), &BuiltinNames) {
        Ok(again) => again,
        Err(error) => panic!("what was saved is refused: {error}\n{first}"),
    };
    assert_eq!(written(&again), first);
    for table in &rules.tables {
        for chain in &table.chains {
            let read = again.table(&table.name).and_then(|table| table.chain(&chain.name));
            let read = read.map(|chain| chain.rules.as_slice()).unwrap_or_default();
            assert_eq!(read.len(), chain.rules.len(), "{} {}\n{first}", table.name, chain.name);
            for (one, two) in chain.rules.iter().zip(read) {
                assert!(one.same(two), "{one:?} was saved and read as {two:?}\n{first}");
                assert_eq!(one.counters, two.counters, "{first}");
            }
        }
    }
}

/// Writes `rules` in the other languages there are.
pub(super) fn translated(rules: &Ruleset) {
    let _ = nft::partial(rules, Default::default());
    let saved = written(rules);
    for combine in [true, false] {
        let options = xml::XmlOptions { combine, verbose: true };
        let done = xml::write(&saved, options, &mut String::new());
        assert!(done.is_ok(), "{done:?}\n{saved}");
    }
}
