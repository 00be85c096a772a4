//! A process that ends in the middle of a change, at every place where it can: its engine is behind a wire that is cut after so many
//! commands, before or after the last one was done.

use super::cases::{MANY, devices, hex, phone, user};
use super::{Server, with_own_prefix};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use voip_push::config::EngineSettings;
use voip_push::model::{Provider, Token};
use voip_push::store::{Limits, RedisStore, TokenStore};

/// Where a wire is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// So many commands pass.
    after: usize,
    /// Whether the last of them is still done, and only its answer is lost.
    is_done: bool,
}

/// A wire to the server for one connection; once it is cut, nobody can connect any more.
fn wire(server: &Server, cut: Cut) -> (String, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, port) = (server.address.clone(), listener.local_addr().unwrap().port());
    let to = server.host();
    thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        drop(listener);
        let mut far = TcpStream::connect(to).unwrap();
        for number in 1.. {
            // Each command comes in one piece, since it is short.
            let mut command = [0; 65536];
            let Ok(len @ 1..) = near.read(&mut command) else { return };
            let is_last = number > cut.after;
            if is_last && !cut.is_done {
                break;
            }
            far.write_all(&command[..len]).unwrap();
            let mut answer = [0; 65536];
            let len = far.read(&mut answer).unwrap();
            if is_last {
                break;
            }
            near.write_all(&answer[..len]).unwrap();
        }
        let _ = near.shutdown(Shutdown::Both);
    });
    (host, port)
}

/// What the process that ends was about to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// Bob's phone becomes Alice's, whose device has had another token.
    PhoneMoves,
    /// A third account of a phone that may have two.
    ThirdAccount,
    UserGoes,
    TokenDies,
}

const TWO_EACH: Limits = Limits { devices_per_user: u32::MAX, users_per_token: 2 };

impl Change {
    /// True where it was promised.
    fn make(self, store: &mut dyn TokenStore) -> bool {
        let mut register = |name, number, limits| {
            store.register(&phone(name, "x", number), 2000, limits).is_ok_and(|done| done.is_some())
        };
        match self {
            Change::PhoneMoves => register("alice", 1, MANY),
            Change::ThirdAccount => register("carol", 4, TWO_EACH),
            Change::UserGoes => store.delete(&user("alice"), None).is_ok(),
            Change::TokenDies => store.retire(&Token::parse(Provider::Apns, &hex(4)).unwrap(), 5000).is_ok(),
        }
    }
}

/// Every change, cut at every place: then the next second's look finishes what it left.
pub fn whatever_is_cut_off_is_finished(server: &Server) {
    for change in [Change::PhoneMoves, Change::ThirdAccount, Change::UserGoes, Change::TokenDies] {
        let mut ended = false;
        let mut places = 0;
        for after in 1.. {
            for is_done in [false, true] {
                let cut = Cut { after, is_done };
                println!("{change:?}, {cut:?}");
                ended = cut_off(server, change, cut);
                places += 1;
            }
            if ended {
                break;
            }
        }
        assert!(ended && places > 6, "{change:?}: cut at {places} places");
    }
}

/// True where the change had ended before the cut.
fn cut_off(server: &Server, change: Change, cut: Cut) -> bool {
    let direct = with_own_prefix(&server.settings());
    let mut store = RedisStore::open(&Arc::new(direct.clone()));
    for (name, number) in [("alice", 2), ("bob", 1), ("dave", 3)] {
        store.register(&phone(name, "x", number), 1000, MANY).unwrap().unwrap();
    }
    for (at_ms, name) in [(1001, "alice"), (1002, "dave")] {
        store.register(&phone(name, "y", 4), at_ms, TWO_EACH).unwrap().unwrap();
    }
    let behind = EngineSettings { hosts: vec![wire(server, cut)], ..direct.clone() };
    let is_promised = change.make(&mut RedisStore::open(&Arc::new(behind)));
    sweep(&mut store);
    check(&mut store, change, is_promised);
    let left = format!("{}:*", direct.key_prefix);
    for name in ["alice", "bob", "carol", "dave"] {
        store.delete(&user(name), None).unwrap();
    }
    // All that is left is that the layout is ours.
    let keys = server.ask(&["--scan", "--pattern", &left]);
    assert_eq!(keys, format!("{}:layout", direct.key_prefix));
    is_promised
}

/// What the senders do in half a minute, as if it were a minute later.
pub fn sweep(store: &mut dyn TokenStore) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for _ in 0..32 {
        store.tidy(now.as_millis() as i64 + 60_000).unwrap();
    }
}

fn check(store: &mut RedisStore, change: Change, is_promised: bool) {
    let names = ["alice", "bob", "carol", "dave"];
    let mut owners = |number: usize| -> Vec<&str> {
        let token = hex(number);
        let mut has = |name: &str| devices(store, name).iter().any(|device| device.token.expose() == token);
        names.into_iter().filter(|name| has(name)).collect()
    };
    let (first, second, fourth) = (owners(1), owners(2), owners(4));
    assert_eq!(owners(3), ["dave"], "who has nothing to do with it");
    assert_eq!(first.len(), 1, "one user has a phone, and nobody has lost it: {first:?}");
    assert!(fourth.len() <= 2, "{fourth:?}");
    if change == Change::PhoneMoves {
        assert!(!is_promised || first == ["alice"], "promised, and {first:?}");
        assert_eq!(second.is_empty(), first == ["alice"], "all of it or nothing");
        assert_eq!(fourth, ["alice", "dave"]);
    }
    if change == Change::ThirdAccount {
        assert!(!is_promised || fourth == ["carol", "dave"], "promised, and {fourth:?}");
        assert_eq!(fourth.len(), 2);
    }
    if change == Change::UserGoes {
        assert!(!is_promised || (second.is_empty() && fourth == ["dave"]), "{second:?} {fourth:?}");
        assert_eq!(second.is_empty(), fourth == ["dave"], "all of it or nothing");
    }
    if change == Change::TokenDies {
        assert!(!is_promised || fourth.is_empty(), "{fourth:?}");
    }
}
