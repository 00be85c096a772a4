//! What is remembered of calls, and who is told, without a SIP server.
//!
//! They refuse to wait: time is a number that they set.

use super::*;

const ID: CallId = CallId { index: 1, label: 2 };
/// When calls went to their contacts: after all registrations, unless a test says otherwise.
const RUNG: Moment = Moment::MAX;
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    all: Remembered,
    now: Instant,
}

fn rig() -> Rig {
    let waiting = Box::leak(Box::new(Waiting::new().unwrap()));
    Rig { all: Remembered::new(waiting, 60 * SECOND), now: Instant::now() }
}

fn call(id: CallId, invite_len: usize) -> Remember {
    let (user, sip_call_id) = ("bob".to_owned(), "c1".to_owned());
    Remember {
        user,
        sip_call_id,
        id,
        since: 0,
        devices: 3,
        invite: vec![b'x'; invite_len],
        received_on: None,
    }
}

fn wake(contacts: &[&str], moment: Moment) -> Wake {
    let contacts: Vec<String> = contacts.iter().map(|contact| (*contact).to_owned()).collect();
    let (user, aor) = ("bob".to_owned(), "sip:bob@x".to_owned());
    let (phone, registered) = (contacts[0][..1].to_owned(), contacts.len());
    Wake { user, aor, moment, tells_contacts: true, contacts, phone, registered }
}

impl Rig {
    fn remember(&mut self) {
        self.all.remember(call(ID, 10), &[], self.now);
    }

    /// A phone of its own for each contact, named after the first letter of it.
    fn wakes(&mut self, contacts: &[&str]) -> Vec<(String, End)> {
        if let Some(moment) = self.all.waiting.wake("bob") {
            self.all.wake(&wake(contacts, moment), Duration::ZERO, self.now);
        }
        self.told()
    }

    fn told(&mut self) -> Vec<(String, End)> {
        let told = self.all.next_due(self.now).into_iter();
        told.map(|told| (told.contact, told.end)).collect()
    }

    fn over(&mut self, end: End) {
        self.all.over(ID, &end, self.now);
    }

    fn is_empty(&self) -> bool {
        self.all.calls.is_empty()
            && self.all.of_user.is_empty()
            && self.all.times.is_empty()
            && self.all.bytes == 0
            && self.all.waiting.wake("bob").is_none()
    }
}

fn told(contact: &str, end: &End) -> Vec<(String, End)> {
    vec![(contact.to_owned(), end.clone())]
}

#[test]
fn a_phone_of_which_nothing_else_was_known_is_the_one_that_the_call_went_to() {
    let mut rig = rig();
    rig.all.remember(Remember { devices: 1, ..call(ID, 10) }, &[], rig.now);
    let moment = rig.all.waiting.wake("bob").unwrap();
    let somebody = Wake {
        user: "bob".to_owned(),
        aor: String::new(),
        moment,
        tells_contacts: false,
        contacts: Vec::new(),
        phone: String::new(),
        registered: 0,
    };
    rig.all.wake(&somebody, SECOND, rig.now);
    assert!(rig.all.rung(ID, "a1", RUNG, rig.now), "it is one that was pushed");
    assert!(!rig.all.rung(ID, "b1", RUNG, rig.now), "and the only one");
    rig.over(End::Answered);
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["c1"]), [], "the call is not told to the phone that has had it");
}

#[test]
fn each_late_phone_is_told_once_and_none_that_the_call_went_to() {
    let mut rig = rig();
    rig.remember();
    rig.all.rung(ID, "desk", 0, rig.now);
    let end = End::Cancelled(Some("SIP;cause=487".to_owned()));
    rig.over(end.clone());
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["desk"]), []);
    assert_eq!(rig.wakes(&["phone"]), told("phone", &end));
    assert_eq!(rig.wakes(&["phone"]), []);
    rig.now += 58 * SECOND;
    assert_eq!(rig.wakes(&["tablet"]), told("tablet", &end));
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["watch"]), []);
    assert!(rig.is_empty());
}

#[test]
fn a_phone_that_registers_as_the_call_ends_is_told_unless_it_rang() {
    let mut rig = rig();
    rig.remember();
    assert_eq!(rig.wakes(&["a"]), []);
    assert_eq!(rig.wakes(&["b"]), []);
    rig.over(End::Failed(480));
    assert_eq!(rig.wakes(&["c"]), [], "word that it rang may be under way");
    rig.all.rung(ID, "b", RUNG, rig.now);
    rig.all.rung(ID, "c", RUNG, rig.now);
    rig.now += GRACE;
    assert_eq!(rig.told(), told("a", &End::Failed(480)));
}

#[test]
fn a_phone_is_told_once_however_often_its_contact_changes_and_no_more_are_told_than_were_pushed_to() {
    let mut rig = rig();
    rig.remember();
    rig.all.rung(ID, "desk", 0, rig.now);
    assert_eq!(rig.wakes(&["a1"]), []);
    rig.all.rung(ID, "a1", RUNG, rig.now);
    rig.over(End::Answered);
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["a2"]), [], "this one rang");
    assert_eq!(rig.wakes(&["desk"]), []);
    assert_eq!(rig.wakes(&["b1", "b2"]).len(), 2, "both contacts of one phone");
    assert_eq!(rig.wakes(&["b3"]), []);
    assert_eq!(rig.wakes(&["c1"]).len(), 1);
    assert_eq!(rig.wakes(&["d1"]), [], "a fourth of three");
}

#[test]
fn the_end_that_says_most_counts() {
    let mut rig = rig();
    rig.remember();
    for end in [End::Failed(487), End::Cancelled(None), End::Failed(408)] {
        rig.over(end);
    }
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["a"]), told("a", &End::Cancelled(None)));
    rig.over(End::Answered);
    assert_eq!(rig.wakes(&["b"]), told("b", &End::Answered));
}

#[test]
fn what_comes_before_its_call_counts_for_it() {
    let mut rig = rig();
    rig.all.rung(ID, "desk", 0, rig.now);
    rig.over(End::Answered);
    rig.remember();
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["desk"]), []);
    assert_eq!(rig.wakes(&["phone"]), told("phone", &End::Answered));
}

#[test]
fn a_call_without_an_end_is_forgotten_and_memory_has_a_bound() {
    let mut rig = rig();
    rig.remember();
    rig.now += FORGOTTEN;
    assert_eq!(rig.told(), []);
    assert!(rig.is_empty());
    let most = MAX_BYTES / (60_000 + CALL_LEN);
    for label in 0..2 * most {
        let id = CallId { index: 1, label: u32::try_from(label).unwrap() };
        rig.all.remember(call(id, 60_000), &[], rig.now + SECOND * u32::try_from(label).unwrap());
    }
    assert_eq!(rig.all.calls.len(), most);
    assert!(!rig.all.calls.contains_key(&CallId { index: 1, label: 0 }), "the oldest made room");
    rig.all.keep = Duration::ZERO;
    rig.all.remember(call(CallId { index: 2, label: 0 }, 1), &[], rig.now);
    assert_eq!(rig.all.calls.len(), most, "0 is off");
}

#[test]
fn a_phone_that_was_quicker_than_word_of_its_push_is_not_missed_later() {
    let mut rig = rig();
    let woken = [wake(&["phone"], 5)];
    rig.all.remember(Remember { devices: 1, since: 5, ..call(ID, 10) }, &woken, rig.now);
    assert!(rig.all.rung(ID, "phone", RUNG, rig.now), "it is the one that was pushed");
    rig.over(End::Answered);
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["new"]), [], "the same phone, for its next call");
}

#[test]
fn a_phone_that_rang_before_word_of_its_registration_is_not_missed_later() {
    let mut rig = rig();
    rig.all.remember(Remember { devices: 1, since: 5, ..call(ID, 10) }, &[], rig.now);
    assert!(!rig.all.rung(ID, "phone", 7, rig.now));
    assert!(!rig.all.rung(ID, "desk", 5, rig.now));
    assert_eq!(rig.all.wake(&wake(&["desk"], 8), Duration::ZERO, rig.now), [], "it has registered again");
    assert_eq!(rig.all.wake(&wake(&["phone"], 6), Duration::ZERO, rig.now), [ID]);
    assert_eq!(rig.all.wake(&wake(&["phone"], 9), Duration::ZERO, rig.now), []);
    rig.over(End::Answered);
    rig.now += SECOND;
    assert_eq!(rig.wakes(&["new"]), [], "the same phone, for its next call");
}

#[test]
fn a_phone_that_has_registered_elsewhere_may_be_here_before_word_of_that() {
    let mut rig = rig();
    rig.all.remember(Remember { devices: 1, since: 5, ..call(ID, 10) }, &[], rig.now);
    assert!(!rig.all.rung(ID, "phone", 50_000, rig.now));
    let heard = wake(&["phone"], 60_000);
    assert_eq!(rig.all.wake(&heard, Duration::from_millis(20), rig.now), [ID]);
}

#[test]
fn a_registration_from_before_the_pushes_is_no_phone_that_was_pushed() {
    let mut rig = rig();
    rig.all.remember(Remember { since: u64::MAX, ..call(ID, 10) }, &[], rig.now);
    assert_eq!(rig.wakes(&["desk"]), []);
    assert!(!rig.all.rung(ID, "desk", 0, rig.now));
    rig.over(End::Answered);
    rig.now += SECOND;
    assert_eq!(rig.told(), []);
}
