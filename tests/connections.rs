//! Connections as a service sees them: what a provider does to them costs no push, and credentials stand side by side.
//! The other end is the simulator that we ship, over real TLS and HTTP/2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use support::Scratch;
use support::simulator::Simulator;
use voip_push::model::{Extra, Outcome};
use voip_push::service::Service;
use voip_push::stats::Counter;

/// When the simulator's certificate ends: rcgen's default, the first of January 4096.
const SIMULATORS_END_S: u64 = 67_090_118_400;

#[test]
fn the_end_of_a_servers_certificate_is_known_from_its_first_handshake_on() {
    let scratch = Scratch::new("connections-certificate");
    let simulator = Simulator::start(&scratch, &[]);
    let service = Service::prepare(&simulator.config()).unwrap();
    let seen = |provider: &str| {
        let readings = service.stats().read().into_iter();
        let of = format!("{{provider=\"{provider}\",endpoint=\"127.0.0.1:");
        let of = |labels: &str| labels.starts_with(&of);
        let ends = readings.filter(|reading| {
            reading.name == "provider_certificate_expiry_timestamp_seconds" && of(&reading.labels)
        });
        ends.map(|reading| reading.value).collect::<Vec<_>>()
    };
    let line = "\nvoip_push_provider_certificate_expiry_timestamp_seconds{";
    assert!(seen("fcm") == [0] && !service.stats().prometheus().contains(line));
    service.register("bob", &android(1), "android", &Extra::default()).unwrap();
    service.send("bob", "Alice", "c1").unwrap();
    assert_eq!(seen("fcm"), [SIMULATORS_END_S]);
    assert!(seen("apns").iter().all(|end| *end == 0), "nobody has asked Apple");
    assert!(service.stats().prometheus().contains(line));
    service.stop(Duration::from_secs(1));
}

fn iphone(number: usize) -> String {
    // A token of zeros is no device's.
    format!("{:02x}", number + 1).repeat(32)
}

fn android(number: usize) -> String {
    format!("c{number:02}:APA91b{}", "x".repeat(130))
}

/// A patient caller, and no limit to what he causes.
const UNLIMITED: [(&str, &str); 2] = [
    ("wait_ms = 800", "wait_ms = 10000"),
    ("[log]", "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n[log]"),
];

/// Sixteen phones of each of these users.
fn register_many(service: &Service, users: &[&str], platform: &str, token: fn(usize) -> String) {
    for (at, user) in users.iter().enumerate() {
        for number in 0..16 {
            let device_id = format!("{platform}-{number}");
            let extra = Extra { device_id: Some(&device_id), ..Extra::default() };
            service.register(user, &token(at * 16 + number), platform, &extra).unwrap();
        }
    }
}

#[test]
fn a_goaway_every_ten_pushes_costs_no_push_and_repeats_none() {
    const USERS: [&str; 4] = ["anna", "bob", "carol", "dave"];
    const CALLS: usize = 20;
    let scratch = Scratch::new("connections-goaway");
    let simulator = Simulator::start(&scratch, &["--latency-ms", "1"]);
    let config = simulator.change_config(&UNLIMITED);
    let service = Service::prepare(&config).unwrap();
    register_many(&service, &USERS, "ios", iphone);
    let every_tenth: Vec<Value> = (0..200)
        .map(|at| if at % 2 == 0 { json!({ "times": 9 }) } else { json!({ "goaway": true }) })
        .collect();
    simulator.put("/behaviour/apns", &json!(every_tenth));
    let call_all = &|user: &str| {
        for call in 0..CALLS {
            let report = service.send(user, "Alice", &format!("c{call}")).unwrap();
            assert_eq!(report.accepted(), 16, "{:?}", report.results);
            assert!(report.results.iter().all(|result| result.attempts == 1), "{:?}", report.results);
        }
    };
    std::thread::scope(|scope| {
        for user in USERS {
            scope.spawn(move || call_all(user));
        }
    });
    let all = USERS.len() * 16 * CALLS;
    let pushes = simulator.wait_for_pushes(0, all);
    let mut times = BTreeMap::new();
    for push in &pushes {
        *times.entry(push["apns_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!((pushes.len(), times.len()), (all, all), "each push once");
    let opened = simulator.get("/stats")["connections"]["apns"]["opened"].as_u64().unwrap();
    assert!(opened > 10, "{opened} connections: there were too few GOAWAYs to tell");
    service.stop(Duration::from_secs(1));
}

#[test]
fn two_teams_and_both_environments_stand_side_by_side_each_with_one_token() {
    let (scratch, other_scratch) = (Scratch::new("connections-teams"), Scratch::new("connections-other"));
    let simulator = Simulator::start(&scratch, &[]);
    let names = ["--team-id", "OTHERTEAM1", "--key-id", "OTHERKEY12", "--topic", "org.other.phone.voip"];
    let other = Simulator::start(&other_scratch, &names);
    let text = std::fs::read_to_string(other.config()).unwrap();
    let section = text.split("[[apns]]").nth(1).unwrap();
    let config = simulator.change_config(&[("[[fcm]]", &format!("[[apns]]{section}[[fcm]]"))]);
    let service = Service::prepare(&config).unwrap();
    for (user, number, app, environment) in [
        ("one", 1, simulator.fact("topic"), "production"),
        ("one", 2, simulator.fact("topic"), "sandbox"),
        ("two", 3, "org.other.phone.voip", "production"),
    ] {
        let device_id = environment.to_owned();
        let extra = Extra {
            device_id: Some(&device_id),
            app: Some(app),
            environment: Some(environment),
            ..Extra::default()
        };
        service.register(user, &iphone(number), "ios", &extra).unwrap();
    }
    for call in 0..3 {
        assert_eq!(service.send("one", "Alice", &format!("c{call}")).unwrap().accepted(), 2);
        assert_eq!(service.send("two", "Alice", &format!("d{call}")).unwrap().accepted(), 1);
    }
    let seen = |simulator: &Simulator| {
        let stats = simulator.get("/stats");
        let answers = ["apns", "apns_sandbox"].map(|service| stats["requests"][service]["200"].as_u64());
        let opened = ["apns", "apns_sandbox"].map(|host| stats["connections"][host]["opened"].as_u64());
        (answers, opened, stats["distinct_provider_jwts"].as_u64())
    };
    // One connection for each host, and one token for the key although it is used at two.
    assert_eq!(seen(&simulator), ([Some(3), Some(3)], [Some(1), Some(1)], Some(1)));
    assert_eq!(seen(&other), ([Some(3), None], [Some(1), Some(0)], Some(1)));
    service.stop(Duration::from_secs(1));
}

#[test]
fn many_pushes_at_once_fetch_one_access_token_and_it_is_renewed_before_it_ends() {
    let scratch = Scratch::new("connections-oauth");
    let simulator = Simulator::start(&scratch, &[]);
    let config = simulator.change_config(&UNLIMITED);
    let service = Service::prepare(&config).unwrap();
    register_many(&service, &["bob"], "android", android);
    simulator.put("/oauth", &json!({ "expires_in": 4 }));
    assert_eq!(service.send("bob", "Alice", "c0").unwrap().accepted(), 16);
    let exchanges = || simulator.get("/stats")["oauth_exchanges"].as_u64().unwrap();
    assert_eq!(exchanges(), 1);
    let mut call = 0;
    let renewed = support::poll(support::DEADLINE, || {
        call += 1;
        assert_eq!(service.send("bob", "Alice", &format!("d{call}")).unwrap().accepted(), 16);
        (exchanges() >= 3).then_some(())
    });
    assert!(renewed.is_some());
    let unauthorized = simulator.get("/stats")["requests"]["fcm"]["401"].clone();
    assert_eq!(unauthorized, Value::Null, "the old one was used for longer than it worked");
    service.stop(Duration::from_secs(1));
}

#[test]
fn nonsense_and_silence_are_unavailable_and_counted_and_delete_nothing() {
    let scratch = Scratch::new("connections-nonsense");
    let simulator = Simulator::start(&scratch, &[]);
    let changes = [("wait_ms = 800", "wait_ms = 10000"), ("ring_seconds = 30", "ring_seconds = 6")];
    let service = Service::prepare(&simulator.change_config(&changes)).unwrap();
    service.register("ios", &iphone(1), "ios", &Extra::default()).unwrap();
    service.register("android", &android(1), "android", &Extra::default()).unwrap();
    let mut expected = 0;
    for (call, behaviour) in [
        json!({ "times": 2, "status": 410, "body": "<html>gone</html>" }),
        json!({ "times": 2, "status": 502, "body": "<html>bad gateway</html>" }),
        json!({ "times": 2, "status": 403, "body": "{\"reason\": [" }),
        json!({ "times": 2, "status": 200, "body": "<html>welcome</html>" }),
        json!({ "times": 2, "stall": true }),
    ]
    .into_iter()
    .enumerate()
    {
        for (user, provider) in [("ios", "apns"), ("android", "fcm")] {
            simulator.put(&format!("/behaviour/{provider}"), &json!([behaviour]));
            let error = service.send(user, "Alice", &format!("c{call}")).unwrap_err();
            let outcome = error.report().unwrap().results[0].outcome.clone();
            assert!(matches!(outcome, Outcome::Unavailable { .. }), "{user} {behaviour}: {outcome:?}");
            assert_eq!(service.lookup(user).unwrap().len(), 1, "{behaviour}");
            expected += 1;
        }
    }
    let readings = service.stats().read();
    let unavailable = readings.iter().filter(|reading| reading.labels.contains("outcome=\"unavailable\""));
    assert_eq!(unavailable.map(|reading| reading.value).sum::<u64>(), expected);
    assert_eq!(service.stats().get(Counter::Lost), 4, "two attempts of two pushes were never answered");
    service.stop(Duration::from_secs(1));
}
