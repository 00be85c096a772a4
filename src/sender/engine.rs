//! The heart of the sender, wherever it runs: every push is a task of its own, every call gets one report.
//!
//! It refuses to wait for anybody: whoever asked is told through a closure, at the latest when their patience is over.

use super::deliver::deliver;
use super::depth::{Depth, Place};
use super::graveyard::Graveyard;
use super::lane::Lane;
use super::plan::Plan;
use crate::config::Settings;
use crate::model::{Device, Push, PushResult, Report};
use crate::stats::Stats;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What every push of this sender shares. It lives on one thread.
pub(super) struct Engine {
    lanes: Vec<Rc<Lane>>,
    stats: Arc<Stats>,
    graveyard: Graveyard,
    depth: Arc<Depth>,
}

/// Told once: all results are in, or the patience is over.
pub(super) type Done = Box<dyn FnOnce(Report)>;

impl Engine {
    pub(super) fn new(
        plan: &Plan,
        settings: &Settings,
        stats: &Arc<Stats>,
        depth: &Arc<Depth>,
    ) -> Rc<Engine> {
        Rc::new(Engine {
            lanes: plan.open(),
            stats: Arc::clone(stats),
            graveyard: Graveyard::new(settings.store_path.clone()),
            depth: Arc::clone(depth),
        })
    }

    /// Starts a call's pushes. `done` is told when all have ended, at the latest after `patience`; the pushes themselves go
    /// on until they have ended.
    pub(super) fn start(
        self: &Rc<Self>,
        pushes: Vec<(Push, Place)>,
        patience: Option<Duration>,
        done: impl FnOnce(Report) + 'static,
    ) {
        let gathering = Rc::new(Gathering::new(pushes.len(), Box::new(done)));
        gathering.tell_if_complete();
        if let Some(patience) = patience.filter(|_| !pushes.is_empty()) {
            let gathering = Rc::clone(&gathering);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(patience).await;
                gathering.tell();
            });
        }
        for (push, place) in pushes {
            let (engine, gathering) = (Rc::clone(self), Rc::clone(&gathering));
            tokio::task::spawn_local(async move {
                let lane = engine.lane_for(&push.device);
                let result = deliver(&push, lane, &engine.stats, &engine.graveyard).await;
                drop(place);
                gathering.add(result);
            });
        }
    }

    fn lane_for(&self, device: &Device) -> Option<&Rc<Lane>> {
        self.lanes.iter().find(|lane| lane.serves(device))
    }

    /// Waits until nothing is under way, at most `grace`, and says in the log what was lost.
    pub(super) async fn drain(&self, grace: Duration) {
        if timeout(grace, self.depth.until_empty()).await.is_err() {
            log::warn!("the sender stops with {} pushes unanswered", self.depth.now());
        }
    }
}

/// A call's results so far, and who wants to know.
struct Gathering {
    report: RefCell<Report>,
    done: RefCell<Option<Done>>,
}

impl Gathering {
    fn new(devices: usize, done: Done) -> Self {
        let report = Report { devices, results: Vec::with_capacity(devices) };
        Gathering { report: RefCell::new(report), done: RefCell::new(Some(done)) }
    }

    fn add(&self, result: PushResult) {
        self.report.borrow_mut().results.push(result);
        self.tell_if_complete();
    }

    fn tell_if_complete(&self) {
        let report = self.report.borrow();
        if report.results.len() == report.devices {
            drop(report);
            self.tell();
        }
    }

    fn tell(&self) {
        if let Some(done) = self.done.take() {
            done(self.report.take());
        }
    }
}
