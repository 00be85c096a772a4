//! The command line of `voip-push serve` and the checks that one argument alone cannot make.
//!
//! It refuses to serve plain HTTP to other machines unless it is told that this is meant.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;

/// Serve the REST API from the token store of a SIP server, for hosts that cannot do it themselves.
///
/// Reads the SIP server's voip-push.toml and writes the same store beside it. Logs to standard error; SIGTERM ends it.
/// Run it as the user of the SIP server.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The SIP server's configuration
    #[arg(long, default_value = "/etc/voip-push/voip-push.toml")]
    pub config: PathBuf,
    /// Address and port to listen on (port 0: the kernel chooses, and the log tells)
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Serve HTTPS with this certificate chain, a PEM file; read when it starts
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Allow plain HTTP on an address that other machines can reach
    #[arg(long)]
    pub allow_plain: bool,
    /// Believe the header X-Forwarded-For of requests from this address; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub behind_proxy: Vec<IpAddr>,
    /// Connections at a time; further ones wait
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,
    /// How long a client may take for a request, and be silent before the next
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience_seconds: u64,
}

impl Args {
    /// What no single argument can know: whether they fit together.
    pub fn check(&self) -> Result<(), Failure> {
        if self.listen.ip().is_loopback() || self.cert.is_some() || self.allow_plain {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "--listen {}: other machines can reach this address, and API keys and tokens are secrets; give --cert and --key, \
             or --allow-plain if that is meant",
            self.listen
        )))
    }

    /// How long a client may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }
}
