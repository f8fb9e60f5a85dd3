//! The documentation's example is a configuration.

mod common;

#[test]
fn the_example_in_the_documentation() {
    let page = include_str!("../../../docs/configuration.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let config = common::config(example);
    assert_eq!((config.members.len(), config.rules.len(), config.shapes.len()), (2, 3, 3));
    let plan = common::plan(example);
    assert_eq!(plan.next_change, Some("2027-01-31T17:00:00Z".parse().unwrap()));
    common::in_namespace(
        "the_example_in_the_documentation",
        "nft -c -f -",
        &fielato_policy::render::nft::hub(&plan.firewall),
    );
}

/// Every further example is an addition to the whole one.
#[test]
fn further_examples_in_the_documentation() {
    let page = include_str!("../../../docs/configuration.md");
    let mut examples = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = examples.next().unwrap();
    // Rates and [[shape]] exclude each other.
    let (before, rest) = whole.split_once("[[shape]]").unwrap();
    let base = format!("{before}[[ban]]{}", rest.split_once("[[ban]]").unwrap().1);
    let mut count = 0;
    for example in examples {
        let text = format!("{base}\n{example}");
        let plan = common::plan(&text);
        common::in_namespace(
            "further_examples_in_the_documentation",
            "nft -c -f -",
            &fielato_policy::render::nft::hub(&plan.firewall),
        );
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    // The refusal of an unknown key lists the known ones.
    for (section, prefix) in [
        ("[hub]\nx = 1\n", "hub"),
        ("[hub.packet]\nx = 1\n", "hub.packet"),
        ("[member.m]\nx = 1\n", "member"),
        ("[group.g]\nx = 1\n", "group"),
        ("[host.h]\nx = 1\n", "host"),
        ("[service.s]\nx = 1\n", "service"),
        ("[[rule]]\nx = 1\n", "rule"),
        ("[[rule]]\nwhen = { x = 1 }\n", "when"),
        ("[[shape]]\nx = 1\n", "shape"),
        ("[nat]\nx = 1\n", "nat"),
        ("[[nat.publish]]\nx = 1\n", "nat.publish"),
        ("[raw]\nx = 1\n", "raw"),
        ("[[test]]\nx = 1\n", "test"),
    ] {
        let found = fielato_policy::Config::parse(section).unwrap_err();
        let unknown = found.0.iter().find(|one| one.message.ends_with("unknown key x")).unwrap();
        let known = unknown.help.split_once("known: ").unwrap().1;
        for key in known.split(", ").filter(|key| !["guard", "packet", "publish"].contains(key)) {
            // Some share a line.
            let named = page
                .lines()
                .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
                .map(|(keys, _)| keys);
            let is_named = named
                .into_iter()
                .any(|keys| keys.split(", ").any(|one| one == format!("`{key}`")));
            assert!(is_named, "{prefix}: {key}");
        }
    }
}
