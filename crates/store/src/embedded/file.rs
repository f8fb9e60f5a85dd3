//! The file below the database, such that a full disk is noticed before anything is written.
//!
//! redb writes pages where they belong and then syncs. Here the pages wait in memory until the sync. Then the space for all of
//! them is asked for first; only when the file system has it are they written, the header last. So a commit for which there is
//! no space leaves the file as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// What is kept together in memory: a page of redb's and of most file systems.
const BLOCK: usize = 4096;

/// The file, with what is not written yet.
#[derive(Debug, Clone)]
pub(super) struct Shadowed {
    file: Arc<File>,
    state: Arc<Mutex<State>>,
    flags: Arc<Flags>,
}

/// What the store and the file below its database tell each other.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// While a database is opened, and when it is closed, nobody was promised anything yet: what a repair would write can
    /// wait in memory for a day on which there is space.
    pub lenient: AtomicBool,
    /// A write or a sync failed after the header was on its way.
    pub unsure: AtomicBool,
    /// What was done to the file, in order.
    #[cfg(test)]
    pub events: Mutex<Vec<Event>>,
}

/// What is done to a file.
#[cfg(test)]
#[derive(Debug, Clone)]
pub(super) enum Event {
    Write(u64, Vec<u8>),
    Length(u64),
    /// Everything before is on the disk.
    Synced,
}

#[derive(Debug, Default)]
struct State {
    /// Blocks that differ from the file's, by their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
    /// The length as redb wants it.
    length: u64,
}

impl Shadowed {
    pub(super) fn new(file: Arc<File>, flags: Arc<Flags>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let state = State {
            length,
            ..State::default()
        };
        Ok(Self {
            file,
            state: Arc::new(Mutex::new(state)),
            flags,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block as it is now, from the file where it was not written anew.
    fn block<'a>(&self, state: &'a mut State, number: u64) -> io::Result<&'a mut Box<[u8]>> {
        use std::collections::btree_map::Entry;
        Ok(match state.blocks.entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut block = vec![0; BLOCK].into_boxed_slice();
                self.read_file(number.saturating_mul(BLOCK as u64), &mut block)?;
                entry.insert(block)
            }
        })
    }

    /// Reads from the file; what is behind its end is zero, as in a file that was made longer.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_file(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.note(Event::Write(offset, data.to_vec()));
        self.file.write_all_at(data, offset)
    }

    fn set_file_length(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        self.note(Event::Length(length));
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        #[cfg(test)]
        self.note(Event::Synced);
        Ok(())
    }

    #[cfg(test)]
    fn note(&self, event: Event) {
        let mut events = self.flags.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.blocks.is_empty() && self.file.metadata()?.len() == state.length {
            return self.sync();
        }
        self.reserve(&state)?;
        let write = |number: u64, block: &[u8]| {
            let offset = number.saturating_mul(BLOCK as u64);
            let length = state.length.saturating_sub(offset).min(BLOCK as u64);
            let block = block.get(..usize::try_from(length).unwrap_or(BLOCK)).unwrap_or(block);
            self.write_file(offset, block)
        };
        // The header points to what is valid. Until it is written, nothing of this is.
        for (&number, block) in state.blocks.range(1..) {
            write(number, block)?;
        }
        if self.file.metadata()?.len() != state.length {
            self.set_file_length(state.length)?;
        }
        let written = state
            .blocks
            .get(&0)
            .map_or(Ok(()), |header| write(0, header))
            .and_then(|()| self.sync());
        if let Err(error) = written {
            self.flags.unsure.store(true, Ordering::Release);
            return Err(error);
        }
        state.blocks.clear();
        Ok(())
    }

    /// Has the file system set aside what the blocks need.
    fn reserve(&self, state: &State) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in state.blocks.keys() {
            match runs.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        for (first, count) in runs {
            let offset = first.saturating_mul(BLOCK as u64);
            let length = count.saturating_mul(BLOCK as u64).min(state.length.saturating_sub(offset));
            if length == 0 {
                continue;
            }
            loop {
                match fallocate(&self.file, FallocateFlags::empty(), offset, length) {
                    Ok(()) => break,
                    Err(Errno::INTR) => {}
                    // A file system without it finds out when it writes.
                    Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                    Err(error) => {
                        // What it grew by is given back, so that the disk is no fuller than before.
                        self.set_file_length(before)?;
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }
}

impl StorageBackend for Shadowed {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= state.length);
        let end = end.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.read_file(offset, out)?;
        let first = offset / BLOCK as u64;
        let last = end.div_ceil(BLOCK as u64);
        for (&number, block) in state.blocks.range(first..last) {
            let begin = number.saturating_mul(BLOCK as u64);
            // Where the block and what is read overlap: in the block, and in the answer.
            let skip = usize::try_from(offset.saturating_sub(begin)).unwrap_or(BLOCK);
            let at = usize::try_from(begin.saturating_sub(offset)).unwrap_or(usize::MAX);
            let (Some(source), Some(target)) = (block.get(skip..), out.get_mut(at..)) else {
                continue;
            };
            for (target, source) in target.iter_mut().zip(source) {
                *target = *source;
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        // redb shortens the file when no valid page is behind its new end, and this needs no space. It grows with the sync.
        if length < state.length {
            if length < self.file.metadata()?.len() {
                self.set_file_length(length)?;
            }
            state.blocks.split_off(&length.div_ceil(BLOCK as u64));
            let within = usize::try_from(length % BLOCK as u64).unwrap_or(0);
            if let Some(tail) = state
                .blocks
                .get_mut(&(length / BLOCK as u64))
                .and_then(|block| block.get_mut(within..))
            {
                tail.fill(0);
            }
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.flush() {
            Err(error) if self.flags.lenient.load(Ordering::Acquire) && is_full(&error) => Ok(()),
            result => result,
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let (mut offset, mut data) = (offset, data);
        while !data.is_empty() {
            let number = offset / BLOCK as u64;
            let within = usize::try_from(offset % BLOCK as u64).unwrap_or(0);
            let (now, later) = data.split_at(data.len().min(BLOCK - within));
            if now.len() == BLOCK {
                state.blocks.insert(number, now.into());
            } else if let Some(target) = self.block(&mut state, number)?.get_mut(within..within + now.len()) {
                target.copy_from_slice(now);
            }
            offset = offset.saturating_add(now.len() as u64);
            data = later;
        }
        Ok(())
    }
}

/// Whether the disk, or somebody's share of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &Shadowed, offset: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        file.read(offset, &mut out).unwrap();
        out
    }

    /// Random writes, reads and lengths give what a plain array of bytes gives, and a sync brings it to the disk.
    #[test]
    fn like_an_array_of_bytes() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let below = Arc::new(tempfile::tempfile().unwrap());
            let file = Shadowed::new(Arc::clone(&below), Arc::default()).unwrap();
            let mut model: Vec<u8> = Vec::new();
            for _ in 0..200 {
                match random.u8(0..10) {
                    0 => {
                        model.resize(random.usize(0..40_000), 0);
                        file.set_len(model.len() as u64).unwrap();
                    }
                    1 => {
                        file.sync_data().unwrap();
                        assert_eq!(below.metadata().unwrap().len(), model.len() as u64);
                        let mut on_disk = vec![0; model.len()];
                        below.read_exact_at(&mut on_disk, 0).unwrap();
                        assert!(on_disk == model, "the file has what was written");
                    }
                    2..=5 if !model.is_empty() => {
                        let at = random.usize(0..model.len());
                        let end = random.usize(at..=model.len().min(at + 10_000));
                        let data: Vec<u8> = (at..end).map(|_| random.u8(..)).collect();
                        file.write(at as u64, &data).unwrap();
                        model[at..end].copy_from_slice(&data);
                    }
                    _ if !model.is_empty() => {
                        let at = random.usize(0..model.len());
                        let end = random.usize(at..=model.len().min(at + 10_000));
                        assert!(
                            read(&file, at as u64, end - at) == model[at..end],
                            "{at}..{end} of {}",
                            model.len()
                        );
                    }
                    _ => {}
                }
            }
            let beyond = file.read(model.len() as u64, &mut [0]);
            assert!(beyond.is_err(), "there is nothing behind the end");
        }
    }

    #[test]
    fn nothing_is_written_before_the_sync() {
        let below = Arc::new(tempfile::tempfile().unwrap());
        let file = Shadowed::new(Arc::clone(&below), Arc::default()).unwrap();
        file.set_len(10_000).unwrap();
        file.write(5_000, b"x").unwrap();
        assert_eq!(below.metadata().unwrap().len(), 0);
        assert_eq!(read(&file, 4_999, 3), [0, b'x', 0]);
        file.sync_data().unwrap();
        assert_eq!(below.metadata().unwrap().len(), 10_000);
    }
}
