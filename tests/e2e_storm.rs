//! Callers, hang-ups, registrations, good-byes and timeouts of the same few users all at once: no call may be lost, and no
//! two workers may wait for each other for ever.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use support::phone::{Message, Phone};
use support::shipped::{Setup, Shipped, apns_token};
use support::{DEADLINE, poll};

const USERS: [&str; 2] = ["bob", "carol"];
const CALLERS: usize = 6;
const CALLS: usize = 15;

/// Calls again and again; every call must end in one final answer. Now and then it hangs up, as early as it can or when a call
/// might just be woken.
fn call_around(port: u16, number: usize, answered: &AtomicUsize) {
    let mut caller = Phone::udp(&format!("caller{number}"), port);
    for call in 0..CALLS {
        let invite = caller.invite(USERS[(number + call) % USERS.len()]);
        if call % 3 == 2 {
            caller.expect_status(&invite, 100);
            caller.pause(Duration::from_millis((number * 37 + call * 11) as u64 % 90));
            caller.cancel(&invite);
        }
        let end = caller.expect_final(&invite);
        match end.status() {
            200 => {
                answered.fetch_add(1, Ordering::Relaxed);
                caller.within("ACK", &invite, &end);
                let bye = caller.within("BYE", &invite, &end);
                caller.expect_final(&bye);
            }
            // 408: the phone went to sleep just when the call was sent to it
            408 | 480 | 486 | 487 => caller.ack_failure(&invite, &end),
            other => panic!("{other}: {end:?}"),
        }
    }
}

/// Registers, answers what comes in, and goes to sleep again, round after round.
fn sleep_and_wake(port: u16, user: &str, over: &AtomicBool) {
    let mut round = 0_u64;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        let mut phone = Phone::tcp(user, port);
        let register = phone.register_request(600);
        phone.send(register.text.as_bytes());
        for _ in 0..8 {
            phone.pause(Duration::from_millis(30));
            phone.take_all().iter().for_each(|message| answer(&mut phone, message, round));
        }
        let bye = phone.register_request(0);
        phone.send(bye.text.as_bytes());
        // long enough for what had just been sent to it, and now and then for a call's time to run out just when it wakes
        phone.pause(Duration::from_millis(if round.is_multiple_of(3) { 950 + round % 100 } else { 100 }));
        phone.take_all().iter().for_each(|message| answer(&mut phone, message, round));
    }
}

fn answer(phone: &mut Phone, request: &Message, round: u64) {
    match request.method() {
        "INVITE" if request.is_request("INVITE") => {
            phone.answer(request, 180);
            phone.answer(request, if round.is_multiple_of(4) { 486 } else { 200 });
        }
        "BYE" | "CANCEL" => phone.answer(request, 200),
        _ => {}
    }
}

#[test]
fn every_call_ends_once_and_nothing_is_left() {
    let setup = Setup {
        config: vec![("wake_seconds = 15", "wake_seconds = 1\n[limits]\ncalls_per_user = 100")],
        ..Setup::default()
    };
    let mut shipped = Shipped::with("storm", setup);
    for (number, user) in USERS.iter().enumerate() {
        shipped.register_token(user, &apns_token(number as u8 + 1), "ios");
    }
    let (port, over, answered) = (shipped.port(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // one of them has two phones
        for user in USERS.iter().chain(&USERS[..1]) {
            scope.spawn(|| sleep_and_wake(port, user, &over));
        }
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                scope.spawn({
                    let answered = &answered;
                    move || call_around(port, number, answered)
                })
            })
            .collect();
        let ended: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a call did not end; the log:\n{}", shipped.kamailio.log());
    });
    assert!(answered.load(Ordering::Relaxed) > 0, "no call was ever answered");
    assert!(shipped.kamailio.is_alive());
    let freed = || {
        let stats = shipped.kamailio.rpc(&["tm.stats"]);
        stats.lines().any(|line| line.trim() == "current: 0").then_some(())
    };
    poll(DEADLINE * 2, freed).unwrap_or_else(|| panic!("{}", shipped.kamailio.rpc(&["tm.stats"])));
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    poll(DEADLINE, || calls().contains("parked: 0").then_some(())).unwrap_or_else(|| panic!("{}", calls()));
}
