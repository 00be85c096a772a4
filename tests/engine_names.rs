//! An engine that is known by a name, while the name server does not answer: nobody waits for longer than his deadline.
//!
//! The system's own resolver cannot be told which name server to ask but by /etc/resolv.conf, so this runs in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::engine::{Cluster, Server, Setup, settings as engine_settings};
use support::shipped::apns_token;
use support::{DEADLINE, Scratch, ends_with_us, poll, settings};
use voip_push::config::{EngineSettings, EngineShape};
use voip_push::engine::{Engine, cmd, from_redis_value};
use voip_push::model::Extra;
use voip_push::service::{Error, Service};
use voip_push::stats::Counter;

/// Set where the test runs in its namespaces.
const INSIDE: &str = "VOIP_PUSH_TEST_INSIDE";
/// The resolver's own patience is so long, in s, that whoever waited for it is found out.
const PATIENCE_S: u64 = 30;
/// What a wait for the resolver cannot be taken for.
const MUCH_LESS: Duration = Duration::from_secs(PATIENCE_S / 2);
const DEADLINE_OF_A_CALL: Duration = Duration::from_millis(100);

/// Runs one test of this program in a network where 127.0.0.1:53 is ours. False where the caller is inside already.
fn runs_outside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let scratch = Scratch::new("names");
    let resolv = format!("nameserver 127.0.0.1\noptions timeout:{PATIENCE_S} attempts:2\n");
    let (resolv, nsswitch) =
        (scratch.write("resolv", resolv), scratch.write("nsswitch", "hosts: files dns\n"));
    // 77: in this container nobody may mount, root neither
    let script = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && mount --bind \"$2\" /etc/nsswitch.conf || exit 77
        exec \"$3\" --exact \"$4\" --nocapture";
    // SAFETY: geteuid has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut unshare = Command::new("unshare");
    if !is_root {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    unshare.args([&resolv, &nsswitch, &std::env::current_exe().unwrap()]).arg(test).env(INSIDE, "1");
    let log = fs::File::create(scratch.path().join("log")).unwrap();
    unshare.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let ended = ends_with_us(&mut unshare).status().expect("needs Debian's package util-linux");
    let said = fs::read_to_string(scratch.path().join("log")).unwrap();
    if ended.code() == Some(77) || said.starts_with("unshare: ") {
        eprintln!("not run: {test}, since this machine lets nobody make namespaces or mount: {said}");
        return true;
    }
    assert!(ended.success() && said.contains("1 passed"), "{said}");
    true
}

/// A name server that knows every name, as 127.0.0.1, and answers when it may: then also what it was asked before.
struct NameServer {
    may_answer: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl NameServer {
    fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (may_answer, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (may, count) = (Arc::clone(&may_answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut waiting: Vec<(Vec<u8>, SocketAddr)> = Vec::new();
            loop {
                let mut query = [0; 512];
                if let Ok((len, from)) = socket.recv_from(&mut query) {
                    count.fetch_add(1, Ordering::SeqCst);
                    waiting.push((query[..len].to_vec(), from));
                }
                if may.load(Ordering::SeqCst) {
                    // Who has asked may be gone.
                    waiting.drain(..).for_each(|(query, from)| drop(socket.send_to(&answer(&query), from)));
                }
            }
        });
        NameServer { may_answer, asked }
    }

    fn answers(&self, may: bool) {
        self.may_answer.store(may, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// RFC 1035 §4.1: the question again, and an address where one of IPv4 was asked for.
fn answer(query: &[u8]) -> Vec<u8> {
    let name_len = query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..12 + name_len + 4];
    let is_ipv4 = question[name_len..name_len + 2] == [0, 1];
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0], question].concat();
    if is_ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// Threads of this process that open connections.
fn threads() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names
        .filter(|name| "voip-push engine".starts_with(name.trim()) && name.starts_with("voip-push e"))
        .count()
}

#[test]
fn a_name_server_that_is_silent_costs_the_deadline_and_its_late_answer_is_used() {
    if runs_outside("a_name_server_that_is_silent_costs_the_deadline_and_its_late_answer_is_used") {
        return;
    }
    let (names, scratch) = (NameServer::start(), Scratch::new("names-late"));
    let server = Server::start(&scratch, &Setup::default());
    server.ask(&["SET", "a", "1"]);
    let settings = EngineSettings {
        hosts: vec![("engine.test".to_owned(), server.port)],
        ..engine_settings(EngineShape::Single, vec![server.host()])
    };
    let mut engine = Engine::new(&Arc::new(settings));
    let get = cmd("GET").arg("a").to_owned();
    let began = Instant::now();
    let late = engine.run(&get, DEADLINE_OF_A_CALL).unwrap_err();
    assert!(began.elapsed() < MUCH_LESS && late.is_away(), "{late}");
    assert!(late.to_string().ends_with("does the name server answer?"), "{late}");
    // Whoever comes later waits for the same.
    let waits_again = || {
        let error = engine.run(&get, DEADLINE_OF_A_CALL).unwrap_err();
        error.to_string().ends_with("does the name server answer?").then_some(())
    };
    poll(DEADLINE, waits_again).expect("the pause after a failure ends");
    assert!(began.elapsed() < MUCH_LESS, "{:?}", began.elapsed());
    let seen = |wanted| poll(DEADLINE, || ((threads(), names.asked()) == wanted).then_some(()));
    assert!(seen((1, 2)).is_some(), "one thread, which asks for both kinds of addresses: {}", threads());
    names.answers(true);
    let found = poll(DEADLINE, || engine.run(&get, DEADLINE_OF_A_CALL).ok());
    assert_eq!(from_redis_value::<String>(found.expect("it is connected")).unwrap(), "1");
    assert!(seen((0, 2)).is_some(), "that one's connection is used: {}", names.asked());
}

/// A service with its tokens in an engine.
fn service(scratch: &Scratch, url: &str) -> Service {
    let file = settings::write(scratch);
    let store = format!("url = \"{url}\"\nstate_directory = \"db\"\nlookup_ms = 100\nwrite_ms = 500");
    fs::write(&file, settings::TOML.replace("url = \"sqlite:db/tokens.db\"", &store)).unwrap();
    Service::prepare(&file).unwrap()
}

/// Calls are pushed to what is remembered while the name server is silent, and all heals when it answers.
fn goes_on_without_names(names: &NameServer, service: &Service, close: impl Fn()) {
    let register = |number| service.register("alice", &apns_token(number), "ios", &Extra::default());
    assert!(poll(DEADLINE, || register(1).ok()).is_some(), "{:?}", register(1));
    assert!(poll(DEADLINE, || service.lookup("alice").ok().filter(|found| found.len() == 1)).is_some());
    names.answers(false);
    close();
    let began = Instant::now();
    let silent = || {
        assert_eq!(service.lookup("alice").unwrap().len(), 1);
        (service.stats().get(Counter::EngineAway) == 1).then_some(())
    };
    poll(DEADLINE, silent).expect("it needs a new connection");
    assert!(service.stats().get(Counter::LookupRemembered) > 0);
    assert!(matches!(register(2), Err(Error::Store(why)) if why.is_away()));
    assert!(began.elapsed() < MUCH_LESS, "{:?}", began.elapsed());
    names.answers(true);
    let heals = || (register(2).is_ok() && service.stats().get(Counter::EngineAway) == 0).then_some(());
    poll(DEADLINE, heals).expect("the name server answers");
    let asks_again = || {
        let before = service.stats().get(Counter::LookupRemembered);
        let found = service.lookup("alice").unwrap();
        assert_eq!(found.len(), 1);
        (service.stats().get(Counter::LookupRemembered) == before).then_some(())
    };
    poll(DEADLINE, asks_again).expect("the engine is asked again");
}

const CLOSE: [&str; 6] = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];

#[test]
fn a_service_remembers_while_its_name_server_is_silent() {
    if runs_outside("a_service_remembers_while_its_name_server_is_silent") {
        return;
    }
    let (names, scratch) = (NameServer::start(), Scratch::new("names-service"));
    names.answers(true);
    let server = Server::start(&scratch, &Setup::default());
    let service = service(&scratch, &format!("redis://engine.test:{}", server.port));
    goes_on_without_names(&names, &service, || drop(server.ask(&CLOSE)));
}

#[test]
fn a_cluster_whose_nodes_have_names_too() {
    if runs_outside("a_cluster_whose_nodes_have_names_too") {
        return;
    }
    let (names, scratch) = (NameServer::start(), Scratch::new("names-cluster"));
    names.answers(true);
    let setup = Setup::default()
        .line("cluster-announce-hostname node.test")
        .line("cluster-preferred-endpoint-type hostname");
    let cluster = Cluster::start(&scratch, &setup);
    let service = service(&scratch, &format!("redis-cluster://node.test:{}", cluster.nodes[0].port));
    goes_on_without_names(&names, &service, || cluster.nodes.iter().for_each(|node| drop(node.ask(&CLOSE))));
}
