//! What nobody can measure for you: put your own in and run it again.
//!
//! It refuses to hide: every one of them is printed on the page.

use super::measured::Figure;

const fn figure(what: &'static str, value: f64, source: &'static str) -> Figure {
    Figure { what, value, source }
}

/// Gives 10,000 calls/s for 100,000,000 devices.
pub const CALLS_PER_DEVICE_HOUR: Figure = figure(
    "calls per device in the busiest hour",
    0.36,
    "10,000 calls/s to 100,000,000 devices, all of them asleep",
);
/// How often a phone renews its registration by itself.
pub const INTERVAL_S: Figure = figure(
    "seconds between two REGISTERs of a phone",
    86_400.0,
    "apps that are woken by pushes register for long; see the table of intervals",
);
/// What SIP servers tell each other.
pub const WORDS: Figure = figure(
    "words in the stream for a call",
    3.0,
    "it waits; its phone has registered elsewhere; it waits no more",
);
/// User, token, note.
pub const REGISTER_TRIPS: Figure = figure(
    "round trips of a registration",
    3.0,
    "the user, the token's owners, the note: src/store/redis/saga.rs",
);
/// iPhones.
pub const APNS_SHARE: Figure = figure("share of pushes that go to APNs", 0.5, "the rest goes to FCM");
/// From request to answer.
pub const PROVIDER_MS: Figure =
    figure("a provider's answer, median, ms", 100.0, "log-normal; one in a hundred takes ten times as long");
/// From push to REGISTER.
pub const WAKE_S: Figure =
    figure("seconds from push to the phone's REGISTER", 3.0, "phones and networks differ");
/// Each way and back.
pub const ROUND_TRIP_US: Figure =
    figure("round trip between SIP server and engine, µs", 200.0, "one data centre");
/// The operator's own.
pub const SCRIPT_CALL_US: Figure =
    figure("your own script, TLS and digest for a call, CPU µs", 1_000.0, "yours: measure it");
/// The operator's own.
pub const SCRIPT_REGISTER_US: Figure =
    figure("your own script, TLS and digest for a REGISTER, CPU µs", 500.0, "yours: measure it");
/// Of one SIP server.
pub const CORES: Figure = figure("cores of a SIP server", 8.0, "");
/// Kamailio's `children`.
pub const WORKERS: Figure =
    figure("workers of a SIP server", 32.0, "they wait for the engine, so more than cores");
/// How full anything may be that grows with the load.
pub const FULL: Figure = figure(
    "how busy a core may be when it is planned",
    0.5,
    "the other half is for the node that fails, and for peaks",
);
/// Of one engine's machine.
pub const ENGINE_GB: Figure = figure(
    "GB of tokens in one master",
    16.0,
    "a machine of 32 GB: the other half is for its fork when it saves",
);
/// Kamailio's shared memory.
pub const HELD_BYTES: Figure =
    figure("a held call, bytes of Kamailio's shared memory", 14_000.0, "as 100 and more held calls took");
/// HTTP/2.
pub const APNS_STREAMS: Figure =
    figure("streams that APNs allows on a connection", 1_000.0, "it says so itself, and may change it");
/// HTTP/2.
pub const FCM_STREAMS: Figure =
    figure("streams that FCM allows on a connection", 100.0, "as usual for HTTP/2 servers");
/// Google's page on throttling.
pub const FCM_QUOTA: Figure = figure(
    "messages a second that FCM takes for one project",
    10_000.0,
    "Google's documentation: 600,000 a minute",
);
/// The sender's own limit.
pub const CONNECTIONS: Figure =
    figure("connections that a sender opens for one credential at most", 16.0, "src/http2/client.rs");
/// `[sender] max_queued`.
pub const MAX_QUEUED: Figure = figure(
    "pushes that may wait or be under way in a sender",
    10_000.0,
    "`[sender] max_queued`, as it comes",
);

/// All of them, in the order of the page.
pub const ALL: [Figure; 20] = [
    CALLS_PER_DEVICE_HOUR,
    INTERVAL_S,
    WORDS,
    REGISTER_TRIPS,
    APNS_SHARE,
    PROVIDER_MS,
    WAKE_S,
    ROUND_TRIP_US,
    SCRIPT_CALL_US,
    SCRIPT_REGISTER_US,
    CORES,
    WORKERS,
    FULL,
    ENGINE_GB,
    HELD_BYTES,
    APNS_STREAMS,
    FCM_STREAMS,
    FCM_QUOTA,
    CONNECTIONS,
    MAX_QUEUED,
];
