//! voip_push: one shared library that lets a SIP server wake sleeping phones.
//!
//! The same file is a C library (`include/voip_push.h` is its manual), a Kamailio module, and the base of the command
//! `voip-push`. Rust programs may use the rooms below, but only C and the script functions are kept stable.
//!
//! # Process model
//!
//! A SIP server forks, and nothing that owns a thread, a socket, a TLS session or a SQLite handle may exist before that.
//!
//! - Before the fork, [`service::Service::prepare`] reads the configuration and the keys, makes the counters in shared memory,
//!   and leaves nothing open.
//! - A reload is done by one process, whichever is asked; the others take over what it has read, out of shared memory, when they
//!   next look at a setting ([`config::InForce`]).
//! - Each process opens its own handle on the token store when it first needs it, keyed by its pid; what came over a fork is
//!   abandoned, never used and never dropped ([`process::PerProcess`]).
//! - Pushes are sent by one engine ([`sender`]): in a process of its own that the SIP server forks, or in a thread of a C
//!   program. Its threads block all signals and never call the host.
//! - Panics are caught at every porch: a guest must not end its host.
//!
//! # The map
//!
//! ```text
//! c_api, host, bin      the porches: C, Kamailio, the command
//!   rest                the HTTP API as a function
//!     service           the verbs: register, lookup, delete, send
//!       sender          what is sent when, what is tried again, which token dies
//!         provider      apns, fcm: a push becomes a request, an answer an outcome
//!           payload     what a push tells the app, a profile for each kind of app
//!         http2         connections to a provider
//!       store           tokens in SQLite, or in a Redis or Valkey
//!         engine        connections to that
//!       stats           counters in shared memory
//!         config        the TOML file, checked
//!         sip           SIP as text
//!           model       users, devices, tokens, calls, outcomes
//!           process     what forking makes necessary
//!           clock       what time it is
//! ```
//!
//! Who may use whom is a law that `tests/import_law.rs` reads from the sources.

pub mod c_api;
pub mod clock;
pub mod config;
pub mod engine;
pub mod host;
pub mod http2;
pub mod model;
pub mod payload;
pub mod process;
pub mod provider;
mod random;
pub mod rest;
pub mod sender;
pub mod service;
pub mod sip;
pub mod stats;
pub mod store;
pub mod timeline;
