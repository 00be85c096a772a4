//! `voip-push simulate`, the real binary: what it checks and answers, and what its control API can do.
//!
//! No Apple, no Google and no library code of ours is involved: the client here is h2 and rustls, the keys are
//! the files that the simulator wrote, and `openssl` is the second opinion on them.
#![cfg(feature = "command")]

#[path = "simulator/apns.rs"]
mod apns;
#[path = "simulator/behaviours.rs"]
mod behaviours;
#[path = "simulator/client.rs"]
mod client;
#[path = "simulator/control.rs"]
mod control;
#[path = "simulator/fcm.rs"]
mod fcm;
#[path = "simulator/harness.rs"]
mod harness;
#[path = "simulator/oauth.rs"]
mod oauth;
#[path = "simulator/process.rs"]
mod process;
#[path = "simulator/provider_token.rs"]
mod provider_token;
