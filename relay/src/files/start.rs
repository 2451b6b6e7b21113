//! The start of a session with files: makes the shadow root, and waits until all mirrored mounts stand in it.

use super::fetch::Fetches;
use super::mirror::{MIRRORED_BYTES, Mirror, bytes_of};
use super::notices::Notices;
use super::place::private_folder;
use super::remote::Remote;
use super::shadow::{ROOT_NAME, Shadow};
use super::{Applied, Files, Held, Mount, Mounts, Store, errno_words, is_too_large, send};
use crate::log;
use crate::report::Failure;
use crate::uplink::{ActiveTunnel, Ended, Uplink};
use kinject_protocol::environment::PATHS;
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
        check_length(&table)?;
        let paths: Vec<Vec<u8>> = mounts.iter().map(|mount| mount.path.clone()).collect();
        let mirrored: Vec<Vec<u8>> = snapshots.iter().map(|(path, _)| path.clone()).collect();
        let mirrors = mirrored.iter().map(|path| Mirror::new(path.clone(), &paths));
        let held = Held {
            mirrors: mirrors.collect(),
            remote: Remote::new(paths.clone()),
        };
        let contents = held.remote.shared_contents();
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
            contents,
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
                    if applied.map_err(|errno| not_made(&folder, errno))? == Applied::TooLarge {
                        files.notices.outgrown(Some(&path)).await;
                        continue;
                    }
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

/// Refuses a table with which no program could be started: execve(2) takes variables of 32 pages (`MAX_ARG_STRLEN`).
fn check_length(table: &[u8]) -> Result<(), Failure> {
    const LONGEST: usize = 32 * 4096 - PATHS.len() - "=\0".len();
    if table.len() <= LONGEST {
        return Ok(());
    }
    Err(Failure::lasting(
        format!(
            "the paths of mounts and patterns are too many: they take {} bytes of the variable {PATHS}, which holds \
             {LONGEST}",
            table.len()
        ),
        "leave out some `--remote-path` and `--local-path`, or use `--files none`",
    ))
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
                let others = received.iter().filter(|(other, _)| **other != watch);
                let others: u64 = others.flat_map(|(_, other)| other).map(bytes_of).sum();
                received.insert(watch, within_total(snapshot, others));
            }
            let snapshots: Snapshots = mirrored.into_iter().zip(received.into_values()).collect();
            let large = snapshots
                .iter()
                .filter(|(_, snapshot)| snapshot.as_ref().is_err_and(|errno| is_too_large(*errno)));
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

/// A snapshot as far as all together are not too large; `others` is what the others have.
fn within_total(snapshot: Result<Snapshot, u16>, others: u64) -> Result<Snapshot, u16> {
    let is_within = |snapshot: &Snapshot| others.saturating_add(bytes_of(snapshot)) <= MIRRORED_BYTES;
    match snapshot {
        Ok(snapshot) if !is_within(&snapshot) => Err(Errno::FBIG.raw_os_error() as u16),
        snapshot => snapshot,
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kinject_tunnel::files::{FileKind, FileStatus, SnapshotContent, SnapshotEntry, Timestamp};
    use std::process::Command;

    #[test]
    fn mount_that_goes_beyond_what_is_mirrored_of_all_counts_as_too_large() {
        let snapshot = Snapshot {
            entries: vec![SnapshotEntry {
                path: Vec::new(),
                status: FileStatus {
                    kind: FileKind::File,
                    mode: 0o644,
                    size: 5,
                    modified: Timestamp::default(),
                    changed: Timestamp::default(),
                    inode: 1,
                    is_readable: true,
                    target: Vec::new(),
                },
                content: SnapshotContent::Bytes(Bytes::from_static(b"hello")),
            }],
        };
        assert_eq!(
            within_total(Ok(snapshot.clone()), MIRRORED_BYTES - 5),
            Ok(snapshot.clone())
        );
        let beyond = within_total(Ok(snapshot), MIRRORED_BYTES - 4);
        assert!(is_too_large(beyond.unwrap_err()));
        assert_eq!(within_total(Err(13), MIRRORED_BYTES), Err(13));
    }

    #[test]
    fn table_that_no_program_can_be_started_with_is_refused_and_one_that_fits_is_not() {
        let root = Path::new("/run/user/1000/kinject/sessions/1/root");
        let tables = (1..300).map(|count| {
            let globs: Vec<OsString> = (0..count)
                .map(|number| OsString::from(format!("/app/{number:03}/{}", "x".repeat(500))))
                .collect();
            table(root, &[], &globs, &[])
        });
        let (fitting, refused): (Vec<_>, Vec<_>) = tables.partition(|table| check_length(table).is_ok());
        let starts = |table: Option<&Vec<u8>>| {
            let value = OsString::from_vec(table.unwrap().clone());
            Command::new("true").env(PATHS, value).status()
        };
        assert!(starts(fitting.last()).unwrap().success());
        let error = starts(refused.first()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::TOOBIG.raw_os_error()));
        let failure = check_length(refused.first().unwrap()).unwrap_err();
        assert!(failure.message.contains(PATHS), "{}", failure.message);
    }
}
