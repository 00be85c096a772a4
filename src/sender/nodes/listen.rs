//! Hears what the other machines' senders say: reads the stream on from the last entry that it has seen.
//!
//! It refuses to hand on what is too old to be of use, and says so where entries were lost.

use super::talk::LENGTH;
use super::{Common, Heard, OLDEST, STREAM};
use crate::clock::{now_ms, now_s};
use crate::engine::{Engine, EngineError, Place, Value, cmd, from_redis_value};
use crate::stats::Counter;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// How long one read waits for entries.
const BLOCK: Duration = Duration::from_secs(1);
/// Entries of one read.
const MOST_AT_ONCE: usize = 500;
/// How long after one that failed the next attempt is made.
const PAUSE: Duration = Duration::from_millis(200);

/// An entry's id: ms since 1970 by the engine's clock, and a number.
type Id = (u64, u64);
/// Id and fields.
type Entry = (String, Vec<Vec<u8>>);

/// Listens until nobody wants to hear any more.
pub(super) fn listen(common: &Common, heard: &Sender<Heard>) {
    let mut ear =
        Ear { common, heard, engine: Engine::new(&common.settings), from: None, seen: None, ahead_ms: 0 };
    let mut cut_off: Option<CutOff> = None;
    while !heard.is_closed() {
        let done = if cut_off.is_some() || ear.from.is_none() { ear.begin() } else { ear.read() };
        match done {
            Ok(()) => {
                if let Some(cut_off) = cut_off.take() {
                    common.stats.count(Counter::NodeReconnects);
                    log::log!(cut_off.level(), "other machines are heard again");
                }
            }
            Err(error) => {
                let cut_off = cut_off.get_or_insert_with(|| CutOff { since: Instant::now(), failures: 0 });
                cut_off.failures += 1;
                match cut_off.failures {
                    // A connection that the engine has closed, or a read that a signal has ended: the next may do.
                    1 => log::debug!("other machines are not heard: {error}"),
                    2 => log::warn!("other machines are not heard: {error}"),
                    _ => {}
                }
                common.stats.set(Counter::NodeLag, cut_off.since.elapsed().as_secs());
                sleep(PAUSE);
            }
        }
    }
}

/// Since when nobody is heard.
struct CutOff {
    since: Instant,
    failures: u64,
}

impl CutOff {
    /// Of the line that it is over: as of the one that it has begun.
    fn level(&self) -> log::Level {
        if self.failures > 1 { log::Level::Info } else { log::Level::Debug }
    }
}

struct Ear<'a> {
    common: &'a Common,
    heard: &'a Sender<Heard>,
    engine: Engine,
    /// After which entry the next read begins.
    from: Option<Id>,
    /// The last entry that was seen.
    seen: Option<Id>,
    /// By how much the engine's clock is ahead of ours.
    ahead_ms: i64,
}

impl Ear<'_> {
    /// Finds out where to read on.
    fn begin(&mut self) -> Result<(), EngineError> {
        let (within, key) = (self.common.settings.write, self.common.key(STREAM));
        let time = self.engine.run_at(&Place::OfKey(key.clone().into_bytes()), &cmd("TIME"), within)?;
        let (seconds, micros): (u64, u64) = from_redis_value(time).unwrap_or((now_s().unsigned_abs(), 0));
        let engine_ms = seconds * 1000 + micros / 1000;
        self.ahead_ms = engine_ms as i64 - now_ms();
        let mut end = |command: &str, from: &str, to: &str| {
            let look = cmd(command).arg(&key).arg(from).arg(to).arg("COUNT").arg(1).to_owned();
            let found: Vec<Entry> = from_redis_value(self.engine.run(&look, within)?).unwrap_or_default();
            Ok(found.first().and_then(|(id, _)| parse_id(id)))
        };
        let (first, newest) = (end("XRANGE", "-", "+")?, end("XREVRANGE", "+", "-")?);
        let length: usize =
            from_redis_value(self.engine.run(cmd("XLEN").arg(&key), within)?).unwrap_or_default();
        // Before it is that long nothing is taken away from it.
        let first = first.filter(|_| length >= LENGTH);
        let oldest = (engine_ms.saturating_sub(millis(OLDEST)), 0);
        self.from = Some(match self.seen {
            None => oldest,
            Some(seen) => {
                let (from, lost) = read_on(seen, first, newest);
                if let Some(lost) = lost {
                    self.common.stats.count(Counter::NodeGaps);
                    log::warn!("some of what other machines said is gone: {lost}");
                }
                from.max(oldest)
            }
        });
        Ok(())
    }

    fn read(&mut self) -> Result<(), EngineError> {
        let from = self.from.unwrap_or_default();
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(MOST_AT_ONCE).arg("BLOCK").arg(millis(BLOCK));
        read.arg("STREAMS").arg(self.common.key(STREAM)).arg(format!("{}-{}", from.0, from.1));
        let answer = self.engine.run(&read, BLOCK + self.common.settings.write)?;
        let mut lag_ms = 0;
        for (id, fields) in entries(answer) {
            let Some(id) = parse_id(&id) else { continue };
            (self.from, self.seen) = (Some(id), Some(id));
            lag_ms = (now_ms() + self.ahead_ms).saturating_sub_unsigned(id.0).max(0).unsigned_abs();
            self.hand_on(&fields, Duration::from_millis(lag_ms));
        }
        self.common.stats.set(Counter::NodeLag, lag_ms / 1000);
        Ok(())
    }

    fn hand_on(&self, fields: &[Vec<u8>], lag: Duration) {
        let mut by_us = false;
        for pair in fields.chunks_exact(2) {
            match &pair[0][..] {
                b"by" => by_us = pair[1] == self.common.me.as_bytes(),
                b"word" if !by_us => self.hand_on_word(&pair[1], lag),
                _ => {}
            }
        }
    }

    fn hand_on_word(&self, word: &[u8], lag: Duration) {
        let Some((age, word)) = parse_word(word) else { return };
        let age = age + lag;
        if age > OLDEST {
            return self.common.stats.count(Counter::NodeWordsDropped);
        }
        self.common.stats.count(Counter::NodeWordsHeard);
        // Waits while the sender is behind; an error is that it has ended.
        let _ = self.heard.blocking_send(Heard { word: word.to_vec(), age });
    }
}

/// Where to read on after having read until `last`, in a stream that ends with this entry and begins with that one, if it may have
/// begun before; and what was lost.
fn read_on(last: Id, first: Option<Id>, newest: Option<Id>) -> (Id, Option<&'static str>) {
    if first.is_some_and(|first| first > last) {
        return (last, Some("this machine was cut off for too long"));
    }
    // The next entry may be before our last one: a replica, which had less and whose clock is behind, may be the master by now.
    let newest = newest.unwrap_or_default();
    (newest.min(last), (newest < last).then_some("the engine has lost its last entries"))
}

fn parse_word(word: &[u8]) -> Option<(Duration, &[u8])> {
    let at = word.iter().position(|byte| *byte == 0)?;
    let waited_ms = std::str::from_utf8(&word[..at]).ok()?.parse().ok()?;
    Some((Duration::from_millis(waited_ms), &word[at + 1..]))
}

fn entries(answer: Value) -> Vec<Entry> {
    let streams: Option<Vec<(String, Vec<Entry>)>> = from_redis_value(answer).unwrap_or_default();
    streams.unwrap_or_default().into_iter().flat_map(|(_, entries)| entries).collect()
}

fn parse_id(id: &str) -> Option<Id> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_where_it_ended_and_what_is_gone_is_noticed() {
        let [first, last, newest] = [(10, 0), (20, 1), (30, 0)];
        assert_eq!(read_on(last, Some(first), Some(newest)), (last, None));
        assert_eq!(read_on(last, Some(last), Some(last)), (last, None));
        let (from, lost) = read_on(first, Some(last), Some(newest));
        assert!(from == first && lost.unwrap().contains("cut off"), "trimmed");
        let (from, lost) = read_on(newest, Some(first), Some(last));
        assert!(from == last && lost.unwrap().contains("last entries"), "a replica took over that had less");
        assert_eq!(read_on(last, None, None).0, (0, 0));
        assert_eq!(read_on(first, None, Some(newest)), (first, None), "it was never trimmed");
    }

    #[test]
    fn ids_and_words_are_read() {
        assert_eq!((parse_id("17-3"), parse_id("17"), parse_id("a-b")), (Some((17, 3)), None, None));
        assert_eq!(parse_word(b"250\0hx\0y"), Some((Duration::from_millis(250), &b"hx\0y"[..])));
        assert_eq!((parse_word(b"x\0h"), parse_word(b"12")), (None, None));
    }
}
