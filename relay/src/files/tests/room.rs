//! Room for contents, and contents that give way.

use super::support::*;
use crate::files::Files;
use crate::test_agent::TestAgent;
use kinject_protocol::control::FilePart::{Content, Status};
use kinject_tunnel::files::{
    FileAnswer, FileKind, FileOperation, FileOutcome, FilePayload, FileStatus, Timestamp,
};
use kinject_tunnel::http2::{FileRequest, Incoming};
use std::cell::{Cell, OnceCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use tokio::sync::Notify;

const MIB: u64 = 1 << 20;

/// What an agent says of a file that can be read.
fn found(path: &[u8], size: u64, payload: FilePayload) -> FileAnswer {
    FileAnswer {
        links: Vec::new(),
        outcome: FileOutcome::Found {
            path: path.to_vec(),
            status: FileStatus {
                kind: FileKind::File,
                mode: 0o644,
                size,
                modified: Timestamp::default(),
                changed: Timestamp::default(),
                inode: 1,
                is_readable: true,
                target: Vec::new(),
            },
            payload,
        },
    }
}

/// Starts an agent that answers each question about a file by this function, and a session with `/data` of it.
async fn session<Answered: Future<Output = ()> + 'static>(
    folder: &Path,
    answer: impl Fn(FileRequest) -> Answered + 'static,
) -> (TestAgent, Session) {
    let agent = TestAgent::answering(move |incoming| {
        if let Incoming::File(request) = incoming {
            tokio::task::spawn_local(answer(request));
        }
    })
    .await;
    let session = Session::start(agent.connector(), folder, remote(Path::new("/data"))).await;
    (agent, session)
}

#[tokio::test]
async fn status_of_a_file_whose_content_gives_way_while_the_agent_is_asked_is_asked_for_again() {
    within_deadline(async {
        let around = tempfile::tempdir().unwrap();
        let files: Rc<OnceCell<Rc<Files>>> = Rc::default();
        let evicting = Rc::clone(&files);
        let answer = move |mut request: FileRequest| {
            let files = Rc::clone(&evicting);
            async move {
                let question = request.question().await.unwrap();
                let payload = match question.operation {
                    FileOperation::Status => FilePayload::None,
                    _ if question.known.is_some() => {
                        let store = &files.get().unwrap().store;
                        let gone = store
                            .change(|shadow, table, held| held.remote.put_nothing(shadow, table, b"/data/a"));
                        gone.await.unwrap();
                        FilePayload::Unchanged
                    }
                    _ => FilePayload::Content,
                };
                let is_content = payload == FilePayload::Content;
                let answer = found(b"/data/a", 5, payload);
                let mut sender = request.answer(&answer).await.unwrap();
                if is_content {
                    sender.send(b"hello"[..].into()).await.unwrap();
                }
                sender.finish();
            }
        };
        let (_agent, session) = session(&session_folder(around.path()), answer).await;
        assert!(files.set(Rc::clone(&session.files)).is_ok());
        let path = Path::new("/data/a");
        let shown = session.fetch(Content, path).await.unwrap();
        session.files.forget_answers();
        session.fetch(Status, path).await.unwrap();
        assert_eq!(fs::metadata(&shown).unwrap().len(), 5);
        session.fetch(Content, path).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "hello");
    })
    .await;
}

#[tokio::test]
async fn file_that_grows_while_it_is_received_needs_space_for_what_it_grows_by() {
    within_deadline(async {
        let around = tempfile::tempdir().unwrap();
        let folder = session_folder(around.path());
        let Some(_small) = Small::mount(&folder, "12m") else {
            return;
        };
        let answer = |mut request: FileRequest| async move {
            request.question().await.unwrap();
            let answer = found(b"/data/log", 5 * MIB, FilePayload::Content);
            let mut sender = request.answer(&answer).await.unwrap();
            sender.send(vec![b'x'; 5 << 20].into()).await.unwrap();
            sender.send(b"more"[..].into()).await.unwrap();
            sender.finish();
        };
        let (_agent, session) = session(&folder, answer).await;
        let shown = session.fetch(Content, Path::new("/data/log")).await.unwrap();
        assert_eq!(fs::metadata(&shown).unwrap().len(), 5 * MIB + 4);
    })
    .await;
}

#[tokio::test]
async fn content_without_room_leaves_the_tunnel_and_is_asked_for_again_when_there_is_some() {
    within_deadline(async {
        let around = tempfile::tempdir().unwrap();
        let folder = session_folder(around.path());
        let Some(_small) = Small::mount(&folder, "16m") else {
            return;
        };
        let (release, refused) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let first_answered = Rc::new(Notify::new());
        let (released, counter, answered) = (
            Rc::clone(&release),
            Rc::clone(&refused),
            Rc::clone(&first_answered),
        );
        let answer = move |mut request: FileRequest| {
            let (released, counter, answered) =
                (Rc::clone(&released), Rc::clone(&counter), Rc::clone(&answered));
            async move {
                let question = request.question().await.unwrap();
                let is_first = question.rest.ends_with(b"first");
                let (path, size): (&[u8], _) = match is_first {
                    true => (b"/data/first", 9 * MIB),
                    false => (b"/data/second", 4 * MIB),
                };
                let answer = found(path, size, FilePayload::Content);
                let mut sender = request.answer(&answer).await.unwrap();
                if is_first {
                    // one that was received in part
                    sender.send(b"x"[..].into()).await.unwrap();
                    answered.notify_one();
                    released.notified().await;
                } else if counter.get() == 0 {
                    sender.cancelled().await;
                    counter.set(1);
                    released.notify_one();
                    return;
                } else {
                    sender.send(vec![b'y'; 4 << 20].into()).await.unwrap();
                }
                sender.finish();
            }
        };
        let (_agent, session) = session(&folder, answer).await;
        let staging = session.root.with_file_name("staging");
        let second = async {
            first_answered.notified().await;
            until("the first one is being received", || {
                fs::read_dir(&staging).unwrap().count() == 1
            })
            .await;
            session.fetch(Content, Path::new("/data/second")).await
        };
        let (first, second) = tokio::join!(session.fetch(Content, Path::new("/data/first")), second);
        assert_eq!(fs::metadata(first.unwrap()).unwrap().len(), 1);
        assert_eq!(fs::metadata(second.unwrap()).unwrap().len(), 4 * MIB);
        assert_eq!(refused.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn empty_file_on_a_nearly_full_disk_is_put_and_removes_no_content() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
        let Some(_small) = Small::mount(&world.session_folder, "16m") else {
            return;
        };
        for name in ["a", "b"] {
            fs::write(data.join(name), vec![b'x'; 5 << 20]).unwrap();
        }
        fs::write(data.join("empty"), "").unwrap();
        let session = world.session(remote(&data)).await;
        for name in ["a", "b"] {
            session.fetch(Content, &data.join(name)).await.unwrap();
        }
        fs::write(world.session_folder.join("filler"), vec![0; 3 << 20]).unwrap();
        let shown = session.fetch(Content, &data.join("empty")).await.unwrap();
        assert_eq!(fs::metadata(shown).unwrap().len(), 0);
        for name in ["a", "b"] {
            assert_eq!(fs::metadata(session.at(&data.join(name))).unwrap().len(), 5 * MIB);
        }
    })
    .await;
}

/// A file of `/proc` says nothing of its length.
#[tokio::test]
async fn file_of_unknown_length_leaves_as_much_space_free_as_one_of_a_known_length() {
    within_deadline(async {
        for size in [0, 10 * MIB] {
            let around = tempfile::tempdir().unwrap();
            let folder = session_folder(around.path());
            let Some(_small) = Small::mount(&folder, "12m") else {
                return;
            };
            let answer = move |mut request: FileRequest| async move {
                request.question().await.unwrap();
                let answer = found(b"/data/file", size, FilePayload::Content);
                let mut sender = request.answer(&answer).await.unwrap();
                for _ in 0..10 {
                    if sender.send(vec![b'x'; 1 << 20].into()).await.is_err() {
                        return;
                    }
                }
                sender.finish();
            };
            let (_agent, session) = session(&folder, answer).await;
            let fetched = session.fetch(Content, Path::new("/data/file")).await;
            assert_eq!(fetched, Err(libc::ENOSPC), "{size}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_a_tiny_content_takes_the_space_that_is_to_be_left_free() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
        let Some(_small) = Small::mount(&world.session_folder, "16m") else {
            return;
        };
        fs::write(data.join("small"), vec![b'x'; 500 << 10]).unwrap();
        fs::write(data.join("tiny"), "tiny").unwrap();
        let session = world.session(remote(&data)).await;
        fs::write(world.session_folder.join("filler"), vec![0; 13 << 20]).unwrap();
        let small = session.fetch(Content, &data.join("small")).await;
        assert_eq!(small, Err(libc::ENOSPC));
        let shown = session.fetch(Content, &data.join("tiny")).await.unwrap();
        assert_eq!(fs::read_to_string(shown).unwrap(), "tiny");
    })
    .await;
}
