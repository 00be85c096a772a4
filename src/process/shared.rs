//! Counters that every process of a forking server sees: an anonymous shared mapping made before the fork.
//!
//! It refuses to hold anything but 64-bit numbers: a process may die at any moment, and a half-written number does not
//! exist.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A fixed number of counters, shared with every process forked after it was made.
pub struct SharedCounters {
    start: NonNull<AtomicU64>,
    len: usize,
}

impl SharedCounters {
    /// Maps `len` counters, all zero.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len * size_of::<AtomicU64>();
        // SAFETY: an anonymous mapping of our own choosing; no file and no fixed address are involved.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes.max(1),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(SharedCounters { start, len })
    }

    /// The same for numbers that hold a secret: they are in no core dump (MADV_DONTDUMP of madvise(2)). Pages that nobody has
    /// touched take no memory.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn undumped(len: usize) -> io::Result<Self> {
        let counters = Self::new(len)?;
        // SAFETY: advice about the very mapping that was made above; the bytes in it stay as they are.
        match unsafe { libc::madvise(counters.start.as_ptr().cast(), counters.bytes(), libc::MADV_DONTDUMP) }
        {
            0 => Ok(counters),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn bytes(&self) -> usize {
        (self.len * size_of::<AtomicU64>()).max(1)
    }

    /// The counters.
    pub fn as_slice(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has `len` counters, is page-aligned, zero-filled (a valid AtomicU64) and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SharedCounters {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes()) };
    }
}

// SAFETY: all access goes through atomics.
unsafe impl Send for SharedCounters {}
// SAFETY: as above.
unsafe impl Sync for SharedCounters {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's flags of the mapping that these counters are in (proc(5), VmFlags).
    fn flags(counters: &SharedCounters) -> String {
        let start = format!("{:x}-", counters.start.as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = maps.lines().skip_while(|line| !line.starts_with(&start));
        own.into_iter().find_map(|line| line.strip_prefix("VmFlags:")).unwrap().to_owned()
    }

    #[test]
    fn a_secret_is_in_no_core_dump() {
        let secret = SharedCounters::undumped(100_000).unwrap();
        assert!(flags(&secret).split_whitespace().any(|flag| flag == "dd"), "{}", flags(&secret));
    }
}
