//! What the manual shows is a configuration that is accepted.

use fielato_policy::{Circumstances, Config, Plan};
use jiff::Timestamp;

const MANUAL: &str = include_str!("../../../packaging/fielato.toml.5");

/// The literal displays of an mdoc page, without its escapes.
fn displays(page: &str) -> Vec<String> {
    page.split("\n.Bd -literal")
        .skip(1)
        .map(|rest| {
            let text = rest.split_once('\n').unwrap().1.split("\n.Ed").next().unwrap();
            text.replace("\\&", "").replace("\\-", "-").replace("\\e", "\\")
        })
        .collect()
}

#[test]
fn the_manuals_example_is_accepted() {
    let examples = displays(MANUAL);
    assert!(!examples.is_empty());
    for example in examples {
        let config = Config::parse(&example).unwrap_or_else(|faults| panic!("{}", faults.display("fielato.toml.5", &example)));
        let plan = Plan::compile(&config, &Circumstances::at(Timestamp::UNIX_EPOCH, Default::default()));
        assert_eq!(plan.peers.len(), config.members.len());
    }
}

/// A key that is shown is described.
#[test]
fn the_manual_names_every_key_of_its_example() {
    for example in displays(MANUAL) {
        for key in example.lines().filter_map(|line| Some(line.split_once(" = ")?.0)) {
            let item = format!(".It Ic {key} ");
            assert!(MANUAL.lines().any(|line| line.starts_with(&item)), "{key} is not described");
        }
    }
}
