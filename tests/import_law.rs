//! The import law: which room of `src` may use which, where `unsafe` may stand, and which crates belong to one room.
//!
//! It refuses to be talked out of it: a room that the law does not know is a breach too.

#[path = "import_law/source.rs"]
mod source;

use source::{Token, references, tokens};
use std::fs;
use std::path::Path;

/// Who may use whom. `model` (the nouns), `process` (forks, shared memory), `clock` and `random` (pauses that differ) are open to
/// everybody.
const LAW: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("process", &[]),
    ("clock", &[]),
    ("random", &[]),
    ("config", &[]),
    ("stats", &[]),
    ("sip", &[]),
    ("http2", &["config"]),
    // Connections to a Redis or Valkey; it knows no tokens.
    ("engine", &["config"]),
    // What is remembered while an engine is away is counted.
    ("store", &["config", "engine", "stats"]),
    ("payload", &["config"]),
    ("provider", &["config", "payload"]),
    ("timeline", &["config", "store", "stats"]),
    ("sender", &["config", "engine", "store", "provider", "http2", "stats", "timeline"]),
    ("service", &["config", "store", "sender", "stats", "sip", "timeline"]),
    ("rest", &["service", "stats"]),
    ("c_api", &["service", "rest", "stats", "config"]),
    ("host", &["service", "rest", "stats", "config", "sip"]),
    ("bin", &["service", "rest", "stats", "config", "host"]),
    // lib.rs is a map: it names the rooms and uses none.
    ("", &[]),
];
const OPEN_ROOMS: [&str; 4] = ["model", "process", "clock", "random"];

/// Rooms whose parts are siblings that never see each other.
const SIBLINGS: [(&str, [&str; 2]); 1] = [("provider", ["apns", "fcm"])];

/// Where a crate may be named: only in files whose path starts so.
const CRATES: [(&str, &[&str]); 9] = [
    ("rusqlite", &["src/store"]),
    ("redis", &["src/engine", "src/store/redis"]),
    ("simple_asn1", &["src/http2/certificate.rs"]),
    ("h2", &["src/http2", "src/bin/voip-push/simulate"]),
    // ureq, in oauth.rs, wants its crypto provider handed over as rustls' type.
    (
        "rustls",
        &[
            "src/http2",
            "src/bin/voip-push/simulate",
            "src/bin/voip-push/serve/tls.rs",
            "src/provider/fcm/oauth.rs",
        ],
    ),
    ("tokio_rustls", &["src/http2", "src/bin/voip-push/simulate", "src/bin/voip-push/serve"]),
    (
        "aws_lc_rs",
        &[
            "src/config/api_keys.rs",
            "src/model/name_uuid.rs",
            "src/service/purr.rs",
            "src/store/redis",
            "src/bin/voip-push/simulate",
            "src/bin/voip-push/serve/tls.rs",
            "src/bin/voip-push/token/checksum.rs",
        ],
    ),
    ("ureq", &["src/provider/fcm", "src/sender"]),
    ("cbindgen", &[]),
];

/// Where unsafe code may stand. The C porch turns raw pointers into safe values in one file.
const UNSAFE_CODE: [&str; 3] = ["src/c_api/pointers.rs", "src/host/", "src/process/"];
/// Where symbols may be exported (`#[unsafe(no_mangle)]`).
const UNSAFE_ATTRIBUTES: [&str; 2] = ["src/c_api/", "src/host/"];

/// What is wrong with one file, a line each.
fn breaches(file: &str, text: &str) -> Vec<String> {
    let (tokens, module) = (tokens(text), module_of(file));
    let module: Vec<&str> = module.iter().map(String::as_str).collect();
    let root: &[&str] = if module.first() == Some(&"bin") { &["bin"] } else { &[] };
    let references = references(&tokens, &module, root).into_iter();
    let imports = references
        .filter(|reference| !reference.in_tests && !is_test_file(file) && !may_use(&module, &reference.path))
        .map(|reference| format!("{file}:{}: may not use {}", reference.line, reference.path.join("::")));
    imports.chain(foreign_crates(file, &tokens)).chain(unsafe_places(file, &tokens)).collect()
}

/// Tests that stand beside the code may build their world from any room; they are not shipped.
fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs")
}

/// `src/store/sqlite.rs` stands at `store::sqlite`, `src/store/mod.rs` at `store`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").or_else(|| path.strip_suffix("/main")).unwrap_or(path);
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

fn may_use(module: &[&str], path: &[String]) -> bool {
    let room = module.first().copied().unwrap_or_default();
    let Some(used) = path.first().map(String::as_str) else { return true };
    if used == room {
        return !is_sibling(module, path);
    }
    let allowed = LAW.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
    allowed.is_some_and(|allowed| allowed.contains(&used) || (!room.is_empty() && OPEN_ROOMS.contains(&used)))
}

fn is_sibling(module: &[&str], path: &[String]) -> bool {
    let part = |of: &[&str]| of.get(1).map(|name| (*name).to_owned());
    let (own, other) = (part(module), path.get(1).cloned());
    let both = |names: &[&str; 2]| {
        let knows = |part: &Option<String>| part.as_ref().is_some_and(|part| names.contains(&part.as_str()));
        own != other && knows(&own) && knows(&other)
    };
    SIBLINGS.iter().any(|(room, names)| module.first() == Some(room) && both(names))
}

fn foreign_crates(file: &str, tokens: &[Token<'_>]) -> Vec<String> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let is_crate = |at: usize| {
        let before = if at == 0 { "" } else { text(at - 1) };
        before != "::" && (text(at + 1) == "::" || before == "use" || before == "crate")
    };
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some((name, places)) = CRATES.iter().find(|(name, _)| *name == token.text) else { continue };
        let at_home = places.iter().any(|place| file.starts_with(place));
        if is_crate(at) && !at_home && !token.in_tests && !is_test_file(file) {
            found.push(format!("{file}:{}: may not name the crate {name}", token.line));
        }
    }
    found
}

fn unsafe_places(file: &str, tokens: &[Token<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "unsafe") {
        let is_attribute = tokens.get(at + 1).is_some_and(|next| next.text == "(");
        let places: &[&str] = if is_attribute { &UNSAFE_ATTRIBUTES } else { &UNSAFE_CODE };
        if !places.iter().any(|place| file.starts_with(place)) {
            found.push(format!("{file}:{}: may not be unsafe", token.line));
        }
    }
    found
}

/// The files of src, as paths from the package's directory.
fn files(directory: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(directory)).expect("the package has its source") {
        let path = directory.join(entry.expect("a directory can be read to its end").file_name());
        if root.join(&path).is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_str().expect("our file names are ASCII").to_owned());
        }
    }
    found
}

#[test]
fn nobody_breaks_the_law() {
    let mut all = Vec::new();
    let mut paths = 0;
    for file in files(Path::new("src")) {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
        paths += references(&tokens(&text), &[], &[]).len();
        all.extend(breaches(&file, &text));
    }
    assert!(paths > 50, "only {paths} paths were seen; the reader must be blind");
    assert!(all.is_empty(), "\n{}\n", all.join("\n"));
}

#[test]
fn every_kind_of_breach_is_seen() {
    let cases = [
        ("src/model/user.rs", "use crate::store::StoreError;", "1: may not use store::StoreError"),
        ("src/store/sqlite.rs", "use crate::{model::User, service};", "1: may not use service"),
        (
            "src/http2/mod.rs",
            "use crate::{\n  config,\n  provider::{apns, fcm as f},\n};",
            "3: may not use provider::apns",
        ),
        ("src/rest.rs", "fn f() { crate::sender::Sender::check() }", "1: may not use sender::Sender::check"),
        ("src/http2/tls.rs", "use super::super::provider::Push;", "1: may not use provider::Push"),
        ("src/c_api/push.rs", "mod a { use super::super::super::store; }", "1: may not use store"),
        (
            "src/provider/apns/auth.rs",
            "use crate::provider::fcm::Request;",
            "1: may not use provider::fcm::Request",
        ),
        ("src/provider/fcm.rs", "use super::apns::auth;", "1: may not use provider::apns::auth"),
        ("src/lib.rs", "pub use crate::model::User;", "1: may not use model::User"),
        ("src/attic/mod.rs", "use crate::config::Settings;", "1: may not use config::Settings"),
        (
            "src/bin/voip-push/main.rs",
            "use voip_push::store::SqliteStore;",
            "1: may not use store::SqliteStore",
        ),
        ("src/service.rs", "use rusqlite::Connection;", "1: may not name the crate rusqlite"),
        ("src/sender/mod.rs", "use tokio_rustls;", "1: may not name the crate tokio_rustls"),
        ("src/provider/apns/mod.rs", "fn f() -> h2::Error {}", "1: may not name the crate h2"),
        ("src/http2/mod.rs", "use cbindgen::Config;", "1: may not name the crate cbindgen"),
        ("src/service.rs", "fn f() { unsafe { g() } }", "1: may not be unsafe"),
        ("src/c_api/push.rs", "/* a */ unsafe impl Send for A {}", "1: may not be unsafe"),
        ("src/store/mod.rs", "#[unsafe(no_mangle)]", "1: may not be unsafe"),
        ("src/store/mod.rs", "mod tests { use crate::sender; fn f() { unsafe {} } }", "1: may not be unsafe"),
    ];
    for (file, text, expected) in cases {
        let found = breaches(file, text);
        assert_eq!(found.first(), Some(&format!("{file}:{expected}")), "{text}");
    }
}

#[test]
fn what_is_allowed_is_not_a_breach() {
    let cases = [
        (
            "src/store/sqlite.rs",
            "use crate::{model::User, config, process::PerProcess}; use super::StoreError;",
        ),
        (
            "src/store/mod.rs",
            "// use crate::sender;\n/* unsafe /* crate::rest:: */ */ const A: &str = \"crate::rest::A\";",
        ),
        (
            "src/store/mod.rs",
            "const A: &str = r#\"\" crate::rest::A\"#; const B: char = '\"'; fn f<'a>() {} // unsafe",
        ),
        ("src/store/mod.rs", "mod tests { use crate::sender::Sender; use h2::client; }"),
        ("src/c_api/tests.rs", "use crate::store::SqliteStore;"),
        ("src/c_api/push.rs", "#[unsafe(no_mangle)] pub extern \"C\" fn f() {}"),
        ("src/host/kamailio/mod.rs", "use crate::service::Service; unsafe fn f() {}"),
        ("src/provider/mod.rs", "pub use self::apns::A; use crate::provider::fcm::B; pub(crate) mod fcm;"),
        (
            "src/bin/voip-push/simulate/apns/mod.rs",
            "use crate::Failure; use super::super::http2; use rustls::Error;",
        ),
        ("src/bin/voip-push/main.rs", "use voip_push::service::Service;"),
        ("src/sender/mod.rs", "let h2 = 1; self.rustls = h2; http2::h2::f();"),
    ];
    for (file, text) in cases {
        assert_eq!(breaches(file, text), Vec::<String>::new(), "{text}");
    }
}
