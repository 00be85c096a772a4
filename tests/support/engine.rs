//! Real Redis servers for tests: one, a master with Sentinels, or a Cluster, on loopback and in a directory of their own.
//!
//! It refuses to outlive its test: a server is ended by its pid when it is dropped, and when the test program ends.

use super::ports::free_port;
use super::{DEADLINE, Scratch, ends_with_us, poll};
use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use voip_push::config::{EngineSettings, EngineShape, Secret};

/// How long a Cluster's node may be silent before the others take it for dead.
pub const NODE_TIMEOUT: Duration = Duration::from_millis(1000);

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// More lines of redis.conf.
    pub lines: Vec<String>,
    /// `requirepass`, and `masterauth` for replicas.
    pub password: Option<String>,
    /// Listens with TLS only, with certificates from [`certificates`].
    pub tls: bool,
    /// `appendonly yes`, with fsync at each write.
    pub appendonly: bool,
    /// The address that it listens on; 127.0.0.1 where none is given.
    pub address: Option<String>,
}

impl Setup {
    pub fn line(mut self, line: impl Into<String>) -> Setup {
        self.lines.push(line.into());
        self
    }
}

/// A redis-server of ours.
pub struct Server {
    child: Option<Child>,
    pub address: String,
    pub port: u16,
    directory: PathBuf,
    command: Vec<String>,
    setup: Setup,
}

impl Server {
    /// Starts one and waits until it answers.
    pub fn start(scratch: &Scratch, setup: &Setup) -> Server {
        let server = Server::begin(scratch, setup, &[]);
        server.wait_until_up();
        server
    }

    fn begin(scratch: &Scratch, setup: &Setup, program: &[&str]) -> Server {
        let address = setup.address.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = free_port(ip(&address));
        let directory = scratch.path().join(format!("redis-{address}-{port}"));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("redis.conf");
        let mut lines = vec![format!("bind {address}"), format!("dir {}", directory.display())];
        lines.extend(
            ["save \"\"", "daemonize no", "protected-mode no", "logfile redis.log"].map(str::to_owned),
        );
        let listens = if setup.tls { "port 0\ntls-port" } else { "port" };
        lines.push(format!("{listens} {port}"));
        if program.is_empty() {
            // A replica has its master's data as soon as it asks for it.
            lines.push(
                "repl-diskless-sync-delay 0\nrepl-diskless-sync yes\nrepl-ping-replica-period 1".to_owned(),
            );
            lines.extend(setup.password.iter().map(|word| format!("requirepass {word}\nmasterauth {word}")));
            let appendonly =
                if setup.appendonly { "appendonly yes\nappendfsync always" } else { "appendonly no" };
            lines.push(appendonly.to_owned());
        }
        if setup.tls {
            let own = certificates(scratch);
            let path = |name: &str| own.join(name).display().to_string();
            lines.push(format!("tls-cert-file {}\ntls-key-file {}", path("server.pem"), path("server.key")));
            lines.push(format!(
                "tls-ca-cert-file {}\ntls-auth-clients no\ntls-replication yes",
                path("ca.pem")
            ));
            if setup.lines.iter().any(|line| line == "cluster-enabled yes") {
                lines.push("tls-cluster yes".to_owned());
            }
        }
        lines.extend(setup.lines.iter().cloned());
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let mut command = vec![file.display().to_string()];
        command.extend(program.iter().map(|word| (*word).to_owned()));
        let mut server = Server { child: None, address, port, directory, command, setup: setup.clone() };
        server.spawn();
        server
    }

    fn spawn(&mut self) {
        let mut command = Command::new("redis-server");
        let out = File::create(self.directory.join("output")).unwrap();
        command.args(&self.command).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = ends_with_us(&mut command).spawn();
        self.child = Some(child.unwrap_or_else(|error| {
            panic!("redis-server: {error}; it needs Debian's package redis-server; run make test, which installs it")
        }));
    }

    fn wait_until_up(&self) {
        let up = poll(DEADLINE, || self.try_ask(&["PING"]).filter(|answer| answer.contains("PONG")));
        up.unwrap_or_else(|| panic!("redis-server has not come up:\n{}", self.log()));
    }

    /// Starts it again with its port and its data.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.spawn();
        self.wait_until_up();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it where it stands, as a machine that hangs; [`Server::resume`] lets it go on.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = self.child.as_ref().expect("it runs").id();
        // SAFETY: kill has no memory to get wrong, and the pid is our own child's, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// `address:port`
    pub fn host(&self) -> (String, u16) {
        (self.address.clone(), self.port)
    }

    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("output") + &read("redis.log")
    }

    /// What redis-cli prints for this command.
    pub fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).unwrap_or_else(|| panic!("{command:?} was not answered:\n{}", self.log()))
    }

    pub fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", &self.address, "-p", &self.port.to_string()]);
        if self.setup.tls {
            let ca = self.directory.parent().expect("it is in the scratch directory").join("tls/ca.pem");
            cli.args(["--tls", "--cacert", &ca.display().to_string()]);
        }
        if let Some(password) = &self.setup.password {
            cli.env("REDISCLI_AUTH", password);
        }
        let output = cli.args(command).stdin(Stdio::null()).output().expect("redis-tools is installed");
        (output.status.code() == Some(0) && output.status.signal().is_none())
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Waits until the answer to a command holds this text.
    pub fn wait_for(&self, command: &[&str], text: &str) {
        let found = poll(DEADLINE, || self.try_ask(command).filter(|answer| answer.contains(text)));
        found.unwrap_or_else(|| {
            panic!("{command:?} never had {text:?}: {:?}\n{}", self.try_ask(command), self.log())
        });
    }

    /// Settings that reach this one server.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            tls: self.setup.tls,
            password: self.setup.password.clone().map(Secret::new),
            ca_pem: self.setup.tls.then(|| {
                let ca = self.directory.parent().expect("it is in the scratch directory").join("tls/ca.pem");
                Arc::from(fs::read_to_string(ca).unwrap())
            }),
            ..settings(EngineShape::Single, vec![self.host()])
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings with long deadlines, since the machine may be busy.
pub fn settings(shape: EngineShape, hosts: Vec<(String, u16)>) -> EngineSettings {
    EngineSettings {
        shape,
        hosts,
        tls: false,
        ca_pem: None,
        database: 0,
        username: None,
        password: None,
        sentinel_password: None,
        key_prefix: "voip-push".to_owned(),
        lookup: Duration::from_millis(5000),
        write: Duration::from_millis(10_000),
        wait_replicas: 0,
        cache_users: 0,
        cache: Duration::from_secs(3600),
    }
}

/// Masters with a replica each.
pub struct Cluster {
    /// The first half are masters at the beginning; the replica of each comes in the second half, in the same order.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Three masters and three replicas, ready to serve.
    pub fn start(scratch: &Scratch, setup: &Setup) -> Cluster {
        Cluster::start_at(scratch, setup, &["127.0.0.1".to_owned()])
    }

    /// The same, with the nodes on these addresses in turn.
    pub fn start_at(scratch: &Scratch, setup: &Setup, addresses: &[String]) -> Cluster {
        let node = |number: usize| {
            let address = addresses[number % addresses.len()].clone();
            let setup = Setup { address: Some(address.clone()), ..setup.clone() }
                .line("cluster-enabled yes")
                .line("cluster-config-file nodes.conf")
                .line(format!("cluster-port {}", free_port(ip(&address))))
                .line(format!("cluster-node-timeout {}", NODE_TIMEOUT.as_millis()))
                // Else a replica waits longer the longer it was without its master.
                .line("cluster-replica-validity-factor 0");
            Server::begin(scratch, &setup, &[])
        };
        let cluster = Cluster { nodes: (0..6).map(node).collect() };
        cluster.nodes.iter().for_each(Server::wait_until_up);
        cluster.introduce();
        cluster
    }

    fn introduce(&self) {
        for (number, slots) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].iter().enumerate() {
            self.nodes[number].ask(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        }
        for (number, node) in self.nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        let bus = |node: &Server| {
            let line = node.setup.lines.iter().find_map(|line| line.strip_prefix("cluster-port "));
            line.expect("it was given one").to_owned()
        };
        for node in &self.nodes[1..] {
            self.nodes[0].ask(&["CLUSTER", "MEET", &node.address, &node.port.to_string(), &bus(node)]);
        }
        self.nodes.iter().for_each(|node| node.wait_for(&["CLUSTER", "INFO"], "cluster_known_nodes:6"));
        for number in 0..3 {
            let master = self.nodes[number].ask(&["CLUSTER", "MYID"]);
            let replica = &self.nodes[number + 3];
            let done = || replica.try_ask(&["CLUSTER", "REPLICATE", &master]).filter(|said| said == "OK");
            poll(DEADLINE, done).expect("it knows its master soon");
        }
        self.wait_until_whole();
    }

    /// Waits until every node that runs sees all slots served, and every replica of theirs follows its master.
    pub fn wait_until_whole(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.wait_for(&["CLUSTER", "INFO"], "cluster_state:ok");
            let follows = || {
                let said = node.try_ask(&["INFO", "replication"])?;
                let all = said.contains("role:slave") && said.contains("master_link_status:up");
                (all || said.contains("role:master")).then_some(())
            };
            poll(DEADLINE, follows).expect("a replica follows its master");
        }
        // What CLUSTER SLOTS tells to clients must have got round, too.
        let running = || self.nodes.iter().filter(|node| node.is_running());
        let agreed = || {
            let masters = |node: &Server| {
                let said = node.try_ask(&["CLUSTER", "NODES"])?;
                let mut masters: Vec<String> = said
                    .lines()
                    .filter(|line| line.contains("master") && !line.contains("fail") && line.contains('-'))
                    .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
                    .collect();
                masters.sort();
                Some(masters)
            };
            let all: Option<Vec<_>> = running().map(masters).collect();
            all.filter(|all| all.windows(2).all(|two| two[0] == two[1])).map(|_| ())
        };
        poll(DEADLINE, agreed).expect("the nodes agree who is a master");
    }

    /// Waits until the node is a master that the Cluster is whole with.
    pub fn wait_until_master(&self, number: usize) {
        self.nodes[number].wait_for(&["ROLE"], "master");
        self.wait_until_whole();
    }

    pub fn settings(&self) -> EngineSettings {
        let first = &self.nodes[0];
        EngineSettings {
            shape: EngineShape::Cluster,
            hosts: self.nodes.iter().map(Server::host).collect(),
            ..first.settings()
        }
    }
}

/// A master, a replica and three Sentinels that watch them under the name `calls`.
pub struct Sentinels {
    pub sentinels: Vec<Server>,
    pub servers: Vec<Server>,
}

impl Sentinels {
    pub fn start(scratch: &Scratch, setup: &Setup) -> Sentinels {
        let master = Server::start(scratch, setup);
        let follows = setup.clone().line(format!("replicaof {} {}", master.address, master.port));
        let replica = Server::start(scratch, &follows);
        replica.wait_for(&["INFO", "replication"], "master_link_status:up");
        let mut lines = vec![
            format!("sentinel monitor calls {} {} 2", master.address, master.port),
            "sentinel down-after-milliseconds calls 800".to_owned(),
            "sentinel failover-timeout calls 3000".to_owned(),
        ];
        lines.extend(setup.password.iter().map(|word| format!("sentinel auth-pass calls {word}")));
        let watches = Setup { lines, tls: setup.tls, ..Setup::default() };
        let sentinels: Vec<Server> =
            (0..3).map(|_| Server::begin(scratch, &watches, &["--sentinel"])).collect();
        for sentinel in &sentinels {
            sentinel.wait_until_up();
        }
        for sentinel in &sentinels {
            sentinel.wait_for(&["SENTINEL", "CKQUORUM", "calls"], "OK 3 usable");
            sentinel.wait_for(&["SENTINEL", "REPLICAS", "calls"], &replica.port.to_string());
        }
        Sentinels { sentinels, servers: vec![master, replica] }
    }

    /// Waits until the Sentinels name this server, and it is a master.
    pub fn wait_until_master(&self, number: usize) {
        let port = self.servers[number].port.to_string();
        for sentinel in &self.sentinels {
            sentinel.wait_for(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "calls"], &port);
        }
        self.servers[number].wait_for(&["ROLE"], "master");
    }

    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            shape: EngineShape::Sentinel { master: "calls".to_owned() },
            hosts: self.sentinels.iter().map(Server::host).collect(),
            ..self.servers[0].settings()
        }
    }
}

/// A CA and a server certificate for 127.0.0.1 and localhost in the scratch directory's `tls`, made on first use.
pub fn certificates(scratch: &Scratch) -> PathBuf {
    let place = scratch.path().join("tls");
    if place.is_dir() {
        return place;
    }
    fs::create_dir_all(&place).unwrap();
    let write = |name: &str, text: &str| {
        File::create(place.join(name)).and_then(|mut file| file.write_all(text.as_bytes())).unwrap();
    };
    write("ext", "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n");
    let openssl = |line: &str| openssl(&place, line);
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=test-ca -days 30"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile ext",
    );
    place
}

fn openssl(place: &Path, line: &str) {
    super::run(Command::new("openssl").current_dir(place).args(line.split(' ')), "openssl");
}

fn ip(address: &str) -> IpAddr {
    address.parse().expect("engines of tests listen on addresses, not names")
}
