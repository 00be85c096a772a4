//! How often a client may guess: a budget for each address that all processes of a server see, since each request may be
//! served by another one.
//!
//! It refuses to grow: the table has a fixed size, and remembers only addresses that have guessed wrong a short while ago. The
//! address itself is not kept, only a part of its hash.

use super::SharedCounters;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Addresses that are remembered at once; 64 kB.
const PLACES: usize = 8192;
/// Where an address may stand, counted from where its hash points.
const LOOKS: usize = 8;
/// A place is a tag of the address above, and below when it will have its whole budget again, in ms since the table was made.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The table. One number holds all that is known of an address (GCRA, the virtual scheduling of ITU-T I.371): so many guesses
/// at once, and one more after each interval.
pub struct Guesses {
    places: SharedCounters,
    /// How many a minute, for all processes.
    limit: SharedCounters,
    hasher: RandomState,
    made_at: Instant,
}

impl Guesses {
    /// So many wrong guesses a minute, and as many at once; 0 is no limit. Before the fork, or every process counts alone.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new(per_minute: u32) -> io::Result<Guesses> {
        let (places, limit) = (SharedCounters::new(PLACES)?, SharedCounters::new(1)?);
        let guesses = Guesses { places, limit, hasher: RandomState::new(), made_at: Instant::now() };
        guesses.set_limit(per_minute);
        Ok(guesses)
    }

    /// Another limit, for all processes from now on.
    pub fn set_limit(&self, per_minute: u32) {
        self.limit.as_slice()[0].store(per_minute.into(), Ordering::Relaxed);
    }

    /// The time of one guess, and of as many as one has at once; `None` is no limit.
    fn times_ms(&self) -> Option<(u64, u64)> {
        let per_minute = self.limit.as_slice()[0].load(Ordering::Relaxed);
        let interval_ms = 60_000 / per_minute.clamp(1, 60_000);
        (per_minute > 0).then_some((interval_ms, interval_ms * per_minute))
    }

    /// How long this client must wait before it may try anything; `None` is not at all.
    pub fn must_wait(&self, client: &str) -> Option<Duration> {
        self.wait_at(client, self.now_ms())
    }

    /// Notes a wrong guess; true where it was the last one for now.
    pub fn note(&self, client: &str) -> bool {
        self.note_at(client, self.now_ms())
    }

    fn wait_at(&self, client: &str, now_ms: u64) -> Option<Duration> {
        let (interval_ms, whole_ms) = self.times_ms()?;
        let full_at = self.full_at(client)?;
        let next_full_at = full_at.max(now_ms) + interval_ms;
        let over = next_full_at.saturating_sub(now_ms + whole_ms);
        (over > 0).then(|| Duration::from_millis(over))
    }

    fn note_at(&self, client: &str, now_ms: u64) -> bool {
        let Some((interval_ms, whole_ms)) = self.times_ms() else { return false };
        let (tag, places) = self.places_of(client);
        let numbers = self.places.as_slice();
        loop {
            let at = |place: &usize| numbers[*place].load(Ordering::Acquire);
            let own = places.iter().find(|place| at(place) >> TIME_BITS == tag);
            // Else whoever will be forgotten first, most likely nobody at all.
            let Some(place) = own.or_else(|| places.iter().min_by_key(|place| at(place) & TIME_MASK)) else {
                return false;
            };
            let before = at(place);
            let full_at = if before >> TIME_BITS == tag { before & TIME_MASK } else { 0 };
            let full_at = (full_at.max(now_ms) + interval_ms).min(now_ms + whole_ms);
            let after = tag << TIME_BITS | (full_at & TIME_MASK);
            let done = numbers[*place].compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                return full_at + interval_ms > now_ms + whole_ms;
            }
        }
    }

    fn full_at(&self, client: &str) -> Option<u64> {
        let (tag, places) = self.places_of(client);
        let numbers = places.iter().map(|place| self.places.as_slice()[*place].load(Ordering::Acquire));
        numbers.filter(|number| number >> TIME_BITS == tag).map(|number| number & TIME_MASK).next()
    }

    /// The tag of an address, never 0, and where it may stand.
    fn places_of(&self, client: &str) -> (u64, [usize; LOOKS]) {
        let hash = self.hasher.hash_one(whose(client));
        let start = hash as usize % PLACES;
        let places = std::array::from_fn(|step| (start + step) % PLACES);
        ((hash >> TIME_BITS).max(1), places)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX) & TIME_MASK
    }
}

/// Who somebody with this address is. Whoever has one address of IPv6 has the /64 around it (RFC 6177), and an address of
/// IPv4 is the same in IPv6's spelling.
fn whose(client: &str) -> IpAddr {
    static NOBODY: OnceLock<IpAddr> = OnceLock::new();
    match client.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        Ok(address) => address,
        Err(_) => *NOBODY.get_or_init(|| IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn so_many_at_once_then_so_many_a_minute_each_for_himself() {
        let guesses = Guesses::new(3).unwrap();
        let tries = [0; 3].map(|_| (guesses.wait_at("192.0.2.1", 1000), guesses.note_at("192.0.2.1", 1000)));
        assert_eq!(tries, [(None, false), (None, false), (None, true)]);
        assert_eq!(guesses.wait_at("192.0.2.1", 1000), Some(Duration::from_secs(20)));
        assert_eq!(guesses.wait_at("::ffff:192.0.2.1", 20_999), Some(Duration::from_millis(1)));
        assert_eq!(guesses.wait_at("192.0.2.1", 21_000), None);
        assert_eq!(guesses.wait_at("192.0.2.2", 1000), None);
        assert!(guesses.note_at("192.0.2.1", 21_000));
        assert_eq!(guesses.wait_at("192.0.2.1", 21_000), Some(Duration::from_secs(20)));
        assert_eq!(guesses.wait_at("192.0.2.1", 10_000_000), None);
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let guesses = Guesses::new(1).unwrap();
        guesses.note_at("2001:db8:0:1::1", 0);
        assert!(guesses.wait_at("[2001:db8:0:1:ffff::2]", 0).is_some());
        assert!(guesses.wait_at("2001:db8:0:2::1", 0).is_none());
        guesses.note_at("not an address", 0);
        assert!(guesses.wait_at("", 0).is_some(), "who has no address is one client too");
    }

    #[test]
    fn zero_is_no_limit() {
        let guesses = Guesses::new(0).unwrap();
        assert!((0..10_000).all(|_| !guesses.note("192.0.2.1") && guesses.must_wait("192.0.2.1").is_none()));
        guesses.set_limit(1);
        assert!(guesses.note_at("192.0.2.1", 0) && guesses.wait_at("192.0.2.1", 0).is_some());
        guesses.set_limit(2);
        assert_eq!(
            guesses.wait_at("192.0.2.1", 0),
            Some(Duration::from_secs(30)),
            "its time is not forgotten"
        );
    }

    #[test]
    fn more_addresses_than_places_are_still_slowed_down() {
        let guesses = Guesses::new(1).unwrap();
        let address = |number: u32| std::net::Ipv4Addr::from_bits(number).to_string();
        for number in 0..100_000 {
            guesses.note_at(&address(number), 0);
        }
        guesses.note_at("192.0.2.1", 1);
        assert!(guesses.wait_at("192.0.2.1", 1).is_some());
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_the_rate(per_minute in 1u32..100, asks in proptest::collection::vec(0u64..3000, 1..300)) {
            let guesses = Guesses::new(per_minute).unwrap();
            let (mut now_ms, mut noted) = (0, 0u32);
            for pause_ms in asks {
                now_ms += pause_ms;
                if guesses.wait_at("192.0.2.1", now_ms).is_none() {
                    guesses.note_at("192.0.2.1", now_ms);
                    noted += 1;
                }
            }
            // Intervals are whole milliseconds.
            let intervals = now_ms / (60_000 / u64::from(per_minute));
            prop_assert!(u64::from(noted) <= u64::from(per_minute) + intervals);
        }
    }
}
