//! The settings in force: the same in every process of a server, also after an administrator has had them read again.
//!
//! It refuses to put anything in force that was not checked whole, and to let two processes read the same files at two moments: one
//! reads them, and the others get what it has read.

use super::files::Files;
use super::{ConfigError, Settings, load};
use crate::process::{Handover, MOST_HANDED_OVER, PerProcess, Stamp};
use log::LevelFilter;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The settings in force. Made before the fork, so that every process finds what another has put in force.
pub struct InForce {
    id: u64,
    first: Arc<Settings>,
    handover: Handover,
    own: PerProcess<Mutex<Known>>,
    apply_level: fn(LogLevel),
}

/// How much is logged, and whether somebody has asked for it at run time rather than in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel {
    /// How much.
    pub level: LevelFilter,
    /// It is not what the file says.
    pub is_asked: bool,
}

/// New settings have been put in force.
#[derive(Debug)]
pub struct Change {
    /// What is in force now.
    pub settings: Arc<Settings>,
    /// How often that was done since the start.
    pub generation: u64,
    /// Keys whose new value is not in force: it takes effect when the server is started again.
    pub after_restart: Vec<&'static str>,
}

/// What a process, or a thread, knows of them.
#[derive(Clone)]
struct Known {
    of: u64,
    stamp: Stamp,
    settings: Arc<Settings>,
}

thread_local! {
    /// What this thread knows, so that it finds its settings without a lock.
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

impl InForce {
    /// These settings, until others are put in force. `apply_level` is called in each process when how much is logged has changed.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new(first: Settings, apply_level: fn(LogLevel)) -> io::Result<InForce> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let (first, handover) = (Arc::new(first), Handover::new()?);
        Ok(InForce { id, first, handover, own: PerProcess::new(), apply_level })
    }

    /// Stands for what is in force: whoever has seen another stamp looks again.
    pub fn stamp(&self) -> Stamp {
        self.handover.stamp()
    }

    /// What is in force at this moment.
    pub fn now(&self) -> Arc<Settings> {
        let stamp = self.stamp();
        if stamp == Stamp::default() {
            return Arc::clone(&self.first);
        }
        let is_it = |known: &&Known| known.of == self.id && known.stamp == stamp;
        let known =
            KNOWN.try_with(|known| known.borrow().as_ref().filter(is_it).map(|it| Arc::clone(&it.settings)));
        known.ok().flatten().unwrap_or_else(|| self.catch_up())
    }

    /// Reads the files again, this one or the one in force, and puts them in force in all processes. `accept` has the last word: it
    /// is asked when everything else is found right, and by one process at a time.
    ///
    /// # Errors
    /// What is wrong, as one line; everything stays as it was then.
    pub fn change(
        &self,
        file: Option<&Path>,
        accept: impl FnOnce(&Settings) -> Result<(), ConfigError>,
    ) -> Result<Change, ConfigError> {
        let before = self.now();
        let file = file.unwrap_or(&before.file);
        let refuse = |why: &str| ConfigError::new(file, "reload", why);
        let turn = self.handover.turn().ok_or_else(|| refuse("another one is under way; try again"))?;
        let files = Files::on_disk(file);
        let mut settings = load::load(&files)?;
        let after_restart = self.keep_what_cannot_change(&mut settings);
        let text = files.hand_over();
        if text.len() > MOST_HANDED_OVER {
            return Err(refuse(
                "the file and those that it names are larger than 2 MiB together; shorten ca_file",
            ));
        }
        accept(&settings)?;
        let stamp = turn.publish(&text);
        let settings = Arc::new(settings);
        self.know(Known { of: self.id, stamp, settings: Arc::clone(&settings) });
        Ok(Change { settings, generation: stamp.generation(), after_restart })
    }

    /// How much is logged.
    pub fn log_level(&self) -> LogLevel {
        level(self.stamp(), &self.now())
    }

    /// Changes how much is logged, in all processes, until the settings are read again.
    ///
    /// # Errors
    /// The settings are being read again right now.
    pub fn set_log_level(&self, level: LevelFilter) -> Result<(), ConfigError> {
        let busy = || ConfigError::new(&self.first.file, "log level", "a reload is under way; try again");
        self.handover.turn().ok_or_else(busy)?.put_beside(level as u8 + 1);
        self.now();
        Ok(())
    }

    /// What was made before the fork, or is shared with other programs, stays as it is.
    fn keep_what_cannot_change(&self, settings: &mut Settings) -> Vec<&'static str> {
        let mut kept = Vec::new();
        if (&settings.store, &settings.state_directory) != (&self.first.store, &self.first.state_directory) {
            settings.store.clone_from(&self.first.store);
            settings.state_directory.clone_from(&self.first.state_directory);
            kept.push("[store]");
        }
        if settings.timeline != self.first.timeline {
            settings.timeline.clone_from(&self.first.timeline);
            kept.push("[timeline]");
        }
        let (sip, first) = (&mut settings.sip, &self.first.sip);
        if (sip.purr, &sip.purr_key_file) != (first.purr, &first.purr_key_file) {
            sip.purr = first.purr;
            sip.purr_key_file.clone_from(&first.purr_key_file);
            kept.push("[sip] purr");
        }
        kept
    }

    /// Takes over what another process, or another thread, has put in force.
    fn catch_up(&self) -> Arc<Settings> {
        let own = self.own();
        let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp();
        if own.stamp != stamp {
            let is_new = own.stamp.generation() != stamp.generation();
            let (stamp, settings) =
                if is_new { self.take_over(&own.settings) } else { (stamp, Arc::clone(&own.settings)) };
            (own.stamp, own.settings) = (stamp, settings);
            (self.apply_level)(level(own.stamp, &own.settings));
        }
        let settings = Arc::clone(&own.settings);
        // A thread that is ending has no place for it any more, and asks each time.
        let _ = KNOWN.try_with(|known| known.replace(Some(own.clone())));
        settings
    }

    fn take_over(&self, before: &Arc<Settings>) -> (Stamp, Arc<Settings>) {
        let (stamp, text) = self.handover.read();
        let not_ours = || ConfigError::new(&self.first.file, "reload", "it cannot be taken over");
        let settings = Files::handed_over(&text).ok_or_else(not_ours).and_then(|files| load::load(&files));
        match settings {
            Ok(mut settings) => {
                self.keep_what_cannot_change(&mut settings);
                (stamp, Arc::new(settings))
            }
            // The same bytes were found right by the same code in another process.
            Err(why) => {
                log::error!("{why}; this process goes on with the settings before; please report it");
                (stamp, Arc::clone(before))
            }
        }
    }

    /// Notes what this process has put in force itself.
    fn know(&self, known: Known) {
        let own = self.own();
        *own.lock().unwrap_or_else(PoisonError::into_inner) = known.clone();
        (self.apply_level)(level(known.stamp, &known.settings));
        let _ = KNOWN.try_with(|place| place.replace(Some(known)));
    }

    fn own(&self) -> Arc<Mutex<Known>> {
        let first = || {
            let known = Known { of: self.id, stamp: Stamp::default(), settings: Arc::clone(&self.first) };
            Ok::<_, Infallible>(Mutex::new(known))
        };
        match self.own.get_or_try_make(first) {
            Ok(own) => own,
        }
    }
}

fn level(stamp: Stamp, settings: &Settings) -> LogLevel {
    let asked = usize::from(stamp.beside()).checked_sub(1);
    let asked = asked.and_then(|asked| LevelFilter::iter().find(|level| *level as usize == asked));
    LogLevel { level: asked.unwrap_or(settings.log_level), is_asked: asked.is_some() }
}
