//! Edits: what they change, that they change nothing else, and what they refuse.

mod common;

use common::{A, config, full, talk};
use fielato_policy::edit::{self, EditError, NewMember, add_member, remove_member, set_disabled};
use fielato_wireguard::PublicKey;

fn carol() -> NewMember {
    NewMember::new("carol", PublicKey([9; 32]))
}

/// What of `after` is not in `before`, and the other way round, when everything else is byte for byte the same.
fn difference(before: &str, after: &str) -> (String, String) {
    let start = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    let rest = before[start..]
        .bytes()
        .rev()
        .zip(after[start..].bytes().rev())
        .take_while(|(a, b)| a == b)
        .count();
    (
        before[start..before.len() - rest].to_owned(),
        after[start..after.len() - rest].to_owned(),
    )
}

#[test]
fn a_member_is_added_behind_the_last_with_the_next_free_address() {
    let (after, addresses) = add_member(&talk(), &carol()).unwrap();
    assert_eq!(addresses, ["192.168.4.4".parse::<std::net::IpAddr>().unwrap()]);
    let (gone, come) = difference(&talk(), &after);
    assert_eq!(gone, "");
    let key = PublicKey([9; 32]);
    let table = format!("\n[member.carol]\naddresses = [\"192.168.4.4\"]\npublic_key = \"{key}\"\n");
    assert_eq!(after.replacen(&table, "", 1), talk());
    assert_eq!(come.len(), table.len());
}

#[test]
fn both_families_get_the_same_number_where_it_is_free() {
    // 192.168.4.3 is free, fd00:4::3 is bob's.
    let (_, addresses) = add_member(&full(), &carol()).unwrap();
    assert_eq!(
        addresses,
        [
            "192.168.4.3".parse::<std::net::IpAddr>().unwrap(),
            "fd00:4::4".parse().unwrap()
        ]
    );
    let (_, addresses) = add_member(&full().replace("fd00:4::3", "fd00:4::ffff"), &carol()).unwrap();
    assert_eq!(addresses[1], "fd00:4::3".parse::<std::net::IpAddr>().unwrap());
}

#[test]
fn everything_a_member_can_have_is_written() {
    let member = NewMember {
        name: "carol.laptop".to_owned(),
        groups: vec!["staff".to_owned(), "guests".to_owned()],
        addresses: vec!["192.168.4.77".parse().unwrap()],
        route: fielato_policy::config::Route::Prefixes(vec!["10.0.0.0/8".parse().unwrap()]),
        keepalive: Some(25),
        expires: Some("2027-01-31T18:00:00Z".parse().unwrap()),
        ..carol()
    };
    let (after, _) = add_member(&talk(), &member).unwrap();
    let read = &config(&after).members["carol.laptop"];
    assert_eq!(read.groups, member.groups);
    assert_eq!(read.addresses, member.addresses);
    assert_eq!(read.route, member.route);
    assert_eq!((read.keepalive, read.expires), (member.keepalive, member.expires));
}

#[test]
fn a_file_without_members_and_without_a_last_newline() {
    let text = "[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.0.1:1\"\naddresses = [\"10.9.0.1/30\"]\nuplink = \"eth0\"";
    let (after, _) = add_member(text, &carol()).unwrap();
    assert!(
        after.starts_with(&format!("{text}\n\n[member.carol]\naddresses = [\"10.9.0.2\"]\n")),
        "{after}"
    );
    // The network is full now.
    let next = NewMember::new("dave", PublicKey([8; 32]));
    assert_eq!(
        add_member(&after, &next),
        Err(EditError::Full("10.9.0.0/30".parse().unwrap()))
    );
}

#[test]
fn refused_additions() {
    let named = |name: &str| NewMember {
        name: name.to_owned(),
        ..carol()
    };
    assert_eq!(
        add_member(&talk(), &named("client-a")),
        Err(EditError::Exists("client-a".to_owned()))
    );
    assert!(matches!(add_member(&talk(), &named("a b")), Err(EditError::After(_))));
    assert!(matches!(add_member(&talk(), &named("hub")), Err(EditError::After(_))));
    assert!(matches!(
        add_member(&talk(), &named("x\"]\n[hub.guard")),
        Err(EditError::After(_))
    ));
    assert!(matches!(add_member("[hub]", &carol()), Err(EditError::Before(_))));
    let same_key = NewMember {
        public_key: A.parse().unwrap(),
        ..carol()
    };
    assert!(matches!(add_member(&talk(), &same_key), Err(EditError::After(_))));
}

#[test]
fn a_removed_member_takes_its_comment_and_its_place_in_lists() {
    let (with, _) = add_member(&talk(), &carol()).unwrap();
    let with = with.replace("[member.carol]", "# Carol, second floor.\n[member.carol]");
    let listed = with.replace(
        "from = \"members\"\nto = \"members\"",
        "from = [\"client-a\", \"carol\"] # two\nto = [\"carol\", \"client-a\"]",
    );
    let after = remove_member(&listed, "carol").unwrap();
    assert_eq!(
        after,
        talk().replace(
            "from = \"members\"\nto = \"members\"",
            "from = [\"client-a\"] # two\nto = [\"client-a\"]"
        )
    );
    assert_eq!(remove_member(&with, "carol").unwrap(), talk());
}

#[test]
fn a_member_that_is_needed_stays() {
    // A rule of its own, a class of its own.
    let error = remove_member(&full(), "alice").unwrap_err();
    let lines: Vec<usize> = full()
        .lines()
        .enumerate()
        .filter(|(_, line)| line.ends_with(" = \"alice\""))
        .map(|(at, _)| at + 1)
        .collect();
    assert_eq!(
        error,
        EditError::Needed {
            name: "alice".to_owned(),
            lines: lines.clone()
        }
    );
    assert_eq!(lines.len(), 3);
    // The host of the same name is a member.
    assert!(matches!(remove_member(&full(), "bob"), Err(EditError::Needed { .. })));
    assert_eq!(remove_member(&full(), "nobody"), Err(EditError::Unknown("nobody".to_owned())));
}

#[test]
fn disable_and_enable_touch_one_word() {
    let off = set_disabled(&talk(), "client-a", true).unwrap();
    assert_eq!(difference(&talk(), &off), (String::new(), "disabled = true\n".to_owned()));
    assert!(config(&off).members["client-a"].disabled);
    let on = set_disabled(&off, "client-a", false).unwrap();
    assert_eq!(on, off.replace("disabled = true", "disabled = false"));
    assert_eq!(set_disabled(&on, "client-a", true).unwrap(), off);
    assert_eq!(set_disabled(&talk(), "client-a", false).unwrap(), talk());
    assert_eq!(
        set_disabled(&talk(), "nobody", true),
        Err(EditError::Unknown("nobody".to_owned()))
    );
}

#[test]
fn inline_tables_too() {
    let text = format!(
        "member.alice = {{ addresses = [\"10.9.0.2\"], public_key = \"{A}\" }}\n[hub]\ninterface = \"wg0\"\nendpoint = \"10.0.0.1:1\"\naddresses = [\"10.9.0.1/24\"]\nuplink = \"eth0\"\n"
    );
    let off = set_disabled(&text, "alice", true).unwrap();
    assert!(off.contains(&format!("\"{A}\", disabled = true }}")), "{off}");
    assert!(!remove_member(&text, "alice").unwrap().contains("alice"));
}

#[test]
fn a_host_is_enrolled_with_a_new_member_and_again_with_another_key() {
    let text = common::talk().replace("[member.client-b]", "[member.other]");
    let (one, two): (PublicKey, PublicKey) = (
        common::A.replace('A', "Q").parse().unwrap(),
        common::A.replace('A', "g").parse().unwrap(),
    );
    let first = edit::enrol_host(&text, "client-b", &one).unwrap();
    let config = common::config(&first);
    assert!(config.hosts["client-b"].agent);
    assert_eq!(config.members["client-b"].public_key, one);
    assert_eq!(
        config.members["client-b"].addresses,
        ["192.168.4.4".parse::<std::net::IpAddr>().unwrap()]
    );
    let disabled = edit::set_disabled(&first, "client-b", true).unwrap();
    let second = edit::enrol_host(&disabled, "client-b", &two).unwrap();
    let config = common::config(&second);
    assert_eq!(
        (config.members["client-b"].public_key, config.members["client-b"].disabled),
        (two, false)
    );
    // Nothing else has changed: the comments and the order are the owner's.
    let without = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("disabled"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(without(&second).replace(&two.to_string(), &one.to_string()), without(&first));
    assert_eq!(
        edit::enrol_host(&text, "nobody", &one),
        Err(EditError::NoHost("nobody".to_owned()))
    );
}
