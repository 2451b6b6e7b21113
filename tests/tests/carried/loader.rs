//! The loader by itself, on this machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kinject_tests::carried::agent;
use kinject_tests::running::{Outcome, run};
use tempfile::TempDir;

/// An agent as a pod has it, cut into two parts.
struct Files {
    folder: TempDir,
    loader: PathBuf,
    sha256: String,
}

impl Files {
    /// `None` where no agent is packed.
    fn new() -> Option<Self> {
        let agent = agent()?;
        let folder = tempfile::tempdir().unwrap();
        let packed = fs::read(agent.join("agent.xz")).unwrap();
        let (first, second) = packed.split_at(packed.len() / 2);
        fs::write(folder.path().join("part.0"), first).unwrap();
        fs::write(folder.path().join("part.1"), second).unwrap();
        let digest = fs::read_to_string(agent.join("agent.sha256")).unwrap();
        Some(Self {
            folder,
            loader: agent.join("loader"),
            sha256: digest.split_whitespace().next().unwrap().to_owned(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the loader's command line is in a pod, for the agent's version.
    fn arguments(&self, fallback: &Path) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        vec![
            "--sha256".to_owned(),
            self.sha256.clone(),
            "--part".to_owned(),
            text(self.path("part.0")),
            "--part".to_owned(),
            text(self.path("part.1")),
            "--fallback".to_owned(),
            text(fallback.to_owned()),
            "--".to_owned(),
            "--version".to_owned(),
        ]
    }

    fn run(&self) -> Outcome {
        run(Command::new(&self.loader).args(self.arguments(&self.path("agent"))))
    }

    /// Runs it where a file in memory cannot be executed: `vm.memfd_noexec` belongs to a PID namespace. `None` without
    /// the right to make one.
    fn run_without_memory_files(&self, fallback: &Path) -> Option<Outcome> {
        if !rustix::process::geteuid().is_root() {
            kinject_tests::skip::not_run("the loader's fallback", "a PID namespace takes root");
            return None;
        }
        let script = "echo 2 >/proc/sys/vm/memfd_noexec && exec \"$@\"";
        let outcome = run(Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"])
            .arg(&self.loader)
            .args(self.arguments(fallback)));
        if outcome.stderr.contains("memfd_noexec") {
            kinject_tests::skip::not_run("the loader's fallback", "vm.memfd_noexec cannot be set here");
            return None;
        }
        Some(outcome)
    }

    /// Runs it where execveat(2) does not exist, as seccomp profiles and sandboxes have it.
    fn run_without_execveat(&self) -> Outcome {
        let mut command = Command::new(&self.loader);
        command.args(self.arguments(&self.path("agent")));
        // SAFETY: the closure makes system calls alone
        unsafe { command.pre_exec(forbid_execveat) };
        run(&mut command)
    }
}

/// Makes execveat(2) fail with ENOSYS in this process from here on.
fn forbid_execveat() -> std::io::Result<()> {
    let statement = |code, k, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // the system call's number is the first field of what a filter is shown
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_execveat as u32,
            0,
            1,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the call takes numbers alone
    let no_privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if no_privileges != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `program` and what it points to live longer than the call, which copies them
    let filtered = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match filtered {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn version() -> String {
    format!("kinject-agent {} ", env!("CARGO_PKG_VERSION"))
}

#[test]
fn parts_become_the_agent_with_its_own_arguments() {
    let Some(files) = Files::new() else { return };
    let outcome = files.run();
    outcome.succeeded();
    assert!(outcome.stdout.starts_with(&version()), "{outcome}");
    assert!(!files.path("agent").exists(), "memory is enough");
}

#[test]
fn truncated_altered_or_missing_part_is_refused_in_one_line() {
    type Damage = fn(&Files);
    let damage: [(&str, Damage); 4] = [
        ("damaged or not complete", |files| {
            let part = files.path("part.1");
            let content = fs::read(&part).unwrap();
            fs::write(&part, &content[..content.len() - 100]).unwrap();
        }),
        ("damaged or not complete", |files| {
            fs::write(files.path("part.1"), "").unwrap()
        }),
        ("it is not started", |files| {
            let part = files.path("part.0");
            let mut content = fs::read(&part).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            fs::write(&part, content).unwrap();
        }),
        ("part.0: no such file or directory", |files| {
            fs::remove_file(files.path("part.0")).unwrap()
        }),
    ];
    for (words, damage) in damage {
        let Some(files) = Files::new() else { return };
        damage(&files);
        let outcome = files.run();
        assert!((121..=123).contains(&outcome.code()), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.starts_with("kinject-loader: error: "), "{outcome}");
        assert!(
            outcome.stderr.contains(words) && outcome.stdout.is_empty(),
            "{outcome}"
        );
    }
}

#[test]
fn agent_with_another_hash_is_refused() {
    let Some(mut files) = Files::new() else { return };
    files.sha256 = "00".repeat(32);
    let outcome = files.run();
    assert_eq!(outcome.code(), 123, "{outcome}");
    assert!(
        outcome.stderr.contains("SHA-256") && outcome.stdout.is_empty(),
        "{outcome}"
    );
}

#[test]
fn fallback_file_is_executed_where_files_in_memory_are_not() {
    let Some(files) = Files::new() else { return };
    let fallback = files.path("agent");
    let Some(outcome) = files.run_without_memory_files(&fallback) else {
        return;
    };
    outcome.succeeded();
    assert!(outcome.stdout.starts_with(&version()), "{outcome}");
    assert!(fallback.exists());
}

#[test]
fn fallback_file_is_executed_where_execveat_does_not_exist() {
    let Some(files) = Files::new() else { return };
    let outcome = files.run_without_execveat();
    outcome.succeeded();
    assert!(outcome.stdout.starts_with(&version()), "{outcome}");
    assert!(files.path("agent").exists());
}

#[test]
fn fallback_that_cannot_be_written_is_named() {
    let Some(files) = Files::new() else { return };
    let Some(outcome) = files.run_without_memory_files(Path::new("/no/such/folder/agent")) else {
        return;
    };
    assert_eq!(outcome.code(), 124, "{outcome}");
    assert!(
        outcome
            .stderr
            .contains("cannot write the agent to /no/such/folder/agent: no such file or directory"),
        "{outcome}"
    );
}
