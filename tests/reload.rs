//! Settings that are read again in a program without a server: what each part of the library makes of them, in this process and in
//! its children.

#![allow(clippy::panic, clippy::unwrap_used, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::simulator::Simulator;
use support::{DEADLINE, Scratch, poll, settings};
use voip_push::config::ApiKey;
use voip_push::model::{Extra, Scope};
use voip_push::rest::{Request, handle};
use voip_push::service::{Error, QuarantineAction, Service};
use voip_push::stats::Counter;

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// What whoever shows a good key is told of a user without a device.
const KNOWN: u16 = 404;

struct World {
    service: Service,
    config: PathBuf,
    scratch: Scratch,
}

fn world() -> World {
    let scratch = Scratch::new("reload");
    let config = settings::write(&scratch);
    World { service: Service::prepare(&config).unwrap(), config, scratch }
}

impl World {
    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
    }

    /// What the REST API says to whoever shows this key.
    fn status(&self, key: &str) -> u16 {
        let authorization = format!("Bearer {key}");
        let request = Request {
            method: "GET",
            target: "/api/user/nobody/push-token",
            authorization: Some(&authorization),
            content_type: None,
            body: b"",
            remote: "192.0.2.1",
            user: None,
        };
        handle(&self.service, &request).status
    }

    /// The same in a child of this process, which was forked by then.
    fn status_in_child(&self, key: &str, is_due: &Shared) -> libc::pid_t {
        // SAFETY: the child asks the service, which is made for that, and leaves with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let before = self.status(key) == 401;
            let asked = poll(DEADLINE, || is_due.get().then(|| self.status(key)));
            // SAFETY: ends the child at once, without running the test harness' exit handlers.
            unsafe { libc::_exit(if before && asked == Some(KNOWN) { 0 } else { 1 }) };
        }
        child
    }
}

/// A word for children.
struct Shared(voip_push::process::SharedCounters);

impl Shared {
    fn get(&self) -> bool {
        self.0.as_slice()[0].load(Ordering::Acquire) == 1
    }
}

fn exit_code(child: libc::pid_t) -> i32 {
    let mut status = -1;
    // SAFETY: waits for a child of this test.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    libc::WEXITSTATUS(status)
}

#[test]
fn api_keys_are_read_again_for_all_processes() {
    let world = world();
    let new = "another-key-0123456789abcdef";
    let line = ApiKey::new("other", &[Scope::Admin], new).unwrap().line();
    let is_due = Shared(voip_push::process::SharedCounters::new(1).unwrap());
    let child = world.status_in_child(new, &is_due);
    assert_eq!((world.status(settings::API_KEY), world.status(new)), (KNOWN, 401));
    settings::secret(&world.scratch.write("api-keys", format!("{line}\n")));
    assert_eq!(world.status(new), 401, "not before somebody says so");
    assert_eq!(world.service.reload(None).unwrap().generation, 1);
    assert_eq!((world.status(settings::API_KEY), world.status(new)), (401, KNOWN));
    is_due.0.as_slice()[0].store(1, Ordering::Release);
    assert_eq!(exit_code(child), 0, "a child that was forked before");
    // SAFETY: as above.
    let later = unsafe { libc::fork() };
    if later == 0 {
        let code = i32::from(world.status(new) != KNOWN);
        // SAFETY: as above.
        unsafe { libc::_exit(code) };
    }
    assert_eq!(exit_code(later), 0, "a child that is forked later");
}

#[test]
fn what_another_process_has_read_is_taken_over_and_not_the_file() {
    let world = world();
    // SAFETY: the child reloads and leaves with _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        world.change("wait_ms = 800", "wait_ms = 700");
        let done = world.service.reload(None);
        // By now nobody else could read it: what was handed over needs no file.
        fs::remove_file(&world.config).unwrap();
        fs::remove_file(world.scratch.path().join("AuthKey.p8")).unwrap();
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    assert_eq!(exit_code(child), 0);
    let now = world.service.settings();
    assert_eq!((now.wait, now.apns.len()), (Duration::from_millis(700), 1));
    assert!(now.apns[0].key.sign("KEY1234567", &json!({})).is_ok());
    let why = world.service.reload(None).unwrap_err().to_string();
    assert!(why.contains("does not exist"), "{why}");
    assert_eq!(world.service.settings().wait, Duration::from_millis(700));
    let stats = world.service.stats();
    assert_eq!((stats.get(Counter::Reloads), stats.get(Counter::ReloadsRefused)), (1, 1));
}

#[test]
fn many_processes_and_threads_see_whole_settings_while_they_change() {
    let world = world();
    // Two keys that change together: whoever sees one of each sees half.
    let pair = |at: u64| format!("wait_ms = {}\nwake_seconds = {}", 100 + at % 100, 1 + at % 100);
    world.change("wait_ms = 800", &pair(0));
    world.service.reload(None).unwrap();
    let is_whole = || {
        let now = world.service.settings();
        now.wait.as_millis() as u64 - 100 == now.wake.as_secs() - 1
    };
    let is_over = Shared(voip_push::process::SharedCounters::new(1).unwrap());
    let children: Vec<_> = (0..3)
        .map(|_| {
            // SAFETY: the child looks at the settings and leaves with _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let mut good = true;
                while !is_over.get() {
                    good &= is_whole();
                }
                good &= is_whole() && world.service.settings().wait == Duration::from_millis(140);
                // SAFETY: as above.
                unsafe { libc::_exit(i32::from(!good)) };
            }
            child
        })
        .collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looker = || {
            while !is_done.load(Ordering::Acquire) {
                assert!(is_whole());
            }
        };
        scope.spawn(looker);
        scope.spawn(looker);
        for at in 1..=40 {
            world.change(&pair(at - 1), &pair(at));
            assert_eq!(world.service.reload(None).unwrap().generation, at + 1);
        }
        is_done.store(true, Ordering::Release);
    });
    is_over.0.as_slice()[0].store(1, Ordering::Release);
    assert_eq!(children.into_iter().map(exit_code).collect::<Vec<_>>(), [0; 3]);
}

#[test]
fn limits_of_guesses_and_devices_change() {
    let world = world();
    let wrong = |times| (0..times).map(|_| world.status("a-wrong-key-0123456789")).collect::<Vec<_>>();
    assert_eq!(wrong(1), [401]);
    world.change("[rest]", "[limits]\ndevices_per_user = 1\n[rest]\nwrong_keys_per_minute = 2");
    world.service.reload(None).unwrap();
    assert_eq!(wrong(10).last(), Some(&429));
    world.change("wrong_keys_per_minute = 2", "wrong_keys_per_minute = 0");
    world.service.reload(None).unwrap();
    assert_eq!(wrong(100), [401; 100]);
    let register = |device_id, token: &str| {
        let extra = Extra { device_id: Some(device_id), ..Extra::default() };
        world.service.register("bob", token, "ios", &extra).map(|_| ())
    };
    register("one", TOKEN).unwrap();
    assert!(matches!(register("two", &"ab".repeat(32)), Err(Error::TooManyDevices { limit: 1 })));
    world.change("devices_per_user = 1", "devices_per_user = 2");
    world.service.reload(None).unwrap();
    register("two", &"ab".repeat(32)).unwrap();
}

#[test]
fn the_sender_keeps_what_it_has_learned() {
    let scratch = Scratch::new("reload-learned");
    let simulator = Simulator::start(&scratch, &[]);
    let limits =
        "[quarantine]\ndead_tokens = 1\n[limits]\ndevice_per_minute = 3\ncaller_per_minute = 0\n[call]";
    let service = Service::prepare(&simulator.change_config(&[("[call]", limits)])).unwrap();
    let token = |number: u8| format!("{number:02x}").repeat(32);
    for number in 1..=3 {
        let user = format!("user{number}");
        service.register(&user, &token(number), "ios", &Extra::default()).unwrap();
        simulator.behave(
            &token(number),
            json!([{ "status": 410, "reason": "Unregistered", "timestamp_ms": 9_999_999_999_999_u64 }]),
        );
        assert!(service.send(&user, "", &format!("dead-{number}")).is_err());
    }
    let stats = service.stats();
    assert_eq!((stats.get(Counter::Retired), stats.get(Counter::InQuarantine)), (1, 2));
    service.register("bob", &token(9), "ios", &Extra::default()).unwrap();
    let send = |call: &str| service.send("bob", "", call).map(|report| report.accepted());
    for call in ["c1", "c2", "c3"] {
        assert_eq!(send(call).unwrap(), 1);
    }
    assert!(matches!(send("c4"), Err(Error::NoAnswer(_))), "the device had its share");
    simulator
        .change_config(&[("dead_tokens = 1", "dead_tokens = 2"), ("ring_seconds = 30", "ring_seconds = 40")]);
    service.reload(None).unwrap();
    assert!(matches!(send("c5"), Err(Error::NoAnswer(_))), "and has had it after a reload, too");
    simulator.change_config(&[("device_per_minute = 3", "device_per_minute = 0")]);
    service.reload(None).unwrap();
    assert_eq!(send("c6").unwrap(), 1);
    assert_eq!(simulator.pushes().last().unwrap()["headers"]["apns-push-type"], "voip");
    assert_eq!(stats.get(Counter::InQuarantine), 2, "an administrator is still to say");
    service.quarantine(QuarantineAction::Release).unwrap();
    poll(DEADLINE, || (stats.get(Counter::Retired) == 3).then_some(())).expect("they are deleted");
    assert_eq!(simulator.get("/stats")["connections"]["apns"]["opened"], 1);
    service.stop(Duration::ZERO);
}

#[test]
fn a_pair_that_was_refused_rests_until_its_key_is_another() {
    let scratch = Scratch::new("reload-pairs");
    let simulator = Simulator::start(&scratch, &[]);
    let config = simulator.config();
    let service = Service::prepare(&config).unwrap();
    service.register("bob", TOKEN, "ios", &Extra::default()).unwrap();
    simulator.behave(TOKEN, json!([{ "status": 400, "reason": "TopicDisallowed" }]));
    let send = |call: &str| service.send("bob", "", call).map(|report| report.accepted());
    assert!(matches!(send("c1"), Err(Error::AllRejected(_))));
    let resting = || service.stats().get(Counter::PairsInQuarantine);
    simulator.change_config(&[("ring_seconds = 30", "ring_seconds = 40")]);
    service.reload(None).unwrap();
    assert!(matches!(send("c2"), Err(Error::AllRejected(_))));
    assert_eq!((resting(), simulator.pushes().len()), (1, 1), "nothing has changed for it");
    let key = config.with_file_name("AuthKey_NEWKEY4567.p8");
    settings::p256_key(&key);
    simulator.put("/keys/NEWKEY4567", &json!({ "public_pem": settings::public_half(&key) }));
    simulator.change_config(&[("KEY1234567", "NEWKEY4567")]);
    service.reload(None).unwrap();
    assert_eq!(send("c3").unwrap(), 1);
    assert_eq!((resting(), simulator.pushes().len()), (0, 2));
    service.stop(Duration::ZERO);
}

#[test]
fn more_than_can_be_handed_over_is_refused() {
    let world = world();
    let text = fs::read_to_string(&world.config).unwrap();
    fs::write(&world.config, format!("{text}\n#{}\n", "x".repeat(3 << 20))).unwrap();
    let why = world.service.reload(None).unwrap_err().to_string();
    assert!(why.ends_with("larger than 2 MiB together; shorten ca_file"), "{why}");
    fs::write(&world.config, text).unwrap();
    assert_eq!(world.service.reload(None).unwrap().generation, 1);
}
