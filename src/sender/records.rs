//! The sender's own handle on the token store, used on a thread that may wait for the disk.
//!
//! It refuses to fail a push: what cannot be written is counted and logged, and will be learned again.

use crate::config::Settings;
use crate::stats::{Counter, Stats};
use crate::store::{SqliteStore, StoreError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Records {
    path: PathBuf,
    stats: Arc<Stats>,
    store: Arc<Mutex<Option<SqliteStore>>>,
}

impl Records {
    pub(super) fn new(settings: &Settings, stats: &Arc<Stats>) -> Self {
        Records { path: settings.store_path.clone(), stats: Arc::clone(stats), store: Arc::default() }
    }

    /// Does `work` with the store; `None` where it could not be done, with `what` it was in the log.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let (path, store) = (self.path.clone(), Arc::clone(&self.store));
        let writing = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            work(opened(&mut store, path)?)
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

fn opened(store: &mut Option<SqliteStore>, path: PathBuf) -> Result<&mut SqliteStore, StoreError> {
    match store {
        Some(open) => Ok(open),
        None => Ok(store.insert(SqliteStore::open(&path)?)),
    }
}
