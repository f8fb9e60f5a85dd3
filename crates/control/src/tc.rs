//! `fielato tc`: tc's commands as edits of what hangs on the hub's devices.
//!
//! What the words mean is [`fielato_qdisc::tc`]'s. Both engines make a device exactly what a list of items says and keep what
//! stays the same, so a command is an edit of that list.

mod tables;

use fielato_policy::plan::Shaping;
use fielato_qdisc::tc::{Command, Edit, EditError, Object, Show};
use fielato_qdisc::units::HANDLE;
use fielato_qdisc::{Item, Parent, ParseError};

/// Words that are no tc command, or one that can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum TcError {
    /// Not tc's words; the place is underlined.
    #[error(
        "{}\n(as in `fielato tc qdisc add dev wg0 root netem delay 500ms`, `fielato tc -s qdisc show dev wg0`)",
        underlined(.line, .error)
    )]
    Words {
        /// The words.
        line: String,
        /// What is wrong with one of them.
        error: ParseError,
    },
    /// It doesn't fit what is there.
    #[error(transparent)]
    Edit(#[from] EditError),
}

fn underlined(line: &str, error: &ParseError) -> String {
    let before = line.get(..error.offset).unwrap_or(line).chars().count();
    let wide = line
        .get(error.offset..)
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .map_or(1, |word| word.chars().count());
    format!("{error}\n  {line}\n  {}{}", " ".repeat(before), "^".repeat(wide))
}

/// Reads the words after `tc`; netem's `distribution` may name one of tc's files.
///
/// # Errors
/// What is wrong with them.
pub fn parse(words: &[String]) -> Result<Command, TcError> {
    let line = words.join(" ");
    Command::parse_with_tables(&line, &mut tables::read).map_err(|error| TcError::Words { line, error })
}

/// What all devices have after `edit` on one of them.
///
/// # Errors
/// When the device has no such item, or one too many.
pub fn apply(shaping: &[Shaping], dev: &str, edit: &Edit) -> Result<Vec<Shaping>, TcError> {
    let (own, mut others): (Vec<Shaping>, Vec<Shaping>) = shaping.iter().cloned().partition(|shaping| shaping.dev == dev);
    let mut items: Vec<Item> = own.into_iter().map(|shaping| shaping.item).collect();
    edit.apply(&mut items)?;
    others.extend(items.into_iter().map(|item| Shaping {
        dev: dev.to_owned(),
        item,
    }));
    Ok(others)
}

/// Items as the record has them in words: enough to know them again. The content of a table is not in the words, and does not
/// matter for that.
///
/// # Errors
/// When the record is damaged.
pub fn recorded(words: &[String]) -> Result<Vec<Item>, fielato_qdisc::ItemError> {
    let some_table = &mut |_: &str| Ok("0".to_owned());
    words.iter().map(|words| Item::parse_with_tables(words, some_table)).collect()
}

/// Whether a line about an item (`qdisc netem 8001: root …`, `class htb 1:10 parent 1:1 …`) is what was asked for: of the kind,
/// and at that place or, for classes, of that discipline.
pub fn is_shown(line: &str, show: &Show) -> bool {
    let mut words = line.split_ascii_whitespace();
    let what = words.next();
    let handle = words.nth(1).and_then(HANDLE.read);
    match (show.object, what) {
        (Object::Qdisc, Some("qdisc")) => match (show.parent, words.next()) {
            (None, _) | (Some(Parent::Root), Some("root")) => true,
            (Some(Parent::Class(class)), Some("parent")) => words.next().and_then(HANDLE.read) == Some(class),
            _ => false,
        },
        (Object::Class, Some("class")) => match show.parent {
            None | Some(Parent::Root) => true,
            Some(Parent::Class(class)) => handle.is_some_and(|handle| handle.major == class.major),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, TcError> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn what_is_refused_is_underlined() {
        for (line, said) in [
            ("", "qdisc, class or filter"),
            ("qdisc add root netem delay 1ms", "`dev DEV`"),
            (
                "qdisc add dev wg0 root nettem",
                "did you mean `netem`?\n  qdisc add dev wg0 root nettem\n                         ^^^^^^\n(as in `fielato tc",
            ),
            (
                "qdisc add dev wg0 root netem delay 2ms 1ms distribution ../tc/normal",
                "`../tc/normal`: a table's name",
            ),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn a_device_is_changed_and_the_others_stay() {
        let mut shaping = Vec::new();
        for line in [
            "qdisc add dev eth0 root pfifo limit 7",
            "qdisc add dev wg0 root netem delay 500ms",
            "qdisc replace dev eth0 root pfifo limit 8",
        ] {
            let Command::Edit { dev, edit } = read(line).unwrap() else {
                panic!("{line}")
            };
            shaping = apply(&shaping, &dev, &edit).unwrap();
        }
        let told: Vec<String> = shaping
            .iter()
            .map(|shaping| format!("{} {}", shaping.dev, shaping.item))
            .collect();
        assert_eq!(told, ["wg0 qdisc root netem delay 500ms", "eth0 qdisc root pfifo limit 8"]);
        let taken = Edit::Add("qdisc root pfifo".parse().unwrap());
        let error = apply(&shaping, "wg0", &taken).unwrap_err().to_string();
        assert!(error.contains("hangs there already"), "{error}");
    }

    #[test]
    fn the_record_knows_an_item_with_a_table_again() {
        let words = ["qdisc root handle 1: netem delay 2ms 1ms distribution experimental".to_owned()];
        let items = recorded(&words).unwrap();
        assert_eq!(items[0].to_string(), words[0]);
        assert!(recorded(&["qdisc root".to_owned()]).is_err());
    }

    #[test]
    fn what_is_shown_where() {
        let class = |major, minor| Some(Parent::Class(fielato_qdisc::Handle { major, minor }));
        let netem = "qdisc netem 8001: parent 1:10 limit 1000";
        let htb = "qdisc htb 1: root refcnt 2";
        let leaf = "class htb 1:10 root leaf 8001:";
        for (line, object, at, shown) in [
            (netem, Object::Qdisc, None, true),
            (netem, Object::Qdisc, class(1, 0x10), true),
            (netem, Object::Qdisc, class(1, 0), false),
            (netem, Object::Qdisc, Some(Parent::Root), false),
            (netem, Object::Class, None, false),
            (htb, Object::Qdisc, Some(Parent::Root), true),
            (leaf, Object::Class, class(1, 0), true),
            (leaf, Object::Class, class(2, 0), false),
            (leaf, Object::Qdisc, None, false),
        ] {
            let show = Show {
                object,
                dev: None,
                parent: at,
                statistics: false,
                json: false,
            };
            assert_eq!(is_shown(line, &show), shown, "{line}: {show:?}");
        }
    }
}
