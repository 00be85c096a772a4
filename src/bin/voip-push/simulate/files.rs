//! What the simulator leaves in its directory: keys, CA, service account, API key and a ready configuration.
//!
//! It refuses to let anybody see a half-written file (write, then rename) or to touch the token store.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use voip_push::config::ApiKey;
use voip_push::model::Scope;

use super::args::Args;
use super::identity::Secrets;
use crate::Failure;

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
const READY_FILE: &str = "simulator.json";

/// The URLs under which the services are reachable.
pub struct Urls {
    /// APNs, production host.
    pub apns: String,
    /// APNs, sandbox host.
    pub apns_sandbox: String,
    /// FCM and, with `/token` behind it, the OAuth2 token endpoint.
    pub google: String,
    /// The control API.
    pub control: String,
}

/// The directory, with its absolute path as UTF-8 text.
pub struct Directory {
    path: PathBuf,
    text: String,
}

impl Directory {
    /// Opens `path`, makes it when missing, and takes back the readiness signal of an earlier run.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("{}: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let text = path.to_str().ok_or_else(|| {
            Failure::Failed(format!("{}: a configuration file can only name a UTF-8 path", path.display()))
        })?;
        // Nothing to remove is the usual case.
        let _ = fs::remove_file(path.join(READY_FILE));
        Ok(Directory { text: text.to_owned(), path })
    }

    /// Removes the readiness signal, unless a simulator that was started later has put its own there.
    pub fn retract(&self) {
        let file = self.path.join(READY_FILE);
        let ready = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        if ready.is_some_and(|ready| ready["pid"] == std::process::id()) {
            let _ = fs::remove_file(file);
        }
    }

    /// Writes everything, the readiness signal last.
    pub fn fill(&self, args: &Args, urls: &Urls, secrets: &Secrets) -> Result<(), Failure> {
        let account = format!("{:#}\n", secrets.service_account);
        self.write("ca.pem", PUBLIC, &secrets.tls.ca_pem)?;
        self.write(&key_file_name(&args.key_id), SECRET, &secrets.apns_key.private_pem)?;
        self.write("service-account.json", SECRET, &account)?;
        self.write("api-keys", SECRET, &api_keys(&secrets.api_key)?)?;
        self.write("voip-push.toml", PUBLIC, &self.configuration(args, urls))?;
        self.write(READY_FILE, SECRET, &readiness(args, urls, &secrets.api_key))
    }

    fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), Failure> {
        let target = self.path.join(name);
        let draft = self.path.join(format!(".{name}.{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, &target));
        written.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", target.display())))
    }

    /// The path of a file of the directory, as a TOML string.
    fn toml_path(&self, prefix: &str, name: &str) -> String {
        toml_string(&format!("{prefix}{}/{name}", self.text))
    }

    fn configuration(&self, args: &Args, urls: &Urls) -> String {
        let store = self.toml_path("sqlite:", "tokens.db");
        let account = self.toml_path("", "service-account.json");
        let ca = self.toml_path("", "ca.pem");
        let fcm_url = toml_string(&urls.google);
        let api_keys = self.toml_path("", "api-keys");
        let production = self.apns_section(args, "production", &urls.apns);
        let sandbox = self.apns_section(args, "sandbox", &urls.apns_sandbox);
        format!(
            "# Written by `voip-push simulate`; every start of the simulator writes it anew.\n\
             [store]\nurl = {store}\n\n\
             [call]\nring_seconds = 30\nwait_ms = 800\nwake_seconds = 15\n\n\
             {production}{sandbox}\
             [[fcm]]\nservice_account_file = {account}\nios_push_type = \"alert\"\n\
             url = {fcm_url}\nca_file = {ca}\n\n\
             [rest]\napi_keys_file = {api_keys}\n\n\
             [log]\nlevel = \"info\"\n"
        )
    }

    fn apns_section(&self, args: &Args, environment: &str, url: &str) -> String {
        let Args { team_id, key_id, topics, .. } = args;
        let topics = Value::from(topics.clone());
        let key = self.toml_path("", &key_file_name(key_id));
        let ca = self.toml_path("", "ca.pem");
        let url = toml_string(url);
        format!(
            "[[apns]]\nteam_id = \"{team_id}\"\nkey_id = \"{key_id}\"\nkey_file = {key}\n\
             topics = {topics}\nenvironment = \"{environment}\"\nurl = {url}\nca_file = {ca}\n\n"
        )
    }
}

/// The file has a hash, as in earnest; the key itself is in `simulator.json`.
fn api_keys(key: &str) -> Result<String, Failure> {
    let key = ApiKey::new("simulator", &[Scope::Admin], key);
    let key = key.map_err(|invalid| Failure::Failed(format!("the API key: {invalid}")))?;
    Ok(format!("{}\n", key.line()))
}

fn key_file_name(key_id: &str) -> String {
    format!("AuthKey_{key_id}.p8")
}

fn readiness(args: &Args, urls: &Urls, api_key: &str) -> String {
    let ready = json!({
        "pid": std::process::id(), "apns": urls.apns, "apns_sandbox": urls.apns_sandbox,
        "google": urls.google, "control": urls.control, "team_id": args.team_id, "key_id": args.key_id,
        "topic": args.topics.first(), "project": args.project, "api_key": api_key,
    });
    format!("{ready:#}\n")
}

/// A TOML basic string (TOML 1.0 §String): JSON's escapes are a subset of TOML's but for DEL.
fn toml_string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
