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
use crate::ordinary;
use crate::place::Place;
use crate::programs::{Program, python};
use crate::running;
use crate::scene::Scene;
use crate::session::eventually;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// The pod in whose network servers stand; the sandbox has it as an address.
const POD: &str = "db-0";

/// A server that ends with the value.
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
    /// Whether root runs it as another user, who can read what the system has installed, and nothing of root's.
    pub unprivileged: bool,
    /// A program that ends well as soon as the server answers at this port of `db-0.db`.
    pub answers: &'a dyn Fn(u16) -> Program,
}

impl Server {
    /// Starts a server of TCP. `build` gets a port, and a folder that belongs to the server's user.
    pub fn start(scene: &Scene, build: impl FnOnce(u16, &Path) -> Program) -> Self {
        let answers = |port: u16| python("streams.py").args(["reachable", "db-0.db", &port.to_string()]);
        let start = Start {
            unprivileged: true,
            answers: &answers,
        };
        Self::start_as(scene, &start, build)
    }

    /// Starts a server of any kind.
    pub fn start_as(scene: &Scene, start: &Start<'_>, build: impl FnOnce(u16, &Path) -> Program) -> Self {
        let folder = ordinary::folder();
        let port = some_port();
        let mut program = build(port, folder.path());
        if start.unprivileged {
            program = ordinary::program(&program);
        }
        let pod = match scene.place() {
            Place::Sandbox(_) => None,
            Place::Cluster(cluster) => {
                let pod = cluster.bare_pod("default", POD);
                Some(pod.unwrap_or_else(|error| panic!("{POD} is not there: {error:#}")))
            }
        };
        let mut command = in_pod(scene, pod.as_ref(), &program);
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
                running::run(&mut scene.bare(&ask)).code() == 0
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

/// Runs a program as the servers' user, outside of any place: to prepare what a server needs.
pub fn prepare(program: &Program) {
    running::run(&mut ordinary::program(program).command()).succeeded();
}

fn in_pod(scene: &Scene, pod: Option<&BarePod>, program: &Program) -> Command {
    let mut command = match (scene.place(), pod) {
        // the sandbox's user namespace has but one user; its network is enough
        (Place::Sandbox(sandbox), _) if geteuid().is_root() => {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net=/proc/{}/ns/net", sandbox.ready.pid))
                .arg(&program.path);
            command
        }
        (Place::Sandbox(sandbox), _) => sandbox.enter(&program.path),
        (Place::Cluster(_), Some(pod)) => {
            pod.command(program.path.to_str().expect("programs have plain names"))
        }
        (Place::Cluster(_), None) => unreachable!("the caller has found the pod"),
    };
    command.args(&program.arguments);
    command
}

/// A port that nothing in the world of the places uses, another one for each server, and below those that a kernel gives to
/// sockets which ask for none (ip(7), `ip_local_port_range`): the agent's connections have them there.
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
