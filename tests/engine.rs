//! The way to an engine, with real servers: each shape of it, what fails, what is said then, and that it heals by itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};
use support::engine::{Cluster, Sentinels, Server, Setup, settings};
use support::{DEADLINE, Scratch, poll};
use voip_push::config::{EngineSettings, EngineShape, Secret};
use voip_push::engine::{Cmd, Engine, EngineError, EngineTrouble, Script, Value, cmd, from_redis_value};

const WITHIN: Duration = Duration::from_secs(5);

fn engine(settings: EngineSettings) -> Engine {
    Engine::new(&Arc::new(settings))
}

fn set(key: &str, value: &str) -> Cmd {
    cmd("SET").arg(key).arg(value).to_owned()
}

fn get(engine: &mut Engine, key: &str) -> Result<Option<String>, EngineError> {
    engine.run(cmd("GET").arg(key), WITHIN).map(|value| from_redis_value(value).unwrap())
}

fn refused(settings: EngineSettings, command: &Cmd, why: &str) -> EngineTrouble {
    let error = engine(settings).run(command, WITHIN).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.to_string().starts_with("redis"), "{error}");
    error.trouble
}

/// Soon it is not even asked, for a moment.
fn is_left_alone(engine: &mut Engine) {
    let is_paused = || {
        let error = engine.run(cmd("GET").arg("a"), Duration::from_millis(50)).unwrap_err();
        assert!(error.is_away(), "{error}");
        error.to_string().contains("asked again in a moment").then_some(())
    };
    poll(DEADLINE, is_paused).expect("it has failed often enough");
}

#[test]
fn a_single_server_is_used_and_when_it_comes_back_used_again() {
    let scratch = Scratch::new("engine-single");
    let mut server = Server::start(&scratch, &Setup { appendonly: true, ..Setup::default() });
    let mut engine = engine(server.settings());
    engine.run(&set("a", "1"), WITHIN).unwrap();
    assert_eq!(get(&mut engine, "a").unwrap().as_deref(), Some("1"));
    // A connection that the server has closed meanwhile is none that failed.
    server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(get(&mut engine, "a").unwrap().as_deref(), Some("1"));
    server.kill();
    let error = get(&mut engine, "a").unwrap_err();
    assert!(error.is_away() && error.to_string().contains("refuses connections; is it running?"), "{error}");
    is_left_alone(&mut engine);
    server.restart();
    let found = poll(DEADLINE, || get(&mut engine, "a").ok());
    assert_eq!(found.unwrap().as_deref(), Some("1"));
}

#[test]
fn a_server_that_hangs_costs_the_deadline_and_soon_nothing_and_its_late_answers_are_nobodys() {
    let scratch = Scratch::new("engine-hangs");
    let server = Server::start(&scratch, &Setup::default());
    let mut engine = engine(server.settings());
    engine.run(&set("a", "1"), WITHIN).unwrap();
    engine.run(&set("b", "2"), WITHIN).unwrap();
    server.pause();
    let began = Instant::now();
    let late = engine.run(cmd("GET").arg("a"), Duration::from_millis(50)).unwrap_err();
    let took = began.elapsed();
    assert!(late.is_away() && late.to_string().contains("not answered in time"), "{late}");
    assert!(took >= Duration::from_millis(50) && took < WITHIN, "{took:?}");
    is_left_alone(&mut engine);
    server.resume();
    let found = poll(DEADLINE, || get(&mut engine, "b").ok());
    assert_eq!(found.unwrap().as_deref(), Some("2"), "not the late answer about a");
}

#[test]
fn tls_with_a_name_and_a_password_is_verified() {
    let scratch = Scratch::new("engine-tls");
    let setup = Setup { tls: true, password: Some("hunter2".to_owned()), ..Setup::default() };
    let server = Server::start(&scratch, &setup);
    server.ask(&[
        "ACL",
        "SETUSER",
        "phone",
        "on",
        ">swordfish",
        "~mine:*",
        "+get",
        "+set",
        "+eval",
        "+evalsha",
    ]);
    let of = |name: Option<&str>, password: &str| EngineSettings {
        username: name.map(str::to_owned),
        password: Some(Secret::new(password.to_owned())),
        ..server.settings()
    };
    let mut open = engine(of(Some("phone"), "swordfish"));
    open.run(&set("mine:a", "1"), WITHIN).unwrap();
    assert_eq!(get(&mut open, "mine:a").unwrap().as_deref(), Some("1"));
    engine(of(None, "hunter2")).run(&set("b", "1"), WITHIN).unwrap();
    let wrong = refused(of(Some("phone"), "guess"), &set("mine:a", "1"), "WRONGPASS");
    assert_eq!(wrong, EngineTrouble::Refused);
    let none = EngineSettings { password: None, ..server.settings() };
    assert_eq!(refused(none, &set("a", "1"), "NOAUTH"), EngineTrouble::Refused);
    let user = || of(Some("phone"), "swordfish");
    refused(user(), cmd("DEL").arg("mine:a"), "NOPERM: our user may not run del");
    refused(user(), cmd("GET").arg("other"), "NOPERM: our user may not use keys");
    let script = cmd("EVAL").arg("return redis.call('DEL', KEYS[1])").arg(1).arg("mine:a").to_owned();
    refused(user(), &script, "NOPERM: our user may not run");
    let stranger = EngineSettings { ca_pem: None, ..server.settings() };
    let error = engine(stranger).run(&set("a", "1"), WITHIN).unwrap_err().to_string();
    assert!(error.contains("rediss://") && error.contains("ertificate"), "{error}");
    let plain = EngineSettings { tls: false, ..server.settings() };
    assert_eq!(refused(plain, &set("a", "1"), "redis://"), EngineTrouble::Away);
}

#[test]
fn what_an_engine_says_no_to_is_one_clear_line() {
    let scratch = Scratch::new("engine-no");
    let server = Server::start(&scratch, &Setup::default().line("maxmemory-policy noeviction"));
    let of = || server.settings();
    engine(of()).run(&set("text", "1"), WITHIN).unwrap();
    assert_eq!(refused(of(), cmd("HGETALL").arg("text"), "WRONGTYPE"), EngineTrouble::Foreign);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(refused(of(), &set("a", "1"), "OOM"), EngineTrouble::Refused);
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(refused(of(), &set("a", "1"), "NOREPLICAS"), EngineTrouble::Refused);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(refused(of(), &set("a", "1"), "READONLY"), EngineTrouble::Refused);
    let odd = cmd("NOSUCH").arg("a-token").to_owned();
    let error = engine(of()).run(&odd, WITHIN).unwrap_err().to_string();
    assert!(error.contains("unknown command") && !error.contains("a-token"), "{error}");
    let nobody = settings(EngineShape::Single, vec![("no-such-host.invalid".to_owned(), 1)]);
    assert_eq!(refused(nobody, &set("a", "1"), "cannot be reached"), EngineTrouble::Away);
}

#[test]
fn sentinels_name_the_master_and_the_next_one() {
    let scratch = Scratch::new("engine-sentinel");
    let mut all =
        Sentinels::start(&scratch, &Setup { password: Some("hunter2".to_owned()), ..Setup::default() });
    let mut engine = engine(all.settings());
    engine.run(&set("a", "1"), WITHIN).unwrap();
    assert_eq!(
        from_redis_value::<i64>(engine.run(cmd("WAIT").arg(1).arg(1000), WITHIN).unwrap()).unwrap(),
        1
    );
    all.sentinels[0].kill();
    all.servers[0].kill();
    assert!(get(&mut engine, "a").unwrap_err().is_away());
    let found = poll(DEADLINE, || get(&mut engine, "a").ok());
    assert_eq!(found.expect("it fails over").as_deref(), Some("1"));
    engine.run(&set("a", "2"), WITHIN).unwrap();
    assert_eq!(all.servers[1].ask(&["GET", "a"]), "2");
    let other =
        EngineSettings { shape: EngineShape::Sentinel { master: "other".to_owned() }, ..all.settings() };
    assert_eq!(refused(other, &set("a", "1"), "no Sentinel names a master \"other\""), EngineTrouble::Away);
}

static COUNT: Script = Script::new("return redis.call('INCR', KEYS[1])");

#[test]
fn a_cluster_is_used_whole_and_a_new_master_is_found() {
    let scratch = Scratch::new("engine-cluster");
    let began = Instant::now();
    let mut cluster = Cluster::start(&scratch, &Setup::default());
    println!("a Cluster of six was up in {:?}", began.elapsed());
    // One address is enough to find the others.
    let hosts = vec![cluster.nodes[0].host()];
    let mut engine = engine(EngineSettings { hosts, ..cluster.settings() });
    for number in 0..100 {
        engine.run(&set(&format!("key-{number}"), &number.to_string()), WITHIN).unwrap();
    }
    let commands: Vec<(Vec<u8>, Cmd)> = (0..100)
        .map(|number| {
            let key = format!("key-{number}").into_bytes();
            let call = COUNT.call(&[&key]);
            (key, call)
        })
        .collect();
    let commands: Vec<(&[u8], Cmd)> =
        commands.iter().map(|(key, call)| (key.as_slice(), call.clone())).collect();
    let answers = engine.run_many(&commands, Some(&COUNT), WITHIN).unwrap();
    assert!(answers.iter().zip(1..).all(|(answer, number)| *answer == Value::Int(number)), "{answers:?}");
    let masters = engine.masters(WITHIN).unwrap();
    assert_eq!(masters.len(), 3);
    let sizes = masters.iter().map(|place| engine.run_at(place, &cmd("DBSIZE"), WITHIN).unwrap());
    assert_eq!(sizes.map(|size| from_redis_value::<usize>(size).unwrap()).sum::<usize>(), 100);
    moved_slots_are_followed(&cluster, &mut engine);
    let key = (0..)
        .map(|number| format!("key-{number}"))
        .find(|key| cluster.nodes[0].ask(&["GET", key]).parse::<u32>().is_ok());
    let key = key.unwrap();
    engine.run(&set(&key, "kept"), WITHIN).unwrap();
    cluster.nodes[0].wait_for(&["WAIT", "1", "1000"], "1");
    cluster.nodes[3].wait_for(&["INFO", "replication"], "master_link_status:up");
    cluster.nodes[0].kill();
    let error = get(&mut engine, &key).unwrap_err();
    assert!(error.is_away(), "{error}");
    let found = poll(DEADLINE, || get(&mut engine, &key).ok());
    assert_eq!(found.expect("it fails over").as_deref(), Some("kept"));
    cluster.nodes[0].restart();
    cluster.wait_until_whole();
    // Without a quorum of masters nothing is served, and that is said as such.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    cluster.nodes[3].wait_for(&["CLUSTER", "INFO"], "cluster_state:fail");
    let down = poll(DEADLINE, || {
        get(&mut engine, &key).err().filter(|error| error.to_string().contains("CLUSTERDOWN"))
    });
    assert!(down.expect("the Cluster is down").is_away());
}

/// Moves the slot of a key to another master, as `redis-cli --cluster reshard` does, and asks in every state on the way.
fn moved_slots_are_followed(cluster: &Cluster, engine: &mut Engine) {
    let slot = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", "moving"]);
    engine.run(&set("moving", "1"), WITHIN).unwrap();
    let number = slot.parse::<usize>().unwrap() / 5462;
    let (from, to) = (&cluster.nodes[number], &cluster.nodes[(number + 1) % 3]);
    let (from_id, to_id) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    assert_eq!(get(engine, "moving").unwrap().as_deref(), Some("1"), "still there");
    from.ask(&["MIGRATE", &to.address, &to.port.to_string(), "moving", "0", "5000"]);
    assert_eq!(get(engine, "moving").unwrap().as_deref(), Some("1"), "ASK");
    to.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    from.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    assert_eq!(get(engine, "moving").unwrap().as_deref(), Some("1"), "MOVED");
    engine.run(&set("moving", "2"), WITHIN).unwrap();
}
