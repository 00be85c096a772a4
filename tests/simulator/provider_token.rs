//! Provider tokens: signature, names, age, and how often a new one may come.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::client::*;
use crate::harness::Simulator;
use crate::process::{es256_by_openssl, openssl};

async fn status_of(simulator: &Simulator, authorization: &str) -> (u16, String) {
    let apns = Client::connect(simulator, "apns").await;
    let ask = voip_push("", &device_token(1)).set("authorization", authorization);
    let reply = apns.answered(&ask).await;
    (reply.status, reply.reason())
}

fn claims(simulator: &Simulator, change: &Value) -> Value {
    let mut claims = json!({ "iss": simulator.ready("team_id"), "iat": now_s() });
    for (name, value) in change.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn claims_and_names_are_checked() {
    let simulator = Simulator::start();
    let kid = Some("KEY1234567");
    let invalid = (403, "InvalidProviderToken");
    let rows = [
        (kid, json!({}), (200, "")),
        (kid, json!({ "iat": now_s() - 3590 }), (200, "")),
        (kid, json!({ "iat": now_s() + 240 }), (200, "")),
        (kid, json!({ "extra": "ignored", "exp": 1 }), (200, "")),
        (kid, json!({ "iat": now_s() - 3660 }), (403, "ExpiredProviderToken")),
        (kid, json!({ "iat": now_s() + 400 }), invalid),
        (kid, json!({ "iat": "now" }), invalid),
        (kid, json!({ "iat": null }), invalid),
        (kid, json!({ "iss": "ABCDE54321" }), invalid),
        (kid, json!({ "iss": null }), invalid),
        (Some("KEY7654321"), json!({}), invalid),
        (None, json!({}), invalid),
    ];
    for (kid, change, (status, reason)) in rows {
        let jwt = sign_es256(&simulator, kid, &claims(&simulator, &change));
        let answer = status_of(&simulator, &format!("bearer {jwt}")).await;
        assert_eq!(answer, (status, reason.to_owned()), "kid {kid:?}, {change}");
    }
}

#[tokio::test]
async fn broken_credentials_are_told_apart() {
    let simulator = Simulator::start();
    let good = provider_token(&simulator, 0);
    let other_key = rcgen::KeyPair::generate().expect("key generation works").serialize_pem();
    let other_key = EncodingKey::from_ec_pem(other_key.as_bytes()).expect("it is a P-256 key");
    let own = claims(&simulator, &json!({}));
    let foreign = sign(Algorithm::ES256, Some("KEY1234567"), &own, &other_key);
    let symmetric = sign(Algorithm::HS256, Some("KEY1234567"), &own, &EncodingKey::from_secret(b"secret"));
    let unsigned = format!("{}.", &good[..good.rfind('.').expect("a JWT has dots")]);
    for (what, authorization, reason) in [
        ("another key", format!("bearer {foreign}"), "InvalidProviderToken"),
        ("HS256", format!("bearer {symmetric}"), "InvalidProviderToken"),
        ("no signature", format!("bearer {unsigned}"), "InvalidProviderToken"),
        ("no JWT", "bearer none".to_owned(), "InvalidProviderToken"),
        ("another scheme", format!("Basic {good}"), "InvalidProviderToken"),
        ("no token", "bearer ".to_owned(), "MissingProviderToken"),
        ("nothing", String::new(), "MissingProviderToken"),
    ] {
        assert_eq!(status_of(&simulator, &authorization).await, (403, reason.to_owned()), "{what}");
    }
}

#[tokio::test]
async fn a_signature_of_openssl_passes_as_r_and_s_and_not_as_der() {
    if openssl(&["version"]).is_none() {
        return;
    }
    let simulator = Simulator::start();
    let (fixed, der) = es256_by_openssl(&simulator);
    assert_eq!(status_of(&simulator, &format!("bearer {fixed}")).await, (200, String::new()));
    let refused = (403, "InvalidProviderToken".to_owned());
    assert_eq!(status_of(&simulator, &format!("bearer {der}")).await, refused);
}

#[tokio::test]
async fn a_new_token_must_wait_twenty_minutes() {
    let simulator = Simulator::start();
    let apns = Client::connect(&simulator, "apns").await;
    let push = |jwt: &str| voip_push(jwt, &device_token(1));
    let (first, soon) = (provider_token(&simulator, 1500), provider_token(&simulator, 310));
    let later = provider_token(&simulator, 0);
    let again = provider_token(&simulator, 0);
    assert_ne!(later, again, "ECDSA signatures differ each time");
    let too_many = (429, "TooManyProviderTokenUpdates".to_owned());
    for (jwt, expected) in [
        (&first, (200, String::new())),
        (&soon, too_many.clone()),
        (&first, (200, String::new())),
        (&later, (200, String::new())),
        (&again, too_many.clone()),
        (&soon, too_many.clone()),
        (&later, (200, String::new())),
    ] {
        let reply = apns.answered(&push(jwt)).await;
        assert_eq!((reply.status, reply.reason()), expected);
    }
    // Another connection starts anew.
    let second = Client::connect(&simulator, "apns").await;
    assert_eq!(second.answered(&push(&again)).await.status, 200);
    assert_eq!(simulator.get("/stats")["distinct_provider_jwts"], 4);
    simulator.told("PUT", "/limits", &json!({ "jwt_updates": false }));
    assert_eq!(apns.answered(&push(&again)).await.status, 200);
    assert_eq!(apns.answered(&push(&later)).await.status, 200);
}

#[tokio::test]
async fn a_clock_that_runs_ahead_is_told_and_checked_with() {
    let simulator = Simulator::with(&["--clock-skew-s", "3700"]);
    let own = sign_es256(&simulator, Some("KEY1234567"), &claims(&simulator, &json!({})));
    let theirs =
        sign_es256(&simulator, Some("KEY1234567"), &claims(&simulator, &json!({ "iat": now_s() + 3700 })));
    let expired = (403, "ExpiredProviderToken".to_owned());
    assert_eq!(status_of(&simulator, &format!("bearer {own}")).await, expired);
    assert_eq!(status_of(&simulator, &format!("bearer {theirs}")).await, (200, String::new()));
    for host in ["apns", "google"] {
        let client = Client::connect(&simulator, host).await;
        let reply = client.answered(&voip_push(&theirs, &device_token(1))).await;
        let ahead_s = voip_push::model::parse_http_date(reply.header("date")).expect("a date") - now_s();
        assert!((3698..=3702).contains(&ahead_s), "{host}: {ahead_s}");
    }
}
