//! What docs/store-layout.md promises: its ACL line is enough, what is not ours is refused or left alone, values and ends are as it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a test fails and says where"
)]

#[path = "stores/cases.rs"]
mod cases;
mod support;

use std::sync::Arc;
use support::Scratch;
use support::engine::{Server, Setup};
use voip_push::config::{EngineSettings, Secret};
use voip_push::model::{Environment, Extra, NewDevice};
use voip_push::service::Service;
use voip_push::store::{RedisStore, TokenStore};

type Open<'a> = &'a (dyn Fn() -> Box<dyn TokenStore> + Sync);

const PAGE: &str = include_str!("../docs/store-layout.md");

fn server(name: &str) -> (Scratch, Server) {
    let scratch = Scratch::new(name);
    let server = Server::start(&scratch, &Setup::default());
    (scratch, server)
}

fn store(settings: EngineSettings) -> RedisStore {
    RedisStore::open(&Arc::new(settings))
}

fn refused(settings: EngineSettings, why: &str) {
    let error = RedisStore::prepare(&Arc::new(settings)).unwrap_err();
    assert!(!error.is_away() && error.to_string().contains(why), "{error}");
}

#[test]
fn the_acl_line_of_the_page_is_enough() {
    let (_scratch, server) = server("layout-acl");
    let line = PAGE.lines().find(|line| line.starts_with("ACL SETUSER")).expect("the page has it");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(server.ask(&words), "OK");
    let settings = EngineSettings {
        username: Some("voip-push".to_owned()),
        password: Some(Secret::new("PASSWORD".to_owned())),
        ..server.settings()
    };
    let settings = Arc::new(settings);
    for (name, case) in cases::ALL {
        println!("{name}");
        RedisStore::prepare(&settings).unwrap();
        case(&|| Box::new(RedisStore::open(&settings)));
        server.ask(&["FLUSHALL"]);
    }
    let mut store = RedisStore::open(&settings);
    store.count().unwrap();
    store.tidy(i64::MAX / 1000).unwrap();
    // Another program's keys are none of its business.
    refused(
        EngineSettings { key_prefix: "other".to_owned(), ..(*settings).clone() },
        "NOPERM: our user may not use keys",
    );
    server.ask(&["ACL", "SETUSER", "voip-push", "-hgetall"]);
    let error = RedisStore::open(&settings).devices(&cases::user("bob"), 0).unwrap_err().to_string();
    assert!(error.contains("NOPERM: our user may not run hgetall"), "{error}");
}

#[test]
fn a_newer_layout_and_what_is_not_ours_are_refused() {
    let (_scratch, server) = server("layout-foreign");
    RedisStore::prepare(&Arc::new(server.settings())).unwrap();
    assert_eq!(server.ask(&["GET", "voip-push:layout"]), "voip-push 1");
    server.ask(&["SET", "voip-push:layout", "voip-push 2"]);
    refused(server.settings(), "its layout is version 2 and this voip_push knows 1; install a newer one");
    let error = store(server.settings()).register(&cases::phone("bob", "", 1), 1, cases::MANY).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    server.ask(&["SET", "voip-push:layout", "hello"]);
    refused(server.settings(), "voip-push:layout is not ours; choose another [store] key_prefix");
    server.ask(&["DEL", "voip-push:layout"]);
    server.ask(&["HSET", "voip-push:layout", "a", "b"]);
    refused(server.settings(), "WRONGTYPE");
    let gone = EngineSettings { hosts: vec![("127.0.0.1".to_owned(), 1)], ..server.settings() };
    assert!(RedisStore::prepare(&Arc::new(gone)).unwrap_err().is_away(), "which is no reason not to start");
}

/// The key of a user, as the page has it.
fn key_of(server: &Server, user: &str) -> String {
    let keys = server.ask(&["--scan", "--pattern", "voip-push:{*}:u:*"]);
    let found = keys.lines().find(|key| key.ends_with(&format!("}}:u:{user}")));
    found.unwrap_or_else(|| panic!("no {user} in {keys}")).to_owned()
}

#[test]
fn what_a_newer_version_has_written_is_left_out_and_stays() {
    let (_scratch, server) = server("layout-newer");
    let mut store = store(server.settings());
    for (device_id, number) in [("good", 1), ("newer", 2), ("odd", 3)] {
        store.register(&cases::phone("bob", device_id, number), 1000, cases::MANY).unwrap().unwrap();
    }
    let key = key_of(&server, "bob");
    server.ask(&["HSET", &key, "newer", "2 what nobody knows yet"]);
    server.ask(&["HSET", &key, "odd", "somebody's"]);
    let ids = |store: &mut RedisStore| -> Vec<String> {
        cases::devices(store, "bob").into_iter().map(|device| device.device_id).collect()
    };
    assert_eq!(ids(&mut store), ["good"]);
    store.register(&cases::phone("bob", "more", 4), 2000, cases::MANY).unwrap().unwrap();
    let device = cases::devices(&mut store, "bob").remove(0);
    store.prove_environment(&device, Environment::Sandbox).unwrap();
    assert_eq!(ids(&mut store), ["more", "good"]);
    assert_eq!(server.ask(&["HGET", &key, "newer"]), "2 what nobody knows yet");
    assert_eq!(server.ask(&["HGET", &key, "odd"]), "somebody's");
    // A key of another type harms its user only.
    server.ask(&["DEL", &key]);
    server.ask(&["SET", &key, "text"]);
    let error = store.devices(&cases::user("bob"), 0).unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE") && !error.is_away(), "{error}");
    store.register(&cases::phone("bob", "more", 4), 2000, cases::MANY).unwrap_err();
    assert_eq!(server.ask(&["GET", &key]), "text");
    store.register(&cases::phone("alice", "", 5), 2000, cases::MANY).unwrap().unwrap();
    assert_eq!(cases::devices(&mut store, "alice").len(), 1);
    assert_eq!(store.count().unwrap(), 1);
}

#[test]
fn a_value_is_as_the_page_says_and_the_engine_forgets_it_a_day_after_its_end() {
    let (_scratch, server) = server("layout-value");
    let mut store = store(server.settings());
    let (token, alert) = (cases::hex(1), cases::hex(2));
    let extra = Extra {
        device_id: Some("handset"),
        app: Some("org.example.phone.voip"),
        environment: Some("sandbox"),
        expires_s: Some(3600),
        alert_token: Some(&alert),
        ..Extra::default()
    };
    let device = NewDevice::parse("bob", &token, "ios", &extra).unwrap();
    store.register(&device, 1_700_000_000_000, cases::MANY).unwrap().unwrap();
    let key = key_of(&server, "bob");
    let value = server.ask(&["HGET", &key, "handset"]);
    let words: Vec<&str> = value.split(' ').collect();
    assert_eq!(words[..2], ["1", "1700000000000"]);
    assert_eq!(words[3..6], ["1700003600000", "ias-", &token]);
    assert_eq!(words[6..9], ["org.example.phone.voip", "a", &alert]);
    let live = |key: &str| server.ask(&["TTL", key]).parse::<i64>().unwrap();
    let day_and_hour = 90_000;
    assert!((day_and_hour - 60..=day_and_hour).contains(&live(&key)), "{}", live(&key));
    let owners = server.ask(&["--scan", "--pattern", "voip-push:t:*"]);
    assert_eq!(owners.len(), "voip-push:t:".len() + 22, "{owners}");
    assert!((day_and_hour - 60..=day_and_hour).contains(&live(&owners)), "{}", live(&owners));
    assert_eq!(server.ask(&["HGET", &owners, "bob"]), format!("{} 1700000000000 1700003600000", words[2]));
    // A device without an end keeps all.
    store.register(&cases::phone("bob", "tablet", 3), 1_700_000_000_000, cases::MANY).unwrap().unwrap();
    assert_eq!(live(&key), -1);
}

#[test]
fn the_sender_strikes_out_what_a_process_that_ended_has_left() {
    let (scratch, server) = server("layout-tidy");
    let file = support::settings::write(&scratch);
    let url = format!("redis://127.0.0.1:{}", server.port);
    std::fs::write(&file, support::settings::TOML.replace("sqlite:db/tokens.db", &url)).unwrap();
    let service = Service::prepare(&file).unwrap();
    // Somebody whose bucket is looked at first.
    let early = (0..).map(|number| format!("user-{number}")).find(|name| {
        service.register(name, &cases::hex(1), "ios", &Extra::default()).unwrap();
        let key = key_of(&server, name);
        let bucket = key.split(['{', '}']).nth(1).unwrap();
        bucket.parse::<u16>().unwrap() < 32
    });
    let early = early.unwrap();
    let key = key_of(&server, &early);
    let notes = key.replace(&format!("u:{early}"), "n");
    let owners = server.ask(&["--scan", "--pattern", "voip-push:t:*"]);
    // He deleted his device long ago, and the process ended before the token's owners were told.
    server.ask(&["DEL", &key]);
    server.ask(&["HSET", &owners, &early, "1000000 1000 -"]);
    server.ask(&["HSET", &notes, &format!("{early} a {}", cases::hex(1)), "1000000 0 0"]);
    // The sender of this process begins with its first push.
    service.register("bob", &cases::hex(2), "ios", &Extra::default()).unwrap();
    service.queue("bob", "alice", "call-1", None, Vec::new()).unwrap();
    let gone = || (server.ask(&["EXISTS", &notes]) == "0").then_some(());
    support::poll(support::DEADLINE, gone).expect("the note is struck out");
    assert_eq!(server.ask(&["EXISTS", &owners]), "0");
}

#[test]
fn the_listpack_setting_of_the_page_keeps_users_small() {
    let (_scratch, server) = server("layout-memory");
    let mut store = store(server.settings());
    let mut memory = |user: &str| {
        store.register(&cases::phone(user, "", user.len()), 1000, cases::MANY).unwrap().unwrap();
        server.ask(&["MEMORY", "USAGE", &key_of(&server, user)]).parse::<u32>().unwrap()
    };
    let as_it_comes = memory("bob");
    server.ask(&["CONFIG", "SET", "hash-max-listpack-value", "512"]);
    let as_told = memory("alice");
    println!("{as_it_comes} bytes as it comes, {as_told} with the setting");
    assert!(as_told * 3 < as_it_comes * 2, "{as_it_comes} {as_told}");
}
