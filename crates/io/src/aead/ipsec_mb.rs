//! ChaCha20-Poly1305 by Intel's Multi-Buffer Crypto for IPsec library, opened at run time.
//!
//! The library's structures are known to `shim/ipsec_mb.c`, compiled against its header; here they are opaque. A library of
//! another major or minor version than the header's may lay them out differently and is refused.
#![allow(unsafe_code)]

use std::arch::is_x86_feature_detected;
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::transmute;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use fielato_wireguard::aead::{self, Aead};
use subtle::ConstantTimeEq;

use super::Unusable;

/// `IMB_MGR`: the library's memory for one thread.
#[repr(C)]
struct Manager {
    _opaque: [u8; 0],
    _not_send_sync_unpin: PhantomData<(*mut u8, PhantomPinned)>,
}

// The shim.
unsafe extern "C" {
    safe fn fielato_ipsec_mb_version() -> c_uint;
    fn fielato_ipsec_mb_fits(manager: *const Manager) -> c_int;
    fn fielato_ipsec_mb_seal(
        manager: *mut Manager,
        key: *const [u8; 32],
        counter: u64,
        data: *mut u8,
        length: u64,
        tag: *mut [u8; 16],
    ) -> c_int;
    fn fielato_ipsec_mb_open(
        manager: *mut Manager,
        key: *const [u8; 32],
        counter: u64,
        data: *mut u8,
        length: u64,
        tag: *mut [u8; 16],
    ) -> c_int;
}

/// Intel's library, with memory for one thread: each worker has one.
pub struct IpsecMb {
    manager: NonNull<Manager>,
    library: &'static Library,
}

// SAFETY: a manager is plain memory without ties to the thread that made it, and only `&mut self` uses it, by one thread at a time.
unsafe impl Send for IpsecMb {}

impl IpsecMb {
    /// Opens the library the first time, and compares its results with ring's before it gives it out.
    ///
    /// # Errors
    /// Says why the library can't be used.
    pub fn new() -> Result<Self, Unusable> {
        static LIBRARY: OnceLock<Result<Library, Unusable>> = OnceLock::new();
        let library = LIBRARY.get_or_init(Library::open).as_ref().map_err(Clone::clone)?;
        let mut cipher = library.manager()?;
        if !aead::check(&mut cipher) {
            return Err(Unusable::Wrong);
        }
        Ok(cipher)
    }

    /// The library's version, major and minor.
    pub(super) fn version(&self) -> (u32, u32) {
        self.library.version
    }
}

impl Drop for IpsecMb {
    fn drop(&mut self) {
        let _guard = one_at_a_time();
        // SAFETY: the manager came from this library's `alloc_mb_mgr` and is not used again.
        unsafe { (self.library.free)(self.manager.as_ptr()) }
    }
}

impl Aead for IpsecMb {
    fn seal(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        // SAFETY: the manager was initialised and is this object's own; the pointers are valid for `key`, `data.len()` bytes of
        // `data` and `tag`, and nothing keeps them after the call: the shim leaves no job queued.
        let result = unsafe {
            fielato_ipsec_mb_seal(
                self.manager.as_ptr(),
                key,
                counter,
                data.as_mut_ptr(),
                data.len() as u64,
                &raw mut tag,
            )
        };
        if result != 0 {
            // It never happens. If it does: a packet that no peer accepts, and not one that anybody can read.
            data.fill(0);
            return [0; 16];
        }
        tag
    }

    fn open(&mut self, key: &[u8; 32], counter: u64, data: &mut [u8], tag: &[u8; 16]) -> bool {
        let mut expected = [0; 16];
        // SAFETY: as in `seal`.
        let result = unsafe {
            fielato_ipsec_mb_open(
                self.manager.as_ptr(),
                key,
                counter,
                data.as_mut_ptr(),
                data.len() as u64,
                &raw mut expected,
            )
        };
        let authentic = result == 0 && bool::from(expected.ct_eq(tag));
        if !authentic {
            // The library has decrypted by now, and nobody may read what was not authenticated.
            data.fill(0);
        }
        authentic
    }
}

/// The library's functions that make and free managers. It stays open until the process ends.
struct Library {
    alloc: unsafe extern "C" fn(flags: u64) -> *mut Manager,
    init_auto: unsafe extern "C" fn(manager: *mut Manager, architecture: *mut c_uint),
    free: unsafe extern "C" fn(manager: *mut Manager),
    version: (u32, u32),
}

impl Library {
    fn open() -> Result<Self, Unusable> {
        // The library looks too; but it has 12 MB, which nobody should map in vain.
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")) {
            return Err(Unusable::Processor);
        }
        let built = major_minor(fielato_ipsec_mb_version());
        // The number in the file's name is the library's major version.
        let handle = Handle::open(format!("libIPSec_MB.so.{}", built.0))?;
        // SAFETY: the function has this type in the header, in every version.
        let version = unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> c_uint>(handle.symbol(c"imb_get_version")?) };
        // SAFETY: it takes nothing and returns a constant.
        let found = major_minor(unsafe { version() });
        if found != built {
            return Err(Unusable::Version { found, built });
        }
        // SAFETY: the functions have these types in the header of this version.
        unsafe {
            Ok(Self {
                alloc: transmute::<*mut c_void, unsafe extern "C" fn(u64) -> *mut Manager>(handle.symbol(c"alloc_mb_mgr")?),
                init_auto: transmute::<*mut c_void, unsafe extern "C" fn(*mut Manager, *mut c_uint)>(
                    handle.symbol(c"init_mb_mgr_auto")?,
                ),
                free: transmute::<*mut c_void, unsafe extern "C" fn(*mut Manager)>(handle.symbol(c"free_mb_mgr")?),
                version: found,
            })
        }
    }

    fn manager(&'static self) -> Result<IpsecMb, Unusable> {
        let guard = one_at_a_time();
        // SAFETY: no flags: every instruction set that the processor has.
        let manager = NonNull::new(unsafe { (self.alloc)(0) }).ok_or(Unusable::Memory)?;
        // SAFETY: the manager was just allocated; the second argument may be null.
        unsafe { (self.init_auto)(manager.as_ptr(), std::ptr::null_mut()) };
        drop(guard);
        // From here on its `drop` frees it.
        let cipher = IpsecMb { manager, library: self };
        // SAFETY: the manager was initialised.
        if unsafe { fielato_ipsec_mb_fits(manager.as_ptr()) } == 0 {
            return Err(Unusable::Architecture);
        }
        Ok(cipher)
    }
}

/// The library does not say whether managers may be made by several threads at once, and it tests itself when one is.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static MANAGERS: Mutex<()> = Mutex::new(());
    MANAGERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `IMB_VERSION(major, minor, patch)` has 8 bits for each.
fn major_minor(version: c_uint) -> (u32, u32) {
    (version >> 16, version >> 8 & 0xff)
}

/// An open shared library.
struct Handle {
    name: String,
    handle: NonNull<c_void>,
}

impl Handle {
    fn open(name: String) -> Result<Self, Unusable> {
        let path = CString::new(name.as_str()).unwrap_or_default();
        // SAFETY: `path` is a string that ends with 0. The library's constructors, if it has any, run: it is the one that the
        // machine's owner installed under this name.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Self { name, handle }),
            None => Err(Unusable::Missing {
                library: name,
                reason: said(),
            }),
        }
    }

    /// A function's address, never null.
    fn symbol(&self, symbol: &'static CStr) -> Result<*mut c_void, Unusable> {
        // SAFETY: the handle is open and is never closed, `symbol` ends with 0.
        let address = unsafe { libc::dlsym(self.handle.as_ptr(), symbol.as_ptr()) };
        if address.is_null() {
            return Err(Unusable::Symbol {
                library: self.name.clone(),
                symbol: symbol.to_str().unwrap_or_default(),
            });
        }
        Ok(address)
    }
}

/// What the dynamic linker said last on this thread.
fn said() -> String {
    // SAFETY: dlerror(3) returns null or a string that lives until the next call of the dl family on this thread.
    let message = unsafe {
        let message = libc::dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    };
    message.unwrap_or_else(|| "no reason was given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_missing_libraries_and_functions_are_named() {
        assert_eq!(major_minor(0x01_03_00), (1, 3));
        let Err(error) = Handle::open("libfielato-none.so.1".to_owned()) else {
            panic!("there is such a library")
        };
        assert!(
            error
                .to_string()
                .starts_with("libfielato-none.so.1 can't be opened (libfielato-none.so.1: cannot open"),
            "{error}"
        );
        let libc = Handle::open("libc.so.6".to_owned()).unwrap_or_else(|error| panic!("{error}"));
        assert!(libc.symbol(c"getpid").is_ok());
        assert_eq!(
            libc.symbol(c"alloc_mb_mgr"),
            Err(Unusable::Symbol {
                library: "libc.so.6".to_owned(),
                symbol: "alloc_mb_mgr"
            })
        );
    }
}
