//! Memory that the allocator holds for later.
#![allow(unsafe_code)]

/// Gives free memory back to the system. After work that needs much for a moment, such as reading a file with thousands of
/// members; it takes about a millisecond, and the pages must be had again when they are needed again.
pub fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time and on any thread; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
