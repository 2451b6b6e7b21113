//! Processes in a session: many, unusual ones, and what the relay keeps of them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use kinject_tests::programs::{Program, c, interpreter, shell};
use kinject_tests::running::{Outcome, run, run_within};
use kinject_tests::session::{Session, eventually, kinject_run};
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries, ordinary, process, skip};

const ANSWER: &str = "10.96.10.1      web.default.svc.cluster.local\n";

fn kinject(program: &Program) -> Outcome {
    run(&mut kinject_run::<&str>(shared_sandbox(), &[], program))
}

fn inline(script: &str) -> Program {
    Program::new(interpreter()).args(["-SEc", script])
}

/// Each connects to the greeting service and says what it got.
const GREETED: &str = "exec 3<>/dev/tcp/echo/7005 && read -r line <&3 && echo $line";

/// Relay and programs are in the same network namespace, whichever that is.
#[test]
fn session_started_in_a_network_namespace_serves_programs_there() {
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &shell("getent hosts web"));
    let mut apart = Command::new("unshare");
    apart.args(["--user", "--map-root-user", "--net"]);
    apart.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "apart"]);
    apart.arg(kinject.get_program()).args(kinject.get_args());
    run(&mut apart).succeeded().prints(ANSWER);
}

#[test]
fn a_thousand_processes_leave_nothing_behind_in_the_relay() {
    if !kinject_tests::ordinary::may_look_into_relays() {
        return;
    }
    let session = Session::start::<&str>(shared_sandbox(), &[]);
    let relay = session.relay();
    let in_shells = |count: usize| {
        let line = format!("for i in $(seq {count}); do bash -c '{GREETED}'; done | sort | uniq -c");
        let outcome = run_within(
            session.command("bash").args(["-c", &line]),
            Duration::from_secs(100),
        );
        assert_eq!(
            outcome.succeeded().stdout.trim(),
            format!("{count} welcome"),
            "{outcome}"
        );
    };
    // the relay keeps what it allocates once
    in_shells(50);
    let settled = |what: &str, limit: usize| {
        eventually(what, Duration::from_secs(20), || {
            process::descriptors(relay).len() <= limit
        });
    };
    settled("an idle relay", 40);
    let (descriptors, memory) = (process::descriptors(relay).len(), process::resident(relay));
    let files = fs::read_dir(session.folder()).unwrap().count();
    in_shells(1000);
    settled("descriptors as before", descriptors);
    let grown = process::resident(relay).saturating_sub(memory);
    assert!(grown < 2 << 20, "the relay grew by {grown} bytes");
    assert_eq!(fs::read_dir(session.folder()).unwrap().count(), files);
    assert_eq!(session.end(), 0);
}

#[test]
fn concurrent_processes_of_a_pipeline_all_connect() {
    let each = format!("( {GREETED} ; cat )");
    let line = vec![each; 40].join(" | ");
    let outcome = kinject(&Program::new("bash").args(["-c", &line]));
    assert_eq!(outcome.succeeded().stdout, "welcome\n".repeat(40));
}

#[test]
fn shell_started_by_libc_after_clearenv_stays_in_the_session() {
    for way in ["cleared-system", "cleared-popen"] {
        let program = c("escapes").args([way, "/usr/bin/getent", "hosts", "web"]);
        kinject(&program).succeeded().prints(ANSWER);
    }
}

#[test]
fn program_that_calls_close_range_still_connects() {
    let program = c("escapes").args(["close_range", "/usr/bin/getent", "hosts", "web"]);
    kinject(&program).succeeded().prints(ANSWER);
}

#[test]
fn program_that_sets_ld_preload_stays_in_the_session() {
    kinject(&shell("LD_PRELOAD=libm.so.6 getent hosts web"))
        .succeeded()
        .prints(ANSWER);
    kinject(&shell("LD_PRELOAD= getent hosts web"))
        .succeeded()
        .prints(ANSWER);
    let script =
        "import os\nos.environ['LD_PRELOAD'] = 'libm.so.6'\nos.execvp('getent', ['getent', 'hosts', 'web'])";
    kinject(&inline(script)).succeeded().prints(ANSWER);
}

#[test]
fn script_that_cleans_the_environment_stays_in_the_session() {
    let clean = "env -i PATH=/usr/bin:/bin HOME=/ TERM=dumb sh -c";
    kinject(&shell(&format!("{clean} 'exec setsid -w getent hosts web'")))
        .succeeded()
        .prints(ANSWER);
    kinject(&shell(&format!(
        "cd / && {clean} '{clean} \"nice getent hosts web\"'"
    )))
    .succeeded()
    .prints(ANSWER);
}

/// The relay answers its own user alone: a program that becomes another user reaches nothing, not even the local
/// network.
#[test]
fn program_that_becomes_another_user_gets_enetunreach() {
    if !rustix::process::geteuid().is_root() {
        skip::not_run("programs that become another user", "it needs root");
        return;
    }
    let script = "import os, socket, encodings.idna\nos.setgid(12345); os.setuid(12345)\n\
        for call in (lambda: socket.create_connection(('10.96.10.3', 7005), 5), lambda: socket.gethostbyname('web')):\n  \
        try: print(call())\n  except OSError as e: print(type(e).__name__, e.errno)";
    kinject(&inline(script))
        .succeeded()
        .prints("OSError 101\ngaierror -3\n")
        .complains("kinject: warning: a process of user 12345 was refused: ")
        .complains("\n\nhint: if it is a program of this session, start kinject as user 12345\n");
}

/// As a library that is unpacked in a home of mode 0700.
#[test]
fn program_of_another_user_that_cannot_open_the_library_is_reported() {
    let Some((user, group)) = ordinary::user() else {
        skip::not_run("programs that become another user", "it needs root");
        return;
    };
    let home = tempfile::tempdir_in(binaries::folder()).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    for file in ["kinject", "kinject-relay", "libkinject_preload.so"] {
        fs::hard_link(binaries::path(file), home.path().join(file)).unwrap();
    }
    let program = [
        &format!("--reuid={user}"),
        &format!("--regid={group}"),
        "--clear-groups",
        "grep",
        "-c",
        "libkinject_preload",
        "/proc/self/maps",
    ];
    let mut command = apart::command(home.path().join("kinject"));
    command
        .arg("run")
        .args(shared_sandbox().flags())
        .args(["--", "setpriv"])
        .args(program);
    run(&mut command).exited(1).prints("0\n").complains(&format!(
        "kinject: warning: a process of user {user} was refused: "
    ));
}

/// Forks while threads connect: in the children connects work, and nothing hangs.
#[test]
fn children_forked_during_connects_and_lookups_can_connect() {
    let script = "import os, socket, threading, warnings, encodings.idna\nwarnings.simplefilter('ignore')\n\
        def greet():\n  with socket.create_connection(('echo', 7005), 10) as s: return s.recv(99)\n\
        def work():\n  for _ in range(20): assert greet() == b'welcome\\n'\n\
        threads = [threading.Thread(target=work) for _ in range(4)]\n\
        for t in threads: t.start()\nbad = 0\n\
        for _ in range(30):\n  pid = os.fork()\n  if not pid: os._exit(0 if greet() == b'welcome\\n' else 1)\n  \
        bad += os.waitpid(pid, 0)[1] != 0\n\
        for t in threads: t.join()\nprint('bad:', bad)";
    kinject(&inline(script)).succeeded().prints("bad: 0\n");
}

/// Where seccomp denies the library's socket with an error, the network is unreachable; the program goes on.
#[test]
fn seccomp_errno_for_unix_sockets_makes_connect_return_enetunreach() {
    let program = c("sandboxed").args(["errno", "10.96.10.3", "7005"]);
    kinject(&program)
        .succeeded()
        .prints("connect: ENETUNREACH\ngetaddrinfo: -3\nstill here\n");
}

/// Where seccomp kills, only this process ends; the session goes on.
#[test]
fn seccomp_kill_for_unix_sockets_ends_only_that_program() {
    let program = c("sandboxed").args(["kill", "10.96.10.3", "7005"]);
    let line = format!(
        "'{}' kill 10.96.10.3 7005; echo $?; getent hosts web",
        program.path.display()
    );
    // 128 and SIGSYS
    kinject(&shell(&line))
        .succeeded()
        .prints(&format!("159\n{ANSWER}"));
}
