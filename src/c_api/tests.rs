use super::guard::{count, entry};
use super::status::{Failure, VOIP_PUSH_ERR_CONFIG, VOIP_PUSH_ERR_INTERNAL, VOIP_PUSH_OK, name};
use super::{last_error, tokens::delete_token};
use crate::c_api::pointers::InText;

#[test]
fn a_panic_becomes_a_status_that_names_its_place_and_not_its_message() {
    let secret = "0123456789abcdef";
    assert_eq!(entry(|| panic!("about {secret}")), VOIP_PUSH_ERR_INTERNAL);
    let text = last_error::text();
    assert!(text.contains(&format!("panic at {}:", file!())) && !text.contains(secret), "{text}");
    assert_eq!(entry(|| Ok(3)), 3);
    assert_eq!(last_error::text(), "");
}

#[test]
fn the_last_error_is_one_line_of_its_own_thread() {
    let fails = || entry(|| Err(Failure::new(VOIP_PUSH_ERR_CONFIG, "a\nb\0c")));
    assert_eq!(fails(), VOIP_PUSH_ERR_CONFIG);
    assert_eq!(last_error::text(), "a b c");
    assert_eq!(std::thread::spawn(last_error::text).join().unwrap(), "");
    entry(|| Err(Failure::new(VOIP_PUSH_ERR_CONFIG, "é".repeat(10_000))));
    assert_eq!(last_error::text(), "é".repeat(511));
}

#[test]
fn arguments_are_judged_before_anything_is_started() {
    assert!(delete_token(InText::NULL) < VOIP_PUSH_OK);
    assert_eq!(last_error::text(), "user: is NULL");
    assert!(crate::service::installed().is_none());
}

#[test]
fn every_number_has_a_name() {
    assert_eq!(name(VOIP_PUSH_ERR_CONFIG), c"VOIP_PUSH_ERR_CONFIG");
    assert_eq!((name(0), name(i32::MAX)), (c"VOIP_PUSH_OK", c"VOIP_PUSH_OK"));
    assert_eq!((name(-1), name(i32::MIN)), (c"unknown status", c"unknown status"));
    assert_eq!(count(usize::MAX), i32::MAX);
}
