//! Real servers for real clients, started in the network of the pod `db-0`.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tempfile::TempDir;

use crate::cluster::BarePod;
use crate::fixture::Fixture;
use crate::ordinary;
use crate::programs::{Program, python};
use crate::running;
use crate::session::eventually;
use crate::testbed::Testbed;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// The pod in whose network servers run; in the sandbox it is only an address.
const POD: &str = "db-0";

/// A server that ends when the value is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its port at `db-0.db`.
    pub port: u16,
    _pod: Option<BarePod>,
    _folder: TempDir,
}

/// What a server is started with, beside its program.
pub struct Start<'a> {
    /// Whether root runs it as another user, who can read installed files but none of root's.
    pub unprivileged: bool,
    /// A program that succeeds as soon as the server answers at this port of `db-0.db`.
    pub answers: &'a dyn Fn(u16) -> Program,
}

impl Server {
    /// Starts a server of TCP. `build` gets a port, and a folder that belongs to the server's user.
    pub fn start(fixture: &Fixture, build: impl FnOnce(u16, &Path) -> Program) -> Self {
        let answers = |port: u16| python("streams.py").args(["reachable", "db-0.db", &port.to_string()]);
        let start = Start {
            unprivileged: true,
            answers: &answers,
        };
        Self::start_as(fixture, &start, build)
    }

    /// Starts a server of any kind.
    pub fn start_as(fixture: &Fixture, start: &Start<'_>, build: impl FnOnce(u16, &Path) -> Program) -> Self {
        let folder = ordinary::folder();
        let port = some_port();
        let mut program = build(port, folder.path());
        if start.unprivileged {
            program = ordinary::program(&program);
        }
        let pod = match fixture.testbed() {
            Testbed::Sandbox(_) => None,
            Testbed::Cluster(cluster) => {
                let pod = cluster.bare_pod("default", POD);
                Some(pod.unwrap_or_else(|error| panic!("{POD} is not there: {error:#}")))
            }
        };
        let mut command = in_pod(fixture, pod.as_ref(), &program);
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.path.display()));
        let mut server = Self {
            child,
            port,
            _pod: pod,
            _folder: folder,
        };
        let ask = (start.answers)(port);
        eventually(
            &format!("{} on port {port}", program.path.display()),
            START,
            || {
                if let Ok(Some(status)) = server.child.try_wait() {
                    panic!("{} ended: {status}", program.path.display());
                }
                running::run(&mut fixture.bare(&ask)).code() == 0
            },
        );
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // it may have ended by itself
        let _gone = kill_process_group(group, Signal::KILL).is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

/// Runs a program as the servers' user, outside of any testbed, to prepare a server's files.
pub fn prepare(program: &Program) {
    running::run(&mut ordinary::program(program).command()).succeeded();
}

fn in_pod(fixture: &Fixture, pod: Option<&BarePod>, program: &Program) -> Command {
    let mut command = match (fixture.testbed(), pod) {
        // the sandbox's user namespace maps one user only; entering its network is enough
        (Testbed::Sandbox(sandbox), _) if geteuid().is_root() => {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net=/proc/{}/ns/net", sandbox.ready.pid))
                .arg(&program.path);
            command
        }
        (Testbed::Sandbox(sandbox), _) => sandbox.enter(&program.path),
        (Testbed::Cluster(_), Some(pod)) => {
            pod.command(program.path.to_str().expect("programs have plain names"))
        }
        (Testbed::Cluster(_), None) => unreachable!("the caller has found the pod"),
    };
    command.args(&program.arguments);
    command
}

/// A port that no service of the testbeds uses, another one for each server, and below the ephemeral ports (ip(7),
/// `ip_local_port_range`), which the agent's connections use.
fn some_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 600).unwrap_or_default();
    20_000 + own * 20 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes a folder inside of a server's own, which the server's user owns.
pub fn subfolder(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).expect("the folder was just made");
    if let Some((user, group)) = ordinary::user() {
        chown(&path, Some(user), Some(group)).expect("root may give a folder away");
    }
    path
}
