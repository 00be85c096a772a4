//! The sender's own handle on the token store, used on a thread that may wait for the disk.
//!
//! It refuses to fail a push: what cannot be written is counted and logged, and will be learned again.

use crate::clock::now_ms;
use crate::stats::{Counter, Stats};
use crate::store::{StoreError, Stores, TokenStore};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Records {
    stores: Stores,
    stats: Arc<Stats>,
    store: Arc<Mutex<Option<Box<dyn TokenStore>>>>,
}

impl Records {
    pub(super) fn new(stores: &Stores, stats: &Arc<Stats>) -> Self {
        Records { stores: stores.clone(), stats: Arc::clone(stats), store: Arc::default() }
    }

    /// Does `work` with the store; `None` where it could not be done, with `what` it was in the log.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&mut dyn TokenStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let (stores, store) = (self.stores.clone(), Arc::clone(&self.store));
        let writing = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            work(opened(&mut store, &stores)?)
        });
        match writing.await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => {
                self.stats.count(Counter::StoreFailed);
                // That the engine is away, or refuses us, is said once.
                let level = if error.is_told() { log::Level::Debug } else { log::Level::Warn };
                log::log!(level, "{what} could not be written: {error}");
            }
            Err(_) => log::error!("{what} ended in a panic"),
        }
        None
    }
}

/// Others may have ended in the middle of a change; each second a little of what they left is finished.
const TIDY_EACH: Duration = Duration::from_secs(1);

/// Goes on for as long as the sender does. Only a store that several machines share is ever left in the middle of something.
pub(super) async fn keep_tidy(records: Rc<Records>) {
    loop {
        tokio::time::sleep(TIDY_EACH).await;
        let (stores, store) = (records.stores.clone(), Arc::clone(&records.store));
        let tidying = tokio::task::spawn_blocking(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            opened(&mut store, &stores)?.tidy(now_ms())
        });
        if let Ok(Err(error)) = tidying.await {
            log::debug!("what others have left undone in the store stays so for now: {error}");
        }
    }
}

fn opened<'a>(
    store: &'a mut Option<Box<dyn TokenStore>>,
    stores: &Stores,
) -> Result<&'a mut dyn TokenStore, StoreError> {
    match store {
        Some(open) => Ok(&mut **open),
        None => Ok(&mut **store.insert(stores.open()?)),
    }
}
