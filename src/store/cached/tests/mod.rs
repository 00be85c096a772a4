//! What is remembered, against a store that fails on command and is SQLite otherwise.

mod moody;

use super::super::{Limits, SqliteStore, StoreError, TokenStore};
use super::table::{Moment, Table};
use super::*;
use crate::model::{Extra, Provider};
use crate::stats::Counted;
use moody::{Mood, Moody};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

const LIMITS: Limits = Limits { devices_per_user: 9, users_per_token: 1 };
const HOUR: Duration = Duration::from_secs(3600);

/// An engine, what a server shares of it, and one of its processes' stores.
struct World {
    directory: PathBuf,
    mood: Arc<Mood>,
    shared: Arc<Shared>,
    store: CachedStore,
}

impl World {
    fn new(users: usize) -> World {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("vp-cached-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // As a server does before it forks: of several who open a new file at once one may find it locked, and does not wait.
        SqliteStore::prepare(&directory.join("tokens.db")).unwrap();
        let stats = Arc::new(Stats::new(Counted::default()).unwrap());
        let shared = Arc::new(Shared {
            breaker: Breaker::new("redis://test".to_owned(), 1, &stats).unwrap(),
            no_lookups: Refusal::new(Asked::Lookup, &stats).unwrap(),
            no_registrations: Refusal::new(Asked::Registration, &stats).unwrap(),
            table: (users > 0).then(|| Table::new(users, HOUR).unwrap()),
            stats,
            lookup: Duration::from_millis(50),
            write: Duration::from_millis(50),
        });
        let mood = Arc::new(Mood::default());
        let store = process(&directory, &mood, &shared);
        World { directory, mood, shared, store }
    }

    fn is(&self, mood: usize) {
        self.mood.is.store(mood, Ordering::SeqCst);
        if mood == 0 {
            // As the next who asks would find out.
            self.shared.breaker.answered(0, Turn::Probe);
        }
    }

    fn engine(&self) -> SqliteStore {
        SqliteStore::open(&self.directory.join("tokens.db")).unwrap()
    }

    fn register(&mut self, user: &str, number: u8, id: &str) {
        self.store.register(&new(user, number, id), 1000, LIMITS).unwrap();
    }

    /// What a call finds while the engine is away.
    fn remembered(&mut self, user: &str) -> Option<Vec<Device>> {
        let before = self.mood.is.swap(1, Ordering::SeqCst);
        let found = self.store.devices(&of(user), 2000);
        self.is(before);
        found.inspect_err(|why| assert!(why.is_away())).ok()
    }

    fn ids(&mut self, user: &str) -> Option<Vec<String>> {
        Some(self.remembered(user)?.into_iter().map(|device| device.device_id).collect())
    }

    fn count(&self, counter: Counter) -> u64 {
        self.shared.stats.get(counter)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn process(directory: &Path, mood: &Arc<Mood>, shared: &Arc<Shared>) -> CachedStore {
    let (file, mood) = (directory.join("tokens.db"), Arc::clone(mood));
    let open = move || -> Result<Box<dyn TokenStore>, StoreError> {
        Ok(Box::new(Moody(SqliteStore::open(&file)?, Arc::clone(&mood))))
    };
    CachedStore::new(Arc::clone(shared), Box::new(open))
}

fn of(user: &str) -> User {
    User::parse(user).unwrap()
}

fn token(number: u8) -> Token {
    Token::parse(Provider::Apns, &format!("{number:02x}").repeat(32)).unwrap()
}

fn new(user: &str, number: u8, id: &str) -> NewDevice {
    let alert = format!("{:02x}", number.wrapping_add(128)).repeat(32);
    let extra = Extra { device_id: Some(id), alert_token: Some(&alert), ..Extra::default() };
    NewDevice::parse(user, token(number).expose(), "ios", &extra).unwrap()
}

#[test]
fn while_the_engine_answers_it_is_asked() {
    let mut world = World::new(100);
    world.register("alice", 1, "a");
    assert_eq!(world.store.devices(&of("alice"), 2000).unwrap().len(), 1);
    // as another machine does
    world.engine().delete(&of("alice"), None).unwrap();
    assert_eq!(world.store.devices(&of("alice"), 2000).unwrap(), []);
    assert_eq!(world.ids("alice"), None, "and what was seen to be gone is not remembered");
    assert_eq!(world.count(Counter::LookupRemembered), 0);
}

#[test]
fn while_it_is_away_calls_find_what_was_seen_and_registrations_are_refused() {
    let mut world = World::new(100);
    world.register("alice", 1, "a");
    world.is(1);
    assert_eq!(world.store.devices(&of("alice"), 2000).unwrap().len(), 1);
    assert!(world.store.is_away(&of("alice")));
    assert!(world.store.devices(&of("bob"), 2000).unwrap_err().is_away());
    let refused = world.store.register(&new("alice", 2, "b"), 2000, LIMITS);
    assert!(refused.unwrap_err().is_away());
    assert_eq!(world.ids("alice").unwrap(), ["a"], "what was refused is not remembered");
    assert_eq!(world.count(Counter::LookupRemembered), 2);
    assert_eq!(world.count(Counter::LookupUnanswered), 1);
    world.is(0);
    assert!(!world.store.is_away(&of("alice")));
    world.register("alice", 2, "b");
    assert_eq!(world.store.devices(&of("alice"), 3000).unwrap().len(), 2);
}

#[test]
fn while_it_refuses_us_calls_find_what_was_seen_and_it_heals() {
    let mut world = World::new(100);
    world.register("alice", 1, "a");
    world.is(3);
    assert_eq!(world.store.devices(&of("alice"), 2000).unwrap().len(), 1);
    let unknown = world.store.devices(&of("bob"), 2000).unwrap_err();
    assert!(unknown.is_told() && !unknown.is_away(), "{unknown}");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let refused = world.store.register(&new("alice", 2, "b"), 2000, LIMITS).unwrap_err();
        assert!(refused.is_told() && !refused.is_away(), "{refused}");
        if world.store.is_away(&of("alice")) {
            break;
        }
        assert!(Instant::now() < deadline, "a phone that comes now is promised a push");
    }
    let counted = |world: &World| {
        [
            Counter::LookupRemembered,
            Counter::LookupUnanswered,
            Counter::EngineRefusesLookups,
            Counter::EngineRefusesRegistrations,
            Counter::EngineAway,
        ]
        .map(|counter| world.count(counter))
    };
    assert_eq!(counted(&world), [1, 1, 1, 1, 0]);
    world.is(0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while counted(&world)[2..4] != [0, 0] {
        assert!(Instant::now() < deadline);
        world.register("alice", 2, "b");
        assert_eq!(world.store.devices(&of("alice"), 3000).unwrap().len(), 2);
    }
    assert!(!world.store.is_away(&of("alice")));
    assert_eq!(counted(&world), [1, 1, 0, 0, 0]);
}

#[test]
fn a_flood_of_calls_asks_an_engine_that_is_away_only_now_and_then_and_finds_it_when_it_is_back() {
    let mut world = World::new(100);
    world.register("alice", 1, "a");
    world.is(1);
    let (before, began) = (world.mood.asked.load(Ordering::SeqCst), Instant::now());
    let asked = |world: &World| world.mood.asked.load(Ordering::SeqCst) - before;
    while began.elapsed() < Duration::from_millis(500) || asked(&world) < 2 {
        assert_eq!(world.store.devices(&of("alice"), 2000).unwrap().len(), 1);
    }
    let (asked, took) = (asked(&world), began.elapsed());
    let at_least_ms = ((1 << (asked - 1)) - 1) * 100;
    assert!(
        took.as_millis() >= at_least_ms,
        "at 0, 100, 300, 700 ms and so on, and not {asked} times in {took:?}"
    );
    world.mood.is.store(0, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(5);
    while world.store.is_away(&of("alice")) {
        assert!(Instant::now() < deadline && world.store.devices(&of("alice"), 2000).is_ok());
    }
    assert_eq!(world.count(Counter::EngineAway), 0);
}

#[test]
fn devices_that_have_expired_are_left_out() {
    let mut world = World::new(100);
    let extra = Extra { device_id: Some("brief"), expires_s: Some(1), ..Extra::default() };
    let brief = NewDevice::parse("alice", token(9).expose(), "ios", &extra).unwrap();
    world.register("alice", 1, "a");
    world.store.register(&brief, 1000, LIMITS).unwrap();
    assert_eq!(world.store.devices(&of("alice"), 1500).unwrap().len(), 2);
    assert_eq!(world.ids("alice").unwrap(), ["a"]);
}

#[test]
fn what_changes_through_this_machine_is_not_found_in_its_old_form() {
    let mut world = World::new(100);
    for (number, id) in [(1, "a"), (2, "b"), (3, "c")] {
        world.register("alice", number, id);
    }
    world.store.delete(&of("alice"), Some("a")).unwrap();
    assert_eq!(world.ids("alice").unwrap(), ["b", "c"]);
    world.store.retire(&token(2), 5000).unwrap();
    assert_eq!(world.ids("alice").unwrap(), ["c"]);
    world.store.retire(&token(3), 500).unwrap();
    assert_eq!(world.ids("alice").unwrap(), ["c"], "it was registered after that");
    let device = world.remembered("alice").unwrap().remove(0);
    let alert = device.alert.clone().unwrap().token;
    world.store.prove_environment(&device, Environment::Sandbox).unwrap();
    world.store.retire_alert(&of("alice"), "c", &alert, 5000).unwrap();
    let device = world.remembered("alice").unwrap().remove(0);
    assert_eq!((device.environment, device.alert), (Some(Environment::Sandbox), None));
    // the phone changes hands
    world.register("bob", 3, "c");
    assert_eq!((world.ids("alice"), world.ids("bob")), (None, Some(vec!["c".to_owned()])));
    world.store.delete(&of("bob"), None).unwrap();
    assert_eq!(world.ids("bob"), None);
}

#[test]
fn what_may_have_changed_is_not_found_either() {
    let mut world = World::new(100);
    world.register("alice", 1, "a");
    world.register("bob", 2, "b");
    for (who, work) in [("alice", true), ("bob", false)] {
        world.is(2);
        match work {
            true => assert!(world.store.delete(&of("alice"), None).is_err()),
            false => assert!(world.store.register(&new("carol", 2, "b"), 2000, LIMITS).is_err()),
        }
        assert_eq!(world.ids(who), None);
        world.is(0);
    }
}

#[test]
fn with_no_room_nothing_is_remembered_and_all_else_is_the_same() {
    let mut world = World::new(0);
    world.register("alice", 1, "a");
    assert_eq!(world.ids("alice"), None);
    assert_eq!(world.store.devices(&of("alice"), 2000).unwrap().len(), 1);
}

#[test]
fn the_newest_of_more_users_than_there_is_room_for_are_remembered() {
    let mut world = World::new(64);
    for number in 0..500u16 {
        world.register(&format!("user{number}"), (number % 250) as u8, "a");
    }
    let last: Vec<u16> = (0..500).filter(|number| world.ids(&format!("user{number}")).is_some()).collect();
    assert!((48..=64).contains(&last.len()) && last.iter().all(|number| *number > 250), "{last:?}");
}

/// The table alone, with its own clock.
fn table() -> (Table, User, Vec<Device>) {
    let table = Table::new(8, HOUR).unwrap();
    let mut world = World::new(8);
    world.register("alice", 1, "a");
    let devices = world.store.devices(&of("alice"), 2000).unwrap();
    (table, of("alice"), devices)
}

#[test]
fn what_is_too_old_is_not_found_and_what_is_seen_again_is_not_old() {
    let (table, alice, devices) = table();
    let at = |seconds: u64| Moment(seconds * 1_000_000_000 + 1);
    table.keep(&alice, &devices, at(0));
    assert!(table.find(&alice, at(3600)).is_some() && table.find(&alice, at(3601)).is_none());
    table.keep(&alice, &devices, at(1800));
    assert!(table.find(&alice, at(5400)).is_some() && table.find(&alice, at(5401)).is_none());
}

#[test]
fn a_lookup_that_was_overtaken_by_a_change_is_not_remembered() {
    let (table, alice, devices) = table();
    let (began, meanwhile, later) = (Moment(10), Moment(11), Moment(12));
    table.change(&alice, meanwhile, |_| ());
    table.keep(&alice, &devices, began);
    assert_eq!(table.find(&alice, later), None);
    table.keep(&alice, &devices, later);
    table.change_owners(&devices[0].token, None, Moment(13), Vec::clear);
    assert_eq!(table.find(&alice, later), None);
    table.keep(&alice, &devices, later);
    assert_eq!(table.find(&alice, later), None, "nor by its token's end");
    table.keep(&alice, &devices, Moment(14));
    assert!(table.find(&alice, later).is_some());
    table.forget_all();
    assert_eq!(table.find(&alice, later), None);
}

#[test]
fn what_does_not_fit_is_not_remembered_and_neither_is_what_was_there_before() {
    let (table, alice, devices) = table();
    table.keep(&alice, &devices, Moment(10));
    let many = vec![devices[0].clone(); 20];
    table.keep(&alice, &many, Moment(11));
    assert_eq!(table.find(&alice, Moment(12)), None);
}

#[derive(Debug, Clone)]
enum Step {
    Register { user: u8, token: u8, id: u8, users_per_token: u32 },
    Look { user: u8 },
    Delete { user: u8, id: Option<u8> },
    Retire { token: u8, since_ms: i64 },
    Prove { user: u8, is_sandbox: bool },
    RetireAlert { user: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let (user, token, id) = (0u8..5, 0u8..8, 0u8..3);
    prop_oneof![
        4 => (user.clone(), token.clone(), id.clone())
            .prop_map(|(user, token, id)| Step::Register { user, token, id, users_per_token: 1 }),
        2 => user.clone().prop_map(|user| Step::Look { user }),
        1 => (user.clone(), proptest::option::of(id)).prop_map(|(user, id)| Step::Delete { user, id }),
        1 => (token, 0i64..100).prop_map(|(token, since_ms)| Step::Retire { token, since_ms }),
        1 => (user.clone(), any::<bool>()).prop_map(|(user, is_sandbox)| Step::Prove { user, is_sandbox }),
        1 => user.prop_map(|user| Step::RetireAlert { user }),
    ]
}

fn name(user: u8) -> String {
    format!("user{user}")
}

fn take(store: &mut CachedStore, step: &Step, now_ms: i64) {
    let first = |store: &mut CachedStore, user: u8| store.devices(&of(&name(user)), now_ms).unwrap().pop();
    match step {
        Step::Register { user, token, id, users_per_token } => {
            let limits = Limits { devices_per_user: 2, users_per_token: *users_per_token };
            store.register(&new(&name(*user), *token, &format!("id{id}")), now_ms, limits).unwrap();
        }
        Step::Look { user } => drop(store.devices(&of(&name(*user)), now_ms).unwrap()),
        Step::Delete { user, id } => {
            let id = id.map(|id| format!("id{id}"));
            store.delete(&of(&name(*user)), id.as_deref()).unwrap();
        }
        Step::Retire { token: number, since_ms } => drop(store.retire(&token(*number), *since_ms).unwrap()),
        Step::Prove { user, is_sandbox } => {
            let proven = if *is_sandbox { Environment::Sandbox } else { Environment::Production };
            if let Some(device) = first(store, *user) {
                store.prove_environment(&device, proven).unwrap();
            }
        }
        Step::RetireAlert { user } => {
            if let Some(Device { device_id, alert: Some(alert), .. }) = first(store, *user) {
                store.retire_alert(&of(&name(*user)), &device_id, &alert.token, now_ms).unwrap();
            }
        }
    }
}

/// What is remembered of each user is what the engine has, or nothing.
fn assert_true(world: &mut World, now_ms: i64) -> Result<usize, TestCaseError> {
    let mut remembered = 0;
    for user in (0..5).map(name) {
        let is = world.engine().devices(&of(&user), now_ms).unwrap();
        if let Some(found) = world.remembered(&user) {
            prop_assert_eq!(found, is);
            remembered += 1;
        }
    }
    Ok(remembered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn two_processes_never_find_what_has_changed(steps in proptest::collection::vec((step(), any::<bool>()), 1..60)) {
        let mut world = World::new(64);
        let mut other = process(&world.directory, &world.mood, &world.shared);
        for (now_ms, (step, is_other)) in (1..).zip(&steps) {
            take(if *is_other { &mut other } else { &mut world.store }, step, now_ms);
            assert_true(&mut world, now_ms)?;
        }
    }
}

#[test]
fn threads_that_change_all_at_once_leave_what_is_true() {
    let mut world = World::new(16);
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let mut store = process(&world.directory, &world.mood, &world.shared);
            let next = &next;
            scope.spawn(move || {
                for turn in 0..120u8 {
                    let (user, number) = ((turn ^ thread) % 5, turn.wrapping_mul(7).wrapping_add(thread) % 8);
                    let step = match turn % 4 {
                        0 | 1 => Step::Register { user, token: number, id: turn % 3, users_per_token: 1 },
                        2 => Step::Look { user },
                        _ => Step::Delete { user, id: Some(turn % 3) },
                    };
                    take(&mut store, &step, next.fetch_add(1, Ordering::SeqCst) as i64);
                }
            });
        }
    });
    assert_true(&mut world, 10_000).unwrap();
}
