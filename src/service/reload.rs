//! Changing it while it runs: the configuration is read again and put in force in all processes, and how much is logged is
//! changed.
//!
//! It refuses a configuration that is not right as a whole: then everything stays as it was, and one line says why.

use super::{Error, Service, counted};
use crate::config::{Change, LogLevel, Settings};
use crate::model::Invalid;
use crate::sender::Sender;
use crate::stats::Counter;
use std::path::Path;
use std::str::FromStr;

/// What a reload has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// How often that was done since the start.
    pub generation: u64,
    /// Keys whose new value takes effect only when the server is started again.
    pub after_restart: Vec<&'static str>,
    /// What is odd but no reason to refuse it, as at the start.
    pub warnings: Vec<String>,
}

impl Service {
    /// Reads the configuration again, this file or the one in force, and everything that it names, and puts it in force in all
    /// processes of the server. Pushes under way go on as they began. It blocks on the files for some milliseconds.
    ///
    /// # Errors
    /// `Config`: what is wrong, as at the start. Nothing has changed then.
    pub fn reload(&self, file: Option<&Path>) -> Result<Reloaded, Error> {
        let mut uncounted = Vec::new();
        let accept = |settings: &Settings| {
            Sender::check(settings)?;
            self.guesses.set_limit(settings.wrong_keys_per_minute);
            uncounted = self.stats.add_counted(counted(settings));
            Ok(())
        };
        match self.in_force.change(file, accept) {
            Ok(change) => Ok(self.reloaded(change, &uncounted)),
            Err(why) => {
                self.stats.count(Counter::ReloadsRefused);
                log::error!("reload refused, all settings stay as they were: {why}");
                Err(Error::Config(why))
            }
        }
    }

    fn reloaded(&self, change: Change, uncounted: &[String]) -> Reloaded {
        let Change { settings, generation, after_restart } = change;
        self.stats.count(Counter::Reloads);
        let mut warnings = settings.warnings.clone();
        warnings.extend(uncounted.iter().map(|name| {
            format!("there is no room to count {name} under its own name until the server is started again")
        }));
        for key in &after_restart {
            log::warn!("reload: the new value of {key} takes effect when the server is started again");
        }
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
        log::info!("reloaded {}: generation {generation}", settings.file.display());
        self.tell_of_change();
        Reloaded { generation, after_restart, warnings }
    }

    /// The sender looks by itself when it is given something to do; this is for connections that are needed no more.
    fn tell_of_change(&self) {
        let told = match self.sender.get() {
            Some(sender) => sender.look_at_settings().map_err(Error::from),
            None if self.has_sender_process() => self.with_sender(|sender| Ok(sender.look_at_settings()?)),
            None => Ok(()),
        };
        if let Err(error) = told {
            log::debug!("the sender looks at its settings later: {error}");
        }
    }

    /// How much is logged.
    pub fn log_level(&self) -> LogLevel {
        self.in_force.log_level()
    }

    /// Changes how much is logged, in all processes, until the next reload.
    ///
    /// # Errors
    /// `Argument`, where it is no level, or `Config`, where a reload is under way.
    pub fn set_log_level(&self, level: &str) -> Result<(), Error> {
        let unknown = |_| Invalid::new("level", "is none of off, error, warn, info, debug, trace");
        let level = log::LevelFilter::from_str(level).map_err(unknown)?;
        self.in_force.set_log_level(level).map_err(Error::Config)?;
        self.tell_of_change();
        Ok(())
    }
}
