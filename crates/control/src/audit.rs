//! Who did what from where: lines of JSON, only ever appended, in files that are rotated by size.
//!
//! **What is on the disk when.** An entry is one write, so a killed daemon has lost none of them; only a crash of the machine can
//! tear the last line, which is cut off when the log is opened again. Entries are synced when the last sync is a second ago
//! or more, by [`Audit::sync`] (the daemon calls it with its other work), and when a file is rotated: a power cut loses a second
//! at most. A full disk is said once; how many entries were lost is the first entry after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an entry may wait for the disk.
const SYNC_AFTER: SignedDuration = SignedDuration::from_secs(1);
/// No line is longer: what a request says in words is cut. So a torn line is found near the end.
const MAX_WORDS: usize = 16 << 10;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of a file at which the next one is begun, in bytes.
    pub bytes: u64,
    /// How many older files are kept.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 10_000_000,
            files: 10,
        }
    }
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// A user of this machine, as the kernel says.
    User {
        /// The user's number.
        uid: u32,
        /// The user's name, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// A protected host, as WireGuard proved.
    Host(String),
    /// A member, as WireGuard proved.
    Member(String),
    /// The daemon itself: an end of time, an undone apply.
    Daemon,
}

/// The way a request came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The socket of this machine.
    Socket,
    /// The overlay, from this address.
    Overlay(IpAddr),
    /// From within.
    Daemon,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done; with what there is to say of it.
    Done(String),
    /// It was refused or failed, and why.
    Failed(String),
}

/// One request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub time: Timestamp,
    /// Who asked.
    pub who: Who,
    /// From where.
    pub from: Way,
    /// What, in words. Never a key, a token or another secret.
    pub request: String,
    /// What came of it.
    pub result: Outcome,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    limits: Limits,
    file: File,
    size: u64,
    /// The first entry that is not synced yet.
    unsynced: Option<Timestamp>,
    /// Entries that could not be written since the disk is full.
    lost: u64,
}

impl Audit {
    /// Opens the log at `path`, or begins one. A line that a crash has torn is cut off.
    ///
    /// # Errors
    /// When the file cannot be opened or mended.
    pub fn open(path: &Path, limits: Limits) -> Result<Self> {
        let mut file = append_to(path).with_context(|| format!("cannot open {}", path.display()))?;
        let size = mend(&mut file).with_context(|| format!("cannot mend {}", path.display()))?;
        Ok(Self {
            path: path.into(),
            limits,
            file,
            size,
            unsynced: None,
            lost: 0,
        })
    }

    /// Appends an entry. Its time is taken for the present. What fails is logged, once; nobody is refused because of it.
    pub fn record(&mut self, entry: &Entry) {
        match self.try_record(entry) {
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    log::error!(
                        "{} cannot be written: {error:#}; what is done meanwhile is not in it",
                        self.path.display()
                    );
                }
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// Brings what was written a second ago or earlier to the disk.
    pub fn sync(&mut self, now: Timestamp) {
        // A clock that was set back must not keep entries waiting.
        let is_due = |since: Timestamp| now.duration_since(since) >= SYNC_AFTER || now < since;
        if self.unsynced.is_some_and(is_due) {
            self.unsynced = None;
            if let Err(error) = self.file.sync_data() {
                log::error!("{} cannot be synced: {error}", self.path.display());
            }
        }
    }

    fn try_record(&mut self, entry: &Entry) -> Result<()> {
        let lines = if self.lost == 0 {
            line(entry)?
        } else {
            // In one write with the entry, so that both are there or none.
            line(&Entry {
                time: entry.time,
                who: Who::Daemon,
                from: Way::Daemon,
                request: "write the audit log".into(),
                result: Outcome::Failed(format!("{} entries are lost", self.lost)),
            })? + &line(entry)?
        };
        if self.size > 0 && self.size.saturating_add(lines.len() as u64) > self.limits.bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Part of it may be there: a full disk takes what still fits.
            self.file.set_len(self.size)?;
            return Err(error.into());
        }
        self.size = self.size.saturating_add(lines.len() as u64);
        if self.lost > 0 {
            log::info!("{} can be written again; {} entries are lost", self.path.display(), self.lost);
            self.lost = 0;
        }
        self.unsynced.get_or_insert(entry.time);
        self.sync(entry.time);
        Ok(())
    }

    /// Begins a new file: `audit.jsonl` becomes `audit.jsonl.1`, and so on; the oldest goes.
    fn rotate(&mut self) -> Result<()> {
        self.file.sync_data()?;
        self.unsynced = None;
        // If this is interrupted, a number is missing. The next rotation closes the gap; nothing is overwritten.
        let last = (1..=self.limits.files).find(|number| !numbered(&self.path, *number).exists());
        let last = last.unwrap_or(self.limits.files);
        for number in (1..last).rev() {
            fs::rename(numbered(&self.path, number), numbered(&self.path, number.saturating_add(1)))?;
        }
        if last == 0 {
            fs::remove_file(&self.path)?;
        } else {
            fs::rename(&self.path, numbered(&self.path, 1))?;
        }
        self.file = append_to(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if self.unsynced.is_some() {
            // There is nobody left to tell.
            let _ = self.file.sync_data();
        }
    }
}

fn line(entry: &Entry) -> Result<String> {
    let cut = |words: &str| {
        let end = words.floor_char_boundary(MAX_WORDS);
        words.get(..end).unwrap_or_default().to_owned()
    };
    let entry = Entry {
        request: cut(&entry.request),
        result: match &entry.result {
            Outcome::Done(words) => Outcome::Done(cut(words)),
            Outcome::Failed(words) => Outcome::Failed(cut(words)),
        },
        ..entry.clone()
    };
    let mut line = serde_json::to_string(&entry)?;
    line.push('\n');
    Ok(line)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Cuts off what is behind the last line's end. Returns the size.
fn mend(file: &mut File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut whole = size;
    let mut end = size;
    while end > 0 {
        let begin = end.saturating_sub(4096);
        let mut block = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            whole = begin.saturating_add(at as u64).saturating_add(1);
            break;
        }
        (whole, end) = (begin, begin);
    }
    if whole < size {
        log::warn!(
            "the audit log's last line was torn by a crash; {} bytes are cut off",
            size - whole
        );
        file.set_len(whole)?;
        file.sync_data()?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(second: i64, request: &str) -> Entry {
        Entry {
            time: Timestamp::from_second(second).unwrap(),
            who: Who::User {
                uid: 1000,
                name: Some("anna".into()),
                pid: Some(42),
            },
            from: Way::Overlay("fd00::7".parse().unwrap()),
            request: request.into(),
            result: Outcome::Done("revision 7".into()),
        }
    }

    fn entries(path: &Path) -> Vec<Entry> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_of_json_that_only_their_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path, Limits::default()).unwrap();
        let first = entry(1, "apply, to be confirmed in 60s:\n\"new printer\"");
        let second = Entry {
            who: Who::Daemon,
            from: Way::Daemon,
            result: Outcome::Failed("nobody confirmed it".into()),
            ..entry(2, "roll back")
        };
        audit.record(&first);
        drop(audit);
        let mut audit = Audit::open(&path, Limits::default()).unwrap();
        audit.record(&second);
        assert_eq!(entries(&path), [first, second]);
        let line = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        assert_eq!(
            line,
            r#"{"time":"1970-01-01T00:00:01Z","who":{"user":{"uid":1000,"name":"anna","pid":42}},"from":{"overlay":"fd00::7"},"request":"apply, to be confirmed in 60s:\n\"new printer\"","result":{"done":"revision 7"}}"#
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn rotated_by_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let limits = Limits { bytes: 1_000, files: 3 };
        let mut audit = Audit::open(&path, limits).unwrap();
        for number in 0..100 {
            audit.record(&entry(number, &format!("request {number}")));
        }
        let mut all = Vec::new();
        for path in [numbered(&path, 3), numbered(&path, 2), numbered(&path, 1), path.clone()] {
            assert!(fs::metadata(&path).unwrap().len() <= 1_000);
            all.extend(entries(&path));
        }
        assert!(!numbered(&path, 4).exists());
        let first = 100 - all.len() as i64;
        let expected: Vec<Entry> = (first..100)
            .map(|number| entry(number, &format!("request {number}")))
            .collect();
        assert!(all.len() > 12, "{} are left", all.len());
        assert_eq!(all, expected, "none is missing between the oldest and the newest");
        // A rotation that was interrupted has left a gap: it is closed, and nothing is lost.
        fs::remove_file(numbered(&path, 2)).unwrap();
        let third = fs::read(numbered(&path, 3)).unwrap();
        while fs::metadata(&path).unwrap().len() > 300 || !numbered(&path, 2).exists() {
            audit.record(&entry(100, "more"));
        }
        assert_eq!(fs::read(numbered(&path, 3)).unwrap(), third);
        // And where nothing older is to be kept.
        let path = dir.path().join("short.jsonl");
        let mut audit = Audit::open(&path, Limits { files: 0, ..limits }).unwrap();
        (0..20).for_each(|number| audit.record(&entry(number, "request")));
        assert!(entries(&path).last().unwrap().time == Timestamp::from_second(19).unwrap());
        assert!(!numbered(&path, 1).exists());
    }

    #[test]
    fn a_torn_line_is_cut_off_wherever_it_was_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let long = "x".repeat(10_000);
        let (first, second) = (entry(1, "first"), entry(2, &long));
        let (one, two) = (line(&first).unwrap(), line(&second).unwrap());
        for cut in (0..one.len() + two.len())
            .step_by(97)
            .chain([one.len(), one.len() + two.len() - 1])
        {
            fs::write(&path, &(one.clone() + &two)[..cut]).unwrap();
            let mut audit = Audit::open(&path, Limits::default()).unwrap();
            audit.record(&first);
            let expected = if cut < one.len() { 1 } else { 2 };
            assert_eq!(entries(&path), vec![first.clone(); expected], "cut at {cut}");
        }
    }

    #[test]
    fn words_are_bounded() {
        let line = line(&entry(1, &"ü".repeat(MAX_WORDS))).unwrap();
        assert!(line.len() < MAX_WORDS + 1_000);
        serde_json::from_str::<Entry>(&line).unwrap();
    }

    #[test]
    fn a_full_disk_is_survived() {
        let Some(dir) = fielato_testkit::small_disk("audit::tests::a_full_disk_is_survived", 64 << 10) else {
            return;
        };
        let path = dir.join("audit.jsonl");
        let mut audit = Audit::open(&path, Limits::default()).unwrap();
        audit.record(&entry(1, "before"));
        let filler = dir.join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        for number in 0..200 {
            audit.record(&entry(number, &"while it is full ".repeat(20)));
        }
        let written = entries(&path).len() as u64;
        assert!(written < 201, "it was full");
        assert_eq!(audit.lost, 201 - written);
        fs::remove_file(&filler).unwrap();
        audit.record(&entry(300, "after"));
        let all = entries(&path);
        let lost = Outcome::Failed(format!("{} entries are lost", 201 - written));
        assert_eq!(all[all.len() - 2].result, lost);
        assert_eq!(all[all.len() - 1], entry(300, "after"));
        drop((audit, file));
    }
}
