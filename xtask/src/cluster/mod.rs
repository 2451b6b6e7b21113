//! `cargo xtask cluster`: a real one-node Kubernetes for the tests, in namespaces of its own on this machine.
//!
//! [`build`] makes the programs, [`images`] what runs in pods, [`pki`] and [`config`] their files in the
//! [`state`] folder; [`node`] starts the first process of the namespaces, whose inside is [`init`] with the
//! [`components`]; [`network`] connects it with the machine; [`samples`] fills the cluster.

mod borrow;
mod build;
mod cgroups;
mod components;
mod config;
mod images;
mod init;
mod kubectl;
mod network;
mod node;
mod packages;
mod pki;
mod samples;
mod state;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Subcommand;

pub(crate) use self::borrow::Borrowed;
use self::build::Programs;
use self::kubectl::Kubectl;
use self::node::Node;
use self::state::{Lock, State};
use crate::archive::Archive;
use crate::{archive, hint, process, static_build, workspace};

/// Start, stop and inspect a real one-node Kubernetes on this machine
///
/// It needs root, Linux and Go; Debian packages are installed when they are missing. Its node lives in
/// namespaces of its own: the machine reaches the API server and nothing else of it, and it reaches nothing
/// of the machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start the cluster with its sample workloads, or bring a running one up to date
    Up,
    /// Stop the cluster and remove every trace of it
    Down {
        /// Also when it is another clone's
        #[arg(long)]
        force: bool,
    },
    /// Say whether the cluster runs and what in it is not ready
    Status,
    /// Print the path of the administrator's kubeconfig
    Kubeconfig,
    /// Load the agent's image, built from this clone, into the running cluster
    Load,
    /// The first process of the node
    #[command(hide = true)]
    Node,
    /// Wait until the Services answer, in the node's network
    #[command(hide = true)]
    Probe,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Task::Up => up()?,
        Task::Down { force } => down(force)?,
        Task::Status => return status(),
        Task::Kubeconfig => kubeconfig()?,
        Task::Load => load()?,
        Task::Node => init::run()?,
        Task::Probe => samples::probe()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file with the fingerprint of a cluster that has become ready.
const READY: &str = "ready";

/// What a cluster is made of, apart from the agent's image, which can be replaced while it runs.
struct Parts {
    programs: Programs,
    images: [Archive; 3],
    fingerprint: String,
}

fn up() -> Result<()> {
    need_root("up")?;
    let state = State::new();
    println!("{}", bring_up(&state)?);
    println!("export KUBECONFIG={}", state.kubeconfig().display());
    Ok(())
}

/// Starts the cluster, or updates a running one, and prints what was done.
fn bring_up(state: &State) -> Result<String> {
    let lock = state.lock()?;
    let running = Node::running(state)?;
    if running.is_some() {
        need_own(state)?;
    }
    packages::ensure()?;
    let parts = parts(state)?;
    let agent = images::agent()?;

    let started = Instant::now();
    match running {
        Some(node) if state.read(READY)?.as_ref() == Some(&parts.fingerprint) && node.answers(state) => {
            samples::apply(state)?;
            samples::wait(state, &node)?;
            let loaded = if images::load(state, &agent)? {
                ", agent image loaded"
            } else {
                ""
            };
            Ok(format!("the cluster is up already{loaded}"))
        }
        running => {
            if let Some(node) = running {
                eprintln!("the cluster is made of older parts or does not answer: starting it anew");
                node.stop()?;
            }
            clean(state, &lock)?;
            start(state, parts, &agent)?;
            Ok(format!(
                "the cluster is up after {:.1} s",
                started.elapsed().as_secs_f64()
            ))
        }
    }
}

fn parts(state: &State) -> Result<Parts> {
    let programs = build::programs()?;
    let images = [images::pause()?, images::shell()?, images::samples()?];
    let mut inputs = programs.fingerprint.clone();
    inputs.extend(images.iter().map(|image| image.id.as_str()));
    inputs.extend(config::files(state).map(|(_, content)| content));
    inputs.extend(
        components::all(state)
            .into_iter()
            .flat_map(|component| component.command),
    );
    Ok(Parts {
        programs,
        images,
        fingerprint: archive::digest(inputs.as_bytes()),
    })
}

fn start(state: &State, parts: Parts, agent: &Archive) -> Result<()> {
    network::check_free()?;
    state.write("owner", &workspace::root().display().to_string())?;
    install_programs(state, &parts.programs.binary)?;
    pki::write(state)?;
    config::write(state)?;
    let node = Node::start(state)?;

    images::wait_for_containerd(state)?;
    for image in parts.images.iter().chain([agent]) {
        images::load(state, image)?;
    }
    process::wait_for("the API server", Duration::from_secs(60), || {
        node.check(state)?;
        Ok(Kubectl::new(state).is_ready().then_some(()))
    })?;
    samples::apply(state)?;
    samples::wait(state, &node)?;
    state.write(READY, &parts.fingerprint)?;
    Ok(())
}

/// Puts the programs into the state folder, where the node and the pod of CoreDNS find them.
fn install_programs(state: &State, cluster: &Path) -> Result<()> {
    let folder = state.path("bin");
    let install = || {
        fs::create_dir_all(&folder)?;
        fs::copy(cluster, folder.join("cluster"))?;
        for name in [
            "coredns",
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ] {
            symlink("cluster", folder.join(name))?;
        }
        std::io::Result::Ok(())
    };
    install().with_context(|| format!("filling {}", folder.display()))?;
    let samples = static_build::binary("kinject-sandbox")?;
    fs::copy(samples, state.program("kinject-sandbox")).context("copying the samples' program")?;
    Ok(())
}

fn down(force: bool) -> Result<()> {
    need_root("down")?;
    println!("{}", take_down(&State::new(), force)?);
    Ok(())
}

/// Stops the cluster, removes everything of it, and returns whether there was one.
fn take_down(state: &State, force: bool) -> Result<&'static str> {
    let lock = state.lock()?;
    let running = Node::running(state)?;
    let was_up = running.is_some();
    if let Some(node) = running {
        if !force {
            need_own(state)?;
        }
        node.stop()?;
    }
    clean(state, &lock)?;
    Ok(if was_up {
        "the cluster is down"
    } else {
        "no cluster was up"
    })
}

/// Removes what a cluster leaves behind, however it ended, and empties the state folder.
fn clean(state: &State, lock: &Lock) -> Result<()> {
    network::disconnect()?;
    cgroups::remove()?;
    state.clear(lock)
}

fn load() -> Result<()> {
    need_root("load")?;
    let state = State::new();
    need_running(&state)?;
    let _lock = state.lock()?;
    need_running(&state)?;
    need_own(&state)?;
    let agent = images::agent()?;
    let loaded = images::load(&state, &agent)?;
    println!(
        "{} {}",
        agent.name,
        if loaded { "loaded" } else { "is there already" }
    );
    Ok(())
}

fn kubeconfig() -> Result<()> {
    let state = State::new();
    need_running(&state)?;
    println!("{}", state.kubeconfig().display());
    Ok(())
}

fn status() -> Result<ExitCode> {
    let mut text = String::new();
    let code = describe(&mut text);
    match std::io::stdout().write_all(text.as_bytes()) {
        // the reader has closed the pipe
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("writing")?,
    }
    code
}

/// The output of `status` and its exit status.
fn describe(text: &mut String) -> Result<ExitCode> {
    let state = State::new();
    let Some(_node) = Node::running(&state)? else {
        text.push_str("down\n");
        return Ok(ExitCode::FAILURE);
    };
    let owner = state.owner()?.unwrap_or_default();
    // A user other than root can read the state files, but not the administrator's credentials.
    let credentials = File::open(state.kubeconfig()).is_ok();
    let ready = state.read(READY)?.is_some() && (!credentials || Kubectl::new(&state).is_ready());
    *text += &format!(
        "{}, started from {}\nkubeconfig: {}\nkubectl: {}\nlogs: {}\n",
        if ready { "up" } else { "starting or broken" },
        owner.display(),
        state.kubeconfig().display(),
        state.program("kubectl").display(),
        state.path("logs").display()
    );
    if !ready {
        return Ok(ExitCode::FAILURE);
    }
    if credentials {
        let kubectl = Kubectl::new(&state);
        for question in [&["get", "nodes"][..], &["get", "pods", "--all-namespaces"]] {
            *text += &format!("\n{}", kubectl.run(question)?);
        }
    } else {
        text.push_str("only root may ask for more\n");
    }
    Ok(ExitCode::SUCCESS)
}

fn need_root(task: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(hint::error(
        "the cluster needs root: it makes namespaces, links and control groups",
        format!("sudo --preserve-env=PATH,HOME cargo xtask cluster {task}"),
    ))
}

fn need_running(state: &State) -> Result<()> {
    if Node::running(state)?.is_none() {
        return Err(hint::error("no cluster is up", "cargo xtask cluster up"));
    }
    Ok(())
}

fn need_own(state: &State) -> Result<()> {
    match state.owner()? {
        Some(owner) if owner != workspace::root() => Err(hint::error(
            format!(
                "the cluster that is up belongs to another clone: {}",
                owner.display()
            ),
            "one cluster fits on a machine: `cargo xtask cluster down` there, or `down --force` here",
        )),
        _ => Ok(()),
    }
}
