//! Several Kamailios that are one to their users: the shipped configuration with `WITH_NODES` on addresses of loopback, one
//! simulator of push services, one token store.
//!
//! It refuses to give them a configuration of its own: what differs between them is what an administrator gives each of them.

use super::engine::{Server, Setup};
use super::kamailio::{Kamailio, Options, Place};
use super::simulator::Simulator;
use super::sip::{self, Answer};
use super::{DEADLINE, poll};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Two SIP servers and their push services; all end with this value.
pub struct Nodes {
    /// The nodes: the first on 127.0.0.1, the second on 127.0.0.2.
    pub kamailios: Vec<Kamailio>,
    /// Apple and Google.
    pub simulator: Simulator,
    /// Where both keep their tokens, and by which they tell each other who registers.
    pub engine: Server,
    http_port: u16,
}

/// Where a node is, before it runs.
struct Planned {
    place: Place,
    http_port: u16,
    node_port: u16,
}

impl Planned {
    fn uri(&self) -> String {
        format!("\"sip:{}:{}\"", self.place.ip, self.node_port)
    }
}

impl Nodes {
    /// Starts two with these replacements in `voip-push.toml`.
    pub fn start(name: &str, config: &[(&str, &str)]) -> Nodes {
        let planned: Vec<Planned> = [1, 2].map(|number| plan(name, number)).into();
        let scratch = &planned[0].place.scratch;
        let setup = Setup { appendonly: true, ..Setup::default() };
        let engine = Server::start(scratch, &setup.line(format!("user {}", our_user())));
        let simulator = Simulator::start(scratch, &[]);
        simulator.change_config(config);
        let others: Vec<String> = planned.iter().rev().map(Planned::uri).collect();
        let http_port = planned[0].http_port;
        let nodes = planned.into_iter().zip(others).enumerate();
        let options = nodes.map(|(at, (planned, other))| {
            let config = config_of(&planned, &simulator, &engine);
            options(planned, at + 1, &other, &config)
        });
        let kamailios = options.map(Kamailio::start).collect();
        let nodes = Nodes { kamailios, simulator, engine, http_port };
        nodes.wait_until_they_know_each_other();
        nodes
    }

    /// Where a node serves SIP.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.kamailios[node].address()
    }

    fn wait_until_they_know_each_other(&self) {
        for kamailio in &self.kamailios {
            let actives = || kamailio.rpc(&["dmq.list_nodes"]).matches("status: active").count();
            let are_known = poll(DEADLINE, || (actives() == self.kamailios.len()).then_some(()));
            assert!(are_known.is_some(), "{}\n{}", kamailio.rpc(&["dmq.list_nodes"]), kamailio.log());
        }
    }

    /// A request to the REST API of the first node with its API key.
    pub fn rest(&self, method: &str, target: &str, body: &Value) -> Answer {
        let key = self.simulator.fact("api_key");
        let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        sip::http(self.http_port, method, target, &headers, body.as_bytes())
    }

    /// Hands a token in at the first node, as an app server does.
    pub fn register_token(&self, user: &str, token: &str, platform: &str) {
        let body = json!({ "user": user, "token": token, "platform": platform });
        let answer = self.rest("POST", "/api/register-push-token", &body);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
}

/// Name, password and permissions of the user that the documents recommend: all that nodes do must do with these.
fn our_user() -> &'static str {
    let page = include_str!("../../docs/store-layout.md");
    let line = page.lines().find_map(|line| line.strip_prefix("ACL SETUSER "));
    line.expect("the page has the line")
}

/// The simulator's settings with what an administrator changes for this node.
fn config_of(planned: &Planned, simulator: &Simulator, engine: &Server) -> PathBuf {
    let settings = std::fs::read_to_string(simulator.config()).expect("the simulator has written it");
    let line = settings.lines().find(|line| line.starts_with("url = \"sqlite:")).expect("it has a store");
    let ((host, port), own) = (engine.host(), planned.place.scratch.path().display());
    let password = planned.place.scratch.write("engine-password", "PASSWORD\n");
    std::fs::set_permissions(&password, Permissions::from_mode(0o640)).expect("the file is ours");
    let store = format!(
        "url = \"redis://{host}:{port}\"\nstate_directory = \"{own}\"\nlookup_ms = 500\nwrite_ms = 2000\n\
         username = \"voip-push\"\npassword_file = \"{}\"",
        password.display()
    );
    planned.place.scratch.write("voip-push.toml", settings.replace(line, &store))
}

fn plan(name: &str, number: u8) -> Planned {
    let mut place = Place::at(&format!("{name}-{number}"), Ipv4Addr::new(127, 0, 0, number));
    let (http_port, node_port) = (place.hold_port(), place.hold_port());
    Planned { place, http_port, node_port }
}

fn options(planned: Planned, number: usize, other: &str, config: &Path) -> Options {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kamailio-cfg/kamailio.cfg");
    let (uri, Planned { place, http_port, node_port }) = (planned.uri(), planned);
    let (control, port, ip) = (place.control_socket(), place.port, place.ip.to_string());
    let mut options = Options::file(place, file)
        .define("WITH_NODES", "")
        .define("NODE_ID", &number.to_string())
        .define("SIP_IP", &ip)
        .define("SIP_PORT", &port.to_string())
        .define("HTTP_IP", &ip)
        .define("HTTP_PORT", &http_port.to_string())
        .define("NODE_PORT", &node_port.to_string())
        .define("THIS_NODE", &uri)
        .define("OTHER_NODE", other)
        .define("CTL_SOCKET", &format!("\"unix:{}\"", control.display()))
        .define("VOIP_PUSH_CONFIG", &format!("\"{}\"", config.display()));
    // the file says where to listen
    options.listen = false;
    options
}
