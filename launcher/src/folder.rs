//! A session's private folder: mode 0700, with a path that ld.so and Unix sockets can take.

use crate::exit::Failure;
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The longest folder: the name of a socket follows, and a Unix socket's path has 107 bytes (unix(7)).
const MAX_LENGTH: usize = 90;

/// Makes the folder under XDG_RUNTIME_DIR, or where that does not do under the folder for temporary files.
pub(crate) fn create(session: &str) -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let mut failures = Vec::new();
    if let Some(runtime) = runtime.filter(|path| is_usable(path)) {
        let shared = runtime.join("kinject");
        match make(&shared, true).and_then(|()| make(&shared.join(session), false)) {
            Ok(()) => return Ok(shared.join(session)),
            Err(error) => failures.push(format!("{}: {error}", shared.display())),
        }
    }
    let temporary = std::env::temp_dir();
    for parent in [temporary.as_path(), Path::new("/tmp"), Path::new("/dev/shm")] {
        let folder = parent.join(format!("kinject-{session}"));
        if !is_plain(&folder) {
            continue;
        }
        match make(&folder, false) {
            Ok(()) => return Ok(folder),
            Err(error) => failures.push(format!("{}: {error}", folder.display())),
        }
    }
    Err(Failure::own(
        format!("cannot make a folder for the session ({})", failures.join("; ")),
        "free some space, or name a writable folder in XDG_RUNTIME_DIR",
    ))
}

/// Makes a private folder; `shared` allows one that is there already if nobody else can write to it.
fn make(folder: &Path, shared: bool) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if shared && error.kind() == io::ErrorKind::AlreadyExists => {
            let found = std::fs::symlink_metadata(folder)?;
            if found.is_dir() && is_private(&found) {
                Ok(())
            } else {
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it is not this user's alone",
                ))
            }
        }
        done => done,
    }
}

/// A folder that belongs to this user alone, as the XDG Base Directory Specification asks of XDG_RUNTIME_DIR.
fn is_usable(folder: &Path) -> bool {
    folder.is_absolute()
        && is_plain(&folder.join("kinject/00000000"))
        && std::fs::metadata(folder).is_ok_and(|found| found.is_dir() && is_private(&found))
}

fn is_private(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
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
    let mut bytes = [0_u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|error| {
        Failure::own(
            format!("cannot name the session: {error}"),
            "does getrandom(2) work here?",
        )
    })?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("session");
        make(&folder, false).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert!(make(&folder, false).is_err());
        assert!(make(&folder, true).is_ok());
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(make(&folder, true).is_err());
    }

    #[test]
    fn sessions_have_names_of_their_own() {
        let (one, other) = (new_session().unwrap(), new_session().unwrap());
        assert_eq!(one.len(), 8);
        assert_ne!(one, other);
    }
}
