//! Agents as files in a folder, as `cargo xtask agent` makes them.

use crate::{Architecture, CarriedAgent};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The folder with a folder for each architecture.
pub const AGENTS_FOLDER: &str = "agents";

/// The loader's file.
pub const LOADER_FILE: &str = "loader";

/// The packed agent's file.
pub const PACKED_FILE: &str = "agent.xz";

/// The file with the SHA-256 of the unpacked agent.
pub const DIGEST_FILE: &str = "agent.sha256";

/// A folder with an agent that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokenAgent {
    /// A file cannot be read, though its folder is there.
    #[error("cannot read {file}: {error}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file of the SHA-256 holds something else.
    #[error("{0} does not begin with a SHA-256 in hexadecimal")]
    NoDigest(PathBuf),
}

/// The agents in the folders of a folder, which may be missing.
pub(crate) fn agents(folder: &Path) -> Result<Vec<CarriedAgent>, BrokenAgent> {
    let mut agents = Vec::new();
    for architecture in Architecture::ALL {
        let folder = folder.join(architecture.kubernetes_name());
        match fs::metadata(&folder) {
            Ok(_) => agents.push(agent(architecture, &folder)?),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(BrokenAgent::Unreadable { file: folder, error }),
        }
    }
    Ok(agents)
}

fn agent(architecture: Architecture, folder: &Path) -> Result<CarriedAgent, BrokenAgent> {
    let digest_file = folder.join(DIGEST_FILE);
    let digest = read(&digest_file)?;
    let sha256 = sha256_of_line(&digest).ok_or(BrokenAgent::NoDigest(digest_file))?;
    Ok(CarriedAgent {
        architecture,
        loader: read(&folder.join(LOADER_FILE))?.into(),
        packed: read(&folder.join(PACKED_FILE))?.into(),
        sha256,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, BrokenAgent> {
    fs::read(file).map_err(|error| BrokenAgent::Unreadable {
        file: file.to_owned(),
        error,
    })
}

/// The SHA-256 at the beginning of a line of sha256sum(1).
fn sha256_of_line(line: &[u8]) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(line).ok()?;
    let hex = text.split_whitespace().next()?;
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut sha256 = [0; 32];
    for (position, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    Some(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carried_agents;

    const DIGEST: &str = "00ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcd  agent\n";

    fn write_agent(programs: &Path, architecture: Architecture, digest: &str) -> PathBuf {
        let folder = programs.join(AGENTS_FOLDER).join(architecture.kubernetes_name());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(LOADER_FILE), "loader").unwrap();
        fs::write(folder.join(PACKED_FILE), "packed").unwrap();
        fs::write(folder.join(DIGEST_FILE), digest).unwrap();
        folder
    }

    #[test]
    fn folder_without_agents_carries_none() {
        let programs = tempfile::tempdir().unwrap();
        assert_eq!(carried_agents(programs.path()).unwrap(), []);
    }

    #[test]
    fn agents_of_both_architectures_are_found() {
        let programs = tempfile::tempdir().unwrap();
        for architecture in Architecture::ALL {
            write_agent(programs.path(), architecture, DIGEST);
        }
        let agents = carried_agents(programs.path()).unwrap();
        let architectures: Vec<_> = agents.iter().map(|agent| agent.architecture).collect();
        assert_eq!(architectures, Architecture::ALL);
        assert_eq!(
            (&*agents[0].loader, &*agents[0].packed),
            (&b"loader"[..], &b"packed"[..])
        );
        assert_eq!(agents[0].sha256[..3], [0x00, 0xff, 0x23]);
    }

    #[test]
    fn agent_with_a_missing_file_is_an_error_that_names_it() {
        let programs = tempfile::tempdir().unwrap();
        let folder = write_agent(programs.path(), Architecture::Amd64, DIGEST);
        let packed = folder.join(PACKED_FILE);
        fs::remove_file(&packed).unwrap();
        let error = carried_agents(programs.path()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot read {}: ", packed.display())),
            "{error}"
        );
    }

    #[test]
    fn digest_that_is_no_sha256_is_an_error_that_names_its_file() {
        for digest in ["", "00ff", &DIGEST[1..], "zz", &DIGEST.replace("00ff", "+0ff")] {
            let programs = tempfile::tempdir().unwrap();
            write_agent(programs.path(), Architecture::Arm64, digest);
            let error = carried_agents(programs.path()).unwrap_err().to_string();
            assert!(
                error.contains("agents/arm64/agent.sha256 does not begin"),
                "{digest}: {error}"
            );
        }
    }
}
