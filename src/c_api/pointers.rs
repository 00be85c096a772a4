//! The one place where raw pointers from C become values that safe code can work with. The pointer's type says what C
//! promised about it; functions take these types in the place of bare pointers, and the header shows them as pointers.
//!
//! It refuses to keep, free or grow anything that it was shown: all of it is the caller's, for the time of one call.

use super::devices::VoipPushDevice;
use std::ffi::{CStr, c_char};
use std::fmt;

/// A `const char *` argument: NULL, or a NUL-terminated string that nobody changes during the call.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct InText(*const c_char);

/// A `const voip_push_device *` argument: NULL, or a structure that begins with its own size.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct InDevice(*const VoipPushDevice);

/// A `char *` argument: NULL, or room for as many bytes as the capacity beside it says.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct OutText(*mut c_char);

/// A `size_t *` argument: NULL where the caller does not want the number, or room for one.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct OutLen(*mut usize);

/// An `int *` argument: room for a descriptor, which must be there.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct OutFd(*mut i32);

/// What is wrong with a pointer; the text names the argument and never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A pointer that is needed is NULL.
    Null { what: &'static str },
    /// A string is not UTF-8.
    NotUtf8 { what: &'static str },
    /// A text and its NUL do not fit.
    TooSmall { what: &'static str, needed: usize, cap: usize },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Null { what } => write!(f, "{what}: is NULL"),
            Refusal::NotUtf8 { what } => write!(f, "{what}: is not valid UTF-8"),
            Refusal::TooSmall { what, needed, cap } => {
                write!(f, "{what}: the text needs {needed} bytes, there is room for {cap}")
            }
        }
    }
}

impl InText {
    /// The string, which must be there.
    pub(super) fn text(&self, what: &'static str) -> Result<&str, Refusal> {
        self.optional(what)?.ok_or(Refusal::Null { what })
    }

    /// The string, or nothing for NULL.
    pub(super) fn optional(&self, what: &'static str) -> Result<Option<&str>, Refusal> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: not NULL, and C promised a NUL-terminated string that stays as it is during the call; `self` is an argument
        // of that call, so the reference cannot outlive it.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map(Some).map_err(|_| Refusal::NotUtf8 { what })
    }
}

impl InDevice {
    /// A copy of the structure; `None` where it is shorter than ours.
    pub(super) fn read(&self, what: &'static str) -> Result<Option<VoipPushDevice>, Refusal> {
        if self.0.is_null() {
            return Err(Refusal::Null { what });
        }
        // SAFETY: not NULL, and C promised a structure that begins with its size.
        let size = unsafe { self.0.cast::<usize>().read() };
        if size < size_of::<VoipPushDevice>() {
            return Ok(None);
        }
        // SAFETY: not NULL, and there are as many bytes as ours has. Its texts are arguments of this call as well.
        Ok(Some(unsafe { self.0.read() }))
    }
}

/// A place for a text that goes out to C: a buffer, its capacity, and where the length goes.
pub(super) struct Place {
    what: &'static str,
    buffer: OutText,
    cap: usize,
    len: OutLen,
}

impl Place {
    /// Takes the three arguments together; the length is 0 until a text is there. A NULL buffer of capacity 0 means that only
    /// the length is wanted.
    pub fn new(what: &'static str, buffer: OutText, cap: usize, len: OutLen) -> Result<Place, Refusal> {
        len.set(0);
        if buffer.0.is_null() && cap > 0 {
            return Err(Refusal::Null { what });
        }
        Ok(Place { what, buffer, cap, len })
    }

    fn check_room(&self, text: &str) -> Result<(), Refusal> {
        let needed = text.len() + 1;
        if self.buffer.0.is_null() || needed <= self.cap {
            return Ok(());
        }
        Err(Refusal::TooSmall { what: self.what, needed, cap: self.cap })
    }

    fn write(&self, text: &str) {
        if self.buffer.0.is_null() || text.len() >= self.cap {
            return;
        }
        let target = self.buffer.0.cast::<u8>();
        // SAFETY: not NULL, and C promised `cap` bytes, which were just seen to be more than the text has; the text is in memory
        // of ours, so the two do not overlap.
        unsafe {
            target.copy_from_nonoverlapping(text.as_ptr(), text.len());
            target.add(text.len()).write(0);
        }
    }
}

impl OutLen {
    fn set(self, len: usize) {
        if !self.0.is_null() {
            // SAFETY: not NULL, and C promised room for a size_t.
            unsafe { self.0.write(len) };
        }
    }
}

impl OutFd {
    /// Stores a descriptor.
    pub(super) fn set(self, what: &'static str, fd: i32) -> Result<(), Refusal> {
        if self.0.is_null() {
            return Err(Refusal::Null { what });
        }
        // SAFETY: not NULL, and C promised room for an int.
        unsafe { self.0.write(fd) };
        Ok(())
    }
}

/// Gives texts out, all of them or none: every length is stored, and no buffer is touched unless every text fits.
pub(super) fn give(texts: &[(&Place, &str)]) -> Result<(), Refusal> {
    for (place, text) in texts {
        place.len.set(text.len());
    }
    texts.iter().try_for_each(|(place, text)| place.check_room(text))?;
    texts.iter().for_each(|(place, text)| place.write(text));
    Ok(())
}

#[cfg(test)]
impl InText {
    /// What C would pass.
    pub(super) fn from_c(text: &CStr) -> InText {
        InText(text.as_ptr())
    }

    pub(super) const NULL: InText = InText(std::ptr::null());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(buffer: &mut [u8], len: &mut usize) -> Place {
        Place::new("out", OutText(buffer.as_mut_ptr().cast()), buffer.len(), OutLen(len)).unwrap()
    }

    #[test]
    fn null_and_foreign_bytes_are_refused_by_name() {
        assert_eq!(InText::NULL.text("user"), Err(Refusal::Null { what: "user" }));
        assert_eq!(InText::NULL.optional("user"), Ok(None));
        assert_eq!(InText::from_c(c"\xff\xfe").text("user"), Err(Refusal::NotUtf8 { what: "user" }));
        assert_eq!(InText::from_c(c"\xc3\xa9").text("user"), Ok("é"));
    }

    #[test]
    fn two_texts_go_out_together_or_not_at_all() {
        let (mut first, mut second, mut first_len, mut second_len) = ([b'#'; 4], [b'#'; 3], 9, 9);
        let places = (place(&mut first, &mut first_len), place(&mut second, &mut second_len));
        let refused = give(&[(&places.0, "abc"), (&places.1, "abc")]).unwrap_err();
        assert_eq!(refused, Refusal::TooSmall { what: "out", needed: 4, cap: 3 });
        assert_eq!((&first, &second, first_len, second_len), (b"####", b"###", 3, 3));
        let places = (place(&mut first, &mut first_len), place(&mut second, &mut second_len));
        give(&[(&places.0, "abc"), (&places.1, "ab")]).unwrap();
        assert_eq!((&first, &second), (b"abc\0", b"ab\0"));
    }

    #[test]
    fn no_buffer_asks_for_the_length_only_and_no_length_is_fine() {
        let mut len = 9;
        let asks = Place::new("out", OutText(std::ptr::null_mut()), 0, OutLen(&mut len)).unwrap();
        give(&[(&asks, "abc")]).unwrap();
        assert_eq!(len, 3);
        let wrong = Place::new("out", OutText(std::ptr::null_mut()), 4, OutLen(std::ptr::null_mut()));
        assert_eq!(wrong.err(), Some(Refusal::Null { what: "out" }));
    }
}
