//! UUIDs that are made from names (version 5, RFC 9562 §5.5): the same name, the same UUID.
//!
//! It refuses to be a proof of anything: SHA-1 is what the RFC wants, and fast, since each push needs two.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use uuid::{Builder, Uuid};

/// The UUID of a name that is made of these parts, one behind the other.
pub(super) fn name_uuid<'a>(namespace: &Uuid, parts: impl IntoIterator<Item = &'a str>) -> Uuid {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(namespace.as_bytes());
    parts.into_iter().for_each(|part| hash.update(part.as_bytes()));
    let hash = hash.finish();
    let start = hash.as_ref().first_chunk().expect("SHA-1 has 20 bytes");
    Builder::from_sha1_bytes(*start).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_uuid_crates(namespace in any::<u128>(), parts in proptest::collection::vec(".{0,90}", 0..5)) {
            let namespace = Uuid::from_u128(namespace);
            let ours = name_uuid(&namespace, parts.iter().map(String::as_str));
            prop_assert_eq!(ours, Uuid::new_v5(&namespace, parts.concat().as_bytes()));
        }
    }
}
