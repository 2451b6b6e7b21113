//! The node's init process: mounts its file systems, sets up its network, starts its programs, restarts those that end,
//! and reaps orphans.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};
use rustix::process::{Pid, WaitOptions, wait};

use super::components::{self, Component};
use super::config::NODE_NAME;
use super::kubectl::Kubectl;
use super::node::{GO, PID_FILE, start_time};
use super::state::State;
use super::{cgroups, network};

/// A program that ends this often within [`SHORT`] is broken, and the node with it.
const ATTEMPTS: usize = 5;
const SHORT: Duration = Duration::from_secs(10);

/// Kernel settings that the kubelet would otherwise change for the whole machine: the node shows it the values that it
/// wants.
const KERNEL_SETTINGS: &[(&str, &str)] = &[
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
];

/// Runs until it is killed, or until one of the programs keeps ending.
pub(crate) fn run() -> Result<()> {
    let state = State::new();
    announce(&state)?;
    mount_file_systems(&state)?;
    rustix::system::sethostname(NODE_NAME.as_bytes()).context("naming the node")?;
    network::prepare_node()?;
    cgroups::create()?;
    let mut go = [0; GO.len()];
    io::stdin()
        .read_exact(&mut go)
        .context("what started the node ended before the network was there")?;
    supervise(&state)
}

/// Writes the pid file. /proc is still the machine's here, and so are the PIDs in it.
fn announce(state: &State) -> Result<()> {
    let pid = fs::read_link("/proc/self").context("reading /proc/self")?;
    let start = start_time("self").context("reading the own start time")?;
    state.write(PID_FILE, &format!("{} {start}\n", pid.display()))?;
    Ok(())
}

/// Mounts tmpfs where the programs write outside the state folder; it goes with the node's mount namespace.
fn mount_file_systems(state: &State) -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context("making the mounts private")?;
    mount("proc", "/proc", "proc", MountFlags::empty(), None).context("mounting /proc")?;
    memory("/run")?;
    for folder in ["/run/lock", "/run/netns", "/run/kernel", "/run/state"] {
        fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    // The state folder is bind-mounted again over the tmpfs on /var/lib.
    mount_bind_recursive(state.folder(), "/run/state").context("keeping the state folder")?;
    memory("/var/lib")?;
    memory("/var/log")?;
    fs::create_dir_all(state.folder())?;
    mount_bind_recursive("/run/state", state.folder()).context("mounting the state folder")?;
    for (setting, value) in KERNEL_SETTINGS {
        let (path, real) = (
            format!("/run/kernel/{}", setting.replace('/', "-")),
            format!("/proc/sys/{setting}"),
        );
        if Path::new(&real).exists() {
            fs::write(&path, value).with_context(|| format!("writing {path}"))?;
            mount_bind(&path, &real).with_context(|| format!("covering {real}"))?;
        }
    }
    Ok(())
}

fn memory(path: &str) -> Result<()> {
    mount("kinject-node", path, "tmpfs", MountFlags::empty(), None)
        .with_context(|| format!("mounting {path}"))
}

/// A component that has been started.
struct Running {
    component: Component,
    pid: Pid,
    starts: Vec<Instant>,
}

fn supervise(state: &State) -> Result<()> {
    let (mut later, first): (Vec<_>, Vec<_>) = components::all(state)
        .into_iter()
        .partition(|component| component.needs_api_server);
    let mut running = first
        .into_iter()
        .map(|one| start(state, one))
        .collect::<Result<Vec<_>>>()?;
    loop {
        let options = if later.is_empty() {
            WaitOptions::empty()
        } else {
            WaitOptions::NOHANG
        };
        match wait(options).context("waiting for the node's programs")? {
            Some((pid, status)) => {
                if let Some(ended) = running.iter_mut().find(|one| one.pid == pid) {
                    eprintln!("{} ended: {status:?}", ended.component.name);
                    restart(state, ended)?;
                }
            }
            None if api_server_is_ready(state) => {
                for component in later.drain(..) {
                    running.push(start(state, component)?);
                }
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn start(state: &State, component: Component) -> Result<Running> {
    let pid = spawn(state, &component)?;
    Ok(Running {
        component,
        pid,
        starts: vec![Instant::now()],
    })
}

fn restart(state: &State, ended: &mut Running) -> Result<()> {
    let name = ended.component.name;
    ended.starts.retain(|start| start.elapsed() < SHORT);
    if ended.starts.len() >= ATTEMPTS {
        bail!(
            "{name} ended {ATTEMPTS} times within {} s: {}",
            SHORT.as_secs(),
            last_line(&state.path("logs").join(name))
        );
    }
    ended.pid = spawn(state, &ended.component)?;
    ended.starts.push(Instant::now());
    Ok(())
}

fn spawn(state: &State, component: &Component) -> Result<Pid> {
    let path = state.path("logs").join(component.name);
    let log = || -> io::Result<File> { OpenOptions::new().create(true).append(true).open(&path) };
    let log = log().with_context(|| format!("writing {}", path.display()))?;
    let (program, arguments) = component
        .command
        .split_first()
        .context("a component without a command")?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", component.name))?;
    Ok(Pid::from_child(&child))
}

/// Ready means that the API server's own start-up tasks are done: RBAC's default roles and the system namespaces exist.
fn api_server_is_ready(state: &State) -> bool {
    TcpStream::connect("127.0.0.1:6443").is_ok() && Kubectl::new(state).is_ready()
}

fn last_line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}
