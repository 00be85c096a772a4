//! A shared library, opened to see whether a SIP server could: every library and symbol that it needs is there.
//!
//! It refuses to call anything in it, though its constructors run; so it is for a process that may end by that.

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens a library as a SIP server does and looks these symbols up. It stays open.
///
/// # Errors
/// What the dynamic linker says, or the symbol that is missing.
pub fn try_open(file: &Path, symbols: &[&CStr]) -> Result<(), String> {
    let name = CString::new(file.as_os_str().as_bytes()).map_err(|_| "a NUL byte in its name".to_owned())?;
    // SAFETY: a C string; what the library's constructors do is what they do in a SIP server.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(last_error());
    }
    for symbol in symbols {
        // SAFETY: a handle that is open, and a C string.
        if unsafe { libc::dlsym(library, symbol.as_ptr()) }.is_null() {
            return Err(format!("it has no {}", symbol.to_string_lossy()));
        }
    }
    Ok(())
}

fn last_error() -> String {
    // SAFETY: the text is of this thread and stays until the next call of this kind.
    let text: *const c_char = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the dynamic linker does not say why".to_owned();
    }
    // SAFETY: not null, so a C string, as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The version of glibc that runs here: `2.36`.
pub fn libc_version() -> String {
    // SAFETY: it gives a C string that stays for ever.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_or_lacks_a_symbol_is_told() {
        let libc = Path::new("libc.so.6");
        assert_eq!(try_open(libc, &[c"malloc", c"free"]), Ok(()));
        assert_eq!(try_open(libc, &[c"malloc", c"no_such_thing"]), Err("it has no no_such_thing".to_owned()));
        let missing = try_open(Path::new("/nowhere/x.so"), &[]).unwrap_err();
        assert!(missing.starts_with("/nowhere/x.so: cannot open"), "{missing}");
        assert!(libc_version().starts_with("2."), "{}", libc_version());
    }
}
