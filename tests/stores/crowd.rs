//! Many at once: users who take each other's phones, each thread with a handle of its own.

use super::Open;
use super::cases::{MANY, devices, hex, phone, user};
use voip_push::model::{Provider, Token};

const THREADS: usize = 6;
const TURNS: usize = 60;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const TOKENS: usize = 3;

/// A device's name says which token it has, so that a user never gives one away by himself.
pub fn every_token_ends_with_one_owner(open: Open<'_>) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut store = open();
                for turn in 0..TURNS {
                    let number = thread * TURNS + turn;
                    let (name, token) = (USERS[number * 7 % 5 % 4], number * 11 % TOKENS);
                    let device = phone(name, &token.to_string(), token);
                    store.register(&device, 1000 + number as i64, MANY).unwrap().unwrap();
                }
            });
        }
    });
    let mut store = open();
    for token in 0..TOKENS {
        let has = |name: &&&str| {
            devices(&mut *open(), name).iter().any(|device| device.token.expose() == hex(token))
        };
        let owners: Vec<_> = USERS.iter().filter(has).collect();
        assert_eq!(owners.len(), 1, "token {token} is {owners:?}'s");
    }
    // What the store knows of a token's owners is what stands at the users.
    for token in 0..TOKENS {
        let token = Token::parse(Provider::Apns, &hex(token)).unwrap();
        assert_eq!(store.retire(&token, i64::MAX).unwrap(), 1);
    }
    assert!(USERS.iter().all(|name| store.devices(&user(name), 0).unwrap().is_empty()));
    assert_eq!(store.count().unwrap(), 0);
}
