//! iptables-translate and iptables-restore-translate: what a command or a file would be for nft.

use fielato_netfilter::Hook;
use fielato_netfilter::HookMask;
use fielato_wire::Family;

use super::options::{Known, Scan};
use super::{Exit, Session, World};
use crate::command::Operation;
use crate::error::Error;
use crate::nft;
use crate::restore;

/// `iptables-restore-translate`'s options.
const OPTIONS: &[Known] = &[
    Known::new('f', "file", true),
    Known::new('p', "partial", false),
    Known::new('h', "help", false),
    Known::new('V', "version", false),
];

impl Session<'_> {
    /// `iptables-translate`: nft commands, one a line, each ready for a shell.
    pub(super) fn translate(&self, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let family = self.applet.family;
        let command = self.parse(words, world)?;
        let table = &command.table;
        let place = format!("{} {}", nft::family_name(family), nft::identifier(table));
        let chain_place = |chain: &str| format!("{place} {}", nft::identifier(chain));
        let text = match &command.operation {
            Operation::Print(text) => text.clone(),
            Operation::Ignored => String::new(),
            Operation::Append { chain, rules } => self.rules("add", table, chain, None, rules)?,
            Operation::Insert { chain, number, rules } => {
                // nft's index says which rule it goes before, from 0.
                let before = number.checked_sub(1).filter(|&index| index != 0);
                self.rules("insert", table, chain, before, rules)?
            }
            Operation::Flush { chain: Some(chain) } => format!("nft flush chain {}\n", chain_place(chain)),
            Operation::Flush { chain: None } => format!("nft flush table {place}\n"),
            Operation::List { chain: None, .. } | Operation::ListRules { chain: None, .. } => format!("nft list table {place}\n"),
            Operation::List { chain: Some(chain), .. } | Operation::ListRules { chain: Some(chain), .. } => {
                format!("nft list chain {}\n", chain_place(chain))
            }
            Operation::NewChain { chain } => format!("nft add chain {}\n", chain_place(chain)),
            Operation::DeleteChain { chain: Some(chain) } => format!("nft delete chain {}\n", chain_place(chain)),
            Operation::RenameChain { from, to } => {
                format!("nft rename chain {} {}\n", chain_place(from), nft::identifier(to))
            }
            Operation::Policy {
                chain,
                policy: Some(policy),
                ..
            } => {
                let policy = crate::print::save::policy_name(*policy).to_ascii_lowercase();
                format!("nft 'add chain {} {{ policy {policy}; }}'\n", chain_place(chain))
            }
            Operation::Replace { .. } | Operation::Delete { .. } | Operation::DeleteNumber { .. } | Operation::Check { .. } => {
                return Err(
                    self.untranslatable("nft finds a rule by its handle (`nft --handle list chain`), not by its words or number")
                );
            }
            Operation::Zero { .. } | Operation::ZeroNumber { .. } => {
                return Err(self.untranslatable("nft 1.0 can't reset the counters of rules"));
            }
            Operation::DeleteChain { chain: None } => {
                return Err(self.untranslatable("nft deletes chains by their names"));
            }
            Operation::Policy { policy: None, .. } => return Err(self.untranslatable("a policy is ACCEPT or DROP")),
        };
        world.write(None, &text)
    }

    fn rules(
        &self,
        verb: &str,
        table: &str,
        chain: &str,
        index: Option<usize>,
        rules: &[fielato_netfilter::Rule],
    ) -> Result<String, Exit> {
        let family = self.applet.family;
        let hook = Hook::from_chain(chain);
        let mut sets = Vec::new();
        let mut lines = String::new();
        for rule in rules {
            let place = nft::Place {
                family,
                table,
                chain,
                number: 1,
                hooks: hook.map_or(HookMask::NONE, |hook| HookMask::of(&[hook])),
                sets: sets.len(),
                counts: true,
                fragments: false,
            };
            let text = nft::rule(rule, &place).map_err(|missing| self.untranslatable(&nft::NotInNft(missing).to_string()))?;
            sets.extend(text.sets);
            let index = index.map_or(String::new(), |index| format!("index {index} "));
            let place = place_words(family, table, chain);
            lines += &format!("nft {}\n", shell_word(&format!("{verb} rule {place} {index}{}", text.text)));
        }
        let sets = sets.iter().map(|(name, content)| {
            let place = place_words(family, table, name);
            format!("nft {}\n", shell_word(&format!("add set {place} {{ {content} }}")))
        });
        Ok(sets.collect::<String>() + &lines)
    }

    fn untranslatable(&self, reason: &str) -> Exit {
        self.exit(&Error::Other(reason.to_owned()))
    }

    /// `iptables-restore-translate`: a save file as a file for `nft -f`.
    pub(super) fn restore_translate(&self, invoked: &str, words: &[&str], world: &mut dyn World) -> Result<(), Exit> {
        let name = self.applet.name();
        let usage = format!(
            "Usage: {name} [-h] [-f <FILE>] [-p] [-V]\n\t[ --help ]\n\t[ --file=<FILE> ]\n\t[ --partial ]\n\t[ --version ]\n"
        );
        let mut scan = Scan::new(words, OPTIONS);
        let (mut file, mut partial) = (None, false);
        while let Some((letter, value)) = scan.next().map_err(|problem| problem.exit(invoked, &usage))? {
            match letter {
                'f' => file = value,
                'p' => partial = true,
                'V' => return world.write(None, &self.version()),
                _ => return world.write(None, &usage),
            }
        }
        if !scan.rest.is_empty() {
            return Err(Exit { code: 1, message: usage });
        }
        let text = world.read(file)?;
        let rules = restore::parse(&text, self.applet.family, self.registry, self.names).map_err(|error| Exit {
            code: 2,
            message: error.render(&self.program),
        })?;
        let rendering = nft::partial(&rules, nft::Options::default());
        for missing in &rendering.missing {
            world.complain(&format!("{name}: {missing}\n"));
        }
        match rendering.missing.is_empty() || partial {
            true => world.write(None, &rendering.text),
            false => Err(Exit {
                code: 1,
                message: format!("{name}: nothing is written; --partial leaves these rules out\n"),
            }),
        }
    }
}

fn place_words(family: Family, table: &str, name: &str) -> String {
    format!(
        "{} {} {}",
        nft::family_name(family),
        nft::identifier(table),
        nft::identifier(name)
    )
}

/// A word in the shell's single quotes.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
