//! What a machine remembers of its users' devices: a table of fixed size in the memory that all processes of a server share.
//!
//! It refuses to remember what does not fit into a place, and to show what is torn, old, or changed since it was read: each place
//! has a print of its bytes under a key that only this server knows.

use super::codec;
use crate::model::{Device, Token, User};
use crate::process::{Held, SharedCounters, try_hold};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Users who share a part of the table; in one line of the CPU's cache are their tags.
const WAYS: usize = 8;
/// A place's bytes: its length, and then room for four devices as Firebase names them, or eight of Apple's.
const BODY: usize = 128;
const WORD: usize = size_of::<u64>();
/// Longest that fits, in bytes.
const MOST_LEN: usize = (BODY - 1) * WORD;
/// Places of the index from tokens to users, for each user.
const TOKENS_PER_USER: usize = 4;
/// When something was changed last, by hash.
const STAMPS: usize = 4096;
/// An entry is made new when so much of its life is over.
const FRESH_PART: u32 = 16;
/// How often others are let run for what can be left: the next lookup comes soon.
const PATIENCE: u32 = 20;
/// And for what must not be shown in its old form any more; some milliseconds. All is forgotten then.
const MORE_PATIENCE: u32 = 2000;

/// The words that there is one of.
const LOCK: usize = 0;
const GENERATION: usize = 1;
const CONTROLS: usize = 8;

/// A time by the clock that all processes share, in ns since the table was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub u64);

/// The table. Made before the fork.
pub(super) struct Table {
    controls: SharedCounters,
    /// Whose each place is: a hash, 0 for nobody's.
    tags: SharedCounters,
    /// The print of each place's bytes.
    prints: SharedCounters,
    /// When each place was last seen to be right.
    seen: SharedCounters,
    bodies: SharedCounters,
    /// Which places have a token: a part of its hash above, the place's number from 1 below.
    index: SharedCounters,
    stamps: SharedCounters,
    hasher: RandomState,
    made_at: Instant,
    lifetime: Duration,
}

impl Table {
    /// For so many users, each remembered so long.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub(super) fn new(users: usize, lifetime: Duration) -> io::Result<Table> {
        let places = users.max(1).next_multiple_of(WAYS);
        Ok(Table {
            controls: SharedCounters::new(CONTROLS)?,
            tags: SharedCounters::new(places)?,
            prints: SharedCounters::new(places)?,
            seen: SharedCounters::new(places)?,
            bodies: SharedCounters::undumped(places * BODY)?,
            index: SharedCounters::new(places * TOKENS_PER_USER)?,
            stamps: SharedCounters::new(STAMPS)?,
            hasher: RandomState::new(),
            made_at: Instant::now(),
            lifetime,
        })
    }

    pub(super) fn now(&self) -> Moment {
        Moment(u64::try_from(self.made_at.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1))
    }

    /// Remembers what a lookup that began at `began` has found, unless it is known already, or was changed meanwhile.
    pub(super) fn keep(&self, user: &User, devices: &[Device], began: Moment) {
        let tag = self.tag(user);
        let place = self.place_of(tag);
        if devices.is_empty() && place.is_none() {
            return;
        }
        let bytes = bytes_of(user, devices);
        let print = self.print(&bytes);
        if let Some(place) = place
            && load(&self.prints, place) == print
        {
            return self.freshen(place, began);
        }
        let Some(_held) = self.lock(PATIENCE) else { return };
        let place = self.place_of(tag).unwrap_or_else(|| self.oldest_of(tag));
        let is_changed = self.stamp(tag).load(Ordering::Relaxed) >= began.0
            || devices.iter().any(|device| self.is_changed(&device.token, began));
        self.empty(place);
        if !devices.is_empty() && !is_changed && bytes.len() <= MOST_LEN {
            self.fill(place, tag, &bytes, devices, began);
        }
    }

    /// What is remembered of a user, if it is not too old. Devices that have expired are in it.
    pub(super) fn find(&self, user: &User, now: Moment) -> Option<Vec<Device>> {
        let place = self.place_of(self.tag(user))?;
        let age = Duration::from_nanos(now.0.saturating_sub(load(&self.seen, place)));
        let (known, devices) = self.read(place).filter(|_| age <= self.lifetime)?;
        (known == *user).then_some(devices)
    }

    /// Changes what is remembered of a user; what lookups under way have read before is not remembered.
    pub(super) fn change(&self, user: &User, now: Moment, work: impl FnOnce(&mut Vec<Device>)) {
        let tag = self.tag(user);
        self.stamp(tag).fetch_max(now.0, Ordering::SeqCst);
        let Some(_held) = self.lock(MORE_PATIENCE) else { return self.forget_all() };
        if let Some(place) = self.place_of(tag) {
            self.rewrite(place, work);
        }
    }

    /// Changes what is remembered of all who have a token, but for one user.
    pub(super) fn change_owners(
        &self,
        token: &Token,
        but: Option<&User>,
        now: Moment,
        mut work: impl FnMut(&mut Vec<Device>),
    ) {
        let hash = self.token_hash(token);
        self.stamp(hash).fetch_max(now.0, Ordering::SeqCst);
        let Some(_held) = self.lock(MORE_PATIENCE) else { return self.forget_all() };
        let but = but.map(|user| self.tag(user));
        for at in self.index_of(hash) {
            let (part, place) = unpacked(load(&self.index, at));
            if let Some(place) = place.filter(|_| part == part_of(hash))
                && Some(load(&self.tags, place)) != but
            {
                self.rewrite(place, &mut work);
            }
        }
    }

    /// Forgets everything.
    pub(super) fn forget_all(&self) {
        // The generation is in each print.
        self.controls.as_slice()[GENERATION].fetch_add(1, Ordering::SeqCst);
    }

    fn lock(&self, tries: u32) -> Option<Held<'_>> {
        try_hold(&self.controls.as_slice()[LOCK], tries)
    }

    fn tag(&self, user: &User) -> u64 {
        self.hasher.hash_one(user.as_str()).max(1)
    }

    fn token_hash(&self, token: &Token) -> u64 {
        self.hasher.hash_one(token)
    }

    fn print(&self, bytes: &[u8]) -> u64 {
        let generation = self.controls.as_slice()[GENERATION].load(Ordering::SeqCst);
        self.hasher.hash_one((generation, bytes))
    }

    fn stamp(&self, hash: u64) -> &AtomicU64 {
        &self.stamps.as_slice()[hash as usize % STAMPS]
    }

    fn is_changed(&self, token: &Token, since: Moment) -> bool {
        self.stamp(self.token_hash(token)).load(Ordering::Relaxed) >= since.0
    }

    /// The places where a user with this tag may stand.
    fn set_of(&self, tag: u64) -> std::ops::Range<usize> {
        let sets = self.tags.as_slice().len() / WAYS;
        let start = (tag >> 8) as usize % sets * WAYS;
        start..start + WAYS
    }

    fn place_of(&self, tag: u64) -> Option<usize> {
        self.set_of(tag).find(|place| load(&self.tags, *place) == tag)
    }

    fn oldest_of(&self, tag: u64) -> usize {
        let set = self.set_of(tag);
        let first = set.start;
        set.min_by_key(|place| load(&self.seen, *place)).unwrap_or(first)
    }

    fn freshen(&self, place: usize, now: Moment) {
        let age = Duration::from_nanos(now.0.saturating_sub(load(&self.seen, place)));
        if age > self.lifetime / FRESH_PART {
            store(&self.seen, place, now.0);
        }
    }

    /// A place's bytes, if they are whole.
    fn read(&self, place: usize) -> Option<(User, Vec<Device>)> {
        let body = self.body(place);
        let len = body[0].load(Ordering::Relaxed) as usize;
        let words = body[1..].iter().take(len.min(MOST_LEN).div_ceil(WORD));
        let mut bytes: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        bytes.truncate(len);
        (self.print(&bytes) == load(&self.prints, place)).then(|| codec::read(&bytes))?
    }

    fn body(&self, place: usize) -> &[AtomicU64] {
        &self.bodies.as_slice()[place * BODY..(place + 1) * BODY]
    }

    /// With the lock only, as all below.
    fn rewrite(&self, place: usize, work: impl FnOnce(&mut Vec<Device>)) {
        let (tag, seen) = (load(&self.tags, place), load(&self.seen, place));
        let known = self.read(place);
        self.empty(place);
        let Some((user, mut devices)) = known else { return };
        work(&mut devices);
        let bytes = bytes_of(&user, &devices);
        if !devices.is_empty() && bytes.len() <= MOST_LEN {
            self.fill(place, tag, &bytes, &devices, Moment(seen));
        }
    }

    /// Nobody's, and no token is left in it.
    fn empty(&self, place: usize) {
        if let Some((_, devices)) = self.read(place) {
            for device in devices {
                self.unlink(self.token_hash(&device.token), place);
            }
        }
        store(&self.tags, place, 0);
        store(&self.seen, place, 0);
        self.body(place).iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    fn fill(&self, place: usize, tag: u64, bytes: &[u8], devices: &[Device], seen: Moment) {
        for device in devices {
            self.link(self.token_hash(&device.token), place);
        }
        let body = self.body(place);
        for (word, bytes) in body[1..].iter().zip(bytes.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        body[0].store(bytes.len() as u64, Ordering::Relaxed);
        store(&self.prints, place, self.print(bytes));
        store(&self.seen, place, seen.0);
        store(&self.tags, place, tag);
    }

    /// The places of the index where a token may stand.
    fn index_of(&self, hash: u64) -> std::ops::Range<usize> {
        let sets = self.index.as_slice().len() / WAYS;
        let start = hash as usize % sets * WAYS;
        start..start + WAYS
    }

    fn link(&self, hash: u64, place: usize) {
        let own = packed(hash, place);
        let mut all = self.index_of(hash);
        let someone = all.start + (hash >> 16) as usize % WAYS;
        let at = all.find(|at| [0, own].contains(&load(&self.index, *at))).unwrap_or(someone);
        match unpacked(load(&self.index, at)) {
            // Whose token is not found by it any more must not be found by his name.
            (_, Some(other)) if other != place => self.empty(other),
            _ => {}
        }
        store(&self.index, at, own);
    }

    fn unlink(&self, hash: u64, place: usize) {
        let own = packed(hash, place);
        if let Some(at) = self.index_of(hash).find(|at| load(&self.index, *at) == own) {
            store(&self.index, at, 0);
        }
    }
}

fn bytes_of(user: &User, devices: &[Device]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MOST_LEN);
    codec::write(&mut bytes, user, devices);
    bytes
}

fn load(words: &SharedCounters, at: usize) -> u64 {
    words.as_slice()[at].load(Ordering::Relaxed)
}

fn store(words: &SharedCounters, at: usize, value: u64) {
    words.as_slice()[at].store(value, Ordering::Relaxed);
}

fn part_of(hash: u64) -> u64 {
    hash >> 32
}

fn packed(hash: u64, place: usize) -> u64 {
    part_of(hash) << 32 | (place as u64 + 1)
}

fn unpacked(word: u64) -> (u64, Option<usize>) {
    (word >> 32, (word as u32 as usize).checked_sub(1))
}
