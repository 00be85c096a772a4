//! What becomes of calls that wait and ring, without a SIP server.
//!
//! They refuse to wait: time is a number that they set.

use super::*;

const ID: CallId = CallId { index: 1, label: 2 };
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    parked: Parked,
    now: Instant,
}

fn rig() -> Rig {
    let waiting = Box::leak(Box::new(Waiting::new().unwrap()));
    let stats = Box::leak(Box::new(Stats::new(crate::stats::Counted::default()).unwrap()));
    Rig { parked: Parked::new(waiting, stats, 30 * SECOND), now: Instant::now() }
}

fn park(id: CallId, missed_since: Moment) -> Park {
    let (user, sip_call_id, route) = ("bob".to_owned(), "c1".to_owned(), "WOKEN".to_owned());
    let within = 15 * SECOND;
    Park { user, sip_call_id, id, route, within, missed_since, is_counted: true, awaits: false }
}

impl Rig {
    /// What a worker does when it parks a call.
    fn park(&mut self, id: CallId) -> Option<Why> {
        let missed_since = self.parked.waiting.arrive("bob");
        self.arrive(id, missed_since)
    }

    fn arrive(&mut self, id: CallId, missed_since: Moment) -> Option<Why> {
        self.act_of_arrival(id, missed_since).map(why)
    }

    fn act_of_arrival(&mut self, id: CallId, missed_since: Moment) -> Option<Act> {
        self.parked.park(park(id, missed_since), self.now)
    }

    /// What a worker does when a phone registers.
    fn wake(&mut self, contacts: &[&str]) -> Vec<Act> {
        let Some(moment) = self.parked.waiting.wake("bob") else { return Vec::new() };
        let contacts: Vec<_> = contacts.iter().map(|contact| (*contact).to_owned()).collect();
        let wake = Wake {
            user: "bob".to_owned(),
            aor: "sip:bob@x".to_owned(),
            moment,
            tells_contacts: true,
            registered: contacts.len(),
            phone: String::new(),
            contacts,
        };
        self.parked.wake(&wake, Told::Here, self.now)
    }

    /// What a worker does when it relays a call.
    fn follow(&mut self, id: CallId) -> Vec<Act> {
        let since = self.parked.waiting.arrive("bob");
        self.followed(id, since)
    }

    fn followed(&mut self, id: CallId, since: Moment) -> Vec<Act> {
        let (user, sip_call_id, rung) = ("bob".to_owned(), "c1".to_owned(), vec!["desk".to_owned()]);
        let follow = Follow { user, sip_call_id, id, missed_since: since, is_counted: true, rung };
        self.parked.follow(follow, self.now)
    }

    fn waits(&self) -> bool {
        self.parked.stats.get(Counter::ParkedNow) > 0
    }

    fn is_empty(&self) -> bool {
        self.parked.calls.is_empty()
            && self.parked.times.is_empty()
            && self.parked.time_of.is_empty()
            && self.parked.of_user.is_empty()
            && self.parked.early.is_empty()
            && self.parked.waiting.interested("bob") == 0
            && self.parked.waiting.count("bob") == 0
            && !self.waits()
    }
}

fn give_up(why: Needless) -> Act {
    Act::GiveUp { user: "bob".to_owned(), sip_call_id: "c1".to_owned(), why }
}

fn why(act: Act) -> Why {
    match act {
        Act::GoOn(go_on) => go_on.why,
        Act::Append { .. } | Act::GiveUp { .. } => panic!("{act:?}"),
    }
}

fn verdict(code: i32, is_hopeless: bool) -> Verdict {
    Verdict { code, reason: String::new(), devices: 1, accepted: 0, is_hopeless }
}

#[test]
fn the_first_registration_wakes_the_next_new_phone_rings_too_and_a_refresh_does_nothing() {
    let mut rig = rig();
    assert_eq!(rig.park(ID), None);
    assert!(rig.waits());
    let acts = rig.wake(&["a"]);
    assert_eq!(acts.into_iter().map(why).collect::<Vec<_>>(), [Why::Woken(Told::Here)]);
    assert!(!rig.waits());
    rig.parked.rung(ID, "a".to_owned(), rig.now);
    assert_eq!(rig.wake(&["a"]), []);
    let append = Act::Append { id: ID, aor: "sip:bob@x".to_owned(), told: Told::Here };
    assert_eq!(rig.wake(&["a", "b"]), [append]);
    rig.parked.over(ID, rig.now);
    assert!(rig.is_empty());
}

#[test]
fn a_registration_just_before_wakes_once_and_not_again() {
    let mut rig = rig();
    let missed_since = rig.parked.waiting.arrive("bob");
    // Told before the call was: there is none yet.
    assert_eq!(rig.wake(&[]), []);
    assert_eq!(rig.arrive(ID, missed_since), Some(Why::Woken(Told::Here)));
    // Its route finds nothing and parks it again.
    assert_eq!(rig.park(ID), None);
    assert!(rig.waits());
    assert_eq!(rig.wake(&[]).into_iter().map(why).collect::<Vec<_>>(), [Why::Woken(Told::Here)]);
    rig.parked.gone(ID);
    assert!(rig.is_empty());
}

#[test]
fn a_note_about_an_earlier_registration_changes_nothing() {
    let mut rig = rig();
    rig.park(ID);
    let moment = rig.parked.waiting.wake("bob").unwrap();
    let wake = Wake {
        user: "bob".to_owned(),
        aor: String::new(),
        moment,
        tells_contacts: true,
        contacts: Vec::new(),
        registered: 0,
        phone: String::new(),
    };
    assert_eq!(rig.parked.wake(&wake, Told::Here, rig.now).len(), 1);
    rig.park(ID);
    assert_eq!(rig.parked.wake(&wake, Told::Here, rig.now), []);
    let earlier = Wake { moment: 1, ..wake };
    assert_eq!(rig.parked.wake(&earlier, Told::Here, rig.now), []);
}

#[test]
fn when_nobody_comes_the_time_ends_it_and_who_comes_later_is_late() {
    let mut rig = rig();
    rig.park(ID);
    let due = rig.parked.due().unwrap();
    assert_eq!(due, rig.now + 15 * SECOND);
    assert_eq!(rig.parked.next_due(due - SECOND), None);
    assert_eq!(rig.parked.next_due(due).map(why), Some(Why::TimeIsOver));
    assert_eq!((rig.parked.next_due(due), rig.waits()), (None, false));
    rig.parked.over(ID, due);
    assert!(rig.is_empty());

    rig.park(ID);
    rig.parked.over(ID, rig.now);
    assert!(!rig.waits());
    assert_eq!(rig.wake(&["a"]), []);
    assert_eq!(rig.parked.stats.get(Counter::Late), 1);
    assert!(rig.is_empty());
}

#[test]
fn what_comes_before_its_call_is_kept_for_it() {
    let mut rig = rig();
    rig.parked.over(ID, rig.now);
    let since = rig.parked.waiting.arrive("bob");
    assert_eq!(rig.act_of_arrival(ID, since), Some(give_up(Needless::CallOver)));
    assert!(rig.is_empty(), "it was over before it was parked");
    assert_eq!(rig.parked.pushed(ID, verdict(-2, true), rig.now), None);
    assert_eq!(rig.park(ID), Some(Why::Hopeless));
    rig.parked.over(ID, rig.now);
    rig.parked.over(ID, rig.now);
    assert_eq!(rig.parked.next_due(rig.now + 20 * SECOND), None);
    assert!(rig.is_empty());
}

#[test]
fn only_hopeless_pushes_end_the_waiting_and_never_a_call_that_rings() {
    let mut rig = rig();
    rig.park(ID);
    assert_eq!(rig.parked.pushed(ID, verdict(-4, false), rig.now), None);
    let act = rig.parked.next_due(rig.now + 15 * SECOND);
    let Some(Act::GoOn(go_on)) = act else { panic!("{act:?}") };
    assert_eq!((go_on.why, go_on.push.unwrap().code), (Why::TimeIsOver, -4));
    assert_eq!(rig.parked.pushed(ID, verdict(-2, true), rig.now), None);
    assert_eq!(rig.park(ID), Some(Why::Hopeless));
    let other = CallId { index: 3, label: 4 };
    rig.park(other);
    assert_eq!(rig.parked.pushed(other, verdict(-2, true), rig.now).map(why), Some(Why::Hopeless));
}

#[test]
fn a_registration_that_is_told_before_the_call_it_belongs_to_is_not_lost() {
    let mut rig = rig();
    let since = rig.parked.waiting.arrive("bob");
    assert_eq!(rig.wake(&["phone"]), []);
    assert!(matches!(&*rig.followed(ID, since), [Act::Append { aor, .. }] if aor == "sip:bob@x"));
    assert_eq!(rig.follow(ID), [], "it is followed already");
    rig.parked.over(ID, rig.now);
    assert!(rig.is_empty());
}

#[test]
fn pushes_are_given_up_when_the_call_is_over_or_has_found_its_phone() {
    let mut rig = rig();
    rig.follow(ID);
    assert_eq!(rig.parked.rung(ID, "desk".to_owned(), rig.now), None, "a desk is not who is waited for");
    rig.park(ID);
    rig.wake(&["phone"]);
    assert_eq!(rig.parked.rung(ID, "phone".to_owned(), rig.now), Some(give_up(Needless::PhoneCame)));
    assert_eq!(rig.parked.over(ID, rig.now), Some(give_up(Needless::CallOver)));
    rig.park(ID);
    assert_eq!(rig.parked.over(ID, rig.now), Some(give_up(Needless::CallOver)));
    assert_eq!(rig.parked.over(ID, rig.now), None, "once is enough");
}

#[test]
fn a_call_that_rings_elsewhere_is_joined_and_may_be_parked_later() {
    let mut rig = rig();
    assert_eq!(rig.follow(ID), []);
    assert!(rig.parked.was_rung(ID, "desk") && !rig.parked.was_rung(ID, "phone"));
    assert_eq!(rig.wake(&["desk"]), []);
    assert_eq!(rig.wake(&["desk", "phone"]).len(), 1);
    assert_eq!(rig.parked.stop(rig.now), []);
    assert_eq!(rig.park(ID), None, "the phone that came just before rings");
    assert_eq!(rig.parked.stop(rig.now).into_iter().map(why).collect::<Vec<_>>(), [Why::ServerStops]);
    rig.parked.over(ID, rig.now);
    assert!(rig.is_empty());
}

#[test]
fn the_time_to_wake_is_counted_from_the_accepted_push() {
    let mut rig = rig();
    rig.park(ID);
    rig.now += SECOND;
    let verdict = Verdict { code: 1, reason: String::new(), devices: 1, accepted: 1, is_hopeless: false };
    assert_eq!(rig.parked.pushed(ID, verdict, rig.now), None);
    rig.now += 2 * SECOND;
    assert_eq!(rig.wake(&["a"]).len(), 1);
    rig.now += 3 * SECOND;
    rig.parked.rung(ID, "a".to_owned(), rig.now);
    rig.parked.rung(ID, "b".to_owned(), rig.now);
    let text = rig.parked.stats.prometheus();
    for line in [
        "voip_push_wake_register_seconds_sum 2",
        "voip_push_wake_register_seconds_count 1",
        "voip_push_wake_invite_seconds_sum 5",
        "voip_push_wake_invite_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(rig.parked.stats.last_hour()[0].wakes.iter().sum::<u64>(), 1);
}

#[test]
fn a_call_that_was_declined_waits_for_phones_that_were_pushed_and_for_nothing_else() {
    let mut rig = rig();
    // A worker parks it before another one has told that it rings.
    let missed_since = rig.parked.waiting.arrive("bob");
    let desk_at = rig.parked.waiting.wake("bob").unwrap();
    let park = Park { within: 9 * SECOND, awaits: true, ..park(ID, desk_at + 1) };
    assert_eq!(rig.parked.park(park, rig.now), None, "the desk registered before the call");
    // Word of that registration comes late.
    let contacts = vec!["desk".to_owned()];
    let wake = Wake {
        user: "bob".to_owned(),
        aor: "sip:bob@x".to_owned(),
        moment: desk_at,
        tells_contacts: true,
        registered: 1,
        phone: String::new(),
        contacts,
    };
    assert_eq!(rig.parked.wake(&wake, Told::Here, rig.now), []);
    rig.parked.waiting.arrive("bob");
    assert_eq!(rig.followed(ID, desk_at + 1), [], "that the desk rang is no reason to give pushes up");
    assert!(rig.waits() && missed_since > 0);
    let acts: Vec<_> = rig.parked.nobody_else(ID, rig.now).into_iter().map(why).collect();
    assert_eq!(acts, [Why::Hopeless]);
    // One that waits for any phone does not care.
    let other = CallId { index: 2, label: 2 };
    assert_eq!(rig.park(other), None);
    assert_eq!(rig.parked.nobody_else(other, rig.now), None);
}

#[test]
fn word_of_an_earlier_registration_may_come_after_that_of_a_later_one() {
    let mut rig = rig();
    assert_eq!(rig.follow(ID), []);
    let word = |moment, contact: &str| Wake {
        user: "bob".to_owned(),
        aor: "sip:bob@x".to_owned(),
        moment,
        tells_contacts: true,
        contacts: vec![contact.to_owned()],
        phone: String::new(),
        registered: 1,
    };
    let moments = [(); 3].map(|()| rig.parked.waiting.wake("bob").unwrap());
    assert_eq!(rig.parked.wake(&word(moments[2], "desk"), Told::Here, rig.now), []);
    let append = Act::Append { id: ID, aor: "sip:bob@x".to_owned(), told: Told::Here };
    assert_eq!(rig.parked.wake(&word(moments[0], "phone"), Told::Here, rig.now), [append]);
    assert_eq!(rig.parked.rung(ID, "phone".to_owned(), rig.now), None);
    assert_eq!(rig.parked.wake(&word(moments[1], "phone"), Told::Here, rig.now), [], "it rings");
    let before = word(1, "tablet");
    rig.followed(ID, moments[2] + 1);
    assert_eq!(rig.parked.wake(&before, Told::Here, rig.now), [], "the call has looked for contacts since");
}

#[test]
fn a_phone_that_declines_and_registers_is_not_the_one_that_is_waited_for() {
    for parks_first in [true, false] {
        let mut rig = rig();
        let since = rig.parked.waiting.arrive("bob");
        if !parks_first {
            rig.followed(ID, since);
        }
        // Its registration was answered, so that it is called, before word of that is out.
        let word = |rig: &mut Rig| assert_eq!(rig.wake(&["desk"]), []);
        let mut park = park(ID, rig.parked.waiting.arrive("bob"));
        park.awaits = true;
        assert_eq!(rig.parked.park(park, rig.now), None);
        word(&mut rig);
        if parks_first {
            assert_eq!(rig.followed(ID, since), []);
        }
        word(&mut rig);
        assert!(rig.waits());
        let acts: Vec<_> = rig.wake(&["phone", "desk"]).into_iter().map(why).collect();
        assert_eq!(acts, [Why::Woken(Told::Here)]);
    }
}

#[test]
fn a_request_that_waits_for_one_device_is_woken_by_no_other_and_its_pushes_are_its_users() {
    let mut rig = rig();
    let key = "bob\nsip:urn:x:1";
    let missed_since = rig.parked.waiting.arrive(key);
    let (user, sip_call_id, route) = (key.to_owned(), "c1/2".to_owned(), "WOKEN".to_owned());
    let park = Park {
        user,
        sip_call_id,
        id: ID,
        route,
        within: 15 * SECOND,
        missed_since,
        is_counted: true,
        awaits: false,
    };
    assert_eq!(rig.parked.park(park, rig.now), None);
    // Another device of the user, and the user's calls.
    assert_eq!(rig.wake(&["tablet"]), []);
    let wake = |rig: &mut Rig, contacts: &[&str]| {
        let moment = rig.parked.waiting.wake(key).unwrap();
        let contacts: Vec<_> = contacts.iter().map(|contact| (*contact).to_owned()).collect();
        let (aor, phone) = ("sip:bob@x".to_owned(), String::new());
        let wake =
            Wake { user: key.to_owned(), aor, moment, tells_contacts: true, contacts, phone, registered: 0 };
        rig.parked.wake(&wake, Told::Here, rig.now)
    };
    let woken = wake(&mut rig, &[]);
    let [Act::GoOn(go_on)] = woken.as_slice() else { panic!("{woken:?}") };
    assert_eq!(
        (go_on.why, go_on.user.as_str(), go_on.sip_call_id.as_str()),
        (Why::Woken(Told::Here), "bob", "c1/2")
    );
    assert_eq!(wake(&mut rig, &[]), [], "it is where the request went");
    let moved = Act::Append { id: ID, aor: "sip:bob@x".to_owned(), told: Told::Here };
    assert_eq!(wake(&mut rig, &["192.0.2.1:5060"]), [moved]);
    let over = rig.parked.over(ID, rig.now);
    let (user, sip_call_id, why) = ("bob".to_owned(), "c1/2".to_owned(), Needless::CallOver);
    assert_eq!(over, Some(Act::GiveUp { user, sip_call_id, why }));
    assert!(rig.is_empty() && rig.parked.waiting.count(key) == 0);
}

#[test]
fn registrations_that_are_told_early_and_in_the_wrong_order_are_all_heard() {
    let mut rig = rig();
    let since = rig.parked.waiting.arrive("bob");
    let wake = |rig: &Rig, contacts: &[&str]| {
        let moment = rig.parked.waiting.wake("bob").unwrap();
        let contacts: Vec<String> = contacts.iter().map(|contact| (*contact).to_owned()).collect();
        let (user, aor, phone) = ("bob".to_owned(), "sip:bob@x".to_owned(), String::new());
        Wake { user, aor, moment, tells_contacts: true, registered: 1, phone, contacts }
    };
    let (desk, phone) = (wake(&rig, &["desk"]), wake(&rig, &["phone", "desk"]));
    assert_eq!(rig.parked.wake(&phone, Told::Here, rig.now), []);
    assert_eq!(rig.parked.wake(&desk, Told::Here, rig.now), []);
    assert_eq!(
        rig.followed(ID, since),
        [Act::Append { id: ID, aor: "sip:bob@x".to_owned(), told: Told::Here }]
    );
}

#[test]
fn a_call_looks_again_for_a_phone_elsewhere_whose_contact_nobody_has_named() {
    let mut rig = rig();
    assert_eq!(rig.park(ID), None);
    let word = |rig: &Rig| Wake {
        user: "bob".to_owned(),
        aor: String::new(),
        moment: rig.parked.waiting.wake("bob").unwrap(),
        tells_contacts: false,
        contacts: Vec::new(),
        phone: String::new(),
        registered: 0,
    };
    let first = word(&rig);
    let woken: Vec<Why> = rig.parked.wake(&first, Told::Elsewhere, rig.now).into_iter().map(why).collect();
    assert_eq!(woken, [Why::Woken(Told::Elsewhere)]);
    // It finds another phone, and the one that was meant has not come to us yet.
    rig.parked.waiting.arrive("bob");
    let since = rig.parked.waiting.wake("bob").unwrap() + 1;
    assert!(matches!(*rig.followed(ID, since), [Act::GiveUp { .. }]));
    let again = word(&rig);
    let append = Act::Append { id: ID, aor: String::new(), told: Told::Again };
    assert_eq!(rig.parked.wake_again(&again, rig.now), [append]);
}
