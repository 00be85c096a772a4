//! The sending thread: takes jobs, runs every push as a task of its own, and ends when told to.
//!
//! It refuses to die of a panic: a push that panics is one lost push, and the loop starts again.

use super::deliver::deliver;
use super::graveyard::Graveyard;
use super::lane::Lane;
use super::{Depth, Job, Message};
use crate::config::{ConfigError, Settings};
use crate::http2::{Client, Tls};
use crate::model::{Device, Environment};
use crate::provider::PushProvider;
use crate::provider::apns::Apns;
use crate::provider::fcm::Fcm;
use crate::stats::{Counter, Stats};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;
use tokio::time::{Duration, timeout};

/// What is made before the thread starts and can be checked while an operator is looking: keys, trust roots, no socket.
pub(super) struct Plan {
    lanes: Vec<(Arc<dyn PushProvider>, crate::config::Origin, Tls)>,
}

impl Plan {
    pub(super) fn new(settings: &Settings) -> Result<Plan, ConfigError> {
        let mut plan = Plan { lanes: Vec::new() };
        let default_environment =
            settings.apns.first().map_or(Environment::Production, |first| first.environment);
        for credential in &settings.apns {
            let tls = Tls::new(&credential.origin).map_err(|why| settings.error("[[apns]] ca_file", why))?;
            let provider = Apns::new(credential.clone(), default_environment);
            plan.lanes.push((Arc::new(provider), credential.origin.clone(), tls));
        }
        for credential in &settings.fcm {
            let refused = |why| settings.error("[[fcm]] ca_file", why);
            let tls = Tls::new(&credential.origin).map_err(refused)?;
            let provider = Fcm::new(credential.clone()).map_err(refused)?;
            plan.lanes.push((Arc::new(provider), credential.origin.clone(), tls));
        }
        Ok(plan)
    }

    fn open(&self) -> Vec<Rc<Lane>> {
        let lane = |(provider, origin, tls): &(Arc<dyn PushProvider>, _, Tls)| {
            Lane::new(Arc::clone(provider), Client::new(Clone::clone(origin), tls.clone()))
        };
        self.lanes.iter().map(lane).collect()
    }
}

/// What every push of this thread shares.
struct Engine {
    lanes: Vec<Rc<Lane>>,
    stats: Arc<Stats>,
    graveyard: Graveyard,
    depth: Arc<Depth>,
}

/// The body of the sending thread.
pub(super) fn run(
    plan: &Plan,
    settings: &Settings,
    stats: &Arc<Stats>,
    depth: &Arc<Depth>,
    mut messages: UnboundedReceiver<Message>,
) {
    loop {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let engine = Rc::new(Engine {
                lanes: plan.open(),
                stats: Arc::clone(stats),
                graveyard: Graveyard::new(settings.store_path.clone()),
                depth: Arc::clone(depth),
            });
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
            LocalSet::new().block_on(&runtime, engine.serve(&mut messages));
            // What still blocks (an OAuth2 exchange) is not waited for.
            runtime.shutdown_background();
            std::io::Result::Ok(())
        }));
        match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                log::error!("the sender cannot run: {error}");
                return;
            }
            Err(_) => {
                stats.count(Counter::Panics);
                log::error!("the sender panicked and starts again");
            }
        }
    }
}

impl Engine {
    async fn serve(self: Rc<Self>, messages: &mut UnboundedReceiver<Message>) {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Job(job) => self.start(job),
                Message::Stop(grace) => return self.drain(grace).await,
            }
        }
    }

    fn start(self: &Rc<Self>, job: Job) {
        for (push, queued) in job.pushes {
            let (engine, answers) = (Rc::clone(self), job.answers.clone());
            tokio::task::spawn_local(async move {
                let lane = engine.lane_for(&push.device);
                let result = deliver(&push, lane, &engine.stats, &engine.graveyard).await;
                // Nobody listens any more where the caller's patience was shorter.
                let _ = answers.send(result);
                drop(queued);
            });
        }
    }

    fn lane_for(&self, device: &Device) -> Option<&Rc<Lane>> {
        self.lanes.iter().find(|lane| lane.serves(device))
    }

    async fn drain(&self, grace: Duration) {
        if timeout(grace, self.depth.until_empty()).await.is_err() {
            log::warn!("the sender stops with {} pushes unanswered", self.depth.now());
        }
    }
}
