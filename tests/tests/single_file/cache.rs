//! Where the executable unpacks the library.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kinject_tests::ordinary;
use kinject_tests::running::run;

use crate::home::{Home, library};

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
fn full_noexec_or_read_only_cache_gives_way_to_another_folder() {
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
fn root_with_another_users_home_uses_the_system_cache() {
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
fn error_names_each_folder_that_cannot_hold_the_library() {
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
fn cache_whose_path_ld_preload_cannot_name_gives_way_to_another() {
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
