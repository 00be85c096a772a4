//! What happens to a push, as the timeline of its call tells it.
//!
//! It refuses to write out what nobody keeps: texts are made only for calls that are kept.

use crate::model::{Event, Kind, Push, PushResult};
use crate::timeline::Timeline;
use std::time::Duration;

/// A push was handed over.
pub(super) fn note_start(timeline: &Timeline, push: &Push) {
    note(timeline, push, Event::HandedOver, String::new);
}

/// An attempt has come to this, and another one follows.
pub(super) fn note_retry(timeline: &Timeline, push: &Push, result: &PushResult) {
    note(timeline, push, Event::Retried, || said(result));
}

/// A push for this app has ended so long after it was handed over.
pub(super) fn note_end(timeline: &Timeline, push: &Push, app: &str, result: &PushResult, took: Duration) {
    note(timeline, push, Event::PushEnded, || {
        format!("app={app:?} {} id={} ms={}", said(result), push.id(), took.as_millis())
    });
}

/// Another machine pushes it.
pub(super) fn note_elsewhere(timeline: &Timeline, push: &Push) {
    note(timeline, push, Event::PushEnded, || format!("outcome=elsewhere id={}", push.id()));
}

fn said(result: &PushResult) -> String {
    let PushResult { outcome, attempts, .. } = result;
    format!("outcome={} reason={:?} attempts={attempts}", outcome.name(), outcome.reason())
}

fn note(timeline: &Timeline, push: &Push, event: Event, more: impl FnOnce() -> String) {
    // It is about no call.
    if push.kind == Kind::Refresh {
        return;
    }
    timeline.note(&push.call.call_id, push.device.user.as_str(), event, || {
        let (kind, provider) = (push.kind.as_str(), push.device.provider().as_str());
        format!("kind={kind} device=\"{:?}\" provider={provider} {}", push.device.token, more())
    });
}
