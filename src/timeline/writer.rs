//! The thread that writes the events of one process into the file, a second's worth at a time.
//!
//! It refuses to pile up: what the disk does not take in time is thrown away and counted.

use crate::config::TimelineSettings;
use crate::model::{Event, Happening};
use crate::stats::{Counter, Stats};
use crate::store::{StoreError, TimelineFile};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WRITE_EVERY: Duration = Duration::from_millis(500);
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// Events that may wait to be written.
const MOST_WAITING: usize = 50_000;
/// A call is known for so long at least, and twice as long at the most; longer than any call rings.
const KNOWN: Duration = Duration::from_secs(900);

pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    settings: TimelineSettings,
    stats: Arc<Stats>,
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    waiting: Vec<Happening>,
    ends: bool,
    admission: Admission,
}

/// Which calls are kept: so many a second, each from its beginning.
struct Admission {
    second: Instant,
    this_second: u32,
    known: HashSet<u64>,
    known_before: HashSet<u64>,
    turned: Instant,
}

impl Writer {
    pub fn start(settings: &TimelineSettings, stats: &Arc<Stats>) -> Writer {
        let now = Instant::now();
        let admission = Admission {
            second: now,
            this_second: 0,
            known: HashSet::new(),
            known_before: HashSet::new(),
            turned: now,
        };
        let state = Mutex::new(State { waiting: Vec::new(), ends: false, admission });
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            stats: Arc::clone(stats),
            state,
            news: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("voip_push events".to_owned()).spawn(move || own.run());
        let thread = thread.inspect_err(|error| log::error!("no timelines: {error}")).ok();
        Writer { shared, thread }
    }

    /// Whether an event of this call is to be kept.
    pub fn wants(&self, call_id: &str, event: Event) -> bool {
        let mut state = self.shared.lock();
        let is_wanted =
            state.admission.admits(call_id, event, self.shared.settings.calls_per_second, Instant::now());
        if !is_wanted && event.is_first() {
            self.shared.stats.count(Counter::TimelineSkipped);
        }
        is_wanted
    }

    pub fn take(&self, happening: Happening) {
        let mut state = self.shared.lock();
        if state.waiting.len() < MOST_WAITING {
            state.waiting.push(happening);
        } else {
            self.shared.stats.count(Counter::TimelineSkipped);
        }
    }

    /// Writes what is not written yet, and waits for it.
    pub fn finish(self) {
        self.shared.lock().ends = true;
        self.shared.news.notify_all();
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut file = None;
        let mut forgotten_at: Option<Instant> = None;
        let mut is_told = false;
        loop {
            let (batch, ends) = self.wait();
            match self.write(&mut file, &batch, &mut forgotten_at) {
                Ok(()) => is_told = false,
                Err(error) => {
                    self.stats.add(Counter::TimelineSkipped, batch.len() as u64);
                    file = None;
                    if !is_told {
                        log::warn!("what happens to calls is not kept for now: {error}");
                    }
                    is_told = true;
                }
            }
            if ends {
                return;
            }
        }
    }

    fn wait(&self) -> (Vec<Happening>, bool) {
        let state = self.lock();
        let waited = self.news.wait_timeout_while(state, WRITE_EVERY, |state| !state.ends);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.waiting), state.ends)
    }

    fn write(
        &self,
        file: &mut Option<TimelineFile>,
        batch: &[Happening],
        forgotten_at: &mut Option<Instant>,
    ) -> Result<(), StoreError> {
        let file = match file {
            Some(file) => file,
            None => file.insert(TimelineFile::open(&self.settings.file)?),
        };
        if !batch.is_empty() {
            file.add(batch)?;
        }
        if forgotten_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            let kept_ms = i64::try_from(self.settings.keep.as_millis()).unwrap_or(i64::MAX);
            let now_ms = crate::clock::now_ms();
            if !file.forget_before(now_ms.saturating_sub(kept_ms))? {
                *forgotten_at = Some(Instant::now());
            }
        }
        Ok(())
    }
}

impl Admission {
    fn admits(&mut self, call_id: &str, event: Event, per_second: u32, now: Instant) -> bool {
        let mut hasher = DefaultHasher::new();
        call_id.hash(&mut hasher);
        let call = hasher.finish();
        if self.known.contains(&call) || self.known_before.contains(&call) {
            return true;
        }
        if !event.is_first() {
            return false;
        }
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.this_second) = (now, 0);
        }
        if self.this_second >= per_second {
            return false;
        }
        self.this_second += 1;
        if now.saturating_duration_since(self.turned) >= KNOWN {
            (self.known_before, self.turned) = (std::mem::take(&mut self.known), now);
        }
        self.known.insert(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(now: Instant) -> Admission {
        let (known, known_before) = (HashSet::new(), HashSet::new());
        Admission { second: now, this_second: 0, known, known_before, turned: now }
    }

    #[test]
    fn so_many_calls_a_second_are_kept_each_from_its_beginning() {
        let now = Instant::now();
        let mut all = admission(now);
        let mut admits = |call: &str, event, at| all.admits(call, event, 2, at);
        assert!(!admits("a", Event::Rings, now), "its beginning was not seen");
        assert!(admits("a", Event::HandedOver, now));
        assert!(admits("a", Event::HandedOver, now), "the second device of the same call");
        assert!(admits("b", Event::Spared, now));
        assert!(!admits("c", Event::HandedOver, now));
        assert!(admits("a", Event::Rings, now));
        assert!(admits("c", Event::HandedOver, now + Duration::from_secs(1)));
    }

    #[test]
    fn a_call_is_forgotten_some_time_after_it_was_heard_of() {
        let mut now = Instant::now();
        let mut all = admission(now);
        let mut admits = |call: &str, event, at| all.admits(call, event, 9, at);
        assert!(admits("a", Event::HandedOver, now));
        now += KNOWN;
        assert!(admits("b", Event::HandedOver, now));
        assert!(admits("a", Event::Answered, now));
        now += KNOWN;
        assert!(admits("c", Event::HandedOver, now));
        assert!(!admits("a", Event::Answered, now));
        assert!(admits("b", Event::Answered, now));
    }
}
