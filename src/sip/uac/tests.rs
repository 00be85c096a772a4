use super::*;
use proptest::prelude::*;

const INVITE: &[u8] = b"INVITE sip:b@example.org SIP/2.0\r\n\
    Via: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bKcaller\r\nv: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKfirst\r\n\
    Route: <sip:proxy;lr>\r\nRecord-Route: <sip:proxy;lr>\r\nMax-Forwards: 69\r\n\
    From: \"A\" <sip:a@example.org>;tag=1\r\nt: <sip:b@example.org>\r\nCall-ID: c1\r\nCSeq: 20 INVITE\r\n\
    m: <sip:a@10.0.0.2>;+sip.instance=\"x\"\r\nProxy-Authorization: Digest\r\n response=secret\r\n\
    X-Late: forged\r\nSubject: folded\r\n on two lines\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\nmore";

fn call(reason: Option<&'static str>) -> LateCall<'static> {
    LateCall {
        invite: INVITE,
        target: "sip:bob@example.org",
        sent_by: ([127, 0, 0, 1], 9).into(),
        name: "vp-1",
        mark: ("X-Late", "token uloc-1"),
        reason,
    }
}

struct Rig {
    uac: Uac,
    start: Instant,
    now: Instant,
    invite: String,
}

fn rig(reason: Option<&'static str>) -> Rig {
    let start = Instant::now();
    let (uac, invite) = Uac::new(&call(reason), start).unwrap();
    Rig { uac, start, now: start, invite: text(invite) }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn response(status: u16, method: &str, suffix: &str) -> String {
    format!(
        "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKvp-1{suffix};rport=9\r\n\
         Record-Route: <sip:127.0.0.1:5060;r2=on;lr>\r\nRecord-Route: <sip:127.0.0.1;transport=tcp;r2=on;lr>\r\n\
         From: \"A\" <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>;tag=phone\r\nCall-ID: c1\r\n\
         CSeq: 20 {method}\r\nContact: <sip:b@10.0.0.9;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
    )
}

impl Rig {
    fn gets(&mut self, status: u16, method: &str, suffix: &str) -> Vec<String> {
        let sent = self.uac.received(response(status, method, suffix).as_bytes(), self.now);
        sent.into_iter().map(text).collect()
    }

    /// Waits until something is due, and says after how many ms since the start, and what is sent then.
    fn wait(&mut self) -> Option<(u128, Option<String>)> {
        self.now = self.uac.due(self.now)?;
        Some(((self.now - self.start).as_millis(), self.uac.woken(self.now).map(text)))
    }
}

#[test]
fn the_copy_keeps_what_the_phone_knows_the_call_by_and_nothing_of_the_callers_way() {
    let expected = "INVITE sip:bob@example.org SIP/2.0\r\n\
        Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKvp-1;rport\r\nMax-Forwards: 10\r\nX-Late: token uloc-1\r\n\
        From: \"A\" <sip:a@example.org>;tag=1\r\nt: <sip:b@example.org>\r\nCall-ID: c1\r\nCSeq: 20 INVITE\r\n\
        Subject: folded\r\n on two lines\r\nContent-Type: application/sdp\r\n\
        Contact: <sip:127.0.0.1:9>\r\nContent-Length: 5\r\n\r\nv=0\r\n";
    assert_eq!(rig(None).invite, expected);
}

#[test]
fn what_cannot_be_told_is_refused() {
    let refused = |call: LateCall<'_>| Uac::new(&call, Instant::now()).unwrap_err();
    assert_eq!(refused(LateCall { target: "sip:a b", ..call(None) }), Unusable::BadText);
    assert_eq!(refused(LateCall { target: "sip:a@b\r\nX: y", ..call(None) }), Unusable::BadText);
    assert_eq!(refused(call(Some("SIP\r\nX: y"))), Unusable::BadText);
    assert_eq!(refused(LateCall { mark: ("X-Late", "a\nb"), ..call(None) }), Unusable::BadText);
    for invite in [
        &b""[..],
        b"BYE sip:a SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n",
        b"INVITE sip:a SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n",
    ] {
        assert_eq!(refused(LateCall { invite, ..call(None) }), Unusable::NoInvite);
    }
    let large = [INVITE, &[b'x'; 60_000]].concat();
    assert!(
        Uac::new(&LateCall { invite: &large, ..call(None) }, Instant::now()).is_ok(),
        "beyond its Content-Length"
    );
    let large = text(large).replace("Content-Length: 5", "Content-Length: 60000");
    let target = format!("sip:{}@x", "b".repeat(6000));
    let call = LateCall { invite: large.as_bytes(), target: &target, ..call(None) };
    assert_eq!(refused(call), Unusable::TooLarge);
}

#[test]
fn a_phone_that_rings_is_cancelled_at_once_with_the_reason() {
    let mut rig = rig(Some("SIP;cause=200;text=\"Call completed elsewhere\""));
    assert_eq!(rig.gets(100, "INVITE", ""), [""; 0]);
    let sent = rig.gets(180, "INVITE", "");
    let expected = "CANCEL sip:bob@example.org SIP/2.0\r\n\
        Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKvp-1;rport\r\nMax-Forwards: 10\r\nX-Late: token uloc-1\r\n\
        From: \"A\" <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\nCall-ID: c1\r\nCSeq: 20 CANCEL\r\n\
        Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(sent, [expected]);
    assert_eq!(rig.gets(183, "INVITE", ""), [""; 0], "once");
    assert_eq!(rig.gets(200, "CANCEL", ""), [""; 0]);
    let sent = rig.gets(487, "INVITE", "");
    assert!(sent[0].starts_with("ACK sip:bob@example.org SIP/2.0\r\n") && sent.len() == 1, "{sent:?}");
    assert!(
        sent[0].contains("branch=z9hG4bKvp-1;") && sent[0].contains("To: <sip:b@example.org>;tag=phone\r\n")
    );
    assert!(sent[0].contains("CSeq: 20 ACK\r\n"));
    assert_eq!(rig.uac.end(), Some(End::Cancelled));
    assert_eq!(rig.gets(487, "INVITE", ""), sent, "a repeated answer gets its ACK again");
    assert_eq!(rig.wait(), Some((32_000, None)));
    assert_eq!(rig.wait(), None);
}

#[test]
fn a_phone_that_only_says_100_is_cancelled_a_little_later_and_without_a_reason() {
    let mut rig = rig(None);
    rig.gets(100, "INVITE", "");
    let (at_ms, sent) = rig.wait().unwrap();
    let cancel = sent.unwrap();
    assert!(at_ms == 300 && cancel.starts_with("CANCEL ") && !cancel.contains("Reason:"), "{at_ms} {cancel}");
    assert_eq!(rig.wait(), Some((800, Some(cancel.clone()))), "nobody heard it");
    rig.gets(200, "CANCEL", "");
    assert_eq!(rig.wait(), Some((32_300, None)), "nothing is repeated any more");
    assert_eq!(rig.uac.end(), Some(End::Silent));
}

#[test]
fn a_phone_that_answers_at_once_gets_ack_and_bye_along_the_route() {
    let mut rig = rig(None);
    let sent = rig.gets(200, "INVITE", "");
    let routes = "Route: <sip:127.0.0.1;transport=tcp;r2=on;lr>\r\nRoute: <sip:127.0.0.1:5060;r2=on;lr>\r\n";
    let [ack, bye] = &sent[..] else { panic!("{sent:?}") };
    assert!(ack.starts_with("ACK sip:b@10.0.0.9;transport=tcp SIP/2.0\r\n") && ack.contains(routes), "{ack}");
    assert!(ack.contains("CSeq: 20 ACK") && ack.contains("branch=z9hG4bKvp-1-ack;"), "{ack}");
    assert!(bye.starts_with("BYE sip:b@10.0.0.9;transport=tcp SIP/2.0\r\n") && bye.contains(routes), "{bye}");
    assert!(bye.contains("CSeq: 21 BYE") && bye.contains(";tag=phone\r\n"), "{bye}");
    assert_eq!(rig.gets(200, "INVITE", "").first(), Some(ack));
    assert_eq!(rig.wait(), Some((500, Some(bye.clone()))));
    rig.gets(200, "BYE", "-bye");
    assert_eq!(rig.uac.end(), Some(End::Answered));
    assert_eq!(rig.wait(), Some((32_000, None)));
}

#[test]
fn a_phone_that_answers_after_the_cancel_is_told_goodbye_too() {
    let mut rig = rig(None);
    rig.gets(180, "INVITE", "");
    let sent = rig.gets(200, "INVITE", "");
    assert!(sent[1].starts_with("BYE "), "{sent:?}");
    assert_eq!(rig.gets(200, "CANCEL", ""), [""; 0]);
    assert!(
        matches!(rig.wait(), Some((500, Some(bye))) if bye == sent[1]),
        "the BYE still waits for its answer"
    );
}

#[test]
fn a_refused_invite_is_acknowledged_and_an_unheard_one_repeated_until_the_end() {
    let mut refused = rig(None);
    assert!(refused.gets(480, "INVITE", "")[0].starts_with("ACK "));
    assert_eq!(refused.uac.end(), Some(End::Refused(480)));

    let mut silent = rig(None);
    let mut times = Vec::new();
    while let Some((at_ms, sent)) = silent.wait() {
        assert_eq!(sent.is_some(), at_ms < 32_000);
        times.push(at_ms);
    }
    assert_eq!(times, [500, 1500, 3500, 7500, 15_500, 31_500, 32_000]);
    assert_eq!(silent.uac.end(), Some(End::Silent));
}

#[test]
fn what_is_not_for_this_call_changes_nothing() {
    let mut rig = rig(None);
    for other in [response(200, "INVITE", "1"), response(200, "OPTIONS", ""), response(200, "CANCEL", "-bye")]
    {
        assert!(rig.uac.received(other.as_bytes(), rig.now).is_empty());
    }
    assert!(rig.uac.received(rig.invite.clone().as_bytes(), rig.now).is_empty());
    assert_eq!(name_in(response(200, "BYE", "-bye").as_bytes()).as_deref(), Some("vp-1"));
    assert_eq!(name_in(rig.invite.as_bytes()), None);
}

#[test]
fn a_phone_that_hangs_up_itself_is_answered() {
    let bye = "BYE sip:127.0.0.1:9 SIP/2.0\r\nVia: a\r\nVia: b\r\nFrom: f\r\nTo: t\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nX: y\r\n\r\n";
    let ok = "SIP/2.0 200 OK\r\nVia: a\r\nVia: b\r\nFrom: f\r\nTo: t\r\nCall-ID: c\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer_to_request(bye.as_bytes()).map(text).as_deref(), Some(ok));
    assert_eq!(answer_to_request(INVITE), None);
}

#[derive(Debug, Clone)]
enum Event {
    Response(u16, usize),
    Time(u64),
    Bytes(Vec<u8>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (100u16..700, 0usize..4).prop_map(|(status, kind)| Event::Response(status, kind)),
        (0u64..5000).prop_map(Event::Time),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(Event::Bytes),
    ];
    proptest::collection::vec(event, 0..30)
}

proptest! {
    /// Whatever comes: no panic, no flood, and an end.
    #[test]
    fn every_call_ends(events in events()) {
        let mut rig = rig(None);
        let mut sent = 0;
        for event in events {
            match event {
                Event::Response(status, kind) => {
                    let (method, suffix) = [("INVITE", ""), ("CANCEL", ""), ("BYE", "-bye"), ("ACK", "-ack")][kind];
                    let answers = rig.gets(status, method, suffix).len();
                    prop_assert!(answers <= 2);
                }
                Event::Time(ms) => {
                    rig.now += Duration::from_millis(ms);
                    let _ = rig.uac.woken(rig.now);
                }
                Event::Bytes(bytes) => prop_assert!(rig.uac.received(&bytes, rig.now).is_empty()),
            }
        }
        while let Some((_, repeated)) = rig.wait() {
            sent += usize::from(repeated.is_some());
            prop_assert!(sent < 20);
        }
        prop_assert!(rig.uac.end().is_some());
    }
}
