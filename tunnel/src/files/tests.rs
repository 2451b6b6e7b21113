use super::*;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn status(kind: FileKind) -> FileStatus {
    FileStatus {
        kind,
        mode: 0o4755,
        size: 1 << 40,
        modified: Timestamp {
            seconds: -5,
            nanoseconds: 999_999_999,
        },
        changed: Timestamp::default(),
        inode: u64::MAX,
        is_readable: true,
        target: match kind {
            FileKind::Link => b"../\xff".to_vec(),
            _ => Vec::new(),
        },
    }
}

fn snapshot() -> Snapshot {
    let entry = |path: &str, kind, content| SnapshotEntry {
        path: path.into(),
        status: status(kind),
        content,
    };
    Snapshot {
        entries: vec![
            entry("", FileKind::Folder, SnapshotContent::None),
            entry("..data", FileKind::Link, SnapshotContent::None),
            entry("..2026", FileKind::Folder, SnapshotContent::None),
            entry(
                "..2026/key",
                FileKind::File,
                SnapshotContent::Bytes(Bytes::from_static(b"a\0b")),
            ),
            entry("..2026/closed", FileKind::File, SnapshotContent::Failed(13)),
            entry("pipe", FileKind::Fifo, SnapshotContent::None),
        ],
    }
}

fn answers() -> Vec<FileAnswer> {
    let link = FoundLink {
        path: b"/data/current".to_vec(),
        status: status(FileKind::Link),
    };
    let entries = [FileKind::File, FileKind::Folder, FileKind::Link].map(|kind| NamedStatus {
        name: format!("{kind:?}").into_bytes(),
        status: status(kind),
    });
    let found = [
        FilePayload::None,
        FilePayload::Entries(entries.to_vec()),
        FilePayload::Content,
        FilePayload::Unchanged,
        FilePayload::Failed(27),
    ]
    .map(|payload| FileOutcome::Found {
        path: b"/".to_vec(),
        status: status(FileKind::Socket),
        payload,
    });
    let failed = FileOutcome::Failed {
        path: b"/data/none".to_vec(),
        errno: 2,
    };
    let outcomes = found.into_iter().chain([failed]);
    outcomes
        .map(|outcome| FileAnswer {
            links: vec![link.clone(); 2],
            outcome,
        })
        .collect()
}

fn events() -> Vec<WatchEvent> {
    [Ok(snapshot()), Err(2)]
        .map(|snapshot| WatchEvent { watch: 1, snapshot })
        .to_vec()
}

#[test]
fn messages_decode_to_what_was_encoded() {
    for answer in answers() {
        assert_eq!(FileAnswer::decode(&answer.encode()), Ok(answer));
    }
    for known in [None, Some(status(FileKind::File))] {
        let question = FileQuestion {
            operation: FileOperation::Content,
            mount: b"/data".to_vec(),
            rest: b"/a/b".to_vec(),
            known,
        };
        assert_eq!(FileQuestion::decode(&question.encode()), Ok(question));
    }
    let paths = vec![b"/etc/config".to_vec(), b"/".to_vec()];
    assert_eq!(decode_paths(&encode_paths(&paths)), Ok(paths));
}

#[test]
fn events_are_taken_one_by_one_from_pieces_of_any_size() {
    let bytes: Vec<u8> = events()
        .iter()
        .flat_map(|event| event.encode().unwrap())
        .collect();
    for size in [1, 7, bytes.len()] {
        let (mut received, mut taken) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            received.extend_from_slice(piece);
            while let Some(event) = WatchEvent::take(&mut received, 2).unwrap() {
                taken.push(event);
            }
        }
        assert_eq!(taken, events());
    }
}

#[test]
fn event_of_an_unknown_watch_or_beyond_the_limit_is_refused() {
    let mut event = BytesMut::from(events()[0].encode().unwrap().as_slice());
    assert_eq!(WatchEvent::take(&mut event, 1), Err(FileDecodeError::Excess));
    let mut endless = BytesMut::from((SNAPSHOT_BYTES as u32 + 1).to_le_bytes().as_slice());
    assert_eq!(WatchEvent::take(&mut endless, 2), Err(FileDecodeError::Excess));
    let mut large = snapshot();
    large.entries[3].content = SnapshotContent::Bytes(vec![0; SNAPSHOT_BYTES].into());
    let event = WatchEvent {
        watch: 0,
        snapshot: Ok(large),
    };
    assert_eq!(event.encode(), None);
}

#[test]
fn name_or_path_that_is_none_is_refused() {
    let long = "x".repeat(256);
    for name in ["", ".", "..", "a/b", "/", "a\0", &long] {
        let entry = NamedStatus {
            name: name.into(),
            status: status(FileKind::File),
        };
        let answer = FileAnswer {
            links: vec![],
            outcome: FileOutcome::Found {
                path: b"/".to_vec(),
                status: status(FileKind::Folder),
                payload: FilePayload::Entries(vec![entry]),
            },
        };
        assert_eq!(
            FileAnswer::decode(&answer.encode()),
            Err(FileDecodeError::Name),
            "{name:?}"
        );
    }
    let deep = "/a".repeat(MAX_DEPTH + 1);
    for path in ["", "a", "//", "/a/", "/a//b", "/a/..", "/./a", "/a\0", &deep] {
        let answer = FileAnswer {
            links: vec![],
            outcome: FileOutcome::Failed {
                path: path.into(),
                errno: 2,
            },
        };
        assert_eq!(
            FileAnswer::decode(&answer.encode()),
            Err(FileDecodeError::Name),
            "{path:?}"
        );
    }
}

#[test]
fn link_without_a_target_and_file_with_one_are_refused() {
    for (kind, target) in [(FileKind::Link, ""), (FileKind::File, "target")] {
        let status = FileStatus {
            target: target.into(),
            ..status(kind)
        };
        let question = FileQuestion {
            operation: FileOperation::Status,
            mount: Vec::new(),
            rest: Vec::new(),
            known: Some(status),
        };
        assert_eq!(
            FileQuestion::decode(&question.encode()),
            Err(FileDecodeError::Name)
        );
    }
}

/// A valid message of which some bytes are others, and whose end may be missing.
fn damaged(messages: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..4);
    (
        prop::sample::select(messages),
        changes,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut message, changes, end)| {
            for (place, byte) in changes {
                let place = place.index(message.len());
                message[place] = byte;
            }
            if end.index(3) == 0 {
                message.truncate(end.index(message.len()));
            }
            message
        })
}

proptest! {
    #[test]
    fn any_answer_that_is_accepted_encodes_to_the_same(
        bytes in damaged(answers().iter().map(FileAnswer::encode).collect())
    ) {
        if let Ok(answer) = FileAnswer::decode(&bytes) {
            prop_assert_eq!(FileAnswer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn any_snapshot_that_is_accepted_is_a_tree(
        bytes in damaged(events().iter().map(|event| event.encode().unwrap()).collect())
    ) {
        let mut received = BytesMut::from(bytes.as_slice());
        if let Ok(Some(WatchEvent { snapshot: Ok(snapshot), .. })) = WatchEvent::take(&mut received, 2) {
            let mut folders = vec![];
            let mut all = std::collections::HashSet::new();
            for (position, entry) in snapshot.entries.iter().enumerate() {
                let path = std::path::Path::new(std::str::from_utf8(&entry.path).unwrap_or("x"));
                prop_assert_eq!(entry.path.is_empty(), position == 0);
                prop_assert!(!path.is_absolute() && !path.components().any(|part| part.as_os_str() == ".."));
                prop_assert!(all.insert(entry.path.clone()));
                if let Some(end) = entry.path.iter().rposition(|byte| *byte == b'/') {
                    prop_assert!(folders.contains(&entry.path[..end].to_vec()));
                }
                if entry.status.kind == FileKind::Folder {
                    folders.push(entry.path.clone());
                }
            }
        }
    }
}
