//! A running simulator in a directory of its own; it ends, and the directory goes, with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a loaded machine; what comes earlier is seen earlier.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A directory that is removed with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("simulator-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the target directory is writable");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command, not yet started, with its output thrown away.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.arg("simulate").args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Looks until `found` finds something, or fails the test.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(thing) = found() {
            return thing;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Simulator {
    child: Child,
    pub dir: PathBuf,
    ready: Value,
    /// Goes after the process: fields drop after `drop`.
    scratch: Option<Scratch>,
}

impl Simulator {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let scratch = Scratch::new();
        let dir = scratch.0.join("sim");
        let mut simulator = Self::in_dir(&dir, arguments);
        simulator.scratch = Some(scratch);
        simulator
    }

    pub fn in_dir(dir: &Path, arguments: &[&str]) -> Self {
        let dir_text = dir.to_str().expect("test directories are UTF-8");
        let child =
            command(&["--quiet", "--dir", dir_text]).args(arguments).spawn().expect("the binary starts");
        let pid = child.id();
        let mut unready = Simulator { child, dir: dir.to_owned(), ready: Value::Null, scratch: None };
        unready.ready = wait_for("simulator.json", || {
            let text = fs::read(dir.join("simulator.json")).ok()?;
            let ready: Value =
                serde_json::from_slice(&text).expect("the readiness signal is never half-written");
            (ready["pid"] == pid).then_some(ready)
        });
        unready
    }

    /// A field of simulator.json.
    pub fn ready(&self, field: &str) -> &str {
        self.ready[field].as_str().expect("simulator.json has every field that a test asks for")
    }

    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).expect("a ready simulator has written its files")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the simulator's end", || self.child.try_wait().expect("it is our child"))
    }

    /// One request to the control API: status and JSON.
    pub fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build()
            .into();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.ready("control")))
            .body(body.to_owned())
            .expect("test paths are URIs");
        let request = agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut response = agent.run(request).expect("the control API answers");
        let text = response.body_mut().read_to_string().expect("the control API speaks UTF-8");
        (response.status().as_u16(), serde_json::from_str(&text).expect("the control API speaks JSON"))
    }

    /// The same where only 200 will do.
    pub fn told(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.control(method, path, &body.to_string());
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.control("GET", path, "");
        assert_eq!(status, 200, "GET {path}: {answer}");
        answer
    }

    /// The newest push that was listed.
    pub fn last_push(&self) -> Value {
        let answer = self.get("/pushes?after=0&wait_ms=30000");
        answer["pushes"].as_array().and_then(|pushes| pushes.last()).expect("there is one by now").clone()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
