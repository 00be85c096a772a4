//! What goes over two slots: a user's devices in his, a token's owners in its own.
//!
//! It refuses to leave anything to luck: each step may be done twice or late, since stamps say what came after it, and a note beside
//! the user stands until all of them are done.

use super::answer::Answer;
use super::layout::{self, letter};
use super::record::{Words, provider_and_token};
use super::{Budget, RedisStore, scripts};
use crate::engine::{Cmd, Script, cmd};
use crate::model::{Provider, Token, User};
use crate::store::{Registered, StoreError};

/// So old is a note before somebody else than its author finishes it; authors take at most `write_ms`.
const LEFT_AFTER_US: i64 = 15_000_000;
/// So many buckets are looked at in one go: with a look each second, all of them in half a minute.
const BUCKETS_AT_ONCE: u16 = 32;
/// More is left for the next look.
const NOTES_AT_ONCE: usize = 64;

/// A registration as the script wants it.
pub(super) struct Entry<'a> {
    pub(super) user: &'a User,
    pub(super) device_id: &'a str,
    pub(super) words: Words<'a>,
    pub(super) registered_at_ms: i64,
    pub(super) expires_at_ms: Option<i64>,
    /// What has expired by then is forgotten.
    pub(super) now_ms: i64,
    /// What time it is.
    pub(super) clock_ms: i64,
    pub(super) devices: u32,
    pub(super) owners: u32,
    /// Leaves everything as it is where the device or somebody with its token has registered later.
    pub(super) only_if_newest: bool,
}

/// What the user's script did.
pub(super) struct Written {
    pub(super) what: Registered,
    pub(super) stamp: String,
    pub(super) registered: String,
    /// How long the token's key may live, in ms; empty is for good.
    pub(super) left: String,
    pub(super) lost: Vec<Lost>,
}

/// A token that has lost a user by the stamp's registration.
pub(super) struct Lost {
    provider: Provider,
    token: String,
    stamp: String,
}

pub(super) enum Stored {
    TooMany,
    Later,
    Written(Box<Written>),
}

impl Entry<'_> {
    /// The call of the user's script.
    pub(super) fn call(&self, user: &[u8], notes: &[u8]) -> Cmd {
        let Words { platform, environment, provider, token, app, alert } = &self.words;
        let mut call = scripts::REGISTER.call(&[user, notes]);
        call.arg(self.user.as_str()).arg(self.device_id).arg(*provider).arg(*token);
        call.arg(*platform).arg(*environment).arg(self.registered_at_ms).arg(self.expires(""));
        call.arg(*app).arg(&alert[..]).arg(self.now_ms).arg(self.clock_ms);
        call.arg(self.devices).arg(self.owners).arg(u8::from(self.only_if_newest));
        call
    }

    /// The call of the token's script.
    pub(super) fn own_call(&self, token: &[u8], written: &Written) -> Cmd {
        let mut call = scripts::OWN.call(&[token]);
        call.arg(self.user.as_str()).arg(&written.stamp).arg(&written.registered).arg(self.expires("-"));
        call.arg(self.owners).arg(&written.left).arg(self.now_ms).arg(u8::from(self.only_if_newest));
        call
    }

    fn expires(&self, never: &str) -> String {
        self.expires_at_ms.map_or(never.to_owned(), |expires| expires.to_string())
    }

    /// The note's field and value.
    pub(super) fn note(&self, written: &Written) -> [String; 2] {
        let field = note_field(self.user, self.words.provider, self.words.token);
        [field, format!("{} {} {}", written.stamp, self.owners, written.registered)]
    }
}

fn note_field(user: &User, provider: &str, token: &str) -> String {
    format!("{} {provider} {token}", user.as_str())
}

impl Stored {
    pub(super) fn of(answer: crate::engine::Value) -> Stored {
        let mut answer = Answer::of(answer);
        let what = match answer.number() {
            1 => Registered::New,
            2 => Registered::Renewed,
            3 => return Stored::Later,
            _ => return Stored::TooMany,
        };
        let mut word = || answer.word().unwrap_or_default();
        let (stamp, registered, left) = (word(), word(), word());
        let lost = lost(&mut answer);
        Stored::Written(Box::new(Written { what, stamp, registered, left, lost }))
    }
}

fn lost(answer: &mut Answer) -> Vec<Lost> {
    let mut all = Vec::new();
    while let (Some(provider), Some(token), Some(stamp)) = (answer.word(), answer.word(), answer.word()) {
        if let Some((provider, _)) = provider_and_token(&provider, &token) {
            all.push(Lost { provider, token, stamp });
        }
    }
    all
}

impl RedisStore {
    /// All of a registration; what it answers is stored for good, and nobody else has the token who must not.
    pub(super) fn store(
        &mut self,
        entry: &Entry<'_>,
        budget: Budget,
    ) -> Result<Option<Registered>, StoreError> {
        let [user, notes] = self.slot_of(entry.user);
        let answer = self.change(&scripts::REGISTER, &user, entry.call(&user, &notes), budget)?;
        match Stored::of(answer) {
            Stored::TooMany | Stored::Later => Ok(None),
            Stored::Written(written) => {
                let token = self.token_key(entry);
                let own = entry.own_call(&token, &written);
                let answer = self.change(&scripts::OWN, &token, own, budget)?;
                self.finish(entry, &written, Answer::of(answer), budget)
            }
        }
    }

    /// The rest, once the token's script has answered.
    pub(super) fn finish(
        &mut self,
        entry: &Entry<'_>,
        written: &Written,
        mut owned: Answer,
        budget: Budget,
    ) -> Result<Option<Registered>, StoreError> {
        let token = self.token_key(entry);
        let is_left = owned.number() == 3;
        if is_left {
            let Words { provider, token, .. } = entry.words;
            self.evict(entry.user, [provider, token, &written.stamp], budget)?;
        } else {
            self.evict_all(&token, [entry.words.provider, entry.words.token], &mut owned, budget)?;
        }
        self.drop_lost(entry.user, &written.lost, budget)?;
        let [field, value] = entry.note(written);
        if !self.settle(entry.user, &field, &value, budget)? && !is_left {
            self.look_again(entry, written, budget)?;
        }
        Ok(Some(written.what).filter(|_| !is_left))
    }

    /// Those whom the token's script named: the token goes from them, and they from its owners.
    fn evict_all(
        &mut self,
        key: &[u8],
        [provider, token]: [&str; 2],
        named: &mut Answer,
        budget: Budget,
    ) -> Result<(), StoreError> {
        let mut disown = scripts::DISOWN.call(&[key]);
        let mut is_due = false;
        while let (Some(name), Some(stamp)) = (named.word(), named.word()) {
            if let Ok(user) = User::parse(&name) {
                self.evict(&user, [provider, token, &stamp], budget)?;
            }
            disown.arg(name).arg(stamp);
            is_due = true;
        }
        if is_due {
            self.change(&scripts::DISOWN, key, disown, budget)?;
        }
        Ok(())
    }

    fn evict(
        &mut self,
        user: &User,
        [provider, token, stamp]: [&str; 3],
        budget: Budget,
    ) -> Result<(), StoreError> {
        let key = self.keys.user(user);
        let call = scripts::EVICT.call(&[&key]).arg(provider).arg(token).arg(stamp).to_owned();
        self.change(&scripts::EVICT, &key, call, budget).map(|_| ())
    }

    /// The note is not ours any more: somebody has finished it, or has deleted or evicted the device meanwhile. Then the token's owners
    /// were told too late that the user is one.
    fn look_again(&mut self, entry: &Entry<'_>, written: &Written, budget: Budget) -> Result<(), StoreError> {
        let stamp: u64 = written.stamp.parse().unwrap_or_default();
        let is_it = |token: &Token| {
            letter(token.provider()) == entry.words.provider && token.expose() == entry.words.token
        };
        let all = self.all_of(entry.user, budget)?;
        if all.iter().any(|(device, own)| *own >= stamp && is_it(&device.token)) {
            return Ok(());
        }
        self.disown(&self.token_key(entry), entry.user, &written.stamp, budget)
    }

    pub(super) fn forget(
        &mut self,
        user: &User,
        device_id: Option<&str>,
        budget: Budget,
    ) -> Result<usize, StoreError> {
        let [key, notes] = self.slot_of(user);
        let mut call = scripts::DELETE.call(&[&key, &notes]);
        call.arg(user.as_str()).arg(device_id);
        let mut answer = Answer::of(self.change(&scripts::DELETE, &key, call, budget)?);
        let gone = answer.number();
        self.drop_lost(user, &lost(&mut answer), budget)?;
        Ok(usize::try_from(gone).unwrap_or_default())
    }

    /// Takes the user from the owners of tokens that he has no more, and strikes the notes out.
    pub(super) fn drop_lost(&mut self, user: &User, lost: &[Lost], budget: Budget) -> Result<(), StoreError> {
        for Lost { provider, token, stamp } in lost {
            let key = self.keys.token(*provider, token);
            self.disown(&key, user, stamp, budget)?;
            let field = note_field(user, letter(*provider), token);
            self.settle(user, &field, &format!("{stamp} 0 0"), budget)?;
        }
        Ok(())
    }

    fn disown(&mut self, key: &[u8], user: &User, stamp: &str, budget: Budget) -> Result<(), StoreError> {
        let call = scripts::DISOWN.call(&[key]).arg(user.as_str()).arg(stamp).to_owned();
        self.change(&scripts::DISOWN, key, call, budget).map(|_| ())
    }

    /// True where the note was there. Where a failover brings it back, it is done once more.
    fn settle(&mut self, user: &User, field: &str, value: &str, budget: Budget) -> Result<bool, StoreError> {
        let notes = self.keys.notes(layout::bucket_of(user));
        let call = scripts::SETTLE.call(&[&notes]).arg(field).arg(value).to_owned();
        let struck = self.call(&scripts::SETTLE, &call, budget)?;
        Ok(Answer::of(struck).number() == 1)
    }

    pub(super) fn retire_everywhere(
        &mut self,
        token: &Token,
        since_ms: i64,
        budget: Budget,
    ) -> Result<usize, StoreError> {
        let key = self.keys.owners(token);
        let owners = self.engine.run(&cmd("HGETALL").arg(&key).to_owned(), budget.left())?;
        let (mut owners, mut retired) = (Answer::of(owners), 0);
        while let (Some(name), Some(owner)) = (owners.word(), owners.word()) {
            let Ok(user) = User::parse(&name) else { continue };
            let known = owner.split(' ').next().unwrap_or_default();
            retired += self.retire_from(&user, token, since_ms, known, budget)?;
        }
        Ok(retired)
    }

    fn retire_from(
        &mut self,
        user: &User,
        token: &Token,
        since_ms: i64,
        known: &str,
        budget: Budget,
    ) -> Result<usize, StoreError> {
        let [key, notes] = self.slot_of(user);
        let provider = letter(token.provider());
        let mut call = scripts::RETIRE.call(&[&key, &notes]);
        call.arg(user.as_str()).arg(provider).arg(token.expose()).arg(since_ms);
        let mut answer = Answer::of(self.change(&scripts::RETIRE, &key, call, budget)?);
        let (gone, stay, last) = (answer.number(), answer.number(), answer.word().unwrap_or_default());
        // An owner without the token is one who was never taken from its owners.
        let stamp = if gone > 0 { &last } else { known };
        if stay == 0 {
            let of = Lost {
                provider: token.provider(),
                token: token.expose().to_owned(),
                stamp: stamp.to_owned(),
            };
            self.drop_lost(user, &[of], budget)?;
        }
        Ok(usize::try_from(gone).unwrap_or_default())
    }

    /// Looks at the next buckets, and finishes what nobody has finished for a while.
    pub(super) fn finish_what_was_left(&mut self, now_ms: i64, budget: Budget) -> Result<(), StoreError> {
        let first = self.next_bucket;
        let keys: Vec<Vec<u8>> =
            (first..first + BUCKETS_AT_ONCE).map(|bucket| self.keys.notes(bucket)).collect();
        let look = |key: &Vec<u8>| cmd("HGETALL").arg(key).to_owned();
        let looks: Vec<(&[u8], Cmd)> = keys.iter().map(|key| (key.as_slice(), look(key))).collect();
        let found = self.engine.run_many(&looks, None, budget.left())?;
        let mut done = 0;
        for notes in found {
            let mut notes = Answer::of(notes);
            while let (Some(field), Some(value)) = (notes.word(), notes.word()) {
                if is_left(&value, now_ms) {
                    done += 1;
                    self.finish_note(&field, &value, budget)?;
                }
                if done >= NOTES_AT_ONCE {
                    return Ok(());
                }
            }
        }
        self.next_bucket = (first + BUCKETS_AT_ONCE) % layout::BUCKETS;
        Ok(())
    }

    fn finish_note(&mut self, field: &str, value: &str, budget: Budget) -> Result<(), StoreError> {
        let Some((user, provider, token)) = parse_field(field) else { return Ok(()) };
        let mut words = value.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (stamp, owners, registered) = (word(), word(), word());
        let key = self.keys.token(provider, token);
        let all = self.all_of(&user, budget)?;
        let its = all.into_iter().find(|(device, own)| {
            device.provider() == provider && device.token.expose() == token && own.to_string() == stamp
        });
        match its.filter(|_| owners != "0") {
            Some((device, _)) => {
                let expires = device.expires_at_ms.map_or("-".to_owned(), |at| at.to_string());
                let mut own = scripts::OWN.call(&[&key]);
                own.arg(user.as_str()).arg(&stamp).arg(registered).arg(expires).arg(owners);
                // Nobody counts as expired, and the key lives until the next registration says for how long.
                own.arg("").arg(0).arg(0);
                let mut owned = Answer::of(self.change(&scripts::OWN, &key, own, budget)?);
                owned.number();
                self.evict_all(&key, [letter(provider), token], &mut owned, budget)?;
            }
            None => self.disown(&key, &user, &stamp, budget)?,
        }
        self.settle(&user, field, value, budget).map(|_| ())
    }

    /// The keys that a user's scripts work on.
    pub(super) fn slot_of(&self, user: &User) -> [Vec<u8>; 2] {
        [self.keys.user(user), self.keys.notes(layout::bucket_of(user))]
    }

    pub(super) fn token_key(&self, entry: &Entry<'_>) -> Vec<u8> {
        let provider = layout::provider_of(entry.words.provider).unwrap_or(Provider::Apns);
        self.keys.token(provider, entry.words.token)
    }

    /// Strikes out notes of registrations that have nothing more to do, many at once; says of each whether it was there.
    pub(super) fn settle_all(
        &mut self,
        notes: &[(Vec<u8>, [String; 2])],
        budget: Budget,
    ) -> Result<Vec<bool>, StoreError> {
        let settle = |(key, [field, value]): &(Vec<u8>, [String; 2])| {
            scripts::SETTLE.call(&[key]).arg(field).arg(value).to_owned()
        };
        let calls: Vec<(&[u8], Cmd)> = notes.iter().map(|one| (one.0.as_slice(), settle(one))).collect();
        let done = self.many(&calls, &scripts::SETTLE, budget)?;
        Ok(done.into_iter().map(|struck| Answer::of(struck).number() == 1).collect())
    }

    pub(super) fn many(
        &mut self,
        calls: &[(&[u8], Cmd)],
        script: &Script,
        budget: Budget,
    ) -> Result<Vec<crate::engine::Value>, StoreError> {
        Ok(self.engine.run_many(calls, Some(script), budget.left())?)
    }
}

fn is_left(value: &str, now_ms: i64) -> bool {
    let stamp = value.split(' ').next().and_then(|word| word.parse::<i64>().ok()).unwrap_or_default();
    now_ms.saturating_mul(1000).saturating_sub(stamp) >= LEFT_AFTER_US
}

fn parse_field(field: &str) -> Option<(User, Provider, &str)> {
    let mut words = field.split(' ');
    let (user, provider, token) = (words.next()?, words.next()?, words.next()?);
    let (provider, token) = provider_and_token(provider, token)?;
    Some((User::parse(user).ok()?, provider, token))
}
