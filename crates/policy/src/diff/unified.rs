//! Two texts as a unified diff, which `patch` takes.

use std::fmt::Write as _;

use super::sequence::matching;

/// Lines around a change that are shown too.
const CONTEXT: usize = 3;

/// A line of the diff: what stands before it, and how far it leads on in both texts.
struct Line<'a> {
    sign: char,
    text: &'a str,
}

/// The diff, empty when the texts are equal.
pub fn unified(old_name: &str, new_name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lines = lines(&old, &new);
    let mut out = format!("--- {old_name}\n+++ {new_name}\n");
    let changed: Vec<usize> = (0..)
        .zip(&lines)
        .filter(|(_, line)| line.sign != ' ')
        .map(|(at, _)| at)
        .collect();
    let mut rest = changed.as_slice();
    while let [first, ..] = rest {
        // As far as changes are so near that what is shown around them would meet.
        let near = rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * CONTEXT).count();
        let last = rest.get(near).unwrap_or(first);
        let begin = first.saturating_sub(CONTEXT);
        let end = last.saturating_add(CONTEXT + 1).min(lines.len());
        hunk(&lines, begin, end, &mut out);
        rest = rest.get(near + 1..).unwrap_or_default();
    }
    out
}

fn lines<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut all = Vec::with_capacity(old.len().max(new.len()));
    let (mut before, mut after) = (0, 0);
    let stayed = matching(old, new).stayed;
    for (to_old, to_new) in stayed.into_iter().chain([(old.len(), new.len())]) {
        let gone = old.get(before..to_old).unwrap_or_default();
        let come = new.get(after..to_new).unwrap_or_default();
        all.extend(gone.iter().map(|text| Line { sign: '-', text }));
        all.extend(come.iter().map(|text| Line { sign: '+', text }));
        all.extend(old.get(to_old).map(|text| Line { sign: ' ', text }));
        (before, after) = (to_old + 1, to_new + 1);
    }
    all
}

fn hunk(lines: &[Line<'_>], begin: usize, end: usize, out: &mut String) {
    let count = |lines: &[Line<'_>], without: char| lines.iter().filter(|line| line.sign != without).count();
    let (ahead, shown) = (
        lines.get(..begin).unwrap_or_default(),
        lines.get(begin..end).unwrap_or_default(),
    );
    let place = |without: char| {
        let length = count(shown, without);
        // Of nothing the line before it is named.
        let first = count(ahead, without) + usize::from(length > 0);
        match length {
            1 => first.to_string(),
            length => format!("{first},{length}"),
        }
    };
    let _ = writeln!(out, "@@ -{} +{} @@", place('+'), place('-'));
    for Line { sign, text } in shown {
        let _ = writeln!(out, "{sign}{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_diff_writes_it() {
        assert_eq!(unified("a", "b", "1\n", "1\n"), "");
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n";
        let new = "1\n2\n3\nfour\n5\n6\n7\n8\n9\n10\n11\n";
        let expected = "--- a\n+++ b\n@@ -1,7 +1,7 @@\n 1\n 2\n 3\n-4\n+four\n 5\n 6\n 7\n@@ -9,4 +9,3 @@\n 9\n 10\n 11\n-12\n";
        assert_eq!(unified("a", "b", old, new), expected);
        assert_eq!(unified("a", "b", "", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
    }

    #[test]
    fn patch_makes_the_new_text() {
        if !fielato_testkit::can_run("patch_makes_the_new_text", &["patch"]) {
            return;
        }
        let mut rng = fastrand::Rng::with_seed(4);
        let dir = std::env::temp_dir().join(fielato_testkit::unique("diff"));
        std::fs::create_dir(&dir).unwrap();
        for _ in 0..40 {
            let mut text = || {
                (0..rng.usize(..40))
                    .map(|_| format!("{}\n", rng.u8(..20)))
                    .collect::<String>()
            };
            let (old, new) = (text(), text());
            let path = dir.join("file");
            std::fs::write(&path, &old).unwrap();
            let diff = unified("file", "file", &old, &new);
            let file = path.to_str().unwrap();
            let output = fielato_testkit::run("patch", &["--quiet", "--fuzz=0", "--posix", file], &diff);
            assert!(output.status.success(), "{diff}\n{}", String::from_utf8_lossy(&output.stdout));
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), new, "{diff}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
