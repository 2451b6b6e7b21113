//! `cargo xtask package --try`: installs each package into a clean Debian, runs a session there, removes the package
//! and compares the files of the system with those from before.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kinject_bundle::Architecture;

use crate::{hint, process, rust_target, workspace};

/// The release of Debian that is the clean system.
const SUITE: &str = "bookworm";
/// What is installed there besides Debian's essential packages.
const PACKAGES: &str = "rpm";

/// Where the packages are copied to, below the root of the clean system.
const TRIAL_FOLDER: &str = "opt/trial";

/// The script that uses the installed package: it looks for the files beside kinject, then runs a session with the
/// agent that kinject carries.
const USE_SCRIPT: &str = r#"
set -eu
kinject version
kinject version --output json >/dev/null
for name in kinject.1.gz kinject.fish _kinject THIRD-PARTY-LICENSES; do find /usr/ -name "$name" | grep -q .; done
find /usr/ -path '*/bash-completion/*' -name kinject | grep -q .
cd /opt/trial
mkdir image
kinject agent image save image/agent.tar
tar -xf image/agent.tar -C image
rm image/agent.tar
tar -xf image/*.tar
head -c 32 /dev/urandom >key
chmod 600 key
./kinject-agent --listen unix:/opt/trial/agent.sock --key key &
agent=$!
while [ ! -S agent.sock ]; do kill -0 "$agent"; sleep 0.1; done
seen=$(kinject run --agent unix:/opt/trial/agent.sock --agent-key key -- grep -c libkinject_preload.so /proc/self/maps)
kill "$agent"
[ "$seen" -gt 0 ]
rm -r image key kinject-agent
rm -f agent.sock
"#;

/// Removes what sessions leave in folders of the user's, which no package may touch; fails if it is not there. The
/// manual has the same commands (docs/install.md).
const USER_SCRIPT: &str = "rm -r ~/.cache/kinject && rmdir ~/.cache && rm -r /tmp/kinject-0";

/// How a package is installed and removed.
struct Trial {
    package: String,
    install: String,
    remove: &'static str,
}

/// Tries the packages of this machine's architecture.
pub(super) fn run(folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(hint::error(
            "installing a clean Debian needs root",
            "run it with sudo",
        ));
    }
    let own = rust_target::this_machine()?;
    for trial in trials(own) {
        if !folder.join(&trial.package).is_file() {
            return Err(hint::error(
                format!("{} is not in {}", trial.package, folder.display()),
                "run `cargo xtask package` first",
            ));
        }
    }
    let base = clean_debian()?;
    for trial in trials(own) {
        let root = tempfile::Builder::new()
            .prefix("trial-")
            .tempdir_in(workspace::target())
            .context("making a folder for a clean Debian")?;
        let root = root.path().join("root");
        process::output(
            Command::new("cp")
                .args(["--archive", "--reflink=auto"])
                .arg(&base)
                .arg(&root),
        )?;
        try_out(&trial, &root, folder).with_context(|| format!("trying {}", trial.package))?;
        println!(
            "{}: installed, run and removed, and nothing is left",
            trial.package
        );
    }
    Ok(())
}

fn trials(architecture: Architecture) -> [Trial; 3] {
    let version = workspace::VERSION;
    let rust_name = architecture.rust_name();
    let deb = format!("kinject_{version}_{}.deb", architecture.kubernetes_name());
    let rpm = format!("kinject-{version}-1.{rust_name}.rpm");
    let tarball = format!("kinject-{version}-{rust_name}-linux.tar.gz");
    [
        Trial {
            install: format!("dpkg --install /{TRIAL_FOLDER}/{deb}"),
            remove: "dpkg --purge kinject",
            package: deb,
        },
        Trial {
            // rpm's database does not have Debian's packages, so it would find no glibc
            install: format!("rpm --force-debian --nodeps --install /{TRIAL_FOLDER}/{rpm}"),
            remove: "rpm --force-debian --erase kinject",
            package: rpm,
        },
        Trial {
            install: format!(
                "mkdir /usr/kinject && tar -xzf /{TRIAL_FOLDER}/{tarball} --strip-components=1 -C /usr/kinject && \
                              ln -s ../kinject/bin/kinject /usr/bin/kinject"
            ),
            remove: "rm -r /usr/kinject /usr/bin/kinject",
            package: tarball,
        },
    ]
}

/// The root folder of a clean system, of which each trial gets a copy; made once.
fn clean_debian() -> Result<PathBuf> {
    let base = workspace::target().join("trial/debian");
    let stamp = workspace::target().join("trial/debian-made-of");
    let wanted = format!("{SUITE} {PACKAGES}");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(base);
    }
    if base.exists() {
        fs::remove_dir_all(&base).with_context(|| format!("removing {}", base.display()))?;
    }
    fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
    println!("making a clean Debian in {}", base.display());
    process::output(
        Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
            .arg(&base),
    )
    .map_err(|error| hint::error(format!("{error:#}"), "install debootstrap (Debian: debootstrap)"))?;
    fs::write(&stamp, wanted).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(base)
}

fn try_out(trial: &Trial, root: &Path, folder: &Path) -> Result<()> {
    let place = root.join(TRIAL_FOLDER);
    fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    let package = folder.join(&trial.package);
    fs::copy(&package, place.join(&trial.package))
        .with_context(|| format!("copying {}", package.display()))?;
    // files that a package manager makes when it first runs are not the package's
    run_inside(root, "dpkg --configure -a; rpm --force-debian --query --all")?;
    let before = files(root)?;
    run_inside(root, &trial.install)?;
    run_inside(root, USE_SCRIPT)?;
    run_inside(root, trial.remove)?;
    run_inside(root, USER_SCRIPT)?;
    let after = files(root)?;
    let left: Vec<&String> = after.difference(&before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    if !left.is_empty() || !gone.is_empty() {
        bail!("left behind: {left:?}; missing: {gone:?}");
    }
    Ok(())
}

/// Runs a shell script in the clean system.
fn run_inside(root: &Path, script: &str) -> Result<String> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .arg(format!("--root={}", root.display()))
        .arg("--mount-proc=/proc")
        .args([
            "env",
            "--ignore-environment",
            "HOME=/root",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "sh",
            "-c",
            script,
        ]);
    process::output(&mut command)
}

/// The paths of all files except logs, caches and the databases of package managers.
fn files(root: &Path) -> Result<BTreeSet<String>> {
    let listed = process::output(Command::new("find").arg(root).args([
        "-xdev",
        "(",
        "-path",
        "*/var/log",
        "-o",
        "-path",
        "*/var/cache",
        "-o",
        "-path",
        "*/var/lib/rpm",
        "-o",
        "-path",
        "*/root/.rpmdb",
        ")",
        "-prune",
        "-o",
        "-printf",
        "%P\n",
    ]))?;
    Ok(listed.lines().map(str::to_owned).collect())
}
