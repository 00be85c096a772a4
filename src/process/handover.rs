//! A text that one process hands over to all others of the server while they run: in shared memory, whole, and nowhere else.
//!
//! It refuses to show half a text: there are two places for it, and the number of the one in use changes last. Nobody but the
//! processes that came from its maker can read it, and no file is left behind.

use super::SharedCounters;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Longest text, in bytes. Memory is taken only for what was handed over.
pub const MOST_LEN: usize = 2 << 20;
const WORD: usize = size_of::<u64>();
const PLACE: usize = MOST_LEN / WORD;

/// How many texts were handed over, and a small number that stands beside the text.
const STAMP: usize = 0;
/// The process whose turn it is to hand over; 0 is nobody.
const TURN: usize = 1;
/// The lengths of the texts in the two places.
const LENGTHS: usize = 2;
const PLACES: usize = 4;

/// The stamp has the small number in its last byte.
const BESIDE_BITS: u32 = 8;

/// The place for the text. Made before the fork.
pub struct Handover {
    words: SharedCounters,
}

/// What was handed over last, how often that was done, and what stands beside it. Two that are equal stand for the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(u64);

impl Stamp {
    /// How many texts were handed over.
    pub fn generation(self) -> u64 {
        self.0 >> BESIDE_BITS
    }

    /// The small number beside it; 0 with each new text.
    pub fn beside(self) -> u8 {
        self.0 as u8
    }
}

/// The right to hand over, which one process has at a time.
pub struct Turn<'a>(&'a Handover);

impl Handover {
    /// Nothing was handed over yet.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Handover> {
        Ok(Handover { words: SharedCounters::new(PLACES + 2 * PLACE)? })
    }

    /// What was handed over last.
    pub fn stamp(&self) -> Stamp {
        Stamp(self.word(STAMP).load(Ordering::Acquire))
    }

    /// Asks for the turn; `None` where another process, or another thread of this one, has it.
    pub fn turn(&self) -> Option<Turn<'_>> {
        let (own, turn) = (u64::from(std::process::id()), self.word(TURN));
        let has = turn.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire);
        match has {
            Ok(_) => Some(Turn(self)),
            // Whoever died in the middle has published nothing.
            Err(other) if other != own && !super::is_alive(other as u32) => {
                turn.compare_exchange(other, own, Ordering::AcqRel, Ordering::Acquire).ok()?;
                Some(Turn(self))
            }
            Err(_) => None,
        }
    }

    /// The text that was handed over last, with its stamp; empty where there was none.
    pub fn read(&self) -> (Stamp, Vec<u8>) {
        loop {
            let stamp = self.stamp();
            let text = self.copy(stamp.generation());
            // What was copied is of this generation unless the one after the next has begun to be written.
            fence(Ordering::Acquire);
            let now = self.stamp();
            if now.generation() == stamp.generation() {
                return (now, text);
            }
        }
    }

    fn copy(&self, generation: u64) -> Vec<u8> {
        let len = self.length(generation).load(Ordering::Relaxed) as usize;
        // Torn, the length may be of another text, but is never longer than a place.
        let words = self.place(generation)[..len.min(MOST_LEN).div_ceil(WORD)].iter();
        let mut text: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        text.truncate(len);
        text
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words.as_slice()[at]
    }

    fn length(&self, generation: u64) -> &AtomicU64 {
        self.word(LENGTHS + (generation % 2) as usize)
    }

    fn place(&self, generation: u64) -> &[AtomicU64] {
        let start = PLACES + (generation % 2) as usize * PLACE;
        &self.words.as_slice()[start..start + PLACE]
    }
}

impl Turn<'_> {
    /// Hands a text over: from now on every process finds it. What is longer than [`MOST_LEN`] is cut.
    pub fn publish(&self, text: &[u8]) -> Stamp {
        let text = &text[..text.len().min(MOST_LEN)];
        let generation = self.0.stamp().generation() + 1;
        // Whoever still copies from this place looks at the stamp afterwards, and finds that it has changed.
        fence(Ordering::SeqCst);
        self.0.length(generation).store(text.len() as u64, Ordering::Relaxed);
        for (word, bytes) in self.0.place(generation).iter().zip(text.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        self.stamp(Stamp(generation << BESIDE_BITS))
    }

    /// Sets the small number beside the text.
    pub fn put_beside(&self, number: u8) -> Stamp {
        let generation = self.0.stamp().generation();
        self.stamp(Stamp(generation << BESIDE_BITS | u64::from(number)))
    }

    fn stamp(&self, stamp: Stamp) -> Stamp {
        self.0.word(STAMP).store(stamp.0, Ordering::Release);
        stamp
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.word(TURN).store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_last_is_read_whole() {
        let handover = Handover::new().unwrap();
        assert_eq!((handover.stamp().generation(), handover.read().1), (0, Vec::new()));
        for (at, text) in ["first", "", "a longer one, of more than one word", "x"].into_iter().enumerate() {
            let stamp = handover.turn().unwrap().publish(text.as_bytes());
            assert_eq!((stamp.generation(), stamp.beside()), (at as u64 + 1, 0));
            assert_eq!(handover.read(), (stamp, text.as_bytes().to_vec()));
        }
        let stamp = handover.turn().unwrap().put_beside(7);
        assert_eq!((stamp.generation(), stamp.beside()), (4, 7));
        assert_eq!(handover.read(), (stamp, b"x".to_vec()));
        handover.turn().unwrap().publish(&vec![b'y'; MOST_LEN + 1]);
        assert!(handover.read().1 == vec![b'y'; MOST_LEN]);
    }

    #[test]
    fn one_at_a_time_and_whoever_died_is_not_waited_for() {
        let handover = Handover::new().unwrap();
        let turn = handover.turn().unwrap();
        assert!(handover.turn().is_none());
        drop(turn);
        // SAFETY: the child takes the turn, which is memory and atomics, and leaves with _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let turn = handover.turn();
            std::mem::forget(turn);
            // SAFETY: ends the child at once, without running the test harness' exit handlers.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
        assert!(handover.turn().is_some());
    }

    #[test]
    fn readers_never_see_half_a_text_while_it_changes() {
        let handover = Handover::new().unwrap();
        let texts = [b'a', b'b', b'c'].map(|byte| vec![byte; 100_000 + usize::from(byte)]);
        std::thread::scope(|scope| {
            let reader = || {
                let mut last = 0;
                while last < 300 {
                    let (stamp, text) = handover.read();
                    last = stamp.generation();
                    assert!(last == 0 || text == texts[(last % 3) as usize], "generation {last}");
                }
            };
            scope.spawn(reader);
            scope.spawn(reader);
            for generation in 1..=300_usize {
                handover.turn().unwrap().publish(&texts[generation % 3]);
            }
        });
    }
}
