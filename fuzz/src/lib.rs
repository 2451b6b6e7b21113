//! Properties that hold for any bytes that a decoder of the preloaded library reads, or that it sends.
//!
//! Each check is a target of `cargo fuzz` (`cargo +nightly fuzz run --features libfuzzer request`), and a bounded run
//! with bytes near to valid ones is among the tests.

use kinject_protocol::control::{ControlAddress, MAX_REPLY, Reply, ReplyRef, Request};
use kinject_protocol::executable::{self, File, HEAD, Rights};
use kinject_protocol::paths::{EntryKind, Filter, Kind, PathTable, Place, Route, normalise};
use std::cell::Cell;

/// The most reads that classify a program's file, even if the file claims to have millions of headers.
const MAX_READS: usize = 16 * 1024;

/// A request as the relay reads it: an accepted request encodes to one that decodes to the same value.
pub fn request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        let again = request.encode().to_vec();
        assert_eq!(Request::decode(&again), Ok(request), "from {bytes:?}");
    }
}

/// A relay's address as a program's environment has it: an accepted address encodes to one that decodes to the same.
pub fn address(bytes: &[u8]) {
    if let Some(address) = ControlAddress::parse(bytes) {
        assert_eq!(
            ControlAddress::parse(&address.to_bytes()),
            Some(address),
            "from {bytes:?}"
        );
    }
}

/// A reply as the library reads it: its borrowed lists end, and it encodes to one that decodes to the same value.
pub fn reply(bytes: &[u8]) {
    let Ok(borrowed) = ReplyRef::decode(bytes) else {
        assert!(Reply::decode(bytes).is_err(), "only one decoder takes {bytes:?}");
        return;
    };
    match borrowed {
        ReplyRef::Addresses { addresses, .. } => assert!(addresses.count() <= bytes.len()),
        ReplyRef::Names(names) => assert!(names.count() <= bytes.len()),
        _ => {}
    }
    let owned = Reply::from(borrowed);
    let mut again = Vec::new();
    owned.encode(&mut again);
    assert!(again.len() <= MAX_REPLY, "from {bytes:?}");
    if bytes.len() <= MAX_REPLY {
        assert_eq!(Reply::decode(&again), Ok(owned), "from {bytes:?}");
    }
}

/// A program's file, as an exec finds it.
pub fn executable(bytes: &[u8]) {
    let file = Bytes {
        bytes,
        reads: Cell::new(0),
    };
    let head = &bytes[..bytes.len().min(HEAD)];
    let plain = executable::injection_blocker(&file, head, None, || false, || false);
    assert!(file.reads.get() <= MAX_READS, "{} reads", file.reads.get());
    let setuid = Rights {
        mode: 0o104_755,
        owner: 0,
        group: 0,
        user: 1000,
        own_group: 1000,
        has_capabilities: false,
    };
    let elevated = executable::injection_blocker(&file, head, setuid.blocker(), || false, || false);
    assert!(
        plain.is_none() || elevated.is_some(),
        "a blocker is gone in a setuid file"
    );
    file.reads.set(0);
    if let Some(runtime) = executable::runtime(&file, head) {
        assert!(!runtime.name().iter().any(|byte| matches!(byte, 0 | b':' | b' ')));
    }
    assert!(file.reads.get() <= MAX_READS, "{} reads", file.reads.get());
    executable::library_uses_network(&file, head);
    if let Some(interpreter) = executable::interpreter(head) {
        assert!(!interpreter.is_empty());
    }
}

/// A table of paths and a path, with a zero between them: the path's route does not depend on how it is spelled, what
/// lies below the shadow root is the path itself, and the filter hides no path that leads elsewhere.
pub fn paths(bytes: &[u8]) {
    let zero = bytes.iter().position(|byte| *byte == 0);
    let (value, path) = bytes.split_at(zero.unwrap_or(bytes.len()));
    let path = path.strip_prefix(b"\0").unwrap_or(path);
    let mut buffer = vec![0; path.len() + 1];
    let mut folders = 0;
    let plain = normalise(b"/", path, &mut buffer, |_| folders += 1).expect("it is no longer than the path");
    assert!(folders <= path.len() / 2, "{folders} folders in {path:?}");
    let mut again = vec![0; plain.len()];
    assert_eq!(
        normalise(b"/", plain, &mut again, |_| panic!("a folder is left")),
        Some(plain)
    );
    let Some(table) = PathTable::parse(value) else {
        return;
    };
    table.may_lead_to_entry(path);
    let below = [table.root(), plain].concat();
    let without_root = table.without_root(&below);
    assert!(without_root == Some(plain), "{below:?} is {without_root:?}");
    let route = table.route(plain);
    let filter = Filter::of(&table);
    assert!(
        route == Route::Native || filter.lets_pass(plain),
        "the filter hides {plain:?}"
    );
    assert!(filter.lets_pass(&below), "the filter hides {below:?}");
    assert!(
        path.is_empty() || path.starts_with(b"/") || filter.lets_pass(path) || !table.may_lead_to_entry(path),
        "the filter hides {path:?}"
    );
    assert_eq!(
        kind(route),
        kind(table.route(&spelled_otherwise(plain))),
        "of {plain:?}"
    );
    if let Route::Shadow(place) | Route::Parent(place) = route {
        let name = place.parts().concat();
        assert!(
            name == plain || spelled_otherwise(&name) == plain || name == spelled_otherwise(plain),
            "{plain:?} became {name:?}"
        );
        assert!(place.kind == Kind::Remote || !place.mount.is_empty());
    }
    if let Route::Shadow(place) = route {
        // what has a mount, or matches a glob, has everything below, too, unless a local glob or another mount does
        let below = [plain, b"/\xff"].concat();
        assert!(
            table.route(&below) != Route::Native || has_local_glob(&table),
            "{below:?} is native below {place:?}"
        );
    }
}

fn kind(route: Route<'_>) -> Option<(Kind, bool)> {
    let of = |place: Place<'_>, is_shadow| Some((place.kind, is_shadow));
    match route {
        Route::Native => None,
        Route::Parent(place) => of(place, false),
        Route::Shadow(place) => of(place, true),
    }
}

fn has_local_glob(table: &PathTable<'_>) -> bool {
    table.entries().any(|entry| entry.kind == EntryKind::LocalGlob)
}

/// `/var/run/…` for `/run/…`, and the other way round.
fn spelled_otherwise(path: &[u8]) -> Vec<u8> {
    let is_below = |folder: &[u8]| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    if is_below(b"/run") {
        [b"/var", path].concat()
    } else if is_below(b"/var/run") {
        path[b"/var".len()..].to_vec()
    } else {
        path.to_vec()
    }
}

struct Bytes<'a> {
    bytes: &'a [u8],
    reads: Cell<usize>,
}

impl File for Bytes<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        self.reads.set(self.reads.get() + 1);
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Some(count)
    }

    fn find(&self, haystack: &[u8], needle: &[u8]) -> Option<usize> {
        haystack
            .windows(needle.len().max(1))
            .position(|window| window == needle)
    }
}
