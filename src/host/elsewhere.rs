//! Calls of one machine and phones that register at another one: who is to be told of whose registrations, and when word of one is
//! told again, since it may come before the contact itself.
//!
//! It refuses to tell everybody of every registration: only of users who have a call elsewhere.

use super::note::{Note, Wake};
use super::waiting::{Moment, Waiting};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// So long after a phone has registered elsewhere, its contact may not have come to us yet. By dmq_usrloc it takes 1 to 3 ms; the
/// rest is for a node that is busy.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(200),
    Duration::from_millis(600),
];
/// So long before a call a registration elsewhere may have been without its contact having come to us when the call looked for it.
const CONTACT_TRAVELS: Duration = Duration::from_millis(200);
/// Of one user's calls others are told so often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Users with calls elsewhere of whom we know; about 60 MB.
const MOST_WANTED: usize = 500_000;
/// Words that are to be told again.
const MOST_AGAIN: usize = 100_000;

/// What one machine tells the others about calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Calls of this user wait or ring here: phones of his that register are of interest.
    Wanted {
        user: String,
        /// Those that have registered so long ago, or later.
        missed: Duration,
        /// And those that will within this time.
        within: Duration,
    },
    /// A phone has registered. Its moment is nobody else's.
    Wake(Wake),
}

impl Word {
    pub fn encode(self) -> Vec<u8> {
        match self {
            Word::Wanted { user, missed, within } => {
                let (missed, within) = (missed.as_micros().to_string(), within.as_millis().to_string());
                ["wanted", &user, &missed, &within].join("\0").into_bytes()
            }
            Word::Wake(wake) => Note::Wake(wake).encode(),
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Word> {
        if let Some(Note::Wake(wake)) = Note::decode(bytes) {
            return Some(Word::Wake(wake));
        }
        let mut parts = std::str::from_utf8(bytes).ok()?.split('\0');
        let (kind, user) = (parts.next()?, parts.next()?.to_owned());
        let missed = Duration::from_micros(parts.next()?.parse().ok()?);
        let within = Duration::from_millis(parts.next()?.parse().ok()?);
        (kind == "wanted").then_some(Word::Wanted { user, missed, within })
    }
}

/// What the sender's process knows of calls elsewhere and of phones that have registered elsewhere.
pub(super) struct Elsewhere {
    waiting: &'static Waiting,
    /// Of whose calls others were told a moment ago.
    told: HashMap<Rc<str>, Instant>,
    told_in_order: VecDeque<Rc<str>>,
    /// Who has calls elsewhere.
    wanted: HashMap<Rc<str>, Wanted>,
    wanted_in_order: VecDeque<(Instant, Rc<str>)>,
    again: BTreeMap<(Instant, u64), Again>,
    /// By user and phone: the number of its last registration that is told again. Where it was before it is no more.
    newest: HashMap<(String, String), u64>,
    next: u64,
    /// How long a registration is of interest to a call.
    within: Duration,
}

/// What is to be told again.
struct Again {
    /// The number of this registration.
    number: u64,
    /// How often it was told again already.
    times: usize,
    wake: Wake,
}

struct Wanted {
    until: Instant,
    /// The last registration that others were told of.
    told: Moment,
}

impl Elsewhere {
    pub fn new(waiting: &'static Waiting, within: Duration) -> Elsewhere {
        Elsewhere {
            waiting,
            told: HashMap::new(),
            told_in_order: VecDeque::new(),
            wanted: HashMap::new(),
            wanted_in_order: VecDeque::new(),
            again: BTreeMap::new(),
            newest: HashMap::new(),
            next: 0,
            within,
        }
    }

    /// Another time for which a registration is of interest.
    pub fn set_within(&mut self, within: Duration) {
        self.within = within;
    }

    /// A call of this user has come, which may have missed registrations from this moment on. What others are to be told, if they were
    /// not just now.
    pub fn came(&mut self, user: &str, missed_since: Moment, now: Instant) -> Option<Word> {
        while let Some(first) = self.told_in_order.front()
            && self.told.get(first).is_none_or(|at| *at + TELL_EVERY <= now)
        {
            self.told.remove(first);
            self.told_in_order.pop_front();
        }
        if self.told.contains_key(user) {
            return None;
        }
        let name: Rc<str> = user.into();
        self.told.insert(Rc::clone(&name), now);
        self.told_in_order.push_back(name);
        let missed = Duration::from_micros(self.waiting.now().saturating_sub(missed_since));
        Some(Word::Wanted { user: user.to_owned(), missed: missed + CONTACT_TRAVELS, within: self.within })
    }

    /// A call of this user has come elsewhere; that was told so long ago. What is to be told of a registration that it has missed.
    pub fn want(
        &mut self,
        user: &str,
        missed: Duration,
        within: Duration,
        age: Duration,
        now: Instant,
    ) -> Option<Word> {
        self.forget_old(now);
        let until = now + within.checked_sub(age)?;
        let last_wake = self.waiting.last_wake(user);
        if !self.wanted.contains_key(user) {
            if self.wanted.len() >= MOST_WANTED {
                return None;
            }
            let name: Rc<str> = user.into();
            self.waiting.interest(user);
            self.wanted_in_order.push_back((until, Rc::clone(&name)));
            self.wanted.insert(name, Wanted { until, told: 0 });
        }
        let wanted = self.wanted.get_mut(user)?;
        wanted.until = wanted.until.max(until);
        let missed_us = u64::try_from((missed + age).as_micros()).unwrap_or(u64::MAX);
        let is_missed = last_wake > wanted.told && last_wake >= self.waiting.now().saturating_sub(missed_us);
        is_missed.then(|| {
            wanted.told = last_wake;
            Word::Wake(somebody(user))
        })
    }

    /// A phone has registered here. What others are to be told, where they have calls for it.
    pub fn woke(&mut self, wake: &Wake, now: Instant) -> Option<Word> {
        let wanted = self.wanted.get_mut(&*wake.user).filter(|wanted| wanted.until > now)?;
        wanted.told = wanted.told.max(wake.moment);
        Some(Word::Wake(wake.clone()))
    }

    /// A phone has registered elsewhere. It is to be acted on, where anybody here has an interest in it, and is told again later.
    pub fn heard(&mut self, mut wake: Wake, now: Instant) -> Option<Wake> {
        let moment = self.waiting.wake(&wake.user);
        if self.again.len() < MOST_AGAIN {
            self.next += 1;
            self.newest.insert(phone(&wake), self.next);
            self.tell_again(Again { number: self.next, times: 0, wake: wake.clone() }, now);
        }
        wake.moment = moment?;
        Some(wake)
    }

    fn tell_again(&mut self, again: Again, told_at: Instant) {
        match AGAIN.get(again.times) {
            Some(after) => drop(self.again.insert((told_at + *after, again.number), again)),
            None => drop(self.newest.remove(&phone(&again.wake))),
        }
    }

    /// When something is to be told again.
    pub fn due(&self) -> Option<Instant> {
        self.again.keys().next().map(|(at, _)| *at)
    }

    /// The next of what is to be told again.
    pub fn next_due(&mut self, now: Instant) -> Option<Wake> {
        loop {
            let first = self.again.first_entry().filter(|first| first.key().0 <= now)?;
            let Again { number, times, mut wake } = first.remove();
            if self.newest.get(&phone(&wake)) != Some(&number) {
                continue;
            }
            self.tell_again(Again { number, times: times + 1, wake: wake.clone() }, now);
            if let Some(moment) = self.waiting.wake(&wake.user) {
                wake.moment = moment;
                return Some(wake);
            }
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, name)) = self.wanted_in_order.front().cloned()
            && at <= now
        {
            self.wanted_in_order.pop_front();
            match self.wanted.get(&name).map(|wanted| wanted.until) {
                Some(until) if until > now => self.wanted_in_order.push_back((until, name)),
                Some(_) => {
                    self.wanted.remove(&name);
                    self.waiting.leave_ended(&name);
                }
                None => {}
            }
        }
    }
}

fn phone(wake: &Wake) -> (String, String) {
    (wake.user.clone(), wake.phone.clone())
}

/// A phone of this user of which nothing else is known.
fn somebody(user: &str) -> Wake {
    Wake {
        user: user.to_owned(),
        aor: String::new(),
        moment: 0,
        tells_contacts: false,
        contacts: Vec::new(),
        phone: String::new(),
        registered: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    fn elsewhere() -> Elsewhere {
        Elsewhere::new(Box::leak(Box::new(Waiting::new().unwrap())), WITHIN)
    }

    fn wake() -> Wake {
        Wake { contacts: vec!["c1".to_owned()], registered: 1, tells_contacts: true, ..somebody("bob") }
    }

    #[test]
    fn a_word_arrives_as_it_was_said() {
        let wanted =
            Word::Wanted { user: "bob".to_owned(), missed: Duration::from_micros(7), within: WITHIN };
        for word in [wanted, Word::Wake(wake())] {
            assert_eq!(Word::decode(&word.clone().encode()), Some(word));
        }
        for garbage in [&b""[..], b"wanted\0bob\0x\x001", b"else\0bob\x001\x001", b"\xff"] {
            assert_eq!(Word::decode(garbage), None);
        }
    }

    #[test]
    fn others_are_told_of_a_users_calls_once_a_second() {
        let (mut ours, now) = (elsewhere(), Instant::now());
        assert!(ours.came("bob", 1, now).is_some() && ours.came("alice", 1, now).is_some());
        assert_eq!(ours.came("bob", 1, now + TELL_EVERY / 2), None);
        assert!(ours.came("bob", 1, now + TELL_EVERY).is_some());
        assert_eq!(ours.told.len(), 1);
    }

    #[test]
    fn only_registrations_of_users_with_calls_elsewhere_are_told() {
        let (mut ours, now) = (elsewhere(), Instant::now());
        assert_eq!(ours.woke(&wake(), now), None);
        assert_eq!(ours.want("bob", Duration::ZERO, WITHIN, Duration::ZERO, now), None);
        assert!(ours.waiting.wake("bob").is_some(), "workers tell us of him");
        assert_eq!(ours.woke(&wake(), now), Some(Word::Wake(wake())));
        assert_eq!(ours.woke(&wake(), now + WITHIN), None);
        ours.want("alice", Duration::ZERO, WITHIN, Duration::ZERO, now + WITHIN);
        assert!(ours.wanted.len() == 1 && ours.waiting.wake("bob").is_none(), "it is over");
    }

    #[test]
    fn a_registration_that_came_before_the_word_of_the_call_is_told_once() {
        let (mut ours, now) = (elsewhere(), Instant::now());
        ours.waiting.wake("bob");
        let missed = Duration::from_secs(5);
        let told = ours.want("bob", missed, WITHIN, Duration::ZERO, now);
        assert_eq!(told, Some(Word::Wake(somebody("bob"))));
        assert_eq!(ours.want("bob", missed, WITHIN, Duration::ZERO, now), None);
        assert_eq!(ours.want("alice", missed, WITHIN, WITHIN * 2, now), None, "too old");
    }

    #[test]
    fn what_was_heard_is_told_again_four_times_to_whoever_waits() {
        let (mut ours, now) = (elsewhere(), Instant::now());
        let alices = Wake { user: "alice".to_owned(), ..wake() };
        assert_eq!(ours.heard(alices, now), None, "nobody waits");
        ours.waiting.arrive("bob");
        let first = ours.heard(wake(), now).unwrap();
        assert!(first.moment > 0);
        let (mut times, mut last, mut at) = (0, first.moment, now);
        while let Some(due) = ours.due() {
            assert_eq!(ours.next_due(at), None, "not before its time");
            at = due;
            while let Some(again) = ours.next_due(at) {
                assert!(again.moment > last);
                (times, last) = (times + 1, again.moment);
            }
        }
        assert_eq!(times, AGAIN.len());
        assert!(at - now <= AGAIN.iter().sum::<Duration>() && ours.newest.is_empty());
    }

    #[test]
    fn a_phone_that_registers_once_more_is_told_again_as_it_is_then() {
        let (mut ours, now) = (elsewhere(), Instant::now());
        ours.waiting.arrive("bob");
        let moved = Wake { contacts: vec!["c2".to_owned()], ..wake() };
        ours.heard(wake(), now);
        ours.heard(moved.clone(), now);
        let told = ours.next_due(now + AGAIN[0]).unwrap();
        assert_eq!((told.contacts, ours.next_due(now + AGAIN[0])), (moved.contacts, None));
    }
}
