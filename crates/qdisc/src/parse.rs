//! What follows `tc qdisc add dev DEV` and `tc class add dev DEV`, read.

use crate::kinds;
use crate::spec::{Class, Filter, Parent, Qdisc};
use crate::units::HANDLE;
use crate::words::{ParseError, Word, Words, put};

/// Disciplines that can be written.
const KINDS: [&str; 10] = [
    "htb", "prio", "tbf", "sfq", "netem", "fq_codel", "codel", "cake", "pfifo", "bfifo",
];

/// Reads `{root | parent CLASSID} [handle MAJOR:] [stab …] KIND [OPTIONS]`.
///
/// # Errors
/// When a word is not tc's; it points at that word.
pub fn qdisc(words: &str) -> Result<Qdisc, ParseError> {
    qdisc_with_tables(words, &mut |_| Err(String::new()))
}

/// As [`qdisc`]; netem's `distribution NAME` may also name a table, whose text `tables` gives (or says why not), as tc reads
/// it from `NAME.dist`.
///
/// # Errors
/// When a word is not tc's, or a table can't be read; it points at that word.
pub fn qdisc_with_tables(words: &str, tables: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Qdisc, ParseError> {
    let mut words = Words::new(words);
    let (mut parent, mut handle, mut stab) = (None, None, None);
    let kind = loop {
        let Some(word) = words.next() else {
            return Err(words.ended(format!("the discipline is missing: one of {}", KINDS.join(", "))));
        };
        match word.text {
            "root" => put(&mut parent, word, Parent::Root)?,
            "parent" => {
                let class = words.value(word, &HANDLE)?;
                put(&mut parent, word, Parent::Class(class))?;
            }
            "handle" => {
                words.fill(&mut handle, word, &HANDLE)?;
                if handle.is_some_and(|handle| handle.minor != 0) {
                    return Err(word.error("`handle` of a discipline has no minor number: write it like 1:"));
                }
            }
            "stab" => {
                let options = kinds::stab(word, &mut words)?;
                put(&mut stab, word, options)?;
            }
            "dev" | "tc" | "qdisc" | "add" => return Err(already_said(word, "qdisc")),
            "class" | "classid" => {
                return Err(word.error(format!(
                    "`{}` belongs to a class; a discipline has `handle MAJOR:`",
                    word.text
                )));
            }
            _ => break word,
        }
    };
    let Some(parent) = parent else {
        return Err(kind.error(format!(
            "before `{}` it must be said where it hangs: `root` or `parent CLASSID`",
            kind.text
        )));
    };
    let kind = match kind.text {
        "htb" => kinds::htb(&mut words)?,
        "prio" => kinds::prio(kind, &mut words)?,
        "sfq" => kinds::sfq(&mut words)?,
        "tbf" => kinds::tbf(kind, &mut words)?,
        "netem" => kinds::netem(kind, &mut words, tables)?,
        "codel" => kinds::codel(&mut words)?,
        "fq_codel" => kinds::fq_codel(&mut words)?,
        "cake" => kinds::cake(&mut words)?,
        "pfifo" => kinds::pfifo(&mut words)?,
        "bfifo" => kinds::bfifo(&mut words)?,
        _ => return Err(kind.unknown("a discipline that can be used here", &KINDS)),
    };
    Ok(Qdisc {
        parent,
        handle,
        stab,
        kind,
    })
}

/// Reads `parent HANDLE classid CLASSID htb OPTIONS`.
pub fn class(words: &str) -> Result<Class, ParseError> {
    let mut words = Words::new(words);
    let (mut parent, mut classid) = (None, None);
    let mut classid_word = None;
    let kind = loop {
        let Some(word) = words.next() else {
            return Err(words.ended("the class's kind is missing: `htb` and its options"));
        };
        match word.text {
            "parent" => words.fill(&mut parent, word, &HANDLE)?,
            "classid" => {
                classid_word = words.peek();
                words.fill(&mut classid, word, &HANDLE)?;
            }
            "root" => return Err(word.error("a class hangs under a discipline or another class: `parent 1:`")),
            "handle" => return Err(word.error("`handle` belongs to a discipline; a class has `classid MAJOR:MINOR`")),
            "dev" | "tc" | "class" | "add" => return Err(already_said(word, "class")),
            _ => break word,
        }
    };
    let (Some(parent), Some(classid), Some(classid_word)) = (parent, classid, classid_word) else {
        let missing = if parent.is_none() {
            "`parent HANDLE`"
        } else {
            "`classid MAJOR:MINOR`"
        };
        return Err(kind.error(format!("before `{}` {missing} is missing", kind.text)));
    };
    if classid.minor == 0 {
        return Err(classid_word.error(format!(
            "`{}` names the discipline; a class has a minor number too, such as {:x}:10",
            classid_word.text, classid.major
        )));
    }
    if classid.major != parent.major {
        return Err(classid_word.error(format!(
            "a class has its discipline's major number: {:x}:{:x}",
            parent.major, classid.minor
        )));
    }
    if classid == parent {
        return Err(classid_word.error("a class can't be its own parent"));
    }
    if kind.text != "htb" {
        return Err(kind.unknown("a classful discipline that can be used here", &["htb"]));
    }
    Ok(Class {
        parent,
        classid,
        htb: kinds::htb_class(kind, &mut words)?,
    })
}

/// Reads `parent HANDLE [protocol P] [prio N] [handle MARK] KIND OPTIONS`.
///
/// # Errors
/// When a word is not tc's; it points at that word.
pub fn filter(words: &str) -> Result<Filter, ParseError> {
    kinds::filter(&mut Words::new(words))
}

fn already_said(word: Word<'_>, object: &str) -> ParseError {
    word.error(format!(
        "`{}` is left out here: write what follows `tc {object} add dev DEV`",
        word.text
    ))
}
