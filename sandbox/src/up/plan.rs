//! What a sandbox consists of on disk, decided before anything is started.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::Options;
use crate::failure::Hinted;

/// Bytes in the key that is made when none is given, before they are written in hexadecimal.
const KEY_LENGTH: usize = 32;

/// What to do where there is no agent.
const NO_AGENT: &str =
    "build it with `cargo build -p kinject-agent`, name it with --agent, or go without by --no-agent";

/// The files of a sandbox.
pub(super) struct Plan {
    folder: TempDir,
    /// The agent's program, if there is to be one.
    pub(super) agent: Option<PathBuf>,
    /// Where it listens.
    pub(super) socket: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    key_is_generated: bool,
}

impl Plan {
    /// Checks what is given and makes what is not.
    pub(super) fn prepare(options: &Options) -> anyhow::Result<Self> {
        let agent = options.agent.as_deref().map(check_agent).transpose()?;
        let folder = private_folder()?;
        let socket = match &options.socket {
            Some(socket) => std::path::absolute(socket)?,
            None => folder.path().join("agent.sock"),
        };
        clear_stale_socket(&socket)?;
        let key = match &options.key {
            Some(key) => std::path::absolute(key)?,
            None => folder.path().join("key"),
        };
        let key_is_generated =
            make_key(&key).with_context(|| format!("cannot make the key {}", key.display()))?;
        Ok(Self {
            folder,
            agent,
            socket,
            key,
            key_is_generated,
        })
    }

    /// The sandbox's own folder, which no other user can enter.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Removes everything that the sandbox made. Both processes do, since either may be killed.
    pub(super) fn remove(&self) {
        let mut outcomes = vec![fs::remove_dir_all(self.folder())];
        if self.agent.is_some() {
            outcomes.push(fs::remove_file(&self.socket));
        }
        if self.key_is_generated {
            outcomes.push(fs::remove_file(&self.key));
        }
        for error in outcomes.into_iter().filter_map(Result::err) {
            if error.kind() != ErrorKind::NotFound {
                eprintln!("kinject-sandbox: cannot clear up: {error}");
            }
        }
    }
}

fn check_agent(program: &Path) -> anyhow::Result<PathBuf> {
    let is_program = fs::metadata(program)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
    if !is_program {
        let message = format!("no agent at {}", program.display());
        bail!(Hinted::new(message, Some(NO_AGENT.to_owned())));
    }
    Ok(std::path::absolute(program)?)
}

fn private_folder() -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("kinject-sandbox-")
        .permissions(fs::Permissions::from_mode(0o700));
    let runtime = env::var_os("XDG_RUNTIME_DIR").and_then(|runtime| builder.tempdir_in(runtime).ok());
    match runtime {
        Some(folder) => Ok(folder),
        None => builder.tempdir().context("cannot make a private folder"),
    }
}

/// Removes a socket without a listener, which a killed sandbox has left behind.
fn clear_stale_socket(socket: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use {}", socket.display())),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{} exists and is not a socket", socket.display())
        }
        Ok(_) => match UnixStream::connect(socket) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(socket)?),
            _ => bail!("{} is in use", socket.display()),
        },
    }
}

/// Makes the key unless it is there. Returns whether it did.
fn make_key(key: &Path) -> io::Result<bool> {
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(key)
    {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut secret = [0; KEY_LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    file.write_all(text.as_bytes())?;
    Ok(true)
}
