use super::support::*;
use crate::test_agent::TestAgent;
use bytes::Bytes;
use kinject_protocol::control::FilePart::{self, Content, Entries, Status};
use kinject_tunnel::files::{
    FileAnswer, FileKind, FileOutcome, FilePayload, FileStatus, FoundLink, NamedStatus, Snapshot,
    SnapshotContent, SnapshotEntry, Timestamp, WatchEvent,
};
use kinject_tunnel::http2::{Incoming, WatchSender};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use tempfile::TempDir;

fn status(kind: FileKind, target: &str) -> FileStatus {
    FileStatus {
        kind,
        mode: 0o777,
        size: 5,
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        inode: 1,
        is_readable: true,
        target: target.as_bytes().to_vec(),
    }
}

fn entry(path: &str, kind: FileKind, target: &str) -> SnapshotEntry {
    SnapshotEntry {
        path: path.as_bytes().to_vec(),
        status: status(kind, target),
        content: match kind {
            FileKind::File => SnapshotContent::Bytes(Bytes::from_static(b"hello")),
            _ => SnapshotContent::None,
        },
    }
}

fn found(path: &str, kind: FileKind, payload: FilePayload) -> FileOutcome {
    FileOutcome::Found {
        path: path.as_bytes().to_vec(),
        status: status(kind, ""),
        payload,
    }
}

fn link(path: &str, target: &str) -> FoundLink {
    FoundLink {
        path: path.as_bytes().to_vec(),
        status: status(FileKind::Link, target),
    }
}

/// A session whose agent answers each question for a file with this answer, and a watch with these events, for ever
/// again if they are endless.
struct Hostile {
    // its end removes what is in the folder
    session: Session,
    _folder: TempDir,
    _agent: TestAgent,
}

async fn hostile(answer: FileAnswer, events: Vec<Vec<SnapshotEntry>>, endless: bool) -> Hostile {
    let reported = Rc::new(Cell::new(0));
    let agent = TestAgent::answering(move |incoming| {
        let (answer, events, reported) = (answer.clone(), events.clone(), Rc::clone(&reported));
        tokio::task::spawn_local(async move {
            match incoming {
                Incoming::File(mut request) => {
                    request.question().await.unwrap();
                    let Ok(mut sender) = request.answer(&answer).await else {
                        return;
                    };
                    let _refused = sender.send(Bytes::from_static(b"hello")).await.is_err();
                    sender.finish();
                }
                Incoming::Watch(mut request) => {
                    request.paths().await.unwrap();
                    let mut sender = request.accept().unwrap();
                    loop {
                        for entries in &events {
                            let snapshot = Ok(Snapshot {
                                entries: entries.clone(),
                            });
                            let event = WatchSender::encode(&WatchEvent { watch: 0, snapshot }).unwrap();
                            if sender.send(event).await.is_err() {
                                return;
                            }
                            reported.set(reported.get() + 1);
                        }
                        if !endless {
                            return sender.cancelled().await;
                        }
                    }
                }
                _ => {}
            }
        });
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let session_folder = session_folder(folder.path());
    let wanted = Wanted {
        mirrored: vec!["/mirror/config".into()],
        remote: vec!["/data".into()],
        ..Wanted::default()
    };
    let session = Session::start(agent.connector(), &session_folder, wanted).await;
    Hostile {
        _folder: folder,
        session,
        _agent: agent,
    }
}

impl Hostile {
    async fn fetch(&self, part: FilePart, path: &str) -> Result<(), i32> {
        self.session.fetch(part, Path::new(path)).await.map(drop)
    }

    /// What stands in the folder around the shadow root.
    fn outside(&self) -> Vec<String> {
        let around = self.session.root.parent().unwrap();
        let mut names: Vec<String> = fs::read_dir(around)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn mirror() -> Vec<SnapshotEntry> {
    vec![entry("", FileKind::Folder, ""), entry("key", FileKind::File, "")]
}

fn answer(links: Vec<FoundLink>, outcome: FileOutcome) -> FileAnswer {
    FileAnswer { links, outcome }
}

const OUTSIDE: [&str; 2] = ["root", "staging"];

#[tokio::test]
async fn answer_with_a_path_or_name_that_is_none_gives_eio_and_writes_nothing() {
    let named = |names: &[&str]| {
        let entries = names.iter().map(|name| NamedStatus {
            name: name.as_bytes().to_vec(),
            status: status(FileKind::File, ""),
        });
        found("/data", FileKind::Folder, FilePayload::Entries(entries.collect()))
    };
    within_deadline(async {
        for answered in [
            answer(vec![], found("/../../evil", FileKind::File, FilePayload::Content)),
            answer(
                vec![],
                found("/data/../../../evil", FileKind::File, FilePayload::Content),
            ),
            answer(vec![], found("evil", FileKind::File, FilePayload::Content)),
            answer(vec![], found("/data//evil", FileKind::File, FilePayload::Content)),
            answer(
                vec![],
                found("/data/e\0vil", FileKind::File, FilePayload::Content),
            ),
            answer(vec![], named(&["../evil"])),
            answer(vec![], named(&[".."])),
            answer(vec![], named(&["a/../../evil"])),
            answer(vec![], named(&["."])),
            answer(vec![], named(&[""])),
            answer(
                vec![link("/data/../x", "/")],
                found("/data/a", FileKind::File, FilePayload::None),
            ),
            answer(
                (0..41).map(|_| link("/data/a", "b")).collect(),
                found("/data/a", FileKind::File, FilePayload::None),
            ),
        ] {
            let hostile = hostile(answered.clone(), vec![mirror()], false).await;
            assert_eq!(
                hostile.fetch(Content, "/data/a").await,
                Err(libc::EIO),
                "{answered:?}"
            );
            assert_eq!(hostile.outside(), OUTSIDE, "{answered:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn links_of_an_agent_never_lead_a_write_out_of_the_shadow_root() {
    within_deadline(async {
        // each link leads out by its text, and the file is to be written through it
        for (at, target) in [
            ("/data/up", "../../../.."),
            ("/data/up", "/"),
            ("/data/up", "up"),
            ("/data", "/"),
            ("/", "/etc"),
        ] {
            let answered = answer(
                vec![link(at, target)],
                found("/data/up/evil", FileKind::File, FilePayload::Content),
            );
            let hostile = hostile(answered, vec![mirror()], false).await;
            hostile.fetch(Content, "/data/up/evil").await.unwrap();
            assert_eq!(hostile.outside(), OUTSIDE, "{at} {target}");
            let written = hostile.session.at(Path::new("/data/up/evil"));
            assert_eq!(fs::read_to_string(&written).unwrap(), "hello");
            let root = hostile.session.root.canonicalize().unwrap();
            assert_eq!(written.canonicalize().unwrap(), root.join("data/up/evil"));
        }
    })
    .await;
}

#[tokio::test]
async fn answer_about_a_remote_path_never_changes_a_mirrored_mount() {
    within_deadline(async {
        for (links, at) in [
            (vec![], "/mirror/config/key"),
            (vec![], "/mirror/config"),
            (vec![], "/mirror"),
            (vec![link("/mirror", "/data")], "/data/a"),
            (vec![link("/mirror/config", "/data")], "/data/a"),
            (vec![link("/mirror/config/key", "/data/a")], "/data/a"),
        ] {
            let answered = answer(links, found(at, FileKind::File, FilePayload::Content));
            let hostile = hostile(answered, vec![mirror()], false).await;
            let _any = hostile.fetch(Content, "/data/a").await;
            let key = hostile.session.at(Path::new("/mirror/config/key"));
            assert_eq!(fs::read_to_string(key).unwrap(), "hello", "{at}");
            let failed = FileOutcome::Failed {
                path: at.into(),
                errno: libc::ENOENT as u16,
            };
            let hostile = self::hostile(answer(vec![], failed), vec![mirror()], false).await;
            let _any = hostile.fetch(Status, "/data/a").await;
            let key = hostile.session.at(Path::new("/mirror/config/key"));
            assert_eq!(fs::read_to_string(key).unwrap(), "hello", "{at}");
        }
    })
    .await;
}

#[tokio::test]
async fn entry_listed_twice_stands_once() {
    within_deadline(async {
        let twice = ["a", "a"].map(|name| NamedStatus {
            name: name.into(),
            status: status(FileKind::File, ""),
        });
        let entries = FilePayload::Entries(twice.to_vec());
        let answered = answer(vec![], found("/data", FileKind::Folder, entries));
        let hostile = hostile(answered, vec![mirror()], false).await;
        hostile.fetch(Entries, "/data").await.unwrap();
        let shown = hostile.session.at(Path::new("/data"));
        assert_eq!(fs::read_dir(shown).unwrap().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn snapshot_that_is_no_tree_is_not_applied() {
    within_deadline(async {
        for bad in [
            vec![],
            vec![entry("key", FileKind::File, "")],
            vec![
                entry("", FileKind::Folder, ""),
                entry("../evil", FileKind::File, ""),
            ],
            vec![
                entry("", FileKind::Folder, ""),
                entry("/evil", FileKind::File, ""),
            ],
            vec![
                entry("", FileKind::Folder, ""),
                entry("none/evil", FileKind::File, ""),
            ],
            vec![
                entry("", FileKind::Folder, ""),
                entry("a", FileKind::Link, "/tmp"),
                entry("a/evil", FileKind::File, ""),
            ],
            vec![
                entry("", FileKind::Folder, ""),
                entry("a", FileKind::Folder, ""),
                entry("a", FileKind::Link, "/tmp"),
            ],
            vec![
                entry("", FileKind::Folder, ""),
                entry("a", FileKind::File, ""),
                entry("a", FileKind::File, ""),
            ],
            vec![entry("", FileKind::Link, "/tmp")],
        ] {
            let answered = answer(vec![], found("/data/a", FileKind::File, FilePayload::None));
            let hostile = hostile(answered, vec![mirror(), bad.clone()], false).await;
            // it answers while it refuses the snapshot
            hostile.fetch(Status, "/data/a").await.unwrap();
            let key = hostile.session.at(Path::new("/mirror/config/key"));
            assert_eq!(fs::read_to_string(key).unwrap(), "hello", "{bad:?}");
            assert_eq!(hostile.outside(), OUTSIDE, "{bad:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn endless_snapshots_do_not_keep_other_calls_waiting() {
    within_deadline(async {
        let changed = vec![
            entry("", FileKind::Folder, ""),
            entry("other", FileKind::File, ""),
        ];
        let answered = answer(vec![], found("/data/a", FileKind::File, FilePayload::Content));
        let hostile = hostile(answered, vec![mirror(), changed], true).await;
        for number in 0..50 {
            hostile.fetch(Content, &format!("/data/{number}")).await.unwrap();
        }
        let mount = hostile.session.at(Path::new("/mirror/config"));
        until("the mount goes on changing", || mount.join("other").exists()).await;
        until("the mount goes on changing", || mount.join("key").exists()).await;
    })
    .await;
}
