//! What the container's paths mean on this machine, by the session's table of paths.

use kinject_protocol::paths::{PathTable, Route, normalise};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest path (PATH_MAX in limits.h).
const MAX_PATH: usize = 4096;

/// Folders of this machine in which programs and their configuration lie, outer ones first.
const OF_SYSTEM: [&str; 9] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib64",
    "/sbin",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
];

/// Whether programs find something at a path: in the container, or on this machine. `table` is the value of
/// `KINJECT_PATHS`.
pub(super) fn is_there(table: Option<&OsStr>, path: &Path) -> bool {
    mount_of(table, path).is_some() || path.exists()
}

/// The folders of this machine that mounts of the container take the place of, though programs rely on them: the
/// system's, `home` and the working folder.
pub(super) fn hidden(table: &OsStr, home: Option<&Path>, working: Option<&Path>) -> Vec<String> {
    let of_system = OF_SYSTEM.iter().map(|path| (Path::new(*path), ""));
    let of_user = [(home, " (the home folder)"), (working, " (the working folder)")];
    let of_user = of_user.into_iter().filter_map(|(path, what)| Some((path?, what)));
    let mut hidden: Vec<(&Path, &str)> = Vec::new();
    for (path, what) in of_system.chain(of_user) {
        // what --remote-path names has no mount
        let is_mounted = mount_of(Some(table), path).is_some_and(|mount| !mount.is_empty());
        if is_mounted && !hidden.iter().any(|(outer, _)| path.starts_with(outer)) {
            hidden.push((path, what));
        }
    }
    let shown = hidden
        .into_iter()
        .map(|(path, what)| format!("{}{what}", kinject_escape::path(path)));
    shown.collect()
}

/// The mount at or above a path; empty for a glob of `--remote-path`.
fn mount_of<'a>(table: Option<&'a OsStr>, path: &Path) -> Option<&'a [u8]> {
    let table = PathTable::parse(table?.as_bytes())?;
    let mut buffer = [0; MAX_PATH];
    let path = path
        .is_absolute()
        .then(|| normalise(b"/", path.as_os_str().as_bytes(), &mut buffer, |_| {}));
    match table.route(path.flatten()?) {
        Route::Shadow(place) if place.mount.is_empty() => Some(&[]),
        Route::Shadow(place) => table
            .entries()
            .map(|entry| entry.path)
            .find(|entry| *entry == place.mount),
        Route::Native | Route::Parent(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "/run/root:m/etc/config:s/home/me:r/usr:r/srv:g/opt/ca/*.pem:l/usr/local";

    #[test]
    fn path_is_there_below_a_mount_or_a_remote_glob_or_on_this_machine() {
        let table = Some(OsStr::new(TABLE));
        for (path, found) in [
            ("/etc/config/ca.pem", true),
            ("/opt/ca/root.pem", true),
            ("/opt/ca/../ca/root.pem", true),
            ("/opt/ca/root.der", false),
            ("/etc/passwd", true),
            ("/no/such/file", false),
            ("no/such/file", false),
        ] {
            assert_eq!(is_there(table, Path::new(path)), found, "{path}");
        }
        assert!(!is_there(None, Path::new("/etc/config/ca.pem")));
    }

    #[test]
    fn folders_below_a_mount_are_hidden_and_those_above_one_are_not() {
        let hidden = |home: &str, working: &str| {
            super::hidden(OsStr::new(TABLE), Some(Path::new(home)), Some(Path::new(working)))
        };
        assert_eq!(hidden("/home/other", "/tmp"), ["/usr"]);
        assert_eq!(
            hidden("/home/me", "/srv/app"),
            [
                "/usr",
                "/home/me (the home folder)",
                "/srv/app (the working folder)"
            ]
        );
        assert_eq!(
            hidden("/home/me", "/home/me/src").len(),
            2,
            "one of them is in the other"
        );
        assert_eq!(hidden("/usr/local/me", "/opt/ca/x.pem"), ["/usr"]);
    }
}
