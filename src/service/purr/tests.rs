use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::OnceLock;

fn keys(first_digits: &str) -> Purrs {
    let lines: Vec<String> = first_digits.chars().map(|digit| digit.to_string().repeat(64)).collect();
    Purrs::parse(&lines.join("\n")).unwrap()
}

fn purrs() -> &'static Purrs {
    static PURRS: OnceLock<Purrs> = OnceLock::new();
    PURRS.get_or_init(|| keys("a"))
}

fn bob() -> Named {
    let device_id = "sip:urn:uuid:00000000-0000-1000-8000-000a95a0e128".to_owned();
    Named { user: "bob".to_owned(), device_id }
}

fn made(named: &Named) -> String {
    purrs().make(named, b"bob").unwrap()
}

#[test]
fn a_purr_names_its_device_to_us_and_is_never_the_same() {
    let some: HashSet<String> = (0..200).map(|_| made(&bob())).collect();
    assert_eq!(some.len(), 200);
    assert!(some.iter().all(|purr| purrs().read(purr, b"bob") == Some(bob())));
    // RFC 3261 paramchar, RFC 3840 tag-value
    let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(some.iter().all(|purr| purr.bytes().all(is_taken) && purr.len() == 123));
    // no two of them have more in common than chance gives them
    let prefixes: HashSet<&str> = some.iter().map(|purr| &purr[..12]).collect();
    assert_eq!(prefixes.len(), 200);
}

#[test]
fn its_length_tells_hardly_whose_it_is() {
    let of = |user: &str| made(&Named { user: user.to_owned(), ..bob() }).len();
    assert_eq!(of("bob"), of("robert"));
}

#[test]
fn it_is_good_for_the_contact_of_its_phone_only() {
    let purr = made(&bob());
    for other in [&b""[..], b"mallory", b"Bob", b"bob ", b"bo"] {
        assert_eq!(purrs().read(&purr, other), None);
    }
    let nameless = purrs().make(&bob(), b"").unwrap();
    assert_eq!((purrs().read(&nameless, b""), purrs().read(&nameless, b"bob")), (Some(bob()), None));
}

#[test]
fn an_old_key_reads_as_long_as_it_is_there() {
    let old = keys("b").make(&bob(), b"bob").unwrap();
    assert_eq!(keys("cb").read(&old, b"bob"), Some(bob()));
    assert_eq!(keys("c").read(&old, b"bob"), None);
    let new = keys("cb").make(&bob(), b"bob").unwrap();
    assert_eq!((keys("c").read(&new, b"bob"), keys("b").read(&new, b"bob")), (Some(bob()), None));
}

#[test]
fn names_that_are_too_long_get_none() {
    let long = |len: usize| Named { user: "u".repeat(len), device_id: String::new() };
    assert_eq!(purrs().read(&made(&long(200)), b"bob"), Some(long(200)));
    assert_eq!(purrs().make(&long(224), b"bob"), None);
    assert_eq!(purrs().make(&long(300), b"bob"), None);
}

#[test]
fn a_file_without_a_whole_key_is_refused() {
    for text in ["", "# nothing\n", "abc", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"é".repeat(32)]
    {
        assert!(Purrs::parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_name_comes_back(user in "[^\\pC]{1,40}", device_id in "[^\\pC]{0,40}", contact in "\\PC{0,20}") {
        let named = Named { user, device_id };
        let Some(purr) = purrs().make(&named, contact.as_bytes()) else { return Ok(()) };
        prop_assert_eq!(purrs().read(&purr, contact.as_bytes()), Some(named));
    }

    #[test]
    fn a_changed_purr_is_none(at in 0usize..123, to in "[A-Za-z0-9_=.~+/-]") {
        let purr = made(&bob());
        let mut changed = purr.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != purr);
        prop_assert_eq!(purrs().read(&changed, b"bob"), None);
    }

    #[test]
    fn a_purr_that_was_cut_or_grew_is_none(len in 0usize..123, more in "[A-Za-z0-9_-]{1,8}") {
        let purr = made(&bob());
        prop_assert_eq!(purrs().read(&purr[..len], b"bob"), None);
        prop_assert_eq!(purrs().read(&(purr.clone() + &more), b"bob"), None);
        prop_assert_eq!(purrs().read(&(more + &purr), b"bob"), None);
    }

    #[test]
    fn two_halves_of_two_are_none(at in 1usize..122) {
        let (one, other) = (made(&bob()), made(&Named { user: "eve".to_owned(), ..bob() }));
        let mixed = format!("{}{}", &one[..at], &other[at..]);
        prop_assume!(mixed != one && mixed != other);
        prop_assert_eq!(purrs().read(&mixed, b"bob"), None);
    }

    #[test]
    fn any_text_is_borne_and_is_none(text in "\\PC{0,400}") {
        prop_assert_eq!(purrs().read(&text, b"bob"), None);
    }
}
