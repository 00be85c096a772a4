//! This process' id, without a system call each time: it is asked for several times in every script function.
//!
//! It refuses to believe what was noted before a fork: the note is on a page that the kernel empties in the child.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Where the id is noted: null before the first question; [`NO_PAGE`] where the kernel cannot empty a page.
static NOTE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
/// Stands for no page at all; its address is what counts.
static NO_PAGE: AtomicU32 = AtomicU32::new(0);
const PAGE_LEN: usize = 4096;

/// The id of this process.
pub fn own_pid() -> u32 {
    let note = match NOTE.load(Ordering::Acquire) {
        null if null.is_null() => make_note(),
        note => note,
    };
    if ptr::eq(note, &NO_PAGE) {
        return std::process::id();
    }
    // SAFETY: `make_note` has mapped the page, which is never unmapped once it is in NOTE.
    let note = unsafe { &*note };
    match note.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            note.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}

fn make_note() -> *mut AtomicU32 {
    let fresh = page_emptied_by_fork().unwrap_or((&raw const NO_PAGE).cast_mut());
    match NOTE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        // Another thread was first; a page too many stays mapped, untouched.
        Err(known) => known,
    }
}

/// A page of zeros which is one again in each child (MADV_WIPEONFORK of madvise(2), Linux 4.14).
fn page_emptied_by_fork() -> Option<*mut AtomicU32> {
    // SAFETY: an anonymous mapping of our own choosing, aligned for anything; advice about that very mapping.
    unsafe {
        let page = libc::mmap(
            ptr::null_mut(),
            PAGE_LEN,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, PAGE_LEN, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, PAGE_LEN);
            return None;
        }
        Some(page.cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_knows_its_own_id_and_so_does_its_child() {
        assert_eq!(own_pid(), std::process::id());
        // SAFETY: the children only look at memory, fork and leave with _exit.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                let is_right = own_pid() == libc::getpid().cast_unsigned();
                let grandchild = libc::fork();
                if grandchild == 0 {
                    libc::_exit(i32::from(own_pid() != libc::getpid().cast_unsigned()));
                }
                let mut status = -1;
                libc::waitpid(grandchild, &mut status, 0);
                libc::_exit(i32::from(!is_right || status != 0));
            }
            let mut status = -1;
            libc::waitpid(child, &mut status, 0);
            status
        };
        assert_eq!(status, 0);
        assert_eq!(own_pid(), std::process::id());
    }
}
