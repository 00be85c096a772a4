//! The token endpoint: which assertions are exchanged, and over which HTTP.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::client::*;
use crate::harness::Simulator;
use crate::process::{openssl, rs256_by_openssl};

#[tokio::test]
async fn assertions_are_checked() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let invalid_grant = (400, "invalid_grant");
    let cloud = "https://www.googleapis.com/auth/cloud-platform";
    let rows = [
        (json!({}), (200, "")),
        (json!({ "scope": format!("openid {cloud}") }), (200, "")),
        (json!({ "iat": now_s() - 1800, "exp": now_s() + 1800 }), (200, "")),
        (json!({ "iss": "somebody@sip-phone-voip.iam.gserviceaccount.com" }), invalid_grant),
        (json!({ "aud": "https://oauth2.googleapis.com/token" }), invalid_grant),
        (json!({ "exp": now_s() + 3700 }), invalid_grant),
        (json!({ "iat": now_s() - 3700, "exp": now_s() - 100 }), invalid_grant),
        (json!({ "iat": now_s() + 900, "exp": now_s() + 4500 }), invalid_grant),
        (json!({ "iat": now_s(), "exp": now_s() - 10 }), invalid_grant),
        (json!({ "iat": null }), invalid_grant),
        (json!({ "scope": "https://www.googleapis.com/auth/drive" }), (400, "invalid_scope")),
        (json!({ "scope": null }), invalid_grant),
    ];
    for (change, (status, error)) in rows {
        let reply = google.answered(&token_request(&assertion(&simulator, &change))).await;
        let answer = reply.json();
        assert_eq!((reply.status, answer["error"].as_str().unwrap_or_default()), (status, error), "{change}");
        assert_eq!(answer["error_description"].is_string(), status != 200, "{change}");
    }
    let stats = simulator.get("/stats");
    assert_eq!((&stats["oauth_exchanges"], &stats["requests"]["oauth"]["400"]), (&json!(3), &json!(9)));
}

#[tokio::test]
async fn foreign_keys_and_broken_requests_get_nothing() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let good = assertion(&simulator, &Value::Null);
    let claims = json!({ "iss": "x", "aud": "x", "iat": 1, "exp": 2 });
    let symmetric = sign(Algorithm::HS256, Some("kid"), &claims, &EncodingKey::from_secret(b"secret"));
    let cut = &good[..good.len() - 8];
    let form = |body: String| token_request("").body(body);
    let rows = [
        (token_request(&symmetric), "invalid_grant"),
        (token_request(cut), "invalid_grant"),
        (token_request("no.j.wt"), "invalid_grant"),
        (token_request(""), "invalid_request"),
        (form("assertion=x&grant_type=refresh_token".to_owned()), "unsupported_grant_type"),
        (form(format!("assertion={good}")), "unsupported_grant_type"),
        (token_request(&good).set("content-type", "application/json"), "invalid_request"),
    ];
    for (ask, error) in rows {
        let reply = google.answered(&ask).await;
        assert_eq!((reply.status, reply.json()["error"].clone()), (400, json!(error)));
    }
}

#[tokio::test]
async fn the_answer_is_googles() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let reply = google.answered(&token_request(&assertion(&simulator, &Value::Null))).await;
    let answer = reply.json();
    let fields: Vec<&String> = answer.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    assert_eq!(fields, ["access_token", "expires_in", "token_type"]);
    assert_eq!((&answer["expires_in"], &answer["token_type"]), (&json!(3599), &json!("Bearer")));
    assert_eq!(reply.header("content-type"), "application/json; charset=UTF-8");
}

/// The way a plain HTTP/1.1 library goes, ALPN left out, for the token and for the message.
#[test]
fn http1_works_as_well() {
    let simulator = Simulator::start();
    let agent = http1_agent(&simulator);
    let access_token = http1_access_token(&simulator, &agent);
    let sent = http1_message(&simulator, &agent, &access_token).expect("accepted");
    assert_eq!(sent.status().as_u16(), 200);
    assert_eq!(simulator.last_push()["status"], 200);
}

#[test]
fn http1_has_its_own_words_for_misconduct() {
    let simulator = Simulator::start();
    let agent = http1_agent(&simulator);
    let access_token = http1_access_token(&simulator, &agent);
    let list = json!([{ "status": 503, "goaway": true, "retry_after_s": 2 }, { "reset": true }]);
    simulator.told("PUT", "/behaviour/fcm", &list);
    let refused = http1_message(&simulator, &agent, &access_token).expect("answered");
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers()["connection"], "close", "this is HTTP/1.1's GOAWAY");
    assert_eq!(refused.headers()["retry-after"], "2");
    assert!(http1_message(&simulator, &agent, &access_token).is_err(), "this is HTTP/1.1's RST_STREAM");
    assert_eq!(simulator.last_push()["reset"], true);
    assert_eq!(http1_message(&simulator, &agent, &access_token).expect("well again").status().as_u16(), 200);
}

fn http1_agent(simulator: &Simulator) -> ureq::Agent {
    let ca = Certificate::from_pem(simulator.file("ca.pem").as_bytes()).expect("ca.pem is a certificate");
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[ca]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
}

fn http1_access_token(simulator: &Simulator, agent: &ureq::Agent) -> String {
    let assertion = assertion(simulator, &Value::Null);
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
    let account: Value = serde_json::from_str(&simulator.file("service-account.json")).expect("it is JSON");
    let token_uri = account["token_uri"].as_str().expect("Google's service accounts have it");
    let text = agent.post(token_uri).send_form(form).expect("answered").body_mut().read_to_string();
    let grant: Value = serde_json::from_str(&text.expect("UTF-8")).expect("JSON");
    grant["access_token"].as_str().expect("granted").to_owned()
}

fn http1_message(
    simulator: &Simulator,
    agent: &ureq::Agent,
    access_token: &str,
) -> Result<http::Response<ureq::Body>, ureq::Error> {
    agent
        .post(format!("{}/v1/projects/sip-phone-voip/messages:send", simulator.ready("google")))
        .header("authorization", format!("Bearer {access_token}"))
        .header("content-type", "application/json")
        .send(json!({ "message": { "token": registration_token("phone") } }).to_string())
}

#[tokio::test]
async fn a_signature_of_openssl_passes() {
    if openssl(&["version"]).is_none() {
        return;
    }
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let reply = google.answered(&token_request(&rs256_by_openssl(&simulator))).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
}
