//! What aya does not offer: a map's words in our own memory, a whole map read in a few calls, a pin opened as a plain
//! descriptor. The only `unsafe` of the guard.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

// Commands of bpf(2), linux/bpf.h.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;

/// The words of an array map with `BPF_F_MMAPABLE`, shared with the program.
#[derive(Debug)]
pub(super) struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping is plain memory, valid until drop, not bound to a thread.
unsafe impl Send for SharedWords {}
// SAFETY: it is only reached as `&[AtomicU64]`.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `count` words of a map whose values are eight bytes.
    pub(super) fn map(map: impl AsFd, count: usize) -> io::Result<Self> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap(ptr::null_mut(), count * 8, flags, MapFlags::SHARED, map, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `count` words are mapped from `start`, page-aligned, until drop; the program on the other side reads
        // aligned 64-bit words only, and never writes.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; no reference outlives `self`.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.count * 8) };
        debug_assert!(result.is_ok());
    }
}

/// Opens what is pinned at a path.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Attributes {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: the attributes are those of BPF_OBJ_GET, with the right size, and the path outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<Attributes>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Keys and values of a whole hash map, as the kernel lays them out.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// One key after the other.
    pub(crate) keys: Vec<u8>,
    /// One value after the other; for a per-CPU map, a value for each possible CPU.
    pub(crate) values: Vec<u8>,
}

/// Reads a hash map bucket by bucket: unlike a walk from key to key, this ends however fast entries come and go.
///
/// `max_entries` bounds the answer and the largest bucket.
pub(crate) fn lookup_all(map: impl AsFd, max_entries: usize, key: usize, value: usize) -> io::Result<Entries> {
    #[repr(C)]
    struct Attributes {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    let map_fd = map.as_fd().as_raw_fd() as u32;
    let mut position = 0_u32; // where the next call goes on; hash maps have 32 bits for it
    let mut started = false;
    let mut batch = max_entries.clamp(1, 4_096);
    let (mut keys, mut values) = (vec![0_u8; batch * key], vec![0_u8; batch * value]);
    let mut entries = Entries::default();
    loop {
        let mut attributes = Attributes {
            in_batch: if started { &raw const position as u64 } else { 0 },
            out_batch: &raw mut position as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: batch as u32,
            map_fd,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the attributes are those of BPF_MAP_LOOKUP_BATCH, with the right size; the kernel writes at most `count`
        // keys and values, for which both buffers have room, and four bytes of position.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        };
        let error = (result < 0).then(io::Error::last_os_error);
        match error.as_ref().and_then(io::Error::raw_os_error) {
            // A bucket did not fit into the buffers.
            Some(libc::ENOSPC) if batch < max_entries => {
                batch = (batch * 2).min(max_entries);
                keys.resize(batch * key, 0);
                values.resize(batch * value, 0);
                continue;
            }
            // ENOENT: this was the last batch.
            None | Some(libc::ENOENT) => {
                let count = attributes.count as usize;
                entries.keys.extend_from_slice(&keys[..count * key]);
                entries.values.extend_from_slice(&values[..count * value]);
                if error.is_some() {
                    return Ok(entries);
                }
                started = true;
            }
            Some(_) => return Err(error.expect("matched on it")),
        }
    }
}
