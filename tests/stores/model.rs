//! Random work on a store and on a model of it, in which everything is a list: after each step both say the same.

use super::{OnEmpty, Open};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::cmp::Reverse;
use std::time::Duration;
use voip_push::model::{Alert, Device, Environment, NewDevice, Platform, Provider, Token, User};
use voip_push::store::{Limits, Registered, ToImport, TokenStore};

const USERS: [&str; 4] = ["alice", "bob@example.org", "{0}", "carol"];
const DEVICES: [&str; 3] = ["", "a", "b{1}"];

#[derive(Debug, Clone)]
enum Step {
    Register { new: New, limits: (u32, u32) },
    Import { new: New, ago_ms: i64 },
    Delete { user: usize, device: Option<usize> },
    Retire { token: usize, ago_ms: i64 },
    RetireAlert { user: usize, device: usize, alert: usize, ago_ms: i64 },
    Prove { user: usize, device: usize, sandbox: bool },
    Plan { user: usize, device: usize, in_ms: i64 },
    Take { most: u32 },
    Pass { ms: i64 },
    Reopen,
}

#[derive(Debug, Clone)]
struct New {
    user: usize,
    device: usize,
    token: usize,
    expires_s: Option<u64>,
    alert: Option<usize>,
    app: bool,
    sandbox: Option<bool>,
}

fn new() -> impl Strategy<Value = New> {
    let expires = prop_oneof![3 => Just(None), 1 => (1..40u64).prop_map(Some)];
    let alert = prop_oneof![2 => Just(None), 1 => (0..2usize).prop_map(Some)];
    (0..4usize, 0..3usize, 0..4usize, expires, alert, any::<bool>(), any::<Option<bool>>()).prop_map(
        |(user, device, token, expires_s, alert, app, sandbox)| {
            let alert = alert.filter(|_| token < 3);
            New { user, device, token, expires_s, alert, app, sandbox }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let ago = || prop_oneof![Just(0i64), 1..20_000i64, Just(-1_000_000i64)];
    let most = prop_oneof![3 => Just(u32::MAX), 1 => 1..3u32];
    prop_oneof![
        12 => (new(), most, 1..4u32).prop_map(|(new, most, owners)| Step::Register { new, limits: (most, owners) }),
        3 => (new(), ago()).prop_map(|(new, ago_ms)| Step::Import { new, ago_ms }),
        2 => (0..4usize, proptest::option::of(0..3usize)).prop_map(|(user, device)| Step::Delete { user, device }),
        3 => (0..4usize, ago()).prop_map(|(token, ago_ms)| Step::Retire { token, ago_ms }),
        2 => (0..4usize, 0..3usize, 0..2usize, ago())
            .prop_map(|(user, device, alert, ago_ms)| Step::RetireAlert { user, device, alert, ago_ms }),
        2 => (0..4usize, 0..3usize, any::<bool>())
            .prop_map(|(user, device, sandbox)| Step::Prove { user, device, sandbox }),
        2 => (0..4usize, 0..3usize, 0..9_000i64).prop_map(|(user, device, in_ms)| Step::Plan { user, device, in_ms }),
        1 => (1..4u32).prop_map(|most| Step::Take { most }),
        5 => (1..9_000i64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Reopen),
    ]
}

/// Compares so many lists of steps.
pub fn compare(lists: u32, on_empty: OnEmpty<'_>) {
    let config =
        Config { cases: lists, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let steps = prop::collection::vec(step(), 1..50);
    let done = TestRunner::new(config).run(&steps, |steps| {
        let failed = Cell::new(None);
        on_empty(&|open| failed.set(walk(&steps, open).err()));
        failed.take().map_or(Ok(()), Err)
    });
    done.unwrap_or_else(|failed| panic!("{failed}"));
}

fn walk(steps: &[Step], open: Open<'_>) -> Result<(), TestCaseError> {
    let mut model = Model { now_ms: 1_000_000, ..Model::default() };
    let mut store = open();
    for (number, step) in steps.iter().enumerate() {
        if matches!(step, Step::Reopen) {
            store = open();
        }
        model
            .take(step, &mut *store)
            .map_err(|why| TestCaseError::fail(format!("step {number}, {step:?}: {why}")))?;
        for name in USERS {
            let user = User::parse(name).unwrap();
            let found = store.devices(&user, model.now_ms).unwrap();
            let known = model.devices(&user);
            prop_assert_eq!(found, known, "{} after step {}, {:?}", name, number, step);
        }
    }
    let mut all = Vec::new();
    store
        .each_device(&mut |device| {
            all.push(device);
            true
        })
        .unwrap();
    prop_assert_eq!(store.count().unwrap(), all.len() as u64);
    all.retain(|device| device.expires_at_ms.is_none_or(|at| at > model.now_ms));
    let order = |device: &Device| (device.user.as_str().to_owned(), device.device_id.clone());
    all.sort_by_key(order);
    let mut known: Vec<Device> = model.rows.iter().map(|row| row.told()).collect();
    known.sort_by_key(order);
    prop_assert_eq!(all, known);
    Ok(())
}

#[derive(Debug, Clone)]
struct Row {
    device: Device,
    proven: Option<Environment>,
}

impl Row {
    fn told(&self) -> Device {
        Device { environment: self.proven.or(self.device.environment), ..self.device.clone() }
    }

    fn is(&self, user: &User, device_id: &str) -> bool {
        self.device.user == *user && self.device.device_id == device_id
    }
}

#[derive(Debug, Clone)]
struct Plan {
    user: User,
    device_id: String,
    due_ms: i64,
    ends_ms: i64,
    tries: u32,
}

#[derive(Default)]
struct Model {
    now_ms: i64,
    rows: Vec<Row>,
    /// What has expired, which a store may have forgotten or not.
    ghosts: Vec<Row>,
    plans: Vec<Plan>,
}

fn token(number: usize) -> Token {
    match number {
        3 => Token::parse(Provider::Fcm, &format!("c1:APA91b{}", "x".repeat(130))).unwrap(),
        number => Token::parse(Provider::Apns, &format!("{:064x}", number + 10)).unwrap(),
    }
}

fn alert(number: usize) -> Token {
    Token::parse(Provider::Apns, &format!("{:064x}", number + 100)).unwrap()
}

fn user(number: usize) -> User {
    User::parse(USERS[number]).unwrap()
}

fn environment(sandbox: bool) -> Environment {
    if sandbox { Environment::Sandbox } else { Environment::Production }
}

impl New {
    fn device(&self) -> NewDevice {
        let app = self.app.then(|| "org.example.phone.voip".to_owned());
        NewDevice {
            user: user(self.user),
            device_id: DEVICES[self.device].to_owned(),
            platform: Platform::Ios,
            token: token(self.token),
            app,
            environment: self.sandbox.map(environment),
            expires: self.expires_s.map(Duration::from_secs),
            alert: self.alert.map(|number| Box::new(Alert { token: alert(number), app: None })),
        }
    }
}

fn row(new: &NewDevice, registered_at_ms: i64, expires_at_ms: Option<i64>) -> Row {
    let NewDevice { user, device_id, platform, token, app, environment, alert, .. } = new.clone();
    let device =
        Device { user, device_id, platform, token, app, environment, registered_at_ms, expires_at_ms, alert };
    Row { device, proven: None }
}

type Told = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, store: T, model: T) -> Told {
    if store == model {
        Ok(())
    } else {
        Err(format!("{what}: the store says {store:?}, the model {model:?}"))
    }
}

impl Model {
    fn take(&mut self, step: &Step, store: &mut dyn TokenStore) -> Told {
        self.expire();
        match step {
            Step::Register { new, limits } => self.register(&new.device(), *limits, store),
            Step::Import { new, ago_ms } => self.import(&new.device(), *ago_ms, store),
            Step::Delete { user: number, device } => {
                let (user, device_id) = (user(*number), device.map(|number| DEVICES[number]));
                let gone = store.delete(&user, device_id).unwrap();
                let is = |row: &Row| {
                    row.device.user == user && device_id.is_none_or(|id| row.device.device_id == id)
                };
                self.gone(gone, is)
            }
            Step::Retire { token: number, ago_ms } => {
                let (token, since) = (token(*number), self.now_ms - ago_ms);
                let gone = store.retire(&token, since).unwrap();
                self.gone(gone, |row| row.device.token == token && row.device.registered_at_ms <= since)
            }
            Step::RetireAlert { user: number, device, alert: of, ago_ms } => {
                let (user, device_id, since) = (user(*number), DEVICES[*device], self.now_ms - ago_ms);
                let done = store.retire_alert(&user, device_id, &alert(*of), since).unwrap();
                self.retire_alert(done, &user, device_id, &alert(*of), since)
            }
            Step::Prove { user: number, device, sandbox } => {
                let environment = environment(*sandbox);
                let its = |row: &&mut Row| row.is(&user(*number), DEVICES[*device]);
                let Some(row) = self.rows.iter_mut().find(its) else { return Ok(()) };
                row.proven = Some(environment);
                same("proven", store.prove_environment(&row.device, environment).unwrap(), true)
            }
            Step::Plan { user: number, device, in_ms } => {
                let (user, device_id) = (user(*number), DEVICES[*device].to_owned());
                let (due_ms, ends_ms) = (self.now_ms + in_ms, self.now_ms + 7_000);
                store.plan_refresh(&user, &device_id, due_ms, ends_ms).unwrap();
                self.plans.retain(|plan| plan.user != user || plan.device_id != device_id);
                self.plans.push(Plan { user, device_id, due_ms, ends_ms, tries: 0 });
                Ok(())
            }
            Step::Take { most } => self.take_plans(*most, store),
            Step::Pass { ms } => {
                self.now_ms += ms;
                self.expire();
                Ok(())
            }
            Step::Reopen => Ok(()),
        }
    }

    fn expire(&mut self) {
        let now_ms = self.now_ms;
        let is_over = |row: &mut Row| row.device.expires_at_ms.is_some_and(|at| at <= now_ms);
        self.ghosts.extend(self.rows.extract_if(.., is_over));
    }

    fn devices(&self, user: &User) -> Vec<Device> {
        let mut devices: Vec<Device> =
            self.rows.iter().filter(|row| row.device.user == *user).map(Row::told).collect();
        devices.sort_by_key(|device| (Reverse(device.registered_at_ms), device.device_id.clone()));
        devices
    }

    /// So many went, and what has expired may be among them.
    fn gone(&mut self, told: usize, is: impl Fn(&Row) -> bool) -> Told {
        let before = self.rows.len();
        self.rows.retain(|row| !is(row));
        let gone = before - self.rows.len();
        let ghosts = self.ghosts.iter().filter(|row| is(row)).count();
        match (gone..=gone + ghosts).contains(&told) {
            true => Ok(()),
            false => Err(format!("{told} went, and {gone} were there, {ghosts} expired")),
        }
    }

    fn retire_alert(&mut self, told: bool, user: &User, device_id: &str, token: &Token, since: i64) -> Told {
        let is = |row: &Row| {
            let has = row.device.alert.as_ref().is_some_and(|alert| alert.token == *token);
            row.is(user, device_id) && has && row.device.registered_at_ms <= since
        };
        if let Some(row) = self.rows.iter_mut().find(|row| is(row)) {
            row.device.alert = None;
            return same("alert", told, true);
        }
        let may = self.ghosts.iter().any(is);
        if may { Ok(()) } else { same("alert", told, false) }
    }

    fn register(
        &mut self,
        new: &NewDevice,
        (devices, owners): (u32, u32),
        store: &mut dyn TokenStore,
    ) -> Told {
        let now_ms = self.now_ms;
        let limits = Limits { devices_per_user: devices, users_per_token: owners };
        let told = store.register(new, now_ms, limits).unwrap();
        let mut after = self.rows.clone();
        take_from_others(&mut after, new, owners as usize - 1);
        let expires = new.expires.map(|expires| now_ms + expires.as_millis() as i64);
        let count = after.iter().filter(|row| row.device.user == new.user).count();
        let done = put(&mut after, new, row(new, now_ms, expires), count < devices as usize);
        if done.is_some() {
            self.rows = after;
        }
        same("registered", told, done)
    }

    fn import(&mut self, new: &NewDevice, ago_ms: i64, store: &mut dyn TokenStore) -> Told {
        let at = self.now_ms - ago_ms;
        let is_rival = |row: &Row| row.is(&new.user, &new.device_id) || row.device.token == new.token;
        // Whether what has expired is still there, each store decides.
        if self.ghosts.iter().any(is_rival) {
            return Ok(());
        }
        let expires = new.expires.map(|expires| self.now_ms + expires.as_millis() as i64);
        let one = ToImport { device: new.clone(), registered_at_ms: at, expires_at_ms: expires };
        let told = store.import(&[one]).unwrap();
        let counts = (told.new, told.renewed, told.left);
        if self.rows.iter().any(|row| is_rival(row) && row.device.registered_at_ms > at) {
            return same("imported", counts, (0, 0, 1));
        }
        take_from_others(&mut self.rows, new, 0);
        match put(&mut self.rows, new, row(new, at, expires), true) {
            Some(Registered::New) => same("imported", counts, (1, 0, 0)),
            _ => same("imported", counts, (0, 1, 0)),
        }
    }

    fn take_plans(&mut self, most: u32, store: &mut dyn TokenStore) -> Told {
        let told = store.take_refreshes(self.now_ms, 1_000, most).unwrap();
        let mut due: Vec<usize> =
            (0..self.plans.len()).filter(|at| self.plans[*at].due_ms <= self.now_ms).collect();
        due.sort_by_key(|at| self.plans[*at].due_ms);
        // Among those that are due at the same moment, each store chooses.
        let ties = |at: &usize| {
            due.iter().filter(|other| self.plans[**other].due_ms == self.plans[*at].due_ms).count()
        };
        let has_ties = due.iter().any(|at| ties(at) > 1);
        due.truncate(most as usize);
        let mut known = Vec::new();
        for at in &due {
            let plan = &mut self.plans[*at];
            if plan.ends_ms > self.now_ms {
                known.push((plan.user.clone(), plan.device_id.clone(), plan.tries));
            }
            plan.due_ms = self.now_ms + 1_000;
            plan.tries += 1;
        }
        let now_ms = self.now_ms;
        self.plans.retain(|plan| plan.tries < 2 && (plan.due_ms != now_ms + 1_000 || plan.ends_ms > now_ms));
        let told: Vec<_> = told.into_iter().map(|one| (one.user, one.device_id, one.tries)).collect();
        if has_ties {
            // The two may part ways from here on.
            while !store.take_refreshes(i64::MAX / 2, 1, 1000).unwrap().is_empty() || !self.plans.is_empty() {
                self.plans.clear();
            }
            return Ok(());
        }
        same("taken", told, known)
    }
}

fn take_from_others(rows: &mut Vec<Row>, new: &NewDevice, keep: usize) {
    let mut others: Vec<(Reverse<i64>, User)> = rows
        .iter()
        .filter(|row| row.device.token == new.token && row.device.user != new.user)
        .map(|row| (Reverse(row.device.registered_at_ms), row.device.user.clone()))
        .collect();
    others.sort();
    others.truncate(keep);
    rows.retain(|row| {
        let is_it = row.is(&new.user, &new.device_id);
        let may_stay = others.iter().any(|(_, user)| *user == row.device.user);
        row.device.token != new.token || is_it || may_stay
    });
}

fn put(rows: &mut Vec<Row>, new: &NewDevice, mut row: Row, has_room: bool) -> Option<Registered> {
    if let Some(old) = rows.iter_mut().find(|row| row.is(&new.user, &new.device_id)) {
        row.proven = old.proven.filter(|_| old.device.token == new.token);
        row.device.registered_at_ms = row.device.registered_at_ms.max(old.device.registered_at_ms);
        *old = row;
        return Some(Registered::Renewed);
    }
    has_room.then(|| {
        rows.push(row);
        Registered::New
    })
}
