//! The tables that netem's `distribution NAME` means: files that iproute2 brings.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes of a file. netem takes up to 16,384 numbers of up to six characters; the rest is comment and blanks.
const LONGEST: u64 = 1 << 20;

/// The text of the table `name`, or why there is none.
pub fn read(name: &str) -> Result<String, String> {
    read_in(&folders(), name)
}

/// Where systems put tc's files.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr/lib/tc", "/usr/lib64/tc", "/usr/share/tc"].map(PathBuf::from).into();
    // A folder for each architecture, on Debian.
    let entries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.extend(entries.map(|entry| entry.path().join("tc")));
    folders.retain(|folder| folder.is_dir());
    folders
}

fn read_in(folders: &[PathBuf], name: &str) -> Result<String, String> {
    // The daemon may read what the asker may not: nothing but such files is opened.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.chars().all(is_plain) {
        return Err("a table's name has only letters, digits, `-` and `_`".to_owned());
    }
    let path = |folder: &PathBuf| folder.join(format!("{name}.dist"));
    let Some(path) = folders.iter().map(path).find(|path| path.is_file()) else {
        let known = names(folders);
        return Err(match known.is_empty() {
            true => "tc's tables are not installed; they come with iproute2".to_owned(),
            false => format!("there is no such table; these are installed: {}", known.join(", ")),
        });
    };
    whole(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn whole(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The tables there are, in order.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let entries = folders.iter().flat_map(fs::read_dir).flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".dist").map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_name_and_nothing_else_is_opened() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("tc");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mine.dist"), "1 2 3").unwrap();
        fs::write(folder.join("q_atm.so"), "").unwrap();
        fs::write(root.path().join("secret.dist"), "secret").unwrap();
        let read = |name: &str| read_in(std::slice::from_ref(&folder), name);
        assert_eq!(read("mine"), Ok("1 2 3".to_owned()));
        assert!(read("mime").unwrap_err().ends_with("installed: mine"));
        assert!(read("../secret").unwrap_err().contains("only letters"));
        assert!(read_in(&[], "mine").unwrap_err().contains("iproute2"));
    }
}
