//! What changed between two policies' files.

use std::collections::BTreeMap;
use std::time::Duration;

use similar::TextDiff;

/// After this long a shorter diff is no longer looked for: what is found is right, and may be longer than it had to be.
const PATIENCE: Duration = Duration::from_secs(2);

/// The unified diff of all files, by name; empty when they are equal. A file that is in one only is compared with `/dev/null`,
/// as diff and git write it.
pub(super) fn unified(old_title: &str, old: &[(String, String)], new_title: &str, new: &[(String, String)]) -> String {
    let mut files: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for (name, text) in old {
        files.entry(name).or_default().0 = Some(text);
    }
    for (name, text) in new {
        files.entry(name).or_default().1 = Some(text);
    }
    let mut text = String::new();
    for (name, (old, new)) in files {
        if old == new {
            continue;
        }
        let header = |title: &str, text: Option<&str>| match text {
            Some(_) => format!("{name} ({title})"),
            None => "/dev/null".into(),
        };
        let diff = TextDiff::configure()
            .timeout(PATIENCE)
            .diff_lines(old.unwrap_or_default(), new.unwrap_or_default());
        let mut unified = diff.unified_diff();
        unified.header(&header(old_title, old), &header(new_title, new));
        text.push_str(&unified.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
    }

    #[test]
    fn changed_added_and_removed_files() {
        let old = files(&[("a.toml", "x = 1\ny = 2\n"), ("b.toml", "gone\n"), ("same", "s\n")]);
        let new = files(&[("a.toml", "x = 1\ny = 3\n"), ("c.toml", "new\n"), ("same", "s\n")]);
        assert_eq!(
            unified("1", &old, "2", &new),
            "--- a.toml (1)\n+++ a.toml (2)\n@@ -1,2 +1,2 @@\n x = 1\n-y = 2\n+y = 3\n\
             --- b.toml (1)\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n\
             --- /dev/null\n+++ c.toml (2)\n@@ -0,0 +1 @@\n+new\n"
        );
        assert_eq!(unified("1", &old, "2", &old), "");
    }
}
