//! The heart of the sender, wherever it runs: every push is a task of its own, every call gets one report.
//!
//! It refuses to wait for anybody: whoever asked is told through a closure, at the latest when their patience is over.

use super::budget::Budget;
use super::deliver::Delivery;
use super::depth::{Depth, Place};
use super::events;
use super::gathering::Gathering;
use super::graveyard::{Graveyard, QuarantineAction};
use super::lane::Lane;
use super::nodes::{Nodes, Word};
use super::pairs::Pairs;
use super::patience::Patience;
use super::plan::Plan;
use super::pushed::Pushed;
use super::records::{Records, keep_tidy};
use super::stops::{Needless, Stops, Ticket};
use super::window::{Asked, Window};
use crate::config::{ConfigError, InForce, Settings};
use crate::model::{Call, Ended, Kind, Outcome, Push, PushResult, Report};
use crate::process::Stamp;
use crate::stats::{Counter, Stats};
use crate::store::Stores;
use crate::timeline::Timeline;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// While pushes are under way the loop wakes this often for nothing. A deadline earlier than all that tokio knew when it went
/// to sleep makes it write to its own event descriptor, which was seen once per push; behind this beat none is earlier.
const BEAT: Duration = Duration::from_millis(100);

/// What every push of this sender shares. It lives on one thread.
pub(super) struct Engine {
    in_force: Arc<InForce>,
    /// Stands for the settings that everything below is made of.
    stamp: Cell<Stamp>,
    lanes: RefCell<Rc<[Rc<Lane>]>>,
    pub(super) stats: Arc<Stats>,
    pub(super) records: Rc<Records>,
    pub(super) timeline: Timeline,
    pub(super) graveyard: Graveyard,
    pub(super) pairs: Pairs,
    depth: Arc<Depth>,
    patience: Rc<Patience>,
    window: RefCell<Window>,
    stops: Rc<Stops>,
    pushed: RefCell<Pushed>,
    /// The senders of other machines, where the token store is one that they may share.
    nodes: Option<Rc<Nodes>>,
    device_budget: RefCell<Budget>,
    caller_budget: RefCell<Budget>,
    has_beat: Cell<bool>,
}

/// A call's pushes, as they were handed over.
pub(super) struct Job {
    pub pushes: Vec<(Push, Place)>,
    /// How long somebody waits for the report; `None` is until every push has ended.
    pub patience: Option<Duration>,
    pub handed_over: Instant,
}

impl Engine {
    /// # Errors
    /// The settings in force cannot be sent with.
    pub(super) fn new(
        in_force: &Arc<InForce>,
        stats: &Arc<Stats>,
        stores: &Stores,
        depth: &Arc<Depth>,
        nodes: Option<Rc<Nodes>>,
    ) -> Result<Rc<Engine>, ConfigError> {
        let (stamp, settings) = (in_force.stamp(), in_force.now());
        let lanes = Plan::new(&settings)?.open(&[], stats);
        depth.set_limits(&settings);
        let records = Rc::new(Records::new(stores, stats));
        Ok(Rc::new(Engine {
            in_force: Arc::clone(in_force),
            stamp: Cell::new(stamp),
            lanes: RefCell::new(lanes.into()),
            stats: Arc::clone(stats),
            graveyard: Graveyard::new(settings.quarantine, &records, stats),
            records,
            timeline: Timeline::new(settings.timeline.clone(), stats),
            pairs: Pairs::new(settings.quarantine.pair, stats),
            depth: Arc::clone(depth),
            patience: Patience::new(),
            window: RefCell::new(Window::new(settings.ring)),
            stops: Rc::default(),
            pushed: RefCell::default(),
            nodes,
            device_budget: RefCell::new(Budget::new(settings.device_per_minute)),
            caller_budget: RefCell::new(Budget::new(settings.caller_per_minute)),
            has_beat: Cell::new(false),
        }))
    }

    /// Takes over the settings in force, where they are others than before; true where they were. What is under way goes on with what
    /// it began with, and what was learned is kept: only credentials that are no more lose their connections, as soon as nothing
    /// is under way on them.
    pub(super) fn follow(&self) -> bool {
        let stamp = self.in_force.stamp();
        if self.stamp.replace(stamp) == stamp {
            return false;
        }
        let settings = self.in_force.now();
        match Plan::new(&settings) {
            Ok(plan) => self.settle(&plan, &settings),
            // Whoever has put them in force has tried the same.
            Err(why) => log::error!("{why}; the sender goes on with the settings before; please report it"),
        }
        true
    }

    fn settle(&self, plan: &Plan, settings: &Settings) {
        let before = Rc::clone(&self.lanes.borrow());
        let lanes: Rc<[Rc<Lane>]> = plan.open(&before, &self.stats).into();
        let is_in = |lane: &Rc<Lane>, lanes: &[Rc<Lane>]| lanes.iter().any(|it| it.number() == lane.number());
        for lane in lanes.iter().filter(|lane| !is_in(lane, &before)) {
            log::info!("{}: the sender uses this credential from now on", lane.name());
        }
        for lane in before.iter().filter(|lane| !is_in(lane, &lanes)) {
            log::info!("{}: the sender uses this credential no more", lane.name());
        }
        self.pairs.settle(settings.quarantine.pair, &lanes);
        self.lanes.replace(lanes);
        self.graveyard.set_limits(settings.quarantine);
        self.depth.set_limits(settings);
        self.window.borrow_mut().set_length(settings.ring);
        self.device_budget.borrow_mut().set_limit(settings.device_per_minute);
        self.caller_budget.borrow_mut().set_limit(settings.caller_per_minute);
    }

    /// Starts a call's pushes. `done` is told when all have ended, at the latest after the job's patience; the pushes
    /// themselves go on until they have ended.
    pub(super) fn start(self: &Rc<Self>, job: Job, done: impl FnOnce(Report) + 'static) {
        let gathering = Rc::new(Gathering::new(job.pushes.len(), Box::new(done)));
        gathering.tell_if_complete();
        self.keep_a_beat();
        let devices = job.pushes.len();
        let ticket = job.pushes.first().map(|(push, _)| match push.kind {
            Kind::Call | Kind::Message(_) | Kind::Dialog => {
                self.stops.enter(&push.call, devices, job.handed_over)
            }
            Kind::Ended(_) | Kind::Missed | Kind::Refresh => self.stops.ticket_for_the_end(),
        });
        for ((push, place), ticket) in job.pushes.into_iter().zip(std::iter::repeat(ticket).flatten()) {
            self.start_push(push, place, job.handed_over, (&gathering, ticket));
        }
        if let Some(patience) = job.patience.filter(|_| !gathering.is_told()) {
            self.patience.begin(&gathering, patience);
        }
    }

    /// What goes on beside the pushes, once the sender's loop runs.
    pub(super) fn begin(&self) {
        tokio::task::spawn_local(Rc::clone(&self.patience).keep());
        if self.in_force.now().store.engine().is_some() {
            tokio::task::spawn_local(keep_tidy(Rc::clone(&self.records)));
        }
    }

    fn keep_a_beat(self: &Rc<Self>) {
        if self.has_beat.replace(true) {
            return;
        }
        let engine = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while engine.depth.now() > 0 {
                sleep(BEAT).await;
            }
            engine.has_beat.set(false);
        });
    }

    /// Starts a push, unless the same is known already.
    fn start_push(
        self: &Rc<Self>,
        push: Push,
        place: Place,
        handed_over: Instant,
        (who, ticket): (&Rc<Gathering>, Ticket),
    ) {
        match self.window.borrow_mut().ask(push.id(), who, Instant::now()) {
            Asked::First => {}
            Asked::UnderWay => return self.stats.count(Counter::Duplicates),
            Asked::Ended(result) => {
                self.stats.count(Counter::Duplicates);
                return who.add(result);
            }
        }
        if push.kind == Kind::Call {
            self.pushed.borrow_mut().note(&push);
        }
        events::note_start(&self.timeline, &push);
        let lanes = Rc::clone(&self.lanes.borrow());
        let (engine, is_sent) = (Rc::clone(self), Cell::new(false));
        let mut delivery = Delivery { engine, lanes, push, handed_over, ticket, is_sent };
        let who = Rc::clone(who);
        // In a box: tokio's tasks begin at multiples of 128 bytes, and glibc is slow to find such room where it is large.
        tokio::task::spawn_local(Box::pin(async move {
            let result = delivery.run().await;
            drop(place);
            delivery.engine.push_ended(delivery.push.id(), result, &who);
        }));
    }

    /// Tells all who asked for a push how it has ended; `first` has asked first.
    fn push_ended(&self, id: Uuid, result: PushResult, first: &Gathering) {
        let others = self.window.borrow_mut().end(id, &result);
        for other in others {
            self.tell(&other, result.clone());
        }
        self.tell(first, result);
    }

    fn tell(&self, who: &Gathering, result: PushResult) {
        who.add(result);
        if who.is_told() {
            self.patience.end(who);
        }
    }

    /// False for word of a call's end to a device that was not pushed for the call. Else the word says who had called.
    pub(super) fn is_for_a_pushed_device(&self, push: &mut Push) -> bool {
        if !push.kind.follows_a_call() {
            return true;
        }
        match self.pushed.borrow().caller(push) {
            Some(caller) => {
                push.call.caller = caller;
                true
            }
            None => {
                self.say_that_it_ended(push);
                false
            }
        }
    }

    /// Another machine has this push, for the same call came to it first. The phone is as good as pushed to.
    pub(super) async fn is_pushed_elsewhere(&self, push: &Push) -> bool {
        let may_be = matches!(push.kind, Kind::Call | Kind::Dialog);
        let Some(nodes) = self.nodes.as_ref().filter(|_| may_be) else { return false };
        // In a box: a push waits here for a moment, and room for that would be kept to its end.
        let is_others = Box::pin(nodes.is_pushed_elsewhere(push)).await;
        if is_others {
            events::note_elsewhere(&self.timeline, push);
        }
        is_others
    }

    /// A push has not reached its device from here.
    pub(super) fn forget(&self, push: &Push) {
        self.pushed.borrow_mut().forget(push);
    }

    /// Whoever else has pushed for this call tells its devices of its end.
    fn say_that_it_ended(&self, push: &Push) {
        let Call { callee, call_id, .. } = &push.call;
        let ended = match push.kind {
            Kind::Ended(ended) => ended,
            Kind::Missed => Ended::Cancelled,
            Kind::Call | Kind::Message(_) | Kind::Refresh | Kind::Dialog => return,
        };
        if let Some(nodes) = self.others_of(callee.as_str(), call_id) {
            let (user, call_id) = (callee.as_str().to_owned(), call_id.clone());
            nodes.say(&Word::Ended { user, call_id, ended });
        }
    }

    /// The other machines, where one of them has pushed for this call.
    fn others_of(&self, user: &str, call_id: &str) -> Option<&Nodes> {
        self.nodes.as_deref().filter(|nodes| nodes.has_pushed(user, call_id))
    }

    /// The senders of other machines.
    pub(super) fn nodes(&self) -> Option<&Rc<Nodes>> {
        self.nodes.as_ref()
    }

    /// What happens to calls, for later.
    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Refuses a push whose device or caller has had its share of this minute. What follows a call that was pushed is part of its
    /// share.
    pub(super) fn over_budget(&self, push: &Push) -> Option<Outcome> {
        if push.kind.follows_a_call() || push.kind == Kind::Refresh {
            return None;
        }
        let now = Instant::now();
        let refused = |counter, reason: &str| {
            self.stats.count(counter);
            Some(Outcome::Throttled { retry_after: None, reason: reason.to_owned() })
        };
        if !self.device_budget.borrow_mut().take(push.device.token.expose(), now) {
            return refused(Counter::DeviceBudget, "this device had its pushes of this minute");
        }
        let caller = &push.call.caller;
        if !self.caller_budget.borrow_mut().take((caller.number(), caller.host()), now) {
            return refused(Counter::CallerBudget, "this caller had its pushes of this minute");
        }
        None
    }

    /// Gives up what was not sent yet of a call's pushes, as far as they were handed over until `told_at`, here and on whatever other
    /// machine has pushed for it.
    pub(super) fn give_up_everywhere(&self, user: &str, call_id: &str, why: Needless, told_at: Instant) {
        self.give_up(user, call_id, why, told_at);
        if let Some(nodes) = self.others_of(user, call_id) {
            let (user, call_id) = (user.to_owned(), call_id.to_owned());
            nodes.say(&Word::GiveUp { user, call_id, why });
        }
    }

    /// The same here.
    pub(super) fn give_up(&self, user: &str, call_id: &str, why: Needless, told_at: Instant) {
        self.stops.stop(user, call_id, why, told_at);
    }

    /// Does with the quarantine what an administrator says. Pairs of credential and app are tried again either way.
    pub(super) fn decide(self: &Rc<Self>, action: QuarantineAction) {
        self.pairs.clear();
        let engine = Rc::clone(self);
        tokio::task::spawn_local(async move { engine.graveyard.decide(action).await });
    }

    /// Waits until nothing is under way, at most `grace`, and says in the log what was lost.
    pub(super) async fn drain(&self, grace: Duration) {
        if timeout(grace, self.depth.until_empty()).await.is_err() {
            let unanswered = self.depth.now();
            self.stats.add(Counter::LostAtStop, unanswered);
            log::warn!("the sender stops with {unanswered} pushes unanswered");
        }
        self.timeline.finish();
    }
}
