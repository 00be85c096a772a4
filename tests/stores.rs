//! What every token store does alike: one list of cases and one set of properties, on SQLite, a single Redis, the master that
//! Sentinels name and a Cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a test fails and says where"
)]

#[path = "stores/between.rs"]
mod between;
#[path = "stores/cases.rs"]
mod cases;
#[path = "stores/crash.rs"]
mod crash;
#[path = "stores/crowd.rs"]
mod crowd;
#[path = "stores/model.rs"]
mod model;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::Scratch;
use support::engine::{Cluster, Sentinels, Server, Setup};
use voip_push::config::EngineSettings;
use voip_push::store::{RedisStore, SqliteStore, TokenStore};

/// Opens the same store again and again.
pub type Open<'a> = &'a (dyn Fn() -> Box<dyn TokenStore> + Sync);

/// Runs `work` on an empty store.
type OnEmpty<'a> = &'a dyn Fn(&dyn Fn(Open<'_>));

fn every_case(on_empty: OnEmpty<'_>) {
    for (name, case) in cases::ALL {
        // The harness shows this for a test that fails.
        println!("{name}");
        on_empty(&|open| case(open));
    }
}

/// An engine's stores are told apart by their prefixes.
fn on_engine(settings: &EngineSettings, work: &dyn Fn(Open<'_>)) {
    let settings = Arc::new(with_own_prefix(settings));
    RedisStore::prepare(&settings).unwrap();
    work(&|| Box::new(RedisStore::open(&settings)));
}

fn with_own_prefix(settings: &EngineSettings) -> EngineSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    EngineSettings { key_prefix: format!("test-{number}"), ..settings.clone() }
}

#[test]
fn sqlite_keeps_all_properties() {
    let scratch = Scratch::new("stores-sqlite");
    let number = AtomicU32::new(0);
    let on_empty = |work: &dyn Fn(Open<'_>)| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let file = scratch.path().join(format!("{number}.db"));
        work(&|| Box::new(SqliteStore::open(&file).unwrap()));
        std::fs::remove_file(&file).unwrap();
    };
    every_case(&on_empty);
    model::compare(40, &on_empty);
    on_empty(&|open| crowd::every_token_ends_with_one_owner(open));
}

#[test]
fn a_single_redis_keeps_all_properties() {
    let scratch = Scratch::new("stores-single");
    let server = Server::start(&scratch, &Setup::default());
    let on_empty = |work: &dyn Fn(Open<'_>)| on_engine(&server.settings(), work);
    every_case(&on_empty);
    model::compare(60, &on_empty);
    on_empty(&|open| crowd::every_token_ends_with_one_owner(open));
    nothing_is_left(&server);
}

#[test]
fn a_cluster_keeps_all_properties() {
    let scratch = Scratch::new("stores-cluster");
    let cluster = Cluster::start(&scratch, &Setup::default());
    // A registration is answered once a replica has it.
    let settings = EngineSettings { wait_replicas: 1, ..cluster.settings() };
    let on_empty = |work: &dyn Fn(Open<'_>)| on_engine(&settings, work);
    every_case(&on_empty);
    model::compare(20, &on_empty);
    on_empty(&|open| crowd::every_token_ends_with_one_owner(open));
    cluster.nodes.iter().for_each(nothing_is_left);
}

#[test]
fn the_master_that_sentinels_name_keeps_what_was_registered() {
    let scratch = Scratch::new("stores-sentinel");
    let mut all = Sentinels::start(&scratch, &Setup::default());
    let write = std::time::Duration::from_secs(3);
    let settings = EngineSettings { wait_replicas: 1, write, ..all.settings() };
    on_engine(&settings, &|open| {
        for (name, case) in &cases::ALL[..3] {
            println!("{name}");
            on_engine(&settings, &|open| case(open));
        }
        let mut store = open();
        store.register(&cases::phone("bob", "x", 1), 1000, cases::MANY).unwrap().unwrap();
    });
    let settings = Arc::new(with_own_prefix(&settings));
    let mut store = RedisStore::open(&settings);
    store.register(&cases::phone("bob", "x", 1), 1000, cases::MANY).unwrap().unwrap();
    all.servers[0].kill();
    let found = support::poll(support::DEADLINE, || store.devices(&cases::user("bob"), 0).ok());
    assert_eq!(found.expect("it fails over").len(), 1);
    // Nobody follows the new master yet.
    let refused = store.register(&cases::phone("bob", "x", 1), 2000, cases::MANY).unwrap_err();
    println!("{refused}");
    all.servers[0].restart();
    let stored = || store.register(&cases::phone("bob", "x", 1), 3000, cases::MANY).ok();
    support::poll(support::DEADLINE, stored).expect("the old master follows the new one");
}

#[test]
fn whatever_a_process_leaves_in_the_middle_is_finished() {
    let scratch = Scratch::new("stores-crash");
    let server = Server::start(&scratch, &Setup::default());
    crash::whatever_is_cut_off_is_finished(&server);
}

#[test]
fn one_change_may_come_in_the_middle_of_another() {
    let scratch = Scratch::new("stores-between");
    let server = Server::start(&scratch, &Setup::default());
    between::changes_in_the_middle_of_others(&server);
}

/// No note of something that is still to be done.
fn nothing_is_left(server: &Server) {
    assert_eq!(server.ask(&["--scan", "--pattern", "test-*}:n"]), "");
}

#[test]
fn too_few_replicas_are_said() {
    let scratch = Scratch::new("stores-wait");
    let server = Server::start(&scratch, &Setup::default());
    // The engine knows the script then, and there is one wait only.
    let mut alone = RedisStore::open(&Arc::new(server.settings()));
    alone.register(&cases::phone("alice", "x", 2), 1000, cases::MANY).unwrap().unwrap();
    let write = std::time::Duration::from_millis(1500);
    let settings = Arc::new(EngineSettings { wait_replicas: 1, write, ..server.settings() });
    let mut store = RedisStore::open(&settings);
    let refused = store.register(&cases::phone("bob", "x", 1), 1000, cases::MANY).unwrap_err();
    assert!(
        !refused.is_away()
            && refused.to_string().contains("0 replicas have the change, and wait_replicas is 1"),
        "{refused}"
    );
}
