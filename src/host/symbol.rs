//! The host's own functions and variables, found by name in the running program.
//!
//! It refuses to link any of them: the same file opens in a program that has none.

use std::ffi::{CStr, c_void};

/// Declares a set of symbols and how they are found, so that no name can be in one list and not in the other.
macro_rules! symbols {
    ($(#[$doc:meta])* $set:ident { $($name:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        pub struct $set {
            $(pub $name: $kind,)*
        }

        impl $set {
            /// Finds every symbol, or names the first that is missing.
            pub fn find() -> Result<$set, &'static str> {
                Ok($set {
                    // SAFETY: the type is the one that the host's headers declare for this name.
                    $($name: unsafe { $crate::host::symbol::find(concat!(stringify!($name), "\0")) }
                        .ok_or(stringify!($name))?,)*
                })
            }
        }

        // SAFETY: addresses of functions and of variables that live as long as the program; who reads a variable says why it may.
        unsafe impl Send for $set {}
        // SAFETY: as above.
        unsafe impl Sync for $set {}
    };
}

pub(super) use symbols;

/// The address of a variable of the host, with no claim about its type.
pub(super) fn address(name: &CStr) -> Option<*const c_void> {
    // SAFETY: the name ends in NUL; RTLD_DEFAULT asks the program and what it has loaded globally.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found.cast_const())
}

/// # Safety
/// `T` is a pointer or a function pointer of the type that the symbol has.
pub(super) unsafe fn find<T: Copy>(name: &'static str) -> Option<T> {
    const { assert!(size_of::<T>() == size_of::<*const c_void>()) };
    let found = address(CStr::from_bytes_with_nul(name.as_bytes()).ok()?)?;
    // SAFETY: the same size, as asserted, and the type is the caller's word.
    Some(unsafe { std::mem::transmute_copy(&found) })
}
