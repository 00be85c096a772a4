//! PURRs without a SIP server (RFC 8599 §6.2): who is offered one, which device it stands for, and how long.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use support::Scratch;
use support::settings;
use support::shipped::{apns_token, fcm_token};
use voip_push::service::{Error, Offer, Service, SipRegister};

/// A service that wakes phones for requests within dialogs, as one whose script has `lookup_purr`.
fn service(scratch: &Scratch, more: &str) -> Service {
    let file = settings::write(scratch);
    scratch.write("voip-push.toml", format!("{}\n{more}\n", settings::TOML));
    again(&file)
}

fn again(file: &Path) -> Service {
    let service = Service::prepare(file).unwrap();
    service.offer_purrs().unwrap();
    service
}

fn register<'a>(user: &'a str, contact: &'a str) -> SipRegister<'a> {
    SipRegister { user, contacts: vec![contact.as_bytes()], expires: Some(b"600"), ..SipRegister::default() }
}

fn android(user: &str, number: u8, more: &str) -> String {
    let token = fcm_token(number).replace(':', "%3A");
    format!(
        "<sip:{user}@192.0.2.1;pn-provider=fcm;pn-param=phone-example;pn-prid={token}>;+sip.instance=\"<urn:x:{user}>\"{more}"
    )
}

fn iphone(services: &str, prid: &str) -> String {
    format!(
        "<sip:bob@192.0.2.1;pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip{services};pn-prid={prid}>"
    )
}

/// What the answer to a REGISTER offers.
fn offered(service: &Service, user: &str, contact: &str) -> Vec<String> {
    let Offer::Push { headers, .. } = service.check_register(&register(user, contact)) else {
        return Vec::new();
    };
    let value = |rest: &str| rest.split('"').next().unwrap().to_owned();
    headers.split("+sip.pnspurr=\"").skip(1).map(value).collect()
}

/// Registers the phone and says its PURR.
fn stored(service: &Service, user: &str, contact: &str) -> String {
    let purr = offered(service, user, contact).pop().unwrap();
    service.register_contacts(&register(user, contact)).unwrap();
    purr
}

/// The device that a request to this URI wakes: whose, and which.
fn woken(service: &Service, uri: &str) -> Option<(String, String)> {
    match service.dialog_device(uri.as_bytes()) {
        Ok(device) => Some((device.user.as_str().to_owned(), device.device_id)),
        Err(Error::NoDevice) => None,
        Err(other) => panic!("{other}"),
    }
}

fn bob() -> Option<(String, String)> {
    Some(("bob".to_owned(), "sip:urn:x:bob".to_owned()))
}

#[test]
fn whoever_can_be_woken_without_a_call_is_offered_one() {
    let scratch = Scratch::new("purr-who");
    let service = service(&scratch, "");
    assert_eq!(offered(&service, "bob", &android("bob", 1, "")).len(), 1);
    let two = format!("{}:voip&{}:remote", apns_token(1), apns_token(2));
    assert_eq!(offered(&service, "bob", &iphone("&remote", &two)).len(), 1);
    assert_eq!(offered(&service, "bob", &iphone("", &apns_token(1))).len(), 0, "it takes only calls");
    assert_eq!(offered(&service, "bob", "<sip:bob@192.0.2.1;pn-provider>").len(), 0, "a query");
    assert_eq!(offered(&service, "bob", "<sip:bob@192.0.2.1>").len(), 0);
    // each service has a header of its own, and a header has room for one
    let both = format!("{},{}", android("bob", 1, ""), iphone("&remote", &two));
    assert_eq!(offered(&service, "bob", &both).len(), 2);
    assert_eq!(
        offered(&service, "bob", &format!("{},{}", android("bob", 1, ""), android("tablet", 2, ""))).len(),
        0
    );
    // asking stores nothing, so nobody is there to be woken
    let purr = offered(&service, "bob", &android("bob", 1, "")).pop().unwrap();
    assert_eq!(woken(&service, &format!("sip:bob@192.0.2.1;pn-purr={purr}")), None);
}

#[test]
fn an_administrator_says_who_is_offered_one() {
    let scratch = Scratch::new("purr-offer");
    let asks = android("bob", 1, ";+sip.pnspurr");
    let plain = android("bob", 1, "");
    for (word, to_all, to_who_asks) in [("offer", 1, 1), ("asked", 0, 1), ("off", 0, 0)] {
        let service = service(&scratch, &format!("[sip]\npurr = \"{word}\""));
        assert_eq!(offered(&service, "bob", &plain).len(), to_all, "{word}");
        assert_eq!(offered(&service, "bob", &asks).len(), to_who_asks, "{word}");
    }
    // where no script asks for it nobody is promised anything, and no key is made
    let scratch = Scratch::new("purr-not-asked");
    let file = settings::write(&scratch);
    let service = Service::prepare(&file).unwrap();
    assert_eq!(offered(&service, "bob", &asks).len(), 0);
    assert!(!scratch.path().join("db/purr.key").exists());
}

#[test]
fn a_purr_stands_for_one_device_in_its_own_contact() {
    let scratch = Scratch::new("purr-one");
    let service = service(&scratch, "");
    let purr = stored(&service, "bob", &android("bob", 1, ""));
    stored(&service, "eve", &android("eve", 2, ""));
    for uri in
        ["sip:bob@192.0.2.1:5060;transport=tcp;PURR;ob", "sips:bob@10.0.0.1;PURR;alias=192.0.2.1~5060~2"]
    {
        let uri = uri.replace("PURR", &format!("pn-purr={purr}"));
        assert_eq!(woken(&service, &uri), bob(), "{uri}");
    }
    let useless = [
        format!("sip:eve@192.0.2.1;pn-purr={purr}"),
        format!("sip:192.0.2.1;pn-purr={purr}"),
        format!("sip:bob@192.0.2.1;pn-purr={}", purr.to_lowercase()),
        format!("sip:bob@192.0.2.1;pn-purr={purr};pn-purr={purr}"),
        format!("sip:bob;pn-purr={purr}@192.0.2.1"),
        format!("sip:bob@192.0.2.1?pn-purr={purr}"),
        format!("tel:bob;pn-purr={purr}"),
        "sip:bob@192.0.2.1;pn-purr".to_owned(),
        "sip:bob@192.0.2.1".to_owned(),
        String::new(),
    ];
    for uri in useless {
        assert_eq!(woken(&service, &uri), None, "{uri}");
    }
}

#[test]
fn it_outlives_registrations_tokens_and_restarts_and_ends_with_its_device() {
    let scratch = Scratch::new("purr-life");
    let service = service(&scratch, "");
    let purr = stored(&service, "bob", &android("bob", 1, ""));
    let uri = format!("sip:bob@192.0.2.1;pn-purr={purr}");
    assert_ne!(stored(&service, "bob", &android("bob", 1, "")), purr);
    stored(&service, "bob", &android("bob", 2, ""));
    assert_eq!(woken(&service, &uri), bob());
    // a restart, and another process
    let restarted = again(&scratch.path().join("voip-push.toml"));
    assert_eq!(woken(&restarted, &uri), bob());
    // the phone has another owner now
    stored(&service, "eve", &android("eve", 2, ""));
    assert_eq!(woken(&service, &uri), None);
    stored(&service, "bob", &android("bob", 3, ""));
    assert_eq!(woken(&service, &uri), bob());
    service.delete("bob", None).unwrap();
    assert_eq!((woken(&service, &uri), woken(&restarted, &uri)), (None, None));
}

#[test]
fn a_key_is_made_once_kept_from_others_and_changed_by_a_line() {
    let scratch = Scratch::new("purr-key");
    let first = service(&scratch, "");
    let file = scratch.path().join("db/purr.key");
    let (made, mode) =
        (fs::read_to_string(&file).unwrap(), fs::metadata(&file).unwrap().permissions().mode());
    assert_eq!((mode & 0o777, made.lines().last().unwrap().len()), (0o600, 64));
    let purr = stored(&first, "bob", &android("bob", 1, ""));
    let uri = format!("sip:bob@192.0.2.1;pn-purr={purr}");
    let toml = scratch.path().join("voip-push.toml");
    fs::write(&file, format!("{}\n{made}", "ab".repeat(32))).unwrap();
    let second = again(&toml);
    assert_eq!(woken(&second, &uri), bob(), "the old key reads");
    let newer = offered(&second, "bob", &android("bob", 1, "")).pop().unwrap();
    assert_eq!(woken(&first, &format!("sip:bob@192.0.2.1;pn-purr={newer}")), None, "the new one makes");
    fs::write(&file, "ab".repeat(32)).unwrap();
    assert_eq!(woken(&again(&toml), &uri), None);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Service::prepare(&toml).unwrap().offer_purrs().unwrap_err().to_string();
    assert!(refused.contains("[sip] purr_key_file") && refused.contains("0644"), "{refused}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "not a key").unwrap();
    let refused = Service::prepare(&toml).unwrap().offer_purrs().unwrap_err().to_string();
    assert!(refused.contains("line 1") && !refused.contains("not a key,"), "{refused}");
    let names: Vec<_> =
        fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("key.")), "{names:?}");
}

#[test]
fn what_is_pushed_is_for_that_device_alone_and_no_call() {
    let scratch = Scratch::new("purr-push");
    let service = service(&scratch, "");
    stored(&service, "bob", &android("tablet", 2, ""));
    let purr = stored(&service, "bob", &android("bob", 1, ""));
    let device = service.dialog_device(format!("sip:bob@192.0.2.1;pn-purr={purr}").as_bytes()).unwrap();
    let ready =
        service.ready_dialog(&device, "<sip:alice@example.org>", "c1/2", Duration::from_secs(15)).unwrap();
    let tokens: Vec<&str> = ready.each_device().map(|device| device.token.expose()).collect();
    assert_eq!(tokens, [fcm_token(1)]);
}
