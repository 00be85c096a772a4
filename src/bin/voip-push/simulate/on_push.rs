//! `--on-push`: a shell command for each push that reached a phone; the demo wakes its phone this way.
//!
//! It refuses to hold pushes up: commands run beside them, at most [`AT_ONCE`] at a time, and past
//! [`WAITING`] waiting ones a push runs none.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel as queue};

use super::journal::Push;

const AT_ONCE: usize = 64;
const WAITING: usize = 10_000;

/// The command and the way to its runner.
pub struct OnPush {
    shell_command: String,
    jobs: Sender<Command>,
    dropped: AtomicU64,
}

/// The two ends of the queue; without a command the queue stays empty and [`work`] ends.
pub fn channel(shell_command: Option<&str>) -> (Option<OnPush>, Receiver<Command>) {
    let (jobs, receiver) = queue(WAITING);
    let shell_command = shell_command.map(str::to_owned);
    (shell_command.map(|shell_command| OnPush { shell_command, jobs, dropped: AtomicU64::new(0) }), receiver)
}

impl OnPush {
    /// Queues the command for this push.
    pub fn run(&self, push: &Push) {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.shell_command).stdin(Stdio::null());
        for (name, value) in environment(push) {
            command.env(name, value.replace('\0', ""));
        }
        // A full queue means that the commands are far too slow: the push itself matters more.
        if self.jobs.try_send(command).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// How many pushes have run no command since too many were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Runs the queued commands.
pub async fn work(mut jobs: Receiver<Command>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(mut command) = jobs.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        tokio::task::spawn_blocking(move || {
            // Waiting reaps the child; how it ended is its own business.
            let _ = command.status();
            drop(place);
        });
    }
}

fn environment(push: &Push) -> Vec<(&'static str, String)> {
    let payload: Value = serde_json::from_slice(&push.payload).unwrap_or(Value::Null);
    let fields = if push.service.is_apns() { &payload } else { &payload["message"]["data"] };
    // The keys of all our payload profiles; the first that is there.
    let field = |paths: &[&str]| {
        let found = paths.iter().find_map(|path| fields.pointer(path)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    vec![
        ("VOIP_PUSH_PROVIDER", push.service.provider().to_owned()),
        ("VOIP_PUSH_TOKEN", push.token.clone()),
        ("VOIP_PUSH_APP", push.app.clone()),
        ("VOIP_PUSH_ENVIRONMENT", push.service.environment().unwrap_or_default().to_owned()),
        ("VOIP_PUSH_CALL_ID", field(&["/call_id", "/call-id", "/aps/call-id"])),
        ("VOIP_PUSH_CALLER", field(&["/caller", "/from_display_name", "/display-name"])),
        ("VOIP_PUSH_SIP_USER", field(&["/sip_user", "/to_uri"])),
        ("VOIP_PUSH_ID", field(&["/id", "/uuid", "/aps/uuid"])),
        ("VOIP_PUSH_TIME_MS", push.time_unix_ms.to_string()),
        ("VOIP_PUSH_PAYLOAD", fields.to_string()),
    ]
}
