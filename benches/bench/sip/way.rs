//! The ways in which a call is answered: without a push, with one of ours, and as people send them today.
//!
//! It refuses to measure: it says what Kamailio's configuration is, and how much load suits it.

use crate::Effort;
use crate::raw;
use crate::server::Script;
use crate::support::simulator::Simulator;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use voip_push::model::Environment;
use voip_push::provider::PushProvider;
use voip_push::provider::apns::Apns;

/// How a call's push is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    None,
    /// With `queue_voip_push`.
    Queue,
    /// Not at all, but suspended and resumed as Kamailio does it by itself.
    AsyncTask,
    /// With `send_voip_push_async`.
    Async,
    /// With a request that the worker waits for.
    HttpClient,
}

impl Way {
    /// All of them, in the order of a run.
    pub const ALL: [Way; 5] = [Way::None, Way::Queue, Way::AsyncTask, Way::Async, Way::HttpClient];

    /// For the table, and in keys.
    pub fn name(self) -> &'static str {
        match self {
            Way::None => "none",
            Way::Queue => "queue",
            Way::AsyncTask => "async_task",
            Way::Async => "async",
            Way::HttpClient => "http_client",
        }
    }

    /// Whether it sends a push for each call.
    pub fn sends(self) -> bool {
        !matches!(self, Way::None | Way::AsyncTask)
    }

    /// Whether it is measured with a provider that takes so long.
    pub fn is_measured_at(self, latency_ms: u64, effort: Effort) -> bool {
        match self {
            // It knows no provider.
            Way::AsyncTask => latency_ms == 0,
            Way::HttpClient => !effort.quick || latency_ms == 100,
            Way::None | Way::Queue | Way::Async => true,
        }
    }

    /// Kamailio's configuration for it.
    pub fn script(self, config: &Path, simulator: &Simulator) -> Script {
        match self {
            Way::None => Script::plain(),
            Way::Queue => Script::with_module(config, "queue_voip_push(\"$rU\", \"$fU\", \"$ci\");"),
            Way::AsyncTask => async_task(),
            Way::Async => {
                Script::with_module(config, "send_voip_push_async(\"$rU\", \"$fU\", \"$ci\", \"ANSWER\");")
            }
            Way::HttpClient => http_client(config, simulator),
        }
    }

    /// Open calls of the closed loop: no flood for what blocks, and enough for what waits without blocking, or the loop itself
    /// were the limit: with 600 that wait for 100 ms there are no more than 6,000 a second.
    pub fn open(self, latency_ms: u64) -> u32 {
        match self {
            Way::HttpClient => 8,
            Way::Async => 600 + 24 * latency_ms as u32,
            Way::None | Way::Queue | Way::AsyncTask => 600,
        }
    }

    /// Calls of the closed loop in all.
    pub fn calls(self, effort: Effort, latency_ms: u64) -> u32 {
        match (self, effort.quick) {
            (Way::HttpClient, true) => 150,
            (Way::HttpClient, false) => {
                if latency_ms == 0 {
                    5000
                } else {
                    600
                }
            }
            (_, true) => 20_000,
            (_, false) => 60_000,
        }
    }
}

/// The least that a call costs a Kamailio which waits for something without blocking: its own module `async` suspends the transaction,
/// and one process of the core, as ours is one, resumes it at once. The module's own processes are for waits of whole seconds.
fn async_task() -> Script {
    let modules = "async_workers=1\nloadmodule \"async.so\"\nmodparam(\"async\", \"workers\", 0)\n";
    Script {
        modules: modules.to_owned(),
        invite: "async_task_route(\"ANSWER\");".to_owned(),
        ..Script::plain()
    }
}

/// What runs today: libcurl in the worker, the request written in the script.
fn http_client(config: &Path, simulator: &Simulator) -> Script {
    let settings = raw::settings(config);
    let apns = Apns::new(settings.apns[0].clone(), Environment::Production);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let authorization = apns.authorize(now as i64).unwrap().value;
    let ca = config.with_file_name("ca.pem");
    let url = simulator.fact("apns");
    let topic = simulator.fact("topic");
    let modules = format!(
        "loadmodule \"http_client.so\"\nmodparam(\"http_client\", \"cacert\", \"{}\")\n\
         modparam(\"http_client\", \"verify_peer\", 1)\nmodparam(\"http_client\", \"verify_host\", 1)\n\
         modparam(\"http_client\", \"connection_timeout\", 5)\n",
        ca.display()
    );
    let headers = format!(
        "authorization: {authorization}\\r\\napns-push-type: voip\\r\\napns-priority: 10\\r\\napns-topic: {topic}\\r\\n\
         apns-expiration: {}\\r\\nContent-Type: application/json",
        now + 3600
    );
    let body =
        r#"{\"aps\":{},\"call_id\":\"$ci\",\"caller\":\"$fU\",\"sip_user\":\"$rU\",\"voip\":\"true\"}"#;
    let invite = format!(
        "if (http_client_query(\"{url}/3/device/$hdr(X-Token)\", \"{body}\", \"{headers}\", \"$var(result)\") != 200) {{\n\
         xlog(\"L_ERR\", \"push failed: $rc\\n\");\n}}"
    );
    Script { modules, invite, ..Script::plain() }
}
