//! A real image registry, Debian's `docker-registry`, which knows one user.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::programs::find;
use crate::running::run;
use crate::session::eventually;
use crate::skip;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// [`USER`] with [`PASSWORD`], as htpasswd(1) writes it with bcrypt.
const ACCOUNTS: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Its only user.
pub const USER: &str = "user";

/// The user's password.
pub const PASSWORD: &str = "secret";

/// A registry, which ends with this value.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    _folder: TempDir,
}

/// The section of its configuration by which it wants a login; the accounts are written into the folder.
pub fn login(folder: &Path) -> String {
    let accounts = folder.join("accounts");
    fs::write(&accounts, ACCOUNTS).expect("a new folder can be written to");
    format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        accounts.display()
    )
}

impl Registry {
    /// Starts one that listens at this address, HOST:PORT, and keeps its files in the folder; `program` makes the
    /// command of a program in the registry's network. `more` stands in its configuration behind the section `http`.
    /// None where it is not installed.
    pub fn start(
        folder: TempDir,
        address: &str,
        more: &str,
        program: impl Fn(&str) -> Command,
    ) -> Option<Self> {
        if find("docker-registry").is_none() {
            skip::not_run("tests with an image registry", "docker-registry is not installed");
            return None;
        }
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {address}\n{more}",
            storage.display()
        );
        fs::write(&config, text).expect("a new folder can be written to");
        let process = program("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was just found");
        let mut registry = Self {
            process,
            _folder: folder,
        };
        eventually("a registry that listens", START, || {
            let ended = registry.process.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the registry at {address} ended: {ended:?}");
            // any answer will do, also that it speaks TLS
            let url = format!("http://{address}/v2/");
            run(program("curl").args(["--silent", "--noproxy", "*", "--output", "/dev/null", &url])).code()
                == 0
        });
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // it may have ended
        let _gone = self.process.kill().is_err();
        let _reaped = self.process.wait().is_ok();
    }
}
