//! How a path is asked for: without a tunnel, of an agent that refuses, and how often.

use super::support::*;
use kinject_protocol::control::FilePart::{Content, Entries, Status};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const ENOENT: i32 = libc::ENOENT;

#[tokio::test]
async fn fetch_without_a_tunnel_waits_for_the_next_one_and_fails_when_the_session_is_over() {
    within_deadline(async {
        let (mut world, data) = World::with_data().await;
        let file = data.join("file");
        fs::write(&file, "x").unwrap();
        let session = world.session(remote(&data)).await;
        world.agent.kill();
        let (fetched, ()) = tokio::join!(session.fetch(Content, &file), world.agent.restart_killed());
        assert_eq!(fs::read_to_string(fetched.unwrap()).unwrap(), "x");
        session.tunnel.abort();
        until("the session is over", || session.tunnel.is_finished()).await;
        assert_eq!(session.fetch(Content, &data.join("other")).await, Err(libc::EIO));
    })
    .await;
}

#[tokio::test]
async fn agent_without_files_option_refuses_and_says_how_to_go_on() {
    within_deadline(async {
        let agent = crate::test_agent::TestAgent::answering(|incoming| {
            if let kinject_tunnel::http2::Incoming::Watch(request) = incoming {
                request.forbid("this agent gives no files away: start it with --files");
            }
        })
        .await;
        let around = tempfile::tempdir().unwrap();
        let folder = session_folder(around.path());
        let wanted = Wanted {
            mirrored: vec!["/etc/config".into()],
            ..Wanted::default()
        };
        let started = Session::try_start(agent.connector(), &folder, wanted).await;
        let failure = started.err().unwrap();
        assert!(
            failure.message.ends_with("start it with --files"),
            "{}",
            failure.message
        );
    })
    .await;
}

#[tokio::test]
async fn content_takes_one_round_trip_and_its_transfer() {
    const DELAY: Duration = Duration::from_millis(300);
    within_deadline(async {
        let (world, data) = World::with_data().await;
        for name in ["a", "b", "c"] {
            fs::write(data.join(name), vec![b'x'; 1 << 20]).unwrap();
        }
        let connector = world.delayed_connector(DELAY);
        let session = Session::start(connector, &world.session_folder, remote(&data)).await;
        let mut best = Duration::MAX;
        for name in ["a", "b", "c"] {
            let since = Instant::now();
            let shown = session.fetch(Content, &data.join(name)).await.unwrap();
            best = best.min(since.elapsed());
            assert_eq!(fs::metadata(&shown).unwrap().len(), 1 << 20);
        }
        println!("1 MiB took {best:?} with a round trip of {:?}", 2 * DELAY);
        assert!(best < 4 * DELAY, "it took two round trips: {best:?}");
    })
    .await;
}

#[tokio::test]
async fn repeated_and_concurrent_questions_about_a_path_are_asked_once() {
    use kinject_tunnel::files::{FileAnswer, FileOutcome};
    use std::cell::Cell;
    use std::rc::Rc;
    within_deadline(async {
        let asked = Rc::new(Cell::new(0));
        let counter = Rc::clone(&asked);
        let agent = crate::test_agent::TestAgent::answering(move |incoming| {
            let kinject_tunnel::http2::Incoming::File(mut request) = incoming else {
                return;
            };
            counter.set(counter.get() + 1);
            tokio::task::spawn_local(async move {
                request.question().await.unwrap();
                let outcome = FileOutcome::Failed {
                    path: b"/data/none".to_vec(),
                    errno: ENOENT as u16,
                };
                let links = Vec::new();
                let sender = request.answer(&FileAnswer { links, outcome }).await.unwrap();
                sender.finish();
            });
        })
        .await;
        let around = tempfile::tempdir().unwrap();
        let folder = session_folder(around.path());
        let session = Session::start(agent.connector(), &folder, remote(Path::new("/data"))).await;
        let path = Path::new("/data/none");
        let since = Instant::now();
        let (one, other) = tokio::join!(session.fetch(Status, path), session.fetch(Content, path));
        assert_eq!((one, other), (Err(ENOENT), Err(ENOENT)));
        assert_eq!(session.fetch(Entries, path).await, Err(ENOENT));
        // an answer counts for a second
        let is_fresh = since.elapsed() < Duration::from_secs(1);
        assert!(asked.get() == 1 || !is_fresh, "asked {} times", asked.get());
    })
    .await;
}
