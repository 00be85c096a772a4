//! Throw-away identities, new at each start: the CA and the server's certificate, Apple's key, Google's key.
//!
//! It refuses to keep the CA's private key: once the server's certificate is signed nobody can sign another.

use std::net::IpAddr;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use serde_json::{Value, json};

use super::args::Args;
use super::files::Urls;
use super::random;
use crate::Failure;

/// Everything secret that this start has made.
pub struct Secrets {
    /// CA and server certificate.
    pub tls: TlsIdentity,
    /// Apple's key.
    pub apns_key: SigningIdentity,
    /// Google's key.
    pub account_key: SigningIdentity,
    /// The service account, in the shape in which Google hands it out; holds Google's key.
    pub service_account: Value,
    /// The key of the REST API.
    pub api_key: String,
}

impl Secrets {
    /// Makes everything anew.
    pub fn generate(args: &Args, urls: &Urls) -> Result<Self, Failure> {
        let account_key = service_account_key()?;
        Ok(Secrets {
            tls: TlsIdentity::generate(args.listen)?,
            apns_key: apns_key()?,
            service_account: service_account(&args.project, &urls.google, &account_key.private_pem),
            account_key,
            api_key: random::url_safe(),
        })
    }
}

fn service_account(project: &str, google_url: &str, private_pem: &str) -> Value {
    let email = format!("firebase-adminsdk-sim@{project}.iam.gserviceaccount.com");
    let client_id = u64::from_be_bytes(random::bytes()) % 1_000_000_000;
    json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": random::hex::<20>(),
        "private_key": private_pem,
        "client_email": email,
        "client_id": format!("100000000000{client_id:09}"),
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": format!("{google_url}/token"),
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url":
            format!("https://www.googleapis.com/robot/v1/metadata/x509/{}", email.replace('@', "%40")),
        "universe_domain": "googleapis.com",
    })
}

/// A key as the administrator gets it and as the simulator checks its signatures.
pub struct SigningIdentity {
    /// PKCS#8 PEM of the private key, for the file.
    pub private_pem: String,
    /// The public half.
    pub public: DecodingKey,
}

/// The certificate chain of the TLS listeners.
pub struct TlsIdentity {
    /// PEM of the CA, for `ca_file`.
    pub ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

fn failed(what: &str) -> impl Fn(rcgen::Error) -> Failure {
    move |error| Failure::Failed(format!("cannot make {what}: {error}"))
}

/// Apple's side: a P-256 key, as an `AuthKey_….p8` holds it.
fn apns_key() -> Result<SigningIdentity, Failure> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed("the APNs key"))?;
    let public = DecodingKey::from_ec_der(key.public_key_raw());
    Ok(SigningIdentity { private_pem: key.serialize_pem(), public })
}

/// Google's side: an RSA-2048 key, as a service account holds it.
fn service_account_key() -> Result<SigningIdentity, Failure> {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .map_err(failed("the service account's key"))?;
    let public = DecodingKey::from_rsa_der(key.public_key_raw());
    Ok(SigningIdentity { private_pem: key.serialize_pem(), public })
}

impl TlsIdentity {
    /// A certificate for 127.0.0.1, localhost and the listen address, signed by a CA of its own.
    pub fn generate(listen: IpAddr) -> Result<Self, Failure> {
        let ca = certificate_authority()?;
        let key = KeyPair::generate().map_err(failed("the server's key"))?;
        let certificate = server_params(listen)
            .and_then(|params| params.signed_by(&key, &ca))
            .map_err(failed("the server's certificate"))?;
        Ok(TlsIdentity {
            ca_pem: ca.pem(),
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// The TLS settings of one listener: TLS 1.2 and 1.3, this certificate, these ALPN names.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, Failure> {
        let failed = |error| Failure::Failed(format!("cannot set TLS up: {error}"));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .map_err(failed)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn certificate_authority() -> Result<CertifiedIssuer<'static, KeyPair>, Failure> {
    let key = KeyPair::generate().map_err(failed("the CA's key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "voip-push simulator, throw-away CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, key).map_err(failed("the CA"))
}

fn server_params(listen: IpAddr) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), listen.to_string()];
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "voip-push simulator");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
