//! One resource at a time, ever closer to the load that it cannot bear: where waiting begins.
//!
//! It refuses averages: what waits is told by its 99th percentile.

use super::paper::{self, Demand, Plan};
use super::random::Random;
use super::{assumed, measured};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Parts of the load at which a resource is full.
pub const PARTS: [f64; 6] = [0.5, 0.7, 0.8, 0.9, 0.95, 1.05];

/// Something that can be full.
pub struct Resource {
    /// What it is.
    pub name: &'static str,
    /// Servers with one queue.
    pub servers: usize,
    /// What one piece of work takes, µs.
    pub mean_us: f64,
    /// How the work differs.
    pub spread: Spread,
    /// Calls a second of the whole service at which it is full.
    pub full_at_calls: f64,
    /// What to do then.
    pub then: &'static str,
}

/// How long pieces of work are.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    /// All the same.
    None,
    /// Exponential.
    Script,
    /// Log-normal.
    Network,
}

/// Every resource of a service of this size. Everything grows with the calls, REGISTERs too.
pub fn resources(demand: &Demand, plan: &Plan) -> Vec<Resource> {
    let per_call = demand.registers() / demand.calls;
    let nodes = plan.nodes as f64;
    let at = |name, servers: f64, mean_us: f64, spread, work_us_per_call: f64, then| Resource {
        name,
        servers: servers as usize,
        mean_us,
        spread,
        full_at_calls: servers * 1e6 / work_us_per_call,
        then,
    };
    let sip_us = (paper::call_us() + per_call * paper::register_us()) / nodes;
    let register_us = measured::ENGINE_REGISTER_US.value;
    let call_us = measured::ENGINE_LOOKUP_US.value + measured::ENGINE_CLAIM_US.value;
    let master_us = (call_us + per_call * register_us) / plan.masters as f64;
    // At the least: as much in one answer as there may be.
    let words = assumed::WORDS.value;
    let stream_us = master_us + words * nodes * measured::ENGINE_READ_MORE_US.value;
    let trip_us = assumed::ROUND_TRIP_US.value;
    let held_us = paper::call_us()
        + trip_us
        + measured::ENGINE_LOOKUP_US.value
        + per_call * (paper::register_us() + assumed::REGISTER_TRIPS.value * trip_us + register_us);
    let mean_us = paper::mean_latency_us();
    let (apns, fcm) = (assumed::APNS_SHARE.value, 1.0 - assumed::APNS_SHARE.value);
    let streams = |each: f64| each * assumed::CONNECTIONS.value;
    let engine_mean_us = (call_us + per_call * register_us) / (2.0 + per_call);
    let (cores, workers) = (assumed::CORES.value, assumed::WORKERS.value);
    let (apns_streams, fcm_streams) =
        (streams(assumed::APNS_STREAMS.value), streams(assumed::FCM_STREAMS.value));
    let (sender_us, read_us) = (measured::SENDER_US.value, measured::NODE_READ_US.value);
    let (first_us, both) = (measured::ENGINE_READ_US.value, 1.0 + per_call);
    vec![
        at("cores of the SIP servers", cores, sip_us * nodes / both, Spread::Script, sip_us, MORE_SERVERS),
        at(
            "workers of the SIP servers",
            workers,
            held_us / both,
            Spread::Script,
            held_us / nodes,
            "`children`",
        ),
        at("senders", 1.0, sender_us, Spread::None, sender_us / nodes, MORE_SERVERS),
        at("streams to APNs", apns_streams, mean_us, Spread::Network, mean_us * apns / nodes, MORE_SERVERS),
        at("streams to FCM", fcm_streams, mean_us, Spread::Network, mean_us * fcm / nodes, MORE_SERVERS),
        at("masters of the engine", 1.0, engine_mean_us, Spread::None, master_us, "one more master"),
        at("the master with the stream", 1.0, first_us, Spread::None, stream_us, GROUPS),
        at("reading words", 1.0, read_us, Spread::None, read_us * words, GROUPS),
    ]
}

const MORE_SERVERS: &str = "one more SIP server";
const GROUPS: &str = "larger SIP servers, then users in groups";

impl Resource {
    /// How long work waits before it is begun at a part of the load at which the resource is full: 99th percentile, µs.
    pub fn wait_us(&self, part: f64) -> f64 {
        let pieces = (8 * self.servers).max(40_000);
        let mut random = Random::new(11);
        let pause_us = self.mean_us / (self.servers as f64 * part);
        let mut free_ns: BinaryHeap<Reverse<u64>> = (0..self.servers).map(|_| Reverse(0)).collect();
        let (mut now_us, mut waits) = (0.0, Vec::with_capacity(pieces));
        for number in 0..pieces + self.servers {
            now_us += random.exponential(pause_us);
            let Reverse(free) = free_ns.pop().expect("as many go in as come out");
            let begun = (now_us * 1e3).max(free as f64);
            free_ns.push(Reverse((begun + self.takes_us(&mut random) * 1e3) as u64));
            // At first nobody is there.
            if number >= self.servers {
                waits.push(begun / 1e3 - now_us);
            }
        }
        waits.sort_by(f64::total_cmp);
        waits[waits.len() * 99 / 100]
    }

    fn takes_us(&self, random: &mut Random) -> f64 {
        match self.spread {
            Spread::None => self.mean_us,
            Spread::Script => random.exponential(self.mean_us),
            Spread::Network => random.log_normal(assumed::PROVIDER_MS.value * 1e3),
        }
    }
}
