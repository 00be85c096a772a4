//! Where dead tokens go: out of the store, or into quarantine, when so many die at once that our own configuration is the
//! likelier cause.
//!
//! It refuses to delete a token that was registered again after the provider found it dead.

use super::lane::Lane;
use super::records::Records;
use crate::config::Quarantine as Limits;
use crate::model::{Device, Provider, Push};
use crate::stats::{Counter, Stats};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// More dead tokens than this are not kept for an administrator's word; they will die again with the next call.
const MOST_HELD: usize = 100_000;

/// What an administrator says about the tokens in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineAction {
    /// They are dead indeed: delete them.
    Release,
    /// It was our configuration: keep the tokens and forget that they were called dead.
    Drop,
}

/// The quarantine of each credential.
pub(super) struct Graveyard {
    limits: Cell<Limits>,
    stats: Arc<Stats>,
    records: Rc<Records>,
    wards: RefCell<HashMap<Credential, Ward>>,
}

/// Its provider and its name in logs.
type Credential = (Provider, String);

/// One credential's recent deaths, and the tokens held back.
#[derive(Default)]
struct Ward {
    deaths: VecDeque<Instant>,
    is_closed: bool,
    held: Vec<Dead>,
}

struct Dead {
    device: Device,
    since_ms: i64,
    /// It is the token of the device for alerts, and not its own.
    is_for_alerts: bool,
}

impl Graveyard {
    pub(super) fn new(limits: Limits, records: &Rc<Records>, stats: &Arc<Stats>) -> Self {
        let (stats, records) = (Arc::clone(stats), Rc::clone(records));
        Graveyard { limits: Cell::new(limits), stats, records, wards: RefCell::default() }
    }

    /// Other limits; what is held back stays so until an administrator says otherwise.
    pub(super) fn set_limits(&self, limits: Limits) {
        self.limits.set(limits);
    }

    /// Deletes the pushed token if it was registered at or before `since_ms`, unless this credential has seen too many die.
    pub(super) async fn retire(&self, push: &Push, since_ms: i64, lane: &Lane) {
        // A push that the store knows by another token, and that is no call, went to the token for alerts.
        let dead = Dead { device: push.device.clone(), since_ms, is_for_alerts: !push.is_stored };
        if let Some(dead) = self.admit((lane.provider(), lane.name()), dead) {
            self.bury(dead).await;
        }
    }

    /// Does what an administrator says with all that is held, and lets deletions happen again.
    pub(super) async fn decide(&self, action: QuarantineAction) {
        let held = self.open();
        log::warn!("quarantine ended by the administrator: {action:?} of {} tokens", held.len());
        if action == QuarantineAction::Release {
            for dead in held {
                self.bury(dead).await;
            }
        }
    }

    /// Opens all quarantines and gives back what they held.
    fn open(&self) -> Vec<Dead> {
        let wards = self.wards.take().into_iter().filter(|(_, ward)| ward.is_closed);
        let opened = wards.flat_map(|((provider, name), ward)| {
            self.stats.ward_opened(provider, &name, ward.held.len());
            ward.held
        });
        opened.collect()
    }

    /// Gives the dead token back where it may be deleted; keeps it where the credential is in quarantine.
    fn admit(&self, credential: Credential, dead: Dead) -> Option<Dead> {
        let limits = self.limits.get();
        let mut wards = self.wards.borrow_mut();
        let (provider, name) = credential.clone();
        let ward = wards.entry(credential).or_default();
        ward.note_death(&limits);
        if !ward.is_closed && ward.deaths.len() > limits.dead_tokens {
            ward.is_closed = true;
            self.stats.ward_closed(provider, &name);
            log::error!(
                "{name}: more than {} tokens died within {} s; is the topic, project or environment right? No \
                 token is deleted until the quarantine is released or dropped",
                limits.dead_tokens,
                limits.window.as_secs(),
            );
        }
        if !ward.is_closed {
            return Some(dead);
        }
        self.stats.count(Counter::Quarantined);
        if ward.held.len() < MOST_HELD {
            self.stats.ward_holds(provider, &name);
            ward.held.push(dead);
        }
        None
    }

    async fn bury(&self, dead: Dead) {
        let Dead { device, since_ms, is_for_alerts } = dead;
        let (user, token) = (device.user.shortened(), device.token.clone());
        let deleting = self.records.write("a dead token's end", move |store| {
            if is_for_alerts {
                let done = store.retire_alert(&device.user, &device.device_id, &device.token, since_ms);
                return done.map(usize::from);
            }
            store.retire(&device.token, since_ms)
        });
        match deleting.await {
            Some(1..) if is_for_alerts => {
                log::info!("forgot the token for alerts user={user} token={token:?}")
            }
            Some(devices @ 1..) => {
                self.stats.add(Counter::Retired, devices as u64);
                log::info!("retired user={user} token={token:?}");
            }
            Some(0) => log::info!("kept {token:?}: it was registered again after it was found dead"),
            None => {}
        }
    }
}

/// What was held is lost with a sender that has panicked, and is not shown any more.
impl Drop for Graveyard {
    fn drop(&mut self) {
        self.open();
    }
}

impl Ward {
    fn note_death(&mut self, limits: &Limits) {
        let now = Instant::now();
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|at| now.duration_since(*at) > limits.window) {
            self.deaths.pop_front();
        }
        self.deaths.truncate(limits.dead_tokens + 1);
    }
}
