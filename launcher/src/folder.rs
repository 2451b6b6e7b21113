//! The folders that kinject makes on this machine: a session's, which goes with it, and the user's, which stay.
//!
//! A session's folder lies in a folder of the user's that no other user can enter and that is never removed. So no
//! other user can create the path of a session that is over, which its programs may still use.

mod local;
mod write_access;

pub(crate) use write_access::OpenFolder;

use crate::exit::Failure;
use kinject_protocol::folder::{SessionLock, check_private, lock_new};
use std::env;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use write_access::{check_each, is_private, keeps};

/// The longest folder: the name of a socket follows, and a Unix socket's path has 107 bytes (unix(7)).
const MAX_LENGTH: usize = 90;

/// A session's folder. It goes with this value, if the relay could not remove it.
pub(crate) struct SessionFolder {
    path: PathBuf,
    /// None where the file system has no locks, or no space for one: then it stays if launcher and relay are killed.
    _lock: Option<SessionLock>,
}

impl SessionFolder {
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SessionFolder {
    fn drop(&mut self) {
        // the relay has usually removed it, and reports a failure itself
        let _gone = kinject_protocol::folder::remove(&self.path, user()).is_err();
    }
}

/// Removes what is left of sessions whose launcher and relay were killed. Not in the cache, nor on a network file system:
/// the sessions there may be another machine's, and so are their locks.
pub(crate) fn sweep() {
    let caches = [cache(), default_cache()].map(Option::unwrap_or_default);
    let memory = kinject_protocol::folder::memory_of_user(user());
    let parents = parents().into_iter().filter(|parent| !caches.contains(parent));
    for parent in parents.chain([memory]).filter(|parent| local::is_local(parent)) {
        kinject_protocol::folder::sweep(&parent, user());
    }
}

/// Makes a session's folder under XDG_RUNTIME_DIR, otherwise under a folder for temporary files or in the user's cache.
pub(crate) fn create(session: &str) -> Result<SessionFolder, Failure> {
    let mut failures = Vec::new();
    for parent in parents() {
        let folder = parent.join(session);
        if !is_plain(&folder) {
            continue;
        }
        match ensure(&parent).and_then(|()| private().create(&folder)) {
            Ok(()) => {
                return Ok(SessionFolder {
                    _lock: lock_new(&folder).ok(),
                    path: folder,
                });
            }
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

/// A folder of the user's for files that outlive sessions. Each folder above it belongs to the user or to root, and no
/// other user can write to it, so a cleaner of temporary files cannot make way for another user's files.
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
/// can be changed, or come to belong to another user. Nothing is made where others could change it.
pub(crate) fn ensure_lasting(folder: &Path) -> io::Result<PathBuf> {
    if let Some(around) = folder.parent()
        && around.try_exists()?
    {
        check_each(&around.canonicalize()?)?;
    }
    ensure(folder)?;
    // without symbolic links, whose targets can change or come to belong to another user
    let found = folder.canonicalize()?;
    match found.parent() {
        Some(around) => check_each(around).map(|()| found),
        None => Ok(found),
    }
}

/// The user's folder in XDG_RUNTIME_DIR, if that is the user's own, as the XDG Base Directory Specification asks.
fn runtime() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    let is_own = std::fs::metadata(&runtime)
        .is_ok_and(|found| found.is_dir() && found.uid() == user() && is_private(&runtime, &found));
    (runtime.is_absolute() && is_own).then(|| runtime.join("kinject"))
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

/// Creates one of the user's folders unless it exists, and checks that it is the user's alone.
pub(crate) fn ensure(folder: &Path) -> io::Result<()> {
    let around = folder.parent().unwrap_or(Path::new("/"));
    if [cache(), default_cache()]
        .iter()
        .flatten()
        .any(|cache| cache == folder)
    {
        make_cache(around)?;
    }
    if !keeps(around, &std::fs::metadata(around)?) {
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

/// Makes the folder of a user's caches, which a new home may not have, unless it is there. Only in a folder of this
/// user's: with `sudo --preserve-env` root has the home of another user, where nothing is to be root's.
fn make_cache(cache: &Path) -> io::Result<()> {
    if cache.try_exists()? {
        return Ok(());
    }
    let home = cache.parent().unwrap_or(Path::new("/")).canonicalize()?;
    check_each(&home)?;
    if std::fs::metadata(&home)?.uid() != user() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("{} belongs to another user", kinject_escape::path(&home)),
        ));
    }
    match private().create(cache) {
        // by another session
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
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

/// Eight hexadecimal digits at random.
pub(crate) fn new_session() -> Result<String, Failure> {
    random_name().map_err(|error| {
        Failure::own(
            format!("cannot name the session: {error}"),
            "check that getrandom(2) is allowed here (seccomp, an old kernel)",
        )
    })
}

/// The same for a private file.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_test_support::private_folder::private_folder;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn path_with_ld_preload_separator_is_not_used() {
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
    fn session_folder_is_private_and_never_reused() {
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
    fn folder_where_others_may_rename_is_not_used() {
        let around = tempfile::tempdir().unwrap();
        for (mode, is_used) in [(0o777, false), (0o1777, true), (0o755, true)] {
            set_permissions(around.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                ensure(&around.path().join(format!("{mode:o}"))).is_ok(),
                is_used,
                "{mode:o}"
            );
        }
    }

    #[test]
    fn missing_parent_folder_is_not_created() {
        let around = tempfile::tempdir().unwrap();
        let missing = around.path().join("missing");
        assert_eq!(
            ensure(&missing.join("kinject")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(!missing.exists());
    }

    #[test]
    fn cache_is_made_only_in_the_users_own_home_that_no_other_user_can_write_to() {
        // every user may write to the folders for temporary files, in which the tests themselves may lie
        let programs = env::current_exe().unwrap();
        let home = private_folder(programs.parent().unwrap());
        let cache = home.path().join(".cache");
        let is_empty = || std::fs::read_dir(home.path()).unwrap().next().is_none();

        assert!(make_cache(&home.path().join("missing/.cache")).is_err());
        assert!(is_empty());
        set_permissions(home.path(), Permissions::from_mode(0o702)).unwrap();
        let refusal = make_cache(&cache).unwrap_err().to_string();
        assert!(refusal.starts_with("others may write to /"), "{refusal}");
        assert!(is_empty());
        set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        if user() == 0 {
            std::os::unix::fs::chown(home.path(), Some(65534), None).unwrap();
            assert_eq!(
                make_cache(&cache).unwrap_err().kind(),
                ErrorKind::PermissionDenied
            );
            assert!(is_empty());
            std::os::unix::fs::chown(home.path(), Some(0), None).unwrap();
        }
        make_cache(&cache).unwrap();
        make_cache(&cache).unwrap();
        assert_eq!(std::fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn session_identifiers_differ() {
        let (one, other) = (new_session().unwrap(), new_session().unwrap());
        assert_eq!(one.len(), 8);
        assert_ne!(one, other);
    }
}
