//! Many devices at once: all of them, page by page from each master, and many more in few round trips.
//!
//! It refuses to let an old registration replace a newer one: phones register while an export is carried over.

use super::answer::Answer;
use super::record::Words;
use super::saga::{Entry, Stored, Written};
use super::{Budget, RedisStore, scripts};
use crate::clock::now_ms;
use crate::engine::{Cmd, Place, Value, cmd};
use crate::model::{Device, User};
use crate::store::{Imported, Registered, StoreError, ToImport};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// So many keys an engine looks at for a page.
const PAGE: u32 = 1000;
/// So many devices are taken in at a time.
const BATCH: usize = 500;
/// How long a page or a batch may take; nobody waits for it but an administrator.
const WITHIN: Duration = Duration::from_secs(30);

/// Work on the keys of a page; false is enough.
type OnPage<'a> = dyn FnMut(&mut RedisStore, &[Vec<u8>]) -> Result<bool, StoreError> + 'a;

impl RedisStore {
    pub(super) fn tell_each(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        self.each_page(&mut |store, keys| {
            let get = |key: &Vec<u8>| cmd("HGETALL").arg(key).to_owned();
            for (key, value) in keys.iter().zip(store.of_keys(keys, get)?) {
                let Some(user) = store.keys.user_of(key).and_then(|user| User::parse(user).ok()) else {
                    continue;
                };
                for (device, _) in store.read_all(&user, &value) {
                    if !tell(device) {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })
    }

    pub(super) fn count_all(&mut self) -> Result<u64, StoreError> {
        let mut count = 0;
        self.each_page(&mut |store, keys| {
            for value in store.of_keys(keys, |key| cmd("HLEN").arg(key).to_owned())? {
                count += u64::try_from(Answer::of(value).number()).unwrap_or_default();
            }
            Ok(true)
        })?;
        Ok(count)
    }

    fn of_keys(&mut self, keys: &[Vec<u8>], ask: impl Fn(&Vec<u8>) -> Cmd) -> Result<Vec<Value>, StoreError> {
        let asks: Vec<(&[u8], Cmd)> = keys.iter().map(|key| (key.as_slice(), ask(key))).collect();
        Ok(self.engine.run_many(&asks, None, WITHIN)?)
    }

    /// Every user's key once. An engine may name a key twice while it makes room, so those that were seen are remembered.
    fn each_page(&mut self, work: &mut OnPage<'_>) -> Result<(), StoreError> {
        let mut seen: HashSet<u64> = HashSet::new();
        for place in self.engine.masters(WITHIN)? {
            let mut cursor = "0".to_owned();
            loop {
                let (next, mut keys) = self.page(&place, &cursor)?;
                keys.retain(|key| seen.insert(short(key)));
                if !keys.is_empty() && !work(self, &keys)? {
                    return Ok(());
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    fn page(&mut self, place: &Place, cursor: &str) -> Result<(String, Vec<Vec<u8>>), StoreError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(self.keys.all_users()).arg("COUNT").arg(PAGE);
        // What another program keeps under our names is left alone.
        scan.arg("TYPE").arg("hash");
        let found = self.engine.run_at(place, &scan, WITHIN)?;
        let Value::Array(parts) = found else { return Ok(("0".to_owned(), Vec::new())) };
        let next = parts.first().and_then(Answer::text).unwrap_or_else(|| "0".to_owned());
        let Some(Value::Array(keys)) = parts.into_iter().nth(1) else { return Ok((next, Vec::new())) };
        let bytes = |key| if let Value::BulkString(bytes) = key { Some(bytes) } else { None };
        Ok((next, keys.into_iter().filter_map(bytes).collect()))
    }

    pub(super) fn import_all(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError> {
        let mut imported = Imported::default();
        let clock_ms = now_ms();
        for batch in devices.chunks(BATCH) {
            let entries: Vec<Entry<'_>> = batch.iter().map(|one| entry(one, clock_ms)).collect();
            self.import_batch(&entries, &mut imported)?;
        }
        Ok(imported)
    }

    fn import_batch(&mut self, entries: &[Entry<'_>], imported: &mut Imported) -> Result<(), StoreError> {
        let budget = Budget::new(WITHIN);
        let open = self.without_later_owners(entries, budget)?;
        let slots: Vec<[Vec<u8>; 2]> = open.iter().map(|entry| self.slot_of(entry.user)).collect();
        let calls: Vec<(&[u8], Cmd)> = (open.iter().zip(&slots))
            .map(|(entry, [user, notes])| (user.as_slice(), entry.call(user, notes)))
            .collect();
        let written: Vec<(&Entry<'_>, Box<Written>)> = (open.iter())
            .zip(self.many(&calls, &scripts::REGISTER, budget)?)
            .filter_map(|(entry, answer)| match Stored::of(answer) {
                Stored::Written(written) => Some((*entry, written)),
                Stored::TooMany | Stored::Later => None,
            })
            .collect();
        let keys: Vec<Vec<u8>> = written.iter().map(|(entry, _)| self.token_key(entry)).collect();
        let calls: Vec<(&[u8], Cmd)> = (keys.iter().zip(&written))
            .map(|(key, (entry, written))| (key.as_slice(), entry.own_call(key, written)))
            .collect();
        let owned = self.many(&calls, &scripts::OWN, budget)?;
        let done = self.finish_batch(written, owned, budget)?;
        let of = |what| done.iter().filter(|one| **one == what).count() as u64;
        imported.new += of(Registered::New);
        imported.renewed += of(Registered::Renewed);
        imported.left += (entries.len() - done.len()) as u64;
        Ok(())
    }

    /// Most have nothing more to do than to strike out their notes, and do that together.
    fn finish_batch(
        &mut self,
        written: Vec<(&Entry<'_>, Box<Written>)>,
        owned: Vec<Value>,
        budget: Budget,
    ) -> Result<Vec<Registered>, StoreError> {
        let (mut done, mut simple) = (Vec::new(), Vec::new());
        for ((entry, written), owned) in written.into_iter().zip(owned) {
            let is_alone = matches!(&owned, Value::Array(parts) if parts.as_slice() == [Value::Int(1)]);
            if is_alone && written.lost.is_empty() {
                done.push(written.what);
                simple.push((self.slot_of(entry.user)[1].clone(), entry.note(&written)));
            } else {
                done.extend(self.finish(entry, &written, Answer::of(owned), budget)?);
            }
        }
        self.settle_all(&simple, budget)?;
        Ok(done)
    }

    /// Those whose token nobody else has registered later.
    fn without_later_owners<'a, 'b>(
        &mut self,
        entries: &'a [Entry<'b>],
        budget: Budget,
    ) -> Result<Vec<&'a Entry<'b>>, StoreError> {
        let keys: Vec<Vec<u8>> = entries.iter().map(|entry| self.token_key(entry)).collect();
        let looks: Vec<(&[u8], Cmd)> =
            keys.iter().map(|key| (key.as_slice(), cmd("HGETALL").arg(key).to_owned())).collect();
        let found = self.engine.run_many(&looks, None, budget.left())?;
        let is_open = |(entry, owners): &(&Entry<'_>, Value)| !has_later(entry, owners.clone());
        Ok(entries.iter().zip(found).filter(is_open).map(|(entry, _)| entry).collect())
    }
}

fn has_later(entry: &Entry<'_>, owners: Value) -> bool {
    let mut owners = Answer::of(owners);
    while let (Some(user), Some(owner)) = (owners.word(), owners.word()) {
        let registered = owner.split(' ').nth(1).and_then(|word| word.parse::<i64>().ok());
        if user != entry.user.as_str() && registered.is_some_and(|at| at > entry.registered_at_ms) {
            return true;
        }
    }
    false
}

fn entry(one: &ToImport, clock_ms: i64) -> Entry<'_> {
    Entry {
        user: &one.device.user,
        device_id: &one.device.device_id,
        words: Words::of(&one.device),
        registered_at_ms: one.registered_at_ms,
        expires_at_ms: one.expires_at_ms,
        // What has expired is carried over as it is.
        now_ms: i64::MIN,
        clock_ms,
        devices: u32::MAX,
        owners: 1,
        only_if_newest: true,
    }
}

fn short(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
