//! Each package, installed into a clean Debian: kinject runs there, shells find its completions, man(1) its pages,
//! and after its removal nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kinject_bundle::Architecture;

use crate::{hint, process, rust_target, workspace};

/// The release of Debian, and what is installed besides its essential packages.
const SUITE: &str = "bookworm";
const PACKAGES: &str = "rpm";

/// Where the trial finds the packages, below the root of the clean system.
const PLACE: &str = "opt/trial";

/// Runs kinject, and a session of it with the agent that it carries, and looks for what is installed beside it.
const USE: &str = r#"
set -eu
kinject version
kinject version --output json >/dev/null
for name in kinject.1.gz kinject.fish _kinject; do find /usr/ -name "$name" | grep -q .; done
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
# what is the user's own, as the manual names it
rm -r image key kinject-agent ~/.cache /tmp/kinject-0
rm -f agent.sock
"#;

/// A way to install and to remove.
struct Way {
    package: String,
    install: String,
    remove: &'static str,
}

/// Tries the packages of this machine's architecture.
pub(super) fn run(folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(hint::error(
            "a clean Debian needs root to be made",
            "run it with sudo",
        ));
    }
    let own = rust_target::this_machine()?;
    for way in ways(own) {
        if !folder.join(&way.package).is_file() {
            return Err(hint::error(
                format!("{} is not in {}", way.package, folder.display()),
                "run `cargo xtask package` first",
            ));
        }
    }
    let base = clean_debian()?;
    for way in ways(own) {
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
        try_out(&way, &root, folder).with_context(|| format!("trying {}", way.package))?;
        println!("{}: installed, run and removed, and nothing is left", way.package);
    }
    Ok(())
}

fn ways(architecture: Architecture) -> [Way; 3] {
    let version = workspace::VERSION;
    let rust_name = architecture.rust_name();
    let deb = format!("kinject_{version}_{}.deb", architecture.kubernetes_name());
    let rpm = format!("kinject-{version}-1.{rust_name}.rpm");
    let tarball = format!("kinject-{version}-{rust_name}-linux.tar.gz");
    [
        Way {
            install: format!("dpkg --install /{PLACE}/{deb}"),
            remove: "dpkg --purge kinject",
            package: deb,
        },
        Way {
            // dependencies are looked for in rpm's own database, which knows nothing of Debian's packages
            install: format!("rpm --force-debian --nodeps --install /{PLACE}/{rpm}"),
            remove: "rpm --force-debian --erase kinject",
            package: rpm,
        },
        Way {
            install: format!(
                "mkdir /usr/kinject && tar -xzf /{PLACE}/{tarball} --strip-components=1 -C /usr/kinject && \
                              ln -s ../kinject/bin/kinject /usr/bin/kinject"
            ),
            remove: "rm -r /usr/kinject /usr/bin/kinject",
            package: tarball,
        },
    ]
}

/// A clean system to be copied.
fn clean_debian() -> Result<PathBuf> {
    let base = workspace::target().join("trial/debian");
    let stamp = workspace::target().join("trial/made");
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

fn try_out(way: &Way, root: &Path, folder: &Path) -> Result<()> {
    let place = root.join(PLACE);
    fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    let package = folder.join(&way.package);
    fs::copy(&package, place.join(&way.package)).with_context(|| format!("copying {}", package.display()))?;
    // what a package manager makes at its first use is none of the package's
    inside(root, "dpkg --configure -a; rpm --force-debian --query --all")?;
    let before = files(root)?;
    inside(root, &way.install)?;
    inside(root, USE)?;
    inside(root, way.remove)?;
    let after = files(root)?;
    let left: Vec<&String> = after.difference(&before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    if !left.is_empty() || !gone.is_empty() {
        bail!("left behind: {left:?}; missing: {gone:?}");
    }
    Ok(())
}

/// Runs a script of the shell in the clean system.
fn inside(root: &Path, script: &str) -> Result<String> {
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

/// The paths of all files but those in which package managers and caches note what was done.
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
