//! The library over real Redis servers that fail in part: a Cluster that has lost slots, a key that is not ours, a value of tomorrow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::engine::{Cluster, Sentinels, Server, Setup};
use support::shipped::apns_token;
use support::{DEADLINE, Scratch, poll, settings};
use voip_push::model::Extra;
use voip_push::service::{Error, Service};
use voip_push::stats::Counter;

/// A service with its tokens in an engine.
fn service(scratch: &Scratch, url: &str) -> Service {
    service_with(scratch, url, "lookup_ms = 1000")
}

/// The same with more lines of `[store]`.
fn service_with(scratch: &Scratch, url: &str, more: &str) -> Service {
    let file = settings::write(scratch);
    let store = format!("url = \"{url}\"\nstate_directory = \"db\"\n{more}");
    fs::write(&file, settings::TOML.replace("url = \"sqlite:db/tokens.db\"", &store)).unwrap();
    Service::prepare(&file).unwrap()
}

fn register(service: &Service, user: &str, number: u8) -> Result<(), Error> {
    service.register(user, &apns_token(number), "ios", &Extra::default()).map(|_| ())
}

fn is_away(error: &Error) -> bool {
    matches!(error, Error::Store(why) if why.is_away())
}

#[test]
fn a_cluster_that_has_lost_slots_serves_the_others_and_remembers_those() {
    let scratch = Scratch::new("away-slots");
    let setup = Setup { appendonly: true, ..Setup::default() }.line("cluster-require-full-coverage no");
    let mut cluster = Cluster::start(&scratch, &setup);
    let hosts: Vec<String> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let service = service(&scratch, &format!("redis-cluster://{}", hosts.join(",")));
    let users: Vec<String> = (0..60).map(|number| format!("user{number}")).collect();
    for (user, number) in users.iter().zip(0..) {
        register(&service, user, number).unwrap();
    }
    assert_eq!(service.stats().get(Counter::LookupRemembered), 0);

    cluster.nodes[4].kill();
    cluster.nodes[1].kill();
    let began = Instant::now();
    for user in &users {
        assert_eq!(service.lookup(user).unwrap().len(), 1, "{user}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "not one deadline for each user");
    let remembered = service.stats().get(Counter::LookupRemembered);
    assert!((5..50).contains(&remembered), "a third of the users, and not {remembered} of 60");
    assert_eq!(service.stats().get(Counter::EngineAway), 1);
    let unknown: Vec<Error> =
        (0..60).filter_map(|number| service.lookup(&format!("nobody{number}")).err()).collect();
    assert!(unknown.iter().any(is_away) && unknown.iter().any(|error| matches!(error, Error::NoDevice)));

    cluster.nodes[1].restart();
    cluster.nodes[4].restart();
    cluster.wait_until_whole();
    let heals = || {
        let all = users.iter().zip(0..).all(|(user, number)| register(&service, user, number).is_ok());
        (all && service.stats().get(Counter::EngineAway) == 0).then_some(())
    };
    assert!(poll(DEADLINE, heals).is_some());
    for user in &users {
        assert_eq!(service.lookup(user).unwrap().len(), 1, "{user}");
    }
}

#[test]
fn a_key_of_another_type_and_a_value_of_tomorrow_are_one_users_trouble() {
    let scratch = Scratch::new("away-odd");
    let server = Server::start(&scratch, &Setup::default());
    let service = service(&scratch, &format!("redis://127.0.0.1:{}", server.port));
    for (user, number) in [("alice", 1), ("bob", 2), ("carol", 3)] {
        register(&service, user, number).unwrap();
    }
    let key = |user: &str| {
        let keys = server.ask(&["KEYS", &format!("voip-push:*:u:{user}")]);
        assert!(keys.starts_with("voip-push:"), "{keys}");
        keys
    };
    let (alice, bob) = (key("alice"), key("bob"));
    server.ask(&["DEL", &alice]);
    server.ask(&["SET", &alice, "of somebody else"]);
    let error = service.lookup("alice").unwrap_err();
    let said = error.to_string();
    assert!(said.contains("WRONGTYPE: a key under our key_prefix has another type; whose is it?"), "{said}");
    assert!(!is_away(&error) && !said.contains("alice") && !said.contains('\n'), "{said}");
    assert!(!is_away(&register(&service, "alice", 1).unwrap_err()));

    let field = server.ask(&["HKEYS", &bob]);
    let value = server.ask(&["HGET", &bob, &field]);
    let tomorrow = value.replacen('1', "9", 1);
    assert!(value.starts_with("1 "), "{value}");
    server.ask(&["HSET", &bob, &field, &tomorrow]);
    assert!(matches!(service.lookup("bob"), Err(Error::NoDevice)));
    assert_eq!(server.ask(&["HGET", &bob, &field]), tomorrow, "it is left out, not deleted");
    assert_eq!(service.lookup("carol").unwrap().len(), 1);
    assert_eq!(service.stats().get(Counter::EngineAway), 0);
}

/// What the stats say of an engine that refuses us: lookups, registrations.
fn refuses(service: &Service) -> (u64, u64) {
    let stats = service.stats();
    (stats.get(Counter::EngineRefusesLookups), stats.get(Counter::EngineRefusesRegistrations))
}

/// A lookup is answered from memory, one of a user that nobody knows is not answered.
fn goes_on_from_memory(service: &Service, why: &str) {
    let before = service.stats().get(Counter::LookupRemembered);
    assert_eq!(service.lookup("alice").unwrap().len(), 1);
    assert_eq!(service.stats().get(Counter::LookupRemembered), before + 1);
    let Err(Error::Store(unknown)) = service.lookup("nobody") else { panic!("nobody is known") };
    assert!(unknown.to_string().contains(why) && unknown.is_told() && !unknown.is_away(), "{unknown}");
    assert_eq!((refuses(service).0, service.stats().get(Counter::EngineAway)), (1, 0));
}

/// Lookups and registrations reach the engine again, and the stats say so.
fn heals(service: &Service) {
    let all_is_well = || {
        let done =
            register(service, "alice", 1).is_ok() && matches!(service.lookup("nobody"), Err(Error::NoDevice));
        (done && refuses(service) == (0, 0)).then_some(())
    };
    assert!(poll(DEADLINE, all_is_well).is_some(), "{:?}", refuses(service));
    let before = service.stats().get(Counter::LookupRemembered);
    assert_eq!(service.lookup("alice").unwrap().len(), 1);
    assert_eq!(service.stats().get(Counter::LookupRemembered), before, "the engine is asked again");
}

#[test]
fn a_permission_that_is_taken_away_meanwhile_costs_no_call_its_push() {
    let scratch = Scratch::new("away-noperm");
    let server = Server::start(&scratch, &Setup::default());
    let url = format!("redis://127.0.0.1:{}", server.port);
    let service = service_with(&scratch, &url, "lookup_ms = 5000");
    register(&service, "alice", 1).unwrap();
    server.ask(&["ACL", "SETUSER", "default", "-evalsha", "-eval"]);
    let Err(Error::Store(refused)) = register(&service, "carol", 3) else { panic!("it was not refused") };
    assert!(refused.to_string().contains("NOPERM: our user may not run eval"), "{refused}");
    assert!(refused.is_told() && !refused.is_away(), "{refused:?}");
    assert!(matches!(service.lookup("nobody"), Err(Error::NoDevice)), "what is still allowed is done");
    assert_eq!(refuses(&service), (0, 1));
    server.ask(&["ACL", "SETUSER", "default", "-hgetall"]);
    goes_on_from_memory(&service, "NOPERM: our user may not run hgetall");
    assert_eq!(refuses(&service), (1, 1));
    server.ask(&["ACL", "SETUSER", "default", "+@all"]);
    heals(&service);
}

/// The user as which the service logs in has this password at all servers, and may do everything.
fn admit(servers: &[Server], password: &str) {
    let password = format!(">{password}");
    let admit = ["ACL", "SETUSER", "phones", "reset", "on", &password, "~*", "&*", "+@all"];
    servers.iter().for_each(|server| drop(server.ask(&admit)));
}

/// A service that logs in as that user.
fn service_as_user(scratch: &Scratch, url: &str) -> Service {
    let password = scratch.write("password", "swordfish\n");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let login =
        format!("lookup_ms = 5000\nusername = \"phones\"\npassword_file = \"{}\"", password.display());
    service_with(scratch, url, &login)
}

/// The user's permission goes and comes back, and so does his password.
fn comes_and_goes(service: &Service, servers: &[Server]) {
    register(service, "alice", 1).unwrap();
    let all = |command: &[&str]| servers.iter().for_each(|server| drop(server.ask(command)));
    all(&["ACL", "SETUSER", "phones", "-hgetall"]);
    goes_on_from_memory(service, "NOPERM: our user may not run hgetall");
    admit(servers, "swordfish");
    heals(service);

    admit(servers, "of tomorrow");
    assert_eq!(service.lookup("alice").unwrap().len(), 1);
    assert_eq!(refuses(service), (0, 0), "who is in stays in");
    all(&["CLIENT", "KILL", "USER", "phones"]);
    goes_on_from_memory(service, "WRONGPASS: it does not take our password");
    for _ in 0..100 {
        assert_eq!(service.lookup("alice").unwrap().len(), 1);
    }
    let Err(Error::Store(refused)) = register(service, "carol", 3) else { panic!("it was not refused") };
    assert!(refused.to_string().contains("WRONGPASS") && refused.is_told(), "{refused}");
    admit(servers, "swordfish");
    heals(service);

    all(&["ACL", "DELUSER", "phones"]);
    goes_on_from_memory(service, "WRONGPASS: it does not take our password");
    admit(servers, "swordfish");
    heals(service);
}

#[test]
fn a_password_that_is_changed_meanwhile_costs_no_call_its_push() {
    let scratch = Scratch::new("away-password");
    let servers = [Server::start(&scratch, &Setup::default())];
    admit(&servers, "swordfish");
    let service = service_as_user(&scratch, &format!("redis://127.0.0.1:{}", servers[0].port));
    comes_and_goes(&service, &servers);
}

#[test]
fn nor_does_it_where_a_cluster_is_asked() {
    let scratch = Scratch::new("away-acl");
    let cluster = Cluster::start(&scratch, &Setup::default());
    admit(&cluster.nodes, "swordfish");
    let hosts: Vec<String> = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let service = service_as_user(&scratch, &format!("redis-cluster://{}", hosts.join(",")));
    comes_and_goes(&service, &cluster.nodes);
}

#[test]
fn nor_does_it_where_sentinels_are() {
    let scratch = Scratch::new("away-named");
    let all = Sentinels::start(&scratch, &Setup::default());
    admit(&all.servers, "swordfish");
    let hosts: Vec<String> =
        all.sentinels.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let service = service_as_user(&scratch, &format!("redis-sentinel://{}/calls", hosts.join(",")));
    comes_and_goes(&service, &all.servers);
}
