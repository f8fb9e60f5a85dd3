//! Memory that the allocator holds for later.
#![allow(unsafe_code)]

/// Gives free memory back to the system.
pub(crate) fn give_back() {
    // SAFETY: malloc_trim(3) may be called at any time and on any thread; it moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
