use super::support::*;
use super::volume::{Volume, listing};
use rustix::fs::inotify;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Instant;

fn mirrored(paths: &[&Path]) -> Wanted {
    Wanted {
        mirrored: paths.iter().map(|path| path.to_path_buf()).collect(),
        ..Wanted::default()
    }
}

#[tokio::test]
async fn mirrored_mounts_stand_with_content_links_modes_and_times_of_the_container() {
    within_deadline(async {
        let world = World::new().await;
        let volume = Volume::new(world.container("etc/config"), &[("a.yaml", "a: 1"), ("b", "")]);
        fs::set_permissions(&volume.path, fs::Permissions::from_mode(0o3777)).unwrap();
        fs::create_dir_all(volume.path.join("..data/deep/er")).unwrap();
        fs::write(volume.path.join("..data/deep/er/c"), "c\0").unwrap();
        // a subPath mount of one key
        let file = world.container("app.conf");
        fs::write(&file, "conf").unwrap();
        let session = world.session(mirrored(&[&volume.path, &file])).await;
        assert_eq!(listing(&session.at(&volume.path)), listing(&volume.path));
        assert_eq!(fs::read_to_string(session.at(&file)).unwrap(), "conf");
        assert!(session.paths.to_string_lossy().contains("/etc/config"));
        // nothing is left beside it
        let staging = session.root.with_file_name("staging");
        assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn changed_keys_arrive_by_one_rename_of_the_data_link() {
    within_deadline(async {
        let world = World::new().await;
        let mut volume = Volume::new(world.container("config"), &[("a", "1"), ("gone", "x")]);
        let session = world.session(mirrored(&[&volume.path])).await;
        let mount = session.at(&volume.path);
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let flags = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE;
        inotify::add_watch(&watch, &mount, flags).unwrap();
        volume.write(&[("a", "2"), ("new", "y")]);
        let since = Instant::now();
        let key = mount.join("a");
        until("the new content is there", || {
            fs::read_to_string(&key).unwrap() == "2"
        })
        .await;
        println!("a change was visible after {:?}", since.elapsed());
        until("the volume is the same", || {
            listing(&mount) == listing(&volume.path)
        })
        .await;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = events.next() {
            let is_rename = event.events().contains(inotify::ReadFlags::MOVED_TO);
            let name = event.file_name().unwrap().to_str().unwrap().to_owned();
            names.push((name, is_rename));
        }
        let version = ("..2026_11_28_12_00_00.2".to_owned(), false);
        let temporary = ("..data_tmp".to_owned(), false);
        let data = ("..data".to_owned(), true);
        let position = |wanted| names.iter().position(|found| *found == wanted).unwrap();
        assert!(position(version) < position(temporary.clone()), "{names:?}");
        assert!(position(temporary) < position(data), "{names:?}");
    })
    .await;
}

#[tokio::test]
async fn reader_during_changes_always_finds_files_of_one_version() {
    within_deadline(async {
        let world = World::new().await;
        let mut volume = Volume::new(world.container("config"), &[("a", "0"), ("b", "0")]);
        let session = world.session(mirrored(&[&volume.path])).await;
        let mount = session.at(&volume.path);
        let reader = std::thread::spawn({
            let mount = mount.clone();
            move || {
                let mut versions = Vec::new();
                while versions.last().is_none_or(|last| last != "40") {
                    let Ok(data) = fs::read_link(mount.join("..data")) else {
                        panic!("no version is there");
                    };
                    let data = mount.join(data);
                    // a version that was removed meanwhile is none
                    let read = |key| fs::read_to_string(data.join(key)).ok();
                    if let (Some(a), Some(b)) = (read("a"), read("b")) {
                        assert_eq!(a, b);
                        versions.push(a);
                    }
                    fs::read_to_string(mount.join("a")).unwrap_or_else(|error| {
                        // path resolution is no snapshot: the version may go between two of its steps
                        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                        String::new()
                    });
                }
                versions
            }
        });
        for version in 1..=40 {
            let value = version.to_string();
            volume.write(&[("a", &value), ("b", &value)]);
            tokio::task::yield_now().await;
        }
        until("the reader has seen the last version", || reader.is_finished()).await;
        reader.join().unwrap();
        until("the volume is the same", || {
            listing(&mount) == listing(&volume.path)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn mount_within_a_mount_stays_when_the_outer_one_changes() {
    within_deadline(async {
        let world = World::new().await;
        let mut outer = Volume::new(world.container("config"), &[("a", "1")]);
        let inner = Volume::new(world.container("config/inner"), &[("b", "2")]);
        let scratch = world.container("config/cache");
        fs::create_dir(&scratch).unwrap();
        fs::write(scratch.join("theirs"), "").unwrap();
        let wanted = Wanted {
            scratch: vec![scratch.clone()],
            ..mirrored(&[&outer.path, &inner.path])
        };
        let session = world.session(wanted).await;
        assert_eq!(fs::read_dir(session.at(&scratch)).unwrap().count(), 0);
        fs::write(session.at(&scratch).join("ours"), "kept").unwrap();
        outer.write(&[("a", "3")]);
        let key = session.at(&outer.path).join("a");
        until("the new content is there", || {
            fs::read_to_string(&key).unwrap() == "3"
        })
        .await;
        assert_eq!(listing(&session.at(&inner.path)), listing(&inner.path));
        assert_eq!(
            fs::read_to_string(session.at(&scratch).join("ours")).unwrap(),
            "kept"
        );
    })
    .await;
}

#[tokio::test]
async fn files_stay_while_the_tunnel_is_lost_and_follow_again_after_it() {
    within_deadline(async {
        let mut world = World::new().await;
        let mut volume = Volume::new(world.container("config"), &[("a", "1")]);
        let session = world.session(mirrored(&[&volume.path])).await;
        let key = session.at(&volume.path).join("a");
        world.agent.kill();
        volume.write(&[("a", "2")]);
        assert_eq!(fs::read_to_string(&key).unwrap(), "1");
        world.agent.restart_killed().await;
        until("the new content is there", || {
            fs::read_to_string(&key).unwrap() == "2"
        })
        .await;
        volume.write(&[("a", "3")]);
        until("it is followed again", || {
            fs::read_to_string(&key).unwrap() == "3"
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn mount_with_more_than_a_snapshot_takes_is_remote() {
    within_deadline(async {
        let world = World::new().await;
        let large = world.container("large");
        fs::create_dir(&large).unwrap();
        let file = fs::File::create(large.join("sparse")).unwrap();
        file.set_len(65 << 20).unwrap();
        let small = Volume::new(world.container("small"), &[("a", "1")]);
        let session = world.session(mirrored(&[&large, &small.path])).await;
        let paths = session.paths.to_string_lossy().into_owned();
        assert!(paths.contains(&format!(":r{}", large.display())), "{paths}");
        assert!(paths.contains(&format!(":m{}", small.path.display())), "{paths}");
        assert_eq!(listing(&session.at(&small.path)), listing(&small.path));
    })
    .await;
}

#[tokio::test]
async fn mount_that_outgrows_a_snapshot_is_named_once_and_followed_when_it_is_smaller() {
    within_deadline(async {
        let world = World::new().await;
        let mut volume = Volume::new(world.container("config"), &[("a", "1")]);
        let mut session = world.session(mirrored(&[&volume.path])).await;
        let mount = session.at(&volume.path);
        let before = listing(&mount);
        for version in ["2", "3"] {
            let large = fs::File::create(volume.path.join("large")).unwrap();
            large.set_len(65 << 20).unwrap();
            if version == "2" {
                let notice = session.notice().await;
                assert!(
                    notice.contains("/config has grown beyond what is mirrored"),
                    "{notice}"
                );
                assert!(notice.ends_with("find its files as they were before"), "{notice}");
                assert_eq!(listing(&mount), before);
            }
            fs::remove_file(volume.path.join("large")).unwrap();
            volume.write(&[("a", version)]);
            until("the mount is followed again", || {
                fs::read_to_string(mount.join("a")).unwrap() == version
            })
            .await;
        }
        assert!(session.events.try_recv().is_err(), "it is named once");
    })
    .await;
}

#[tokio::test]
async fn twenty_thousand_files_are_mirrored() {
    within_deadline(async {
        let world = World::new().await;
        let folder = world.container("many");
        fs::create_dir(&folder).unwrap();
        for number in 0..20_000 {
            fs::write(folder.join(format!("{number:05}")), "x").unwrap();
        }
        let since = Instant::now();
        let session = world.session(mirrored(&[&folder])).await;
        println!("20,000 files were mirrored within {:?}", since.elapsed());
        assert_eq!(fs::read_dir(session.at(&folder)).unwrap().count(), 20_000);
    })
    .await;
}

#[tokio::test]
async fn file_that_the_containers_user_cannot_read_is_named_and_not_empty_for_root() {
    if !rustix::process::geteuid().is_root() {
        kinject_test_support::skip::not_run("an agent of another user", "it takes root");
        return;
    }
    within_deadline(async {
        let world = World::with_agent_of(Some(65534)).await;
        let volume = Volume::new(world.container("secret"), &[("a", "1"), ("b", "2")]);
        fs::set_permissions(volume.path.join("..data/a"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(volume.path.join("..data/b"), fs::Permissions::from_mode(0o044)).unwrap();
        let mut session = world.session(mirrored(&[&volume.path])).await;
        let mount = session.at(&volume.path);
        assert!(!mount.join("a").exists());
        assert_eq!(fs::read_to_string(mount.join("b")).unwrap(), "2");
        let mode = fs::metadata(mount.join("b")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o444, "its owner reads what the container's user does");
        let notice = session.notice().await;
        assert!(
            notice.starts_with("1 file of /") && notice.ends_with("cannot be read by the container's user"),
            "{notice}"
        );
    })
    .await;
}

#[tokio::test]
async fn link_out_of_a_mirrored_mount_never_leads_to_a_file_of_this_machine() {
    within_deadline(async {
        let world = World::new().await;
        let folder = world.container("config");
        fs::create_dir(&folder).unwrap();
        symlink("/etc/passwd", folder.join("absolute")).unwrap();
        symlink(
            "../../../../../../../../../../etc/passwd",
            folder.join("relative"),
        )
        .unwrap();
        symlink("/dev/null", folder.join("null")).unwrap();
        let session = world.session(mirrored(&[&folder])).await;
        let mount = session.at(&folder);
        for name in ["absolute", "relative"] {
            assert_eq!(
                fs::read_link(mount.join(name)).unwrap(),
                session.root.canonicalize().unwrap().join("etc/passwd")
            );
            let error = fs::read(mount.join(name)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
        assert_eq!(fs::read(mount.join("null")).unwrap(), b"");
    })
    .await;
}

#[tokio::test]
async fn full_disk_is_named_and_the_change_arrives_when_there_is_space() {
    within_deadline(async {
        let world = World::new().await;
        let Some(_small) = Small::mount(&world.session_folder, "256k") else {
            return;
        };
        let large = "x".repeat(100 << 10);
        let mut volume = Volume::new(world.container("config"), &[("a", "1")]);
        let mut session = world.session(mirrored(&[&volume.path])).await;
        let filler = world.session_folder.join("filler");
        fs::write(&filler, vec![0; 180 << 10]).unwrap();
        volume.write(&[("a", &large)]);
        let notice = session.notice().await;
        assert!(notice.contains("/config has changed"), "{notice}");
        assert!(notice.ends_with("no space left on device"), "{notice}");
        let key = session.at(&volume.path).join("a");
        assert_eq!(fs::read_to_string(&key).unwrap(), "1");
        fs::remove_file(&filler).unwrap();
        until("the change is there", || {
            fs::read_to_string(&key).unwrap() == large
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn session_on_a_full_disk_is_refused_with_the_way_on() {
    within_deadline(async {
        let world = World::new().await;
        let Some(_small) = Small::mount(&world.session_folder, "256k") else {
            return;
        };
        let volume = Volume::new(world.container("config"), &[("a", &"x".repeat(300 << 10))]);
        let folder = world.session_folder.clone();
        let started = Session::try_start(world.connector(), &folder, mirrored(&[&volume.path])).await;
        let failure = started.err().unwrap();
        assert!(
            failure.message.ends_with("no space left on device"),
            "{}",
            failure.message
        );
        assert!(failure.hint.unwrap().contains("--files none"));
    })
    .await;
}
