//! kinject with agents beside it, which its sessions carry into the cluster.

use std::env;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::{binaries, skip};

/// The variable that, with the value `carried`, has all tests' sessions to the cluster carry their agent.
/// `cargo xtask test` sets it for a second run of the contract tests.
pub const VARIABLE: &str = "KINJECT_TEST_AGENT";

/// Whether sessions carry their agent where a test does not choose.
///
/// # Panics
///
/// If the variable has another value.
pub fn is_default() -> bool {
    match env::var_os(VARIABLE) {
        None => false,
        Some(value) if value == "carried" => true,
        Some(value) => panic!(
            "{VARIABLE}={} is unknown: the only value is `carried`",
            value.display()
        ),
    }
}

/// The folder with the agents that `cargo xtask agent` has packed; none if there are none, which is noted.
pub fn agents() -> Option<PathBuf> {
    let built = binaries::folder();
    let shared = built.parent().map(|target| target.join("agents"));
    // `cargo xtask test` packs the one beside the builds, so that it is never older than they are
    let found = [shared, Some(built.join("agents"))]
        .into_iter()
        .flatten()
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skip::not_run(
            "tests of carried agents",
            "no agent is packed; `cargo xtask agent` does it",
        );
    }
    found
}

/// This machine's architecture as Kubernetes calls it.
pub fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("there are no agents for {other}"),
    }
}

/// The folder of this machine's agent among them.
pub fn agent() -> Option<PathBuf> {
    Some(agents()?.join(architecture()))
}

/// The programs that a session consists of.
const PROGRAMS: [&str; 3] = ["kinject", "kinject-relay", "libkinject_preload.so"];

/// The programs under test in a folder of the test's own, with these agents.
pub fn install(agents: &Path) -> TempDir {
    // in the target folder, since links do not cross file systems
    let folder = TempDir::new_in(binaries::folder()).expect("the target folder can be written to");
    for name in PROGRAMS {
        fs::hard_link(binaries::path(name), folder.path().join(name)).expect("it is on the same file system");
    }
    symlink(agents, folder.path().join("agents")).expect("the folder is new");
    folder
}

/// kinject in a folder with the agents that are packed, which all tests share.
pub fn kinject() -> Option<&'static Path> {
    static KINJECT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let agents = agents()?;
        let folder = binaries::folder().join("carrying");
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        for name in PROGRAMS {
            replace(&folder.join(name), |fresh| {
                fs::hard_link(binaries::path(name), fresh)
            });
        }
        replace(&folder.join("agents"), |fresh| symlink(&agents, fresh));
        Some(folder.join("kinject"))
    });
    KINJECT.as_deref()
}

/// Makes a link in the place of another, which other test executables may use at the same time.
fn replace(path: &Path, link: impl Fn(&Path) -> io::Result<()>) {
    let fresh = path.with_extension(process::id().to_string());
    link(&fresh)
        .and_then(|()| fs::rename(&fresh, path))
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
    // rename(2) leaves the name of a link to the same file
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            panic!("cannot remove {}: {error}", fresh.display())
        }
        _ => {}
    }
}
