use super::support::*;
use kinject_protocol::control::FilePart::{Content, Entries, Status};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

const ENOENT: i32 = libc::ENOENT;

fn remote(path: &Path) -> Wanted {
    Wanted {
        remote: vec![path.to_owned()],
        ..Wanted::default()
    }
}

#[tokio::test]
async fn status_entries_and_content_are_put_when_they_are_asked_for() {
    within_deadline(async {
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        let file = data.join("sub/file");
        fs::write(&file, "x".repeat(70_000)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
        let session = world.session(remote(&data)).await;

        let shown = session.fetch(Status, &file).await.unwrap();
        let (found, real) = (fs::metadata(&shown).unwrap(), fs::metadata(&file).unwrap());
        assert_eq!((found.mode(), found.len()), (real.mode(), real.len()));
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (real.mtime(), real.mtime_nsec())
        );
        assert_eq!(found.blocks(), 0, "a placeholder takes no space");

        fs::write(data.join("sub/other"), "").unwrap();
        let shown = session.fetch(Entries, &data.join("sub")).await.unwrap();
        let mut names: Vec<_> = fs::read_dir(&shown)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["file", "other"]);

        let shown = session.fetch(Content, &file).await.unwrap();
        assert_eq!(fs::read(&shown).unwrap(), fs::read(&file).unwrap());
        assert_eq!(fs::metadata(&shown).unwrap().mtime(), real.mtime());
        assert_eq!(session.fetch(Status, &data.join("none")).await, Err(ENOENT));
        assert_eq!(
            session.fetch(Content, &file.join("none")).await,
            Err(libc::ENOTDIR)
        );
        assert_eq!(session.fetch(Status, Path::new("/etc/passwd")).await, Err(ENOENT));
    })
    .await;
}

#[tokio::test]
async fn links_are_put_with_what_they_lead_to_and_never_lead_to_this_machines_files() {
    within_deadline(async {
        let world = World::new().await;
        let (data, outside) = (world.container("data"), world.container("outside"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "outside").unwrap();
        symlink("v1", data.join("current")).unwrap();
        fs::create_dir(data.join("v1")).unwrap();
        symlink(&outside, data.join("v1/out")).unwrap();
        symlink("../../outside/file", data.join("v1/relative")).unwrap();
        symlink("nothing", data.join("dangling")).unwrap();
        symlink("loop", data.join("loop")).unwrap();
        let session = world.session(remote(&data)).await;

        let shown = session
            .fetch(Content, &data.join("current/out/file"))
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "outside");
        assert!(
            shown
                .canonicalize()
                .unwrap()
                .starts_with(session.root.canonicalize().unwrap())
        );
        let shown = session.fetch(Content, &data.join("v1/relative")).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "outside");
        assert!(
            shown
                .canonicalize()
                .unwrap()
                .starts_with(session.root.canonicalize().unwrap())
        );

        let shown = session.fetch(Status, &data.join("dangling")).await.unwrap();
        assert_eq!(fs::read_link(&shown).unwrap(), Path::new("nothing"));
        assert!(!shown.exists());
        let shown = session.fetch(Content, &data.join("loop")).await.unwrap();
        assert_eq!(fs::read(&shown).unwrap_err().raw_os_error(), Some(libc::ELOOP));

        // a link that leads elsewhere is followed there
        fs::create_dir(data.join("v2")).unwrap();
        fs::write(data.join("v2/file"), "2").unwrap();
        fs::remove_file(data.join("current")).unwrap();
        symlink("v2", data.join("current")).unwrap();
        let shown = session.fetch(Content, &data.join("current/file")).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "2");
    })
    .await;
}

#[tokio::test]
async fn changed_file_is_fetched_again_and_an_open_one_stays_as_it_was() {
    within_deadline(async {
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
        let file = data.join("file");
        fs::write(&file, "old").unwrap();
        let session = world.session(remote(&data)).await;
        let shown = session.fetch(Content, &file).await.unwrap();
        let open = fs::File::open(&shown).unwrap();
        fs::write(&file, "newer").unwrap();
        let since = Instant::now();
        loop {
            // as a program that looks at the folder before it opens the file
            session.fetch(Entries, &data).await.unwrap();
            let content = fs::read_to_string(&shown).unwrap();
            assert!(content == "old" || content == "newer", "{content:?}");
            session.fetch(Status, &file).await.unwrap();
            if fs::read_to_string(&shown).unwrap() == "newer" {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut content = String::new();
        std::io::Read::read_to_string(&mut &open, &mut content).unwrap();
        assert_eq!(content, "old");
        fs::remove_file(&file).unwrap();
        let since = Instant::now();
        while session.fetch(Status, &file).await.is_ok() {
            assert!(since.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!shown.exists());
    })
    .await;
}

#[tokio::test]
async fn folder_of_twenty_thousand_files_is_listed_and_follows_removals() {
    within_deadline(async {
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
        for number in 0..20_000 {
            fs::write(data.join(format!("{number:05}")), "x").unwrap();
        }
        let session = world.session(remote(&data)).await;
        let since = Instant::now();
        let shown = session.fetch(Entries, &data).await.unwrap();
        println!("a folder of 20,000 files was there after {:?}", since.elapsed());
        assert_eq!(fs::read_dir(&shown).unwrap().count(), 20_000);
        for number in 1..20_000 {
            fs::remove_file(data.join(format!("{number:05}"))).unwrap();
        }
        let since = Instant::now();
        while fs::read_dir(&shown).unwrap().count() != 1 {
            assert!(since.elapsed() < Duration::from_secs(20));
            session.fetch(Entries, &data).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn file_of_3_gib_has_its_status_and_efbig_for_its_content_which_is_named() {
    within_deadline(async {
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
        let file = data.join("large");
        fs::File::create(&file).unwrap().set_len(3 << 30).unwrap();
        let mut session = world.session(remote(&data)).await;
        let shown = session.fetch(Status, &file).await.unwrap();
        assert_eq!(fs::metadata(&shown).unwrap().len(), 3 << 30);
        assert_eq!(session.fetch(Content, &file).await, Err(libc::EFBIG));
        let notice = session.notice().await;
        assert!(
            notice.ends_with("/data/large is larger than 256 MiB: it is not read through the tunnel"),
            "{notice}"
        );
    })
    .await;
}

#[tokio::test]
async fn pipe_socket_and_device_have_their_status_and_eacces_for_their_content() {
    within_deadline(async {
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
        let (pipe, socket) = (data.join("pipe"), data.join("socket"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o640),
            0,
        )
        .unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let wanted = Wanted {
            remote: vec![data.clone(), "/dev".into()],
            ..Wanted::default()
        };
        let mut session = world.session(wanted).await;
        for (path, is_kind) in [
            (pipe.as_path(), fs::FileType::is_fifo as fn(&fs::FileType) -> bool),
            (&socket, fs::FileType::is_socket),
            (Path::new("/dev/full"), fs::FileType::is_fifo),
        ] {
            let shown = session.fetch(Status, path).await.unwrap();
            assert!(
                is_kind(&fs::symlink_metadata(&shown).unwrap().file_type()),
                "{path:?}"
            );
            assert_eq!(session.fetch(Content, path).await, Err(libc::EACCES), "{path:?}");
            let notice = session.notice().await;
            assert!(notice.ends_with("it cannot be opened from here"), "{notice}");
        }
        assert_eq!(fs::metadata(session.at(&pipe)).unwrap().mode() & 0o7777, 0o640);
    })
    .await;
}

#[tokio::test]
async fn file_and_folder_that_the_containers_user_cannot_read_give_eacces() {
    if !rustix::process::geteuid().is_root() {
        kinject_test_support::skip::not_run("an agent of another user", "it takes root");
        return;
    }
    within_deadline(async {
        let world = World::with_agent_of(Some(65534)).await;
        let data = world.container("data");
        fs::create_dir_all(data.join("closed")).unwrap();
        fs::write(data.join("closed/file"), "x").unwrap();
        fs::write(data.join("file"), "x").unwrap();
        fs::set_permissions(data.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(data.join("file"), fs::Permissions::from_mode(0o000)).unwrap();
        let session = world.session(remote(&data)).await;
        for (part, path) in [(Content, "file"), (Entries, "closed"), (Status, "closed/file")] {
            assert_eq!(
                session.fetch(part, &data.join(path)).await,
                Err(libc::EACCES),
                "{path}"
            );
        }
        let shown = session.fetch(Status, &data.join("file")).await.unwrap();
        assert_eq!(fs::metadata(&shown).unwrap().mode() & 0o7777, 0);
    })
    .await;
}

#[tokio::test]
async fn folder_above_a_remote_glob_shows_what_the_glob_covers() {
    within_deadline(async {
        let world = World::new().await;
        let app = world.container("app");
        fs::create_dir_all(app.join("templates")).unwrap();
        for name in ["a.yaml", "b.yaml", "c.json", "templates/t"] {
            fs::write(app.join(name), name).unwrap();
        }
        let wanted = Wanted {
            remote_globs: vec![
                app.join("*.yaml").into_os_string(),
                app.join("templates").into_os_string(),
            ],
            ..Wanted::default()
        };
        let session = world.session(wanted).await;
        let shown = session.fetch(Entries, &app).await.unwrap();
        let mut names: Vec<_> = fs::read_dir(&shown)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.yaml", "b.yaml", "templates"]);
        let shown = session.fetch(Content, &app.join("templates/t")).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "templates/t");
        assert_eq!(session.fetch(Content, &app.join("c.json")).await, Err(ENOENT));
    })
    .await;
}

#[tokio::test]
async fn mount_by_way_of_a_link_stands_at_its_own_path() {
    within_deadline(async {
        let world = World::new().await;
        let (real, data) = (world.container("real"), world.container("data"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &data).unwrap();
        fs::write(real.join("file"), "x").unwrap();
        symlink(data.join("file"), real.join("absolute")).unwrap();
        symlink("../real/file", real.join("around")).unwrap();
        let session = world.session(remote(&data)).await;
        for name in ["file", "absolute", "around"] {
            let shown = session.fetch(Content, &data.join(name)).await.unwrap();
            assert_eq!(fs::read_to_string(&shown).unwrap(), "x", "{name}");
        }
        assert!(fs::symlink_metadata(session.at(&data)).unwrap().is_dir());
    })
    .await;
}

#[tokio::test]
async fn fetch_without_a_tunnel_waits_for_the_next_one_and_fails_when_the_session_is_over() {
    within_deadline(async {
        let mut world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
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
        let world = World::new().await;
        let data = world.container("data");
        fs::create_dir(&data).unwrap();
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
