//! The start of a session with files: makes the shadow root, and waits until all mirrored mounts stand in it.

use super::fetch::Fetches;
use super::mirror::Mirror;
use super::notices::Notices;
use super::place::private_folder;
use super::remote::Remote;
use super::shadow::{ROOT_NAME, Shadow};
use super::{Files, Held, Mount, Mounts, Store, errno_words, send};
use crate::log;
use crate::report::Failure;
use crate::uplink::{ActiveTunnel, Ended, Uplink};
use kinject_protocol::paths::{Kind, normalise};
use kinject_protocol::session::Event;
use kinject_tunnel::RequestError;
use kinject_tunnel::files::{MAX_WATCHED, Snapshot, WatchEvent};
use kinject_tunnel::http2::Watch;
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the first snapshots of all mirrored mounts may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The way on without files.
const WITHOUT_FILES: &str = "go on without the container's files: `--files none`";

impl Files {
    /// Makes the shadow root in the session's folder, and returns when all mirrored mounts stand in it, with the value
    /// of [`PATHS`](kinject_protocol::environment::PATHS). The tunnel has to be driven meanwhile.
    pub(crate) async fn start(
        uplink: &Rc<Uplink>,
        events: &mpsc::Sender<Event>,
        folder: &Path,
        mounts: Mounts,
        remote: &[OsString],
        local: &[OsString],
    ) -> Result<(Rc<Self>, OsString), Failure> {
        let mut mounts = normalised(mounts)?;
        // programs compare results of realpath(3) and getcwd(2) with the shadow root
        let place = folder.canonicalize().and_then(|folder| {
            let place = private_folder(&folder)?;
            Ok((place.folder.canonicalize()?, place))
        });
        let (folder, place) = place.map_err(|error| {
            let message = format!("the session's folder cannot be used: {error}");
            Failure::lasting(message, WITHOUT_FILES)
        })?;
        if let Some(warning) = place.warning().filter(|_| !mounts.is_empty()) {
            send(events, Event::Notice(warning)).await;
        }
        let (begun, snapshots) = snapshots(uplink, &mut mounts).await?;
        let table = table(&folder.join(ROOT_NAME), &mounts, remote, local);
        let paths: Vec<Vec<u8>> = mounts.iter().map(|mount| mount.path.clone()).collect();
        let mirrored: Vec<Vec<u8>> = snapshots.iter().map(|(path, _)| path.clone()).collect();
        let mirrors = mirrored.iter().map(|path| Mirror::new(path.clone(), &paths));
        let held = Held {
            mirrors: mirrors.collect(),
            remote: Remote::new(paths.clone()),
        };
        let shadow = Shadow::create(&folder).map_err(|errno| not_made(&folder, errno))?;
        let files = Rc::new(Self {
            uplink: Rc::clone(uplink),
            notices: Notices::new(events.clone()),
            store: Arc::new(Store {
                shadow,
                table: table.clone(),
                held: Mutex::new(held),
                turn: tokio::sync::Mutex::default(),
                _in_use: place.lock,
            }),
            fetches: Fetches::default(),
            mirrored,
            begun: Cell::new(begun),
        });
        let made = files
            .store
            .change(move |shadow, _, _| make_folders(shadow, &mounts));
        made.await.map_err(|errno| not_made(&folder, errno))?;
        for (index, (path, snapshot)) in snapshots.into_iter().enumerate() {
            match snapshot {
                Ok(snapshot) => {
                    let snapshot = Arc::new(snapshot);
                    let applied = files.store.apply(index, Arc::clone(&snapshot)).await;
                    applied.map_err(|errno| not_made(&folder, errno))?;
                    let mount = kinject_escape::bytes(&path);
                    files.notices.unreadable_files(&mount, &snapshot).await;
                }
                Err(errno) => files.notices.unreadable_mount(Some(&path), errno).await,
            }
        }
        Ok((files, OsString::from_vec(table)))
    }
}

/// The mounts with their paths in the form in which paths are compared, the outer ones first.
fn normalised(mounts: Mounts) -> Result<Vec<Mount>, Failure> {
    let mut by_path = BTreeMap::new();
    for mount in mounts.0 {
        let mut buffer = [0; 4096];
        let path = normalise(b"/", &mount.path, &mut buffer, |_| {});
        let path = path.filter(|path| *path != b"/" && !path.iter().any(|byte| matches!(byte, b':' | 0)));
        let Some(path) = path else {
            return Err(Failure::lasting(
                format!(
                    "a mount of the container has the path {}, which cannot stand on this machine",
                    kinject_escape::bytes(&mount.path)
                ),
                WITHOUT_FILES,
            ));
        };
        by_path.insert(path.to_vec(), mount.kind);
    }
    Ok(by_path
        .into_iter()
        .map(|(path, kind)| Mount { path, kind })
        .collect())
}

/// The value of `KINJECT_PATHS`.
fn table(root: &Path, mounts: &[Mount], remote: &[OsString], local: &[OsString]) -> Vec<u8> {
    let mut table = root.as_os_str().as_bytes().to_vec();
    let mut add = |letter: u8, path: &[u8]| {
        table.extend_from_slice(&[b':', letter]);
        table.extend_from_slice(path);
    };
    for mount in mounts {
        let letter = match mount.kind {
            Kind::Mirrored => b'm',
            Kind::Scratch => b's',
            Kind::Remote => b'r',
        };
        add(letter, &mount.path);
    }
    for (letter, globs) in [(b'g', remote), (b'l', local)] {
        for glob in globs {
            let mut buffer = [0; 4096];
            match normalise(b"/", glob.as_bytes(), &mut buffer, |_| {}) {
                Some(glob) if !glob.contains(&b':') => add(letter, glob),
                _ => log::warn!(
                    "{} is no pattern of paths",
                    kinject_escape::bytes(glob.as_bytes())
                ),
            }
        }
    }
    table
}

/// The folders that have to be there: those above mounts, scratch ones, and those of mirrored mounts, which may turn out
/// to be files.
fn make_folders(shadow: &Shadow, mounts: &[Mount]) -> Result<(), Errno> {
    for mount in mounts {
        match mount.kind {
            Kind::Scratch => shadow.make_folder(&mount.path, Some(0o777))?,
            Kind::Mirrored | Kind::Remote => {
                let end = mount
                    .path
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .unwrap_or_default();
                shadow.make_folder(mount.path.get(..end).unwrap_or_default(), None)?;
            }
        }
    }
    Ok(())
}

/// The first snapshot of each mirrored mount, or its errno.
type Snapshots = Vec<(Vec<u8>, Result<Snapshot, u16>)>;

/// Begins to watch the mirrored mounts. One that is too large to be mirrored becomes a remote one.
async fn snapshots(
    uplink: &Rc<Uplink>,
    mounts: &mut [Mount],
) -> Result<(Option<(Rc<ActiveTunnel>, Watch)>, Snapshots), Failure> {
    let first = tokio::time::timeout(START_TIMEOUT, async {
        loop {
            let up = uplink.up().await.map_err(|Ended| ended())?;
            match first_snapshots(&up, mounts).await {
                Ok((watch, snapshots)) => return Ok((watch.map(|watch| (up, watch)), snapshots)),
                Err(RequestError::TunnelLost) => uplink.lost(&up).await,
                Err(error) => return Err(unanswered(&error)),
            }
        }
    });
    first.await.unwrap_or_else(|_| {
        Err(Failure::passing(
            format!(
                "the agent did not send the container's mounted files within {} seconds",
                START_TIMEOUT.as_secs()
            ),
            WITHOUT_FILES,
        ))
    })
}

async fn first_snapshots(
    up: &ActiveTunnel,
    mounts: &mut [Mount],
) -> Result<(Option<Watch>, Snapshots), RequestError> {
    loop {
        let mirrored: Vec<Vec<u8>> = mounts
            .iter()
            .filter(|mount| mount.kind == Kind::Mirrored)
            .map(|mount| mount.path.clone())
            .collect();
        // what a watch takes no more of is read when it is asked for
        let surplus = mirrored.get(MAX_WATCHED..).unwrap_or_default();
        let mut too_large: Vec<Vec<u8>> = surplus.to_vec();
        if too_large.is_empty() {
            if mirrored.is_empty() {
                return Ok((None, Vec::new()));
            }
            let mut watch = up.tunnel.watch(&mirrored).await?;
            let mut received: BTreeMap<usize, Result<Snapshot, u16>> = BTreeMap::new();
            while received.len() < mirrored.len() {
                let WatchEvent { watch, snapshot } = watch.next().await?;
                received.insert(watch, snapshot);
            }
            let is_too_large = |snapshot: &Result<Snapshot, u16>| {
                matches!(snapshot, Err(errno) if i32::from(*errno) == Errno::FBIG.raw_os_error()
                    || i32::from(*errno) == Errno::OVERFLOW.raw_os_error())
            };
            let snapshots: Snapshots = mirrored.into_iter().zip(received.into_values()).collect();
            let large = snapshots.iter().filter(|(_, snapshot)| is_too_large(snapshot));
            too_large.extend(large.map(|(path, _)| path.clone()));
            if too_large.is_empty() {
                return Ok((Some(watch), snapshots));
            }
        }
        for mount in mounts.iter_mut().filter(|mount| too_large.contains(&mount.path)) {
            log::info!(
                "{} is too large to be mirrored: its files are read when they are opened",
                kinject_escape::bytes(&mount.path)
            );
            mount.kind = Kind::Remote;
        }
    }
}

fn ended() -> Failure {
    Failure::end("the session has ended", "start it again")
}

fn unanswered(error: &RequestError) -> Failure {
    match error {
        RequestError::Failed { status: 404, .. } => Failure::lasting(
            "the agent is of a release that has no files",
            "use an agent of this release, or `--files none`",
        ),
        error => Failure::lasting(
            format!("the agent does not send the container's files: {error}"),
            WITHOUT_FILES,
        ),
    }
}

fn not_made(folder: &Path, errno: Errno) -> Failure {
    Failure::lasting(
        format!(
            "cannot write the container's files to {}: {}",
            kinject_escape::path(folder),
            errno_words(errno)
        ),
        "free some space, name a folder of your own in XDG_RUNTIME_DIR, or use `--files none`",
    )
}
