//! The Redis or Valkey of a shared token store: can it be used, will it keep what it is given, and how much room is there.
//!
//! It refuses to change anything in it.

use std::fmt::Write as _;
use std::sync::Arc;

use voip_push::config::EngineSettings;
use voip_push::service::{EngineInspection, LAYOUT, NodeInspection};

use super::report::Report;

/// Providers' clocks aside, times of a registration are compared across SIP servers.
const FINE_MS: u64 = 2000;
/// A machine that is so full has no room for a night's registrations.
const NEARLY_FULL_PERCENT: u64 = 90;
const MIB: u64 = 1 << 20;

/// Looks at the engine, or says why it cannot be looked at.
pub fn check(report: &mut Report, settings: &Arc<EngineSettings>, is_offline: bool) {
    if is_offline {
        return report.skipped("engine", "not tried: --offline".to_owned());
    }
    let seen = match EngineInspection::of(settings) {
        Ok(seen) => seen,
        Err(error) => return report.broken("engine", error.to_string()),
    };
    reached(report, settings, &seen);
    cluster(report, &seen);
    for node in &seen.nodes {
        Node { report, node }.check(settings);
    }
    layout(report, settings, &seen);
    memory(report, &seen);
}

fn reached(report: &mut Report, settings: &EngineSettings, seen: &EngineInspection) {
    if seen.nodes.is_empty() {
        return report.broken("engine", format!("{settings}: no server of it has a slot; run CLUSTER NODES"));
    }
    // Those that are not reached have lines of their own.
    let Some(first) = seen.nodes.iter().find(|node| node.away.is_none()) else { return };
    let name = if first.info.contains_key("valkey_version") { "Valkey" } else { "Redis" };
    let version = [first.said("valkey_version"), first.said("redis_version"), "of unknown version"];
    let version = version.iter().find(|text| !text.is_empty()).copied().unwrap_or_default();
    let tls = if settings.tls { ", TLS" } else { "" };
    report.ok("engine", format!("{settings}, {name} {version}{tls}"));
}

fn cluster(report: &mut Report, seen: &EngineInspection) {
    const ABOUT: &str = "engine cluster";
    let said = |name: &str| seen.cluster.as_ref()?.get(name).map(String::as_str);
    let (Some(state), Some(slots)) = (said("cluster_state"), said("cluster_slots_ok")) else { return };
    let masters = seen.nodes.len();
    if said("cluster_enabled") == Some("0") || said("cluster_size") == Some("0") {
        return;
    }
    if state == "ok" && slots == "16384" {
        return report.ok(ABOUT, format!("all 16384 slots are served, by {masters} masters"));
    }
    report.broken(
        ABOUT,
        format!("state {state}, {slots} of 16384 slots are served; look at CLUSTER NODES, and start the node that is missing or give its slots to another one"),
    );
}

fn layout(report: &mut Report, settings: &EngineSettings, seen: &EngineInspection) {
    const ABOUT: &str = "engine layout";
    let prefix = &settings.key_prefix;
    let (own, ours) = LAYOUT;
    let marker = match &seen.marker {
        Ok(marker) => marker,
        Err(error) => return report.broken(ABOUT, error.to_string()),
    };
    let Some(marker) = marker else {
        return report
            .ok(ABOUT, format!("nothing under {prefix}: yet; the SIP server makes it when it starts"));
    };
    match marker.strip_prefix(ours).and_then(|version| version.parse::<u32>().ok()) {
        Some(version) if version == own => report.ok(ABOUT, format!("version {version} under {prefix}:")),
        Some(version) => report.broken(
            ABOUT,
            format!("version {version} under {prefix}:, and this voip_push knows {own}; install a newer one"),
        ),
        None => {
            report.broken(ABOUT, format!("{prefix}:layout is not ours; choose another [store] key_prefix"))
        }
    }
}

fn memory(report: &mut Report, seen: &EngineInspection) {
    const ABOUT: &str = "engine memory";
    match seen.memory {
        Some((devices, bytes)) => {
            report.ok(ABOUT, format!("{bytes} bytes for each token, as of {devices} that were looked at"));
        }
        None if seen.may_ask_memory => report.ok(ABOUT, "no token is there yet".to_owned()),
        None => report.skipped(ABOUT, "our user may not run MEMORY USAGE".to_owned()),
    }
}

/// One server and its lines.
struct Node<'a> {
    report: &'a mut Report,
    node: &'a NodeInspection,
}

impl Node<'_> {
    fn check(&mut self, settings: &EngineSettings) {
        if let Some(why) = &self.node.away {
            let about = self.about("");
            return self.report.broken(about.trim_end(), format!("cannot be asked: {why}"));
        }
        self.permissions();
        if self.node.info.is_empty() {
            let about = self.about("state");
            return self.report.skipped(&about, "our user may not run INFO".to_owned());
        }
        self.role();
        self.replicas(settings.wait_replicas);
        self.persistence();
        self.eviction();
        self.clock();
    }

    fn about(&self, what: &str) -> String {
        let mut about = String::from("engine");
        if !self.node.name.is_empty() {
            // Writing to a text cannot fail.
            let _ = write!(about, " {}", self.node.name);
        }
        about + " " + what
    }

    fn permissions(&mut self) {
        let about = self.about("permissions");
        match &self.node.refused {
            None => self.report.skipped(
                &about,
                "cannot be asked for (ACL DRYRUN, of Redis 7 and Valkey, which our user may not run either)"
                    .to_owned(),
            ),
            Some((user, refused)) if refused.is_empty() => {
                self.report.ok(&about, format!("user {user} may do all that is needed"));
            }
            Some((user, refused)) => self.report.broken(
                &about,
                format!(
                    "user {user} may not run {}; docs/store-layout.md has the ACL line",
                    refused.join(", ")
                ),
            ),
        }
    }

    fn role(&mut self) {
        let about = self.about("role");
        match self.node.said("role") {
            "master" => self.report.ok(&about, "master".to_owned()),
            "slave" => {
                let (host, port) = (self.node.said("master_host"), self.node.said("master_port"));
                self.report.broken(
                    &about,
                    format!("a replica, which takes no registrations; its master is {host}:{port}, give that in [store] url"),
                );
            }
            other => self.report.warning(&about, format!("{other:?}, which is not known here")),
        }
    }

    fn replicas(&mut self, wanted: u32) {
        let (about, wanted) = (self.about("replicas"), u64::from(wanted));
        let has = self.node.number("connected_slaves");
        if has < wanted {
            return self.report.broken(
                &about,
                format!("{has} are connected, and [store] wait_replicas is {wanted}, so every registration is refused; start more, or lower it"),
            );
        }
        if has > 0 && wanted == 0 {
            return self.report.warning(
                &about,
                format!("{has} connected, and [store] wait_replicas is 0: what a master that dies has accepted last is lost; set it to 1"),
            );
        }
        self.report.ok(&about, format!("{has} connected, wait_replicas is {wanted}"));
    }

    fn persistence(&mut self) {
        let about = self.about("persistence");
        let has_aof = self.node.said("aof_enabled") == "1";
        let failed = [("aof_last_write_status", "AOF"), ("rdb_last_bgsave_status", "RDB")];
        let failed = failed.iter().find(|(name, _)| self.node.said(name) == "err");
        if let Some((_, what)) = failed {
            return self.report.broken(
                &about,
                format!("its last write of the {what} file has failed, so it may take no registrations; look at its disk and its log"),
            );
        }
        match (has_aof, self.node.saves.as_deref()) {
            (true, _) => self.report.ok(&about, "AOF".to_owned()),
            (false, Some("")) => self.report.warning(
                &about,
                "neither AOF nor RDB is on, so it forgets all tokens when it is started again; set appendonly yes".to_owned(),
            ),
            (false, Some(save)) => self.report.warning(
                &about,
                format!("RDB only (save {save}), so the last minutes are lost with the machine; set appendonly yes"),
            ),
            (false, None) => self.report.warning(
                &about,
                "no AOF, and our user may not ask for RDB (CONFIG GET save); set appendonly yes".to_owned(),
            ),
        }
    }

    fn eviction(&mut self) {
        let about = self.about("eviction");
        let policy = self.node.said("maxmemory_policy").to_owned();
        let (most, used) = (self.node.number("maxmemory"), self.node.number("used_memory"));
        let (most_mib, used_mib) = (most / MIB, used / MIB);
        match (policy.as_str(), most) {
            ("noeviction", 0) => self.report.ok(&about, format!("noeviction, no maxmemory, {used_mib} MiB used")),
            ("noeviction", _) if used * 100 > most * NEARLY_FULL_PERCENT => self.report.warning(
                &about,
                format!("{used_mib} of {most_mib} MiB are used; when it is full no token can be registered. Raise maxmemory"),
            ),
            ("noeviction", _) => {
                self.report.ok(&about, format!("noeviction, {used_mib} of {most_mib} MiB used"));
            }
            (_, 0) => self.report.warning(
                &about,
                format!("{policy} would throw tokens away if maxmemory were set; set maxmemory-policy noeviction"),
            ),
            _ => self.report.broken(
                &about,
                format!("{policy} throws tokens away when {most_mib} MiB are used; set maxmemory-policy noeviction"),
            ),
        }
    }

    fn clock(&mut self) {
        let about = self.about("clock");
        let Some(ahead_ms) = self.node.ahead_ms else {
            return self.report.skipped(&about, "our user may not run TIME".to_owned());
        };
        let off_ms = ahead_ms.unsigned_abs();
        if off_ms <= FINE_MS {
            return self.report.ok(&about, format!("within {} s of ours", FINE_MS / 1000));
        }
        let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
        self.report.warning(&about, format!("{} s {way} ours; let chrony or ntpd keep both", off_ms / 1000));
    }
}
