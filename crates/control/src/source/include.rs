//! The files that a configuration includes.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The files that `patterns` stand for, relative to `folder`: each pattern's in order of their names, and each file once. `main` is not
/// among them, whatever the patterns say.
///
/// # Errors
/// What stands for nothing, in words: a name without `*` and `?` that is not there; or a folder that cannot be read.
pub(super) fn files(patterns: &[String], folder: &Path, main: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let matches = matching(folder, Path::new(pattern)).map_err(|error| format!("include \"{pattern}\": {error}"))?;
        if matches.is_empty() && !is_pattern(pattern) {
            return Err(format!(
                "include \"{pattern}\": there is no such file in {}; make it, or take the pattern out",
                folder.display()
            ));
        }
        for path in matches {
            if !found.contains(&path) && !is_same(&path, main) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn is_same(path: &Path, main: &Path) -> bool {
    path == main || matches!((fs::canonicalize(path), fs::canonicalize(main)), (Ok(a), Ok(b)) if a == b)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Existing files that `pattern` matches, in order.
fn matching(folder: &Path, pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut open = vec![folder.to_owned()];
    for component in pattern.components() {
        let mut next = Vec::new();
        for path in open {
            match component {
                Component::Normal(name) if name.to_str().is_some_and(is_pattern) => {
                    next.extend(children(&path, &name.to_string_lossy())?);
                }
                // An absolute pattern begins anew.
                other => next.push(path.join(other)),
            }
        }
        open = next;
    }
    open.retain(|path| path.is_file());
    Ok(open)
}

/// What is in a folder and has such a name, in order; nothing when there is no such folder. Hidden files are for nobody.
fn children(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let shown = name.to_string_lossy();
        if !shown.starts_with('.') && fits(pattern.as_bytes(), shown.as_bytes()) {
            found.push(folder.join(name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// `*` stands for any bytes, `?` for one. When what follows a `*` does not fit, that `*` takes one byte more: only the last one ever
/// has to, so that the work is at most the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == name.get(in_name) => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, in_name) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("10-*", "10-", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_come_in_order_once_and_without_the_main_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        fs::create_dir(folder.join("rules.d")).unwrap();
        for name in [
            "main.toml",
            "b.toml",
            "rules.d/20.toml",
            "rules.d/10.toml",
            "rules.d/.hidden.toml",
            "rules.d/readme",
        ] {
            fs::write(folder.join(name), "").unwrap();
        }
        let main = folder.join("main.toml");
        let found = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            let found = files(&patterns, folder, &main)?;
            let names = found
                .iter()
                .map(|path| path.strip_prefix(folder).unwrap().display().to_string());
            Ok::<_, String>(names.collect::<Vec<_>>())
        };
        assert_eq!(
            found(&["rules.d/*.toml", "*.toml"]).unwrap(),
            ["rules.d/10.toml", "rules.d/20.toml", "b.toml"]
        );
        assert_eq!(found(&["b.toml", "./b.toml"]).unwrap(), ["b.toml"]);
        assert_eq!(found(&["nowhere/*.toml", "x*"]).unwrap(), Vec::<String>::new());
        assert!(found(&["missing.toml"]).unwrap_err().contains("there is no such file"));
        let absolute = folder.join("rules.d/*0.toml").display().to_string();
        assert_eq!(found(&[&absolute]).unwrap().len(), 2);
    }
}
