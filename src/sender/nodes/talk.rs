//! Tells the other machines' senders: writes into the stream that they read.
//!
//! It refuses to keep what is too old to be of use, and more than a bounded number of words while the engine is away.

use super::Common;
use crate::engine::{Engine, EngineError, cmd};
use crate::stats::Counter;
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Words that wait while the engine is away.
pub(super) const MOST_WAITING: usize = 50_000;
/// Words in one entry.
const MOST_AT_ONCE: usize = 100;
/// Entries of the stream, about: some ten MB.
pub(super) const LENGTH: usize = 100_000;
/// How long after one that failed the next attempt is made.
const PAUSE: Duration = Duration::from_millis(200);

/// A word, and when it was said.
pub(super) type Said = (Instant, Vec<u8>);

/// Writes until nobody has anything to say any more.
pub(super) fn talk(common: &Common, words: &Receiver<Said>) {
    let mut engine = Engine::new(&common.settings);
    let mut is_away = false;
    while let Ok(first) = words.recv() {
        let more = words.try_iter().take(MOST_AT_ONCE - 1);
        let mut batch: Vec<Said> = std::iter::once(first).chain(more).collect();
        while let Err(error) = write(common, &mut engine, &batch) {
            if !std::mem::replace(&mut is_away, true) {
                log::warn!("other machines are not told which phones register: {error}");
            }
            sleep(PAUSE);
            let had = batch.len();
            batch.retain(|(at, _)| at.elapsed() < super::OLDEST);
            common.stats.add(Counter::NodeWordsDropped, (had - batch.len()) as u64);
            if batch.is_empty() {
                break;
            }
        }
        if !batch.is_empty() {
            common.stats.add(Counter::NodeWordsSaid, batch.len() as u64);
            if std::mem::take(&mut is_away) {
                log::info!("other machines are told again which phones register");
            }
        }
    }
}

fn write(common: &Common, engine: &mut Engine, batch: &[Said]) -> Result<(), EngineError> {
    let mut add = cmd("XADD");
    add.arg(common.key(super::STREAM)).arg("MAXLEN").arg("~").arg(LENGTH).arg("*");
    add.arg("by").arg(&*common.me);
    for (at, word) in batch {
        let waited_ms = at.elapsed().as_millis().to_string();
        add.arg("word").arg([waited_ms.as_bytes(), b"\0", word].concat());
    }
    engine.run(&add, common.settings.write).map(drop)
}
