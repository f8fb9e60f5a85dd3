//! Inserted members are read as the whole file would be, or left to the whole parser.

mod common;

use common::{config, full, rich, talk};
use fielato_policy::Config;

const C: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

fn carol() -> String {
    format!("[member.carol]\naddresses = [\"192.168.4.9\"]\npublic_key = \"{C}\"\n")
}

/// Takes the short way where there is one; then it must lead where the long way does, and back.
fn short_way(old: &str, new: &str) -> bool {
    let mut known = config(old);
    let Some(insertion) = known.insertion(old, new) else {
        return false;
    };
    known.insert(&insertion);
    assert_eq!(
        known,
        Config::parse(new).expect("the short way took an invalid file"),
        "{new}"
    );
    known.take_back(&insertion);
    assert_eq!(known, config(old));
    true
}

#[test]
fn at_every_line_of_a_file() {
    let odd = "[member.dave]\naddresses = [\n  \"192.168.4.7\",\n]\n# a [comment]\npublic_key = \"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=\"\n";
    for old in [talk(), full(), format!("{}{odd}", talk()), format!("{odd}{}", talk())] {
        for block in [
            carol(),
            format!("\n{}", carol()),
            format!("{}\n", carol()),
            format!("# Carol\n{}keepalive = 25\n\n", carol()),
        ] {
            let starts = old.match_indices('\n').map(|(newline, _)| newline + 1);
            let taken = std::iter::once(0).chain(starts).filter(|&at| {
                let mut new = old.clone();
                new.insert_str(at, &block);
                short_way(&old, &new)
            });
            assert!(taken.count() > 0, "{old}{block}");
        }
    }
}

#[test]
fn what_the_edit_makes() {
    for old in [talk(), full()] {
        let member = fielato_policy::edit::NewMember::new("carol", C.parse().unwrap());
        let (new, _) = fielato_policy::edit::add_member(&old, &member).unwrap();
        assert!(short_way(&old, &new), "{new}");
    }
}

#[test]
fn clashes_are_left_to_the_whole_parser() {
    let old = full();
    let behind = "expires = 2026-12-31T00:00:00Z\n\n";
    let with = |block: &str| old.replacen(behind, &format!("{behind}{block}\n"), 1);
    assert!(short_way(&old, &with(&carol())));
    for (from, to) in [
        ("192.168.4.9", "192.168.4.2"),
        ("192.168.4.9", "192.168.4.1"),
        ("192.168.4.9", "10.0.0.1"),
        ("192.168.4.9", "192.168.4.300"),
        (C, common::A),
        ("carol", "alice"),
        ("carol", "lab-staff"),
        ("carol", "web"),
        ("carol", "server"),
        ("carol", "members"),
        ("carol]", "carol]\ngroups = [\"server\"]"),
        ("carol]", "carol]\ngroups = [\"carol\"]"),
        ("carol]", "carol]\nunknown = 1"),
        ("carol]", "carol]\nprivate_key = \"x\""),
        ("[member.carol]", "[member.carol]\n[hub]"),
    ] {
        let new = with(&carol().replace(from, to));
        assert_eq!(config(&old).insertion(&old, &new), None, "{new}");
    }
    // Also when the file is only changed, or has become shorter.
    assert_eq!(config(&old).insertion(&old, &old), None);
    assert_eq!(config(&old).insertion(&old, &old.replacen("alice", "alicia", 1)), None);
    assert_eq!(config(&old).insertion(&old, &talk()), None);
}

#[test]
fn groups_with_tables_and_limits() {
    // A table without a rate changes nothing for a new member.
    let old = format!("{}\n[group.staff]\nmembers = [\"alice\"]\nhosts = [\"server\"]\n", full());
    let behind = "expires = 2026-12-31T00:00:00Z\n\n";
    let with = |old: &str, block: &str| old.replacen(behind, &format!("{behind}{block}\n"), 1);
    let in_staff = carol().replace("carol]", "carol]\ngroups = [\"staff\"]");
    assert!(short_way(&old, &with(&old, &in_staff)));
    let blocked = carol().replace("carol]", "carol]\nquota = \"1GB/day\"");
    assert!(short_way(&old, &with(&old, &blocked)));
    for (from, to) in [
        ("carol]", "carol]\nrate = \"1mbit\""),
        ("carol]", "carol]\nquota = \"1GB/day\"\nover = \"throttle 1mbit\""),
        ("carol", "staff"),
    ] {
        let new = with(&old, &carol().replace(from, to));
        assert_eq!(config(&old).insertion(&old, &new), None, "{new}");
    }
    // Groups with a rate are for the whole parser.
    let rated = rich();
    let dave = carol()
        .replace("carol", "dave")
        .replace(C, "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=");
    let new = rated.replacen("[host.server]", &format!("{dave}\n[host.server]"), 1);
    assert!(Config::parse(&new).is_ok());
    assert_eq!(config(&rated).insertion(&rated, &new), None);
}
