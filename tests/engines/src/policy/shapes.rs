//! `[[shape]]`s: classes by member, group and network.
//!
//! Their rates are high and their bursts hold more than a case sends, so that no packet waits: which class it goes into is
//! compared, not when it leaves.

use std::fmt::Write as _;

use fielato_oracle::random::Random;

use super::{Draft, rules};

pub(super) fn shapes(random: &mut Random, draft: &Draft, text: &mut String) {
    for dev in ["wg0", "eth0"] {
        if random.chance(30) {
            device(random, draft, dev, text);
        }
    }
}

const RATE: &str = "rate 10gbit ceil 10gbit burst 8mb cburst 8mb";

fn device(random: &mut Random, draft: &Draft, dev: &str, text: &mut String) {
    let default = random.pick(&["default 30", "default 30", ""]);
    let _ = write!(
        text,
        "\n[[shape]]\ndev = \"{dev}\"\nqdisc = \"root handle 1: htb {}\"\n",
        default.trim_end()
    );
    let nested = random.chance(50);
    if nested {
        let _ = write!(
            text,
            "\n[[shape]]\ndev = \"{dev}\"\nclass = \"parent 1: classid 1:1 htb {RATE}\"\n"
        );
    }
    let parent = if nested { "1:1" } else { "1:" };
    let mut parties: Vec<String> = Vec::new();
    if random.chance(40) {
        parties.push("members".to_owned());
    }
    // A member of two groups with different classes would be refused.
    if !draft.groups.is_empty() && random.chance(60) {
        parties.push((*random.pick(&draft.groups)).to_owned());
    }
    for _ in 0..random.below(4) {
        parties.push(match random.chance(60) && !draft.members.is_empty() {
            true => random.pick(&draft.members).name.clone(),
            false => rules::prefix(random, draft).to_string(),
        });
    }
    parties.sort_unstable();
    parties.dedup();
    for (index, party) in parties.iter().enumerate() {
        let class = 10 + index;
        let _ = write!(
            text,
            "\n[[shape]]\ndev = \"{dev}\"\nclass = \"parent {parent} classid 1:{class} htb {RATE}\"\nfor = [\"{party}\"]\n"
        );
        if random.chance(30) {
            let _ = write!(
                text,
                "\n[[shape]]\ndev = \"{dev}\"\nqdisc = \"parent 1:{class} pfifo limit 1000\"\n"
            );
        }
    }
    let _ = write!(
        text,
        "\n[[shape]]\ndev = \"{dev}\"\nclass = \"parent {parent} classid 1:30 htb {RATE}\"\n"
    );
}
