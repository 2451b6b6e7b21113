//! A carried agent as the executable that it is.

use crate::CarriedAgent;
use lzma_rust2::XzReader;
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind, Read};

/// The largest agent that is unpacked: a few packed bytes can stand for any number.
const LARGEST: u64 = 64 << 20;

impl CarriedAgent {
    /// Unpacks the executable.
    ///
    /// # Errors
    ///
    /// `InvalidData` where the packed bytes are not what xz(1) writes, or not the agent that the SHA-256 is of.
    pub fn unpack(&self) -> io::Result<Vec<u8>> {
        let mut executable = Vec::new();
        XzReader::new(self.packed.as_ref(), false)
            .take(LARGEST)
            .read_to_end(&mut executable)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if Sha256::digest(&executable).as_slice() != self.sha256 {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the unpacked agent has another SHA-256 than it should",
            ));
        }
        Ok(executable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Architecture;
    use lzma_rust2::{XzOptions, XzWriter};
    use std::io::Write;

    fn agent(content: &[u8]) -> CarriedAgent {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::default()).unwrap();
        writer.write_all(content).unwrap();
        CarriedAgent {
            architecture: Architecture::Amd64,
            loader: b"".into(),
            packed: writer.finish().unwrap().into(),
            sha256: Sha256::digest(content).into(),
        }
    }

    #[test]
    fn packed_agent_is_unpacked_to_the_executable_that_it_was() {
        let content = vec![7; 1 << 20];
        assert_eq!(agent(&content).unpack().unwrap(), content);
    }

    #[test]
    fn altered_or_truncated_agent_is_refused() {
        let mut other = agent(b"the agent");
        other.sha256[0] ^= 1;
        assert_eq!(other.unpack().unwrap_err().kind(), ErrorKind::InvalidData);
        let mut short = agent(&[7; 100_000]);
        short.packed.to_mut().truncate(40);
        assert_eq!(short.unpack().unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
