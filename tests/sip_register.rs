//! REGISTER as a way in, without a SIP server: what is offered, refused, stored and forgotten (RFC 8599 §5.6.1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use proptest::prelude::*;
use std::fmt::Debug;
use support::Scratch;
use support::settings;
use support::shipped::{apns_token, fcm_token};
use voip_push::model::{Device, Environment};
use voip_push::service::{Error, Offer, Service, SipRegister, Stored};

const APNS_CAPS: &str = "Feature-Caps: *;+sip.pns=\"apns\"\r\n";
const FCM_CAPS: &str = "Feature-Caps: *;+sip.pns=\"fcm\"\r\n";

struct World {
    service: Service,
    _scratch: Scratch,
}

fn world(name: &str, more: &str) -> World {
    let scratch = Scratch::new(name);
    let file = settings::write(&scratch);
    let toml = format!("{}\n{more}\n", settings::TOML);
    scratch.write("voip-push.toml", toml);
    World { service: Service::prepare(&file).unwrap(), _scratch: scratch }
}

fn register<'a>(contacts: &[&'a str]) -> SipRegister<'a> {
    let contacts = contacts.iter().map(|contact| contact.as_bytes()).collect();
    SipRegister { user: "bob", contacts, expires: Some(b"600"), ..SipRegister::default() }
}

impl World {
    fn check(&self, contact: &str) -> Offer {
        self.service.check_register(&register(&[contact]))
    }

    fn store(&self, contact: &str) -> Result<Stored, Error> {
        self.service.register_contacts(&register(&[contact]))
    }

    fn devices(&self) -> Vec<Device> {
        match self.service.lookup("bob") {
            Ok(devices) => devices,
            Err(Error::NoDevice) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.devices().into_iter().map(|device| device.device_id).collect();
        ids.sort();
        ids
    }
}

fn iphone(number: u8, params: &str) -> String {
    let token = apns_token(number);
    format!(
        "<sip:bob@192.0.2.1:5060;transport=tls;pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip;pn-prid={token}>{params}"
    )
}

fn android(number: u8, params: &str) -> String {
    let token = fcm_token(number).replace(':', "%3A");
    format!("<sip:bob@192.0.2.1;pn-provider=fcm;pn-param=phone-example;pn-prid={token}>{params}")
}

fn push(devices: usize, headers: &str) -> Offer {
    Offer::Push { devices, headers: headers.to_owned() }
}

fn status(offer: &Offer) -> u16 {
    match offer {
        Offer::Refuse { status, .. } => *status,
        Offer::Push { .. } | Offer::Nothing(_) => 0,
    }
}

fn is_no_device(result: &Result<impl Debug, Error>) -> bool {
    matches!(result, Err(Error::NoDevice))
}

#[test]
fn a_device_is_offered_push_and_stored_under_its_instance() {
    let world = world("offer", "");
    let contact = iphone(1, ";+sip.instance=\"<urn:uuid:0C67446E-F1A1-11D9-94D3-000A95A0E128>\"");
    assert_eq!(world.check(&contact), push(1, APNS_CAPS));
    assert!(world.devices().is_empty(), "asking stores nothing");
    assert_eq!(world.store(&contact).unwrap(), Stored { stored: 1, forgotten: 0 });
    let device = &world.devices()[0];
    assert_eq!(device.device_id, "sip:urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128");
    assert_eq!(device.token.expose(), apns_token(1));
    assert_eq!(device.app.as_deref(), Some("org.example.phone.voip"));
    // a new token of the same phone
    world.store(&iphone(2, ";+sip.instance=\"<urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128>\"")).unwrap();
    assert_eq!((world.devices().len(), world.devices()[0].token.expose()), (1, apns_token(2).as_str()));
}

#[test]
fn several_contacts_of_one_register_are_several_devices() {
    let world = world("several", "");
    let (first, second) = (iphone(1, ";q=1"), android(2, ""));
    let both = format!("{first}, <sip:bob@desk>,{second}");
    assert_eq!(world.check(&both), push(2, &format!("{APNS_CAPS}{FCM_CAPS}")));
    assert_eq!(world.store(&both).unwrap().stored, 2);
    assert_eq!(world.service.check_register(&register(&[&first, &second])), world.check(&both));
    let ids = world.ids();
    assert!(ids.iter().all(|id| id.starts_with("sip:token:")) && ids.len() == 2, "{ids:?}");
    assert_eq!(world.store(&both).unwrap().stored, 2);
    assert_eq!(world.ids(), ids, "the same token is the same device");
}

#[test]
fn a_query_is_answered_and_stores_nothing() {
    let world = world("query", "");
    let all = format!("{APNS_CAPS}{FCM_CAPS}");
    assert_eq!(world.check("<sip:bob@h;pn-provider>"), push(0, &all));
    assert_eq!(world.check("<sip:bob@h;pn-provider=>"), push(0, &all));
    assert_eq!(world.check("<sip:bob@h;pn-provider=fcm>"), push(0, FCM_CAPS));
    assert_eq!(world.check("<sip:bob@h;pn-provider=webpush>"), Offer::Nothing("nobody here serves it"));
    assert!(is_no_device(&world.store("<sip:bob@h;pn-provider>")));
    // what another proxy has said is not said again (§5.6.1.2)
    let mut asked = register(&["<sip:bob@h;pn-provider>"]);
    asked.feature_caps = vec![b"*;+sip.pns=\"apns\""];
    assert_eq!(world.service.check_register(&asked), push(0, FCM_CAPS));
}

#[test]
fn a_phone_that_wakes_by_itself_is_told_when_to_register_again() {
    let contact = iphone(1, ";+sip.pnsreg");
    let caps = |seconds| format!("Feature-Caps: *;+sip.pns=\"apns\";+sip.pnsreg=\"{seconds}\"\r\n");
    assert_eq!(world("pnsreg", "").check(&contact), push(1, &caps(130)));
    assert_eq!(world("pnsreg-150", "[sip]\npnsreg_seconds = 150").check(&contact), push(1, &caps(150)));
}

#[test]
fn what_another_proxy_serves_is_left_to_it() {
    let world = world("elsewhere", "[sip]\nunsupported = \"refuse\"");
    let contact = iphone(1, "");
    let mut request = register(&[&contact]);
    request.feature_caps = vec![b"*;+g.oma.x", b"*;+sip.pns=\"apns\""];
    assert_eq!(world.service.check_register(&request), Offer::Nothing("another proxy serves it"));
    assert!(is_no_device(&world.service.register_contacts(&request)));
    let webpush = "<sip:bob@h;pn-provider=webpush;pn-prid=x>";
    let mut request = register(&[webpush]);
    request.feature_caps = vec![b"*;+sip.pns=\"webpush\""];
    assert_eq!(status(&world.service.check_register(&request)), 0);
}

#[test]
fn what_nobody_serves_is_555_only_where_that_is_certain() {
    let certain = world("certain", "[sip]\nunsupported = \"refuse\"");
    let open = world("open", "");
    let short_token = "<sip:bob@h;pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip;pn-prid=abc>";
    let cases = [
        "<sip:bob@h;pn-provider=webpush;pn-prid=https%3A%2F%2Fx>",
        "<sip:bob@h;pn-provider=apns;pn-prid=00>",
        "<sip:bob@h;pn-provider=adm>",
        short_token,
        &iphone(1, "").replace("ABCDE12345", "ZZZZZ99999"),
        &iphone(1, "").replace("org.example.phone", "org.example.other"),
        &android(1, "").replace("phone-example", "other-project"),
    ];
    for contact in cases {
        assert_eq!(status(&certain.check(contact)), 555, "{contact}");
        assert_eq!(open.check(contact), Offer::Nothing("nobody here serves it"), "{contact}");
        assert!(is_no_device(&open.store(contact)), "{contact}");
    }
    assert_eq!(status(&certain.check("<sip:bob@h>")), 0);
    let mixed = format!("{}, {short_token}", iphone(1, ""));
    assert_eq!(certain.check(&mixed), push(1, APNS_CAPS), "one can be served");
}

#[test]
fn too_brief_registrations_are_refused_or_go_without_push() {
    let refuses = world("refuses", "");
    let contact = iphone(1, ";expires=60");
    let refusal = Offer::Refuse {
        status: 423,
        reason: "Interval Too Brief".to_owned(),
        headers: "Min-Expires: 180\r\n".to_owned(),
    };
    assert_eq!(refuses.check(&contact), refusal);
    assert!(is_no_device(&refuses.store(&contact)));
    let mut by_header = iphone(1, "");
    let mut request = register(&[&by_header]);
    request.expires = Some(b"179");
    assert_eq!(refuses.service.check_register(&request), refusal);
    request.expires = None;
    assert_eq!(refuses.service.check_register(&request), push(1, APNS_CAPS), "an hour is meant");
    request.most_s = Some(120);
    let short = Offer::Nothing("the registrar grants too brief registrations");
    assert_eq!(refuses.service.check_register(&request), short);
    request.most_s = None;
    let granted = format!("<sip:other@h>;expires=900, {};expires=60", by_header);
    request.granted = Some(vec![granted.as_bytes()]);
    assert_eq!(refuses.service.check_register(&request), short, "by the registrar's answer");
    request.granted = Some(vec![b"<sip:other@h>;expires=900"]);
    assert_eq!(refuses.service.check_register(&request), short, "not registered at all");
    let granted = format!("{by_header};expires=200");
    request.granted = Some(vec![granted.as_bytes()]);
    assert_eq!(refuses.service.check_register(&request), push(1, APNS_CAPS));
    by_header = contact;
    let forwards = world("forwards", "[sip]\nbrief = \"forward\"");
    assert_eq!(forwards.check(&by_header), Offer::Nothing("the registration is too brief"));
    assert!(is_no_device(&forwards.store(&by_header)));
}

#[test]
fn a_good_bye_forgets_that_device_only() {
    let world = world("bye", "");
    let one = iphone(1, ";+sip.instance=\"<urn:x:1>\"");
    let two = android(2, "");
    world.store(&format!("{one},{two}")).unwrap();
    world.service.register("bob", &fcm_token(9), "android", &Default::default()).unwrap();
    assert_eq!(world.devices().len(), 3);
    assert_eq!(world.store(&format!("{two};expires=0")).unwrap(), Stored { stored: 0, forgotten: 1 });
    assert_eq!(world.ids(), ["", "sip:urn:x:1"]);
    assert!(is_no_device(&world.store(&android(7, ";expires=0"))), "nobody knows that one");
    world.store(&two).unwrap();
    let mut all = register(&["*"]);
    all.expires = Some(b"0");
    assert_eq!(world.service.check_register(&all), Offer::Nothing("it asks nothing of push"));
    assert_eq!(world.service.register_contacts(&all).unwrap(), Stored { stored: 0, forgotten: 2 });
    assert_eq!(world.ids(), [""], "what REST has registered stays");
}

#[test]
fn a_phone_that_registers_without_push_parameters_is_not_woken_any_more() {
    let world = world("off", "");
    world.store(&iphone(1, ";+sip.instance=\"<urn:x:1>\"")).unwrap();
    assert!(is_no_device(&world.store("<sip:bob@desk>;+sip.instance=\"<urn:x:2>\"")));
    assert!(is_no_device(&world.store("<sip:bob@desk>")));
    assert_eq!(world.devices().len(), 1);
    let off = "<sip:bob@h>;+sip.instance=\"<urn:x:1>\"";
    assert_eq!(world.store(off).unwrap(), Stored { stored: 0, forgotten: 1 });
    // two contacts of one phone, one with and one without
    let both = format!("{},{off}", iphone(1, ";+sip.instance=\"<urn:x:1>\""));
    world.store(&both).unwrap();
    assert_eq!(world.store(&both).unwrap().stored, 1);
    assert_eq!(world.devices().len(), 1);
}

#[test]
fn a_token_is_kept_until_it_is_dead_or_as_long_as_its_registration() {
    let contact = iphone(1, ";expires=4294967295;+sip.instance=\"<urn:x:1>\"");
    let until_dead = world("until-dead", "");
    until_dead.store(&contact).unwrap();
    assert_eq!(until_dead.devices()[0].expires_at_ms, None);
    // each new token of a phone that does not say which one it is would stay
    until_dead.store(&iphone(2, ";expires=600")).unwrap();
    let nameless = until_dead.devices().into_iter().find(|device| device.device_id.starts_with("sip:token:"));
    let nameless = nameless.unwrap();
    assert_eq!(nameless.expires_at_ms, Some(nameless.registered_at_ms + 30 * 86_400_000));
    let strict = world("strict", "[sip]\nkeep_tokens = \"while_registered\"");
    strict.store(&contact).unwrap();
    let mut request = register(&[&contact]);
    request.most_s = Some(900);
    strict.service.register_contacts(&request).unwrap();
    let device = &strict.devices()[0];
    assert_eq!(device.expires_at_ms, Some(device.registered_at_ms + 900_000));
}

#[test]
fn nobody_is_promised_what_cannot_be_kept() {
    let world = world("limit", "[limits]\ndevices_per_user = 2");
    world.store(&format!("{},{}", iphone(1, ""), iphone(2, ""))).unwrap();
    assert!(matches!(world.check(&iphone(3, "")), Offer::Nothing(_)));
    assert!(matches!(world.store(&iphone(3, "")), Err(Error::TooManyDevices { limit: 2 })));
    assert_eq!(world.check(&iphone(2, "")), push(1, APNS_CAPS), "that one is known");
    world.store(&iphone(1, ";expires=0")).unwrap();
    assert_eq!(world.check(&iphone(3, "")), push(1, APNS_CAPS));
}

#[test]
fn linphone_is_understood() {
    let world = world("linphone", "");
    let (voip, remote) = (apns_token(1), apns_token(2));
    let both = format!(
        "<sip:bob@h;pn-provider=apns.dev;pn-param=ABCDE12345.org.example.phone.voip&remote;pn-prid={voip}:voip&{remote}:remote;pn-silent=1>"
    );
    assert_eq!(world.check(&both), push(1, APNS_CAPS));
    world.store(&both).unwrap();
    let device = &world.devices()[0];
    assert_eq!((device.token.expose(), device.environment), (voip.as_str(), Some(Environment::Sandbox)));
    assert_eq!(device.alert.as_ref().map(|alert| alert.token.expose()), Some(remote.as_str()));
    let old = format!("<sip:bob@h;app-id=929724111839;pn-type=firebase;pn-tok={}>", fcm_token(3));
    assert_eq!(world.check(&old), push(1, FCM_CAPS));
    world.store(&old).unwrap();
    assert!(
        world.devices().iter().any(|device| device.token.expose() == fcm_token(3) && device.app.is_none())
    );
}

#[test]
fn what_is_malformed_is_400_and_changes_nothing() {
    let world = world("malformed", "");
    let good = iphone(1, ";+sip.instance=\"<urn:x:1>\"");
    world.store(&good).unwrap();
    let before = world.devices();
    let bad = [
        "<sip:bob@h;pn-provider=apns".to_owned(),
        "*".to_owned(),
        format!("{good},<sip:bob@h;pn-provider=%>"),
        format!("{good};expires=0,<sip:bob@h;pn-provider=fcm;pn-prid=%zz>"),
        format!("{good};expires=0,\"x"),
        iphone(2, "").replace(";pn-param", ";pn-provider=fcm;pn-param"),
        "<sip:a@h>,".repeat(50),
    ];
    for contact in &bad {
        assert_eq!(status(&world.check(contact)), 400, "{contact}");
        assert!(matches!(world.store(contact), Err(Error::Argument(_))), "{contact}");
    }
    assert_eq!(world.devices(), before);
}

#[test]
fn a_device_id_that_is_no_name_is_not_stored() {
    let world = world("names", "");
    for instance in ["<urn:x:a b>", &format!("<urn:{}>", "x".repeat(300))] {
        let contact = iphone(1, &format!(";+sip.instance=\"{instance}\""));
        assert_eq!(world.check(&contact), Offer::Nothing("nobody here serves it"));
        assert!(is_no_device(&world.store(&contact)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_a_phone_says_is_answered(
        contacts in prop::collection::vec("(<sip:bob@h|;pn-provider=(apns|fcm|)|;pn-prid=(00|%3a|%)|;pn-param=a\\.b|>|,|;expires=0|\"){0,12}", 0..3),
        expires in prop::option::of("[0-9x]{0,11}"), caps in "(\\*|;|,|\\+sip\\.pns|=|\"apns\"){0,6}",
    ) {
        let world = SHARED.with(std::rc::Rc::clone);
        let request = SipRegister {
            user: "eve",
            contacts: contacts.iter().map(|contact| contact.as_bytes()).collect(),
            expires: expires.as_ref().map(|text| text.as_bytes()),
            feature_caps: vec![caps.as_bytes()],
            ..SipRegister::default()
        };
        let offer = world.service.check_register(&request);
        prop_assert!(matches!(status(&offer), 0 | 400 | 423));
        let stored = world.service.register_contacts(&request);
        prop_assert!(matches!(stored, Err(Error::NoDevice | Error::Argument(_))), "{:?}", stored);
    }
}

thread_local! {
    static SHARED: std::rc::Rc<World> = std::rc::Rc::new(world("any", ""));
}
