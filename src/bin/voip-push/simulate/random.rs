//! Random names: tokens, keys and ids that nobody can guess.
//!
//! It refuses to fall back to anything weaker than the crypto provider's own generator.

use std::sync::LazyLock;

use rustls::crypto::{SecureRandom, aws_lc_rs};

/// Taken once: a whole provider is a handful of allocations.
static GENERATOR: LazyLock<&'static dyn SecureRandom> =
    LazyLock::new(|| aws_lc_rs::default_provider().secure_random);

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    GENERATOR
        .fill(&mut bytes)
        .expect("AWS-LC's generator is seeded by the kernel and does not fail afterwards");
    bytes
}

/// 43 characters of the URL-safe alphabet: 258 random bits.
pub fn url_safe() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes::<43>().iter().map(|b| char::from(ALPHABET[usize::from(b & 63)])).collect()
}

/// Hexadecimal digits, two for each of the `N` random bytes.
pub fn hex<const N: usize>() -> String {
    bytes::<N>().iter().map(|b| format!("{b:02x}")).collect()
}

/// A fresh lower-case UUID (version 4).
pub fn uuid() -> String {
    uuid::Builder::from_random_bytes(bytes()).into_uuid().to_string()
}
