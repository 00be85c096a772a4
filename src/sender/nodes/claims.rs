//! Who pushes a call to a device, where several machines have the same call: the first one that says so.
//!
//! It refuses to hold a push back: where the engine does not answer in time, the push goes out.

use super::Common;
use crate::engine::{Cmd, Engine, cmd, from_redis_value};
use crate::stats::Counter;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Claims that wait for the engine; each takes one round trip, which many share.
pub(super) const MOST_WAITING: usize = 4_096;
const MOST_AT_ONCE: usize = 64;

/// A push that this machine wants to send.
pub(super) struct Claim {
    pub push: Uuid,
    /// How long nobody else may.
    pub ring: Duration,
    /// Whether it may.
    pub answer: oneshot::Sender<bool>,
}

/// Asks until nobody wants to know any more.
pub(super) fn ask(common: &Common, claims: &Receiver<Claim>) {
    let mut engine = Engine::new(&common.settings);
    while let Ok(first) = claims.recv() {
        let more = claims.try_iter().take(MOST_AT_ONCE - 1);
        let claims: Vec<Claim> = std::iter::once(first).chain(more).collect();
        let ours = ask_for(common, &mut engine, &claims);
        for (claim, is_ours) in claims.into_iter().zip(ours) {
            // An error is that the push has ended meanwhile.
            let _ = claim.answer.send(is_ours);
        }
    }
}

/// The second command says who was first, also where the first one was sent twice since its answer was lost.
fn ask_for(common: &Common, engine: &mut Engine, claims: &[Claim]) -> Vec<bool> {
    let keys: Vec<String> =
        claims.iter().map(|claim| common.key(&format!("pushed:{}", claim.push))).collect();
    let commands: Vec<(&[u8], Cmd)> =
        claims.iter().zip(&keys).flat_map(|(claim, key)| both(common, claim, key)).collect();
    match engine.run_many(&commands, None, common.settings.lookup) {
        Ok(answers) => answers.chunks(2).map(|pair| is_ours(common, &pair[pair.len() - 1])).collect(),
        Err(error) => {
            common.stats.add(Counter::NodeClaimsFailed, claims.len() as u64);
            log::debug!("pushes go out without asking whether another machine has sent them: {error}");
            vec![true; claims.len()]
        }
    }
}

fn both<'a>(common: &Common, claim: &Claim, key: &'a str) -> [(&'a [u8], Cmd); 2] {
    let ring_ms = u64::try_from(claim.ring.as_millis()).unwrap_or(u64::MAX).max(1);
    let set = cmd("SET").arg(key).arg(&*common.me).arg("NX").arg("PX").arg(ring_ms).to_owned();
    [(key.as_bytes(), set), (key.as_bytes(), cmd("GET").arg(key).to_owned())]
}

fn is_ours(common: &Common, said: &crate::engine::Value) -> bool {
    let who: Option<String> = from_redis_value(said.clone()).unwrap_or_default();
    who.is_none_or(|who| who == *common.me)
}
