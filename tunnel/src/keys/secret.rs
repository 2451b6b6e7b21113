//! A secret that both ends read from a file that only its owner may access.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ring::hkdf::{HKDF_SHA256, Salt};

/// Fewest bytes of a secret.
const MIN_BYTES: usize = 32;
/// Most bytes of a secret; a larger file is taken for a mistake.
const MAX_BYTES: usize = 64 * 1024;

/// The content of a secret file.
///
/// All bytes belong to it, a newline at the end included: both ends read copies of one file, and a random file may end
/// in a byte that looks like white space.
pub struct Secret(Vec<u8>);

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the file, or write to it.
    #[error("the key file {} can be read or written by others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file belongs to another user, who could change its content.
    #[error("the key file {} belongs to user {owner}, neither to this user nor to root", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// The file is shorter than 32 bytes.
    #[error("the key file {} has {length} bytes, but a key needs at least 32", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// The file is longer than any secret.
    #[error("the key file {} is larger than 64 KiB, so it is hardly a key", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            SecretError::Exposed { path, .. } => {
                format!(
                    "`chmod 600 {}`, and make a new key if others have used this machine",
                    path.display()
                )
            }
            SecretError::Foreign { path, .. } => {
                format!(
                    "`chown \"$(id -u)\" {}`, or copy it to a file of your own",
                    path.display()
                )
            }
            SecretError::Read { .. } | SecretError::TooShort { .. } | SecretError::TooLong { .. } => {
                "the other end has the same file; `(umask 077; head -c 32 /dev/urandom > FILE)` makes one"
                    .to_owned()
            }
        }
    }
}

impl Secret {
    /// Reads a file of 32 bytes to 64 KiB that only its owner can read, who is this user or root.
    ///
    /// The opened file is checked, so that it cannot be replaced after the check. A pipe, as of `<(COMMAND)`, is
    /// accepted if only this user can read it.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let failed = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        check_access(path, &file.metadata().map_err(failed)?)?;
        let mut bytes = Vec::new();
        // Reading one byte more than allowed detects a longer file, also an endless device.
        file.take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        match bytes.len() {
            length if length < MIN_BYTES => Err(SecretError::TooShort {
                path: path.to_owned(),
                length,
            }),
            length if length > MAX_BYTES => Err(SecretError::TooLong {
                path: path.to_owned(),
            }),
            _ => Ok(Secret(bytes)),
        }
    }

    /// 32 bytes for one purpose (HKDF-SHA256, RFC 5869).
    pub(super) fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        let mut key = [0; 32];
        let pseudo_random = Salt::new(HKDF_SHA256, b"kinject session secret 1").extract(&self.0);
        let filled = pseudo_random
            .expand(&[purpose], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key));
        // HKDF-SHA256 gives up to 255 times 32 bytes.
        assert!(filled.is_ok(), "HKDF did not give 32 bytes");
        key
    }
}

/// Checks files and pipes. Folders cannot be read, and devices such as /dev/zero have no private content.
fn check_access(path: &Path, found: &Metadata) -> Result<(), SecretError> {
    if !found.is_file() && !found.file_type().is_fifo() {
        return Ok(());
    }
    let path = || path.to_owned();
    // SAFETY: the call has no preconditions and cannot fail
    let user = unsafe { libc::geteuid() };
    match (found.mode() & 0o7777, found.uid()) {
        (mode, _) if mode & 0o077 != 0 => Err(SecretError::Exposed { path: path(), mode }),
        (_, owner) if owner != user && owner != 0 => Err(SecretError::Foreign { path: path(), owner }),
        _ => Ok(()),
    }
}

impl TryFrom<&[u8]> for Secret {
    type Error = SecretError;

    /// A secret from another source than a file.
    fn try_from(bytes: &[u8]) -> Result<Self, SecretError> {
        let path = PathBuf::from("-");
        match bytes.len() {
            length if length < MIN_BYTES => Err(SecretError::TooShort { path, length }),
            length if length > MAX_BYTES => Err(SecretError::TooLong { path }),
            _ => Ok(Secret(bytes.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, chown};

    /// Reads a file with this content, after `prepare` was called with its path.
    fn read_after(content: &[u8], prepare: impl FnOnce(&Path)) -> Result<Secret, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        prepare(&path);
        Secret::read(&path)
    }

    fn read(content: &[u8]) -> Result<Secret, SecretError> {
        read_after(content, |_| {})
    }

    #[test]
    fn key_file_accessible_by_others_is_refused_with_a_chmod_hint() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o666, 0o601] {
            let error = read_after(&[7; 32], |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            })
            .err()
            .unwrap();
            let (message, hint) = (error.to_string(), error.hint());
            assert!(
                message.contains(&format!("/key can be read or written by others (mode 0{mode:o})")),
                "{message}"
            );
            assert!(
                hint.starts_with("`chmod 600 /") && hint.contains("/key`"),
                "{hint}"
            );
        }
        for mode in [0o600, 0o400] {
            let read = read_after(&[7; 32], |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            });
            assert!(read.is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn key_file_of_another_user_is_refused() {
        // SAFETY: the call has no preconditions and cannot fail
        if unsafe { libc::geteuid() } != 0 {
            return kinject_test_support::skip::not_run(
                "keys of another user",
                "only root can give a file away",
            );
        }
        let error = read_after(&[7; 32], |path| chown(path, Some(65534), None).unwrap())
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .ends_with("/key belongs to user 65534, neither to this user nor to root"),
            "{error}"
        );
        assert!(error.hint().starts_with("`chown"), "{}", error.hint());
    }

    #[test]
    fn private_pipe_is_read_and_a_pipe_open_to_others_is_refused() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, &[7; 32]).unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert!(Secret::read(Path::new(&path)).is_ok());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name is a string that ends with a zero and outlives the call
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        // so that opening the pipe does not wait for a writer
        let _held = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let error = Secret::read(&path).err().unwrap();
        assert!(
            matches!(error, SecretError::Exposed { mode: 0o644, .. }),
            "{error}"
        );
    }

    #[test]
    fn secret_below_32_bytes_is_refused_with_its_length() {
        assert!(read(&[7; 32]).is_ok());
        let error = read(&[7; 31]).err().unwrap().to_string();
        assert!(
            error.contains("31 bytes") && error.contains("at least 32"),
            "{error}"
        );
    }

    #[test]
    fn missing_or_endless_key_file_is_named_in_the_error() {
        let missing = Secret::read(Path::new("/nonexistent/key"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            missing.starts_with("cannot read the key file /nonexistent/key: "),
            "{missing}"
        );
        let endless = Secret::read(Path::new("/dev/zero")).err().unwrap().to_string();
        assert!(endless.contains("larger than 64 KiB"), "{endless}");
    }

    #[test]
    fn trailing_newline_is_part_of_the_secret() {
        let bare = read(&[b'x'; 32]).unwrap();
        let mut with_newline = vec![b'x'; 32];
        with_newline.push(b'\n');
        let with_newline = read(&with_newline).unwrap();
        assert_ne!(bare.derive(b"relay"), with_newline.derive(b"relay"));
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_are_deterministic() {
        let secret = read(&[9; 40]).unwrap();
        assert_ne!(secret.derive(b"relay"), secret.derive(b"agent"));
        assert_eq!(secret.derive(b"relay"), read(&[9; 40]).unwrap().derive(b"relay"));
    }
}
