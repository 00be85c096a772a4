//! Where dead tokens go: out of the store, on a thread that may wait for the disk.
//!
//! It refuses to delete a token that was registered again after the provider found it dead.

use crate::model::Push;
use crate::stats::{Counter, Stats};
use crate::store::{SqliteStore, StoreError, TokenStore};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The sender's own handle on the token store, opened when the first token dies.
pub(super) struct Graveyard {
    path: PathBuf,
    store: Arc<Mutex<Option<SqliteStore>>>,
}

impl Graveyard {
    pub(super) fn new(path: PathBuf) -> Self {
        Graveyard { path, store: Arc::new(Mutex::new(None)) }
    }

    /// Deletes the pushed token if it was registered at or before `since_ms`.
    pub(super) async fn retire(&self, push: &Push, since_ms: i64, stats: &Stats) {
        let (path, store, device) = (self.path.clone(), Arc::clone(&self.store), push.device.clone());
        let deleting = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            opened(&mut store, path)?.retire(&device.user, &device.device_id, &device.token, since_ms)
        });
        match deleting.await {
            Ok(Ok(true)) => {
                stats.count(Counter::Retired);
                log::info!("retired user={} device={:?}", push.device.user.shortened(), push.device.token);
            }
            Ok(Ok(false)) => {
                log::info!("kept {:?}: it was registered again after it was found dead", push.device.token)
            }
            Ok(Err(error)) => {
                stats.count(Counter::StoreFailed);
                log::warn!("a dead token could not be deleted: {error}");
            }
            Err(_) => log::error!("deleting a dead token ended in a panic"),
        }
    }
}

fn opened(store: &mut Option<SqliteStore>, path: PathBuf) -> Result<&mut SqliteStore, StoreError> {
    match store {
        Some(open) => Ok(open),
        None => Ok(store.insert(SqliteStore::open(&path)?)),
    }
}
