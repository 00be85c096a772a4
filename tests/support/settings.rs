//! A voip_push configuration with throw-away keys.
//!
//! It refuses keys from elsewhere: each test makes its own with openssl.

use super::{Scratch, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use voip_push::config::ApiKey;
use voip_push::model::Scope;

/// The API key in [`write`]'s configuration.
pub const API_KEY: &str = "test-key-0123456789abcdef";

/// Writes `voip-push.toml` and all that it names into the directory and says where it is. APNs and FCM point at a port that
/// nothing listens on.
pub fn write(scratch: &Scratch) -> PathBuf {
    p256_key(&scratch.path().join("AuthKey.p8"));
    service_account(scratch);
    let key = ApiKey::new("test", &[Scope::Admin], API_KEY).expect("it is a key");
    secret(&scratch.write("api-keys", format!("{}\n", key.line())));
    fs::create_dir_all(scratch.path().join("db")).expect("the directory is ours");
    scratch.write("voip-push.toml", TOML)
}

/// The configuration that [`write`] writes, to change a line of it.
pub const TOML: &str = r#"[store]
url = "sqlite:db/tokens.db"
[call]
wait_ms = 800
[[apns]]
team_id = "ABCDE12345"
key_id = "KEY1234567"
key_file = "AuthKey.p8"
topics = ["org.example.phone.voip"]
url = "https://127.0.0.1:9"
[[fcm]]
service_account_file = "service-account.json"
url = "https://127.0.0.1:9"
[rest]
api_keys_file = "api-keys"
[log]
level = "debug"
"#;

/// A private key on the curve that Apple uses.
pub fn p256_key(path: &Path) {
    ec_key(path, "P-256");
}

/// The public half of a private key, in PEM form.
pub fn public_half(path: &Path) -> String {
    let mut openssl = Command::new("openssl");
    let output = run(openssl.args(["pkey", "-pubout", "-in"]).arg(path), "openssl");
    String::from_utf8(output.stdout).expect("PEM is ASCII")
}

/// A private key on a curve of that name.
pub fn ec_key(path: &Path, curve: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt"]).arg(format!("ec_paramgen_curve:{curve}"));
    run(openssl.arg("-out").arg(path), "openssl");
    secret(path);
}

fn service_account(scratch: &Scratch) {
    let mut openssl = Command::new("openssl");
    openssl.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let pem = String::from_utf8(run(&mut openssl, "openssl").stdout).expect("PEM is ASCII");
    let account = serde_json::json!({
        "type": "service_account",
        "project_id": "phone-example",
        "private_key_id": "0123456789abcdef",
        "private_key": pem,
        "client_email": "push@phone-example.iam.gserviceaccount.com",
        "token_uri": "https://127.0.0.1:9/token",
    });
    secret(&scratch.write("service-account.json", account.to_string()));
}

/// Gives a file the mode that secrets must have.
pub fn secret(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("the file is ours");
}
