//! `voip-push check` of a Redis with the tokens, the real binary and real servers: one fault after the other, each with its line.
#![cfg(feature = "command")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

#[path = "check_engine/mask.rs"]
mod mask;
mod support;

use mask::Mask;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use support::engine::{Cluster, Server, Setup as EngineSetup};
use support::simulator::Simulator;
use support::{Scratch, built_library};

/// A simulator, and a SIP server that says which version it is.
struct Ward {
    scratch: Scratch,
    simulator: Simulator,
    server: PathBuf,
}

impl Ward {
    fn new(name: &str) -> Ward {
        let scratch = Scratch::new(name);
        let simulator = Simulator::start(&scratch, &[]);
        let server = scratch.write("server", "#!/bin/sh\necho 'version: kamailio 5.6.3 (x86_64/linux) '\n");
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
        Ward { scratch, simulator, server }
    }

    fn check(&self, more: &[&str]) -> (i32, Vec<String>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
        command.arg("check").arg("--config").arg(self.simulator.config()).stdin(Stdio::null());
        command.arg("--server").arg(&self.server).arg("--module").arg(built_library()).args(more);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
    }
}

/// A Redis beside the simulator, and a configuration that names it.
struct EngineWard {
    ward: Ward,
    server: Server,
}

impl EngineWard {
    fn new(name: &str, setup: &EngineSetup, more: &str) -> EngineWard {
        let ward = Ward::new(name);
        let server = Server::start(&ward.scratch, setup);
        let engine = EngineWard { ward, server };
        engine.names(&format!("{}\nstate_directory = \".\"\n{more}", engine.url()));
        engine
    }

    fn names(&self, store: &str) {
        self.ward.simulator.change_config(&[("url = \"sqlite:", &format!("url = \"{store}\n# "))]);
    }

    /// With the quote that ends it in the configuration.
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}\"", self.server.port)
    }

    /// The lines about the engine, and what the command ends with.
    fn lines(&self) -> (i32, Vec<String>) {
        let (code, lines) = self.ward.check(&[]);
        (
            code,
            lines
                .into_iter()
                .filter(|line| line.split_whitespace().nth(1).is_some_and(|word| word.starts_with("engine")))
                .collect(),
        )
    }

    /// Every line about the engine is ok.
    #[track_caller]
    fn assert_fault_free(&self) {
        let (found, lines) = self.lines();
        assert_eq!((found, lines.iter().all(|line| line.starts_with("ok "))), (0, true), "{lines:?}");
    }

    /// Exactly one line about the engine is not ok, this one.
    #[track_caller]
    fn assert_fault(&self, code: i32, line: &str) {
        let (found, lines) = self.lines();
        let faults: Vec<&String> = lines.iter().filter(|line| !line.starts_with("ok ")).collect();
        assert_eq!((found, faults), (code, vec![&line.to_owned()]));
    }

    /// The same server, which now says something else of itself.
    fn wears(&self, mask: Mask) -> String {
        let (own, port) = (format!("127.0.0.1:{}", self.server.port), mask.before(self.server.port));
        let masked = format!("127.0.0.1:{port}");
        self.ward.simulator.change_config(&[(&own, &masked)]);
        masked
    }

    fn takes_off(&self, masked: &str) {
        self.ward.simulator.change_config(&[(masked, &format!("127.0.0.1:{}", self.server.port))]);
    }

    fn set(&self, name: &str, value: &str) {
        assert_eq!(self.server.ask(&["CONFIG", "SET", name, value]), "OK");
    }
}

fn kept() -> EngineSetup {
    EngineSetup { appendonly: true, ..EngineSetup::default() }
}

#[test]
fn an_engine_that_is_right_is_told_line_by_line() {
    let engine = EngineWard::new("check-engine", &kept(), "");
    let url = format!("redis://127.0.0.1:{}/0", engine.server.port);
    let (code, lines) = engine.lines();
    let used = lines.iter().find(|line| line.contains("eviction")).unwrap().clone();
    let version = engine.server.ask(&["INFO", "server"]);
    let version =
        version.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().trim().to_owned();
    let expected = [
        format!("ok       engine: {url}, Redis {version}"),
        "ok       engine permissions: user default may do all that is needed".to_owned(),
        "ok       engine role: master".to_owned(),
        "ok       engine replicas: 0 connected, wait_replicas is 0".to_owned(),
        "ok       engine persistence: AOF".to_owned(),
        used.clone(),
        "ok       engine clock: within 2 s of ours".to_owned(),
        "ok       engine layout: nothing under voip-push: yet; the SIP server makes it when it starts"
            .to_owned(),
        "ok       engine memory: no token is there yet".to_owned(),
    ];
    assert_eq!((code, lines), (0, expected.to_vec()));
    assert!(
        used.starts_with("ok       engine eviction: noeviction, no maxmemory, ")
            && used.ends_with(" MiB used")
    );
    assert_eq!(engine.server.ask(&["DBSIZE"]), "0", "who looks makes nothing");

    let settings = voip_push::config::Settings::load(engine.ward.simulator.config().as_path()).unwrap();
    voip_push::service::prepare_store(&settings.store).unwrap();
    let mut store = voip_push::service::open_store(&settings.store).unwrap();
    let limits = voip_push::service::Limits { devices_per_user: 9, users_per_token: 1 };
    for number in 0..20 {
        let token = format!("{number:02x}").repeat(32);
        let extra = voip_push::model::Extra::default();
        let device =
            voip_push::model::NewDevice::parse(&format!("user{number}"), &token, "ios", &extra).unwrap();
        store.register(&device, 1000, limits).unwrap();
    }
    let (_, lines) = engine.lines();
    assert!(lines.contains(&"ok       engine layout: version 1 under voip-push:".to_owned()), "{lines:?}");
    let memory = lines.iter().find_map(|line| line.strip_prefix("ok       engine memory: ")).unwrap();
    let (bytes, rest) = memory.split_once(' ').unwrap();
    assert_eq!(rest, "bytes for each token, as of 20 that were looked at");
    assert!((200..1000).contains(&bytes.parse::<u32>().unwrap()), "{memory}");
    let json = engine.ward.check(&["--offline", "--json"]);
    let json: Value = serde_json::from_str(&json.1.join("\n")).unwrap();
    let skipped = json!({ "verdict": "skipped", "about": "engine", "found": "not tried: --offline" });
    assert!(json["findings"].as_array().unwrap().contains(&skipped), "{json}");
}

#[test]
fn an_engine_that_forgets_tokens_is_told() {
    let engine = EngineWard::new("check-forget", &EngineSetup::default(), "");
    engine.assert_fault(3, "warning  engine persistence: neither AOF nor RDB is on, so it forgets all tokens when it is started again; set appendonly yes");
    engine.set("save", "3600 1");
    engine.assert_fault(3, "warning  engine persistence: RDB only (save 3600 1), so the last minutes are lost with the machine; set appendonly yes");
    engine.set("save", "");
    engine.set("appendonly", "yes");
    engine.server.wait_for(&["INFO", "persistence"], "aof_rewrite_in_progress:0");
    engine.set("maxmemory-policy", "allkeys-lru");
    engine.assert_fault(3, "warning  engine eviction: allkeys-lru would throw tokens away if maxmemory were set; set maxmemory-policy noeviction");
    engine.set("maxmemory", "100mb");
    engine.assert_fault(1, "broken   engine eviction: allkeys-lru throws tokens away when 100 MiB are used; set maxmemory-policy noeviction");
    engine.set("maxmemory-policy", "noeviction");
    let used: u64 = engine
        .server
        .ask(&["INFO", "memory"])
        .lines()
        .find_map(|line| line.trim().strip_prefix("used_memory:"))
        .unwrap()
        .parse()
        .unwrap();
    engine.set("maxmemory", &(used + used / 20).to_string());
    let (code, lines) = engine.lines();
    let full = lines.iter().find(|line| line.starts_with("warning  engine eviction: ")).unwrap();
    assert!(
        full.ends_with(" MiB are used; when it is full no token can be registered. Raise maxmemory"),
        "{full}"
    );
    assert_eq!(code, 3);
}

#[test]
fn an_engine_that_is_a_replica_or_has_too_few_is_told() {
    let engine = EngineWard::new("check-replicas", &kept(), "wait_replicas = 1\n");
    engine.assert_fault(1, "broken   engine replicas: 0 are connected, and [store] wait_replicas is 1, so every registration is refused; start more, or lower it");
    let follows = kept().line(format!("replicaof 127.0.0.1 {}", engine.server.port));
    let replica = Server::start(&engine.ward.scratch, &follows);
    replica.wait_for(&["INFO", "replication"], "master_link_status:up");
    engine.server.wait_for(&["INFO", "replication"], "connected_slaves:1");
    let (code, lines) = engine.lines();
    assert!(
        code == 0 && lines.contains(&"ok       engine replicas: 1 connected, wait_replicas is 1".to_owned()),
        "{lines:?}"
    );
    engine.ward.simulator.change_config(&[("wait_replicas = 1", "wait_replicas = 0")]);
    engine.assert_fault(3, "warning  engine replicas: 1 connected, and [store] wait_replicas is 0: what a master that dies has accepted last is lost; set it to 1");
    let (master, port) = (engine.server.port, replica.port);
    engine.ward.simulator.change_config(&[(&format!("127.0.0.1:{master}"), &format!("127.0.0.1:{port}"))]);
    engine.assert_fault(1, &format!("broken   engine role: a replica, which takes no registrations; its master is 127.0.0.1:{master}, give that in [store] url"));
}

#[test]
fn an_engine_that_does_not_let_us_in_or_do_is_told() {
    let engine = EngineWard::new("check-acl", &kept(), "");
    let url = format!("redis://127.0.0.1:{}/0", engine.server.port);
    engine.server.ask(&["ACL", "SETUSER", "default", "-hset", "-evalsha"]);
    engine.assert_fault(1, "broken   engine permissions: user default may not run hset, evalsha; docs/store-layout.md has the ACL line");
    engine.server.ask(&[
        "ACL",
        "SETUSER",
        "default",
        "+hset",
        "+evalsha",
        "-acl|dryrun",
        "-config|get",
        "-memory|usage",
        "-time",
    ]);
    let (code, lines) = engine.lines();
    let faults: Vec<&str> =
        lines.iter().filter(|line| !line.starts_with("ok ")).map(String::as_str).collect();
    let expected = [
        "skipped  engine permissions: cannot be asked for (ACL DRYRUN, of Redis 7 and Valkey, which our user may not run either)",
        "skipped  engine clock: our user may not run TIME",
    ];
    assert_eq!((code, faults), (0, expected.to_vec()));
    engine.server.ask(&["ACL", "SETUSER", "default", "+@all"]);
    engine.server.ask(&["SET", "voip-push:layout", "voip-push 9"]);
    engine.assert_fault(
        1,
        "broken   engine layout: version 9 under voip-push:, and this voip_push knows 1; install a newer one",
    );
    engine.server.ask(&["SET", "voip-push:layout", "x"]);
    engine.assert_fault(
        1,
        "broken   engine layout: voip-push:layout is not ours; choose another [store] key_prefix",
    );
    engine.set("requirepass", "swordfish");
    engine.assert_fault(
        1,
        &format!("broken   engine: {url}: NOAUTH: it wants a password; set username and password_file"),
    );
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let mut engine = EngineWard::new("check-away", &kept(), "");
    let url = format!("redis://127.0.0.1:{}/0", engine.server.port);
    engine.server.kill();
    engine.assert_fault(1, &format!("broken   engine: {url}: refuses connections; is it running?"));
}

#[test]
fn a_cluster_is_told_master_by_master() {
    let ward = Ward::new("check-cluster");
    let mut cluster = Cluster::start(&ward.scratch, &kept());
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let engine = EngineWard { ward, server: cluster.nodes.remove(0) };
    engine.names(&format!(
        "redis-cluster://127.0.0.1:{},127.0.0.1:{}\"\nstate_directory = \".\"\nwait_replicas = 1\n",
        ports[0], ports[1]
    ));
    let (code, lines) = engine.lines();
    assert_eq!(code, 0, "{lines:?}");
    let mut expected = vec!["ok       engine cluster: all 16384 slots are served, by 3 masters".to_owned()];
    expected.extend(
        ports[..3].iter().map(|port| {
            format!("ok       engine 127.0.0.1:{port} replicas: 1 connected, wait_replicas is 1")
        }),
    );
    for line in expected {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
    // the second master and its replica
    cluster.nodes[3].kill();
    cluster.nodes[0].kill();
    engine.server.wait_for(&["CLUSTER", "INFO"], "cluster_state:fail");
    let (code, lines) = engine.lines();
    assert_eq!(code, 1);
    let gone = format!("broken   engine 127.0.0.1:{}: cannot be asked: ", ports[1]);
    let state = "broken   engine cluster: state fail, 10922 of 16384 slots are served; look at CLUSTER NODES, and start the node that is missing or give its slots to another one";
    assert!(lines.iter().any(|line| line == state), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with(&gone)), "{lines:#?}");
    let whole = format!("ok       engine 127.0.0.1:{} role: master", ports[2]);
    assert!(lines.contains(&whole), "{lines:#?}");
}

#[test]
fn tls_trouble_is_told_with_what_to_do() {
    let engine = EngineWard::new("check-tls", &EngineSetup { tls: true, ..kept() }, "");
    let (ward, port) = (&engine.ward, engine.server.port);
    let (plain, tls) = (format!("redis://127.0.0.1:{port}"), format!("rediss://127.0.0.1:{port}"));
    let (code, lines) = engine.lines();
    assert!(lines[0].starts_with(&format!("broken   engine: {plain}/0: cannot be reached: ")), "{lines:?}");
    assert!(lines[0].ends_with("; if it speaks TLS only, its URL begins with rediss"), "{lines:?}");
    assert_eq!((code, lines.len()), (1, 1));

    ward.simulator.change_config(&[(&plain, &tls)]);
    let must = "its certificate must be signed by a CA in [store] ca_file, for the name or address in url, and not expired";
    engine.assert_fault(
        1,
        &format!(
            "broken   engine: {tls}/0: cannot be reached: invalid peer certificate: UnknownIssuer; {must}"
        ),
    );

    let ca = ward.scratch.path().join("tls/ca.pem");
    let trusts = format!("state_directory = \".\"\nca_file = \"{}\"", ca.display());
    ward.simulator.change_config(&[("state_directory = \".\"", &trusts)]);
    let (code, lines) = engine.lines();
    assert_eq!((code, lines.iter().all(|line| line.starts_with("ok "))), (0, true), "{lines:?}");
    assert!(lines[0].starts_with(&format!("ok       engine: {tls}/0, Redis ")), "{lines:?}");
    assert!(lines[0].ends_with(", TLS"), "{lines:?}");

    engine.set("tls-auth-clients", "yes");
    let (code, lines) = engine.lines();
    assert_eq!((code, lines.len()), (1, 1), "{lines:?}");
    assert!(lines[0].starts_with(&format!("broken   engine: {tls}/0: cannot be reached: ")), "{lines:?}");
    assert!(
        lines[0].ends_with("; if it asks for a certificate of ours, set tls-auth-clients no there"),
        "{lines:?}"
    );

    let other = EngineSetup { tls: true, address: Some("127.0.0.2".to_owned()), ..kept() };
    let other = Server::start(&ward.scratch, &other);
    let stranger = format!("rediss://127.0.0.2:{}", other.port);
    ward.simulator.change_config(&[(&tls, &stranger)]);
    let (code, lines) = engine.lines();
    let start = format!(
        "broken   engine: {stranger}/0: cannot be reached: invalid peer certificate: certificate not valid for name \"127.0.0.2\""
    );
    assert!(code == 1 && lines[0].starts_with(&start) && lines[0].ends_with(must), "{lines:?}");

    let deaf = Server::start(&ward.scratch, &kept());
    let deaf = format!("rediss://127.0.0.1:{}", deaf.port);
    ward.simulator.change_config(&[(&stranger, &deaf)]);
    let (code, lines) = engine.lines();
    assert_eq!((code, lines.len()), (1, 1), "{lines:?}");
    assert!(lines[0].starts_with(&format!("broken   engine: {deaf}/0: ")), "{lines:?}");
}

#[test]
fn what_a_redis_of_debian_never_says_is_told() {
    let engine = EngineWard::new("check-mask", &kept(), "");
    let is = ("redis_mode:standalone", "redis_mode:standalone");
    let masked = engine
        .wears(Mask { info: ("redis_version:", "redis_version:7.2.4\r\nvalkey_version:8.0.1"), ahead_s: 0 });
    let (code, lines) = engine.lines();
    assert_eq!(
        (code, &lines[0]),
        (0, &format!("ok       engine: redis://{masked}/0, Valkey 8.0.1")),
        "{lines:?}"
    );
    engine.takes_off(&masked);

    let masked = engine.wears(Mask { info: ("redis_version:", "other_version:1"), ahead_s: 0 });
    let (code, lines) = engine.lines();
    assert_eq!(
        (code, &lines[0]),
        (0, &format!("ok       engine: redis://{masked}/0, Redis of unknown version")),
        "{lines:?}"
    );
    engine.takes_off(&masked);

    for (ahead_s, way) in [(3600, "ahead of"), (-3600, "behind")] {
        let masked = engine.wears(Mask { info: is, ahead_s });
        let (code, lines) = engine.lines();
        let faults: Vec<&String> = lines.iter().filter(|line| !line.starts_with("ok ")).collect();
        let off = |s: u32| format!("warning  engine clock: {s} s {way} ours; let chrony or ntpd keep both");
        // The question takes a while, too.
        assert!(
            code == 3 && faults.len() == 1 && (3540..=3660).map(off).any(|line| *faults[0] == line),
            "{faults:?}"
        );
        engine.takes_off(&masked);
    }

    let writes = [
        ("AOF", ("aof_last_write_status:ok", "aof_last_write_status:err")),
        ("RDB", ("rdb_last_bgsave_status:ok", "rdb_last_bgsave_status:err")),
    ];
    for (what, info) in writes {
        let masked = engine.wears(Mask { info, ahead_s: 0 });
        engine.assert_fault(
            1,
            &format!("broken   engine persistence: its last write of the {what} file has failed, so it may take no registrations; look at its disk and its log"),
        );
        engine.takes_off(&masked);
    }

    let masked = engine.wears(Mask { info: ("role:master", "role:sentinel"), ahead_s: 0 });
    engine.assert_fault(3, "warning  engine role: \"sentinel\", which is not known here");
    engine.takes_off(&masked);
}

#[test]
fn an_engine_of_which_nothing_may_be_asked_is_told_by_what_is_left() {
    let engine = EngineWard::new("check-info", &kept(), "");
    let url = format!("redis://127.0.0.1:{}/0", engine.server.port);
    engine.server.ask(&["ACL", "SETUSER", "default", "-info"]);
    let (code, lines) = engine.lines();
    let expected = [
        format!("ok       engine: {url}, Redis of unknown version"),
        "ok       engine permissions: user default may do all that is needed".to_owned(),
        "skipped  engine state: our user may not run INFO".to_owned(),
        "ok       engine layout: nothing under voip-push: yet; the SIP server makes it when it starts"
            .to_owned(),
        "ok       engine memory: no token is there yet".to_owned(),
    ];
    assert_eq!((code, lines), (0, expected.to_vec()));

    let token = ["HSET", "voip-push:{1}:u:alice", "a", "1"];
    engine.server.ask(&token);
    engine.server.ask(&["ACL", "SETUSER", "default", "+info", "-memory|usage"]);
    engine.assert_fault(0, "skipped  engine memory: our user may not run MEMORY USAGE");
    engine.server.ask(&["ACL", "SETUSER", "default", "+memory|usage", "-config|get"]);
    engine.assert_fault_free();
    engine.server.ask(&["ACL", "SETUSER", "default", "+config|get"]);
    engine.set("appendonly", "no");
    engine.server.ask(&["ACL", "SETUSER", "default", "-config|get"]);
    engine.assert_fault(
        3,
        "warning  engine persistence: no AOF, and our user may not ask for RDB (CONFIG GET save); set appendonly yes",
    );
    engine.server.ask(&["ACL", "SETUSER", "default", "-get"]);
    let (code, lines) = engine.lines();
    let refused = format!(
        "broken   engine layout: {url}: NOPERM: our user may not run get; docs/store-layout.md has the ACL line"
    );
    assert!(code == 1 && lines.contains(&refused), "{lines:#?}");
}
