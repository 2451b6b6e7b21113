//! A secret that both ends read from a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::hkdf::{HKDF_SHA256, Salt};

/// Fewest bytes of a secret.
const MIN_BYTES: usize = 32;
/// Most bytes of a secret; a file that is larger was not meant.
const MAX_BYTES: usize = 64 * 1024;

/// The content of a secret file.
///
/// The bytes count as they are, a newline at the end included: both ends read copies of one file, and a random
/// file may well end in a byte that looks like white space.
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

impl Secret {
    /// Reads a file of 32 bytes to 64 KiB.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let failed = |source| SecretError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        // One byte more than allowed shows that there is more, also where a device never ends.
        File::open(path)
            .map_err(failed)?
            .take(MAX_BYTES as u64 + 1)
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

impl TryFrom<&[u8]> for Secret {
    type Error = SecretError;

    /// A secret that comes from elsewhere than a file.
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

    fn read(content: &[u8]) -> Result<Secret, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        Secret::read(&path)
    }

    #[test]
    fn a_secret_of_32_bytes_is_read_and_a_shorter_one_says_how_short() {
        assert!(read(&[7; 32]).is_ok());
        let error = read(&[7; 31]).err().unwrap().to_string();
        assert!(
            error.contains("31 bytes") && error.contains("at least 32"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_and_an_endless_one_are_named() {
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
    fn a_newline_at_the_end_is_part_of_the_secret() {
        let bare = read(&[b'x'; 32]).unwrap();
        let mut with_newline = vec![b'x'; 32];
        with_newline.push(b'\n');
        let with_newline = read(&with_newline).unwrap();
        assert_ne!(bare.derive(b"relay"), with_newline.derive(b"relay"));
    }

    #[test]
    fn each_purpose_gets_a_key_of_its_own_and_always_the_same() {
        let secret = read(&[9; 40]).unwrap();
        assert_ne!(secret.derive(b"relay"), secret.derive(b"agent"));
        assert_eq!(secret.derive(b"relay"), read(&[9; 40]).unwrap().derive(b"relay"));
    }
}
