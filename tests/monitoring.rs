//! What `monitoring/` and the metrics look like to Prometheus' own tool.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Scratch, debian, run, settings};
use voip_push::model::{Outcome, Provider};
use voip_push::rest::{Request, handle};
use voip_push::service::Service;

fn monitoring(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(file)
}

/// The metrics as Prometheus gets them, from a server that has pushed.
fn metrics() -> String {
    let scratch = Scratch::new("metrics");
    let service = Service::prepare(&settings::write(&scratch)).unwrap();
    let stats = service.stats();
    stats.push_ended(Provider::Fcm, "unknown", &Outcome::Accepted, Duration::from_millis(20));
    stats.woke(Duration::from_secs(2));
    for (provider, endpoint) in service.settings().endpoints() {
        stats.certificate_seen(provider, &endpoint, 2_000_000_000);
    }
    stats.serves_with(2_000_000_000);
    let key = format!("Bearer {}", settings::API_KEY);
    let request = Request {
        method: "GET",
        target: "/voip-push/metrics",
        authorization: Some(&key),
        content_type: None,
        body: b"",
        remote: "127.0.0.1",
        user: None,
    };
    handle(&service, &request).body
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let mut promtool = Command::new(debian::promtool());
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_alert_rules_ring_when_they_should_and_only_then() {
    run(Command::new(debian::promtool()).args(["check", "rules"]).arg(monitoring("alerts.yml")), "promtool");
    let mut test = Command::new(debian::promtool());
    run(test.args(["test", "rules"]).arg(monitoring("alerts.test.yml")), "promtool");
}

/// Every expression of the dashboard, with Grafana's own variables filled in.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_slice(&fs::read(monitoring("grafana.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    expressions.map(|text| text.replace("$__rate_interval", "5m").replace("$instance", ".+")).collect()
}

#[test]
fn the_dashboard_asks_in_valid_promql() {
    let expressions = dashboard_expressions();
    assert!(expressions.len() > 20, "{expressions:?}");
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(at, expr)| serde_json::json!({ "record": format!("panel_{at}"), "expr": expr }))
        .collect();
    let scratch = Scratch::new("dashboard");
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let file = scratch.write("dashboard.yml", groups.to_string());
    run(Command::new(debian::promtool()).args(["check", "rules"]).arg(file), "promtool");
}

#[test]
fn every_metric_that_is_asked_for_is_there() {
    let metrics = metrics();
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let rules = fs::read_to_string(monitoring("alerts.yml")).unwrap();
    let asked = format!("{}\n{rules}", dashboard_expressions().join("\n"));
    let names: BTreeSet<&str> = asked
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("voip_push_"))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !there.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} of\n{metrics}");
}
