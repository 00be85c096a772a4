//! The whole way of a push inside the library: register, send, what the provider saw, what became of the token.
//! The other end is the simulator that we ship, over real TLS and HTTP/2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::simulator::Simulator;
use support::{DEADLINE, Scratch, poll};
use voip_push::model::{Environment, Extra, Outcome};
use voip_push::service::{Error, QuarantineAction, Service, Target};
use voip_push::stats::Counter;

/// A simulator, and the library configured for it.
struct Rig {
    simulator: Simulator,
    service: Service,
    _scratch: Scratch,
}

impl Rig {
    fn new(name: &str) -> Rig {
        Rig::with(name, &[], &[])
    }

    fn with(name: &str, arguments: &[&str], changes: &[(&str, &str)]) -> Rig {
        let scratch = Scratch::new(name);
        let simulator = Simulator::start(&scratch, arguments);
        let config = simulator.change_config(changes);
        let service = Service::prepare(&config).unwrap();
        Rig { simulator, service, _scratch: scratch }
    }

    fn register(&self, user: &str, token: &str, platform: &str) {
        self.service.register(user, token, platform, &Extra::default()).unwrap();
    }

    fn outcome_of(&self, user: &str, call_id: &str) -> Outcome {
        match self.service.send(user, "Alice", call_id) {
            Ok(report) => report.results[0].outcome.clone(),
            Err(error) => error.report().unwrap_or_else(|| panic!("{error}")).results[0].outcome.clone(),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.service.stop(Duration::from_secs(1));
    }
}

fn iphone(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn android(number: u8) -> String {
    format!("c{number:02}:APA91b{}", "x".repeat(130))
}

#[test]
fn an_iphone_is_pushed_through_apns_as_apple_wants_it() {
    let rig = Rig::new("push-ios");
    rig.register("564612", &iphone(1), "ios");
    let report = rig.service.send("564612", "Alice", "call-1@test").unwrap();
    assert_eq!((report.devices, report.accepted()), (1, 1));
    let push = &rig.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!(push["status"], 200, "{push}");
    assert_eq!(push["token"], iphone(1));
    assert_eq!(push["headers"]["apns-topic"], rig.simulator.fact("topic"));
    assert_eq!(push["headers"]["apns-push-type"], "voip");
    assert_eq!(push["payload"]["call_id"], "call-1@test");
    assert_eq!(push["payload"]["id"], voip_push::model::call_uuid("call-1@test").to_string());
}

#[test]
fn an_android_phone_is_pushed_through_fcm_with_one_access_token_for_many_pushes() {
    let rig = Rig::new("push-android");
    rig.register("bob", &android(1), "android");
    for call in 0..3 {
        assert_eq!(rig.outcome_of("bob", &format!("call-{call}")), Outcome::Accepted);
    }
    let pushes = rig.simulator.wait_for_pushes(0, 3);
    assert_eq!(pushes[0]["payload"]["message"]["android"]["priority"], "HIGH", "{}", pushes[0]);
    assert_eq!(rig.simulator.get("/stats")["oauth_exchanges"], 1);
}

#[test]
fn an_iphone_with_an_fcm_token_gets_the_seeds_message() {
    let rig = Rig::new("push-ios-fcm");
    rig.register("bob", &android(2), "ios");
    assert_eq!(rig.outcome_of("bob", "call-1"), Outcome::Accepted);
    let push = &rig.simulator.wait_for_pushes(0, 1)[0];
    let message = &push["payload"]["message"];
    assert_eq!(message["apns"]["headers"]["apns-push-type"], "alert", "{push}");
    assert_eq!(message["data"]["caller_number"], "Alice");
}

#[test]
fn every_device_of_a_user_is_pushed() {
    let rig = Rig::new("push-many");
    for number in 1..=3 {
        let device_id = format!("phone-{number}");
        let extra = Extra { device_id: Some(&device_id), ..Extra::default() };
        rig.service.register("bob", &iphone(number), "ios", &extra).unwrap();
    }
    rig.register("bob", &android(4), "android");
    let report = rig.service.send("bob", "Alice", "call-1").unwrap();
    assert_eq!((report.devices, report.accepted()), (4, 4));
    assert_eq!(rig.simulator.wait_for_pushes(0, 4).len(), 4);
}

#[test]
fn a_dead_token_is_deleted_and_one_registered_again_since_is_kept() {
    let rig = Rig::new("push-dead");
    rig.register("old", &iphone(1), "ios");
    rig.register("new", &iphone(2), "ios");
    let far_ahead = json!({ "state": "dead", "dead_since_ms": 4_000_000_000_000_i64 });
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &far_ahead);
    rig.simulator.put(&format!("/tokens/{}", iphone(2)), &json!({ "state": "dead", "dead_since_ms": 1000 }));
    assert!(matches!(rig.service.send("old", "Alice", "c1"), Err(Error::AllRejected(_))));
    assert!(matches!(rig.service.lookup("old"), Err(Error::NoDevice)));
    assert!(matches!(rig.service.send("new", "Alice", "c2"), Err(Error::AllRejected(_))));
    assert_eq!(rig.service.lookup("new").unwrap().len(), 1);
}

#[test]
fn the_accounts_of_one_phone_share_its_token_until_it_dies() {
    let rig = Rig::with("push-accounts", &[], &[("[call]", "[limits]\nusers_per_token = 2\n[call]")]);
    for user in ["alice", "bob", "carol"] {
        rig.register(user, &iphone(1), "ios");
        // Registrations have a time in ms; of those of the same one none is the oldest.
        let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let registered = now_ms();
        poll(DEADLINE, || (now_ms() > registered).then_some(())).unwrap();
    }
    assert!(matches!(rig.service.lookup("alice"), Err(Error::NoDevice)), "the oldest leaves");
    for (user, call_id) in [("bob", "c1"), ("carol", "c2")] {
        assert_eq!(rig.service.send(user, "Dave", call_id).unwrap().accepted(), 1);
    }
    let dead = json!({ "state": "dead", "dead_since_ms": 4_000_000_000_000_i64 });
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &dead);
    assert!(matches!(rig.service.send("bob", "Dave", "c3"), Err(Error::AllRejected(_))));
    for user in ["bob", "carol"] {
        assert!(matches!(rig.service.lookup(user), Err(Error::NoDevice)), "{user}");
    }
    assert_eq!(count(&rig, Counter::Retired), 2);
}

#[test]
fn a_token_that_fcm_does_not_know_is_deleted() {
    let rig = Rig::new("push-fcm-dead");
    rig.register("bob", &android(1), "android");
    rig.simulator.put(&format!("/tokens/{}", android(1)), &json!({ "state": "dead" }));
    assert_eq!(rig.outcome_of("bob", "c1"), Outcome::TokenGone { since_ms: None });
    assert!(matches!(rig.service.lookup("bob"), Err(Error::NoDevice)));
}

#[test]
fn a_device_that_no_store_knows_is_pushed_and_nothing_is_deleted_for_it() {
    let rig = Rig::new("push-to");
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &json!({ "state": "dead" }));
    let target = |token| Target { provider: "apns", token, app: "" };
    let (dead, alive) = (iphone(1), iphone(2));
    assert!(matches!(rig.service.send_to(&target(&dead), "bob", "A", "c1"), Err(Error::AllRejected(_))));
    assert_eq!(rig.service.lookup("bob").unwrap().len(), 1);
    assert_eq!(rig.service.send_to(&target(&alive), "bob", "A", "c2").unwrap().accepted(), 1);
}

#[test]
fn a_refused_credential_is_renewed_once_then_paused_and_nothing_is_deleted() {
    let rig = Rig::new("push-credential");
    rig.register("bob", &iphone(1), "ios");
    let refuse = json!([{ "times": 0, "status": 403, "reason": "InvalidProviderToken" }]);
    rig.simulator.put("/behaviour/apns", &refuse);
    assert!(matches!(rig.service.send("bob", "Alice", "c1"), Err(Error::CredentialRefused(_))));
    assert_eq!(rig.simulator.wait_for_pushes(0, 2).len(), 2);
    let paused = rig.outcome_of("bob", "c2");
    assert!(paused.reason().contains("paused"), "{paused:?}");
    assert_eq!(rig.simulator.pushes().len(), 2);
    assert_eq!(rig.service.lookup("bob").unwrap().len(), 1);
}

#[test]
fn an_expired_provider_token_is_renewed_on_a_new_connection_and_the_call_rings() {
    let rig = Rig::new("push-expired");
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.put("/limits", &json!({ "jwt_updates": false }));
    let refuse = json!([{ "times": 1, "status": 403, "reason": "ExpiredProviderToken" }]);
    rig.simulator.put("/behaviour/apns", &refuse);
    let report = rig.service.send("bob", "Alice", "c1").unwrap();
    assert_eq!(report.results[0].attempts, 2);
    let pushes = rig.simulator.wait_for_pushes(0, 2);
    assert_ne!(pushes[0]["connection"], pushes[1]["connection"]);
}

#[test]
fn a_revoked_access_token_is_fetched_anew() {
    let rig = Rig::new("push-revoked");
    rig.register("bob", &android(1), "android");
    assert_eq!(rig.outcome_of("bob", "c1"), Outcome::Accepted);
    rig.simulator.post("/oauth/revoke", &json!({}));
    assert_eq!(rig.outcome_of("bob", "c2"), Outcome::Accepted);
    assert_eq!(rig.simulator.get("/stats")["oauth_exchanges"], 2);
}

#[test]
fn a_provider_in_trouble_is_asked_once_more() {
    let rig = Rig::new("push-trouble");
    rig.register("bob", &iphone(1), "ios");
    for (call, behaviour) in [
        json!({ "status": 503, "reason": "ServiceUnavailable" }),
        json!({ "status": 500, "body": "<html>oops</html>" }),
        json!({ "reset": true }),
        json!({ "goaway": true }),
    ]
    .into_iter()
    .enumerate()
    {
        rig.simulator.behave(&iphone(1), json!([behaviour]));
        assert_eq!(rig.outcome_of("bob", &format!("c{call}")), Outcome::Accepted, "{behaviour}");
    }
}

#[test]
fn many_pushes_share_one_connection_and_the_first_goes_alone() {
    let rig = Rig::new("push-shared");
    for number in 1..=20 {
        let device_id = format!("phone-{number}");
        let extra = Extra { device_id: Some(&device_id), ..Extra::default() };
        rig.service.register("bob", &iphone(number), "ios", &extra).unwrap();
    }
    assert_eq!(rig.service.send("bob", "Alice", "c1").unwrap().accepted(), 20);
    let stats = rig.simulator.get("/stats");
    assert_eq!(stats["connections"]["apns"]["opened"], 1, "{stats}");
    assert_eq!(stats["distinct_provider_jwts"], 1, "{stats}");
    assert_eq!(stats["violations"]["early_stream"], 0, "{stats}");
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let rig = Rig::new("push-closed");
    rig.register("bob", &iphone(1), "ios");
    assert_eq!(rig.outcome_of("bob", "c1"), Outcome::Accepted);
    for (call, how) in ["/connections/close", "/connections/goaway"].into_iter().enumerate() {
        rig.simulator.post(how, &json!({ "host": "apns" }));
        assert_eq!(rig.outcome_of("bob", &format!("again-{call}")), Outcome::Accepted, "{how}");
    }
}

#[test]
fn a_silent_provider_costs_the_caller_no_more_than_wait_ms() {
    let rig = Rig::with("push-silent", &[], &[("wait_ms = 800", "wait_ms = 150")]);
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "stall": true }]));
    let asked = Instant::now();
    assert!(matches!(rig.service.send("bob", "Alice", "c1"), Err(Error::NoAnswer(_))));
    // Not a measurement: it would be five seconds and more if the caller waited for the provider.
    assert!(asked.elapsed() < Duration::from_secs(4));
}

/// A provider that has enough for so long makes the next attempt wait.
fn throttle(rig: &Rig, token: &str, seconds: u64) {
    let refusal = json!([{ "status": 429, "reason": "TooManyRequests", "retry_after_s": seconds }]);
    rig.simulator.behave(token, refusal);
}

fn wait_until_queued(rig: &Rig, how_many: u64) {
    let reached =
        support::poll(support::DEADLINE, || (count(rig, Counter::Queued) == how_many).then_some(()));
    reached.unwrap_or_else(|| panic!("{} are queued", count(rig, Counter::Queued)));
}

#[test]
fn a_push_that_waits_to_be_tried_again_is_given_up_with_its_call() {
    let rig = Rig::new("push-given-up");
    rig.register("bob", &iphone(1), "ios");
    for call in ["c1", "c2"] {
        throttle(&rig, &iphone(1), 2);
        rig.service.queue("bob", "Alice", call, None, Vec::new()).unwrap();
        rig.simulator.wait_for_pushes(u64::from(call == "c2"), 1);
        if call == "c1" {
            rig.service.give_up("Bob", call).unwrap();
        }
        wait_until_queued(&rig, 0);
    }
    // The first call was tried once, the second as often as it could be.
    let calls: Vec<_> =
        rig.simulator.pushes().into_iter().map(|push| push["payload"]["call_id"].clone()).collect();
    assert_eq!(calls, ["c1", "c2", "c2"]);
    assert_eq!((count(&rig, Counter::Stopped), count(&rig, Counter::Retries)), (1, 1));
}

#[test]
fn a_provider_that_answers_503_when_the_call_is_over_is_not_asked_again() {
    let rig = Rig::new("push-503");
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.behave(&iphone(1), json!([{ "status": 503, "delay_ms": 1500 }]));
    rig.service.queue("bob", "Alice", "c1", None, Vec::new()).unwrap();
    wait_until_sent(&rig);
    rig.service.give_up("bob", "c1").unwrap();
    wait_until_queued(&rig, 0);
    assert_eq!((rig.simulator.pushes().len(), count(&rig, Counter::Stopped)), (1, 1));
}

/// The first request is under way.
fn wait_until_sent(rig: &Rig) {
    let streams = || rig.simulator.get("/stats")["connections"]["apns"]["max_concurrent_streams"].as_u64();
    support::poll(support::DEADLINE, || (streams() == Some(1)).then_some(())).expect("it is sent");
}

#[test]
fn a_push_that_waits_for_a_connection_is_given_up_and_one_that_was_sent_is_not() {
    let rig = Rig::new("push-unsent");
    rig.register("bob", &iphone(1), "ios");
    // Apple allows one request until the first was answered, so the second one waits.
    rig.simulator.behave(&iphone(1), json!([{ "delay_ms": 3000 }]));
    rig.service.queue("bob", "Alice", "c1", None, Vec::new()).unwrap();
    wait_until_sent(&rig);
    rig.service.queue("bob", "Alice", "c2", None, Vec::new()).unwrap();
    wait_until_queued(&rig, 2);
    rig.service.give_up("bob", "c1").unwrap();
    rig.service.give_up("bob", "c2").unwrap();
    wait_until_queued(&rig, 1);
    wait_until_queued(&rig, 0);
    let pushes = rig.simulator.pushes();
    assert_eq!(pushes.len(), 1, "{pushes:?}");
    assert_eq!(pushes[0]["payload"]["call_id"], "c1");
    assert_eq!(count(&rig, Counter::Stopped), 1);
    assert_eq!(rig.outcome_of("bob", "c3"), Outcome::Accepted);
}

#[test]
fn a_full_queue_says_so_at_once() {
    let changes = [("wait_ms = 800", "wait_ms = 10"), ("[call]", "[sender]\nmax_queued = 2\n[call]")];
    let rig = Rig::with("push-full", &[], &changes);
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "stall": true }]));
    for call in 0..2 {
        assert!(matches!(rig.service.send("bob", "A", &format!("c{call}")), Err(Error::NoAnswer(_))));
    }
    assert!(matches!(rig.service.send("bob", "A", "c3"), Err(Error::QueueFull)));
}

#[test]
fn a_topic_that_no_credential_serves_is_said_plainly() {
    let rig = Rig::new("push-topic");
    let extra = Extra { app: Some("com.other.voip"), ..Extra::default() };
    rig.service.register("bob", &iphone(1), "ios", &extra).unwrap();
    let error = rig.service.send("bob", "Alice", "c1").unwrap_err();
    assert!(error.to_string().contains("com.other.voip"), "{error}");
    assert!(rig.simulator.pushes().is_empty());
}

/// A rig whose number 1 is bob's iPhone, of the sandbox although nobody said so.
fn bob_of_the_sandbox(name: &str) -> Rig {
    let rig = Rig::new(name);
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &json!({ "environment": "sandbox" }));
    rig.register("bob", &iphone(1), "ios");
    rig
}

/// Environment and status of every push that arrived.
fn arrived(rig: &Rig) -> Vec<(String, u64)> {
    let seen = |push: &serde_json::Value| {
        (push["environment"].as_str().unwrap_or_default().to_owned(), push["status"].as_u64().unwrap())
    };
    rig.simulator.pushes().iter().map(seen).collect()
}

fn of(environment: &str, status: u64) -> (String, u64) {
    (environment.to_owned(), status)
}

#[test]
fn a_token_of_the_other_environment_is_tried_there_once_and_the_next_push_goes_there_first() {
    let rig = bob_of_the_sandbox("push-sandbox");
    let report = rig.service.send("bob", "Alice", "c1").unwrap();
    assert_eq!((report.accepted(), report.results[0].attempts), (1, 2));
    assert_eq!(arrived(&rig), [of("production", 400), of("sandbox", 200)]);
    assert_eq!(rig.service.lookup("bob").unwrap()[0].environment, Some(Environment::Sandbox));
    // The app says the wrong thing at every start; what was seen to work counts.
    let wrong = Extra { environment: Some("production"), ..Extra::default() };
    rig.service.register("bob", &iphone(1), "ios", &wrong).unwrap();
    assert_eq!(rig.outcome_of("bob", "c2"), Outcome::Accepted);
    assert_eq!(arrived(&rig)[2..], [of("sandbox", 200)]);
    assert_eq!(count(&rig, Counter::OtherEnvironment), 1);
}

#[test]
fn a_token_that_is_dead_in_the_other_environment_is_deleted() {
    let rig = bob_of_the_sandbox("push-sandbox-dead");
    let dead = json!({ "environment": "sandbox", "state": "dead", "dead_since_ms": 4_000_000_000_000_i64 });
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &dead);
    assert_eq!(rig.outcome_of("bob", "c1").name(), "token_gone");
    assert!(matches!(rig.service.lookup("bob"), Err(Error::NoDevice)));
}

#[test]
fn a_device_that_the_caller_names_is_tried_elsewhere_too_and_nothing_is_kept_of_it() {
    let rig = bob_of_the_sandbox("push-sandbox-to");
    let token = iphone(1);
    let target = Target { provider: "apns", token: &token, app: "" };
    assert_eq!(rig.service.send_to(&target, "bob", "Alice", "c1").unwrap().accepted(), 1);
    assert_eq!(rig.service.lookup("bob").unwrap()[0].environment, None);
}

#[test]
fn without_a_credential_for_the_other_environment_nothing_is_tried() {
    let rig = bob_of_the_sandbox("push-sandbox-none");
    let production_only = std::fs::read_to_string(rig.simulator.config()).unwrap();
    let sandbox = production_only.rfind("[[apns]]").unwrap()..production_only.find("[[fcm]]").unwrap();
    let config = rig.simulator.config().with_file_name("production.toml");
    std::fs::write(&config, [&production_only[..sandbox.start], &production_only[sandbox.end..]].concat())
        .unwrap();
    let service = Service::prepare(&config).unwrap();
    assert!(matches!(service.send("bob", "Alice", "c1"), Err(Error::AllRejected(_))));
    service.stop(Duration::from_secs(1));
    assert_eq!(arrived(&rig), [of("production", 400)]);
    assert_eq!(rig.service.lookup("bob").unwrap().len(), 1);
}

#[test]
fn a_token_that_no_environment_knows_is_kept_and_rests_until_it_is_registered_again() {
    let rig = Rig::with("push-unknown", &["--known-only"], &[]);
    rig.register("bob", &iphone(1), "ios");
    assert_eq!(rig.outcome_of("bob", "c1").reason(), "BadDeviceToken");
    assert_eq!(arrived(&rig), [of("production", 400), of("sandbox", 400)]);
    assert_eq!(rig.outcome_of("bob", "c2").reason(), "BadDeviceToken, in quarantine");
    assert_eq!((arrived(&rig).len(), rig.service.lookup("bob").unwrap().len()), (2, 1));
    assert_eq!((count(&rig, Counter::PairsQuarantined), count(&rig, Counter::PairsInQuarantine)), (1, 1));
    rig.simulator.put(&format!("/tokens/{}", iphone(1)), &json!({}));
    rig.register("bob", &iphone(1), "ios");
    assert_eq!(rig.outcome_of("bob", "c3"), Outcome::Accepted);
    assert_eq!(count(&rig, Counter::PairsInQuarantine), 0);
}

#[test]
fn a_token_of_another_app_is_kept_and_rests_for_a_while() {
    let rig = Rig::with("push-not-for-topic", &[], &[("[call]", "[quarantine]\npair_seconds = 1\n[call]")]);
    let token = format!("/tokens/{}", iphone(1));
    rig.simulator.put(&token, &json!({ "topics": ["org.example.other.voip"] }));
    rig.register("bob", &iphone(1), "ios");
    rig.register("carol", &iphone(2), "ios");
    assert_eq!(rig.outcome_of("bob", "c1").reason(), "DeviceTokenNotForTopic");
    assert_eq!(rig.outcome_of("bob", "c2").reason(), "DeviceTokenNotForTopic, in quarantine");
    assert_eq!(rig.outcome_of("carol", "c3"), Outcome::Accepted, "only the one device rests");
    assert_eq!((arrived(&rig).len(), rig.service.lookup("bob").unwrap().len()), (2, 1));
    rig.simulator.put(&token, &json!({}));
    let mut call = 0;
    let rested = support::poll(support::DEADLINE, || {
        call += 1;
        (rig.outcome_of("bob", &format!("again-{call}")) == Outcome::Accepted).then_some(())
    });
    assert!(rested.is_some());
    assert_eq!((count(&rig, Counter::PairsQuarantined), count(&rig, Counter::PairsInQuarantine)), (1, 0));
}

#[test]
fn a_topic_that_our_key_may_not_push_to_rests_for_all_its_devices() {
    let more = [("[\"org.example.phone.voip\"]", "[\"org.example.phone.voip\", \"com.other.voip\"]")];
    let rig = Rig::with("push-disallowed", &[], &more);
    let other = Extra { app: Some("com.other.voip"), ..Extra::default() };
    for (user, number) in [("bob", 1), ("carol", 2)] {
        rig.service.register(user, &iphone(number), "ios", &other).unwrap();
    }
    rig.register("dave", &iphone(3), "ios");
    assert_eq!(rig.outcome_of("bob", "c1").reason(), "TopicDisallowed");
    assert_eq!(rig.outcome_of("carol", "c2").reason(), "TopicDisallowed, in quarantine");
    rig.service.register("carol", &iphone(2), "ios", &other).unwrap();
    assert_eq!(rig.outcome_of("carol", "c3").reason(), "TopicDisallowed, in quarantine");
    assert_eq!(rig.outcome_of("dave", "c4"), Outcome::Accepted, "the key's other topic goes on");
    assert_eq!(arrived(&rig).len(), 2);
    assert_eq!((rig.service.lookup("bob").unwrap().len(), count(&rig, Counter::PairsInQuarantine)), (1, 1));
    rig.service.quarantine(QuarantineAction::Drop).unwrap();
    assert_eq!(rig.outcome_of("bob", "c5").reason(), "TopicDisallowed");
    assert_eq!((arrived(&rig).len(), count(&rig, Counter::PairsQuarantined)), (3, 2));
}

#[test]
fn a_token_of_another_firebase_project_is_kept_and_rests() {
    let rig = Rig::new("push-sender-id");
    rig.simulator.put(&format!("/tokens/{}", android(1)), &json!({ "project": "another-project" }));
    rig.register("bob", &android(1), "android");
    assert_eq!(rig.outcome_of("bob", "c1").reason(), "SENDER_ID_MISMATCH");
    assert_eq!(rig.outcome_of("bob", "c2").reason(), "SENDER_ID_MISMATCH, in quarantine");
    assert_eq!((arrived(&rig).len(), rig.service.lookup("bob").unwrap().len()), (1, 1));
}

#[test]
fn nothing_that_counts_is_lost() {
    let rig = Rig::new("push-counted");
    rig.register("bob", &iphone(1), "ios");
    rig.outcome_of("bob", "c1");
    let text = rig.service.stats().prometheus();
    for line in [
        "voip_push_pushes_total{provider=\"apns\",app=\"org.example.phone.voip\",outcome=\"accepted\"} 1",
        "voip_push_registered_total 1",
        "voip_push_calls_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// Counters by name, for one rig.
fn count(rig: &Rig, counter: Counter) -> u64 {
    rig.service.stats().get(counter)
}

#[test]
fn the_same_call_and_device_is_pushed_once_however_often_the_script_asks() {
    let rig = Rig::new("push-once");
    rig.register("bob", &iphone(1), "ios");
    rig.simulator.behave(&iphone(1), json!([{ "delay_ms": 100 }]));
    let accepted = std::thread::scope(|scope| {
        let ask = || rig.service.send("bob", "Alice", "c1").unwrap().accepted();
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(accepted, [1, 1, 1, 1]);
    assert_eq!(rig.outcome_of("bob", "c1"), Outcome::Accepted);
    assert_eq!((rig.simulator.pushes().len(), count(&rig, Counter::Duplicates)), (1, 4));
    assert_eq!(rig.outcome_of("bob", "c2"), Outcome::Accepted);
    assert_eq!(rig.simulator.pushes().len(), 2);
}

#[test]
fn a_flood_of_calls_does_not_become_a_flood_of_pushes() {
    let limits = [("[call]", "[limits]\ndevice_per_minute = 3\ncaller_per_minute = 5\n[call]")];
    let rig = Rig::with("push-budget", &[], &limits);
    for number in 1..=3 {
        rig.register(&format!("user-{number}"), &iphone(number), "ios");
    }
    let calls: Vec<Outcome> = (0..5).map(|call| rig.outcome_of("user-1", &format!("c{call}"))).collect();
    assert_eq!(calls.iter().filter(|outcome| **outcome == Outcome::Accepted).count(), 3);
    assert!(calls[4].reason().contains("this device"), "{calls:?}");
    let calls: Vec<Outcome> = (0..3).map(|call| rig.outcome_of("user-2", &format!("d{call}"))).collect();
    assert_eq!(calls.iter().filter(|outcome| **outcome == Outcome::Accepted).count(), 2);
    assert!(calls[2].reason().contains("this caller"), "{calls:?}");
    assert_eq!(rig.simulator.pushes().len(), 5);
    assert_eq!((count(&rig, Counter::DeviceBudget), count(&rig, Counter::CallerBudget)), (2, 1));
    assert!(rig.service.send("user-3", "Carol", "e1").is_ok(), "another caller to another device");
}

/// Registers six iPhones whose tokens are all dead for the provider and calls each once.
fn six_deaths(name: &str) -> Rig {
    let rig = Rig::with(name, &[], &[("[call]", "[quarantine]\ndead_tokens = 2\n[call]")]);
    for number in 1..=6 {
        rig.register(&format!("user-{number}"), &iphone(number), "ios");
        let dead = json!({ "state": "dead", "dead_since_ms": 4_000_000_000_000_i64 });
        rig.simulator.put(&format!("/tokens/{}", iphone(number)), &dead);
        let outcome = rig.outcome_of(&format!("user-{number}"), &format!("c{number}"));
        assert_eq!(outcome.name(), "token_gone");
    }
    assert_eq!(devices_left(&rig), 4);
    assert_eq!((count(&rig, Counter::Retired), count(&rig, Counter::InQuarantine)), (2, 4));
    rig
}

fn devices_left(rig: &Rig) -> usize {
    (1..=6).filter(|number| rig.service.lookup(&format!("user-{number}")).is_ok()).count()
}

#[test]
fn when_many_tokens_die_at_once_no_more_are_deleted_until_an_administrator_says_so() {
    let rig = six_deaths("push-quarantine");
    rig.service.quarantine(QuarantineAction::Release).unwrap();
    let gone = support::poll(support::DEADLINE, || (count(&rig, Counter::Retired) == 6).then_some(()));
    assert!(gone.is_some());
    assert_eq!((devices_left(&rig), count(&rig, Counter::InQuarantine)), (0, 0));
}

/// The provider's clock is years ahead; what was registered after its answer is newer all the same.
#[test]
fn a_device_that_registers_while_its_old_token_waits_in_quarantine_is_kept() {
    let rig = six_deaths("push-comeback");
    rig.register("user-3", &iphone(3), "ios");
    rig.service.quarantine(QuarantineAction::Release).unwrap();
    let gone = support::poll(support::DEADLINE, || (count(&rig, Counter::Retired) == 5).then_some(()));
    assert!(gone.is_some());
    assert_eq!((devices_left(&rig), rig.service.lookup("user-3").unwrap().len()), (1, 1));
}

#[test]
fn tokens_that_were_called_dead_by_mistake_are_kept() {
    let rig = six_deaths("push-pardon");
    rig.service.quarantine(QuarantineAction::Drop).unwrap();
    let empty = support::poll(support::DEADLINE, || (count(&rig, Counter::InQuarantine) == 0).then_some(()));
    assert!(empty.is_some());
    assert_eq!((devices_left(&rig), count(&rig, Counter::Retired)), (4, 2));
}

#[test]
fn a_throttled_push_waits_as_long_as_it_was_told_and_no_longer_than_the_phone_rings() {
    let rig = Rig::with("push-throttled", &[], &[("wait_ms = 800", "wait_ms = 5000")]);
    rig.register("bob", &iphone(1), "ios");
    rig.simulator
        .behave(&iphone(1), json!([{ "status": 429, "reason": "TooManyRequests", "retry_after_s": 1 }]));
    assert_eq!(rig.outcome_of("bob", "c1"), Outcome::Accepted);
    rig.simulator
        .behave(&iphone(1), json!([{ "status": 429, "reason": "TooManyRequests", "retry_after_s": 600 }]));
    assert_eq!(rig.outcome_of("bob", "c2").name(), "throttled");
    assert_eq!(rig.simulator.pushes().len(), 3);
}

#[test]
fn a_provider_that_is_not_there_is_said_at_once_and_found_again_when_it_comes_back() {
    let scratch = Scratch::new("push-away");
    let simulator = Simulator::start(&scratch, &[]);
    let service = Service::prepare(&simulator.config()).unwrap();
    service.register("bob", &iphone(1), "ios", &Extra::default()).unwrap();
    let port = simulator.fact("apns").rsplit(':').next().unwrap().to_owned();
    drop(simulator);
    let error = service.send("bob", "Alice", "c1").unwrap_err();
    assert!(matches!(error, Error::NoAnswer(_)) && error.to_string().contains("no connection"), "{error}");
    // New keys and a new CA come with a new simulator; a service of before cannot trust it, and says so.
    let simulator = Simulator::start(&scratch, &["--apns-port", &port]);
    let refused = |call: &str| service.send("bob", "Alice", call).unwrap_err().to_string();
    let distrusts = support::poll(support::DEADLINE, || refused("c2").contains("TLS").then_some(()));
    assert!(distrusts.is_some(), "{}", refused("c3"));
    service.stop(Duration::from_secs(1));
    let service = Service::prepare(&simulator.config()).unwrap();
    assert_eq!(service.send("bob", "Alice", "c4").unwrap().accepted(), 1);
    service.stop(Duration::from_secs(1));
}

/// bob's iPhone with a token for alerts, another without one, and his Android phone; all pushed for a call.
fn three_phones_that_ring(name: &str, changes: &[(&str, &str)]) -> Rig {
    let rig = Rig::with(name, &[], changes);
    let alert = iphone(9);
    let first = Extra { device_id: Some("1"), alert_token: Some(&alert), ..Extra::default() };
    rig.service.register("bob", &iphone(1), "ios", &first).unwrap();
    rig.service
        .register("bob", &iphone(2), "ios", &Extra { device_id: Some("2"), ..Extra::default() })
        .unwrap();
    let third = Extra { device_id: Some("3"), ..Extra::default() };
    rig.service.register("bob", &android(3), "android", &third).unwrap();
    assert_eq!(rig.service.send("bob", "Alice", "c1").unwrap().accepted(), 3);
    rig
}

const ALERT: (&str, &str) = ("[call]", "[call]\nmissed_call_alert = true");

#[test]
fn a_call_that_is_over_is_told_to_android_and_missed_on_an_iphone_by_an_alert() {
    let rig = three_phones_that_ring("end-missed", &[ALERT]);
    assert_eq!(rig.service.cancel("BOB", "c1", "cancelled").unwrap(), 0, "users are told apart by case here");
    assert_eq!(rig.service.cancel("bob", "c1", "cancelled").unwrap(), 2);
    let pushes = rig.simulator.wait_for_pushes(0, 5);
    let to = |token: &str| -> Vec<&serde_json::Value> {
        pushes.iter().filter(|push| push["token"] == token).collect()
    };
    assert_eq!((to(&iphone(1)).len(), to(&iphone(2)).len()), (1, 1), "one VoIP push each");
    let id = voip_push::model::call_uuid("c1").to_string();
    let data = &to(&android(3))[1]["payload"]["message"]["data"];
    let expected = json!({ "type": "cancel", "reason": "cancelled", "id": id, "uuid": id, "call_id": "c1",
        "sip_user": "bob" });
    assert_eq!(*data, expected);
    let alert = to(&iphone(9))[0];
    let topic = rig.simulator.fact("topic").strip_suffix(".voip").unwrap();
    assert_eq!(
        (&alert["headers"]["apns-push-type"], &alert["headers"]["apns-topic"]),
        (&json!("alert"), &json!(topic))
    );
    assert_eq!(alert["payload"]["aps"]["alert"], json!({ "title": "Missed call", "body": "Alice" }));
    assert!(pushes.iter().all(|push| push["status"] == 200), "{pushes:?}");
    // Once is enough.
    rig.service.cancel("bob", "c1", "cancelled").unwrap();
    wait_until_queued(&rig, 0);
    assert_eq!(rig.simulator.pushes().len(), 5);
}

/// The device ids of bob that have a token for alerts.
fn alerted(rig: &Rig) -> Vec<String> {
    let devices = rig.service.lookup("bob").unwrap();
    assert_eq!(devices.len(), 3, "no device goes with its token for alerts");
    devices.into_iter().filter(|device| device.alert.is_some()).map(|device| device.device_id).collect()
}

#[test]
fn a_dead_token_for_alerts_is_forgotten_and_the_device_rings_on() {
    for (name, status, reason) in [("alert-gone", 410, "Unregistered"), ("alert-bad", 400, "BadDeviceToken")]
    {
        let rig = three_phones_that_ring(name, &[ALERT]);
        assert_eq!(alerted(&rig), ["1"]);
        rig.simulator.behave(&iphone(9), json!([{ "times": 0, "status": status, "reason": reason }]));
        rig.service.cancel("bob", "c1", "cancelled").unwrap();
        support::poll(support::DEADLINE, || alerted(&rig).is_empty().then_some(())).expect(reason);
        assert_eq!(count(&rig, Counter::Retired), 0);
        assert_eq!(rig.service.send("bob", "Alice", "c2").unwrap().accepted(), 3, "{reason}");
    }
}

#[test]
fn a_token_for_alerts_that_was_registered_again_since_it_died_is_kept() {
    let rig = three_phones_that_ring("alert-again", &[ALERT]);
    // An hour ago, in ms.
    let died_at_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
        as u64
        - 3_600_000;
    let gone = json!([{ "status": 410, "reason": "Unregistered", "timestamp_ms": died_at_ms }]);
    rig.simulator.behave(&iphone(9), gone);
    rig.service.cancel("bob", "c1", "cancelled").unwrap();
    rig.simulator.wait_for_pushes(0, 5);
    wait_until_queued(&rig, 0);
    assert_eq!(alerted(&rig), ["1"]);
}

#[test]
fn a_call_that_was_answered_elsewhere_is_not_missed() {
    let rig = three_phones_that_ring("end-answered", &[ALERT]);
    assert_eq!(rig.service.cancel("bob", "c1", "answered elsewhere").unwrap(), 1);
    let pushes = rig.simulator.wait_for_pushes(0, 4);
    assert_eq!(pushes[3]["payload"]["message"]["data"]["reason"], "answered_elsewhere");
    wait_until_queued(&rig, 0);
    assert_eq!(rig.simulator.pushes().len(), 4);
}

#[test]
fn without_the_setting_no_iphone_hears_of_a_missed_call() {
    let rig = three_phones_that_ring("end-silent", &[]);
    assert_eq!(rig.service.cancel("bob", "c1", "cancelled").unwrap(), 1);
    rig.simulator.wait_for_pushes(0, 4);
    wait_until_queued(&rig, 0);
    assert!(rig.simulator.pushes().iter().all(|push| push["token"] != iphone(9)));
}

#[test]
fn who_was_not_pushed_for_a_call_is_not_told_of_its_end() {
    let rig = three_phones_that_ring("end-unknown", &[ALERT]);
    assert_eq!(rig.service.cancel("nobody", "c1", "cancelled").unwrap(), 0);
    rig.service.cancel("bob", "c2", "cancelled").unwrap();
    rig.register("bob", &android(4), "android");
    rig.service.cancel("bob", "c1", "declined elsewhere").unwrap();
    rig.simulator.wait_for_pushes(0, 4);
    wait_until_queued(&rig, 0);
    let pushes = rig.simulator.pushes();
    assert_eq!(pushes.len(), 4, "{pushes:?}");
    assert!(pushes.iter().all(|push| push["token"] != android(4)));
    for (user, call_id, reason, what) in
        [("", "c", "cancelled", "user"), ("bob", "", "cancelled", "call_id"), ("bob", "c", "busy", "reason")]
    {
        match rig.service.cancel(user, call_id, reason) {
            Err(Error::Argument(invalid)) => assert_eq!(invalid.what, what),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_push_that_was_not_sent_yet_is_given_up_and_its_phone_not_told() {
    let rig = Rig::new("end-queued");
    rig.register("bob", &android(1), "android");
    throttle(&rig, &android(1), 20);
    // When this gives up waiting, the push waits to be tried again.
    assert!(matches!(rig.service.send("bob", "Alice", "c1"), Err(Error::NoAnswer(_))));
    rig.service.cancel("bob", "c1", "cancelled").unwrap();
    wait_until_queued(&rig, 0);
    assert_eq!(count(&rig, Counter::Stopped), 1);
    assert_eq!(rig.simulator.pushes().len(), 1, "the phone knows of no call");
}
