//! Whether the SIP server's user may read what root may: root's eyes see no closed door.
//!
//! It refuses to guess who that is: it is whoever owns the state directory. Access lists beyond mode bits are not seen.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use voip_push::config::Settings;
use voip_push::process::is_root;

use super::files::mode;
use super::report::Report;

const ABOUT: &str = "server user";
const READ: u32 = 0o4;
const SEARCH: u32 = 0o1;

/// A user and the groups that it is in.
struct User {
    name: String,
    /// What its first group is called.
    group: String,
    uid: u32,
    gids: Vec<u32>,
}

/// Looks, where root asks and the state directory is somebody else's.
pub fn check(report: &mut Report, settings: &Settings) {
    let Some(user) = other_user(settings) else { return };
    let mut files = vec![settings.file.clone()];
    files.extend(settings.apns.iter().map(|apns| apns.key_file.clone()));
    files.extend(settings.fcm.iter().map(|fcm| fcm.account_file.clone()));
    files.dedup();
    let closed: Vec<PathBuf> = files.iter().filter_map(|file| user.stopped_at(file)).collect();
    let User { name, group, .. } = &user;
    if closed.is_empty() {
        return report.ok(ABOUT, format!("{name} may read the configuration and the keys"));
    }
    for path in closed {
        let shown = path.display();
        let mode = fs::metadata(&path).map_or(0, |metadata| mode(&metadata));
        let wanted = if path.is_dir() { "0750" } else { "0640" };
        report.broken(
            ABOUT,
            format!("{name} may not read {shown} (mode {mode:04o}); run: chgrp {group} {shown} && chmod {wanted} {shown}"),
        );
    }
}

/// Looks whether that user may load the module: a server that systemd starts as this user was never root.
pub fn check_module(report: &mut Report, settings: &Settings, module: &Path) {
    let stop = other_user(settings).and_then(|user| Some((user.stopped_at(module)?, user.name)));
    if let Some((path, name)) = stop {
        let (shown, wanted) = (path.display(), if path.is_dir() { "0755" } else { "0644" });
        report.broken(
            "module",
            format!("{name} may not read {shown}, so cannot load it; run: chmod {wanted} {shown}"),
        );
    }
}

/// The SIP server's user, where root asks and it is somebody else.
fn other_user(settings: &Settings) -> Option<User> {
    owner_of(&settings.state_directory).filter(|user| is_root() && user.uid != 0)
}

fn owner_of(directory: &Path) -> Option<User> {
    let uid = fs::metadata(directory).ok()?.uid();
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let (name, gid): (&str, u32) = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then_some((*fields.first()?, fields.get(3)?.parse().ok()?))
    })?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let group = groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(gid)).then(|| (*fields.first().unwrap_or(&"")).to_owned())
    });
    let of_group = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_in = fields.get(3)?.split(',').any(|member| member == name);
        if is_in { fields.get(2)?.parse().ok() } else { None }
    };
    let gids = std::iter::once(gid).chain(groups.lines().filter_map(of_group)).collect();
    Some(User { name: name.to_owned(), group: group.unwrap_or_else(|| gid.to_string()), uid, gids })
}

impl User {
    /// The first directory on the way to a file, or the file, that does not let this user through.
    fn stopped_at(&self, file: &Path) -> Option<PathBuf> {
        let file = fs::canonicalize(file).ok()?;
        let directories = file.ancestors().skip(1).collect::<Vec<_>>();
        let on_the_way = directories.into_iter().rev().map(|directory| (directory, SEARCH));
        let mut all = on_the_way.chain([(&*file, READ)]);
        let is_stopped = |(path, needed): &(&Path, u32)| {
            fs::metadata(path)
                .is_ok_and(|metadata| !self.may(*needed, mode(&metadata), metadata.uid(), metadata.gid()))
        };
        all.find(is_stopped).map(|(path, _)| path.to_owned())
    }

    /// As the kernel decides by mode bits: the first class that the user is in.
    fn may(&self, needed: u32, mode: u32, uid: u32, gid: u32) -> bool {
        let class = match (uid == self.uid, self.gids.contains(&gid)) {
            (true, _) => mode >> 6,
            (false, true) => mode >> 3,
            (false, false) => mode,
        };
        class & needed != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_decides() {
        let user =
            User { name: "kamailio".to_owned(), group: "kamailio".to_owned(), uid: 110, gids: vec![110, 42] };
        for (mode, uid, gid, expected) in [
            (0o640, 0, 42, true),
            (0o640, 0, 43, false),
            (0o604, 0, 43, true),
            (0o604, 0, 42, false),
            (0o044, 110, 42, false),
            (0o400, 110, 0, true),
        ] {
            assert_eq!(user.may(READ, mode, uid, gid), expected, "{mode:o} {uid} {gid}");
        }
        assert!(user.may(SEARCH, 0o750, 0, 110) && !user.may(SEARCH, 0o750, 0, 0));
    }
}
