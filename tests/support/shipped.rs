//! The shipped configuration at work: `kamailio-cfg/kamailio.cfg` in a real Kamailio, pushing to the simulator.
//!
//! It refuses to change a line of the files that we ship: what differs is given by `-A` defines and the simulator's own
//! `voip-push.toml`.

use super::kamailio::{Installation, Kamailio, Options, Place};
use super::simulator::Simulator;
use super::sip::{self, Answer};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A SIP server and its push services; both end with this value.
pub struct Shipped {
    /// The SIP server.
    pub kamailio: Kamailio,
    /// Apple and Google.
    pub simulator: Simulator,
    /// The port of the REST API.
    pub http_port: u16,
    /// The port of SIP over TLS, where that was asked for.
    pub tls_port: u16,
}

/// What differs from the simulator's own configuration and the defaults.
#[derive(Default)]
pub struct Setup {
    /// Replacements in `voip-push.toml`, such as `("wake_seconds = 15", "wake_seconds = 1")`.
    pub config: Vec<(&'static str, &'static str)>,
    /// Serves SIP over TLS as well, on a port of its own.
    pub tls: bool,
    /// More arguments for the simulator.
    pub simulate: Vec<String>,
    /// More `-A NAME=VALUE` for Kamailio.
    pub defines: Vec<(&'static str, &'static str)>,
    /// An administrator's own routes, after the shipped configuration; it is included then.
    pub routes: String,
    /// Another Kamailio than the machine's own.
    pub installation: Option<Installation>,
}

/// A replacement in `voip-push.toml`: phones that come when their call is over are not told of it.
pub const NOBODY_IS_LATE: (&str, &str) = ("wake_seconds = 15", "wake_seconds = 15\nlate_seconds = 0");

impl Shipped {
    /// Starts both as an administrator gets them.
    pub fn start(name: &str) -> Shipped {
        Shipped::with(name, Setup::default())
    }

    /// Starts both with a time to wake up of so many seconds.
    pub fn waking(name: &str, seconds: &'static str) -> Shipped {
        Shipped::with(name, Setup { config: vec![("wake_seconds = 15", seconds)], ..Setup::default() })
    }

    /// Starts both.
    pub fn with(name: &str, setup: Setup) -> Shipped {
        let mut place = Place::new(name);
        let http_port = place.hold_port();
        let simulate: Vec<&str> = setup.simulate.iter().map(String::as_str).collect();
        let simulator = Simulator::start(&place.scratch, &simulate);
        simulator.change_config(&setup.config);
        let tls_port = if setup.tls { place.hold_port() } else { 0 };
        let tls = if setup.tls { serve_tls(&place, tls_port) } else { String::new() };
        let mut options = options(place, http_port, &simulator, &(tls + &setup.routes));
        if let Some(installation) = &setup.installation {
            options = options.on(installation);
        }
        let options =
            setup.defines.iter().fold(options, |options, (name, value)| options.define(name, value));
        Shipped { kamailio: Kamailio::start(options), simulator, http_port, tls_port }
    }

    /// The port of SIP.
    pub fn port(&self) -> u16 {
        self.kamailio.port()
    }

    /// A request to the REST API with its API key.
    pub fn rest(&self, method: &str, target: &str, body: &Value) -> Answer {
        let key = self.simulator.fact("api_key");
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        sip::http(self.http_port, method, target, &headers, body.as_bytes())
    }

    /// Hands a token in, as an app server does.
    pub fn register_token(&self, user: &str, token: &str, platform: &str) {
        let body = json!({ "user": user, "token": token, "platform": platform });
        let answer = self.rest("POST", "/api/register-push-token", &body);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// The status of asking for a user's tokens: 200, or 404 when there is none.
    pub fn token_status(&self, user: &str) -> u16 {
        self.rest("GET", &format!("/api/user/{user}/push-token"), &Value::Null).status
    }
}

/// What an administrator adds for TLS. Nobody checks the certificate.
fn serve_tls(place: &Place, port: u16) -> String {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name is all that it takes");
    let certificate = place.scratch.write("tls-cert.pem", made.cert.pem());
    let key = place.scratch.write("tls-key.pem", made.signing_key.serialize_pem());
    format!(
        "enable_tls=yes\nlisten=tls:127.0.0.1:{port}\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n\
         modparam(\"tls\", \"certificate\", \"{}\")\nmodparam(\"tls\", \"private_key\", \"{}\")\n",
        certificate.display(),
        key.display(),
    )
}

fn options(place: Place, http_port: u16, simulator: &Simulator, routes: &str) -> Options {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kamailio-cfg/kamailio.cfg");
    let (control, port) = (place.control_socket(), place.port);
    let options = if routes.is_empty() {
        Options::file(place, file)
    } else {
        Options::text(place, format!("include_file \"{}\"\n{routes}\n", file.display()))
    };
    let mut options = options
        .define("SIP_PORT", &port.to_string())
        .define("HTTP_PORT", &http_port.to_string())
        .define("CTL_SOCKET", &format!("\"unix:{}\"", control.display()))
        .define("VOIP_PUSH_CONFIG", &format!("\"{}\"", simulator.config().display()));
    // the file says where to listen
    options.listen = false;
    options
}

/// An APNs token as an iPhone gives it; another one for each number.
pub fn apns_token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// An FCM registration token as an Android phone gives it; another one for each number.
pub fn fcm_token(number: u8) -> String {
    format!("dQw4w9WgXcQ{number:03}:APA91b{}", "Hx7_kL-9".repeat(16))
}
