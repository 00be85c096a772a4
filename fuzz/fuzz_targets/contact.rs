//! Fuzzes everything that reads Contact and Feature-Caps headers. With a nightly toolchain:
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run contact
//! ```
//!
//! What it claims is in `claims.rs`, which `tests/sip_fuzz.rs` tries for a while with any toolchain.

#![no_main]

#[path = "../claims.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold(data));
