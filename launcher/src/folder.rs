//! The folders that kinject makes on this machine: a session's, which goes with it, and the user's, which stay.
//!
//! A session's folder lies in a folder of the user's that nobody else can enter and that is never removed. So the path of
//! a session that is over never becomes somebody else's, though its programs may still know it.

use crate::exit::Failure;
use kinject_protocol::folder::check_private;
use std::env;
use std::fs::{DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest folder: the name of a socket follows, and a Unix socket's path has 107 bytes (unix(7)).
const MAX_LENGTH: usize = 90;

/// The bit of a folder's mode that lets nobody but owners remove what lies in it.
const STICKY: u32 = 0o1000;

/// Makes a session's folder under XDG_RUNTIME_DIR, otherwise under a folder for temporary files or in the user's cache.
pub(crate) fn create(session: &str) -> Result<PathBuf, Failure> {
    let mut failures = Vec::new();
    for parent in parents() {
        let folder = parent.join(session);
        if !is_plain(&folder) {
            continue;
        }
        match ensure(&parent).and_then(|()| private().create(&folder)) {
            Ok(()) => return Ok(folder),
            Err(error) => failures.push(format!("{}: {error}", kinject_escape::path(&parent))),
        }
    }
    Err(Failure::own(
        format!("cannot make a folder for the session ({})", failures.join("; ")),
        "free some space, remove what is in the way, or name a folder of your own in XDG_RUNTIME_DIR",
    ))
}

/// The user's folders in which sessions' may lie, the best first.
fn parents() -> Vec<PathBuf> {
    let name = format!("kinject-{}", user());
    let temporary = [env::temp_dir(), "/tmp".into(), "/dev/shm".into()];
    let mut parents: Vec<PathBuf> = runtime().into_iter().collect();
    for parent in temporary
        .map(|folder| folder.join(&name))
        .into_iter()
        .chain(cache())
    {
        if !parents.contains(&parent) {
            parents.push(parent);
        }
    }
    parents
}

/// A folder of the user's for what outlives sessions and is nobody else's whatever becomes of temporary files: all that
/// it lies in is the user's or root's, and nobody else can write to it.
pub(crate) fn lasting() -> Result<PathBuf, Vec<String>> {
    let mut failures = Vec::new();
    for folder in runtime().into_iter().chain(cache()) {
        match ensure_lasting(&folder) {
            Ok(found) => return Ok(found),
            Err(error) => failures.push(format!("{}: {error}", kinject_escape::path(&folder))),
        }
    }
    Err(failures)
}

/// Where the library may be unpacked, the best first: the runtime folder goes with the user's last login. Root may
/// have the home of another user, as with `sudo --preserve-env`, or none, as in a service.
pub(crate) fn for_library() -> Vec<PathBuf> {
    let of_system = (user() == 0).then(|| PathBuf::from("/var/cache/kinject"));
    let mut folders: Vec<PathBuf> = cache()
        .into_iter()
        .chain(default_cache())
        .chain(runtime())
        .chain(of_system)
        .collect();
    folders.dedup();
    folders
}

/// Makes one of these folders, unless it is there, and gives its path without links: what a link on the way leads to
/// can be changed, or come to be somebody else's.
pub(crate) fn ensure_lasting(folder: &Path) -> io::Result<PathBuf> {
    ensure(folder)?;
    let found = folder.canonicalize()?;
    check_lasting(&found).map(|()| found)
}

fn check_lasting(folder: &Path) -> io::Result<()> {
    for around in folder.ancestors().skip(1) {
        if !is_private(&std::fs::metadata(around)?) {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                format!("others may write to {}", kinject_escape::path(around)),
            ));
        }
    }
    Ok(())
}

/// The user's folder in XDG_RUNTIME_DIR, if that is the user's own, as the XDG Base Directory Specification asks.
fn runtime() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    let is_own = |found: Metadata| found.is_dir() && found.uid() == user() && is_private(&found);
    (runtime.is_absolute() && std::fs::metadata(&runtime).is_ok_and(is_own)).then(|| runtime.join("kinject"))
}

/// The user's folder in XDG_CACHE_HOME, which is `~/.cache` if it is not set.
fn cache() -> Option<PathBuf> {
    match absolute("XDG_CACHE_HOME") {
        Some(cache) => Some(cache.join("kinject")),
        None => default_cache(),
    }
}

/// The user's folder in `~/.cache`.
fn default_cache() -> Option<PathBuf> {
    Some(absolute("HOME")?.join(".cache/kinject"))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// Sees to it that one of the user's folders is there, and is the user's alone.
pub(crate) fn ensure(folder: &Path) -> io::Result<()> {
    let around = folder.parent().unwrap_or(Path::new("/"));
    if [cache(), default_cache()]
        .iter()
        .flatten()
        .any(|cache| cache == folder)
    {
        // a home may have no cache yet
        private().recursive(true).create(around)?;
    }
    if !keeps(&std::fs::metadata(around)?) {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("others may rename what lies in {}", kinject_escape::path(around)),
        ));
    }
    match private().create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_private(folder, user()),
        done => done,
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether only this user and root can write to a folder.
fn is_private(found: &Metadata) -> bool {
    [0, user()].contains(&found.uid()) && found.mode() & 0o022 == 0
}

/// Whether what this user makes in a folder stays the user's: nobody else can rename or remove it.
fn keeps(found: &Metadata) -> bool {
    is_private(found) || [0, user()].contains(&found.uid()) && found.mode() & STICKY != 0
}

/// Short enough for a socket, and nothing in it that LD_PRELOAD takes for a separator or a token (ld.so(8)).
pub(crate) fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= MAX_LENGTH && preloadable(path)
}

/// Whether a path can stand in LD_PRELOAD.
pub(crate) fn preloadable(path: &Path) -> bool {
    !path
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'$'))
}

/// Removes a session's folder, if the relay could not.
pub(crate) fn remove(folder: &Path) {
    // mostly it is gone already; what stays is said by the relay
    let _gone = kinject_protocol::folder::remove(folder, user()).is_err();
}

/// Eight hexadecimal digits at random.
pub(crate) fn new_session() -> Result<String, Failure> {
    random_name().map_err(|error| {
        Failure::own(
            format!("cannot name the session: {error}"),
            "check that getrandom(2) is allowed here (seccomp, an old kernel)",
        )
    })
}

/// The same for a file that is to be nobody else's.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn paths_that_ld_preload_would_split_are_not_used() {
        assert!(is_plain(Path::new("/run/user/1000/kinject/0123abcd")));
        for bad in [
            "/run/with space",
            "/run/with:colon",
            "/run/$ORIGIN",
            &format!("/{}", "a".repeat(100)),
        ] {
            assert!(!is_plain(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn a_folder_is_private_and_never_taken_over() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("kinject");
        ensure(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        ensure(&folder).unwrap();
        set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        assert!(ensure(&folder).is_err());
        let link = around.path().join("link");
        std::os::unix::fs::symlink(around.path(), &link).unwrap();
        assert!(ensure(&link).is_err());
    }

    #[test]
    fn a_folder_in_which_others_may_rename_is_not_used() {
        let around = tempfile::tempdir().unwrap();
        for (mode, is_used) in [(0o777, false), (0o770, false), (0o1777, true), (0o755, true)] {
            set_permissions(around.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                ensure(&around.path().join(format!("{mode:o}"))).is_ok(),
                is_used,
                "{mode:o}"
            );
        }
    }

    #[test]
    fn what_a_folder_is_to_lie_in_is_not_made() {
        let around = tempfile::tempdir().unwrap();
        let missing = around.path().join("missing");
        assert_eq!(
            ensure(&missing.join("kinject")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(!missing.exists());
    }

    #[test]
    fn sessions_have_names_of_their_own() {
        let (one, other) = (new_session().unwrap(), new_session().unwrap());
        assert_eq!(one.len(), 8);
        assert_ne!(one, other);
    }
}
