//! The agent's environment and the files that it reads, as a relay asks for them.

#![allow(clippy::unwrap_used, reason = "it runs in tests only")]

mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use kinject_tunnel::files::{
    FileOperation, FileOutcome, FilePayload, FileQuestion, MAX_DEPTH, Snapshot, SnapshotContent, WatchEvent,
};
use kinject_tunnel::{RequestError, Tunnel};
use nix::unistd::geteuid;
use support::{Agent, soon, write_key};

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn question(operation: FileOperation, path: &Path) -> FileQuestion {
    FileQuestion {
        operation,
        mount: Vec::new(),
        rest: bytes(path),
        known: None,
    }
}

/// The content of a file, or the errno.
async fn content(tunnel: &Tunnel, path: &Path) -> Result<Vec<u8>, u16> {
    let (answer, mut body) = tunnel
        .file(&question(FileOperation::Content, path))
        .await
        .unwrap();
    match answer.outcome {
        FileOutcome::Found {
            payload: FilePayload::Content,
            ..
        } => {}
        FileOutcome::Found {
            payload: FilePayload::Failed(errno),
            ..
        }
        | FileOutcome::Failed { errno, .. } => return Err(errno),
        other => panic!("{other:?}"),
    }
    let mut content = Vec::new();
    while let Some(piece) = body.next().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

/// The paths in a snapshot, with the contents of its files.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let mut shown: Vec<String> = snapshot
        .entries
        .iter()
        .map(|entry| {
            let path = String::from_utf8_lossy(&entry.path);
            match &entry.content {
                SnapshotContent::Bytes(content) => format!("{path}: {}", String::from_utf8_lossy(content)),
                SnapshotContent::Failed(errno) => format!("{path}: errno {errno}"),
                SnapshotContent::None => path.into_owned(),
            }
        })
        .collect();
    shown.sort();
    shown
}

#[tokio::test]
async fn environment_is_the_one_that_the_agent_was_started_with() {
    let folder = tempfile::tempdir().unwrap();
    write_key(&folder.path().join("key"));
    let variables: Vec<(OsString, OsString)> = [
        (&b"LINES"[..], &b"a\nb\n"[..]),
        (b"EMPTY", b""),
        (b"EQUALS", b"=a=b"),
        (b"BYTES\xff", b"\xfe\xff"),
        (b"LARGE", &[b'x'; 100_000]),
    ]
    .into_iter()
    .map(|(name, value)| {
        (
            OsString::from_vec(name.to_vec()),
            OsString::from_vec(value.to_vec()),
        )
    })
    .collect();
    let mut command = Agent::command();
    command
        .arg("--files")
        .arg("--listen")
        .arg(format!("unix:{}", folder.path().join("agent.sock").display()))
        .arg("--key")
        .arg(folder.path().join("key"))
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)));
    let agent = Agent::run(command, folder);
    let (tunnel, _driver) = agent.tunnel().await;
    let mut found = soon(tunnel.environment()).await.unwrap();
    found.sort();
    let mut expected = variables;
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn agent_by_hand_without_files_option_gives_neither_files_nor_environment() {
    let agent = Agent::start(&[]);
    let (tunnel, _driver) = agent.tunnel().await;
    let question = question(FileOperation::Content, Path::new("/etc/hostname"));
    for refused in [
        soon(tunnel.environment()).await.map(drop),
        soon(tunnel.file(&question)).await.map(drop),
        soon(tunnel.watch(&[b"/etc".to_vec()])).await.map(drop),
    ] {
        let Err(RequestError::Failed { status: 403, reason }) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.ends_with("start it with --files"), "{reason}");
    }
}

#[tokio::test]
async fn key_of_the_agent_is_not_given_away_by_any_name() {
    let agent = Agent::start(&["--files"]);
    let (tunnel, _driver) = agent.tunnel().await;
    let key = agent.key();
    let (folder, hard) = (key.parent().unwrap(), key.with_file_name("hard"));
    fs::hard_link(&key, &hard).unwrap();
    symlink(&key, folder.join("soft")).unwrap();
    for path in [key.as_path(), &hard, &folder.join("soft")] {
        assert_eq!(soon(content(&tunnel, path)).await, Err(13), "{}", path.display());
    }
    let mut watch = soon(tunnel.watch(&[bytes(folder)])).await.unwrap();
    let snapshot = soon(watch.next()).await.unwrap().snapshot.unwrap();
    let shown = shown(&snapshot);
    for hidden in ["key: errno 13", "hard: errno 13"] {
        assert!(shown.iter().any(|entry| entry == hidden), "{shown:?}");
    }
}

#[tokio::test]
async fn content_of_any_size_arrives_whole_and_unchanged_content_is_not_sent() {
    let agent = Agent::start(&["--files"]);
    let (tunnel, _driver) = agent.tunnel().await;
    let file = agent.folder.path().join("file");
    for size in [0, 1, 256 << 10, (20 << 20) + 3] {
        let written: Vec<u8> = (0..size).map(|place: u32| (place / 251) as u8).collect();
        fs::write(&file, &written).unwrap();
        assert!(soon(content(&tunnel, &file)).await.unwrap() == written, "{size}");
    }
    // the kernel makes up what is in it, and gives it no size
    assert!(
        soon(content(&tunnel, Path::new("/proc/version")))
            .await
            .unwrap()
            .len()
            > 10
    );
    let (answer, _) = soon(tunnel.file(&question(FileOperation::Status, &file)))
        .await
        .unwrap();
    let FileOutcome::Found { status, .. } = answer.outcome else {
        panic!("{answer:?}");
    };
    let question = FileQuestion {
        known: Some(status),
        ..question(FileOperation::Content, &file)
    };
    let (answer, _) = soon(tunnel.file(&question)).await.unwrap();
    assert!(
        matches!(
            answer.outcome,
            FileOutcome::Found {
                payload: FilePayload::Unchanged,
                ..
            }
        ),
        "{answer:?}"
    );
}

/// As the kernel answers it, also where the path is too long to be named in an answer.
#[tokio::test]
async fn name_and_path_that_are_too_long_give_enametoolong() {
    let agent = Agent::start(&["--files"]);
    let (tunnel, _driver) = agent.tunnel().await;
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("n".repeat(256));
    assert_eq!(soon(content(&tunnel, &long)).await, Err(36));
    assert_eq!(soon(content(&tunnel, &long.join("below"))).await, Err(36));
    assert_eq!(
        soon(content(
            &tunnel,
            &folder.path().join("none").join("n".repeat(256))
        ))
        .await,
        Err(2)
    );
    let deep = folder.path().join("d/".repeat(MAX_DEPTH + 2));
    fs::create_dir_all(&deep).unwrap();
    assert_eq!(soon(content(&tunnel, &deep)).await, Err(36));
}

#[tokio::test]
async fn link_of_proc_is_followed_by_its_text_alone() {
    let agent = Agent::start(&["--files"]);
    let (tunnel, _driver) = agent.tunnel().await;
    // the kernel's own way by this link would lead to the file that has no name any more
    let deleted = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &deleted, b"x").unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), deleted.as_raw_fd());
    assert_eq!(fs::read(&path).unwrap(), b"x");
    assert_eq!(soon(content(&tunnel, Path::new(&path))).await, Err(2));
}

#[tokio::test]
async fn watch_reports_a_path_at_first_when_it_appears_and_when_it_changes() {
    let agent = Agent::start(&["--files"]);
    let (tunnel, _driver) = agent.tunnel().await;
    let (one, other) = (agent.folder.path().join("one"), agent.folder.path().join("other"));
    fs::create_dir(&one).unwrap();
    fs::write(one.join("a"), "1").unwrap();
    let mut watch = soon(tunnel.watch(&[bytes(&one), bytes(&other)])).await.unwrap();
    let WatchEvent {
        watch: first,
        snapshot,
    } = soon(watch.next()).await.unwrap();
    assert_eq!(
        (first, shown(&snapshot.unwrap())),
        (0, vec![String::new(), "a: 1".into()])
    );
    let missing = soon(watch.next()).await.unwrap();
    assert_eq!(
        missing,
        WatchEvent {
            watch: 1,
            snapshot: Err(2)
        }
    );
    fs::create_dir(&other).unwrap();
    fs::write(other.join("b"), "2").unwrap();
    fs::write(one.join("a"), "3").unwrap();
    let (mut changed, mut appeared) = (false, false);
    while !changed || !appeared {
        let event = soon(watch.next()).await.unwrap();
        let shown = event
            .snapshot
            .map(|snapshot| shown(&snapshot))
            .unwrap_or_default();
        changed |= event.watch == 0 && shown.contains(&"a: 3".to_owned());
        appeared |= event.watch == 1 && shown.contains(&"b: 2".to_owned());
    }
}

#[tokio::test]
async fn snapshot_has_the_folder_of_a_mount_below_and_nothing_in_it() {
    if !geteuid().is_root() {
        kinject_test_support::skip::not_run("a mount below a watched path", "it takes root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_key(&folder.path().join("key"));
    let (outer, inner) = (folder.path().join("outer"), folder.path().join("inner"));
    fs::create_dir_all(outer.join("mounted")).unwrap();
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("hidden"), "").unwrap();
    fs::write(outer.join("seen"), "x").unwrap();
    // of the same file system: only the kernel can tell
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .args([inner.as_os_str(), outer.join("mounted").as_os_str()])
        .arg(Agent::command().get_program())
        .args([OsStr::new("--files"), OsStr::new("--listen")])
        .arg(format!("unix:{}", folder.path().join("agent.sock").display()))
        .arg("--key")
        .arg(folder.path().join("key"));
    let agent = Agent::run(command, folder);
    let (tunnel, _driver) = agent.tunnel().await;
    let mut watch = soon(tunnel.watch(&[bytes(&outer)])).await.unwrap();
    let snapshot = soon(watch.next()).await.unwrap().snapshot.unwrap();
    assert_eq!(shown(&snapshot), ["", "mounted", "seen: x"]);
}
