//! A real browser without a window, driven by Chromium's DevTools protocol over a pipe.
//!
//! It refuses to sleep: a question to the page is a promise that the page keeps.

use super::{DEADLINE, Scratch};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: String,
    next_id: u64,
    /// Everything that the browser has told without being asked.
    pub events: Vec<Value>,
    _profile: Scratch,
}

impl Browser {
    /// Starts Debian's Chromium.
    pub fn start(name: &str) -> Browser {
        let profile = Scratch::new(name);
        // DevTools speaks on descriptors 3 and 4. As root, Chromium has no sandbox; it sees our own page only.
        let command = "exec chromium-headless-shell --remote-debugging-pipe --no-sandbox --disable-gpu \
                       --user-data-dir=\"$0\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>\"$0/log\"";
        let mut child = Command::new("sh")
            .args(["-c", command])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let to = child.stdin.take().expect("piped");
        let from = listen(BufReader::new(child.stdout.take().expect("piped")));
        let session = String::new();
        let mut browser =
            Browser { child, to, from, session, next_id: 0, events: Vec::new(), _profile: profile };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().expect("a session has an id").clone_into(&mut browser.session);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// A command of the DevTools protocol, and its result.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.next_id += 1;
        let mut message = json!({ "id": self.next_id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let said = self.from.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{method}: no answer"));
            if said["id"] == self.next_id {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.events.push(said);
        }
    }

    /// A screen of this size in CSS pixels, in light or dark.
    pub fn screen(&mut self, width: u32, height: u32, scheme: &str) {
        let mobile = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", &features);
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        let went = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{went}");
    }

    /// What a JavaScript expression comes to; a promise is waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.ask("Runtime.evaluate", &ask);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// A picture of the whole page, as base64 of a PNG.
    pub fn picture(&mut self) -> String {
        let picture = self.ask("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        picture["data"].as_str().expect("a picture has data").to_owned()
    }

    /// What the page complained about: exceptions, errors and warnings on the console.
    pub fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            Some("Runtime.consoleAPICalled") => event["params"]["type"] != "log",
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// The addresses that were asked for.
    pub fn requests(&self) -> Vec<&str> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut from: BufReader<std::process::ChildStdout>) -> Receiver<Value> {
    let (said, heard) = channel();
    std::thread::spawn(move || {
        let mut message = Vec::new();
        while from.read_until(0, &mut message).is_ok_and(|len| len > 0) {
            message.pop();
            let value = serde_json::from_slice(&message).expect("DevTools speaks JSON");
            if said.send(value).is_err() {
                return;
            }
            message.clear();
        }
    });
    heard
}
