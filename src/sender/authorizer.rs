//! A key's authorization: made once for all who send with that key, renewed ahead of its end, kept while it works.
//!
//! It refuses to throw away what the provider takes because our wall clock was set: age is measured by the steady clock.

use crate::clock::since_1970;
use crate::model::Outcome;
use crate::provider::{Authorization, PushProvider};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The wall clock may be off from the steady one by this much before it counts as set.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

pub(super) struct Authorizer {
    provider: Arc<dyn PushProvider>,
    held: RefCell<Option<Rc<Held>>>,
    /// Held while an authorization is made, so that many pushes at once make one.
    renewing: Mutex<()>,
    wall_clock: fn() -> Duration,
}

/// An authorization and when it was made, by the steady clock and by the wall clock.
struct Held {
    authorization: Rc<Authorization>,
    made_at: Instant,
    made_at_wall: Duration,
    /// True once a provider has accepted it, whatever the clock was then.
    works: Cell<bool>,
}

impl Held {
    fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    /// True when the wall clock was set since: the time that we wrote into it may lie in the future or in the past.
    fn clock_has_jumped(&self, wall: Duration) -> bool {
        wall.abs_diff(self.made_at_wall + self.age()) > CLOCK_TOLERANCE
    }

    /// Made by a clock that was wrong, as it seems, and never accepted.
    fn is_dubious(&self, wall: Duration) -> bool {
        !self.works.get() && self.clock_has_jumped(wall)
    }
}

impl Authorizer {
    pub(super) fn new(provider: Arc<dyn PushProvider>) -> Rc<Authorizer> {
        Self::with_clock(provider, since_1970)
    }

    fn with_clock(provider: Arc<dyn PushProvider>, wall_clock: fn() -> Duration) -> Rc<Authorizer> {
        Rc::new(Authorizer { provider, held: RefCell::new(None), renewing: Mutex::new(()), wall_clock })
    }

    /// The one in use, while it works. Nobody waits for a new one until then.
    pub(super) fn held(self: &Rc<Self>) -> Option<Rc<Authorization>> {
        let held = self.held.borrow();
        let held = held.as_ref().filter(|held| !held.is_dubious((self.wall_clock)()))?;
        let age = held.age();
        if age >= held.authorization.expires_after {
            return None;
        }
        if age >= held.authorization.renew_after {
            self.renew_in_background(held);
        }
        Some(Rc::clone(&held.authorization))
    }

    /// The one in use, or a new one.
    pub(super) async fn get(self: &Rc<Self>) -> Result<Rc<Authorization>, Outcome> {
        match self.held() {
            Some(authorization) => Ok(authorization),
            None => {
                let held = self.held.borrow().clone();
                self.renew(held).await
            }
        }
    }

    /// A provider has accepted it.
    pub(super) fn works(&self, accepted: &Authorization) {
        if let Some(held) = self.held.borrow().as_ref()
            && Arc::ptr_eq(&held.authorization.value, &accepted.value)
        {
            held.works.set(true);
        }
    }

    /// False where another one was made since.
    pub(super) fn is_current(&self, one: &Authorization) -> bool {
        let held = self.held.borrow();
        held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.authorization.value, &one.value))
    }

    /// True when the wall clock was set since the one in use was made.
    pub(super) fn clock_has_jumped(&self) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.clock_has_jumped((self.wall_clock)()))
    }

    /// The next one that is asked for will be new.
    pub(super) fn forget(&self) {
        self.held.replace(None);
    }

    fn renew_in_background(self: &Rc<Self>, old: &Rc<Held>) {
        if self.renewing.try_lock().is_err() {
            return;
        }
        let (authorizer, old) = (Rc::clone(self), Rc::clone(old));
        tokio::task::spawn_local(async move {
            if let Err(outcome) = authorizer.renew(Some(old)).await {
                log::warn!("{}: not renewed yet: {}", authorizer.provider.name(), outcome.reason());
            }
        });
    }

    /// Makes a new one unless somebody else did so since `old` was read.
    async fn renew(&self, old: Option<Rc<Held>>) -> Result<Rc<Authorization>, Outcome> {
        let _turn = self.renewing.lock().await;
        if let Some(held) = self.held.borrow().as_ref()
            && old.as_ref().is_none_or(|old| !Rc::ptr_eq(old, held))
        {
            return Ok(Rc::clone(&held.authorization));
        }
        let provider = Arc::clone(&self.provider);
        let (made_at, made_at_wall) = (Instant::now(), (self.wall_clock)());
        let making = tokio::task::spawn_blocking(move || {
            provider.authorize(i64::try_from(made_at_wall.as_secs()).unwrap_or(i64::MAX))
        });
        let authorization = making
            .await
            .map_err(|_| Outcome::Unavailable { reason: "the authorization's thread ended".to_owned() })??;
        let authorization = Rc::new(authorization);
        let held =
            Held { authorization: Rc::clone(&authorization), made_at, made_at_wall, works: Cell::new(false) };
        self.held.replace(Some(Rc::new(held)));
        Ok(authorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Device, Provider, Push};
    use crate::provider::{Answer, Blame};
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    thread_local! {
        static CLOCK: Cell<Duration> = const { Cell::new(NOW) };
    }

    /// Makes numbered authorizations; each waits for a word where there is somebody to give it.
    struct Maker {
        made: AtomicUsize,
        renew_after: Duration,
        expires_after: Duration,
        word: Option<std::sync::Mutex<Receiver<()>>>,
    }

    impl PushProvider for Maker {
        fn provider(&self) -> Provider {
            Provider::Apns
        }
        fn name(&self) -> String {
            "maker".to_owned()
        }
        fn signer(&self) -> String {
            "maker".to_owned()
        }
        fn app<'a>(&'a self, _: &'a Device) -> &'a str {
            ""
        }
        fn serves(&self, _: &Device) -> bool {
            true
        }
        fn request(&self, _: &Push, _: &Authorization) -> Result<http::Request<Bytes>, Outcome> {
            Ok(http::Request::default())
        }
        fn outcome(&self, _: &Answer) -> Outcome {
            Outcome::Accepted
        }
        fn blame(&self, _: &str) -> Blame {
            Blame::Push
        }
        fn authorize(&self, _: i64) -> Result<Authorization, Outcome> {
            if let Some(word) = &self.word {
                word.lock().unwrap().recv().unwrap();
            }
            let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
            Authorization::new(&number.to_string(), self.renew_after, self.expires_after)
        }
    }

    fn authorizer(renew_after: Duration, expires_after: Duration) -> (Rc<Authorizer>, Sender<()>) {
        let (say, word) = channel();
        let word = Some(std::sync::Mutex::new(word));
        let maker = Maker { made: AtomicUsize::new(0), renew_after, expires_after, word };
        CLOCK.set(NOW);
        (Authorizer::with_clock(Arc::new(maker), || CLOCK.get()), say)
    }

    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    async fn get(authorizer: &Rc<Authorizer>) -> String {
        authorizer.get().await.unwrap().value.to_string()
    }

    #[test]
    fn many_at_once_make_one_and_it_is_kept() {
        run(async {
            let (authorizer, say) = authorizer(HOUR, HOUR);
            let asked: Vec<_> = (0..50)
                .map(|_| {
                    let authorizer = Rc::clone(&authorizer);
                    tokio::task::spawn_local(async move { get(&authorizer).await })
                })
                .collect();
            (0..50).for_each(|_| say.send(()).unwrap());
            for one in asked {
                assert_eq!(one.await.unwrap(), "1");
            }
            assert_eq!(get(&authorizer).await, "1");
        });
    }

    #[test]
    fn it_is_renewed_ahead_once_and_nobody_waits_for_that() {
        run(async {
            let (authorizer, say) = authorizer(Duration::ZERO, HOUR);
            say.send(()).unwrap();
            assert_eq!(get(&authorizer).await, "1");
            for _ in 0..50 {
                // No word was given: whoever waited for the second would hang here.
                assert_eq!(get(&authorizer).await, "1");
                tokio::task::yield_now().await;
            }
            say.send(()).unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            while authorizer.held.borrow().as_ref().is_some_and(|held| &*held.authorization.value == "1") {
                assert!(Instant::now() < end, "it was never renewed");
                tokio::task::yield_now().await;
            }
            assert_eq!(get(&authorizer).await, "2");
        });
    }

    #[test]
    fn one_that_is_too_old_is_never_used_whatever_the_wall_clock_says() {
        run(async {
            let (authorizer, say) = authorizer(Duration::ZERO, Duration::ZERO);
            (0..3).for_each(|_| say.send(()).unwrap());
            assert_eq!(get(&authorizer).await, "1");
            authorizer.works(&authorizer.held.borrow().as_ref().unwrap().authorization);
            assert_eq!(get(&authorizer).await, "2");
            CLOCK.set(NOW - 24 * HOUR);
            assert_eq!(get(&authorizer).await, "3");
        });
    }

    #[test]
    fn a_clock_that_jumps_leaves_what_works_and_replaces_once_what_was_never_accepted() {
        for (then, works, expected) in [
            (NOW + 24 * HOUR, true, "1"),
            (NOW - 24 * HOUR, true, "1"),
            (NOW + 24 * HOUR, false, "2"),
            (NOW - 24 * HOUR, false, "2"),
            (NOW + Duration::from_secs(60), false, "1"),
        ] {
            run(async move {
                let (authorizer, say) = authorizer(HOUR, HOUR);
                (0..3).for_each(|_| say.send(()).unwrap());
                let first = authorizer.get().await.unwrap();
                if works {
                    authorizer.works(&first);
                }
                CLOCK.set(then);
                assert_eq!(get(&authorizer).await, expected, "{then:?} {works}");
                assert_eq!(get(&authorizer).await, expected, "not again and again");
                assert_eq!(authorizer.is_current(&first), expected == "1");
            });
        }
    }
}
