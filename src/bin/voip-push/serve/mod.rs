//! `voip-push serve`: the REST API over the token store of a SIP server that cannot serve it itself.
//!
//! It refuses to answer by itself: requests go to the same function as in Kamailio. It pushes nothing and owns no credential.

mod args;
mod client;
mod connection;
mod tls;

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use voip_push::process::{HangUpSignal, StopSignal, Watched, is_root, raise_descriptor_limit};
use voip_push::service::Service;

pub use args::Args;

use crate::Failure;

/// How long requests under way may still take when the server is to stop.
const STOP: Duration = Duration::from_secs(5);

/// What all connections share.
pub struct Server {
    service: Service,
    tls: Option<TlsAcceptor>,
    proxies: Vec<IpAddr>,
    patience: Duration,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.check()?;
    start_log();
    // Before other threads are started, which inherit it.
    let stop = StopSignal::take_over().map_err(cannot("wait for signals"))?;
    let again = HangUpSignal::take_over().map_err(cannot("wait for signals"))?;
    let server = Arc::new(prepare(args)?);
    let socket = TcpListener::bind(args.listen).map_err(cannot(&format!("listen on {}", args.listen)))?;
    raise_descriptor_limit();
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(cannot("start an event loop"))?;
    let done = runtime.block_on(serve(server, socket, (&stop, &again), args.max_connections as usize));
    // What a disk still holds up is not waited for.
    runtime.shutdown_background();
    done
}

/// To standard error, and only our own lines: what other crates log at high levels may hold credentials.
fn start_log() {
    env_logger::Builder::new().filter_module("voip_push", LevelFilter::Trace).init();
    log::set_max_level(LevelFilter::Warn);
}

fn prepare(args: &Args) -> Result<Server, Failure> {
    let service = Service::prepare(&args.config).map_err(|error| Failure::Failed(error.to_string()))?;
    log::set_max_level(service.settings().log_level);
    if service.settings().api_keys.is_none() {
        let file = args.config.display();
        return Err(Failure::Failed(format!(
            "{file}: [rest] api_keys_file is missing; nobody could use the REST API"
        )));
    }
    if is_root() {
        log::warn!("runs as root: the SIP server's user cannot write token databases that root has made");
    }
    let tls = args.cert.as_deref().zip(args.key.as_deref());
    let (tls, ends_at_s) = tls.map(|(cert, key)| tls::acceptor(cert, key)).transpose()?.unzip();
    if let Some(ends_at_s) = ends_at_s.flatten() {
        service.stats().serves_with(ends_at_s);
    }
    Ok(Server { service, tls, proxies: args.behind_proxy.clone(), patience: args.patience() })
}

async fn serve(
    server: Arc<Server>,
    socket: TcpListener,
    (stop, again): (&StopSignal, &HangUpSignal),
    most: usize,
) -> Result<(), Failure> {
    let failed = cannot("use the listening socket");
    socket.set_nonblocking(true).map_err(&failed)?;
    let address = socket.local_addr().map_err(&failed)?;
    let listener = tokio::net::TcpListener::from_std(socket).map_err(&failed)?;
    let stopped = Watched::new(stop).map_err(cannot("wait for signals"))?;
    let asked_again = Watched::new(again).map_err(cannot("wait for signals"))?;
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    log::info!("serves the REST API on {scheme}://{address}");
    let places = Arc::new(Semaphore::new(most));
    let (is_over, watches) = watch::channel(false);
    let accept = async {
        loop {
            let (place, tcp, peer) = next(&places, &listener).await;
            let (server, watches) = (Arc::clone(&server), watches.clone());
            tokio::spawn(async move {
                connection::welcome(server, tcp, peer, watches).await;
                drop(place);
            });
        }
    };
    let reload = async {
        while let Ok(mut ready) = asked_again.readable().await {
            if again.came() {
                // What is wrong is in the log, and nothing has changed then.
                let _ = server.service.reload(None);
            }
            ready.clear_ready();
        }
    };
    tokio::select! {
        () = accept => {}
        () = reload => {}
        // An error is an end as well.
        _ = stopped.readable() => {}
    }
    drop(listener);
    let _ = is_over.send(true);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(STOP, places.acquire_many(all)).await;
    log::info!("ends");
    Ok(())
}

/// The next client, once there is a place; until then he waits in the kernel's queue.
async fn next(
    places: &Arc<Semaphore>,
    listener: &tokio::net::TcpListener,
) -> (OwnedSemaphorePermit, TcpStream, IpAddr) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else { std::future::pending().await };
        match listener.accept().await {
            Ok((tcp, peer)) => return (place, tcp, peer.ip()),
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to come back.
                log::warn!("cannot take a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn cannot(what: &str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Failed(format!("cannot {what}: {error}"))
}
