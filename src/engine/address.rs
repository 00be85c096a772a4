//! How a server of an engine is connected to: TLS, name and password, the database.
//!
//! It refuses to put a password anywhere but into the connection.

use super::turn::Address;
use crate::config::{EngineSettings, EngineShape};
use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult};
use redis::{TlsCertificates, TlsMode};

/// A server that keeps data.
pub(super) fn of_data(settings: &EngineSettings, address: &Address) -> RedisResult<ConnectionInfo> {
    let database = if settings.shape == EngineShape::Cluster { 0 } else { settings.database };
    let mut login = login().set_db(database);
    if let Some(name) = &settings.username {
        login = login.set_username(name);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    info(settings, address, login)
}

/// A Sentinel, which has users and passwords of its own.
pub(super) fn of_sentinel(settings: &EngineSettings, address: &Address) -> RedisResult<ConnectionInfo> {
    let login = match &settings.sentinel_password {
        Some(password) => login().set_password(password.expose()),
        None => login(),
    };
    info(settings, address, login)
}

/// Nothing is told to the server about us that an ACL would have to allow.
fn login() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

fn info(
    settings: &EngineSettings,
    (host, port): &Address,
    login: RedisConnectionInfo,
) -> RedisResult<ConnectionInfo> {
    let (host, port) = (host.clone(), *port);
    let address = match settings.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    let info = address
        .into_connection_info()?
        .set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match certificates(settings) {
        // The client puts them where a connection looks for them.
        Some(trusted) => Ok(Client::build_with_tls(info, trusted)?.get_connection_info().clone()),
        None => Ok(info),
    }
}

/// The CA that is trusted instead of the system's.
pub(super) fn certificates(settings: &EngineSettings) -> Option<TlsCertificates> {
    let pem = settings.ca_pem.as_deref().filter(|_| settings.tls)?;
    Some(TlsCertificates { client_tls: None, root_cert: Some(pem.as_bytes().to_vec()) })
}

/// As a Cluster's connection wants it said.
pub(super) fn tls_mode(settings: &EngineSettings) -> Option<TlsMode> {
    settings.tls.then_some(TlsMode::Secure)
}
