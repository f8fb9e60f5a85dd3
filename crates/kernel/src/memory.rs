//! Memory that the allocator holds for later.
#![allow(unsafe_code)]

/// Keeps the allocator from holding more than is in use. For a program that stays, before it starts threads.
pub fn hold_little() {
    // SAFETY: mallopt(3) is called before there is another thread; the values are within the documented limits.
    #[cfg(target_env = "gnu")]
    unsafe {
        // Set by hand they no longer grow: by themselves they follow the largest block that was freed, and the next such
        // block then leaves a hole between small ones.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// Gives free memory back to the system. After work that needs much for a moment, such as reading a file with thousands of
/// members; it takes about a millisecond, and the pages must be had again when they are needed again.
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time and on any thread; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
