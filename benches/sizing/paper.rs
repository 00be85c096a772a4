//! A service on paper: demands divided by what one server, engine or connection can do.
//!
//! It refuses to say how long anything waits: that is for the simulation.

use super::{assumed, measured};

/// What a service has to do.
#[derive(Debug, Clone, Copy)]
pub struct Demand {
    /// Registered devices, one token each.
    pub devices: f64,
    /// Calls a second, each to a phone that sleeps.
    pub calls: f64,
    /// Seconds between two REGISTERs of a phone.
    pub interval_s: f64,
}

impl Demand {
    /// So many devices, in the busiest hour.
    pub fn of(devices: f64) -> Demand {
        let calls = devices * assumed::CALLS_PER_DEVICE_HOUR.value / 3600.0;
        Demand { devices, calls, interval_s: assumed::INTERVAL_S.value }
    }

    /// REGISTERs that renew, a second.
    pub fn refreshes(&self) -> f64 {
        self.devices / self.interval_s
    }

    /// All REGISTERs a second: each call wakes a phone, which registers.
    pub fn registers(&self) -> f64 {
        self.refreshes() + self.calls
    }
}

/// What that takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Cores' worth of work in all SIP servers.
    pub sip_cores: f64,
    /// SIP servers, one of which may fail.
    pub nodes: usize,
    /// GB of tokens in the engine.
    pub token_gb: f64,
    /// Cores' worth of work in all masters.
    pub engine_cores: f64,
    /// Masters of the Cluster; as many replicas beside them.
    pub masters: usize,
}

/// SIP servers at the least: one that runs and one that may fail.
const FEWEST_NODES: usize = 2;
/// A Cluster elects by majority.
const FEWEST_MASTERS: usize = 3;

/// CPU of a SIP server for a call, µs: what was measured, and the operator's own.
pub fn call_us() -> f64 {
    measured::CALL_US.value + assumed::SCRIPT_CALL_US.value
}

/// CPU of a SIP server for a REGISTER, µs.
pub fn register_us() -> f64 {
    assumed::SCRIPT_REGISTER_US.value
}

/// Sizes a service.
pub fn plan(demand: &Demand) -> Plan {
    let full = assumed::FULL.value;
    let work = demand.calls * call_us() + demand.registers() * register_us();
    let sip_cores = work / 1e6;
    let enough = (sip_cores / (assumed::CORES.value * full)).ceil() as usize;
    let nodes = (enough + 1).max(FEWEST_NODES);
    let token_gb = demand.devices * measured::TOKEN_BYTES.value / 1e9;
    let engine_cores = engine_cores(demand, nodes);
    let by_memory = (token_gb / assumed::ENGINE_GB.value).ceil() as usize;
    let by_work = (engine_cores / full).ceil() as usize;
    Plan { sip_cores, nodes, token_gb, engine_cores, masters: by_memory.max(by_work).max(FEWEST_MASTERS) }
}

fn engine_cores(demand: &Demand, nodes: usize) -> f64 {
    let lookups = demand.calls * measured::ENGINE_LOOKUP_US.value;
    let claims = demand.calls * measured::ENGINE_CLAIM_US.value;
    let registers = demand.registers() * measured::ENGINE_REGISTER_US.value;
    (lookups + claims + registers) / 1e6 + stream_core(demand, nodes)
}

/// Words a second in the stream, each of which every SIP server reads.
pub fn words(demand: &Demand) -> f64 {
    demand.calls * assumed::WORDS.value
}

/// The share of one core that the stream takes in the master that has it. A SIP server writes together what it has to say meanwhile,
/// and reads in one answer all that has come since it read last: the more there is, the less does each word cost.
pub fn stream_core(demand: &Demand, nodes: usize) -> f64 {
    let (words, nodes) = (words(demand), nodes as f64);
    let trip_us = assumed::ROUND_TRIP_US.value;
    let entries = words.min(nodes * 1e6 / (trip_us + measured::ENGINE_WRITE_US.value));
    let first_us = measured::ENGINE_READ_US.value - measured::ENGINE_READ_MORE_US.value;
    let handling = (words * measured::NODE_READ_US.value / 1e6).min(1.0);
    let answers = entries.min((1.0 - handling) * 1e6 / (trip_us + measured::ENGINE_READ_US.value));
    let reading_us = answers * first_us + words * measured::ENGINE_READ_MORE_US.value;
    (entries * measured::ENGINE_WRITE_US.value + nodes * reading_us) / 1e6
}

/// The mean of what a provider takes, µs; it is above the median.
pub fn mean_latency_us() -> f64 {
    let sigma = std::f64::consts::LN_10 / 2.326_35;
    assumed::PROVIDER_MS.value * 1e3 * (sigma * sigma / 2.0).exp()
}

/// Pushes under way at a time: to APNs, to FCM.
pub fn under_way(demand: &Demand) -> [f64; 2] {
    let all = demand.calls * mean_latency_us() / 1e6;
    let apns = assumed::APNS_SHARE.value;
    [all * apns, all * (1.0 - apns)]
}

/// Connections that one of so many senders has to a provider.
pub fn connections(under_way: f64, streams: f64, nodes: usize) -> f64 {
    (under_way / nodes as f64 / streams).ceil().max(1.0)
}
