//! The certificate that HTTPS is served with.
//!
//! It refuses a key that others than its owner and group can read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio_rustls::TlsAcceptor;
use voip_push::service::certificate_ends_at_s;

use crate::Failure;

/// TLS 1.2 and 1.3 for HTTP/1.1 with this certificate chain, and when its certificate ends, in seconds since 1970.
pub fn acceptor(cert: &Path, key: &Path) -> Result<(TlsAcceptor, Option<u64>), Failure> {
    check_mode(key)?;
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| failed(cert, &error))?;
    let Some(own) = chain.first() else { return Err(failed(cert, &"has no certificate")) };
    let ends_at_s = certificate_ends_at_s(own);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| failed(cert, &format_args!("{error} (with the key {})", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), ends_at_s))
}

fn check_mode(key: &Path) -> Result<(), Failure> {
    let mode = std::fs::metadata(key).map_err(|error| failed(key, &error))?.permissions().mode();
    if mode & 0o007 == 0 {
        return Ok(());
    }
    Err(failed(key, &"is open to everybody; set its mode to 0640"))
}

fn failed(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {why}", file.display()))
}
