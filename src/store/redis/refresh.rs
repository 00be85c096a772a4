//! When phones are to be asked to register again: plans in a few shards, each taken from by one script, so that one node asks.
//!
//! It refuses to name a phone whose registration has ended (RFC 8599 §5.5).

use super::answer::Answer;
use super::layout::{SHARDS, shard_of};
use super::{Budget, RedisStore, scripts};
use crate::engine::{Cmd, Value, cmd};
use crate::model::User;
use crate::store::refresh::MOST_TRIES;
use crate::store::{Refresh, StoreError};

impl RedisStore {
    pub(super) fn plan(
        &mut self,
        user: &User,
        device_id: &str,
        due_at_ms: i64,
        ends_at_ms: i64,
        budget: Budget,
    ) -> Result<(), StoreError> {
        // Neither has a space.
        let phone = format!("{} {device_id}", user.as_str());
        let [due, of] = self.keys.refreshes(shard_of(&phone));
        let mut call = scripts::PLAN.call(&[&due, &of]);
        call.arg(phone).arg(due_at_ms).arg(ends_at_ms);
        self.call(&scripts::PLAN, &call, budget).map(|_| ())
    }

    pub(super) fn take(
        &mut self,
        now_ms: i64,
        retry_ms: i64,
        most: u32,
        budget: Budget,
    ) -> Result<Vec<Refresh>, StoreError> {
        let mut taken = Vec::new();
        for (shard, count) in self.shares(now_ms, most, budget)? {
            let [due, of] = self.keys.refreshes(shard);
            let mut call = scripts::TAKE.call(&[&due, &of]);
            call.arg(now_ms).arg(retry_ms).arg(count).arg(MOST_TRIES);
            let answer = self.call(&scripts::TAKE, &call, budget)?;
            taken.extend(phones(Answer::of(answer)));
        }
        taken.sort_by_key(|(due, _)| *due);
        let still = |refresh: &Refresh| refresh.ends_at_ms > now_ms;
        Ok(taken.into_iter().map(|(_, refresh)| refresh).filter(still).collect())
    }

    /// How many to take from which shard, so that those that are due longest come first.
    fn shares(&mut self, now_ms: i64, most: u32, budget: Budget) -> Result<Vec<(u16, usize)>, StoreError> {
        let keys: Vec<Vec<u8>> = (0..SHARDS).map(|shard| self.keys.refreshes(shard)[0].clone()).collect();
        let look = |key: &Vec<u8>| {
            let mut look = cmd("ZRANGEBYSCORE");
            look.arg(key).arg("-inf").arg(now_ms).arg("WITHSCORES").arg("LIMIT").arg(0).arg(most);
            look
        };
        let looks: Vec<(&[u8], Cmd)> = keys.iter().map(|key| (key.as_slice(), look(key))).collect();
        let found = self.engine.run_many(&looks, None, budget.left())?;
        let mut due: Vec<(i64, u16)> = Vec::new();
        for (shard, value) in (0..SHARDS).zip(found) {
            due.extend(scores(value).map(|score| (score, shard)));
        }
        due.sort_unstable();
        due.truncate(most as usize);
        let share = |shard| (shard, due.iter().filter(|(_, of)| *of == shard).count());
        Ok((0..SHARDS).map(share).filter(|(_, count)| *count > 0).collect())
    }
}

fn scores(found: Value) -> impl Iterator<Item = i64> {
    let mut answer = Answer::of(found);
    std::iter::from_fn(move || answer.word().and_then(|_| answer.word()?.parse::<f64>().ok()))
        .map(|score| score as i64)
}

fn phones(mut answer: Answer) -> impl Iterator<Item = (i64, Refresh)> {
    std::iter::from_fn(move || {
        let phone = answer.word()?;
        Some((phone, answer.number(), answer.number(), answer.number()))
    })
    .filter_map(|(phone, due, ends_at_ms, tries)| {
        let (user, device_id) = phone.split_once(' ')?;
        let user = User::parse(user).ok()?;
        let tries = u32::try_from(tries).ok()?;
        Some((due, Refresh { user, device_id: device_id.to_owned(), ends_at_ms, tries }))
    })
}
