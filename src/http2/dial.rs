//! The way to a host: a fresh DNS answer, TCP without delay, TLS that is verified and speaks HTTP/2.
//!
//! It refuses to remember an address: providers move their names (Apple, "Sending notification requests to APNs").

use super::Tls;
use crate::config::Origin;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
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

pub(super) async fn dial(
    origin: &Origin,
    tls: &Tls,
    resolve: &Resolve,
) -> Result<TlsStream<TcpStream>, String> {
    let tcp = connect(origin, resolve).await?;
    let name = ServerName::try_from(origin.host.clone()).map_err(|_| "not a host name".to_owned())?;
    let stream = TlsConnector::from(Arc::clone(&tls.config))
        .connect(name, tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("the server does not speak HTTP/2".to_owned());
    }
    Ok(stream)
}

async fn connect(origin: &Origin, resolve: &Resolve) -> Result<TcpStream, String> {
    let addresses = resolve(origin).await.map_err(|_| format!("{} is not known to DNS", origin.host))?;
    let mut last = format!("{} has no address", origin.host);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                // Without it a push alone was measured waiting 40 ms for an acknowledgement.
                tcp.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(tcp);
            }
            Err(error) => last = format!("{address}: {error}"),
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
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let origin = Origin { host: "provider.test".to_owned(), port: 443, ca_pem: None };
            let resolve: Resolve = Rc::new(move |_| Box::pin(async move { Ok(vec![closed, alive]) }));
            let tcp = connect(&origin, &resolve).await.unwrap();
            assert_eq!(tcp.peer_addr().unwrap(), alive);
            assert!(tcp.nodelay().unwrap());
        });
    }
}
