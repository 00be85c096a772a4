//! What is under test: the nodes, each with the shipped configuration, their push services, and what lies between.
//!
//! It refuses to start anything outside of the run's own directories and addresses.

use super::network::Cable;
use super::nodes::{Node, Nodes};
use super::support::engine::{self, Cluster, Server};
use super::support::kamailio::{Installation, Kamailio, Options, Place};
use super::support::simulator::Simulator;
use super::support::{DEADLINE, Scratch, poll};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The addresses of the nodes.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];

/// A node that runs, and how it is started again.
struct Kept {
    kamailio: Option<Kamailio>,
    recipe: Recipe,
}

#[derive(Clone)]
struct Recipe {
    installation: Installation,
    node: Node,
    config: PathBuf,
    /// The port for the other node.
    node_port: u16,
    /// Where the other node takes what is for nodes.
    other: String,
}

/// All that runs.
pub struct World {
    /// The nodes' addresses.
    pub nodes: Nodes,
    servers: Vec<Kept>,
    /// Apple and Google.
    pub simulator: Simulator,
    /// What the last node is behind.
    pub cable: Option<Cable>,
    /// The token store.
    pub engine: Cluster,
    /// For files of the run.
    pub scratch: Scratch,
}

/// How long a node of the Cluster is silent before the others take it for dead: a second, as in the tests, is little on a machine that
/// is busy with calls.
const NODE_TIMEOUT_MS: &str = "3000";

impl World {
    /// Starts everything. With a cable the last node runs behind it.
    pub fn start(cable: Option<Cable>) -> World {
        let scratch = Scratch::new("faults");
        let simulator = Simulator::start(&scratch, &[]);
        let engine = start_engine(&scratch);
        let planned = ADDRESSES.map(|ip| {
            let is_far = cable.is_some() && ip == ADDRESSES[1];
            // What is free here says nothing of the far end, where everything is free.
            let mut place = Place::at("faults-node", if is_far { Ipv4Addr::LOCALHOST } else { ip });
            let (http_port, node_port) = (place.hold_port(), place.hold_port());
            place.ip = ip;
            (place, http_port, node_port)
        });
        let uris = planned.each_ref().map(|(place, _, node_port)| format!("sip:{}:{node_port}", place.ip));
        let others = uris.into_iter().rev();
        let servers: Vec<Kept> = planned
            .into_iter()
            .zip(others)
            .zip('a'..)
            .map(|(((place, http_port, node_port), other), letter)| {
                let node = Node { letter, ip: place.ip, sip_port: place.port, http_port };
                let is_far = cable.is_some() && place.ip == ADDRESSES[1];
                let installation = installation(cable.as_ref().filter(|_| is_far));
                let config = config(&simulator, &engine, letter);
                Kept::start(Recipe { installation, node, config, node_port, other }, place)
            })
            .collect();
        let nodes = Nodes(servers.iter().map(|server| server.recipe.node).collect());
        let world = World { nodes, servers, simulator, cable, engine, scratch };
        world.wait_until_they_know_each_other();
        world
    }

    fn wait_until_they_know_each_other(&self) {
        for kamailio in self.servers.iter().filter_map(|server| server.kamailio.as_ref()) {
            let actives = || kamailio.rpc(&["dmq.list_nodes"]).matches("status: active").count();
            let are_known = poll(DEADLINE, || (actives() == self.servers.len()).then_some(()));
            assert!(are_known.is_some(), "{}\n{}", kamailio.rpc(&["dmq.list_nodes"]), kamailio.log());
        }
    }

    /// Ends a node as an administrator does, and starts it again at once.
    pub fn restart(&mut self, node: usize) {
        let server = &mut self.servers[node];
        let recipe = server.recipe.clone();
        let running = server.kamailio.take().expect("only this takes it, and gives another one");
        server.kamailio = Some(running.restart(|place| recipe.options(place)));
    }

    /// The places of the engine's servers that are masters now.
    pub fn masters(&self) -> Vec<usize> {
        let is_master =
            |node: &Server| node.try_ask(&["ROLE"]).is_some_and(|role| role.starts_with("master"));
        let nodes = self.engine.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.is_running() && is_master(node)).map(|(at, _)| at).collect()
    }

    /// Those of them that serve a key.
    pub fn masters_of(&self, key: &str) -> Vec<usize> {
        let serves = |at: &usize| {
            let answer = self.engine.nodes[*at].try_ask(&["EXISTS", key]);
            answer.is_some_and(|answer| ["0", "1"].contains(&answer.as_str()))
        };
        self.masters().into_iter().filter(serves).collect()
    }

    /// What a node has logged, before it was restarted, too.
    pub fn log(&self, node: usize) -> String {
        self.servers[node].kamailio.as_ref().map(Kamailio::whole_log).unwrap_or_default()
    }
}

impl Kept {
    fn start(recipe: Recipe, place: Place) -> Kept {
        Kept { kamailio: Some(Kamailio::start(recipe.options(place))), recipe }
    }
}

impl Recipe {
    fn options(&self, place: Place) -> Options {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("kamailio-cfg/kamailio.cfg");
        let control = place.control_socket();
        let quoted = |text: String| format!("\"{text}\"");
        let mut options = Options::file(place, file)
            .on(&self.installation)
            .define("WITH_NODES", "")
            .define("NODE_ID", &(self.node.letter as u32 - 'a' as u32 + 1).to_string())
            .define("NODE_PORT", &self.node_port.to_string())
            .define("THIS_NODE", &quoted(format!("sip:{}:{}", self.node.ip, self.node_port)))
            .define("OTHER_NODE", &quoted(self.other.clone()))
            .define("SIP_IP", &self.node.ip.to_string())
            .define("SIP_PORT", &self.node.sip_port.to_string())
            .define("HTTP_IP", &self.node.ip.to_string())
            .define("HTTP_PORT", &self.node.http_port.to_string())
            .define("CTL_SOCKET", &quoted(format!("unix:{}", control.display())))
            .define("VOIP_PUSH_CONFIG", &quoted(self.config.display().to_string()));
        // the file says where to listen
        options.listen = false;
        options
    }
}

fn installation(cable: Option<&Cable>) -> Installation {
    let own = Installation::of_this_machine();
    let Some(cable) = cable else { return own };
    let far = cable.far_command().into_iter().map(Into::into);
    Installation { command: far.chain(own.command).collect(), ..own }
}

/// What docs/store-layout.md recommends.
const RECOMMENDED: [&str; 5] = [
    "appendonly yes",
    "appendfsync everysec",
    "maxmemory-policy noeviction",
    "hash-max-listpack-value 512",
    "cluster-require-full-coverage no",
];

fn start_engine(scratch: &Scratch) -> Cluster {
    let setup = RECOMMENDED.into_iter().fold(engine::Setup::default(), engine::Setup::line);
    let cluster = Cluster::start(scratch, &setup);
    for node in &cluster.nodes {
        node.ask(&["CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS]);
    }
    cluster
}

/// The simulator's configuration, with the Cluster for a store and what is this node's alone.
fn config(simulator: &Simulator, engine: &Cluster, letter: char) -> PathBuf {
    let text = fs::read_to_string(simulator.config()).expect("the simulator has written it");
    let hosts: Vec<String> =
        engine.nodes.iter().map(|node| format!("{}:{}", node.address, node.port)).collect();
    let own = simulator.config().with_file_name(format!("state-{letter}"));
    fs::create_dir_all(&own).expect("the directory is ours");
    let store = format!(
        "url = \"redis-cluster://{}\"\nwait_replicas = 1\nstate_directory = \"{}\"",
        hosts.join(","),
        own.display()
    );
    let former = text.lines().find(|line| line.starts_with("url = \"sqlite:")).expect("a store of its own");
    let changed = text.replace(former, &store).replace("level = \"info\"", "level = \"warn\"");
    let file = simulator.config().with_file_name(format!("node-{letter}.toml"));
    fs::write(&file, changed).expect("the directory is ours");
    file
}
