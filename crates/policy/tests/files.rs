//! A configuration in several files.

mod common;

use common::{C, rich, talk};
use fielato_policy::edit::{Document, EditError, NewMember, add_member, remove_member, set_disabled};
use fielato_policy::plan::Origin;
use fielato_policy::{Config, includes};

const MAIN: &str = "fielato.toml";

fn read(files: &[(&str, &str)]) -> Config {
    Config::parse_files(files).unwrap_or_else(|found| panic!("{}", found.display_files(files)))
}

#[test]
fn lists_go_on_and_tables_come_together() {
    let main = format!("include = [\"rules.d/*.toml\", \"more.toml\"]\n{}", talk());
    assert_eq!(includes(&main), ["rules.d/*.toml", "more.toml"]);
    let rule = "[[rule]]\nfrom = \"carol\"\nto = \"echo\"\naction = \"accept\"\n";
    let carol = format!("[member.carol]\naddresses = [\"192.168.4.9\"]\npublic_key = \"{C}\"\n");
    let files = [
        (MAIN, main.as_str()),
        ("rules.d/10.toml", rule),
        ("more.toml", carol.as_str()),
    ];
    let config = read(&files);
    assert_eq!(config.members.len(), 3);
    let places: Vec<(Option<&str>, usize)> = config.rules.iter().map(|rule| (rule.file.as_deref(), rule.line)).collect();
    assert_eq!(places, [(None, 25), (None, 30), (Some("rules.d/10.toml"), 1)]);
    // The same as all of it in one file, but for the places.
    let mut one = read(&[(MAIN, &format!("{main}{rule}{carol}"))]);
    for (rule, other) in one.rules.iter_mut().zip(&config.rules) {
        (rule.file, rule.line) = (other.file.clone(), other.line);
    }
    assert_eq!(one, config);
    let plan = common::compile(&config, common::NOW.parse().unwrap(), Default::default());
    let Origin::Rule { number, file, line } = &plan.firewall.forward[2].origin else {
        panic!()
    };
    assert_eq!((*number, file.as_deref(), *line), (3, Some("rules.d/10.toml"), 1));
}

#[test]
fn every_kind_of_part_may_stand_in_an_included_file() {
    let text = rich();
    let cut = text.find("[member.alice]").unwrap();
    let (main, rest) = text.split_at(cut);
    let split = read(&[(MAIN, main), ("rest.toml", rest)]);
    let whole = read(&[(MAIN, &text)]);
    let lines = main.matches('\n').count();
    assert_eq!(split.publish[1].line + lines, whole.publish[1].line);
    assert_eq!(split.raw[2].line + lines, whole.raw[2].line);
    assert_eq!(
        (split.members, split.groups, split.services),
        (whole.members, whole.groups, whole.services)
    );
}

#[test]
fn what_is_wrong_names_its_file() {
    let main = talk();
    let bad = "# A comment.\n[[rule]]\nfrom = \"nobody\"\nto = \"echo\"\naction = \"accept\"\n";
    let clash = "[member.client-a]\naddresses = [\"192.168.4.8\"]\npublic_key = \"x\"\n[hub]\n";
    let nested = "include = [\"x\"]\n[raw]\nrules = [\"-A NOWHERE\"]\n";
    let files = [(MAIN, main.as_str()), ("a.toml", bad), ("b.toml", clash), ("c.toml", nested)];
    let found = Config::parse_files(&files).unwrap_err();
    let told: Vec<String> = found
        .0
        .iter()
        .map(|one| {
            format!(
                "{}:{}:{}: {}",
                one.file.as_deref().unwrap_or(MAIN),
                one.line,
                one.column,
                one.message
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "a.toml:3:8: rule: nothing is called \"nobody\"",
            "b.toml:1:9: member client-a stands in line 8 of the main file already",
            "b.toml:4:1: [hub] stands in line 2 of the main file already",
            "c.toml:1:11: an included file includes others",
            "c.toml:3:10: raw: there is no chain NOWHERE here",
        ]
    );
    let shown = found.display_files(&files).to_string();
    assert!(
        shown.contains("a.toml:3:8: rule: nothing is called") && shown.contains("    3 | from = \"nobody\""),
        "{shown}"
    );
    // Syntax, too.
    let found = Config::parse_files(&[(MAIN, &main), ("d.toml", "x = = 1\n")]).unwrap_err();
    assert_eq!((found.0[0].file.as_deref(), found.0[0].line), (Some("d.toml"), 1));
    assert!(found.to_string().starts_with("d.toml:1:"), "{found}");
}

#[test]
fn the_main_file_is_edited_with_the_others_in_mind() {
    let main = format!(
        "include = [\"more.toml\"]\n{}\n[[rule]]\nfrom = \"carol\"\nto = \"echo\"\naction = \"accept\"\n",
        talk()
    );
    let more = format!("[member.carol]\naddresses = [\"192.168.4.4\"]\npublic_key = \"{C}\"\n");
    let document = || Document {
        text: &main,
        included: vec![("more.toml", more.as_str())],
    };
    let key = "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=".parse().unwrap();
    let (text, addresses) = add_member(document(), &NewMember::new("dave", key)).unwrap();
    // 192.168.4.4 is carol's.
    assert_eq!(addresses[0].to_string(), "192.168.4.5");
    assert!(read(&[(MAIN, &text), ("more.toml", &more)]).members.contains_key("dave"));
    let elsewhere = EditError::Included {
        name: "carol".to_owned(),
        file: "more.toml".to_owned(),
    };
    assert_eq!(remove_member(document(), "carol"), Err(elsewhere.clone()));
    assert_eq!(set_disabled(document(), "carol", true), Err(elsewhere));
    assert_eq!(
        set_disabled(document(), "erin", true),
        Err(EditError::Unknown("erin".to_owned()))
    );
}

#[test]
fn a_removed_member_leaves_groups_and_lists() {
    let text = rich().replace("to = [\"web\", \"server:22/tcp\"]", "to = [\"carol\", \"web\"]");
    let needed = remove_member(&text, "carol").unwrap_err();
    assert_eq!(
        needed,
        EditError::Needed {
            name: "carol".to_owned(),
            lines: vec![104]
        }
    );
    let text = text.replace("to = \"carol\"", "to = \"server\"");
    let without = remove_member(&text, "carol").unwrap();
    let config = Config::parse(&without).unwrap();
    assert!(
        config.groups["interns"].members.is_empty() && without.contains("to = [\"web\"]"),
        "{without}"
    );
}
