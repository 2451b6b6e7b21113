//! A session with files whose agent is a process on this machine.

use crate::files::{Files, Mount, Mounts};
use crate::test_agent::DEADLINE;
use crate::uplink::{Connector, Reconnector};
use kinject_protocol::control::{FilePart, Reply};
use kinject_protocol::paths::Kind;
use kinject_protocol::session::{Event, TlsChoice};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

/// Runs a test with tasks of its own, up to the deadline.
pub(super) async fn within_deadline(test: impl Future<Output = ()>) {
    tokio::time::timeout(3 * DEADLINE, LocalSet::new().run_until(test))
        .await
        .unwrap();
}

/// Waits until the condition holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within the deadline");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The agent's process.
pub(super) struct Agent {
    process: Child,
    folder: PathBuf,
}

impl Agent {
    /// Starts one on a socket in this folder; as another user if one is given.
    pub(super) async fn start(folder: &Path, user: Option<u32>) -> Self {
        let [key, relays_key] = ["key", "relays-key"].map(|name| folder.join(name));
        for key in [&key, &relays_key].into_iter().filter(|key| !key.exists()) {
            let mut options = fs::OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(key);
            std::io::Write::write_all(&mut made.unwrap(), &[7; 32]).unwrap();
        }
        let mut command = Command::new(program("kinject-agent"));
        let socket = folder.join("agent.sock");
        command
            .arg("--files")
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .arg("--key")
            .arg(&key)
            .env("CONTAINER", "has\nthis")
            .stderr(Stdio::null());
        if let Some(user) = user {
            std::os::unix::fs::chown(&key, Some(user), None).unwrap();
            std::os::unix::fs::chown(folder, Some(user), None).unwrap();
            command.uid(user);
        }
        let process = command.spawn().unwrap();
        until("the agent listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        Self {
            process,
            folder: folder.to_owned(),
        }
    }

    /// Starts another one in the place of the killed one.
    pub(super) async fn restart_killed(&mut self) {
        let folder = self.folder.clone();
        *self = Self::start(&folder, None).await;
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.process.kill().is_err();
        let _status = self.process.wait();
    }
}

/// A program of the workspace, as `cargo build` leaves it.
fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let folder = this.parent().and_then(Path::parent).unwrap();
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build`",
        path.display()
    );
    path
}

/// A session's files.
pub(super) struct Session {
    pub(super) files: Rc<Files>,
    pub(super) events: mpsc::Receiver<Event>,
    /// The value of `KINJECT_PATHS`.
    pub(super) paths: OsString,
    /// The shadow root.
    pub(super) root: PathBuf,
    /// Drives the tunnel.
    pub(super) tunnel: JoinHandle<std::convert::Infallible>,
    _follow: JoinHandle<std::convert::Infallible>,
    folder: PathBuf,
}

/// Which paths a session has.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) mirrored: Vec<PathBuf>,
    pub(super) remote: Vec<PathBuf>,
    pub(super) scratch: Vec<PathBuf>,
    pub(super) remote_globs: Vec<OsString>,
}

/// A session in which this path is read through the tunnel.
pub(super) fn remote(path: &Path) -> Wanted {
    Wanted {
        remote: vec![path.to_owned()],
        ..Wanted::default()
    }
}

impl Wanted {
    fn mounts(&self) -> Mounts {
        let of = |paths: &[PathBuf], kind| -> Vec<Mount> {
            let mount = |path: &PathBuf| Mount {
                path: path.as_os_str().as_bytes().to_vec(),
                kind,
            };
            paths.iter().map(mount).collect()
        };
        Mounts(
            [
                of(&self.mirrored, Kind::Mirrored),
                of(&self.remote, Kind::Remote),
                of(&self.scratch, Kind::Scratch),
            ]
            .concat(),
        )
    }
}

impl Session {
    /// Starts one in a session's folder, with the connector to its agent.
    pub(super) async fn start(connector: Connector, folder: &Path, wanted: Wanted) -> Self {
        Self::try_start(connector, folder, wanted).await.unwrap()
    }

    pub(super) async fn try_start(
        connector: Connector,
        folder: &Path,
        wanted: Wanted,
    ) -> Result<Self, crate::report::Failure> {
        let (events, received) = mpsc::channel(64);
        let (reconnector, uplink) = Reconnector::new(connector, events.clone());
        let established = reconnector.connect().await.unwrap();
        let tunnel = tokio::task::spawn_local(reconnector.run(established, |_| {}));
        let (files, paths) = Files::start(
            &uplink,
            &events,
            folder,
            wanted.mounts(),
            &wanted.remote_globs,
            &[],
        )
        .await
        .inspect_err(|_| remove(folder))?;
        let follow = tokio::task::spawn_local(Rc::clone(&files).follow());
        Ok(Self {
            files,
            events: received,
            root: root_of(&paths),
            paths,
            tunnel,
            _follow: follow,
            folder: folder.to_owned(),
        })
    }

    /// Where a path of the container stands.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap())
    }

    /// Fetches a path; the errno if it cannot be had.
    pub(super) async fn fetch(&self, part: FilePart, path: &Path) -> Result<PathBuf, i32> {
        match self.files.fetch(part, path.as_os_str().as_bytes()).await {
            Reply::Noted => Ok(self.at(path)),
            Reply::Errno(errno) => Err(errno.into()),
            other => panic!("{other:?}"),
        }
    }

    /// The next message for the user.
    pub(super) async fn notice(&mut self) -> String {
        loop {
            match self.events.recv().await.unwrap() {
                Event::Notice(report) => return report.message,
                Event::Recovered(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn root_of(paths: &std::ffi::OsStr) -> PathBuf {
    let root = paths.as_bytes().split(|byte| *byte == b':').next().unwrap();
    PathBuf::from(std::ffi::OsStr::from_bytes(root))
}

/// The session's folder is removed with the files in memory to which it leads.
impl Drop for Session {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let _gone = kinject_protocol::folder::remove(folder, user).is_err();
}

/// Makes a session's folder in a folder of the user's, with a name of its own.
pub(super) fn session_folder(around: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{:x}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let folder = around.join("sessions").join(name);
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&folder)
        .unwrap();
    folder
}

/// An agent, a folder for what its container has, and a session's folder.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) folder: TempDir,
    pub(super) session_folder: PathBuf,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with_agent_of(None).await
    }

    /// The same whose container has an empty folder, with the path of that.
    pub(super) async fn with_data() -> (Self, PathBuf) {
        let world = Self::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
        (world, data)
    }

    pub(super) async fn with_agent_of(user: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let around = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), around).unwrap();
        for name in ["container", "agent"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let session_folder = session_folder(folder.path());
        let agent = Agent::start(&folder.path().join("agent"), user).await;
        Self {
            agent,
            folder,
            session_folder,
        }
    }

    /// A path of the container: its root is this machine's.
    pub(super) fn container(&self, path: &str) -> PathBuf {
        let container = self.folder.path().canonicalize().unwrap().join("container");
        if path.is_empty() {
            container
        } else {
            container.join(path)
        }
    }

    pub(super) fn connector(&self) -> Connector {
        self.connector_at(&self.folder.path().join("agent/agent.sock"))
    }

    fn connector_at(&self, socket: &Path) -> Connector {
        let endpoint = format!("unix:{}", socket.display());
        let key = self.folder.path().join("agent/relays-key");
        Connector::direct(endpoint.as_ref(), &key, TlsChoice::Auto).unwrap()
    }

    pub(super) async fn session(&self, wanted: Wanted) -> Session {
        Session::start(self.connector(), &self.session_folder, wanted).await
    }

    /// A connector by way of a socket that holds everything back for so long, in either direction.
    pub(super) fn delayed_connector(&self, delay: Duration) -> Connector {
        let (near, far) = (
            self.folder.path().join("delayed.sock"),
            self.folder.path().join("agent/agent.sock"),
        );
        let listener = UnixListener::bind(&near).unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (ours, _) = listener.accept().await.unwrap();
                let theirs = UnixStream::connect(&far).await.unwrap();
                let ((our_read, our_write), (their_read, their_write)) =
                    (ours.into_split(), theirs.into_split());
                tokio::task::spawn_local(hold_back(our_read, their_write, delay));
                tokio::task::spawn_local(hold_back(their_read, our_write, delay));
            }
        });
        self.connector_at(&near)
    }
}

async fn hold_back(
    mut from: impl AsyncReadExt + Unpin + 'static,
    mut to: impl AsyncWriteExt + Unpin + 'static,
    delay: Duration,
) {
    let (send, mut queue) = mpsc::unbounded_channel();
    tokio::task::spawn_local(async move {
        while let Some((due, bytes)) = queue.recv().await {
            tokio::time::sleep_until(due).await;
            let bytes: Vec<u8> = bytes;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if send
            .send((Instant::now() + delay, buffer[..count].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

/// A small file system in memory, until it is dropped.
pub(super) struct Small(PathBuf);

impl Small {
    /// Mounts one of this size; none without the right to.
    pub(super) fn mount(path: &Path, size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            kinject_test_support::skip::not_run("a full disk", "mounting one takes root");
            return None;
        }
        let mut mount = Command::new("mount");
        let options = format!("size={size},mode=700");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]);
        assert!(mount.arg(path).status().unwrap().success());
        Some(Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
