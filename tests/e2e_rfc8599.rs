//! RFC 8599 on the wire: phones that hand in their tokens with REGISTER, through real Kamailio, and what others get to see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use support::debian;
use support::kamailio::{Installation, Kamailio, Options, Place};
use support::phone::{DOMAIN, Message, Phone, Sent};
use support::settings;
use support::shipped::{Setup, Shipped, apns_token, fcm_token};

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

/// The same, over TCP, until all that comes of it is done: the answer is sent before the token is stored.
fn registered(phone: &mut Phone, uri_params: &str, more: &str) -> Message {
    let sent = register(phone, uri_params, more);
    let answer = phone.expect_final(&sent);
    phone.settle();
    answer
}

fn feature_caps(answer: &Message) -> Vec<&str> {
    answer.all("Feature-Caps").collect()
}

/// A proxy before a registrar, which is a phone of the test's own.
fn edge(name: &str, more: &str) -> (Kamailio, Phone) {
    edge_on(name, more, &Installation::of_this_machine())
}

fn edge_on(name: &str, more: &str, installation: &Installation) -> (Kamailio, Phone) {
    let place = Place::new(name);
    let config = settings::write(&place.scratch);
    place.scratch.write("voip-push.toml", format!("{}\n{more}\n", settings::TOML));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut registrar = Phone::on_socket("registrar", socket);
    let upstream = format!("\"sip:127.0.0.1:{}\"", registrar.port());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_edge.cfg");
    let options = Options::file(place, file)
        .define("CONFIG", &format!("\"{}\"", config.display()))
        .define("UPSTREAM", &upstream);
    let kamailio = Kamailio::start(options.on(installation));
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
    says_upstream(edge("upstream", ""));
}

fn says_upstream((kamailio, mut registrar): (Kamailio, Phone)) {
    let mut bob = Phone::udp("bob", kamailio.port());
    let sent = register(&mut bob, &apns_params(1), ";+sip.instance=\"<urn:x:1>\";+sip.pnsreg");
    let arrived = registrar.expect_request("REGISTER");
    let with_pnsreg = "*;+sip.pns=\"apns\";+sip.pnsreg=\"130\"";
    assert_eq!(feature_caps(&arrived), [with_pnsreg]);
    assert!(
        arrived.header("Contact").unwrap().contains(&apns_token(1)),
        "the registrar gets the whole Contact"
    );
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
    sent.text =
        sent.text.replace(&contact, &format!("{contact}{}", apns_params(1))).replace("Expires:", &caps);
    bob.send(sent.text.as_bytes());
    let arrived = registrar.expect_request("REGISTER");
    assert_eq!(feature_caps(&arrived), [APNS_CAPS], "only the other one's");
    grant(&mut registrar, &arrived, ";expires=600");
    assert!(feature_caps(&bob.expect_status(&sent, 200)).is_empty());
    assert_eq!(stored(&mut bob, "bob"), "0");
}

#[test]
fn push_parameters_do_not_reach_the_other_side_in_any_direction() {
    strips(edge("strip", ""));
}

fn strips((kamailio, mut callee): (Kamailio, Phone)) {
    let mut caller = Phone::udp("alice", kamailio.port());
    let mut sent = caller.invite_request("bob");
    let (own, uri) = (caller.contact(), format!("sip:bob@{DOMAIN}"));
    // the Request-URI as the registrar's lookup makes it, two Contacts to be thorough, and purr, which is for others to see
    let contacts = format!(
        "Contact: \"A;pn-x\" <{own}{};ob;pn-purr=p1>;q=1\r\nm: <sip:x@y;app-id=a;pn-type=apple;pn-tok=secret>",
        apns_params(3)
    );
    sent.text = sent
        .text
        .replacen(&format!("INVITE {uri}"), &format!("INVITE {uri};transport=udp{};ob", apns_params(2)), 1)
        .replace(&format!("Contact: <{own}>"), &contacts);
    caller.send(sent.text.as_bytes());
    let arrived = callee.expect_request("INVITE");
    assert_eq!(arrived.start, format!("INVITE {uri};transport=udp;ob SIP/2.0"));
    let seen: Vec<&str> = arrived.all("Contact").chain(arrived.all("m")).collect();
    assert_eq!(seen, [format!("\"A;pn-x\" <{own};ob;pn-purr=p1>;q=1").as_str(), "<sip:x@y>"]);
    let of_callee = format!(
        "Contact: <{}{};pn-silent=1>;+sip.instance=\"<urn:x:1>\"\r\n",
        callee.contact(),
        apns_params(4)
    );
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

/// URI parameters with the team and topic, or the project, of the simulator.
fn params(shipped: &Shipped, provider: &str, number: u8) -> String {
    let fact = |name| shipped.simulator.fact(name);
    match provider {
        "apns" => format!(
            ";pn-provider=apns;pn-param={}.{};pn-prid={}",
            fact("team_id"),
            fact("topic"),
            apns_token(number)
        ),
        _ => format!(
            ";pn-provider=fcm;pn-param={};pn-prid={}",
            fact("project"),
            fcm_token(number).replace(':', "%3A")
        ),
    }
}

fn devices(shipped: &Shipped, user: &str) -> Value {
    let answer = shipped.rest("GET", &format!("/api/user/{user}/push-token"), &Value::Null);
    if answer.status == 404 {
        json!([])
    } else {
        serde_json::from_str::<Value>(&answer.body).unwrap()["devices"].clone()
    }
}

/// Answers a call as a phone whose Contact has its push parameters in it, and hangs up.
fn talk(caller: &mut Phone, invite: &Sent, phone: &mut Phone, params: &str) -> Message {
    let ring = phone.expect_request("INVITE");
    let contact = format!("Contact: <{}{params}>\r\n", phone.contact());
    phone.answer_with(&ring, 180, &contact);
    phone.answer_with(&ring, 200, &contact);
    let ok = caller.expect_status(invite, 200);
    caller.within("ACK", invite, &ok);
    phone.expect_request("ACK");
    let bye = caller.within("BYE", invite, &ok);
    let end = phone.expect_request("BYE");
    phone.answer(&end, 200);
    caller.expect_status(&bye, 200);
    ring
}

/// Nothing that arrived here has a token in it.
fn assert_no_token(phone: &Phone) {
    for message in phone.seen.iter().filter(|message| message.method() != "REGISTER") {
        let text = format!("{message:?}");
        assert!(
            !text.contains("pn-") && !text.contains(&apns_token(1)) && !text.contains("APA91b"),
            "{text}"
        );
    }
}

#[test]
fn from_register_to_an_answered_call_without_rest() {
    wakes(&Shipped::with("rfc8599", Setup { defines: vec![("WITHOUT_REST", "")], ..Setup::default() }));
}

fn wakes(shipped: &Shipped) {
    let push = params(shipped, "apns", 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let answer =
        registered(&mut bob, &push, ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"");
    assert_eq!(feature_caps(&answer), [APNS_CAPS]);
    assert!(answer.header("Contact").unwrap().contains(&apns_token(1)), "the phone finds its binding");
    // asleep: its connection is gone
    let port = bob.port();
    drop(bob);
    support::poll(support::DEADLINE, || {
        let connections = shipped.kamailio.rpc(&["core.tcp_list"]);
        (!connections.contains(&port.to_string())).then_some(())
    })
    .expect("the connection is closed");

    let mut alice = Phone::udp("alice", shipped.port());
    let invite = alice.invite("bob");
    let seen = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!((&seen["status"], &seen["token"]), (&json!(200), &json!(apns_token(1))));
    assert_eq!(seen["headers"]["apns-topic"], shipped.simulator.fact("topic"));
    let mut awake = Phone::tcp("bob", shipped.port());
    register(&mut awake, &push, ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"");
    let ring = talk(&mut alice, &invite, &mut awake, &push);
    assert_eq!(ring.start, format!("INVITE {} SIP/2.0", awake.contact()));
    assert_no_token(&alice);
    assert_no_token(&awake);
    assert_eq!((awake.count("INVITE"), shipped.simulator.pushes().len()), (1, 1));
}

#[test]
fn phones_that_ring_are_not_called_again_when_another_one_comes() {
    let shipped = Shipped::start("several-rfc");
    let mut first = Phone::tcp("bob", shipped.port());
    registered(&mut first, &params(&shipped, "apns", 1), ";+sip.instance=\"<urn:x:1>\"");
    let mut alice = Phone::udp("alice", shipped.port());
    let mut invite = alice.invite_request("bob");
    let own = alice.contact();
    invite.text = invite.text.replace(&format!("<{own}>"), &format!("<{own}{}>", params(&shipped, "fcm", 9)));
    alice.send(invite.text.as_bytes());
    let ring = first.expect_request("INVITE");
    assert_eq!(ring.contact(), own, "the caller's token is not for the callee");
    first.answer(&ring, 180);
    alice.expect_status(&invite, 180);
    let mut second = Phone::tcp("bob", shipped.port());
    registered(&mut second, &params(&shipped, "fcm", 2), ";+sip.instance=\"<urn:x:2>\"");
    talk(&mut alice, &invite, &mut second, &params(&shipped, "fcm", 2));
    first.expect_request("CANCEL");
    assert_eq!((first.count("INVITE"), second.count("INVITE")), (1, 1));
    for phone in [&alice, &first, &second] {
        assert_no_token(phone);
    }
    assert_eq!(devices(&shipped, "bob").as_array().unwrap().len(), 2);
}

#[test]
fn a_query_a_good_bye_and_a_phone_that_wants_no_push_any_more() {
    let shipped = Shipped::start("life-of-a-contact");
    let mut bob = Phone::tcp("bob", shipped.port());
    let query = register(&mut bob, ";pn-provider", ";+sip.pnsreg");
    let all = ["*;+sip.pns=\"apns\";+sip.pnsreg=\"130\"", "*;+sip.pns=\"fcm\";+sip.pnsreg=\"130\""];
    assert_eq!(feature_caps(&bob.expect_status(&query, 200)), all);
    assert_eq!(devices(&shipped, "bob"), json!([]));
    let (push, instance) = (params(&shipped, "apns", 1), ";+sip.instance=\"<urn:x:1>\"");
    for more in [instance.to_owned(), format!("{instance};expires=0")] {
        let answer = registered(&mut bob, &push, &more);
        let is_bye = more.ends_with("=0");
        assert_eq!(feature_caps(&answer).len(), usize::from(!is_bye));
        let known = devices(&shipped, "bob");
        assert_eq!(known.as_array().unwrap().len(), usize::from(!is_bye), "{known}");
    }
    registered(&mut bob, &push, instance);
    assert_eq!(devices(&shipped, "bob")[0]["device_id"], "sip:urn:x:1");
    let answer = registered(&mut bob, "", instance);
    assert!(feature_caps(&answer).is_empty());
    assert_eq!(devices(&shipped, "bob"), json!([]));
}

#[test]
fn what_cannot_be_is_answered_by_the_rfc_and_changes_nothing() {
    let shipped = Shipped::with(
        "refused-rfc",
        Setup { config: vec![("[log]", "[sip]\nunsupported = \"refuse\"\n[log]")], ..Setup::default() },
    );
    let mut bob = Phone::tcp("bob", shipped.port());
    let push = params(&shipped, "apns", 1);
    registered(&mut bob, &push, ";+sip.instance=\"<urn:x:1>\"");
    let before = devices(&shipped, "bob");
    let refused = [
        (";pn-provider=apns;pn-prid=%zz".to_owned(), "", 400),
        (format!("{push};pn-provider=fcm"), "", 400),
        (push.clone(), ";expires=60;+sip.instance=\"<urn:x:1>\"", 423),
        (";pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example.org".to_owned(), "", 555),
        (";pn-provider=apns;pn-prid=00".to_owned(), "", 555),
        (push.replace(&apns_token(1), "nothex"), ";+sip.instance=\"<urn:x:1>\"", 555),
    ];
    for (uri_params, more, status) in refused {
        let answer = registered(&mut bob, &uri_params, more);
        assert_eq!(answer.status(), status, "{uri_params}");
        assert_eq!(answer.header("Min-Expires"), (status == 423).then_some("180"));
        assert!(feature_caps(&answer).is_empty());
        assert_eq!(devices(&shipped, "bob"), before, "{uri_params}");
    }
}

#[test]
fn a_contact_that_another_proxy_wakes_keeps_what_that_one_needs() {
    let shipped = Shipped::start("another-rfc");
    shipped.register_token("bob", &fcm_token(5), "android");
    let mut bob = Phone::tcp("bob", shipped.port());
    let push = params(&shipped, "apns", 1);
    let mut sent = bob.register_request(600);
    let contact = bob.contact();
    let caps = format!("Feature-Caps: {APNS_CAPS}\r\nExpires:");
    sent.text = sent.text.replace(&contact, &format!("{contact}{push}")).replace("Expires:", &caps);
    bob.send(sent.text.as_bytes());
    assert!(feature_caps(&bob.expect_status(&sent, 200)).is_empty());
    bob.settle();
    assert_eq!(devices(&shipped, "bob").as_array().unwrap().len(), 1, "the other proxy's device is not ours");
    let mut alice = Phone::udp("alice", shipped.port());
    let invite = alice.invite("bob");
    let ring = talk(&mut alice, &invite, &mut bob, &push);
    assert!(ring.start.contains(&format!("pn-prid={}", apns_token(1))), "{}", ring.start);
    assert_no_token(&alice);
}

#[test]
fn linphone_registers_both_its_tokens() {
    let shipped = Shipped::start("linphone-rfc");
    let mut bob = Phone::tcp("bob", shipped.port());
    let push = params(&shipped, "apns", 1).replace(".voip;", ".voip&remote;");
    let push = format!("{push}:voip&{}:remote;pn-silent=1;pn-timeout=0;pn-msg-str=IM_MSG", apns_token(2));
    let answer = registered(&mut bob, &push, ";+sip.instance=\"<urn:uuid:5>\"");
    let caps = feature_caps(&answer);
    // with a token for alerts it can be woken for requests within dialogs, too
    assert!(caps.len() == 1 && caps[0].starts_with(&format!("{APNS_CAPS};+sip.pnspurr=\"")), "{caps:?}");
    let known = &devices(&shipped, "bob")[0];
    assert_eq!(known["token"], apns_token(1).as_str());
    assert_eq!(known["alert_token"], apns_token(2).as_str(), "{known}");
}

#[test]
fn users_of_several_domains_are_told_apart() {
    let defines = vec![("WITH_MULTIDOMAIN", "")];
    let shipped = Shipped::with("domains-rfc", Setup { defines, ..Setup::default() });
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &params(&shipped, "apns", 1), "");
    assert_eq!((shipped.token_status("bob"), shipped.token_status(&format!("bob@{DOMAIN}"))), (404, 200));
}

#[test]
fn kamailio_6_0_does_the_same() {
    all_in("trixie", debian::trixie());
}

#[test]
#[ignore = "Debian unstable moves: cargo test -- --ignored kamailio_6_1"]
fn kamailio_6_1_does_the_same() {
    all_in("sid", debian::sid());
}

fn all_in(suite: &str, installation: Installation) {
    says_upstream(edge_on(&format!("upstream-{suite}"), "", &installation));
    strips(edge_on(&format!("strip-{suite}"), "", &installation));
    let setup = Setup { installation: Some(installation), ..Setup::default() };
    wakes(&Shipped::with(&format!("rfc-{suite}"), setup));
}
