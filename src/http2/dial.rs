//! The way to a host: a fresh DNS answer, TCP without delay, TLS that is verified and speaks HTTP/2.
//!
//! It refuses to remember an address: providers move their names (Apple, "Sending notification requests to APNs").

use super::{Tls, certificate_ends_at_s};
use crate::config::Origin;
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A host's addresses, or why there are none.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>>>>;

/// Who is asked for a host's addresses, once for each connection.
pub type Resolve = Rc<dyn Fn(&Origin) -> Addresses>;

/// The system's resolver.
pub(super) fn system_dns(origin: &Origin) -> Addresses {
    let host = (origin.host.clone(), origin.port);
    Box::pin(async move { Ok(tokio::net::lookup_host(host).await?.collect()) })
}

/// How far the way to a host went, where it did not go to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// The name has no address.
    Dns(String),
    /// No address takes a connection.
    Tcp(String),
    /// TLS was not made, for instance since the certificate is not trusted.
    Tls(String),
    /// TLS was made, without HTTP/2.
    NotHttp2,
    /// It took too long.
    Late(Duration),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreached::Dns(why) | Unreached::Tcp(why) => f.write_str(why),
            Unreached::Tls(why) => write!(f, "TLS: {why}"),
            Unreached::NotHttp2 => f.write_str("the server does not speak HTTP/2"),
            Unreached::Late(patience) => write!(f, "not within {patience:?}"),
        }
    }
}

/// Where the way to a host has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The address that took the connection.
    pub address: SocketAddr,
    /// `TLS 1.3`.
    pub tls: &'static str,
    /// When the server's certificate ends, in seconds since 1970; `None` where that cannot be read.
    pub certificate_ends_at_s: Option<u64>,
}

/// Goes the way to a host as a request would, sends nothing and hangs up.
///
/// # Errors
/// Where it ended.
pub async fn reach(origin: &Origin, tls: &Tls, patience: Duration) -> Result<Reached, Unreached> {
    let resolve: Resolve = Rc::new(system_dns);
    let dialled = tokio::time::timeout(patience, dial(origin, tls, &resolve)).await;
    let stream = dialled.map_err(|_| Unreached::Late(patience))??;
    let certificate_ends_at_s = certificate_end(&stream);
    let (tcp, tls) = stream.get_ref();
    let address = tcp.peer_addr().map_err(|error| Unreached::Tcp(error.to_string()))?;
    let tls = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    Ok(Reached { address, tls, certificate_ends_at_s })
}

pub(super) async fn dial(
    origin: &Origin,
    tls: &Tls,
    resolve: &Resolve,
) -> Result<TlsStream<TcpStream>, Unreached> {
    let tcp = connect(origin, resolve).await?;
    let name = ServerName::try_from(origin.host.clone())
        .map_err(|_| Unreached::Tls("not a host name".to_owned()))?;
    let stream = TlsConnector::from(Arc::clone(&tls.config))
        .connect(name, tcp)
        .await
        .map_err(|error| Unreached::Tls(error.to_string()))?;
    if let Some(ends_at_s) = certificate_end(&stream) {
        tls.saw(ends_at_s);
    }
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Unreached::NotHttp2);
    }
    Ok(stream)
}

/// When the server's own certificate ends, in seconds since 1970. A resumed session has that of its first handshake.
fn certificate_end(stream: &TlsStream<TcpStream>) -> Option<u64> {
    certificate_ends_at_s(stream.get_ref().1.peer_certificates()?.first()?)
}

async fn connect(origin: &Origin, resolve: &Resolve) -> Result<TcpStream, Unreached> {
    let addresses =
        resolve(origin).await.map_err(|_| Unreached::Dns(format!("{} is not known to DNS", origin.host)))?;
    let mut last = Unreached::Dns(format!("{} has no address", origin.host));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                // Without it a push alone was measured waiting 40 ms for an acknowledgement.
                tcp.set_nodelay(true).map_err(|error| Unreached::Tcp(error.to_string()))?;
                return Ok(tcp);
            }
            Err(error) => last = Unreached::Tcp(format!("{address}: {error}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_packets_are_not_held_back_and_a_dead_address_is_passed_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let alive = listener.local_addr().unwrap();
            // TCPMUX, which nobody serves any more.
            let closed = SocketAddr::from(([127, 0, 0, 1], 1));
            let origin = Origin { host: "provider.test".to_owned(), port: 443, ca_pem: None };
            let resolve: Resolve = Rc::new(move |_| Box::pin(async move { Ok(vec![closed, alive]) }));
            let tcp = connect(&origin, &resolve).await.unwrap();
            assert_eq!(tcp.peer_addr().unwrap(), alive);
            assert!(tcp.nodelay().unwrap());
        });
    }
}
