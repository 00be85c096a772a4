//! One change comes in the middle of another, at every place where it can: the first one's engine is behind a wire that holds its next
//! command until the second change is done.

use super::cases::{MANY, devices, hex, phone, user};
use super::crash::sweep;
use super::{Server, with_own_prefix};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use voip_push::config::EngineSettings;
use voip_push::model::{Provider, Token};
use voip_push::store::{RedisStore, TokenStore};

/// A wire to the server for one connection. True at its end where `between` was run, before the command of this number.
fn wire(
    server: &Server,
    before: usize,
    between: impl FnOnce() + Send + 'static,
) -> ((String, u16), JoinHandle<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (here, to) = ((server.address.clone(), listener.local_addr().unwrap().port()), server.host());
    let thread = thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(to).unwrap();
        let mut between = Some(between);
        let mut piece = [0; 65536];
        for number in 1.. {
            // Each command comes in one piece, since it is short, and so does its answer.
            let Ok(len @ 1..) = near.read(&mut piece) else { break };
            if number == before
                && let Some(between) = between.take()
            {
                between();
            }
            far.write_all(&piece[..len]).unwrap();
            let len = far.read(&mut piece).unwrap();
            near.write_all(&piece[..len]).unwrap();
        }
        between.is_none()
    });
    (here, thread)
}

type Change = fn(&mut dyn TokenStore);
/// Who has a token in the end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Anybody {
    /// This one has the first.
    Is(&'static str),
    /// Whoever was last.
    ButSomebody,
    OrNobody,
}
use Anybody::{ButSomebody, Is, OrNobody};

fn registers(store: &mut dyn TokenStore, name: &str, number: usize, at_ms: i64) {
    store.register(&phone(name, "x", number), at_ms, MANY).unwrap().unwrap();
}

fn token(number: usize) -> Token {
    Token::parse(Provider::Apns, &hex(number)).unwrap()
}

/// Alice has the first token, since 1000.
const PAIRS: [(&str, Change, Change, Anybody); 8] = [
    (
        "she renews while bob takes it",
        |s| registers(s, "bob", 1, 2000),
        |s| registers(s, "alice", 1, 2000),
        ButSomebody,
    ),
    (
        "bob takes it while she renews",
        |s| registers(s, "alice", 1, 2000),
        |s| registers(s, "bob", 1, 2000),
        ButSomebody,
    ),
    (
        "carol takes it while bob does",
        |s| registers(s, "bob", 1, 2000),
        |s| registers(s, "carol", 1, 2000),
        ButSomebody,
    ),
    (
        "she goes while bob takes it",
        |s| registers(s, "bob", 1, 2000),
        |s| drop(s.delete(&user("alice"), None)),
        Is("bob"),
    ),
    (
        "she renews while she goes",
        |s| drop(s.delete(&user("alice"), None)),
        |s| registers(s, "alice", 1, 2000),
        OrNobody,
    ),
    (
        "she goes while she renews",
        |s| registers(s, "alice", 1, 2000),
        |s| drop(s.delete(&user("alice"), None)),
        OrNobody,
    ),
    (
        "she renews while it dies",
        |s| assert!(s.retire(&token(1), 1500).unwrap() <= 1),
        |s| registers(s, "alice", 1, 2000),
        Is("alice"),
    ),
    (
        "she has it again while she has another",
        |s| registers(s, "alice", 2, 2000),
        |s| registers(s, "alice", 1, 2000),
        ButSomebody,
    ),
];

/// Every pair at every place.
pub fn changes_in_the_middle_of_others(server: &Server) {
    for (name, outer, inner, owner) in PAIRS {
        let places = (1..).take_while(|before| {
            println!("{name}, before command {before}");
            interleave(server, outer, inner, owner, *before)
        });
        assert!(places.count() >= 4, "{name}");
    }
}

/// False where the first change had ended before that command.
fn interleave(server: &Server, outer: Change, inner: Change, owner: Anybody, before: usize) -> bool {
    let direct = with_own_prefix(&server.settings());
    let mut store = RedisStore::open(&Arc::new(direct.clone()));
    registers(&mut store, "alice", 1, 1000);
    let own = Arc::new(direct.clone());
    let (here, thread) = wire(server, before, move || inner(&mut RedisStore::open(&own)));
    let behind = EngineSettings { hosts: vec![here], ..direct.clone() };
    outer(&mut RedisStore::open(&Arc::new(behind)));
    let happened = thread.join().unwrap();
    sweep(&mut store);
    let owners = [1, 2].map(|number| {
        let mut has =
            |name: &str| devices(&mut store, name).iter().any(|device| device.token.expose() == hex(number));
        ["alice", "bob", "carol"].into_iter().filter(|name| has(name)).collect::<Vec<_>>()
    });
    let known: usize = owners.iter().map(Vec::len).sum();
    assert!(owners.iter().all(|owners| owners.len() <= 1), "{owners:?}");
    if let (Is(owner), true) = (owner, happened) {
        assert_eq!(owners[0], [owner]);
    }
    // What the tokens know of their owners is just that.
    let tokens = server.ask(&["--scan", "--pattern", &format!("{}:t:*", direct.key_prefix)]);
    assert_eq!(tokens.lines().count(), known, "{owners:?}");
    for (number, owners) in (1..).zip(&owners) {
        assert_eq!(store.retire(&token(number), i64::MAX).unwrap(), owners.len(), "of token {number}");
    }
    assert!(known > 0 || owner == OrNobody || !happened);
    let keys = server.ask(&["--scan", "--pattern", &format!("{}:*", direct.key_prefix)]);
    assert_eq!(keys, format!("{}:layout", direct.key_prefix));
    happened
}
