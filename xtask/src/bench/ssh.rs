//! `ssh -D` with torsocks, as Debian installs them: an alternative to kinject.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::helper::Helper;
use super::load::{LoadGenerator, Variables};
use super::namespaces::{SERVER, Wire};
use super::programs::text;
use crate::process;

const SOCKS_PORT: u16 = 1080;
const LIBRARY_NAME: &str = "libtorsocks.so";
/// How long the tunnel may take to come up.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The programs that this setup needs, and their packages.
pub(crate) const PROGRAMS: [(&str, &str); 4] = [
    ("torsocks", "torsocks"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// A server in one namespace and its client in the other.
pub(crate) struct Ssh {
    variables: Variables,
    _client: Helper,
    _server: Helper,
}

impl Ssh {
    /// Starts both; keys and configurations are in `folder`.
    pub(crate) fn start(wire: &Wire, folder: &Path) -> Result<Self> {
        for key in ["host", "user"] {
            let file = folder.join(key);
            process::output(
                std::process::Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(&file),
            )?;
        }
        let path = |name: &str| -> Result<String> { Ok(text(&folder.join(name))?.to_owned()) };
        write(folder, "authorized", &read(folder, "user.pub")?)?;
        write(
            folder,
            "known",
            &format!("{SERVER} {}", read(folder, "host.pub")?),
        )?;
        let configuration = format!(
            "ListenAddress {SERVER}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n",
            path("host")?,
            path("authorized")?
        );
        write(folder, "sshd_config", &configuration)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create("/run/sshd")
            .context("making sshd's folder")?;
        let server = Helper::start(
            "sshd",
            wire.server
                .command("/usr/sbin/sshd")
                .args(["-D", "-q", "-f"])
                .arg(folder.join("sshd_config"))
                .stderr(Stdio::inherit()),
        )?;
        process::wait_for("sshd", TIMEOUT, || {
            let connected = wire
                .client
                .command("sh")
                .args([
                    "-c",
                    &format!("ssh-keyscan -T 1 {SERVER} 2>/dev/null | grep -q ssh"),
                ])
                .status()?;
            Ok(connected.success().then_some(()))
        })?;
        let client = Helper::start(
            "ssh",
            wire.client
                .command("ssh")
                .args(["-F", "none", "-N", "-q", "-D", &format!("127.0.0.1:{SOCKS_PORT}")])
                .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
                .args([
                    "-o",
                    "ExitOnForwardFailure=yes",
                    "-o",
                    "StrictHostKeyChecking=yes",
                ])
                .args(["-o", &format!("UserKnownHostsFile={}", path("known")?)])
                .args(["-i", &path("user")?, &format!("root@{SERVER}")]),
        )?;
        Ok(Self {
            variables: torsocks(folder)?,
            _client: client,
            _server: server,
        })
    }

    /// Waits until a byte is echoed through it.
    pub(crate) fn wait(&mut self, generator: &LoadGenerator, address: &str) -> Result<()> {
        process::wait_for("torsocks through ssh -D", TIMEOUT, || {
            self._client.check()?;
            Ok(generator
                .run(&["connect", address, "--seconds", "0.01"])
                .ok()
                .map(drop))
        })
    }

    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }
}

/// What torsocks(1) sets, with a configuration that knows where the SOCKS server is.
pub(crate) fn torsocks(folder: &Path) -> Result<Variables> {
    let configuration =
        format!("TorAddress 127.0.0.1\nTorPort {SOCKS_PORT}\nAllowInbound 1\nAllowOutboundLocalhost 1\n");
    write(folder, "torsocks.conf", &configuration)?;
    let library = library().context("torsocks is installed without its library")?;
    Ok(Variables::from([
        ("LD_PRELOAD".to_owned(), text(&library)?.to_owned()),
        (
            "TORSOCKS_CONF_FILE".to_owned(),
            text(&folder.join("torsocks.conf"))?.to_owned(),
        ),
        ("TORSOCKS_LOG_LEVEL".to_owned(), "1".to_owned()),
    ]))
}

/// The library's folder is named after the machine's architecture.
fn library() -> Option<PathBuf> {
    let machine = format!("/usr/lib/{}-linux-gnu/torsocks", std::env::consts::ARCH);
    [machine.as_str(), "/usr/lib/torsocks", "/usr/lib64/torsocks"]
        .iter()
        .map(|folder| Path::new(folder).join(LIBRARY_NAME))
        .find(|library| library.is_file())
}

fn write(folder: &Path, name: &str, content: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
}

fn read(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
