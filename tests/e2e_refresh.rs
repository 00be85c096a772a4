//! Phones that are asked to renew their registrations before these end, through the shipped configuration.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::phone::Phone;
use support::shipped::{Setup, Shipped, apns_token, fcm_token};

/// Two seconds after its registration for ten minutes a phone is asked, and once more a second later.
const SOON: &str = "[refresh]\nseconds_before = 598\nspread_seconds = 0\nretry_seconds = 1\n[log]";

fn start(name: &str) -> Shipped {
    Shipped::with(name, Setup { config: vec![("[log]", SOON)], ..Setup::default() })
}

/// Registers for so many seconds with these parameters in the URI of its Contact.
fn register(phone: &mut Phone, uri_params: &str, expires_s: u32) {
    let mut sent = phone.register_request(expires_s);
    let contact = format!("<{}>", phone.contact());
    let with = format!("<{}{uri_params}>;+sip.instance=\"<urn:uuid:{}>\"", phone.contact(), phone.user);
    sent.text = sent.text.replace(&contact, &with);
    phone.send(sent.text.as_bytes());
    phone.expect_status(&sent, 200);
    phone.settle();
}

fn android(shipped: &Shipped, number: u8) -> String {
    let token = fcm_token(number).replace(':', "%3A");
    format!(";pn-provider=fcm;pn-param={};pn-prid={token}", shipped.simulator.fact("project"))
}

fn iphone(shipped: &Shipped, services: &str, token: &str) -> String {
    let (team, topic) = (shipped.simulator.fact("team_id"), shipped.simulator.fact("topic"));
    format!(";pn-provider=apns;pn-param={team}.{topic}{services};pn-prid={token}")
}

fn to<'a>(pushes: &'a [Value], token: &str) -> Vec<&'a Value> {
    pushes.iter().filter(|push| push["token"] == token).collect()
}

#[test]
fn phones_that_rely_on_it_are_asked_to_register_twice_at_the_most_and_never_by_a_voip_push() {
    let shipped = start("refresh");
    let mut phones = ["carol", "bob", "dave"].map(|user| Phone::tcp(user, shipped.port()));
    let tokens = format!("{}:voip&{}:remote", apns_token(1), apns_token(2));
    register(&mut phones[0], &android(&shipped, 1), 600);
    register(&mut phones[1], &iphone(&shipped, "&remote", &tokens), 600);
    register(&mut phones[2], &iphone(&shipped, "", &apns_token(3)), 600);
    let pushes = shipped.simulator.wait_for_pushes(0, 4);
    phones[0].pause(Duration::from_secs(3));
    let all = shipped.simulator.pushes();
    assert_eq!((pushes.len(), all.len()), (4, 4), "{all:?}");
    assert!(all.iter().all(|push| push["status"] == 200), "{all:?}");
    let to_android = to(&all, &fcm_token(1));
    assert_eq!(to_android.len(), 2);
    assert_eq!(to_android[0]["payload"]["message"]["data"], json!({ "type": "refresh" }));
    assert_eq!(to_android[0]["payload"]["message"]["android"]["priority"], "NORMAL");
    let to_iphone = to(&all, &apns_token(2));
    assert_eq!(to_iphone.len(), 2);
    let headers = &to_iphone[0]["headers"];
    let topic = shipped.simulator.fact("topic").strip_suffix(".voip").unwrap();
    assert_eq!(headers["apns-topic"], topic);
    assert_eq!((&headers["apns-push-type"], &headers["apns-priority"]), (&json!("background"), &json!("5")));
    // who registers is asked again when it is time
    register(&mut phones[0], &android(&shipped, 1), 600);
    let again = shipped.simulator.wait_for_pushes(0, 5);
    assert_eq!(again[4]["token"], fcm_token(1));
    assert!(shipped.kamailio.rpc(&["voip_push.stats"]).contains("refreshes_total: "));
}

#[test]
fn who_registers_in_time_or_has_taken_leave_is_not_asked() {
    let shipped = start("refresh-not");
    let mut carol = Phone::tcp("carol", shipped.port());
    let mut bob = Phone::tcp("bob", shipped.port());
    register(&mut bob, &android(&shipped, 2), 600);
    register(&mut bob, &android(&shipped, 2), 0);
    for _ in 0..6 {
        register(&mut carol, &android(&shipped, 1), 600);
        carol.pause(Duration::from_millis(700));
    }
    assert!(shipped.simulator.pushes().is_empty(), "{:?}", shipped.simulator.pushes());
}
