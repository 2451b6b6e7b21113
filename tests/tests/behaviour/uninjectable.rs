//! Programs that cannot be injected are named once before they run, and do not run with `--on-static fail`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use kinject_tests::binaries;
use kinject_tests::programs::{Program, c, go, installed, shell, static_c};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::testbed::shared_sandbox;

fn kinject(flags: &[&str], program: &Program) -> Outcome {
    run(&mut kinject_run(shared_sandbox(), flags, program))
}

/// The number of warnings about programs that cannot be injected in the outcome's standard error.
fn warnings(outcome: &Outcome) -> usize {
    outcome.stderr.matches("outside of the session").count()
}

#[test]
fn static_program_is_named_with_reason_and_advice() {
    let program = static_c("greeting").arg("hello");
    let outcome = kinject(&[], &program);
    outcome.succeeded().prints("hello\n");
    let expected = format!(
        "kinject: warning: {} runs outside of the session: it is statically linked; use a dynamically linked build of it\n",
        program.path.display()
    );
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn static_child_is_named_once_and_keeps_its_streams() {
    let program = static_c("greeting");
    let line = format!(
        "for i in 1 2 3; do {} $i 2>&1; done; env -i {} 4",
        program.path.display(),
        program.path.display()
    );
    let outcome = kinject(&[], &shell(&line));
    outcome.succeeded().prints("1\n2\n3\n4\n");
    assert_eq!(warnings(&outcome), 1, "{outcome}");
}

#[test]
fn on_static_fail_does_not_start_the_program_and_exits_126() {
    let program = static_c("greeting");
    let outcome = kinject(&["--on-static", "fail"], &program);
    outcome
        .exited(126)
        .prints("")
        .complains("is not started: it is statically linked");
    outcome.complains("\nhint: use a dynamically linked build of it\n");
    let child = shell(&format!("{}; echo $?", program.path.display()));
    let outcome = kinject(&["--on-static", "fail"], &child);
    outcome
        .succeeded()
        .prints("126\n")
        .complains("is not started: it is statically linked");
}

#[test]
fn on_static_ignore_or_quiet_prints_nothing() {
    let program = static_c("greeting").arg("hello");
    for flags in [&["--on-static", "ignore"][..], &["--quiet"]] {
        for program in [
            program.clone(),
            shell(&format!("{} hello", program.path.display())),
        ] {
            let outcome = kinject(flags, &program);
            outcome.succeeded().prints("hello\n");
            assert_eq!(outcome.stderr, "");
        }
    }
}

#[test]
fn script_with_a_static_interpreter_names_the_interpreter() {
    let files = tempfile::tempdir().unwrap();
    let script = files.path().join("script");
    let interpreter = static_c("greeting").path;
    fs::write(&script, format!("#!{} from-a-script\n", interpreter.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for program in [Program::new(&script), shell(&script.display().to_string())] {
        let outcome = kinject(&[], &program);
        outcome.succeeded().shows("from-a-script\n");
        outcome.complains(&format!("{} runs outside", interpreter.display()));
    }
}

/// In a root directory that has the system's folders and nothing of kinject's; none, and a note, without bwrap(1).
fn without_the_library(program: &str) -> Option<Program> {
    let mut bwrap = installed("bwrap")?.args(["--unshare-user", "--proc", "/proc", "--dev", "/dev"]);
    for folder in ["/usr", "/etc"] {
        bwrap = bwrap.args(["--ro-bind", folder, folder]);
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        bwrap = bwrap.args(["--symlink", &format!("usr/{link}"), &format!("/{link}")]);
    }
    Some(bwrap.args(["/bin/sh", "-c", program]))
}

#[test]
fn program_that_cannot_see_the_library_is_named_with_the_folder_to_bind() {
    let Some(program) = without_the_library("echo ran") else {
        return;
    };
    let outcome = kinject(&[], &program);
    let folder = binaries::folder();
    outcome.succeeded().prints("ran\n").complains(&format!(
        "kinject: warning: /bin/sh runs outside of the session: kinject's library is not to be seen where it runs; let it see the \
         library's folder, as `bwrap --ro-bind {0} {0}` does\n",
        folder.display()
    ));
    assert_eq!(warnings(&outcome), 1, "{outcome}");
    let outcome = kinject(&["--on-static", "fail"], &program);
    outcome
        .prints("")
        .complains("/bin/sh is not started: kinject's library is not to be seen");
    assert_ne!(outcome.code(), 0, "{outcome}");
    let outcome = kinject(&["--on-static", "ignore"], &program);
    outcome.succeeded().prints("ran\n");
    assert_eq!(warnings(&outcome), 0, "{outcome}");
}

#[test]
fn static_program_without_network_calls_is_not_named() {
    let outcome = kinject(&[], &static_c("quiet_static"));
    outcome.succeeded().prints("no network\n");
    assert_eq!(outcome.stderr, "");
    let outcome = kinject(&[], &c("greeting").arg("dynamic"));
    outcome.succeeded().prints("dynamic\n");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn busybox_is_named_and_runs() {
    let Some(busybox) = installed("busybox") else {
        return;
    };
    let outcome = kinject(&[], &busybox.args(["echo", "unharmed"]));
    outcome.succeeded().prints("unharmed\n");
    // Debian's is static, others' need not be
    assert!(warnings(&outcome) <= 1, "{outcome}");
}

/// How often a program of Go's is named that has cgo.
const LED: usize = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

#[test]
fn go_program_using_the_network_without_cgo_is_named() {
    let pie = &["-buildmode=pie"][..];
    for (source, cgo, flags, expected) in [
        ("net", "0", &[][..], 1),
        ("net", "0", pie, 1),
        ("net", "1", &[], LED),
        ("net", "1", pie, LED),
        #[cfg(target_arch = "x86_64")]
        ("net", "1", &["-ldflags=-s -w -buildid="], LED),
        ("plain", "0", &[], 0),
    ] {
        let Some(program) = go(source, &[("CGO_ENABLED", cgo)], flags) else {
            return;
        };
        for program in [program.clone(), shell(&program.path.display().to_string())] {
            let outcome = kinject(&[], &program);
            outcome.succeeded().prints("go\n");
            assert_eq!(warnings(&outcome), expected, "{outcome}");
            if expected > 0 {
                outcome
                    .complains("it is a Go program without cgo")
                    .complains("CGO_ENABLED=1");
            }
        }
    }
}

/// Where changed code cannot be made executable again, a Go program runs unchanged, and is named.
#[test]
#[cfg(target_arch = "x86_64")]
fn go_program_under_mdwe_is_named_and_runs() {
    let Some(program) = go("net", &[("CGO_ENABLED", "1")], &[]) else {
        return;
    };
    let under_mdwe = c("mdwe").arg(&program.path);
    let unchanged = run(&mut under_mdwe.command());
    if unchanged.code() == 77 {
        kinject_tests::skip::not_run("code that may not be changed", "this kernel has no PR_SET_MDWE");
        return;
    }
    unchanged.succeeded().prints("go\n");
    let outcome = kinject(&[], &under_mdwe);
    outcome
        .succeeded()
        .prints("go\n")
        .complains("the system lets no program change its code");
    assert_eq!(warnings(&outcome), 1, "{outcome}");
    let outcome = kinject(&["--on-static", "fail"], &under_mdwe);
    outcome.exited(127).prints("").complains("is not started");
    let outcome = kinject(&["--on-static", "ignore"], &under_mdwe);
    outcome.succeeded().prints("go\n");
    assert_eq!(warnings(&outcome), 0, "{outcome}");
}

#[test]
fn setuid_or_setgid_program_is_named() {
    if !rustix::process::geteuid().is_root() {
        kinject_tests::skip::not_run("setuid programs of another user", "making one needs root");
        return;
    }
    let copy = special_copy("setuid");
    chown(&copy, Some(12345), Some(12345)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let outcome = kinject(&[], &shell(&format!("{} -c 'echo ran'", copy.display())));
    outcome.succeeded().prints("ran\n").complains("it is setuid");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o2755)).unwrap();
    let outcome = kinject(&[], &Program::new(&copy).args(["-c", "echo ran"]));
    outcome.succeeded().prints("ran\n").complains("it is setgid");
    // in a process that gets no new rights, the bits mean nothing and the library is loaded
    let harmless = format!("setpriv --no-new-privs {} -c 'getent hosts web'", copy.display());
    let outcome = kinject(&[], &shell(&harmless));
    outcome.succeeded().shows("web.default.svc.cluster.local");
    assert_eq!(warnings(&outcome), 0, "{outcome}");
}

/// A copy of a shell, in a file system without `nosuid`.
fn special_copy(name: &str) -> PathBuf {
    let copy = binaries::folder().join("test-programs").join(name);
    kinject_test_support::program::copy(fs::canonicalize("/bin/sh").unwrap(), &copy);
    copy
}

#[test]
fn program_with_file_capabilities_is_named_for_users_who_gain_them() {
    if !rustix::process::geteuid().is_root() {
        return kinject_tests::skip::not_run("programs with capabilities", "giving them needs root");
    }
    let Some(setcap) = installed("setcap") else { return };
    let copy = special_copy("capable");
    let set = setcap.arg("cap_net_bind_service=ep").arg(&copy);
    run(&mut set.command()).succeeded();
    // root has all of them already, and the library is loaded
    let outcome = kinject(&[], &Program::new(&copy).args(["-c", "getent hosts web"]));
    outcome.succeeded().shows("web.default");
    assert_eq!(warnings(&outcome), 0, "{outcome}");
    // another user gets the message, here from the launcher, which then fails because there is no agent
    let kinject = binaries::kinject();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
        .arg(&kinject)
        .args([
            "run",
            "--on-static",
            "fail",
            "--agent",
            "unix:/nonexistent",
            "--agent-key",
            "/nonexistent",
            "--",
        ])
        .arg(&copy);
    if !is_open_to_all(&copy) {
        return kinject_tests::skip::not_run(
            "programs with capabilities, started by an ordinary user",
            "the build's folder is closed to others",
        );
    }
    run(&mut command)
        .exited(126)
        .complains("its file has capabilities");
}

/// Whether another user can get there.
fn is_open_to_all(path: &Path) -> bool {
    let mut folders = path.ancestors().skip(1);
    folders.all(|folder| fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0))
}
