//! Folders for sessions' files and for kinject itself: full, missing, shared, with spaces in the name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use kinject_test_support::private_folder::private_folder;
use kinject_tests::ordinary::{self, Agent};
use kinject_tests::programs::{Program, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::{kinject_run, kinject_shell};
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{binaries, skip};
use tempfile::TempDir;

/// Asks a service, and prints the path of the session's socket.
fn ask() -> Program {
    shell("echo $KINJECT_SOCKET; echo $LD_PRELOAD; exec curl -sS http://web/")
}

fn kinject() -> Command {
    kinject_run::<&str>(shared_sandbox(), &[], &ask())
}

fn private() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn in_runtime(folder: &Path) -> Outcome {
    run(kinject().env("XDG_RUNTIME_DIR", folder))
}

/// The command of `kinject`, among small file systems that `mounts` has made.
fn among(mounts: &str, command: &Command) -> Command {
    let mut all = Command::new("unshare");
    all.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        all.args(["--user", "--map-root-user"]);
    }
    all.args(["sh", "-c", &format!("{mounts} && exec \"$@\""), "among"])
        .arg(command.get_program())
        .args(command.get_args());
    all
}

#[test]
fn session_folder_is_created_in_xdg_runtime_dir() {
    let folder = private();
    let outcome = in_runtime(folder.path());
    outcome
        .succeeded()
        .shows("hello from web\n")
        .shows(&format!("{}/kinject/", folder.path().display()));
    let left = fs::read_dir(folder.path().join("kinject")).unwrap().count();
    assert_eq!(left, 0, "the session's own folder is gone");
}

#[test]
fn unusable_runtime_folder_is_skipped() {
    let folder = private();
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let spaces = folder.path().join("with some spaces");
    let colon = folder.path().join("with:colon");
    let long = folder.path().join("l".repeat(100));
    for usable_but_for_its_name in [&spaces, &colon, &long] {
        fs::create_dir(usable_but_for_its_name).unwrap();
        fs::set_permissions(usable_but_for_its_name, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let missing = folder.path().join("missing");
    for useless in [
        &shared,
        &spaces,
        &colon,
        &long,
        &file,
        &missing,
        Path::new("relative"),
        Path::new(""),
    ] {
        let outcome = in_runtime(useless);
        outcome.succeeded().shows("hello from web\n");
        let named = useless.to_str().unwrap();
        assert!(named.is_empty() || !outcome.stdout.contains(named), "{outcome}");
    }
    run(kinject().env_remove("XDG_RUNTIME_DIR"))
        .succeeded()
        .shows("hello from web\n");
}

#[test]
fn runtime_folder_without_free_inodes_is_skipped() {
    let folder = private();
    let mount = format!(
        "mount -t tmpfs -o mode=700,nr_inodes=1 none '{}'",
        folder.path().display()
    );
    let mut command = among(&mount, &kinject());
    let outcome = run(command.env("XDG_RUNTIME_DIR", folder.path()));
    outcome.succeeded().shows("hello from web\n");
    assert!(
        !outcome.stdout.contains(folder.path().to_str().unwrap()),
        "{outcome}"
    );
}

#[test]
fn session_in_a_full_runtime_folder_works() {
    let folder = private();
    let path = folder.path().display();
    let mount = format!(
        "mount -t tmpfs -o mode=700,size=4k none '{path}' && {{ yes >'{path}/full' 2>/dev/null || true; }}"
    );
    // a program that reads resolv.conf itself works, too
    let reads = shell("cat /etc/resolv.conf; exec curl -sS http://web/");
    let mut command = among(&mount, &kinject_run::<&str>(shared_sandbox(), &[], &reads));
    run(command.env("XDG_RUNTIME_DIR", folder.path()))
        .succeeded()
        .shows("nameserver 10.96.0.10\n")
        .shows("hello from web\n");
}

#[test]
fn resolv_conf_on_a_full_disk_is_private_and_removed_with_the_session() {
    let agent = Agent::start("nameserver 10.96.0.10\n");
    let folder = ordinary::folder();
    let path = folder.path().display();
    let owner = ordinary::user().map_or_else(String::new, |(user, group)| format!(",uid={user},gid={group}"));
    let mount = format!(
        "mount -t tmpfs -o mode=700,size=4k{owner} none '{path}' && {{ yes >'{path}/full' 2>/dev/null || true; }}"
    );
    let reads = shell("cat /etc/resolv.conf && readlink \"${KINJECT_SOCKET%/*}/resolv.conf\"");
    let mut command = among(&mount, &agent.kinject(&reads));
    let outcome = run(command.env("XDG_RUNTIME_DIR", folder.path()));
    outcome.succeeded();
    let elsewhere = outcome.stdout.strip_prefix("nameserver 10.96.0.10\n");
    let elsewhere = elsewhere.unwrap_or_else(|| panic!("{outcome}")).trim_end();
    assert!(elsewhere.starts_with("/dev/shm/"), "{outcome}");
    assert!(!Path::new(elsewhere).exists(), "{elsewhere} is left");
}

#[test]
fn shell_file_in_a_full_runtime_folder_is_an_error() {
    let folder = private();
    let path = folder.path().display();
    let mount = format!(
        "mount -t tmpfs -o mode=700,size=4k none '{path}' && {{ yes >'{path}/full' 2>/dev/null || true; }}"
    );
    let mut command = among(&mount, &kinject_shell(shared_sandbox()));
    let outcome = run(command
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("SHELL", "/bin/bash"));
    outcome
        .exited(125)
        .complains("No space left on device")
        .complains("\n\nhint: check that the disk is not full");
}

#[test]
fn no_usable_session_folder_is_an_error() {
    let folder = private();
    // kinject itself may be installed below /tmp and has to stay visible there
    let mounts = format!(
        "mount --rbind /tmp /tmp && mount -o remount,bind,ro,nosuid,nodev /tmp && \
         mount -t tmpfs -o nr_inodes=1 none /dev/shm && mount -t tmpfs -o mode=700,nr_inodes=1 none '{}'",
        folder.path().display()
    );
    let key = binaries::folder().join("test-programs/key");
    fs::create_dir_all(key.parent().unwrap()).unwrap();
    fs::write(&key, [b'k'; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut direct = kinject_tests::apart::kinject();
    direct
        .args(["run", "--agent", "unix:/no/such/agent", "--agent-key"])
        .arg(&key)
        .args(["--", "true"]);
    let mut command = among(&mounts, &direct);
    let outcome = run(command
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .env_remove("TMPDIR"));
    outcome
        .exited(125)
        .complains("cannot make a folder for the session")
        .complains("No space left on device")
        .complains("Read-only file system");
    outcome.complains("\n\nhint: free some space");
}

#[test]
fn folder_writable_by_others_is_not_used() {
    let folder = private();
    let taken = folder.path().join("kinject");
    fs::create_dir(&taken).unwrap();
    fs::set_permissions(&taken, fs::Permissions::from_mode(0o777)).unwrap();
    let outcome = in_runtime(folder.path());
    outcome.succeeded().shows("hello from web\n");
    assert!(!outcome.stdout.contains(taken.to_str().unwrap()), "{outcome}");
}

/// A folder for temporary files that all users share, as /tmp.
fn shared() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    folder
}

fn in_temporary(folder: &Path) -> Outcome {
    run(kinject().env_remove("XDG_RUNTIME_DIR").env("TMPDIR", folder))
}

fn own_folder(around: &Path) -> std::path::PathBuf {
    around.join(format!("kinject-{}", rustix::process::geteuid().as_raw()))
}

/// The folder of the session whose socket was printed first.
fn session_folder(outcome: &Outcome) -> std::path::PathBuf {
    let socket = Path::new(outcome.stdout.lines().next().unwrap());
    socket.parent().unwrap().to_owned()
}

#[test]
fn path_of_an_ended_session_stays_owned_by_its_user() {
    let temporary = shared();
    let outcome = in_temporary(temporary.path());
    outcome.succeeded().shows("hello from web\n");
    let (session, own) = (session_folder(&outcome), own_folder(temporary.path()));
    assert_eq!(session.parent(), Some(own.as_path()));
    assert!(!session.exists());
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("tests with another user", "they need root");
    }
    for attack in [
        "mkdir -p \"$0\"",
        "mv \"${0%/*}\" \"${0%/*}.old\"",
        "rm -r \"${0%/*}\"",
    ] {
        let mut another = Command::new("setpriv");
        another.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "sh",
            "-c",
            attack,
        ]);
        assert_ne!(run(another.arg(&session)).code(), 0, "{attack}");
    }
    in_temporary(temporary.path())
        .succeeded()
        .shows("hello from web\n");
}

#[test]
fn users_temporary_folder_that_is_not_private_is_skipped() {
    type Takeover = fn(&Path);
    let takeovers: [Takeover; 4] = [
        |path| fs::write(path, "").unwrap(),
        |path| std::os::unix::fs::symlink("/tmp", path).unwrap(),
        |path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        },
        |path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
            // without CAP_CHOWN it stays a folder of the user's
            if std::os::unix::fs::chown(path, Some(65534), None).is_err() {
                fs::remove_dir(path).unwrap();
                fs::write(path, "").unwrap();
            }
        },
    ];
    for take_over in takeovers {
        let temporary = shared();
        take_over(&own_folder(temporary.path()));
        let outcome = in_temporary(temporary.path());
        outcome.succeeded().shows("hello from web\n");
        assert!(
            !session_folder(&outcome).starts_with(temporary.path()),
            "{outcome}"
        );
    }
}

#[test]
fn temporary_folder_without_sticky_bit_is_skipped() {
    let temporary = shared();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let outcome = in_temporary(temporary.path());
    outcome.succeeded().shows("hello from web\n");
    assert!(
        !session_folder(&outcome).starts_with(temporary.path()),
        "{outcome}"
    );
}

/// kinject in a folder of that name, with these of its files.
fn installed_in(name: &str, files: &[&str]) -> (TempDir, std::path::PathBuf) {
    // in the target folder, so that links will do
    let folder = tempfile::tempdir_in(binaries::folder()).unwrap();
    let home = folder.path().join(name);
    fs::create_dir(&home).unwrap();
    for file in files {
        fs::hard_link(binaries::path(file), home.join(file)).unwrap();
    }
    let kinject = home.join("kinject");
    (folder, kinject)
}

fn installed(kinject: &Path) -> Command {
    let program = ask();
    let mut command = kinject_tests::apart::command(kinject);
    command
        .arg("run")
        .args(shared_sandbox().flags())
        .arg("--")
        .arg(&program.path)
        .args(&program.arguments);
    command
}

fn installed_asks(kinject: &Path) -> Outcome {
    run(&mut installed(kinject))
}

#[test]
fn kinject_runs_from_a_folder_with_any_name() {
    let files = ["kinject", "kinject-relay", "libkinject_preload.so"];
    for name in ["with some spaces", "with:colon", "with$dollar", "plain"] {
        let (_folder, kinject) = installed_in(name, &files);
        let outcome = installed_asks(&kinject);
        outcome.succeeded().shows("hello from web\n");
        assert!(outcome.stderr.is_empty(), "{outcome}");
    }
}

/// Programs load the library at each exec, also when the session is over.
#[test]
fn library_is_never_loaded_from_session_or_temporary_folders() {
    let files = ["kinject", "kinject-relay", "libkinject_preload.so"];
    let (_folder, kinject) = installed_in("with some spaces", &files);
    // a clone may lie among temporary files, but the user's home does not
    let real_home = std::env::var_os("HOME").expect("the user has a home");
    let folder = tempfile::tempdir_in(real_home).unwrap();
    let home = folder.path().canonicalize().unwrap();
    let mut command = installed(&kinject);
    let outcome = run(command
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("XDG_CACHE_HOME")
        .env("HOME", &home));
    outcome.succeeded().shows("hello from web\n");
    let preloaded = Path::new(outcome.stdout.lines().nth(1).unwrap());
    assert_eq!(
        preloaded.parent(),
        Some(home.join(".cache/kinject").as_path()),
        "{outcome}"
    );
    let library = kinject.with_file_name("libkinject_preload.so");
    assert_eq!(fs::read_link(preloaded).unwrap(), library);

    // a symbolic link that another user may replace is not followed to a library
    let temporary = shared();
    let link = temporary.path().join("cache");
    std::os::unix::fs::symlink(home.join(".cache"), &link).unwrap();
    let mut command = installed(&kinject);
    let outcome = run(command.env_remove("XDG_RUNTIME_DIR").env("XDG_CACHE_HOME", &link));
    let preloaded = Path::new(outcome.succeeded().stdout.lines().nth(1).unwrap());
    assert_eq!(
        preloaded.parent(),
        Some(home.join(".cache/kinject").as_path()),
        "{outcome}"
    );

    // a cleaner may remove this folder, and any user may create it again
    let temporary = shared();
    let mut command = installed(&kinject);
    run(command
        .env_remove("XDG_RUNTIME_DIR")
        .env("XDG_CACHE_HOME", temporary.path()))
    .exited(125)
    .complains("LD_PRELOAD cannot name")
    .complains(&format!("others may write to {}", temporary.path().display()))
    .complains("\n\nhint: install kinject in a folder without spaces");
}

/// An account of Debian's that has a private group, as its users have.
const ACCOUNT: &str = "daemon";

/// As with a umask of 002. The link to the library shows which folder is used.
#[test]
fn cache_that_the_users_private_group_can_write_to_is_used() {
    let group = Command::new("getent").args(["group", ACCOUNT]).output().unwrap();
    let entry = String::from_utf8(group.stdout).unwrap();
    let ids: Vec<&str> = entry.trim_end().split(':').collect();
    let [ACCOUNT, _, id, ""] = ids[..] else {
        return skip::not_run(
            "a user's private group",
            "there is no account daemon that has one",
        );
    };
    let id: u32 = id.parse().unwrap();
    if !rustix::process::geteuid().is_root() {
        return skip::not_run("a user's private group", "becoming another user needs root");
    }
    let files = ["kinject", "kinject-relay", "libkinject_preload.so"];
    let (folder, kinject) = installed_in("with some spaces", &files);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = private_folder(&binaries::folder());
    let cache = home.path().join(".cache");
    fs::create_dir(&cache).unwrap();
    let key = home.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    for (path, mode) in [(home.path(), 0o775), (&cache, 0o775), (&key, 0o600)] {
        chown(path, Some(id), Some(id)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let asked = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", ACCOUNT, "--regid", ACCOUNT, "--clear-groups"])
            .arg(&kinject)
            .args(["run", "--agent", "unix:/no/such/agent", "--agent-key"])
            .arg(&key)
            .args(["--", "true"])
            .env("HOME", home.path())
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_RUNTIME_DIR");
        run(&mut command)
    };
    // it has the library before it finds no agent
    asked().exited(125).complains("cannot reach the agent");
    assert_eq!(fs::read_dir(cache.join("kinject")).unwrap().count(), 1);
    chown(&cache, None, Some(id + 1)).unwrap();
    asked()
        .exited(125)
        .complains(&format!("others may write to {}", cache.display()));
}

#[test]
fn missing_relay_or_library_is_reported() {
    let (_folder, kinject) = installed_in("without-relay", &["kinject", "libkinject_preload.so"]);
    installed_asks(&kinject)
        .exited(125)
        .complains("kinject-relay is missing")
        .complains("\n\nhint: install kinject again");
    let (_folder, kinject) = installed_in("without-library", &["kinject", "kinject-relay"]);
    installed_asks(&kinject)
        .exited(125)
        .complains("libkinject_preload.so is missing")
        .complains("\n\nhint: ");
}

#[test]
fn program_path_and_argument_with_spaces_are_kept() {
    let folder = private();
    let script = folder.path().join("a script with spaces");
    fs::write(&script, "#!/bin/sh\necho \"$#: $1\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program::new(&script).arg("one argument with spaces");
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], &program))
        .succeeded()
        .prints("1: one argument with spaces\n");
}

#[test]
fn program_runs_in_a_deleted_working_folder() {
    let folder = private();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let command = kinject();
    let line = "cd \"$0\" && rmdir \"$0\" && exec \"$@\"";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .arg(&gone)
        .arg(command.get_program())
        .args(command.get_args());
    run(&mut shell).succeeded().shows("hello from web\n");
}
