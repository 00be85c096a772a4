//! The simulator that we ship, started for one test, and its control API.
//!
//! It refuses to stay behind: it is ended by its process id when the test ends.

use super::{DEADLINE, Scratch, ends_with_us, poll};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running simulator.
pub struct Simulator {
    child: Child,
    facts: Value,
    dir: PathBuf,
}

impl Simulator {
    /// Starts one that writes into `<scratch>/simulator`, with further arguments such as `--on-push`.
    pub fn start(scratch: &Scratch, more: &[&str]) -> Simulator {
        let dir = scratch.path().join("simulator");
        let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
        command.args(["simulate", "--quiet", "--dir"]).arg(&dir).args(more).stdin(Stdio::null());
        let child = ends_with_us(&mut command).spawn().expect("cargo has built the command beside the tests");
        let mut simulator = Simulator { child, facts: Value::Null, dir };
        let ready = poll(DEADLINE, || {
            let facts: Value =
                serde_json::from_slice(&std::fs::read(simulator.dir.join("simulator.json")).ok()?).ok()?;
            (facts["pid"] == simulator.child.id()).then_some(facts)
        });
        simulator.facts = ready.expect("the simulator writes simulator.json when it is ready");
        simulator
    }

    /// Its process id.
    pub fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.child.id()).expect("a pid is a pid_t")
    }

    /// The configuration that it has written.
    pub fn config(&self) -> PathBuf {
        self.dir.join("voip-push.toml")
    }

    /// Changes the configuration that it has written: each `from` must be there and becomes `to`.
    pub fn change_config(&self, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = std::fs::read_to_string(self.config()).expect("the simulator has written it");
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in {text}");
            text = text.replace(from, to);
        }
        std::fs::write(self.config(), text).expect("the directory is ours");
        self.config()
    }

    /// One of the facts in `simulator.json`: `apns`, `google`, `control`, `topic`, `project`, `api_key`, …
    pub fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("simulator.json has no {name}"))
    }

    /// Every push that arrived after number `after`, as soon as there are `how_many`.
    pub fn wait_for_pushes(&self, after: u64, how_many: usize) -> Vec<Value> {
        let arrived = || {
            let pushes = self.get(&format!("/pushes?after={after}&wait_ms=200"))["pushes"].clone();
            pushes.as_array().cloned().filter(|pushes| pushes.len() >= how_many)
        };
        poll(DEADLINE, arrived)
            .unwrap_or_else(|| panic!("{how_many} pushes did not arrive: {:?}", self.pushes()))
    }

    /// Every push that has arrived.
    pub fn pushes(&self) -> Vec<Value> {
        self.get("/pushes")["pushes"].as_array().cloned().expect("a list")
    }

    /// `GET` on the control API.
    pub fn get(&self, path: &str) -> Value {
        self.control().get(path)
    }

    /// The control API alone, for a thread.
    pub fn control(&self) -> Control {
        Control { url: self.fact("control").to_owned() }
    }

    /// `PUT` on the control API: `/tokens/…`, `/behaviour/…`, `/keys/…`, `/oauth`, `/limits`.
    pub fn put(&self, path: &str, body: &Value) {
        let sent = ureq::put(self.url(path)).content_type("application/json").send(body.to_string());
        sent.unwrap_or_else(|error| panic!("PUT {path}: {error}"));
    }

    /// `DELETE` on the control API: `/keys/…`.
    pub fn delete(&self, path: &str) {
        let sent = ureq::delete(self.url(path)).call();
        sent.unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }

    /// `POST` on the control API: `/connections/goaway`, `/oauth/revoke`, …
    pub fn post(&self, path: &str, body: &Value) {
        let sent = ureq::post(self.url(path)).content_type("application/json").send(body.to_string());
        sent.unwrap_or_else(|error| panic!("POST {path}: {error}"));
    }

    /// The next requests with this token end in these behaviours.
    pub fn behave(&self, token: &str, behaviours: Value) {
        self.put(&format!("/tokens/{token}"), &json!({ "state": "registered", "behaviours": behaviours }));
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.fact("control"))
    }
}

/// Where the control API of a simulator is.
pub struct Control {
    url: String,
}

impl Control {
    /// `GET`
    pub fn get(&self, path: &str) -> Value {
        let mut response = ureq::get(format!("{}{path}", self.url)).call().expect("the control API answers");
        serde_json::from_str(&response.body_mut().read_to_string().expect("a body")).expect("JSON")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // SAFETY: sends SIGTERM to the child that this value started and has not reaped yet.
        unsafe { libc::kill(self.pid(), libc::SIGTERM) };
        let ended = poll(Duration::from_secs(5), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
