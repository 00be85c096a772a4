//! The sender's own handle on the token store, used on a thread that may wait for the disk.
//!
//! It refuses to fail a push: what cannot be written is counted and logged, and will be learned again.

use crate::config::{Settings, StoreSettings};
use crate::stats::{Counter, Stats};
use crate::store::{self, StoreError, TokenStore};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Records {
    settings: StoreSettings,
    stats: Arc<Stats>,
    store: Arc<Mutex<Option<Box<dyn TokenStore>>>>,
}

impl Records {
    pub(super) fn new(settings: &Settings, stats: &Arc<Stats>) -> Self {
        Records { settings: settings.store.clone(), stats: Arc::clone(stats), store: Arc::default() }
    }

    /// Does `work` with the store; `None` where it could not be done, with `what` it was in the log.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&mut dyn TokenStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let (settings, store) = (self.settings.clone(), Arc::clone(&self.store));
        let writing = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            work(opened(&mut store, &settings)?)
        });
        match writing.await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => {
                self.stats.count(Counter::StoreFailed);
                log::warn!("{what} could not be written: {error}");
            }
            Err(_) => log::error!("{what} ended in a panic"),
        }
        None
    }
}

fn opened<'a>(
    store: &'a mut Option<Box<dyn TokenStore>>,
    settings: &StoreSettings,
) -> Result<&'a mut dyn TokenStore, StoreError> {
    match store {
        Some(open) => Ok(&mut **open),
        None => Ok(&mut **store.insert(store::open(settings)?)),
    }
}
