//! The listening sockets: bound first, so that their ports can be told, then served by one thread per host.
//!
//! It refuses clients that do not speak the host's protocol before they take anything more than a handshake.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::args::Args;
use super::connection::Connection;
use super::files::Urls;
use super::host::Host;
use super::identity::TlsIdentity;
use super::violation::Violations;
use super::{Sim, current_thread_runtime, http1, http2};
use crate::Failure;

/// How long a client may take to close after we have.
const LINGER: Duration = Duration::from_secs(2);
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// The four listeners.
pub struct Sockets {
    apns: TcpListener,
    apns_sandbox: TcpListener,
    google: TcpListener,
    control: TcpListener,
}

impl Sockets {
    /// Binds all four.
    pub fn bind(args: &Args) -> Result<Self, Failure> {
        Ok(Sockets {
            apns: bind(args.listen, args.apns_port)?,
            apns_sandbox: bind(args.listen, args.apns_sandbox_port)?,
            google: bind(args.listen, args.google_port)?,
            control: bind(args.control_address(), args.control_port)?,
        })
    }

    /// Where clients find them.
    pub fn urls(&self, args: &Args) -> Result<Urls, Failure> {
        let ip = args.reachable_address();
        Ok(Urls {
            apns: url("https", ip, &self.apns)?,
            apns_sandbox: url("https", ip, &self.apns_sandbox)?,
            google: url("https", ip, &self.google)?,
            control: url("http", args.control_address(), &self.control)?,
        })
    }

    /// Starts a thread for each push host and gives the control socket back.
    pub fn serve(self, sim: &Arc<Sim>, tls: &TlsIdentity) -> Result<TcpListener, Failure> {
        let h2_only = tls.server_config(&[b"h2"])?;
        let h2_and_h1 = tls.server_config(&[b"h2", b"http/1.1"])?;
        spawn(sim, Host::Apns, self.apns, h2_only.clone())?;
        spawn(sim, Host::ApnsSandbox, self.apns_sandbox, h2_only)?;
        spawn(sim, Host::Google, self.google, h2_and_h1)?;
        Ok(self.control)
    }
}

fn bind(ip: IpAddr, port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((ip, port))
        .map_err(|error| Failure::Failed(format!("cannot listen on {}: {error}", SocketAddr::new(ip, port))))
}

fn url(scheme: &str, ip: IpAddr, socket: &TcpListener) -> Result<String, Failure> {
    let address = socket.local_addr().map_err(socket_failed)?;
    Ok(format!("{scheme}://{}", SocketAddr::new(ip, address.port())))
}

fn socket_failed(error: std::io::Error) -> Failure {
    Failure::Failed(format!("cannot use a listening socket: {error}"))
}

/// Hands a bound socket to the running event loop.
pub fn adopt(socket: TcpListener) -> Result<tokio::net::TcpListener, Failure> {
    socket.set_nonblocking(true).map_err(socket_failed)?;
    tokio::net::TcpListener::from_std(socket).map_err(socket_failed)
}

fn spawn(sim: &Arc<Sim>, host: Host, socket: TcpListener, tls: Arc<ServerConfig>) -> Result<(), Failure> {
    let runtime = current_thread_runtime()?;
    let listener = {
        let _inside = runtime.enter();
        adopt(socket)?
    };
    let sim = sim.clone();
    let run = move |runtime: Runtime| runtime.block_on(accept(sim, host, listener, TlsAcceptor::from(tls)));
    std::thread::Builder::new()
        .name(host.name().to_owned())
        .spawn(move || run(runtime))
        .map(drop)
        .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))
}

async fn accept(sim: Arc<Sim>, host: Host, listener: tokio::net::TcpListener, tls: TlsAcceptor) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(welcome(sim.clone(), host, tcp, tls.clone()))),
            // Out of file descriptors, most likely: wait for some to come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn welcome(sim: Arc<Sim>, host: Host, tcp: TcpStream, tls: TlsAcceptor) {
    // Only a hint to the kernel; without it pushes are slower, not wrong.
    let _ = tcp.set_nodelay(true);
    // Not registered with the event loop before the end: it would be woken for every packet.
    let second = tcp.as_fd().try_clone_to_owned();
    let Ok(accepted) = tokio::time::timeout(TLS_HANDSHAKE, tls.accept(tcp)).await else { return };
    let stream = match accepted {
        Ok(stream) => stream,
        Err(error) => return tls_failed(&sim, host, &error),
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if !h2 && host != Host::Google {
        return Violations::add(&sim.violations.no_h2);
    }
    let (connection, commands) = sim.connections.enter(host);
    let end = serve(&sim, &connection, stream, commands, h2).await;
    sim.connections.leave(&connection);
    match end {
        End::Cut => {}
        End::Finished => linger(second).await,
        End::ProtocolError => {
            Violations::add(&sim.violations.protocol_error);
            linger(second).await;
        }
    }
}

/// Reads what the client still sends until it closes. Closing with unread data in the socket would make the kernel
/// send RST, and that can take the GOAWAY away which the client has not read yet.
async fn linger(second: std::io::Result<OwnedFd>) {
    let stream = second.and_then(|fd| TcpStream::from_std(std::net::TcpStream::from(fd)));
    let Ok(mut stream) = stream else { return };
    let drain = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|len| len > 0) {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// A client that does not trust our CA ends here: its administrator should be able to see that.
fn tls_failed(sim: &Sim, host: Host, error: &std::io::Error) {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::NoApplicationProtocol) => Violations::add(&sim.violations.no_h2),
        Some(_) => Violations::add(&sim.violations.tls_failed),
        // The client went away in the middle; that breaks no rule.
        None => return,
    }
    sim.console.tls_failed(host, error);
}

async fn serve(
    sim: &Arc<Sim>,
    connection: &Arc<Connection>,
    stream: TlsStream<TcpStream>,
    commands: tokio::sync::mpsc::UnboundedReceiver<super::connection::Command>,
    h2: bool,
) -> End {
    if h2 {
        http2::serve(sim, connection, stream, commands).await
    } else {
        http1::serve(sim, connection, stream, commands).await
    }
}

/// How a connection ended.
pub enum End {
    /// Both sides had done with it.
    Finished,
    /// The control API, or a behaviour, wanted it gone at once.
    Cut,
    /// The client broke HTTP itself.
    ProtocolError,
}
