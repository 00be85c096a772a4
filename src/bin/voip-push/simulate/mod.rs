//! `voip-push simulate`: a strict stand-in for APNs, FCM HTTP v1 and Google's token endpoint.
//!
//! It refuses to be kinder than the real services: what they check is checked here, in their order, and what
//! could not be made the same is told in the file that does it.

mod apns;
mod args;
mod behaviour;
mod clock;
mod connection;
mod console;
mod control;
mod exchange;
mod files;
mod google;
mod host;
mod http1;
mod http2;
mod identity;
mod journal;
mod listener;
mod on_push;
mod push;
mod random;
mod tokens;
mod violation;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use voip_push::process::{StopSignal, Watched};

pub use args::Args;
pub use random::url_safe as random_key;

use crate::Failure;
use files::Directory;
use identity::Secrets;
use listener::Sockets;

/// Everything that the listeners share.
pub struct Sim {
    known_only: bool,
    fast: bool,
    latency: Duration,
    clock: clock::Clock,
    apns: apns::Rules,
    google: google::Rules,
    tokens: tokens::Tokens,
    behaviours: behaviour::ServiceBehaviours,
    connections: connection::Connections,
    violations: violation::Violations,
    journal: journal::Journal,
    /// The 20-minute rule for new provider tokens; `PUT /limits` switches it.
    jwt_updates_limited: AtomicBool,
    console: console::Console,
    on_push: Option<on_push::OnPush>,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.check()?;
    // Before the listeners' threads are started, which inherit it.
    let stop = StopSignal::take_over().map_err(cannot_wait)?;
    let directory = Directory::open(&args.dir)?;
    let sockets = Sockets::bind(args)?;
    let urls = sockets.urls(args)?;
    let secrets = Secrets::generate(args, &urls)?;
    let (on_push, pushes) = on_push::channel(args.on_push.as_deref());
    let sim = Arc::new(Sim::new(args, &secrets, on_push));
    let control = sockets.serve(&sim, &secrets.tls)?;
    let runtime = current_thread_runtime()?;
    let done = runtime.block_on(async {
        let stopped = Watched::new(&stop).map_err(cannot_wait)?;
        let control = listener::adopt(control)?;
        tokio::spawn(control::serve(sim.clone(), control));
        tokio::spawn(on_push::work(pushes));
        sim.console.listening(&urls);
        directory.fill(args, &urls, &secrets)?;
        // An error is an end as well.
        let _ = stopped.readable().await;
        directory.retract();
        Ok(())
    });
    // A command of --on-push that still runs is not waited for.
    runtime.shutdown_background();
    done
}

impl Sim {
    fn new(args: &Args, secrets: &Secrets, on_push: Option<on_push::OnPush>) -> Self {
        Sim {
            known_only: args.known_only,
            fast: args.fast,
            latency: args.latency(),
            clock: clock::Clock::new(args.clock_skew_s),
            apns: apns::Rules::new(args, &secrets.apns_key.public),
            google: google::Rules::new(args, secrets),
            tokens: tokens::Tokens::default(),
            behaviours: behaviour::ServiceBehaviours::default(),
            connections: connection::Connections::default(),
            violations: violation::Violations::default(),
            journal: journal::Journal::default(),
            jwt_updates_limited: AtomicBool::new(true),
            console: console::Console::new(args.quiet),
            on_push,
        }
    }
}

/// One thread's event loop.
fn current_thread_runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::Failed(format!("cannot start an event loop: {error}")))
}

fn cannot_wait(error: std::io::Error) -> Failure {
    Failure::Failed(format!("cannot wait for signals: {error}"))
}
