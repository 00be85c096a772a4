//! Calls and registrations while the Redis of a shared token store is stopped, killed, full or closed to us: real Kamailio, real Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::engine::{Server, Setup as EngineSetup};
use support::phone::Phone;
use support::shipped::{Setup, Shipped, apns_token};
use support::sip::Answer;
use support::{DEADLINE, Scratch, poll};

/// How long nothing may take that happens at once.
const AT_ONCE: Duration = Duration::from_millis(1500);
/// How the line of `voip-push.toml` begins that names the token store.
const SQLITE: &str = "url = \"sqlite:";

/// The sample with its tokens in the engine at this port, and a deadline that a machine which is busy with tests keeps. It is known by
/// its name, so that Kamailio's workers connect in threads of their own.
fn shipped(name: &str, port: u16, more: &[(&'static str, &'static str)]) -> Shipped {
    let store = format!(
        "url = \"redis://localhost:{port}\"\nstate_directory = \".\"\nwrite_ms = 500\nlookup_ms = 300\n# "
    );
    let mut config = vec![(SQLITE, &*store.leak())];
    config.extend(more);
    Shipped::with(name, Setup { config, ..Setup::default() })
}

fn register(shipped: &Shipped, user: &str, token: u8) -> Answer {
    let body = json!({ "user": user, "token": apns_token(token), "platform": "ios" });
    shipped.rest("POST", "/api/register-push-token", &body)
}

/// The call rings at a phone that is there, at once.
fn rings_at_once(caller: &mut Phone, phone: &mut Phone, user: &str) {
    let called_at = Instant::now();
    let invite = caller.invite(user);
    let ring = phone.expect_request("INVITE");
    assert!(called_at.elapsed() < AT_ONCE, "{:?}", called_at.elapsed());
    phone.answer(&ring, 486);
    let end = caller.expect_final(&invite);
    caller.ack_failure(&invite, &end);
    phone.expect_request("ACK");
}

/// The call is held, its push goes out, and it goes on to the phone that wakes.
fn wakes(shipped: &Shipped, caller: &mut Phone, user: &str) {
    let before = shipped.simulator.pushes().len() as u64;
    let invite = caller.invite(user);
    shipped.simulator.wait_for_pushes(before, 1);
    let mut phone = Phone::tcp(user, shipped.port());
    phone.register();
    let ring = phone.expect_request("INVITE");
    phone.answer(&ring, 603);
    let end = caller.expect_final(&invite);
    caller.ack_failure(&invite, &end);
    // it sleeps again
    let request = phone.register_request(0);
    phone.send(request.text.as_bytes());
    phone.expect_status(&request, 200);
}

fn stat(shipped: &Shipped, name: &str) -> u64 {
    let said = shipped.kamailio.rpc(&["voip_push.stats"]);
    let line = said.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {said}")).parse().unwrap()
}

fn count(shipped: &Shipped, text: &str) -> usize {
    shipped.kamailio.log().lines().filter(|line| line.contains(text)).count()
}

/// Calls go on, registrations are refused, and the log says so once.
fn goes_on_without(shipped: &Shipped, caller: &mut Phone, desk: &mut Phone) {
    rings_at_once(caller, desk, "desk");
    wakes(shipped, caller, "bob");
    let refused = register(shipped, "dora", 4);
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("5")), "{refused:?}");
    assert_eq!(stat(shipped, "engine_away"), 1);
    assert!(stat(shipped, "engine_away_since_seconds") > 1_700_000_000);
}

fn heals(shipped: &Shipped, user: &str, token: u8) {
    // 200 where the engine has done later what it did not answer in time.
    let stored = poll(DEADLINE, || matches!(register(shipped, user, token).status, 200 | 201).then_some(()));
    assert!(stored.is_some(), "{}", shipped.kamailio.log());
    assert_eq!((stat(shipped, "engine_away"), stat(shipped, "engine_away_since_seconds")), (0, 0));
    assert_eq!(shipped.token_status(user), 200);
}

#[test]
fn calls_go_on_while_the_engine_hangs_and_while_it_is_gone_and_all_heals() {
    let scratch = Scratch::new("e2e-away");
    let mut server = Server::start(&scratch, &EngineSetup { appendonly: true, ..EngineSetup::default() });
    let mut shipped = shipped("e2e-away", server.port, &[]);
    assert_eq!(register(&shipped, "bob", 1).status, 201);
    let mut desk = Phone::udp("desk", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    rings_at_once(&mut caller, &mut desk, "desk");
    wakes(&shipped, &mut caller, "bob");
    assert_eq!(stat(&shipped, "lookup_remembered_total"), 0, "an engine that answers is asked");

    server.pause();
    goes_on_without(&shipped, &mut caller, &mut desk);
    assert!(stat(&shipped, "lookup_remembered_total") > 0 && stat(&shipped, "lookup_unanswered_total") > 0);
    assert_eq!((count(&shipped, "is away: "), count(&shipped, " is back after ")), (1, 0));
    server.resume();
    heals(&shipped, "dora", 4);

    server.kill();
    goes_on_without(&shipped, &mut caller, &mut desk);
    server.restart();
    heals(&shipped, "erik", 5);
    wakes(&shipped, &mut caller, "bob");
    let log = shipped.kamailio.log();
    assert_eq!((count(&shipped, "is away: "), count(&shipped, " is back after ")), (2, 2), "{log}");
    assert!(!log.contains(&apns_token(1)) && shipped.kamailio.is_alive());
}

#[test]
fn a_server_starts_without_its_engine_and_uses_it_when_it_is_there() {
    let scratch = Scratch::new("e2e-late");
    let mut server = Server::start(&scratch, &EngineSetup::default());
    server.kill();
    let shipped = shipped("e2e-late", server.port, &[]);
    shipped.kamailio.wait_for_log("is away: ", DEADLINE);
    let mut desk = Phone::udp("desk", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    rings_at_once(&mut caller, &mut desk, "desk");
    server.restart();
    heals(&shipped, "bob", 1);
    wakes(&shipped, &mut caller, "bob");
    assert_eq!((count(&shipped, "is away: "), count(&shipped, " is back after ")), (1, 1));
}

/// A REGISTER with push parameters by RFC 8599.
fn register_with_push(phone: &mut Phone) -> support::phone::Message {
    let params =
        format!(";pn-provider=apns;pn-param=ABCDE12345.org.example.phone.voip;pn-prid={}", apns_token(7));
    let contact = format!("<{}>", phone.contact());
    let with = format!("<{}{params}>;+sip.instance=\"<urn:x:1>\"", phone.contact());
    let mut request = phone.register_request(600);
    request.text = request.text.replace(&contact, &with);
    phone.send(request.text.as_bytes());
    phone.expect_final(&request)
}

#[test]
fn a_phone_that_hands_in_its_token_meanwhile_is_promised_nothing_or_told_to_come_again() {
    let scratch = Scratch::new("e2e-unstored");
    let server = Server::start(&scratch, &EngineSetup::default());
    for (name, sip) in [("forward", "[log]"), ("refuse", "[sip]\nunstored = \"refuse\"\n[log]")] {
        let shipped = shipped("e2e-unstored", server.port, &[("[log]", sip)]);
        let mut phone = Phone::tcp("frida", shipped.port());
        let promised = register_with_push(&mut phone);
        assert_eq!(promised.status(), 200);
        assert!(promised.header("Feature-Caps").is_some_and(|caps| caps.contains("apns")), "{promised:?}");
        server.pause();
        let answer = register_with_push(&mut phone);
        match name {
            "forward" => assert_eq!((answer.status(), answer.header("Feature-Caps")), (200, None)),
            _ => assert_eq!((answer.status(), answer.header("Retry-After")), (500, Some("5"))),
        }
        server.resume();
        let again = poll(DEADLINE, || {
            let answer = register_with_push(&mut phone);
            answer.header("Feature-Caps").is_some().then_some(answer.status())
        });
        assert_eq!(again, Some(200), "{}", shipped.kamailio.log());
    }
}

#[test]
fn an_engine_that_is_full_or_refuses_a_command_stops_no_call() {
    let scratch = Scratch::new("e2e-full");
    let server = Server::start(&scratch, &EngineSetup::default().line("maxmemory-policy noeviction"));
    let shipped = shipped("e2e-full", server.port, &[]);
    assert_eq!(register(&shipped, "bob", 1).status, 201);
    let mut desk = Phone::udp("desk", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());

    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(register(&shipped, "dora", 4).status, 503);
    shipped.kamailio.wait_for_log("OOM: its memory is full (maxmemory); give it more", DEADLINE);
    rings_at_once(&mut caller, &mut desk, "desk");
    wakes(&shipped, &mut caller, "bob");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);

    server.ask(&["ACL", "SETUSER", "default", "-hgetall"]);
    rings_at_once(&mut caller, &mut desk, "desk");
    wakes(&shipped, &mut caller, "bob");
    let refused = register(&shipped, "dora", 4);
    assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("5")), "{refused:?}");
    let told = "the token store does not do our lookups: ";
    shipped.kamailio.wait_for_log(told, DEADLINE);
    assert!(shipped.kamailio.log().contains("NOPERM: our user may not run hgetall; docs/store-layout.md"));
    assert_eq!((count(&shipped, told), stat(&shipped, "engine_refuses_lookups")), (1, 1));
    assert!(stat(&shipped, "lookup_remembered_total") > 0);
    server.ask(&["ACL", "SETUSER", "default", "+hgetall"]);
    let is_over = || {
        let stored = register(&shipped, "dora", 4).status;
        let refused =
            ["lookups", "registrations"].map(|what| stat(&shipped, &format!("engine_refuses_{what}")));
        // whoever asks for her is answered by the engine
        (shipped.token_status("dora") == 200 && matches!(stored, 200 | 201) && refused == [0, 0])
            .then_some(())
    };
    assert!(poll(DEADLINE, is_over).is_some(), "{}", shipped.kamailio.log());
    wakes(&shipped, &mut caller, "bob");
    assert_eq!(count(&shipped, "the token store does our lookups again after "), 1);
    assert_eq!(count(&shipped, "is away: "), 0, "it was there all the time");
}

#[test]
fn what_an_operator_can_mend_is_a_reason_not_to_start() {
    let scratch = Scratch::new("e2e-mend");
    let server = Server::start(&scratch, &EngineSetup::default());
    let refused = |why: &str| {
        let directory = Scratch::new("e2e-mend");
        let file = support::settings::write(&directory);
        let engine = format!("url = \"redis://127.0.0.1:{}\"\nstate_directory = \"db\"", server.port);
        let text = support::settings::TOML.replace("url = \"sqlite:db/tokens.db\"", &engine);
        std::fs::write(&file, text).unwrap();
        let said = match voip_push::service::Service::prepare(&file) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(
            said.contains(why) && said.contains("[store] url") && !said.contains('\n'),
            "{said:?} has no {why:?}"
        );
    };
    server.ask(&["ACL", "SETUSER", "default", "-hset", "-xadd"]);
    refused("user default may not run hset, xadd; docs/store-layout.md has the ACL line");
    server.ask(&["ACL", "SETUSER", "default", "+hset", "+xadd"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    server.ask(&["REPLICAOF", "127.0.0.1", &silent.local_addr().unwrap().port().to_string()]);
    refused("is a replica, which takes no writes; its master is 127.0.0.1:");
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    server.ask(&["SET", "voip-push:layout", "voip-push 2"]);
    refused("its layout is version 2 and this voip_push knows 1; install a newer one");
    server.ask(&["SET", "voip-push:layout", "of somebody else"]);
    refused("voip-push:layout is not ours; choose another [store] key_prefix");
    server.ask(&["DEL", "voip-push:layout"]);
    server.ask(&["HSET", "voip-push:layout", "a", "1"]);
    refused("WRONGTYPE: a key under our key_prefix has another type; whose is it?");
    server.ask(&["DEL", "voip-push:layout"]);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    refused("OOM: its memory is full (maxmemory); give it more");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    server.ask(&["CONFIG", "SET", "requirepass", "swordfish"]);
    refused("NOAUTH: it wants a password; set username and password_file");
}
