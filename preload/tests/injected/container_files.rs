//! The workload's files: programs run bare in a mount namespace that has a folder at its path, read-only, and injected
//! with the folder below a shadow root. What they print has to be equal.

use crate::program::Program;
use crate::relay::Relay;
use kinject_test_support::skip;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A shadow root, made by hand as the relay makes it.
struct ShadowRoot(TempDir);

impl ShadowRoot {
    /// With a mirrored mount at /srv/config, as the kubelet writes a config map, and a scratch mount at /srv/cache.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("srv/config");
        fs::create_dir_all(config.join("..2026_1")).unwrap();
        fs::create_dir_all(config.join("sub")).unwrap();
        fs::create_dir_all(folder.path().join("srv/cache")).unwrap();
        fs::write(config.join("..2026_1/key"), "value\n").unwrap();
        fs::write(config.join("sub/file"), "another\n").unwrap();
        fs::write(config.join("binary"), b"\0\x01\xff").unwrap();
        symlink("..2026_1", config.join("..data")).unwrap();
        symlink("..data/key", config.join("key")).unwrap();
        symlink("nowhere", config.join("dangling")).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("srv/config")
    }

    /// Runs a shell's command in both, and compares what it prints.
    fn compare(&self, command: &str) -> String {
        let bare = self.container("start", &[], Some(command)).output();
        let injected = self.session_shell(command).output();
        assert_eq!(injected, bare, "{command}");
        injected
    }

    /// A shell's command in a session with this root.
    fn session_shell(&self, command: &str) -> Program {
        self.session("start", &[], Some(command))
    }

    /// The program, or the shell's command instead, in a session with this root; it runs in the root folder.
    fn session(&self, program: &str, args: &[&str], command: Option<&str>) -> Program {
        let paths = format!("{}:m/srv/config:s/srv/cache", self.path().display());
        let program = Program::with_socket(Path::new("/nonexistent/control"), program, args);
        as_root(or_shell(program.env("KINJECT_PATHS", paths), command), &[])
    }

    /// The same in a mount namespace that has the same folders at their paths.
    fn container(&self, program: &str, args: &[&str], command: Option<&str>) -> Program {
        const MOUNT: &str = "root=$1; shift; mount -t tmpfs none /srv && mkdir /srv/config /srv/cache \
             && mount --bind $root/srv/config /srv/config && mount -o remount,bind,ro /srv/config \
             && mount --bind $root/srv/cache /srv/cache && exec \"$@\"";
        let root = self.path();
        let program = or_shell(Program::bare(program, args), command);
        let mounted = program.under("sh", &["-c", MOUNT, "sh", root.to_str().unwrap()]);
        as_root(mounted, &["--mount"])
    }
}

/// Runs the shell's command, if there is one, which does not use the program.
fn or_shell(program: Program, command: Option<&str>) -> Program {
    match command {
        Some(command) => program.under("sh", &["-c", command]),
        None => program,
    }
}

/// Runs a program in the root folder, as root of a user namespace if these tests have another user.
fn as_root(program: Program, namespaces: &[&str]) -> Program {
    let program = program.under("env", &["--chdir=/"]);
    let mut args = namespaces.to_vec();
    if !rustix::process::geteuid().is_root() {
        args.extend(["--user", "--map-root-user"]);
    }
    match args.is_empty() {
        true => program,
        false => program.under("unshare", &args),
    }
}

fn is_installed(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()));
    if !found {
        skip::not_run(
            &format!("{program} with a workload's files"),
            "it is not installed",
        );
    }
    found
}

#[test]
fn every_call_that_takes_a_path_answers_as_in_a_read_only_mount() {
    let root = ShadowRoot::new();
    let args = ["/srv/config", "/srv/cache"];
    let bare = root.container("container_files", &args, None).output();
    let injected = root.session("container_files", &args, None).output();
    assert!(bare.lines().count() > 1500, "{bare}");
    let differences: Vec<_> = bare
        .lines()
        .zip(injected.lines())
        .filter(|(bare, injected)| bare != injected)
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(bare.lines().count(), injected.lines().count());
}

#[test]
fn tools_see_the_mounts_as_in_a_container() {
    let root = ShadowRoot::new();
    for command in [
        "ls -lR /srv/config",
        "ls -la /srv/config/ | tail -n +4",
        "find /srv/config -printf '%p %y %m %s %l\\n' | sort",
        "find /srv/config -follow -type f 2>/dev/null | sort",
        "tar -C / -cf - srv/config | tar -tvf -",
        "tar -cf - -C /srv/config . | tar -tvf - | sort",
        "cat /srv/config/key /srv//config/./sub/../key /srv/config/none 2>&1; true",
        "cd /srv/config && /bin/pwd && cat key ../config/key && realpath key .. . && readlink -f dangling; true",
        "cd /srv/config/sub && ls .. && cat ../../config/key && head -c 4 ../../../etc/passwd",
        "stat -c '%n %F %a %s %h' /srv/config /srv/config/key /srv/config/..data/",
        "touch /srv/config/key 2>&1; rm -rf /srv/config 2>&1; mkdir -p /srv/config /srv/config/a 2>&1; true",
        "cp -a /srv/config /srv/cache/copy && diff -r /srv/config /srv/cache/copy 2>&1; \
         rm -r /srv/cache/copy; ls /srv/cache",
        "test -w /srv/config/key; echo $?; test -w /srv/cache; echo $?; test -r /srv/config/key; echo $?",
        "mktemp -d /srv/config/XXXXXX 2>&1; du -s --apparent-size /srv/config/binary",
        "exec 3< /srv/config/key; readlink /proc/self/fd/3 /dev/fd/3; realpath /proc/self/fd/3 /dev/fd/3; \
         cat /proc/self/fd/3 /dev/fd/3",
        "grep -r value /srv/config | sort; sh /srv/config/key 2>&1; wc -c < /srv/config/key",
    ] {
        assert!(!root.compare(command).is_empty(), "{command}");
    }
}

#[test]
fn unix_socket_in_a_scratch_mount_is_bound_and_connected_to_as_in_a_container() {
    let root = ShadowRoot::new();
    let args = ["/srv/cache/socket"];
    let bare = root.container("unix_socket", &args, None).output();
    assert!(bare.contains("connect by its name: done"), "{bare}");
    assert_eq!(root.session("unix_socket", &args, None).output(), bare);
}

#[test]
fn git_works_in_a_scratch_mount() {
    if !is_installed("git") {
        return;
    }
    let root = ShadowRoot::new();
    let output = root.compare(
        "export HOME=/nonexistent GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b \
         GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'; \
         git init -q /srv/cache/repo && cd /srv/cache/repo && cp /srv/config/key . && git add -A \
         && git commit -qm one && git log --oneline && git rev-parse --show-toplevel && git status --short; \
         git clone -q /srv/cache/repo /srv/cache/clone && ls /srv/cache/clone; rm -rf /srv/cache/repo /srv/cache/clone",
    );
    assert!(output.contains("/srv/cache/repo"), "{output}");
}

#[test]
fn python_sees_the_mounts_as_in_a_container() {
    if !is_installed("python3") {
        return;
    }
    let root = ShadowRoot::new();
    let script = root.0.path().join("script.py");
    fs::write(&script, include_str!("container_files.py")).unwrap();
    let output = root.compare(&format!("python3 {}", script.display()));
    assert!(output.contains("walk /srv/config"), "{output}");
}

#[test]
fn node_sees_the_mounts_as_in_a_container() {
    if !is_installed("node") {
        return;
    }
    let root = ShadowRoot::new();
    let script = root.0.path().join("script.js");
    fs::write(&script, include_str!("container_files.js")).unwrap();
    let output = root.compare(&format!("node {}", script.display()));
    assert!(output.contains("realpath /srv/config/..2026_1/key"), "{output}");
}

#[test]
fn java_sees_the_mounts_as_in_a_container() {
    if !is_installed("java") {
        return;
    }
    let root = ShadowRoot::new();
    let script = root.0.path().join("ContainerFiles.java");
    fs::write(&script, include_str!("ContainerFiles.java")).unwrap();
    let output = root.compare(&format!("java {}", script.display()));
    assert!(output.contains("real /srv/config/..2026_1/key"), "{output}");
}

/// Go makes its system calls itself.
#[cfg(target_arch = "x86_64")]
#[test]
fn go_with_cgo_sees_the_mounts_as_in_a_container() {
    if !is_installed("go") {
        return;
    }
    let root = ShadowRoot::new();
    let (source, program) = (root.0.path().join("main.go"), root.0.path().join("program"));
    fs::write(&source, include_str!("container_files.go")).unwrap();
    let built = std::process::Command::new("go")
        .args(["build", "-o"])
        .args([&program, &source])
        .env("CGO_ENABLED", "1")
        .env("GOFLAGS", "-mod=mod")
        .status()
        .unwrap();
    assert!(built.success(), "the program does not compile");
    let output = root.compare(program.to_str().unwrap());
    assert!(output.contains("/srv/config/..2026_1/key <nil>"), "{output}");
}

/// As the kubelet updates a config map: one rename of `..data`.
#[test]
fn update_by_one_rename_is_seen_by_a_watch_of_the_original_path() {
    let root = ShadowRoot::new();
    let config = root.config();
    fs::create_dir(config.join("..2026_2")).unwrap();
    fs::write(config.join("..2026_2/key"), "second\n").unwrap();
    symlink("..2026_2", config.join("..data_tmp")).unwrap();
    // what writes to the shadow root is outside of the session
    let command = format!(
        "mkfifo /srv/cache/seen; tail -n +1 -F /srv/config/key > /srv/cache/seen 2>&1 & \
         while read -r line; do echo \"$line\"; case $line in \
         value) KINJECT_SOCKET= mv -T {0}/..data_tmp {0}/..data ;; second) kill $!; break ;; esac; done \
         < /srv/cache/seen; \
         rm /srv/cache/seen",
        config.display()
    );
    let output = root.session_shell(&command).output();
    assert!(
        output.starts_with("value\n") && output.ends_with("second\n"),
        "{output}"
    );
}

#[test]
fn local_glob_keeps_the_machines_file() {
    let root = ShadowRoot::new();
    let paths = format!("{}:m/etc:l/etc/passwd", root.path().display());
    fs::create_dir_all(root.0.path().join("etc")).unwrap();
    fs::write(root.0.path().join("etc/passwd"), "shadow\n").unwrap();
    fs::write(root.0.path().join("etc/group"), "shadow\n").unwrap();
    let program = Program::with_socket(Path::new("/nonexistent/control"), "start", &[]);
    let output = program
        .env("KINJECT_PATHS", paths)
        .under(
            "sh",
            &["-c", "head -c 4 /etc/passwd; cat /etc/group; cd /etc; cat group"],
        )
        .output();
    assert_eq!(output, "rootshadow\nshadow\n");
}

#[test]
fn program_of_a_mirrored_mount_is_refused_unless_the_session_allows_it() {
    use std::os::unix::fs::PermissionsExt;
    let root = ShadowRoot::new();
    let script = root.config().join("run.sh");
    fs::write(&script, "#!/bin/sh\necho ran $0\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let commands = "/srv/config/run.sh 2>&1; echo $?; cd /srv/config; ./run.sh 2>&1; echo $?; sh run.sh; \
        env ./run.sh 2>&1; echo $?; cp run.sh /srv/cache; /srv/cache/run.sh; rm /srv/cache/run.sh";
    let refused = root.session_shell(commands).output();
    let expected = [
        "/srv/config/run.sh: Permission denied",
        "126",
        "./run.sh: Permission denied",
        "126",
        "ran run.sh",
        "env: './run.sh': Permission denied",
        "126",
    ];
    // the shell's messages begin with its name
    let message = |line: &str| match line.split_once("start: 1: ") {
        Some((_, message)) => message.to_owned(),
        None => line.replace(['‘', '’'], "'"),
    };
    let lines: Vec<_> = refused.lines().map(message).collect();
    assert_eq!(lines[..lines.len() - 1], expected);
    assert!(lines.last().unwrap().starts_with("ran /"), "{refused}");
    let allowed = root
        .session_shell("/srv/config/run.sh")
        .env("KINJECT_REMOTE_EXEC", "1")
        .output();
    assert!(
        allowed.starts_with("ran /") && allowed.ends_with("/srv/config/run.sh\n"),
        "{allowed}"
    );
}

/// A library of this machine that no program of these tests loads.
pub(crate) fn library_of_libc() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let libc = paths.find(|path| path.ends_with("/libc.so.6")).unwrap();
    Path::new(libc).with_file_name("libanl.so.1")
}

#[test]
fn library_of_a_mirrored_mount_is_refused_unless_the_session_allows_it() {
    let root = ShadowRoot::new();
    fs::copy(library_of_libc(), root.config().join("library.so")).unwrap();
    fs::copy(
        root.config().join("library.so"),
        root.0.path().join("srv/cache/library.so"),
    )
    .unwrap();
    let open = |path: &str| root.session("open_library", &[path], None);
    let refused = "dlopen: cannot open\ndlmopen: cannot open\nprogram: opened\n";
    let opened = "dlopen: opened\ndlmopen: opened\nprogram: opened\n";
    assert_eq!(open("/srv/config/library.so").output(), refused);
    assert_eq!(open("/srv/cache/library.so").output(), opened);
    assert_eq!(open("/srv/config/none.so").output(), refused);
    let allowed = open("/srv/config/library.so").env("KINJECT_REMOTE_EXEC", "1");
    assert_eq!(allowed.output(), opened);
}

#[test]
fn host_name_is_the_pods_where_the_session_has_one() {
    let root = ShadowRoot::new();
    let output = root
        .session_shell("hostname; uname -n")
        .env("KINJECT_HOSTNAME", "web-0")
        .output();
    assert_eq!(output, "web-0\nweb-0\n");
}

#[test]
fn program_of_the_cluster_that_is_refused_is_told_to_the_user() {
    use std::os::unix::fs::PermissionsExt;
    let root = ShadowRoot::new();
    let script = root.config().join("run.sh");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let relay = Relay::start();
    let output = Program::injected(&relay, "start", &[])
        .env("KINJECT_PATHS", format!("{}:m/srv/config", root.path().display()))
        .under(
            "sh",
            &[
                "-c",
                "/srv/config/run.sh; cd /srv/config && ./..data/../run.sh; echo $?",
            ],
        )
        .output();
    assert_eq!(output, "126\n");
    let refusal = "refused Remote /srv/config/run.sh";
    assert_eq!(relay.requests(), [refusal, refusal]);
}
