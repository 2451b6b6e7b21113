use super::support::*;
use kinject_protocol::control::FilePart::{Content, Entries, Status};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Instant;

const ENOENT: i32 = libc::ENOENT;

#[tokio::test]
async fn status_entries_and_content_are_put_when_they_are_asked_for() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
        fs::create_dir(data.join("sub")).unwrap();
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
        let (world, data) = World::with_data().await;
        let file = data.join("file");
        fs::write(&file, "old").unwrap();
        let session = world.session(remote(&data)).await;
        let shown = session.fetch(Content, &file).await.unwrap();
        let open = fs::File::open(&shown).unwrap();
        fs::write(&file, "newer").unwrap();
        session.files.forget_answers();
        // as a program that looks at the folder before it opens the file
        session.fetch(Entries, &data).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "old");
        session.fetch(Status, &file).await.unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), "newer");
        let mut content = String::new();
        std::io::Read::read_to_string(&mut &open, &mut content).unwrap();
        assert_eq!(content, "old");
        fs::remove_file(&file).unwrap();
        session.files.forget_answers();
        assert_eq!(session.fetch(Status, &file).await, Err(ENOENT));
        assert!(!shown.exists());
    })
    .await;
}

#[tokio::test]
async fn folder_of_twenty_thousand_files_is_listed_and_follows_removals() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
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
        session.files.forget_answers();
        session.fetch(Entries, &data).await.unwrap();
        assert_eq!(fs::read_dir(&shown).unwrap().count(), 1);
    })
    .await;
}

#[tokio::test]
async fn file_of_3_gib_has_its_status_and_efbig_for_its_content_which_is_named() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
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
        let (world, data) = World::with_data().await;
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
async fn program_that_asks_for_the_status_before_it_opens_the_file_opens_the_same_file() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
        let content = "x".repeat(3 << 20);
        for (name, mode) in [("file", 0o644), ("closed-to-writers", 0o444)] {
            fs::write(data.join(name), &content).unwrap();
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let session = world.session(remote(&data)).await;
        for name in ["file", "closed-to-writers"] {
            let file = data.join(name);
            let shown = session.fetch(Status, &file).await.unwrap();
            let told = fs::metadata(&shown).unwrap();
            // a program that opened it without asking, as a static one does
            let open = fs::File::open(&shown).unwrap();
            session.fetch(Content, &file).await.unwrap();
            let found = fs::metadata(&shown).unwrap();
            assert_eq!((found.dev(), found.ino()), (told.dev(), told.ino()), "{name}");
            assert_eq!((found.mode(), found.len()), (told.mode(), told.len()), "{name}");
            assert_eq!(
                (found.mtime(), found.mtime_nsec()),
                (told.mtime(), told.mtime_nsec())
            );
            assert!(fs::read_to_string(&shown).unwrap() == content, "{name}");
            assert!(std::io::read_to_string(open).unwrap() == content, "{name}");
        }
        let staging = session.root.with_file_name("staging");
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn file_that_is_longer_than_its_status_says_has_all_of_its_content() {
    within_deadline(async {
        let world = World::new().await;
        let session = world.session(remote(Path::new("/proc/sys/kernel"))).await;
        let path = Path::new("/proc/sys/kernel/ostype");
        let shown = session.fetch(Content, path).await.unwrap();
        assert_eq!(fs::read_to_string(shown).unwrap(), "Linux\n");
    })
    .await;
}

#[tokio::test]
async fn content_on_a_full_disk_is_enospc_for_its_open_alone_and_is_named_once() {
    within_deadline(async {
        let (world, data) = World::with_data().await;
        let Some(_small) = Small::mount(&world.session_folder, "16m") else {
            return;
        };
        for name in ["large", "larger"] {
            fs::write(data.join(name), vec![b'x'; 14 << 20]).unwrap();
        }
        fs::write(data.join("small"), "small").unwrap();
        let mut session = world.session(remote(&data)).await;
        for name in ["large", "larger"] {
            let path = data.join(name);
            assert_eq!(session.fetch(Content, &path).await, Err(libc::ENOSPC), "{name}");
        }
        let shown = session.fetch(Content, &data.join("small")).await.unwrap();
        assert_eq!(fs::read_to_string(shown).unwrap(), "small");
        let notice = session.notice().await;
        assert!(notice.contains("/data/large of the container"), "{notice}");
        assert!(notice.ends_with("no space left on device"), "{notice}");
        assert!(session.events.try_recv().is_err(), "the second one is not named");
    })
    .await;
}
