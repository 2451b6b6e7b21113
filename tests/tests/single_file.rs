//! The one executable that holds launcher, relay and library: it needs nothing beside it, and unpacks the library where
//! nobody else can alter it.
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use kinject_test_support::private_folder::private_folder;
use kinject_tests::running::{Outcome, run};
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries, ordinary, skip};
use serde_json::Value;
use tempfile::TempDir;

/// The library, as programs of the session see it, then the session's relay, then what a service says.
const ASK: &str = "echo $LD_PRELOAD; pgrep -P $PPID -l kinject; exec curl -sS http://web/";

/// A user's folders, and the executable in a folder with nothing else.
struct Home {
    folder: TempDir,
    kinject: PathBuf,
}

impl Home {
    /// None where the executable is not built.
    fn new() -> Option<Self> {
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

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn command(&self) -> Command {
        let mut command = apart::command(&self.kinject);
        command
            .arg("run")
            .args(shared_sandbox().flags())
            .args(["--", "sh", "-c", ASK]);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"));
    }

    /// The same after these commands of a shell, in a mount namespace of its own.
    fn command_after(&self, mounts: &str) -> Command {
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
fn library(outcome: &Outcome) -> PathBuf {
    let lines = outcome.succeeded().shows("hello from web\n").stdout.lines();
    PathBuf::from(lines.map(str::to_owned).next().unwrap())
}

#[test]
fn single_file_needs_nothing_beside_it() {
    let Some(home) = Home::new() else { return };
    let outcome = run(&mut home.command());
    let library = library(&outcome);
    outcome.shows(" kinject-relay\n");
    assert!(outcome.stderr.is_empty(), "{outcome}");
    assert!(library.starts_with(home.path("cache/kinject")), "{outcome}");
    let beside: Vec<_> = fs::read_dir(home.path("bin")).unwrap().collect();
    assert_eq!(beside.len(), 1);
}

#[test]
fn library_is_unpacked_once_into_a_folder_that_is_the_users_alone() {
    let Some(home) = Home::new() else { return };
    let unpacked = library(&run(&mut home.command()));
    let first = fs::metadata(&unpacked).unwrap();
    assert_eq!(first.mode() & 0o777, 0o400);
    for folder in unpacked.ancestors().skip(1).take(2) {
        assert_eq!(
            fs::metadata(folder).unwrap().mode() & 0o777,
            0o700,
            "{}",
            folder.display()
        );
    }
    assert_eq!(library(&run(&mut home.command())), unpacked);
    assert_eq!(fs::metadata(&unpacked).unwrap().ino(), first.ino());
}

#[test]
fn library_that_was_altered_or_left_unfinished_is_replaced() {
    let Some(home) = Home::new() else { return };
    let unpacked = library(&run(&mut home.command()));
    let whole = fs::read(&unpacked).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    let unfinished = PathBuf::from(format!("{}.0123456789abcdef", unpacked.display()));
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for content in [&altered[..], &whole[..whole.len() / 2], b""] {
        fs::remove_file(&unpacked).unwrap();
        fs::write(&unpacked, content).unwrap();
        fs::write(&unfinished, content).unwrap();
        let left = fs::File::options().write(true).open(&unfinished).unwrap();
        left.set_modified(long_ago).unwrap();
        assert_eq!(library(&run(&mut home.command())), unpacked);
        assert_eq!(fs::read(&unpacked).unwrap(), whole);
        assert!(!unfinished.exists());
    }
}

#[test]
fn cache_on_a_file_system_that_does_not_serve_gives_way_to_another_folder() {
    let Some(home) = Home::new() else { return };
    let cache = home.path("cache").display().to_string();
    let faults = [
        (
            "full",
            format!("mount -t tmpfs -o mode=700,size=64k none '{cache}'"),
        ),
        (
            "without inodes",
            format!("mount -t tmpfs -o mode=700,nr_inodes=1 none '{cache}'"),
        ),
        (
            "noexec",
            format!("mount -t tmpfs -o mode=700,noexec none '{cache}'"),
        ),
        (
            "read-only",
            format!("mount -t tmpfs -o mode=700,ro none '{cache}'"),
        ),
    ];
    for (fault, mounts) in faults {
        let outcome = run(&mut home.command_after(&mounts));
        assert!(
            library(&outcome).starts_with(home.path("home/.cache/kinject")),
            "{fault}: {outcome}"
        );
        assert!(outcome.stderr.is_empty(), "{fault}: {outcome}");
    }
}

#[test]
fn cache_that_others_can_write_to_gives_way_to_another_folder() {
    let Some(home) = Home::new() else { return };
    let (cache, own) = (home.path("cache"), home.path("cache/kinject"));
    fs::create_dir(&own).unwrap();
    let gives_way = |fault: &str| {
        let outcome = run(&mut home.command());
        assert!(
            library(&outcome).starts_with(home.path("home/.cache/kinject")),
            "{fault}: {outcome}"
        );
    };
    fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
    gives_way("kinject's folder is open to all");
    fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
    for mode in [0o777, 0o1777, 0o770] {
        fs::set_permissions(&cache, Permissions::from_mode(mode)).unwrap();
        gives_way(&format!("the folder around it has mode {mode:o}"));
    }
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
    if let Some((user, group)) = ordinary::user() {
        chown(&own, Some(user), Some(group)).unwrap();
        gives_way("kinject's folder is another user's");
        chown(&cache, Some(user), Some(group)).unwrap();
        gives_way("the folder around it is another user's");
    }
}

/// As with `sudo --preserve-env`, or in a service.
#[test]
fn root_without_a_home_of_its_own_has_the_library_in_the_systems_cache() {
    let (Some(home), Some((user, group))) = (Home::new(), ordinary::user()) else {
        return;
    };
    for folder in ["home", "home/.cache", "runtime"] {
        chown(home.path(folder), Some(user), Some(group)).unwrap();
    }
    let mut command = home.command_after("mount -t tmpfs -o mode=755 none /var/cache");
    let outcome = run(command.env_remove("XDG_CACHE_HOME"));
    assert!(library(&outcome).starts_with("/var/cache/kinject"), "{outcome}");
    fs::remove_dir(home.path("home/.cache")).unwrap();
    let mut command = home.command_after("mount -t tmpfs -o mode=755 none /var/cache");
    let outcome = run(command.env_remove("XDG_CACHE_HOME"));
    assert!(library(&outcome).starts_with("/var/cache/kinject"), "{outcome}");
    let made: Vec<_> = fs::read_dir(home.path("home")).unwrap().collect();
    assert_eq!(made.len(), 0, "nothing of root's in the home of another user");
    let mut command = home.command_after("mount -t tmpfs -o mode=755 none /var/cache");
    let outcome = run(command
        .env_remove("XDG_CACHE_HOME")
        .env_remove("HOME")
        .env_remove("XDG_RUNTIME_DIR"));
    assert!(library(&outcome).starts_with("/var/cache/kinject"), "{outcome}");
}

#[test]
fn each_folder_that_does_not_serve_is_named_where_none_does() {
    let Some(home) = Home::new() else { return };
    let path = |name: &str| home.path(name).display().to_string();
    let mounts = format!(
        "mount -t tmpfs -o mode=700,size=64k none '{}' && mount -t tmpfs -o mode=700,noexec none '{}' && \
         mount -t tmpfs -o mode=700,ro none '{}' && mount -t tmpfs -o mode=755,ro none /var/cache",
        path("cache"),
        path("home/.cache"),
        path("runtime")
    );
    run(&mut home.command_after(&mounts))
        .exited(125)
        .complains("kinject: error: cannot unpack the library")
        .complains(&format!("{}/kinject: No space left on device", path("cache")))
        .complains(&format!(
            "{}/kinject: nothing there may be executed",
            path("home/.cache")
        ))
        .complains(&format!("{}/kinject: Read-only file system", path("runtime")))
        .complains("\n\nhint: free some space, or set XDG_CACHE_HOME to a folder of yours");
    let open = format!("{mounts} && mount -t tmpfs -o mode=775 none /var/cache");
    run(&mut home.command_after(&open))
        .exited(125)
        .complains("/var/cache/kinject: others may write to /var/cache")
        .complains("\n\nhint: run `chmod go-w /var/cache`, or set XDG_CACHE_HOME");
}

#[test]
fn folder_whose_path_ld_preload_cannot_name_gives_way_to_another() {
    let Some(home) = Home::new() else { return };
    for name in ["with some spaces", "with:colon", "with$dollar"] {
        let cache = home.path(name);
        fs::create_dir(&cache).unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
        let outcome = run(home.command().env("XDG_CACHE_HOME", &cache));
        assert!(
            library(&outcome).starts_with(home.path("home/.cache/kinject")),
            "{outcome}"
        );
    }
}

/// As where kinject is updated between the launcher's start and that of its relay.
#[test]
fn relay_is_of_the_launchers_own_file_even_where_that_is_gone_from_its_path() {
    let Some(home) = Home::new() else { return };
    let replace =
        r#"exec 9<"$0" && rm "$0" && echo 'exit 99' >"$0" && chmod +x "$0" && exec /proc/self/fd/9 "$@""#;
    let mut command = apart::command("sh");
    command
        .args(["-c", replace])
        .arg(&home.kinject)
        .arg("run")
        .args(shared_sandbox().flags())
        .args(["--", "sh", "-c", ASK]);
    home.surround(&mut command);
    run(&mut command)
        .succeeded()
        .shows(" kinject-relay\n")
        .shows("hello from web\n");
}

#[test]
fn version_as_json_names_the_parts_that_the_file_holds() {
    let Some(home) = Home::new() else { return };
    let unpacked = library(&run(&mut home.command()));
    let outcome = run(Command::new(&home.kinject).args(["version", "--output", "json"]));
    let version: Value = serde_json::from_str(&outcome.succeeded().stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["wire"], kinject_tunnel::WIRE_VERSION);
    assert_eq!(
        version["kinject"]["path"],
        home.path("bin/kinject").to_str().unwrap()
    );
    assert_eq!(
        version["kinject"]["size"],
        fs::metadata(&home.kinject).unwrap().len()
    );
    assert_eq!(version["relay"]["sha256"], version["kinject"]["sha256"]);
    assert_eq!(version["relay"]["version"], version["version"]);
    let libraries = version["libraries"].as_array().unwrap();
    let glibcs: Vec<_> = libraries.iter().map(|library| &library["glibc"]).collect();
    assert_eq!(glibcs, ["2.34", "2.17"]);
    let hash = unpacked
        .parent()
        .and_then(Path::file_name)
        .unwrap()
        .to_str()
        .unwrap();
    let used = libraries
        .iter()
        .find(|library| library["sha256"] == hash)
        .unwrap();
    assert_eq!(used["size"], fs::metadata(&unpacked).unwrap().len());
    assert!(used["path"].is_null());
    assert_ne!(libraries[0]["sha256"], libraries[1]["sha256"]);
    let agents = version["agents"].as_array().unwrap();
    let architectures: Vec<_> = agents.iter().map(|agent| &agent["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);
}

#[test]
fn agents_in_the_file_are_saved_as_images_and_shown_in_the_manifest() {
    let Some(home) = Home::new() else { return };
    let kinject = |arguments: &[&str]| run(Command::new(&home.kinject).args(arguments));
    let outcome = kinject(&["version", "--output", "json"]);
    let version: Value = serde_json::from_str(&outcome.succeeded().stdout).unwrap();
    let image = home.path("agent.tar");
    for agent in version["agents"].as_array().unwrap() {
        let architecture = agent["architecture"].as_str().unwrap();
        let (file, name) = (image.to_str().unwrap(), ["--architecture", architecture]);
        kinject(&[&["agent", "image", "save", file][..], &name[..]].concat()).succeeded();
        let hash = r#"tar -xOf "$0" "$(tar -tf "$0" | grep '[.]tar$')" | tar -xO kinject-agent | sha256sum"#;
        let outcome = run(Command::new("sh").args(["-c", hash]).arg(&image));
        outcome.succeeded().shows(agent["sha256"].as_str().unwrap());
    }
    let manifest = kinject(&["agent", "manifest", "--host-image", "busybox:1"]);
    manifest
        .succeeded()
        .shows("kind: ConfigMap\n")
        .shows("image: busybox:1\n");
}

/// As in a sandbox of the user's: what root owns outside seems to be of a user without a name inside.
#[test]
fn library_is_unpacked_in_a_user_namespace_that_does_not_map_root() {
    let Some(home) = Home::new() else { return };
    let Some((user, group)) = ordinary::user() else {
        return;
    };
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .args(["--clear-groups", "unshare", "--user", "--map-user=1000"])
        .arg(&home.kinject)
        .args(["run", "--agent"])
        .arg(format!("unix:{}", home.path("runtime/none").display()))
        .arg("--agent-key")
        .arg(home.path("key"))
        .args(["--", "true"]);
    fs::write(home.path("key"), [7; 32]).unwrap();
    fs::set_permissions(home.path("key"), Permissions::from_mode(0o600)).unwrap();
    for name in ["", "bin", "cache", "home", "home/.cache", "runtime", "key"] {
        chown(home.path(name), Some(user), Some(group)).unwrap();
    }
    home.surround(&mut command);
    // it has the library before it finds no agent
    run(&mut command).exited(125).complains("cannot reach the agent");
    let unpacked: Vec<_> = fs::read_dir(home.path("cache/kinject")).unwrap().collect();
    assert_eq!(unpacked.len(), 1);
}
