//! What is counted, under which name, and what it means: one table.
//!
//! It refuses labels without a bound: no user, token or call id ever becomes part of a name.

/// One thing that is counted, or a level that goes up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Devices stored or renewed.
    Registered,
    /// Registrations and other requests refused for their arguments.
    BadArgument,
    /// Registrations refused since the user had as many devices as one may have.
    TooManyDevices,
    /// Devices deleted because somebody asked for it.
    Deleted,
    /// Devices deleted because the provider said that the token is dead.
    Retired,
    /// Lookups that found a device.
    LookupFound,
    /// Lookups that found none.
    LookupEmpty,
    /// Calls that were pushed.
    Calls,
    /// Messages that were pushed.
    Messages,
    /// Phones that were asked to renew their registration.
    Refreshes,
    /// Requests within dialogs that were pushed.
    Dialogs,
    /// Requests within dialogs whose PURR wakes nobody.
    UselessPurrs,
    /// Devices that were not pushed to at once, since the call went to them anyway.
    Spared,
    /// Those of them that said nothing and were pushed to after all.
    Silent,
    /// Calls and messages whose every device was refused, is dead, or did not answer.
    CallsFailed,
    /// Pushes that were asked for again while the first was under way or had its answer.
    Duplicates,
    /// Pushes refused since the queue was full.
    QueueFull,
    /// Pushes of other kinds than calls refused since the queue was nearly full.
    OtherKindsRefused,
    /// Pushes refused since their device had its budget.
    DeviceBudget,
    /// Pushes refused since their caller had its budget.
    CallerBudget,
    /// Calls that were refused since too many to their user wait or ring.
    TooManyCalls,
    /// Attempts that were repeated.
    Retries,
    /// Attempts that were sent and never answered: the sum of the next three.
    Lost,
    /// Those whose answer was not there within five seconds, or by the end of the ring time.
    LostLate,
    /// Those that the provider has reset.
    LostReset,
    /// Those whose connection ended first.
    LostClosed,
    /// Pushes that were under way when the sender stopped and its time to wait for them was over.
    LostAtStop,
    /// Pushes that were given up since their call needs them no more.
    Stopped,
    /// Dead tokens that were not deleted because too many died at once.
    Quarantined,
    /// Pairs of credential and app, or of device and app, that a provider said do not belong together.
    PairsQuarantined,
    /// Pushes that were tried in Apple's other environment.
    OtherEnvironment,
    /// Calls that were held until a phone registers.
    Parked,
    /// Held calls that went on because a phone registered.
    Woken,
    /// Calls that were held until nobody came in time.
    WakeTimeout,
    /// Phones that registered for a call which was over.
    Late,
    /// Late phones that were told that their call is over.
    LateTold,
    /// Late phones that could not be told.
    LateFailed,
    /// Calls that could not be resumed, since their transaction was gone.
    ResumeFailed,
    /// Times that the token store could not be reached.
    StoreFailed,
    /// Requests to the REST API without a valid key.
    RestUnauthorized,
    /// Requests to the REST API with a key that is not for this.
    RestForbidden,
    /// Requests to the REST API from an address that has shown too many wrong keys.
    RestThrottled,
    /// Calls, or events of calls, that are missing in the timelines.
    TimelineSkipped,
    /// Times that the configuration was read again and put in force.
    Reloads,
    /// Times that it was found wrong, and nothing was changed.
    ReloadsRefused,
    /// Lookups that were answered from this machine's memory, since the engine is away.
    LookupRemembered,
    /// Lookups of users that this machine does not remember, while the engine is away.
    LookupUnanswered,
    /// Words to other machines' senders that were written for them.
    NodeWordsSaid,
    /// Words of theirs that were heard.
    NodeWordsHeard,
    /// Words that were lost: too many waited, or they were too old.
    NodeWordsDropped,
    /// Phones that registered here while a call waited elsewhere, and that others were told of.
    NodeWakesSaid,
    /// Phones that registered elsewhere and that others told us of.
    NodeWakesHeard,
    /// Times that others were heard again after they could not be.
    NodeReconnects,
    /// Times that words of others were gone before they were heard.
    NodeGaps,
    /// Pushes that another machine had sent already.
    PushedElsewhere,
    /// Pushes that were sent without knowing that.
    NodeClaimsFailed,
    /// Panics that were caught; each one is a bug to report.
    Panics,
    /// Level: pushes that wait or are under way.
    Queued,
    /// Level: calls that are held right now.
    ParkedNow,
    /// Level: dead tokens that wait for an administrator's word.
    InQuarantine,
    /// Level: pairs that are left alone right now.
    PairsInQuarantine,
    /// Level: 1 while the engine of the token store is away, else 0.
    EngineAway,
    /// Level: since when it is away, in seconds since 1970; 0 while it is there.
    EngineAwaySince,
    /// Level: 1 while the engine answers and refuses lookups, else 0.
    EngineRefusesLookups,
    /// Level: 1 while the engine answers and refuses registrations, else 0.
    EngineRefusesRegistrations,
    /// Level: how old the last word of another machine was when it was heard, or since when nobody is heard, in s.
    NodeLag,
}

/// How many of [`TABLE`]'s rows, from the start, only grow; the rest are levels.
pub(super) const GROWING: usize = Counter::Queued as usize;

/// Name (Prometheus' way, without the prefix) and help of each counter, in the order of the enum.
pub(super) const TABLE: &[(Counter, &str, &str)] = &[
    (Counter::Registered, "registered_total", "Devices stored or renewed"),
    (Counter::BadArgument, "bad_argument_total", "Requests refused for their arguments"),
    (
        Counter::TooManyDevices,
        "too_many_devices_total",
        "Registrations refused since the user had too many devices",
    ),
    (Counter::Deleted, "deleted_total", "Devices deleted on request"),
    (Counter::Retired, "retired_total", "Devices deleted because their token is dead"),
    (Counter::LookupFound, "lookup_found_total", "Lookups that found a device"),
    (Counter::LookupEmpty, "lookup_empty_total", "Lookups that found no device"),
    (Counter::Calls, "calls_total", "Calls that were pushed"),
    (Counter::Messages, "messages_total", "SIP messages that were pushed"),
    (Counter::Refreshes, "refreshes_total", "Phones that were asked to renew their registration"),
    (Counter::Dialogs, "dialogs_total", "Requests within dialogs that were pushed"),
    (
        Counter::UselessPurrs,
        "useless_purrs_total",
        "Requests within dialogs whose PURR is not ours or whose phone is gone",
    ),
    (Counter::Spared, "spared_total", "Devices not pushed to at once, since the call went to them anyway"),
    (Counter::Silent, "silent_total", "Devices that were spared, said nothing, and were pushed to after all"),
    (
        Counter::CallsFailed,
        "calls_failed_total",
        "Calls and messages that no provider accepted a push for in time",
    ),
    (Counter::Duplicates, "duplicates_total", "Pushes asked for again and not sent twice"),
    (Counter::QueueFull, "queue_full_total", "Pushes refused since the queue was full"),
    (
        Counter::OtherKindsRefused,
        "other_kinds_refused_total",
        "Pushes of other kinds than calls refused since the queue was nearly full",
    ),
    (Counter::DeviceBudget, "device_budget_total", "Pushes refused since their device had its budget"),
    (Counter::CallerBudget, "caller_budget_total", "Pushes refused since their caller had its budget"),
    (
        Counter::TooManyCalls,
        "too_many_calls_total",
        "Calls refused since too many to their user wait or ring",
    ),
    (Counter::Retries, "retries_total", "Attempts that were repeated"),
    (Counter::Lost, "lost_total", "Attempts that were sent and never answered"),
    (Counter::LostLate, "lost_late_total", "Lost attempts whose answer was not there in time"),
    (Counter::LostReset, "lost_reset_total", "Lost attempts that the provider has reset"),
    (Counter::LostClosed, "lost_closed_total", "Lost attempts whose connection ended first"),
    (Counter::LostAtStop, "lost_at_stop_total", "Pushes unanswered when the sender stopped"),
    (Counter::Stopped, "stopped_total", "Pushes given up since their call needs them no more"),
    (Counter::Quarantined, "quarantined_total", "Dead tokens not deleted because too many died at once"),
    (
        Counter::PairsQuarantined,
        "pairs_quarantined_total",
        "Pairs of app and credential or device that were refused",
    ),
    (Counter::OtherEnvironment, "other_environment_total", "Pushes tried in Apple's other environment"),
    (Counter::Parked, "parked_total", "Calls held until a phone registers"),
    (Counter::Woken, "woken_total", "Held calls that went on because a phone registered"),
    (Counter::WakeTimeout, "wake_timeout_total", "Held calls for which nobody came in time"),
    (Counter::Late, "late_total", "Phones that registered for a call which was over"),
    (Counter::LateTold, "late_told_total", "Late phones that were told that their call is over"),
    (Counter::LateFailed, "late_failed_total", "Late phones that could not be told"),
    (Counter::ResumeFailed, "resume_failed_total", "Calls that could not be resumed"),
    (Counter::StoreFailed, "store_failed_total", "Times that the token store could not be reached"),
    (Counter::RestUnauthorized, "rest_unauthorized_total", "REST requests without a valid API key"),
    (Counter::RestForbidden, "rest_forbidden_total", "REST requests with a key that is not for this"),
    (Counter::RestThrottled, "rest_throttled_total", "REST requests refused after too many wrong API keys"),
    (
        Counter::TimelineSkipped,
        "timeline_skipped_total",
        "Calls, or events of calls, that are missing in the timelines",
    ),
    (Counter::Reloads, "reloads_total", "Times that the configuration was read again and put in force"),
    (Counter::ReloadsRefused, "reloads_refused_total", "Reloads refused for what was wrong in the files"),
    (
        Counter::LookupRemembered,
        "lookup_remembered_total",
        "Lookups answered from this machine's memory while the engine of the token store was away",
    ),
    (
        Counter::LookupUnanswered,
        "lookup_unanswered_total",
        "Lookups of users that this machine did not remember while the engine was away",
    ),
    (
        Counter::NodeWordsSaid,
        "node_words_said_total",
        "Words to the other machines that share the token store: calls that wait, phones that register, pushes to give up",
    ),
    (Counter::NodeWordsHeard, "node_words_heard_total", "Words of other machines that were heard"),
    (
        Counter::NodeWordsDropped,
        "node_words_dropped_total",
        "Words to or of other machines that were lost: too many waited while the engine was away, or they came too late",
    ),
    (
        Counter::NodeWakesSaid,
        "node_wakes_said_total",
        "Phones that registered here and that other machines, where calls wait, were told of",
    ),
    (
        Counter::NodeWakesHeard,
        "node_wakes_heard_total",
        "Phones that registered at another machine, as it told",
    ),
    (
        Counter::NodeReconnects,
        "node_reconnects_total",
        "Times that other machines were heard again after they could not be",
    ),
    (
        Counter::NodeGaps,
        "node_gaps_total",
        "Times that words of other machines were gone before they were heard",
    ),
    (
        Counter::PushedElsewhere,
        "pushed_elsewhere_total",
        "Pushes not sent since another machine had sent them",
    ),
    (
        Counter::NodeClaimsFailed,
        "node_claims_failed_total",
        "Pushes sent without knowing whether another machine had sent them, since the engine did not answer in time",
    ),
    (Counter::Panics, "panics_total", "Panics caught; each one is a bug to report"),
    (Counter::Queued, "queued", "Pushes that wait or are under way"),
    (Counter::ParkedNow, "parked", "Calls held right now"),
    (Counter::InQuarantine, "quarantine", "Dead tokens that wait for an administrator's word"),
    (
        Counter::PairsInQuarantine,
        "quarantined_pairs",
        "Pairs of app and credential or device that get no push",
    ),
    (Counter::EngineAway, "engine_away", "1 while the engine of the token store is away, else 0"),
    (
        Counter::EngineAwaySince,
        "engine_away_since_seconds",
        "Since when the engine is away, in seconds since 1970; 0 while it is there",
    ),
    (
        Counter::EngineRefusesLookups,
        "engine_refuses_lookups",
        "1 while the engine of the token store answers and refuses lookups (password, permission), else 0",
    ),
    (
        Counter::EngineRefusesRegistrations,
        "engine_refuses_registrations",
        "1 while the engine of the token store answers and refuses registrations (password, permission, memory), else 0",
    ),
    (
        Counter::NodeLag,
        "node_lag_seconds",
        "How old the last word of another machine was when it was heard, or since when none can be heard, in seconds",
    ),
];

/// The outcomes in the order of their counters; the names are those of `Outcome::name`.
pub const OUTCOMES: [&str; 6] =
    ["accepted", "token_gone", "rejected", "throttled", "unavailable", "credential_refused"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_counter_once_in_its_order() {
        for (at, &(counter, name, help)) in TABLE.iter().enumerate() {
            assert_eq!(counter as usize, at, "{name}");
            assert_eq!(name.ends_with("_total"), at < GROWING, "{name}");
            assert!(!help.is_empty());
        }
        assert_eq!(TABLE.len(), Counter::NodeLag as usize + 1);
    }
}
