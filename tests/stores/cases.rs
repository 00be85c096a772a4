//! What every store does alike, one case after the other, each on an empty store.

use super::Open;
use voip_push::model::{Alert, Device, Environment, Extra, NewDevice, Provider, Token, User};
use voip_push::store::{Limits, Registered, TokenStore};

pub type Case = fn(Open<'_>);

pub const ALL: &[(&str, Case)] = &[
    (
        "the_seeds_registration_is_one_token_per_user_replaced_when_registered_again",
        the_seeds_registration_is_one_token_per_user_replaced_when_registered_again,
    ),
    (
        "a_user_has_many_devices_and_the_newest_comes_first",
        a_user_has_many_devices_and_the_newest_comes_first,
    ),
    (
        "a_dead_token_goes_unless_it_was_registered_again_or_is_another_one",
        a_dead_token_goes_unless_it_was_registered_again_or_is_another_one,
    ),
    (
        "a_dead_token_for_alerts_goes_alone_unless_it_was_registered_again_or_is_another_one",
        a_dead_token_for_alerts_goes_alone_unless_it_was_registered_again_or_is_another_one,
    ),
    ("a_clock_that_was_set_back_loses_no_registration", a_clock_that_was_set_back_loses_no_registration),
    (
        "a_token_that_moves_to_another_user_leaves_the_old_one",
        a_token_that_moves_to_another_user_leaves_the_old_one,
    ),
    (
        "a_device_that_has_expired_is_not_found_and_goes_with_the_next_registration",
        a_device_that_has_expired_is_not_found_and_goes_with_the_next_registration,
    ),
    (
        "a_user_has_so_many_devices_and_no_more_and_a_refusal_changes_nothing",
        a_user_has_so_many_devices_and_no_more_and_a_refusal_changes_nothing,
    ),
    (
        "what_was_proven_of_a_token_outlives_what_the_app_says_and_ends_with_the_token",
        what_was_proven_of_a_token_outlives_what_the_app_says_and_ends_with_the_token,
    ),
    ("everything_that_was_registered_is_found_again", everything_that_was_registered_is_found_again),
    (
        "phones_that_are_to_register_again_are_named_twice_and_after_a_restart_too",
        phones_that_are_to_register_again_are_named_twice_and_after_a_restart_too,
    ),
    (
        "as_many_users_have_a_token_as_they_may_and_the_oldest_leaves",
        as_many_users_have_a_token_as_they_may_and_the_oldest_leaves,
    ),
    (
        "a_dead_token_goes_from_all_its_users_but_those_who_registered_it_again",
        a_dead_token_goes_from_all_its_users_but_those_who_registered_it_again,
    ),
];

pub fn hex(number: usize) -> String {
    format!("{number:064x}")
}

pub fn phone(user: &str, device_id: &str, number: usize) -> NewDevice {
    phone_with(user, device_id, number, Extra::default())
}

fn phone_with(user: &str, device_id: &str, number: usize, extra: Extra<'_>) -> NewDevice {
    NewDevice::parse(user, &hex(number), "ios", &Extra { device_id: Some(device_id), ..extra }).unwrap()
}

/// More than any case registers, where the limit is not what it is about.
pub const MANY: Limits = Limits { devices_per_user: u32::MAX, users_per_token: 1 };
/// At most two devices.
const TWO: Limits = Limits { devices_per_user: 2, users_per_token: 1 };
/// Three accounts of one phone.
const THREE: Limits = Limits { devices_per_user: u32::MAX, users_per_token: 3 };

/// Registers without a limit, and it works.
fn register(store: &mut dyn TokenStore, device: &NewDevice, now_ms: i64) -> Registered {
    store.register(device, now_ms, MANY).unwrap().unwrap()
}

pub fn devices(store: &mut dyn TokenStore, name: &str) -> Vec<Device> {
    store.devices(&user(name), 0).unwrap()
}

pub fn user(text: &str) -> User {
    User::parse(text).unwrap()
}

/// Who has the token of this number.
fn owners(store: &mut dyn TokenStore, number: usize) -> Vec<&'static str> {
    let token = hex(number);
    let mut has = |name: &str| devices(store, name).iter().any(|device| device.token.expose() == token);
    ["alice", "bob", "carol", "dave"].into_iter().filter(|name| has(name)).collect()
}

fn the_seeds_registration_is_one_token_per_user_replaced_when_registered_again(open: Open<'_>) {
    let mut store = open();
    assert_eq!(register(&mut *store, &phone("564612", "", 1), 1000), Registered::New);
    assert_eq!(register(&mut *store, &phone("564612", "", 2), 2000), Registered::Renewed);
    let devices = devices(&mut *store, "564612");
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].token.expose(), devices[0].registered_at_ms), (hex(2).as_str(), 2000));
}

fn a_user_has_many_devices_and_the_newest_comes_first(open: Open<'_>) {
    let mut store = open();
    for (number, device_id) in ["a", "b", "c"].into_iter().enumerate() {
        register(&mut *store, &phone("bob", device_id, number), 1000 + number as i64);
    }
    register(&mut *store, &phone("bob", "a", 9), 5000);
    register(&mut *store, &phone("alice", "a", 7), 6000);
    let ids = |store: &mut dyn TokenStore| -> Vec<String> {
        devices(store, "bob").into_iter().map(|device| device.device_id).collect()
    };
    assert_eq!(ids(&mut *store), ["a", "c", "b"]);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 1);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 0);
    assert_eq!(ids(&mut *store), ["a", "b"]);
    assert_eq!(store.delete(&user("bob"), None).unwrap(), 2);
    assert_eq!(devices(&mut *store, "alice").len(), 1);
}

fn a_dead_token_goes_unless_it_was_registered_again_or_is_another_one(open: Open<'_>) {
    let mut store = open();
    let token = |number| Token::parse(Provider::Apns, &hex(number)).unwrap();
    register(&mut *store, &phone("bob", "", 1), 2000);
    assert_eq!(store.retire(&token(1), 1999).unwrap(), 0, "registered after it was found dead");
    assert_eq!(store.retire(&token(2), 9999).unwrap(), 0, "another token by now");
    let of_fcm = Token::parse(Provider::Fcm, &hex(1)).unwrap();
    assert_eq!(store.retire(&of_fcm, 9999).unwrap(), 0, "another provider's");
    assert_eq!(store.retire(&token(1), 2000).unwrap(), 1);
    assert!(devices(&mut *store, "bob").is_empty());
}

fn a_dead_token_for_alerts_goes_alone_unless_it_was_registered_again_or_is_another_one(open: Open<'_>) {
    let mut store = open();
    let token = |number| Token::parse(Provider::Apns, &hex(number)).unwrap();
    let alert = Some(Box::new(Alert { token: token(9), app: Some("org.example.phone".to_owned()) }));
    let with_alert = NewDevice { alert, ..phone("bob", "", 1) };
    register(&mut *store, &with_alert, 2000);
    assert!(
        !store.retire_alert(&user("bob"), "", &token(9), 1999).unwrap(),
        "registered after it was found dead"
    );
    assert!(!store.retire_alert(&user("bob"), "", &token(1), 9999).unwrap(), "the token for calls");
    assert!(!store.retire_alert(&user("eve"), "", &token(9), 9999).unwrap(), "another user");
    assert!(devices(&mut *store, "bob")[0].alert.is_some());
    assert!(store.retire_alert(&user("bob"), "", &token(9), 2000).unwrap());
    let device = devices(&mut *store, "bob").remove(0);
    assert_eq!((device.alert, device.token.expose()), (None, hex(1).as_str()));
    register(&mut *store, &with_alert, 3000);
    assert!(devices(&mut *store, "bob")[0].alert.is_some());
}

fn a_clock_that_was_set_back_loses_no_registration(open: Open<'_>) {
    let mut store = open();
    register(&mut *store, &phone("bob", "", 1), 9000);
    register(&mut *store, &phone("bob", "", 2), 1000);
    let device = devices(&mut *store, "bob").remove(0);
    assert_eq!((device.token.expose(), device.registered_at_ms), (hex(2).as_str(), 9000));
}

fn a_token_that_moves_to_another_user_leaves_the_old_one(open: Open<'_>) {
    let mut store = open();
    register(&mut *store, &phone("alice", "handset", 1), 1000);
    register(&mut *store, &phone("alice", "tablet", 2), 1000);
    assert_eq!(register(&mut *store, &phone("bob", "handset", 1), 2000), Registered::New);
    let left = devices(&mut *store, "alice");
    assert_eq!((left.len(), left[0].device_id.as_str()), (1, "tablet"));
    // The same phone under another name: it must not ring twice.
    register(&mut *store, &phone("bob", "", 1), 3000);
    assert_eq!(devices(&mut *store, "bob").len(), 1);
    // An old rejection of the token, meant for alice, takes nothing from bob.
    let token = Token::parse(Provider::Apns, &hex(1)).unwrap();
    assert_eq!(store.retire(&token, 2999).unwrap(), 0, "registered since");
    assert_eq!(devices(&mut *store, "bob").len(), 1);
}

fn a_device_that_has_expired_is_not_found_and_goes_with_the_next_registration(open: Open<'_>) {
    let mut store = open();
    let minute = Extra { expires_s: Some(60), ..Extra::default() };
    register(&mut *store, &phone_with("bob", "short", 1, minute), 1_000);
    register(&mut *store, &phone("bob", "long", 2), 1_000);
    let found = |store: &mut dyn TokenStore, now_ms| store.devices(&user("bob"), now_ms).unwrap().len();
    assert_eq!((found(&mut *store, 60_999), found(&mut *store, 61_000)), (2, 1));
    register(&mut *store, &phone("carol", "", 3), 61_000);
    // Renewed in time, it stays; renewed without an expiry, for good.
    register(&mut *store, &phone_with("bob", "short", 1, minute), 61_000);
    register(&mut *store, &phone_with("bob", "short", 1, minute), 100_000);
    assert_eq!(found(&mut *store, 159_999), 2);
    register(&mut *store, &phone("bob", "short", 1), 101_000);
    assert_eq!(found(&mut *store, i64::MAX), 2);
}

fn a_user_has_so_many_devices_and_no_more_and_a_refusal_changes_nothing(open: Open<'_>) {
    let mut store = open();
    let minute = Extra { expires_s: Some(60), ..Extra::default() };
    assert!(store.register(&phone("bob", "a", 1), 0, TWO).unwrap().is_some());
    assert!(store.register(&phone_with("bob", "b", 2, minute), 0, TWO).unwrap().is_some());
    register(&mut *store, &phone("alice", "", 3), 0);
    assert_eq!(store.register(&phone("bob", "c", 3), 1, TWO).unwrap(), None);
    assert_eq!(devices(&mut *store, "alice").len(), 1, "her token was not taken for nothing");
    assert_eq!(devices(&mut *store, "bob").len(), 2);
    assert_eq!(store.register(&phone("bob", "a", 4), 1, TWO).unwrap(), Some(Registered::Renewed));
    // What has expired makes room, and so does a phone that only changes its name.
    assert_eq!(store.register(&phone("bob", "c", 3), 60_000, TWO).unwrap(), Some(Registered::New));
    assert_eq!(store.register(&phone("bob", "d", 3), 60_000, TWO).unwrap(), Some(Registered::New));
}

fn what_was_proven_of_a_token_outlives_what_the_app_says_and_ends_with_the_token(open: Open<'_>) {
    let mut store = open();
    let says = Extra { environment: Some("production"), ..Extra::default() };
    register(&mut *store, &phone_with("bob", "", 1, says), 0);
    let device = devices(&mut *store, "bob").remove(0);
    assert_eq!(device.environment, Some(Environment::Production));
    assert!(store.prove_environment(&device, Environment::Sandbox).unwrap());
    register(&mut *store, &phone_with("bob", "", 1, says), 1);
    assert_eq!(devices(&mut *store, "bob")[0].environment, Some(Environment::Sandbox));
    register(&mut *store, &phone_with("bob", "", 2, says), 2);
    assert_eq!(devices(&mut *store, "bob")[0].environment, Some(Environment::Production));
    assert!(!store.prove_environment(&device, Environment::Sandbox).unwrap(), "another token by now");
}

fn everything_that_was_registered_is_found_again(open: Open<'_>) {
    let mut store = open();
    let alert = hex(9);
    let extra = Extra {
        app: Some("org.example.phone.voip"),
        expires_s: Some(3600),
        alert_token: Some(&alert),
        alert_app: Some("org.example.phone"),
        ..Extra::default()
    };
    register(&mut *store, &phone_with("bob", "handset", 1, extra), 1_000);
    let device = devices(&mut *store, "bob").remove(0);
    assert_eq!(device.expires_at_ms, Some(3_601_000));
    let alert = device.alert.unwrap();
    assert_eq!((alert.token.expose(), alert.app.as_deref()), (hex(9).as_str(), Some("org.example.phone")));
    register(&mut *store, &phone("bob", "handset", 1), 2_000);
    assert_eq!(devices(&mut *store, "bob")[0].alert, None);
}

fn phones_that_are_to_register_again_are_named_twice_and_after_a_restart_too(open: Open<'_>) {
    let mut store = open();
    store.plan_refresh(&user("bob"), "sip:1", 5000, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 1000, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 6000, 9000).unwrap();
    store.plan_refresh(&user("carol"), "sip:3", 1000, 2000).unwrap();
    drop(store);
    let mut store = open();
    let mut due = |now_ms| -> Vec<(String, u32)> {
        let due = store.take_refreshes(now_ms, 1000, 10).unwrap();
        due.into_iter().map(|refresh| (refresh.device_id, refresh.tries)).collect()
    };
    assert_eq!(due(999), []);
    assert_eq!(due(5500), [("sip:1".to_owned(), 0)], "carol's registration has ended");
    assert_eq!(due(5600), []);
    assert_eq!(due(6500), [("sip:2".to_owned(), 0), ("sip:1".to_owned(), 1)]);
    assert_eq!(due(7500), [("sip:2".to_owned(), 1)]);
    assert_eq!(due(100_000), []);
    store.plan_refresh(&user("bob"), "sip:1", 1, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 2, 9000).unwrap();
    let named = store.take_refreshes(3, 1000, 1).unwrap();
    assert_eq!((named.len(), named[0].device_id.as_str()), (1, "sip:1"), "at most so many at a time");
}

fn as_many_users_have_a_token_as_they_may_and_the_oldest_leaves(open: Open<'_>) {
    let mut store = open();
    for (at_ms, name) in [(1000, "alice"), (2000, "bob"), (3000, "carol")] {
        assert_eq!(store.register(&phone(name, "x", 1), at_ms, THREE).unwrap(), Some(Registered::New));
    }
    assert_eq!(owners(&mut *store, 1), ["alice", "bob", "carol"]);
    // A renewal takes nothing from anybody, and makes its user the newest.
    assert_eq!(store.register(&phone("alice", "x", 1), 4000, THREE).unwrap(), Some(Registered::Renewed));
    assert_eq!(owners(&mut *store, 1), ["alice", "bob", "carol"]);
    store.register(&phone("dave", "x", 1), 5000, THREE).unwrap();
    assert_eq!(owners(&mut *store, 1), ["alice", "carol", "dave"]);
    // One user has it once, whatever his devices are called.
    store.register(&phone("dave", "y", 1), 6000, THREE).unwrap();
    assert_eq!(devices(&mut *store, "dave").len(), 1);
    assert_eq!(owners(&mut *store, 1), ["alice", "carol", "dave"]);
    // Where it is one again, the others leave.
    register(&mut *store, &phone("bob", "x", 1), 7000);
    assert_eq!(owners(&mut *store, 1), ["bob"]);
}

fn a_dead_token_goes_from_all_its_users_but_those_who_registered_it_again(open: Open<'_>) {
    let mut store = open();
    for (at_ms, name) in [(1000, "alice"), (2000, "bob"), (3000, "carol")] {
        store.register(&phone(name, "x", 1), at_ms, THREE).unwrap();
    }
    store.register(&phone("dave", "x", 2), 1000, THREE).unwrap();
    let token = Token::parse(Provider::Apns, &hex(1)).unwrap();
    assert_eq!(store.retire(&token, 2000).unwrap(), 2);
    assert_eq!((owners(&mut *store, 1), owners(&mut *store, 2)), (vec!["carol"], vec!["dave"]));
}
