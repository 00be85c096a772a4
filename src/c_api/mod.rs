//! The C porch: what `voip_push.h` offers to C programs. Every function checks its pointers, calls one verb of the
//! service, and turns the result into a number and a line of text.
//!
//! It refuses to let anything through that a C program cannot survive: no panic crosses it, nothing is printed, and no
//! pointer is kept after a call.
//!
//! `build.rs` makes the header from [`status`], `life`, `tokens`, `devices`, `push`, `later` and `tools`, in this order; `cbindgen.toml` holds its
//! first page. Raw pointers become safe values in `pointers` and nowhere else.

mod devices;
mod guard;
mod instance;
mod last_error;
mod later;
mod life;
mod logger;
mod pointers;
mod push;
pub mod status;
mod tokens;
mod tools;

#[cfg(test)]
mod tests;
