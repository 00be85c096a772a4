use super::*;
use crate::model::{Environment, Provider};
use crate::sip::Ask;
use proptest::prelude::*;

fn parse(text: &str) -> Vec<Contact<'_>> {
    match Contacts::parse(&[text.as_bytes()]) {
        Ok(Contacts::These(contacts)) => contacts,
        other => panic!("{text}: {other:?}"),
    }
}

fn ask(uri: &str) -> Ask {
    Ask::of(&parse(&format!("<{uri}>"))[0].uri).unwrap()
}

fn device(uri: &str) -> crate::sip::PushDevice {
    match ask(uri) {
        Ask::Device(device) => device,
        other => panic!("{uri}: {other:?}"),
    }
}

#[test]
fn addresses_are_read_in_every_form() {
    let text = "\"Bob \\\" <x>, y\" <sip:bob@h;pn-prid=in;expires=1>;expires=7;+sip.instance=\"<urn:uuid:AB>\", \
                Bob Builder\r\n <sips:bob@h>;q=0.5 , sip:c@h;pn-prid=out;expires=9,<tel:+1>;+sip.pnsreg";
    let contacts = parse(text);
    let expires: Vec<_> = contacts.iter().map(Contact::expires_s).collect();
    assert_eq!(expires, [Some(7), None, Some(9), None]);
    assert_eq!(contacts[0].instance().as_deref(), Some("urn:uuid:ab"));
    assert_eq!(contacts[0].uri.param("PN-prid".to_ascii_lowercase().leak()), Ok(Some("in".to_owned())));
    assert_eq!(contacts[2].uri.param("pn-prid"), Ok(None), "without <> it is the header's");
    assert_eq!((contacts[3].wakes_itself(), contacts[0].wakes_itself()), (true, false));
}

#[test]
fn what_the_grammar_does_not_have_is_refused() {
    let many = "<sip:a@h>,".repeat(40);
    let params = format!("<sip:a@h{}>", ";x".repeat(100));
    let long = format!("<sip:{}@h>", "a".repeat(70_000));
    let bad = [
        "",
        ",",
        "bob",
        "<sip:a@h",
        "\"Bob\"",
        "\"Bob <sip:a@h>",
        "<sip:a@h> x",
        "<sip:a@h>;",
        "<sip:a@h>;=1",
        "<sip:a@h>;expires=",
        "<sip:a@h>,",
        "<sip:a@b@c>",
        "<sip:>",
        "<sip:a@>",
        "<sip:a b@h>",
        "<:x>",
        "<sip:a@h;=1>",
        "*, <sip:a@h>",
        "<sip:a@h>;x=\"",
        &many,
        &params,
        &long,
    ];
    for text in bad {
        let refused = Contacts::parse(&[text.as_bytes()]).unwrap_err();
        assert_eq!(refused.what, "Contact", "{text}");
    }
    assert!(Contacts::parse(&[b"*", b"<sip:a@h>"]).is_err());
    assert_eq!(Contacts::parse(&[b" * "]), Ok(Contacts::All));
    assert_eq!(Contacts::parse(&[]), Ok(Contacts::These(Vec::new())));
}

#[test]
fn lifetimes_that_cannot_be_read_are_an_hour() {
    let expires = |value: &str| parse(&format!("<sip:a@h>;expires={value}"))[0].expires_s();
    assert_eq!((expires("x"), expires("-1"), expires("\"60\"")), (Some(3600), Some(3600), Some(60)));
    assert_eq!(expires("99999999999999"), Some(u32::MAX));
}

#[test]
fn rfc_8599_parameters_are_a_device() {
    let iphone = device("sip:b@h;pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip;pn-prid=00ff");
    assert_eq!((iphone.provider, iphone.team.as_deref()), (Provider::Apns, Some("ABCDE12345")));
    assert_eq!((iphone.app.as_deref(), iphone.token.as_str()), (Some("org.example.phone.voip"), "00ff"));
    let android = device("sip:b@h;PN-Provider=FCM;pn-param=my-project;pn-prid=c1%3AAPA91b_-x");
    assert_eq!((android.provider, android.app.as_deref()), (Provider::Fcm, Some("my-project")));
    assert_eq!(android.token, "c1:APA91b_-x");
    assert!(!format!("{android:?}").contains("APA"), "no token in a log");
}

#[test]
fn queries_and_what_cannot_be_served_are_told_apart() {
    assert_eq!(ask("sip:b@h;transport=tcp"), Ask::Nothing);
    assert_eq!(ask("sip:b@h;pn-provider"), Ask::Query(None));
    assert_eq!(ask("sip:b@h;pn-provider=;pn-prid=x"), Ask::Query(None));
    assert_eq!(ask("sip:b@h;pn-provider=APNS"), Ask::Query(Some("apns".to_owned())));
    for unusable in [
        "pn-provider=adm;pn-prid=x;pn-param=y",
        "pn-provider=apns;pn-prid=x",
        "pn-provider=apns;pn-prid=x;pn-param=TEAM",
        "pn-provider=fcm;pn-prid=x",
        "pn-provider=fcm;pn-prid=;pn-param=y",
        "pn-type=wp;app-id=x;pn-tok=y",
        "pn-type=apple;app-id=x",
        "pn-tok=y",
        "pn-provider=apns;pn-param=T.b.voip;pn-prid=a:voip&b:voip",
        "pn-provider=apns;pn-param=T.b.voip&remote;pn-prid=b:remote",
        "pn-provider=apns;pn-param=T.b.voip;pn-prid=a:x",
    ] {
        assert_eq!(ask(&format!("sip:b@h;{unusable}")), Ask::Unusable, "{unusable}");
    }
}

#[test]
fn linphones_two_tokens_are_one_device() {
    for uri in [
        "sip:b@h;pn-provider=apns;pn-param=TEAM.org.x.voip&remote;pn-prid=aa:voip&bb:remote;pn-silent=1;pn-timeout=0",
        "sip:b@h;pn-provider=apns;pn-param=TEAM.org.x.remote&voip;pn-prid=bb%3Aremote%26aa%3Avoip",
    ] {
        let both = device(uri);
        assert_eq!((both.token.as_str(), both.alert_token.as_deref()), ("aa", Some("bb")));
        assert_eq!(both.app.as_deref(), Some("org.x.voip"));
    }
    let sandbox = device("sip:b@h;pn-provider=apns.dev;pn-param=TEAM.org.x.voip;pn-prid=aa:voip");
    assert_eq!((sandbox.environment, sandbox.alert_token), (Some(Environment::Sandbox), None));
    let alerts = device("sip:b@h;pn-provider=apns;pn-param=TEAM.org.x.remote;pn-prid=bb");
    assert_eq!((alerts.app.as_deref(), alerts.token.as_str()), (Some("org.x"), "bb"));
}

#[test]
fn linphones_old_spelling_is_a_device() {
    let iphone = device("sip:b@h;app-id=org.x.voip.dev;pn-type=apple;pn-tok=aa;pn-msg-str=IM_MSG");
    assert_eq!((iphone.app.as_deref(), iphone.environment), (Some("org.x.voip"), Some(Environment::Sandbox)));
    assert_eq!((iphone.team, iphone.token.as_str()), (None, "aa"));
    let android = device("sip:b@h;app-id=929724111839;pn-type=firebase;pn-tok=c1:x");
    assert_eq!((android.provider, android.app.as_deref()), (Provider::Fcm, Some("929724111839")));
}

#[test]
fn parameters_that_are_there_twice_or_wrongly_escaped_are_refused() {
    for uri in [
        "sip:b@h;pn-provider=apns;pn-provider=fcm",
        "sip:b@h;pn-provider=apns;PN-prid=1;pn%2dprid=2",
        "sip:b@h;pn-provider=%",
        "sip:b@h;pn-provider=fcm;pn-prid=%zz",
        "sip:b@h;pn-tok=%00",
    ] {
        let text = format!("<{uri}>");
        assert_eq!(Ask::of(&parse(&text)[0].uri).unwrap_err().what, "Contact", "{uri}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_borne(text in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&text);
    }

    #[test]
    fn anything_like_a_contact_is_borne(text in "(<sip:|a@h|;pn-p|pn-provider=|apns|;|=|,|\"|>|%3|:voip|&|\\*|;expires=|\\\\| ){0,30}") {
        read_all(text.as_bytes());
    }

    #[test]
    fn what_a_phone_writes_is_read_as_it_meant_it(
        user in "[a-z;?=&]{1,8}", token in "[ -~é]{1,40}", topic in "[a-z]{1,9}\\.[a-z]{1,9}", expires in any::<u32>(),
        name in "[ -~]{0,12}", others in prop::collection::vec("[a-oq-z]{1,6}(=[a-z0-9]{1,5})?", 0..4),
    ) {
        let escaped: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let others: String = others.iter().map(|other| format!(";x{other}")).collect();
        let text = format!("\"{name}\" <sip:{user}@h{others};pn-provider=fcm;pn-prid={escaped};pn-param={topic}>;expires={expires}");
        let contacts = parse(&text);
        prop_assert_eq!(contacts.len(), 1);
        prop_assert_eq!(contacts[0].expires_s(), Some(expires));
        let Ok(Ask::Device(device)) = Ask::of(&contacts[0].uri) else { panic!("{text}") };
        prop_assert_eq!((device.token, device.app), (token, Some(topic)));
    }
}

fn read_all(text: &[u8]) {
    let Ok(Contacts::These(contacts)) = Contacts::parse(&[text, text]) else { return };
    for contact in contacts {
        let _ = (contact.expires_s(), contact.instance(), contact.wakes_itself(), Ask::of(&contact.uri));
    }
}
