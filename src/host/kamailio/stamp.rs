//! Which Kamailio this is, and the stamps with which its loader recognises a module that was compiled with it.
//!
//! It refuses versions whose layouts nobody has looked at: stamping replaces the loader's own check, so it must be at least as
//! strict.

use crate::host::symbol::address;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;

/// The versions whose headers were compared and whose binaries were run, first and last minor version of each major one.
const KNOWN: [(u32, std::ops::RangeInclusive<u32>); 2] = [(5, 4..=8), (6, 0..=1)];

/// `kamailio 5.6.3 (x86_64/linux)`: the text that the loader compares; nothing in any other program.
pub fn running_version() -> Option<String> {
    let start = address(c"full_version")?.cast::<u8>();
    let is_kamailio = b"kamailio ".iter().enumerate().all(|(at, byte)| {
        // SAFETY: `full_version` has at least one byte, and another is only read after all before it were as in Kamailio's own
        // NUL-terminated text.
        unsafe { start.add(at).read() == *byte }
    });
    if !is_kamailio {
        return None;
    }
    // SAFETY: Kamailio's `const char full_version[]`, a C string (ver.c).
    let full = unsafe { CStr::from_ptr(start.cast()) }.to_str().ok()?;
    // The variable goes on with the revision of the source; the loader's own text ends here.
    Some(full.split_inclusive(')').next().unwrap_or(full).to_owned())
}

/// Whether the layouts of this version are known, and if not, what to say.
pub fn check(version: &str) -> Result<(), String> {
    let known = numbers(version).is_some_and(|(major, minor)| {
        KNOWN.iter().any(|(known, minors)| *known == major && minors.contains(&minor))
    });
    // aarch64 has the same layout, but nobody has run it.
    if known && cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        return Ok(());
    }
    let ours = env!("CARGO_PKG_VERSION");
    let known = KNOWN.map(|(major, minors)| format!("{major}.{}-{major}.{}", minors.start(), minors.end()));
    Err(format!("voip_push {ours} supports Kamailio {} on x86_64; this is '{version}'", known.join(", ")))
}

/// Major and minor of `kamailio 5.6.3 (…)`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("kamailio ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The compile flags that the loader compares with. It has them as a literal of its own, so they are taken from where they must
/// be the same; a wrong guess is a clear error of the loader's.
pub fn flags(version: &str) -> CString {
    of_accepted_module(version).or_else(in_program).or_else(exported).unwrap_or_default()
}

/// The flags of a module that this Kamailio has already accepted.
fn of_accepted_module(version: &str) -> Option<CString> {
    loaded_objects()
        .iter()
        .find_map(|name| stamps_of(name).filter(|(theirs, _)| theirs.as_bytes() == version.as_bytes()))
        .map(|(_, flags)| flags)
}

fn stamps_of(object: &CStr) -> Option<(CString, CString)> {
    // SAFETY: RTLD_NOLOAD only finds what is already loaded and runs nothing of it.
    let handle = unsafe { libc::dlopen(object.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return None;
    }
    // All three come from the one macro MODULE_VERSION (sr_module.h), so whatever has them is a module.
    let found = ["module_interface_ver\0", "module_version\0", "module_flags\0"].map(|name| {
        // SAFETY: a valid handle and a NUL-terminated name.
        unsafe { libc::dlsym(handle, name.as_ptr().cast()) }.cast_const().cast::<*const c_char>()
    });
    let text = |variable: *const *const c_char| {
        // SAFETY: a module's variables of type `char *`, set to literals when it was compiled.
        unsafe { (*variable).as_ref() }.map(|start| unsafe { CStr::from_ptr(start) }.to_owned())
    };
    let stamps = if found.iter().any(|variable| variable.is_null()) {
        None
    } else {
        text(found[1]).zip(text(found[2]))
    };
    // SAFETY: gives back the reference taken above.
    unsafe { libc::dlclose(handle) };
    stamps
}

/// Names of all shared objects of this process, in the order of loading; the program itself has an empty one.
fn loaded_objects() -> Vec<CString> {
    unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, names: *mut c_void) -> c_int {
        // SAFETY: the loader gives a valid entry, and `names` is the vector below.
        unsafe {
            if !(*info).dlpi_name.is_null() {
                (*names.cast::<Vec<CString>>()).push(CStr::from_ptr((*info).dlpi_name).to_owned());
            }
        }
        0
    }
    let mut names: Vec<CString> = Vec::new();
    // SAFETY: the callback takes what is passed here.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut names).cast()) };
    names.retain(|name| is_shared_object(name));
    names
}

fn is_shared_object(name: &CStr) -> bool {
    std::path::Path::new(OsStr::from_bytes(name.to_bytes()))
        .extension()
        .is_some_and(|extension| extension == "so")
}

/// The exported variable. In cmake's builds of 6.1 it has some words more than what the loader compares with.
fn exported() -> Option<CString> {
    let start = address(c"ver_flags")?;
    // SAFETY: Kamailio's `const char ver_flags[]`, a C string (ver.c).
    Some(unsafe { CStr::from_ptr(start.cast()) }.to_owned())
}

/// The loader's own literal, where the program's constants have exactly one that looks like it and is not the exported one.
fn in_program() -> Option<CString> {
    let exported = exported()?;
    let mut others: Vec<CString> = constants_of_program()
        .iter()
        .flat_map(|constants| flag_texts(constants))
        .filter(|text| *text != exported)
        .collect();
    others.sort();
    others.dedup();
    if others.len() == 1 { others.pop() } else { None }
}

/// The texts between NULs that look like Kamailio's compile flags.
fn flag_texts(constants: &[u8]) -> Vec<CString> {
    const START: &[u8] = b"\0USE_TCP, ";
    let mut found = Vec::new();
    let mut rest = constants;
    while let Some(at) = find(rest, START) {
        rest = &rest[at + 1..];
        if let Ok(text) = CStr::from_bytes_until_nul(rest)
            && find(text.to_bytes(), b"SHM_MMAP").is_some()
        {
            found.push(text.to_owned());
        }
    }
    found
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both are valid for their length; the result is null or within `hay`.
    let found = unsafe { libc::memmem(hay.as_ptr().cast(), hay.len(), needle.as_ptr().cast(), needle.len()) };
    (!found.is_null()).then(|| found.addr() - hay.as_ptr().addr())
}

/// The program's segments that are mapped for reading and not for writing.
fn constants_of_program() -> Vec<&'static [u8]> {
    unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, segments: *mut c_void) -> c_int {
        // SAFETY: the loader gives a valid entry whose headers are `dlpi_phnum` long, and `segments` is the vector below. A
        // segment that is read-only stays mapped as long as the program runs.
        unsafe {
            let headers = std::slice::from_raw_parts((*info).dlpi_phdr, usize::from((*info).dlpi_phnum));
            for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
                if header.p_flags & (libc::PF_R | libc::PF_W) == libc::PF_R {
                    let start =
                        std::ptr::with_exposed_provenance(((*info).dlpi_addr + header.p_vaddr) as usize);
                    let segment = std::slice::from_raw_parts(start, header.p_filesz as usize);
                    (*segments.cast::<Vec<&'static [u8]>>()).push(segment);
                }
            }
        }
        // The program is the first entry; the others are of no interest.
        1
    }
    let mut segments: Vec<&'static [u8]> = Vec::new();
    // SAFETY: the callback takes what is passed here.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut segments).cast()) };
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_were_looked_at_are_taken() {
        for good in ["kamailio 5.4.4 (x86_64/linux)", "kamailio 5.8.8 (x)", "kamailio 6.1.5 (x86_64/Linux)"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "kamailio 5.3.9 (x)",
            "kamailio 5.9.0 (x)",
            "kamailio 6.2.0-dev0 (x)",
            "kamailio 7.0.0 (x)",
            "kamailio x",
        ] {
            let why = check(bad).unwrap_err();
            assert!(why.starts_with("voip_push "), "{why}");
            assert!(
                why.ends_with(&format!("supports Kamailio 5.4-5.8, 6.0-6.1 on x86_64; this is '{bad}'")),
                "{why}"
            );
        }
    }

    #[test]
    fn flags_are_found_between_nuls() {
        let constants =
            b"x\0USE_TCP, A, SHM_MMAP, B\0USE_TCP, no\0 USE_TCP, SHM_MMAP\0USE_TCP, SHM_MMAP not ended";
        assert_eq!(flag_texts(constants), [c"USE_TCP, A, SHM_MMAP, B".to_owned()]);
    }

    #[test]
    fn this_program_is_not_kamailio() {
        assert_eq!(running_version(), None);
    }
}
