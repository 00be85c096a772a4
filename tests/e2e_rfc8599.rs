//! RFC 8599 on the wire: phones that hand in their tokens with REGISTER, through real Kamailio, and what others get to see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use support::kamailio::{Kamailio, Options, Place};
use support::phone::{DOMAIN, Message, Phone, Sent};
use support::settings;
use support::shipped::apns_token;

const APNS_CAPS: &str = "*;+sip.pns=\"apns\"";

/// URI parameters of an iPhone with the topic that the tests' configurations have.
fn apns_params(number: u8) -> String {
    format!(";pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip;pn-prid={}", apns_token(number))
}

/// A REGISTER whose Contact has these parameters in its URI and behind it.
fn register(phone: &mut Phone, uri_params: &str, more: &str) -> Sent {
    let contact = format!("<{}>", phone.contact());
    let with = format!("<{}{uri_params}>{more}", phone.contact());
    let mut sent = phone.register_request(600);
    sent.text = sent.text.replace(&contact, &with);
    phone.send(sent.text.as_bytes());
    sent
}

fn feature_caps(answer: &Message) -> Vec<&str> {
    answer.all("Feature-Caps").collect()
}

/// A proxy before a registrar, which is a phone of the test's own.
fn edge(name: &str, more: &str) -> (Kamailio, Phone) {
    let place = Place::new(name);
    let config = settings::write(&place.scratch);
    place.scratch.write("voip-push.toml", format!("{}\n{more}\n", settings::TOML));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut registrar = Phone::on_socket("registrar", socket);
    let upstream = format!("\"sip:127.0.0.1:{}\"", registrar.port());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_edge.cfg");
    let options =
        Options::file(place, file).define("CONFIG", &format!("\"{}\"", config.display())).define("UPSTREAM", &upstream);
    let kamailio = Kamailio::start(options);
    registrar.serves(kamailio.port());
    (kamailio, registrar)
}

/// The registrar's 200, with the Contact as it came and what is behind it.
fn grant(registrar: &mut Phone, request: &Message, more: &str) {
    let contact = request.header("Contact").unwrap().to_owned();
    registrar.answer_with(request, 200, &format!("Contact: {contact}{more}\r\n"));
}

fn stored(phone: &mut Phone, user: &str) -> String {
    let uri = format!("sip:{user}@{DOMAIN}");
    let own = format!("<sip:test@{DOMAIN}>");
    let sent = phone.request("MESSAGE", &uri, &own, &format!("<{uri}>"), "");
    phone.send(sent.text.as_bytes());
    let start = phone.expect_status(&sent, 200).start;
    start.strip_prefix("SIP/2.0 200 ").unwrap().to_owned()
}

#[test]
fn a_proxy_says_upstream_and_in_the_answer_that_it_will_push() {
    let (kamailio, mut registrar) = edge("upstream", "");
    let mut bob = Phone::udp("bob", kamailio.port());
    let sent = register(&mut bob, &apns_params(1), ";+sip.instance=\"<urn:x:1>\";+sip.pnsreg");
    let arrived = registrar.expect_request("REGISTER");
    let with_pnsreg = "*;+sip.pns=\"apns\";+sip.pnsreg=\"130\"";
    assert_eq!(feature_caps(&arrived), [with_pnsreg]);
    assert!(arrived.header("Contact").unwrap().contains(&apns_token(1)), "the registrar gets the whole Contact");
    assert_eq!(stored(&mut bob, "bob"), "0", "nobody has let the phone register yet");
    grant(&mut registrar, &arrived, ";expires=600");
    let answer = bob.expect_status(&sent, 200);
    assert_eq!(feature_caps(&answer), [with_pnsreg]);
    assert!(answer.header("Contact").unwrap().contains(&apns_token(1)), "a phone sees its own binding whole");
    assert_eq!(stored(&mut bob, "bob"), "1");
}

#[test]
fn a_proxy_stores_and_says_nothing_when_the_registrar_refuses_or_grants_too_little() {
    let (kamailio, mut registrar) = edge("granted", "");
    let mut bob = Phone::udp("bob", kamailio.port());
    let sent = register(&mut bob, &apns_params(1), "");
    let arrived = registrar.expect_request("REGISTER");
    registrar.answer(&arrived, 403);
    assert!(feature_caps(&bob.expect_status(&sent, 403)).is_empty());
    let sent = register(&mut bob, &apns_params(1), "");
    let arrived = registrar.expect_request("REGISTER");
    grant(&mut registrar, &arrived, ";expires=90");
    assert!(feature_caps(&bob.expect_status(&sent, 200)).is_empty());
    assert_eq!(stored(&mut bob, "bob"), "0");
}

#[test]
fn a_proxy_leaves_to_another_what_that_one_serves() {
    let (kamailio, mut registrar) = edge("another", "[sip]\nunsupported = \"refuse\"");
    let mut bob = Phone::udp("bob", kamailio.port());
    let mut sent = bob.register_request(600);
    let contact = bob.contact();
    let caps = format!("Feature-Caps: {APNS_CAPS}\r\nExpires:");
    sent.text = sent.text.replace(&contact, &format!("{contact}{}", apns_params(1))).replace("Expires:", &caps);
    bob.send(sent.text.as_bytes());
    let arrived = registrar.expect_request("REGISTER");
    assert_eq!(feature_caps(&arrived), [APNS_CAPS], "only the other one's");
    grant(&mut registrar, &arrived, ";expires=600");
    assert!(feature_caps(&bob.expect_status(&sent, 200)).is_empty());
    assert_eq!(stored(&mut bob, "bob"), "0");
}

#[test]
fn push_parameters_do_not_reach_the_other_side_in_any_direction() {
    let (kamailio, mut callee) = edge("strip", "");
    let mut caller = Phone::udp("alice", kamailio.port());
    let mut sent = caller.invite_request("bob");
    let (own, uri) = (caller.contact(), format!("sip:bob@{DOMAIN}"));
    // the Request-URI as the registrar's lookup makes it, two Contacts to be thorough, and purr, which is for others to see
    let contacts = format!("Contact: \"A;pn-x\" <{own}{};ob;pn-purr=p1>;q=1\r\nm: <sip:x@y;app-id=a;pn-type=apple;pn-tok=secret>", apns_params(3));
    sent.text = sent
        .text
        .replacen(&format!("INVITE {uri}"), &format!("INVITE {uri};transport=udp{};ob", apns_params(2)), 1)
        .replace(&format!("Contact: <{own}>"), &contacts);
    caller.send(sent.text.as_bytes());
    let arrived = callee.expect_request("INVITE");
    assert_eq!(arrived.start, format!("INVITE {uri};transport=udp;ob SIP/2.0"));
    let seen: Vec<&str> = arrived.all("Contact").chain(arrived.all("m")).collect();
    assert_eq!(seen, [format!("\"A;pn-x\" <{own};ob;pn-purr=p1>;q=1").as_str(), "<sip:x@y>"]);
    let of_callee = format!("Contact: <{}{};pn-silent=1>;+sip.instance=\"<urn:x:1>\"\r\n", callee.contact(), apns_params(4));
    for status in [180, 302] {
        callee.answer_with(&arrived, status, &of_callee);
        let answer = caller.expect_status(&sent, status);
        let shown = format!("<{}>;+sip.instance=\"<urn:x:1>\"", callee.contact());
        assert_eq!(answer.header("Contact"), Some(shown.as_str()));
    }
    for message in caller.seen.iter().chain(&callee.seen) {
        let text = format!("{message:?}");
        assert!(!text.contains("pn-p") || !text.contains("pn-prid"), "{text}");
    }
}
