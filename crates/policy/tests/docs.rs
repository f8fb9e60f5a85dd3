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

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../docs/configuration.md");
    // The refusal of an unknown key lists the known ones.
    for (section, prefix) in [
        ("[hub]\nx = 1\n", "hub"),
        ("[hub.packet]\nx = 1\n", "hub.packet"),
        ("[member.m]\nx = 1\n", "member"),
        ("[host.h]\nx = 1\n", "host"),
        ("[[shape]]\nx = 1\n", "shape"),
    ] {
        let found = fielato_policy::Config::parse(section).unwrap_err();
        let unknown = found.0.iter().find(|one| one.message.ends_with("unknown key x")).unwrap();
        let known = unknown.help.split_once("known: ").unwrap().1;
        for key in known.split(", ").filter(|key| !["guard", "packet"].contains(key)) {
            assert!(page.contains(&format!("| `{key}` |")), "{prefix}: {key}");
        }
    }
}
