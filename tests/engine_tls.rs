//! A store on an engine that speaks nothing but TLS, by its URL: a Cluster, and a master that Sentinels name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::engine::{Cluster, Sentinels, Server, Setup};
use support::shipped::apns_token;
use support::{DEADLINE, Scratch, poll, settings};
use voip_push::model::Extra;
use voip_push::service::{Error, Service};
use voip_push::stats::Counter;

/// Servers with TLS and a password.
fn setup() -> Setup {
    Setup { tls: true, password: Some("hunter2".to_owned()), appendonly: true, ..Setup::default() }
}

/// A service with its tokens behind this URL, which trusts the servers' CA.
fn service(scratch: &Scratch, url: &str) -> Service {
    let file = settings::write(scratch);
    let password = scratch.write("engine-password", "hunter2\n");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let store = format!(
        "url = \"{url}\"\nstate_directory = \"db\"\nlookup_ms = 2000\nwrite_ms = 5000\nwait_replicas = 1\npassword_file = \"{}\"\nca_file = \"{}\"",
        password.display(),
        scratch.path().join("tls/ca.pem").display()
    );
    fs::write(&file, settings::TOML.replace("url = \"sqlite:db/tokens.db\"", &store)).unwrap();
    Service::prepare(&file).unwrap()
}

fn register(service: &Service, user: &str, number: u8) -> Result<(), Error> {
    service.register(user, &apns_token(number), "ios", &Extra::default()).map(|_| ())
}

fn addresses(servers: &[Server]) -> String {
    let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    hosts.join(",")
}

/// Nobody can ask without TLS.
fn speaks_tls_only(server: &Server) {
    let port = server.port.to_string();
    let plain = std::process::Command::new("redis-cli").args(["-p", &port, "PING"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&plain.stdout).contains("PONG"), "{plain:?}");
}

/// All tokens are there, from the engine and not from memory.
fn finds_all(service: &Service, users: &[String]) {
    let all = || {
        let before = service.stats().get(Counter::LookupRemembered);
        let found = users.iter().all(|user| service.lookup(user).is_ok_and(|found| found.len() == 1));
        (found && service.stats().get(Counter::LookupRemembered) == before).then_some(())
    };
    assert!(poll(DEADLINE, all).is_some(), "away: {}", service.stats().get(Counter::EngineAway));
}

#[test]
fn a_cluster_over_tls_is_used_whole_and_its_failover_is_followed() {
    let scratch = Scratch::new("tls-cluster");
    let mut cluster = Cluster::start(&scratch, &setup());
    speaks_tls_only(&cluster.nodes[0]);
    // One address is enough to find the others.
    let service = service(&scratch, &format!("rediss-cluster://{}", addresses(&cluster.nodes[..1])));
    let users: Vec<String> = (0..30).map(|number| format!("user{number}")).collect();
    for (user, number) in users.iter().zip(0..) {
        register(&service, user, number).unwrap();
    }
    finds_all(&service, &users);
    let sizes = cluster.nodes[..3].iter().map(|node| node.ask(&["DBSIZE"]).parse::<u32>().unwrap());
    assert!(sizes.clone().all(|size| size > 0), "{:?}", sizes.collect::<Vec<_>>());
    cluster.nodes[0].kill();
    cluster.wait_until_master(3);
    finds_all(&service, &users);
    cluster.nodes[0].restart();
    cluster.wait_until_whole();
    assert!(poll(DEADLINE, || register(&service, "new", 99).ok()).is_some());
}

#[test]
fn sentinels_over_tls_name_the_master_and_the_next_one() {
    let scratch = Scratch::new("tls-sentinel");
    let mut all = Sentinels::start(&scratch, &setup());
    speaks_tls_only(&all.sentinels[0]);
    let service = service(&scratch, &format!("rediss-sentinel://{}/calls", addresses(&all.sentinels)));
    let users: Vec<String> = (0..5).map(|number| format!("user{number}")).collect();
    for (user, number) in users.iter().zip(0..) {
        register(&service, user, number).unwrap();
    }
    finds_all(&service, &users);
    all.servers[0].kill();
    all.wait_until_master(1);
    finds_all(&service, &users);
    all.servers[0].restart();
    // So the Sentinels do after ten seconds or so.
    all.servers[0].ask(&["REPLICAOF", "127.0.0.1", &all.servers[1].port.to_string()]);
    all.servers[0].wait_for(&["INFO", "replication"], "master_link_status:up");
    assert!(poll(DEADLINE, || register(&service, "new", 99).ok()).is_some());
}
