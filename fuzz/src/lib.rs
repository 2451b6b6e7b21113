//! Properties that hold for any bytes that a decoder of the preloaded library reads, or that it sends.
//!
//! Each check is a target of `cargo fuzz` (`cargo +nightly fuzz run --features libfuzzer request`), and a bounded run
//! with bytes near to valid ones is among the tests.

use kinject_protocol::control::{ControlAddress, MAX_REPLY, Reply, ReplyRef, Request};
use kinject_protocol::executable::{self, File, HEAD, Rights};
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
