//! What a sender needs from the settings, made before anything starts: keys, trust roots, one lane per credential.
//!
//! It refuses to open a socket; that is for the process that sends.

use super::authorizer::Authorizer;
use super::lane::Lane;
use crate::config::{ConfigError, Origin, Settings};
use crate::http2::{Client, Tls};
use crate::model::Environment;
use crate::provider::PushProvider;
use crate::provider::apns::Apns;
use crate::provider::fcm::Fcm;
use crate::stats::Stats;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

pub(super) struct Plan {
    lanes: Vec<Planned>,
}

pub(super) struct Planned {
    pub(super) provider: Arc<dyn PushProvider>,
    pub(super) origin: Origin,
    pub(super) tls: Tls,
}

impl Plan {
    /// Fails with one line that names the key which cannot be sent with.
    pub(super) fn new(settings: &Settings) -> Result<Plan, ConfigError> {
        let mut lanes = Vec::new();
        let default_environment =
            settings.apns.first().map_or(Environment::Production, |first| first.environment);
        for credential in &settings.apns {
            let origin = credential.origin.clone();
            let tls = Tls::new(&origin).map_err(|why| settings.error("[[apns]] ca_file", why))?;
            let provider = Arc::new(Apns::new(credential.clone(), default_environment));
            lanes.push(Planned { provider, origin, tls });
        }
        for credential in &settings.fcm {
            let refused = |why| settings.error("[[fcm]] ca_file", why);
            let origin = credential.origin.clone();
            let tls = Tls::new(&origin).map_err(refused)?;
            let provider = Arc::new(Fcm::new(credential.clone()).map_err(refused)?);
            lanes.push(Planned { provider, origin, tls });
        }
        Ok(Plan { lanes })
    }

    /// What there is for each credential.
    pub(super) fn into_each(self) -> impl Iterator<Item = Planned> {
        self.lanes.into_iter()
    }

    /// One lane per credential; those that were there before with the same key and origin keep their connections, the others are not
    /// connected yet. Those of the same key share its authorization: Apple counts how often a key's token changes.
    pub(super) fn open(&self, before: &[Rc<Lane>], stats: &Arc<Stats>) -> Vec<Rc<Lane>> {
        let mut before: Vec<&Rc<Lane>> = before.iter().collect();
        let kept: Vec<Option<&Rc<Lane>>> =
            self.lanes.iter().map(|planned| planned.take(&mut before)).collect();
        let held = |lane: &&Rc<Lane>| (lane.signer(), Rc::clone(lane.authorizer()));
        let mut authorizers: HashMap<String, Rc<Authorizer>> = kept.iter().flatten().map(held).collect();
        let lane = |(planned, kept): (&Planned, Option<&Rc<Lane>>)| {
            let provider = Arc::clone(&planned.provider);
            if let Some(kept) = kept {
                return kept.with_provider(provider);
            }
            let client = Client::new(planned.origin.clone(), planned.watched_tls(stats));
            let authorizer = authorizers
                .entry(provider.signer())
                .or_insert_with(|| Authorizer::new(Arc::clone(&provider)));
            Lane::new(provider, client, Rc::clone(authorizer))
        };
        self.lanes.iter().zip(kept).map(lane).collect()
    }
}

impl Planned {
    /// What shows how long the server's certificate is good.
    fn watched_tls(&self, stats: &Arc<Stats>) -> Tls {
        let (stats, provider, endpoint) =
            (Arc::clone(stats), self.provider.provider(), self.origin.endpoint());
        self.tls.watched(move |ends_at_s| stats.certificate_seen(provider, &endpoint, ends_at_s))
    }

    /// Takes the lane of the same key at the same origin out of those that were there before.
    fn take<'a>(&self, before: &mut Vec<&'a Rc<Lane>>) -> Option<&'a Rc<Lane>> {
        let at = before.iter().position(|lane| lane.is_for(&*self.provider, &self.origin))?;
        Some(before.remove(at))
    }
}
