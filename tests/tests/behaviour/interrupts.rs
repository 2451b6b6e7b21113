//! The parent of kinject learns that a signal ended the program, as if it had waited for the program itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use kinject_tests::programs::{Program, find, interpreter, shell};
use kinject_tests::running::{Outcome, run};
use kinject_tests::session::kinject_run;
use kinject_tests::terminal::{CTRL_BACKSLASH, CTRL_C, Terminal};
use kinject_tests::testbed::shared_sandbox;
use kinject_tests::{apart, binaries, skip};
use tempfile::TempDir;

const SIGINT: Option<i32> = Some(libc::SIGINT);

/// A program that can be interrupted once it has printed a line.
const WAITS: &str = "sh -c 'echo waiting; exec sleep 1000'";

/// A folder with a script `k`, which runs `kinject COMMAND` in the sandbox, and with further scripts that call it.
struct ScriptFolder {
    folder: TempDir,
}

impl ScriptFolder {
    fn with(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run = kinject_run::<&str>(shared_sandbox(), &["--quiet"], &Program::new("K"));
        let words = std::iter::once(run.get_program()).chain(run.get_args());
        let words: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let line = words.join(" ");
        let line = line.replace(" 'run' ", &format!(" '{command}' "));
        let line = line.strip_suffix("'K'").unwrap();
        let scripts = Self { folder };
        scripts.script("k", &format!("exec {line} \"$@\"\n"));
        scripts
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A script of bash.
    fn script(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, format!("#!/bin/bash\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn at_terminal(&self, program: &str, arguments: &[&str]) -> Terminal {
        let mut command = Command::new(program);
        let path = format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap());
        command.args(arguments).current_dir(self.path()).env("PATH", path);
        Terminal::start(command)
    }
}

#[test]
fn ctrl_c_ends_a_script_before_its_next_command() {
    for command in ["run", "trace"] {
        let scripts = ScriptFolder::with(command);
        scripts.script("deploy", &format!("k {WAITS}; echo deploying\n"));
        let mut terminal = scripts.at_terminal("bash", &["deploy"]);
        terminal.expect("waiting");
        terminal.type_in(CTRL_C);
        assert_eq!(terminal.ended().signal(), SIGINT, "{command}");
        assert!(!terminal.shown().contains("deploying"), "{}", terminal.shown());
    }
}

#[test]
fn ctrl_c_ends_a_loop_in_its_first_round() {
    let scripts = ScriptFolder::with("run");
    scripts.script(
        "rounds",
        &format!("for i in 1 2; do k {WAITS}; echo \"round $i is over\"; done; echo all\n"),
    );
    let mut terminal = scripts.at_terminal("bash", &["rounds"]);
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.ended().signal(), SIGINT);
    let shown = terminal.shown();
    assert!(!shown.contains("is over") && !shown.contains("all"), "{shown}");
}

#[test]
fn ctrl_c_in_a_pipeline_ends_the_script() {
    let scripts = ScriptFolder::with("run");
    scripts.script("filter", &format!("k {WAITS} | k cat; echo deploying\n"));
    let mut terminal = scripts.at_terminal("bash", &["filter"]);
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.ended().signal(), SIGINT);
    assert!(!terminal.shown().contains("deploying"), "{}", terminal.shown());
}

/// The counterpart: a program that handles Ctrl-C and exits by itself was not interrupted.
#[test]
fn script_continues_after_a_program_that_handles_ctrl_c() {
    let scripts = ScriptFolder::with("run");
    scripts.script(
        "deploy",
        "k bash -c 'trap \"exit 130\" INT; echo waiting; read line'; echo \"status $?\"\n",
    );
    let mut terminal = scripts.at_terminal("bash", &["deploy"]);
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    terminal.expect("status 130");
    assert!(terminal.ended().success());
}

#[test]
fn make_stops_at_an_interrupted_recipe() {
    if find("make").is_none() {
        return skip::not_run("Ctrl-C in make", "it is not installed");
    }
    let scripts = ScriptFolder::with("run");
    fs::write(
        scripts.path().join("Makefile"),
        format!("all:\n\t-@k {WAITS}\n\t@echo deploying\n"),
    )
    .unwrap();
    let mut terminal = scripts.at_terminal("make", &["all"]);
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    terminal.expect("Interrupt");
    assert!(!terminal.ended().success());
    assert!(!terminal.shown().contains("deploying"), "{}", terminal.shown());
}

#[test]
fn git_stops_at_an_interrupted_hook() {
    if find("git").is_none() {
        return skip::not_run("Ctrl-C in a hook of git's", "it is not installed");
    }
    let scripts = ScriptFolder::with("run");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        run(git
            .current_dir(scripts.path())
            .args(["-c", "init.defaultBranch=main"])
            .args(arguments))
        .succeeded();
    };
    git(&["init", "--quiet"]);
    scripts.script(
        ".git/hooks/pre-commit",
        &format!("k {WAITS}; echo \"the hook goes on\"\n"),
    );
    let author = ["-c", "user.name=me", "-c", "user.email=me@example.com"];
    let commit = ["commit", "--quiet", "--allow-empty", "--message", "words"];
    let mut terminal = scripts.at_terminal("git", &[author.as_slice(), &commit].concat());
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    assert!(!terminal.ended().success());
    assert!(!terminal.shown().contains("goes on"), "{}", terminal.shown());
    assert!(
        !run(Command::new("git")
            .current_dir(scripts.path())
            .args(["log", "-1"]))
        .status
        .success()
    );
}

#[test]
fn npm_stops_at_an_interrupted_script() {
    if find("npm").is_none() {
        return skip::not_run("Ctrl-C in npm", "it is not installed");
    }
    let scripts = ScriptFolder::with("run");
    scripts.script("deploy", &format!("k {WAITS}; echo deploying\n"));
    let package = r#"{"name": "p", "version": "1.0.0", "scripts": {"deploy": "./deploy"}}"#;
    fs::write(scripts.path().join("package.json"), package).unwrap();
    let mut terminal = scripts.at_terminal("npm", &["run", "--silent", "--no-update-notifier", "deploy"]);
    terminal.expect("waiting");
    terminal.type_in(CTRL_C);
    assert!(!terminal.ended().success());
    assert!(!terminal.shown().contains("deploying"), "{}", terminal.shown());
}

/// The agent takes the connection and says nothing: the session is coming up when Ctrl-C comes.
#[test]
fn ctrl_c_during_session_start_ends_the_script() {
    for (key, signal) in [(CTRL_C, libc::SIGINT), (CTRL_BACKSLASH, libc::SIGQUIT)] {
        // each has a socket of its own, so that no connection of an earlier relay is taken for this one's
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let silent = UnixListener::bind(&socket).unwrap();
        let secret = folder.path().join("key");
        fs::write(&secret, [7; 32]).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let script = format!(
            "'{}' run --agent unix:{} --agent-key {} -- true; echo deploying\n",
            binaries::kinject().display(),
            socket.display(),
            secret.display()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &format!("trap 'echo minded' QUIT; {script}")]);
        let mut terminal = Terminal::start(command);
        // the launcher watches signals before it starts its relay, which connects
        let _relay = silent.accept().unwrap();
        terminal.type_in(key);
        let status = terminal.ended();
        if signal == libc::SIGINT {
            assert_eq!(status.signal(), SIGINT);
            assert!(!terminal.shown().contains("deploying"), "{}", terminal.shown());
        } else {
            assert!(terminal.shown().contains("Quit"), "{}", terminal.shown());
        }
    }
}

/// Runs the command in a folder of its own without a limit on core dumps; returns the files there, and its status.
fn with_core_dumps(command: &Command) -> (Outcome, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -c \"$(ulimit -H -c)\"; exec \"$@\"", "limited"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder.path());
    let outcome = run(&mut limited);
    (outcome, fs::read_dir(folder.path()).unwrap().count())
}

/// If the machine writes cores into the current folder (core(5)), it holds the program's dump and no other.
#[test]
fn kinject_dies_of_every_signal_that_ended_its_program_and_dumps_no_core() {
    for (name, number) in [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("KILL", libc::SIGKILL),
        ("SEGV", libc::SIGSEGV),
        ("PIPE", libc::SIGPIPE),
        ("TERM", libc::SIGTERM),
        ("USR1", libc::SIGUSR1),
        ("RTMIN", libc::SIGRTMIN()),
    ] {
        let end = format!(
            "import os, signal as s\nn = s.SIG{name}\n\
            if n != s.SIGKILL: s.signal(n, s.SIG_DFL)\nos.kill(os.getpid(), n)"
        );
        let program = Program::new(interpreter()).args(["-SEc", &end]);
        let (bare, dumps) = with_core_dumps(&program.command());
        assert_eq!(bare.status.signal(), Some(number), "{name}: {bare}");
        let kinject = kinject_run::<&str>(shared_sandbox(), &[], &program);
        let (outcome, dumps_with_kinject) = with_core_dumps(&kinject);
        assert_eq!(outcome.status.signal(), Some(number), "{name}: {outcome}");
        assert!(!outcome.status.core_dumped(), "{name}: {outcome}");
        assert_eq!(dumps_with_kinject, dumps, "{name}: {outcome}");
    }
}

/// A program may reset a signal that it inherited ignored (nohup(1)), and be ended by it then.
#[test]
fn kinject_dies_of_a_signal_that_it_inherited_ignored_or_blocked() {
    for (name, handling) in [("SIGHUP", "SIG_IGN"), ("SIGTERM", "SIG_DFL")] {
        let lift = format!(
            "import os, signal as s\ns.signal(s.{name}, s.SIG_DFL)\n\
             s.pthread_sigmask(s.SIG_UNBLOCK, [s.{name}])\nos.kill(os.getpid(), s.{name})"
        );
        let program = Program::new(interpreter()).args(["-SEc", &lift]);
        let kinject = kinject_run::<&str>(shared_sandbox(), &[], &program);
        let inherit = format!(
            "import os, signal as s, sys\ns.signal(s.{name}, s.{handling})\n\
             s.pthread_sigmask(s.SIG_BLOCK, [s.{name}])\nos.execvp(sys.argv[1], sys.argv[1:])"
        );
        let mut command = Command::new(interpreter());
        command
            .args(["-SEc", &inherit])
            .arg(kinject.get_program())
            .args(kinject.get_args());
        let expected = if name == "SIGHUP" {
            libc::SIGHUP
        } else {
            libc::SIGTERM
        };
        let outcome = run(&mut command);
        assert_eq!(outcome.status.signal(), Some(expected), "{outcome}");
    }
}

/// The first process of a container cannot end itself by a signal.
#[test]
fn kinject_that_cannot_die_of_a_signal_exits_with_128_plus_its_number() {
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &shell("kill -TERM $$"));
    let mut command = apart::command("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(kinject.get_program())
        .args(kinject.get_args());
    let outcome = run(&mut command);
    assert_eq!(outcome.status.code(), Some(128 + libc::SIGTERM), "{outcome}");
}

/// Ignored signals and the signal mask are the program's, as after env(1).
#[test]
fn program_inherits_ignored_and_blocked_signals() {
    let look = shell("grep -E '^Sig(Blk|Ign):' /proc/self/status");
    let kinject = kinject_run::<&str>(shared_sandbox(), &[], &look);
    let outside = {
        let mut outside = Command::new(binaries::kinject());
        outside
            .args(["outside", "--"])
            .arg(&look.path)
            .args(&look.arguments);
        outside
    };
    for ignored in ["SIG_IGN", "SIG_DFL"] {
        let inherit = format!(
            "import os, signal as s, sys\ns.signal(s.SIGPIPE, s.{ignored})\ns.signal(s.SIGHUP, s.{ignored})\n\
             s.pthread_sigmask(s.SIG_BLOCK, [s.SIGUSR1, s.SIGTERM, 64])\nos.execvp(sys.argv[1], sys.argv[1:])"
        );
        let after = |command: &Command| {
            let mut inheriting = Command::new(interpreter());
            inheriting
                .args(["-SEc", &inherit])
                .arg(command.get_program())
                .args(command.get_args());
            run(&mut inheriting).succeeded().stdout.clone()
        };
        let bare = after(&look.command());
        assert_eq!(after(&kinject), bare);
        assert_eq!(after(&outside), bare);
    }
}
