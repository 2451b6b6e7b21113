//! A user's folders, and the executable in one of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use kinject_test_support::private_folder::private_folder;
use kinject_tests::running::Outcome;
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries, skip};
use tempfile::TempDir;

/// The library, as programs of the session see it, then the session's relay, then what a service says.
pub(crate) const ASK: &str = "echo $LD_PRELOAD; pgrep -P $PPID -l kinject; exec curl -sS http://web/";

/// A user's folders, and the executable in a folder with nothing else.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) kinject: PathBuf,
}

impl Home {
    /// None where the executable is not built.
    pub(crate) fn new() -> Option<Self> {
        let Some(file) = binaries::single_file() else {
            skip::not_run(
                "tests of the single executable",
                "`cargo xtask dist --debug` builds it",
            );
            return None;
        };
        let folder = private_folder(&binaries::folder());
        for name in ["bin", "cache", "home", "home/.cache", "runtime"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        }
        let kinject = folder.path().join("bin/kinject");
        // a link where the file system allows it: the file is large
        fs::hard_link(&file, &kinject)
            .or_else(|_| fs::copy(&file, &kinject).map(drop))
            .unwrap();
        Some(Self { folder, kinject })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = apart::command(&self.kinject);
        command
            .arg("run")
            .args(shared_sandbox().flags())
            .args(["--", "sh", "-c", ASK]);
        self.surround(&mut command);
        command
    }

    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"));
    }

    /// The same after these commands of a shell, in a mount namespace of its own.
    pub(crate) fn command_after(&self, mounts: &str) -> Command {
        let plain = self.command();
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["sh", "-c", &format!("{mounts} && exec \"$@\""), "mounts"])
            .arg(plain.get_program())
            .args(plain.get_args());
        self.surround(&mut command);
        command
    }
}

/// The library that the programs of a session which worked were started with.
pub(crate) fn library(outcome: &Outcome) -> PathBuf {
    let lines = outcome.succeeded().shows("hello from web\n").stdout.lines();
    PathBuf::from(lines.map(str::to_owned).next().unwrap())
}
