//! TLS toward a provider: verified always, HTTP/2 only, one crypto provider named explicitly.
//!
//! It refuses to install anything process-wide: the host may have a TLS life of its own.

use crate::config::Origin;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Trust roots and settings, loaded once. (libcurl was measured reading the CA bundle again for every connection, at 41 ms
/// of CPU each.)
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    seen: Option<Seen>,
}

/// Told when the certificate of a server ends, in seconds since 1970.
type Seen = Arc<dyn Fn(u64) + Send + Sync>;

impl Tls {
    /// Prepares TLS toward an origin; opens no connection.
    ///
    /// # Errors
    /// The origin's CA file has no usable certificate.
    pub fn new(origin: &Origin) -> Result<Tls, String> {
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .map_err(|_| "TLS cannot be set up".to_owned())?;
        let roots = roots(origin.ca_pem.as_deref())?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Tls { config: Arc::new(config), seen: None })
    }

    /// The same; with each connection `seen` is told when the server's certificate ends, in seconds since 1970.
    #[must_use]
    pub fn watched(&self, seen: impl Fn(u64) + Send + Sync + 'static) -> Tls {
        Tls { seen: Some(Arc::new(seen)), ..self.clone() }
    }

    /// A server has shown this certificate, which was verified.
    pub(super) fn saw(&self, ends_at_s: u64) {
        if let Some(seen) = &self.seen {
            seen(ends_at_s);
        }
    }
}

fn roots(ca_pem: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
        }
    }
    if roots.is_empty() { Err("has no usable certificate".to_owned()) } else { Ok(roots) }
}
