use super::*;
use kinject_tunnel::files::Timestamp;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const TABLE: &[u8] = b"/root:r/data";

fn status(size: u64) -> FileStatus {
    FileStatus {
        kind: FileKind::File,
        mode: 0o444,
        size,
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        inode: 1,
        is_readable: true,
        target: Vec::new(),
    }
}

/// A shadow root, and what it has, with so much room.
struct Root {
    folder: tempfile::TempDir,
    shadow: Shadow,
    remote: Remote,
}

impl Root {
    fn new(limit: u64, kept: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut remote = Remote::new(vec![b"/data".to_vec()]);
        remote.contents = Contents::with(limit, kept);
        Self {
            shadow: Shadow::create(folder.path()).unwrap(),
            folder,
            remote,
        }
    }

    fn room(&mut self, bytes: u64) -> Option<Reserved> {
        match self.remote.room(&self.shadow, bytes, 0).unwrap() {
            Room::Reserved(reserved) => Some(reserved),
            Room::Later { .. } => None,
        }
    }

    fn put(&mut self, name: &str) -> bool {
        let Some(room) = self.room(40) else { return false };
        let mut staged = self.shadow.stage().unwrap();
        staged.file.write_all(&[b'x'; 40]).unwrap();
        let path = format!("/data/{name}").into_bytes();
        let table = PathTable::parse(TABLE).unwrap();
        let put = self
            .remote
            .put_content(&self.shadow, &table, &path, &status(40), staged, room);
        put.is_ok()
    }

    fn there(&self) -> Vec<Vec<u8>> {
        let mut names = self.shadow.names(b"/data").unwrap();
        names.sort();
        names
    }
}

#[test]
fn content_beyond_the_limit_removes_what_was_not_asked_for_the_longest_time() {
    let mut root = Root::new(100, Duration::ZERO);
    assert!(root.put("a") && root.put("b"));
    assert!(root.remote.asked(b"/data/a", true).is_some());
    let before = root.remote.shared_contents().evicted();
    assert!(root.put("d"));
    assert_eq!(root.there(), [b"a", b"d"]);
    assert!(root.remote.asked(b"/data/b", true).is_none());
    assert_eq!(root.remote.shared_contents().evicted(), before + 1);
}

#[test]
fn contents_that_were_asked_for_just_now_stay_and_none_is_put_beyond_the_limit() {
    let mut root = Root::new(100, Duration::from_secs(600));
    assert!(root.put("a") && root.put("b"));
    assert!(!root.put("c"));
    assert_eq!(root.there(), [b"a", b"b"]);
    // what is received takes its room, too
    let mut root = Root::new(100, Duration::ZERO);
    let first = root.room(61).unwrap();
    assert!(!root.put("a"));
    drop(first);
    assert!(root.put("a"));
    let never = root.remote.room(&root.shadow, 101, 0);
    assert_eq!(never.err(), Some(Errno::NOSPC));
}

#[test]
fn room_that_cannot_be_made_removes_nothing_and_is_not_waited_for_by_its_own_content() {
    let mut root = Root::new(100, Duration::ZERO);
    assert!(root.put("a"));
    let own = root.room(50).unwrap();
    assert!(root.room(60).is_none());
    assert_eq!(root.there(), [b"a"]);
    // the content for which there is room already grows
    let never = root.remote.room(&root.shadow, 60, own.bytes());
    assert_eq!(never.err(), Some(Errno::NOSPC));
    assert_eq!(root.there(), [b"a"]);
    let further = root.remote.room(&root.shadow, 50, own.bytes()).unwrap();
    assert!(matches!(further, Room::Reserved(_)));
    assert!(root.there().is_empty());
}

#[test]
fn content_that_has_given_way_is_not_told_as_unchanged() {
    let mut root = Root::new(100, Duration::ZERO);
    assert!(root.put("a"));
    assert!(root.remote.is_still_here(b"/data/a"));
    assert!(root.room(100).is_some());
    assert!(!root.remote.is_still_here(b"/data/a"));
}

#[test]
fn content_takes_the_inode_of_the_placeholder_with_its_status_and_no_other() {
    let mut root = Root::new(1000, Duration::from_secs(600));
    let table = PathTable::parse(TABLE).unwrap();
    let at = root.folder.path().join("root/data/a");
    let inode = || std::fs::metadata(&at).unwrap().ino();
    let (shadow, remote) = (&root.shadow, &mut root.remote);
    remote
        .put_status(shadow, &table, b"/data/a", &status(40))
        .unwrap();
    let placeholder = inode();
    assert!(root.put("a"));
    assert_eq!(inode(), placeholder);
    assert_eq!(std::fs::read(&at).unwrap(), [b'x'; 40]);
    let found = std::fs::metadata(&at).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o444, 0));
    // the same content once more, asked for by another path
    assert!(root.put("a"));
    assert_eq!(inode(), placeholder);
    // a file that changed is another one: who has the former one open keeps it, and so its number is not used again
    let _former = std::fs::File::open(&at).unwrap();
    let changed = FileStatus {
        inode: 2,
        ..status(40)
    };
    let (shadow, remote) = (&root.shadow, &mut root.remote);
    remote.put_status(shadow, &table, b"/data/a", &changed).unwrap();
    assert!(root.put("a"));
    assert_ne!(inode(), placeholder);
}
