//! What went wrong in this thread's last call, as one line of text.
//!
//! It refuses to fail: where no text can be kept, the answer is the empty text.

use crate::model::clean_line;
use std::cell::RefCell;
use std::ffi::{CString, c_char};

/// Longest text kept, in bytes without the NUL.
const MAX_LEN: usize = 1023;

thread_local! {
    static TEXT: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Keeps the text for this thread, without line breaks and other control characters.
pub(super) fn set(text: &str) {
    let line =
        CString::new(clean_line(text, MAX_LEN)).expect("a clean line has no control character, so no NUL");
    store(Some(line));
}

/// Forgets the text: what follows starts well.
pub(super) fn clear() {
    store(None);
}

/// The text for C, never NULL; it stays in place until this thread sets or clears it, or ends.
pub(super) fn as_ptr() -> *const c_char {
    let kept = TEXT.try_with(|text| text.borrow().as_ref().map(|line| line.as_ptr()));
    kept.ok().flatten().unwrap_or(c"".as_ptr())
}

/// A thread that is ending may call from a destructor after its text is gone; there is nothing to keep then.
fn store(line: Option<CString>) {
    let _ = TEXT.try_with(|text| *text.borrow_mut() = line);
}

#[cfg(test)]
pub(super) fn text() -> String {
    TEXT.with_borrow(|text| text.as_ref().map(|line| line.to_str().unwrap().to_owned()).unwrap_or_default())
}
